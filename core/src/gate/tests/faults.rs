//! Rows A2 and A8 of the fault matrix: what depends on the time of day, with a clock that tests set.

use std::time::Duration;

use portcullis_fixtures::calls::Era;
use portcullis_fixtures::keys;
use portcullis_fixtures::persona::ALICE;
use serde_json::json as value;

use super::stage::*;
use crate::config::Limits;
use crate::denial::{Denial, DenyReason};
use crate::gate::{Evidence, Fetch, Step};
use crate::time::UnixTime;

const HOUR: Duration = Duration::from_secs(3_600);

fn at(seconds: i64) -> UnixTime {
    UnixTime::from_secs(NOW_S.checked_add_signed(seconds).unwrap())
}

/// What comes of a request at `now` when nothing can be fetched.
fn arrive(stage: &Stage, request: &Request, now: UnixTime) -> Result<(), Denial> {
    let mut visit = stage.gate.begin(now);
    match visit.authenticate(&request.head())? {
        Step::Done(_) => Ok(()),
        Step::Needs(fetch) => visit.resume(fetch, Evidence::Published, &request.head(), now).map(drop),
    }
}

/// Checks what is refused at `now`, and that one record says so.
#[track_caller]
fn check(stage: &Stage, request: &Request, now: UnixTime, expected: Option<DenyReason>) -> Option<Denial> {
    let before = stage.records().len();
    let refused = arrive(stage, request, now).err();
    assert_eq!(refused.as_ref().map(|denial| denial.reason), expected, "{now:?}");
    stage.gate.flush_refusals(now);
    let records = stage.records().split_off(before);
    let reasons: Vec<_> = records
        .iter()
        .map(|record| (&record["reason"], &record["count"]))
        .collect();
    match expected {
        None => assert_eq!(reasons, [], "{now:?}"),
        Some(reason) => assert_eq!(reasons, [(&value!(reason.code()), &value!(1))], "{now:?}"),
    }
    refused
}

/// The last keys serve up to their ceiling, to the nanosecond, and nothing serves past it.
#[test]
fn a2_keys_serve_until_their_ceiling() {
    let stage = Stage::new();
    let age_max = Limits::default().jwks_age_max;
    let request = Request::with_token(
        &read_call(Era::Modern),
        &token(&ALICE).expires(NOW_S + 4 * HOUR.as_secs()).sign(keys::es256()),
    );
    let ceiling = NOW.after(age_max);
    let past = ceiling.after(Duration::from_nanos(1));
    check(&stage, &request, NOW, None);
    check(&stage, &request, ceiling, None);
    assert!(stage.gate.ready(ceiling).is_ok());
    let denial = check(&stage, &request, past, Some(DenyReason::KeysUnavailable)).unwrap();
    assert!(stage.gate.ready(past).is_err(), "the gate says that it cannot serve");
    assert!(denial.retry_after_s.is_some(), "a client may come again");
    assert_eq!(denial.challenge, None, "another token does not cure it");
    let step = stage.gate.begin(past).authenticate(&request.head()).unwrap();
    assert!(matches!(step, Step::Needs(Fetch::Jwks(issuer)) if &*issuer == ISSUER));
    // Keys that were fetched anew serve again, and no longer than themselves.
    stage
        .gate
        .publish_keys(&issuer(ISSUER), &key_set(&[keys::es256()], past));
    check(&stage, &request, past.after(age_max), None);
    check(
        &stage,
        &request,
        past.after(age_max).after(Duration::from_nanos(1)),
        Some(DenyReason::KeysUnavailable),
    );
}

/// Clocks that differ by the leeway are one clock; an hour is a refusal, whichever way and however the token is known.
#[test]
fn a8_clock_jumps() {
    let stage = Stage::new();
    let leeway = i64::try_from(Limits::default().leeway.as_secs()).unwrap();
    let lifetime = 300;
    let request = Request::read();
    let (early, late) = (Some(DenyReason::TokenNotYetValid), Some(DenyReason::TokenExpired));
    // Twice: the second round meets a token that is remembered.
    for _ in 0..2 {
        for (seconds, expected) in [
            (0, None),
            (-leeway, None),
            (-leeway - 1, early),
            (-3_600, early),
            (lifetime + leeway - 1, None),
            (lifetime + leeway, late),
            (3_600, late),
            (-3_600, early),
            (0, None),
        ] {
            check(&stage, &request, at(seconds), expected);
        }
    }
    let delayed = token(&ALICE).claim("nbf", NOW_S + 200).sign(keys::es256());
    let delayed = Request::with_token(&read_call(Era::Modern), &delayed);
    check(&stage, &delayed, at(200 - leeway - 1), early);
    check(&stage, &delayed, at(200 - leeway), None);
    check(&stage, &delayed, at(200 - leeway - 1), early);
    // A clock that went back an hour does not make old keys new: they are as good as when they were fetched.
    let lasting = token(&ALICE)
        .claim("iat", NOW_S - 7_200)
        .expires(NOW_S + 7_200)
        .sign(keys::es256());
    let lasting = Request::with_token(&read_call(Era::Modern), &lasting);
    check(&stage, &lasting, at(-3_600), None);
    check(&stage, &lasting, at(3_601), Some(DenyReason::KeysUnavailable));
}

/// The wall clock of a record may stand still or step back; the other clock in it goes on.
#[test]
fn a8_records_carry_both_clocks() {
    let stage = Stage::new();
    let request = Request::read();
    for _ in 0..3 {
        drop(stage.record(&request).unwrap());
    }
    let records = stage.records();
    let requests: Vec<_> = records.iter().filter(|record| record["phase"] == "request").collect();
    assert_eq!(requests.len(), 3);
    for pair in requests.windows(2) {
        assert_eq!(pair[0]["time"], pair[1]["time"]);
        assert!(pair[0]["monotonic_us"].as_u64().unwrap() < pair[1]["monotonic_us"].as_u64().unwrap());
    }
}
