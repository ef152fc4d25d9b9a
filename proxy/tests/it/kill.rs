//! Nothing leaves the gate unrecorded, not even when it is killed in the middle of load.
//!
//! The upstream tells what left, the log what was recorded; both meet in the keyed digest of the exact arguments, which
//! are unlike in every call. `PORTCULLIS_KILLS=1000 cargo test -p portcullis --test it kill::` is the long form.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use portcullis_fixtures::calls::{Call, Era};
use portcullis_fixtures::capture::Received;
use portcullis_fixtures::driver::{self, Load, Report};
use portcullis_fixtures::persona::ALICE;
use ring::hmac;
use serde_json::Value;

use crate::gate::{Gate, HOST, PATH, ids, is_allow, is_end, stored_keys, until};

/// How often the gate is killed, unless told otherwise.
const KILLS: u64 = 5;
/// Kills that one log sees; then a new gate begins, so that reading stays cheap however many there are.
const KILLS_A_LOG: u64 = 5;
/// Requests of one round; the kill comes long before the last.
const REQUESTS: u64 = 2_000;

#[test]
fn whatever_the_upstream_saw_is_in_the_log_after_a_kill() {
    let kills = std::env::var("PORTCULLIS_KILLS").map_or(KILLS, |text| text.parse().unwrap());
    let mut done = 0;
    while done < kills {
        let mut victim = Victim::start();
        for round in done..kills.min(done + KILLS_A_LOG) {
            victim.round(round);
        }
        done = kills.min(done + KILLS_A_LOG);
        victim.end();
    }
}

/// A gate that is killed again and again, and what is known of it.
struct Victim {
    gate: Gate,
    token: String,
    key: hmac::Key,
    /// Requests of the upstream's capture that were found in the log.
    checked: usize,
    /// Records that were in the log when the round began.
    records: usize,
    /// Allows that the kills left open.
    unknown: usize,
}

impl Victim {
    fn start() -> Self {
        let gate = Gate::start_for_load();
        let (token, key) = (gate.token(&ALICE), digest_key(&gate.path("keys/digests.json")));
        Self {
            gate,
            token,
            key,
            checked: 0,
            records: 0,
            unknown: 0,
        }
    }

    /// Kills the gate under load, looks at what it left, starts it again and lets it serve.
    fn round(&mut self, round: u64) {
        let report = self.kill_under_load(round);
        let answered = report.statuses.get(&200).copied().unwrap_or_default();
        assert_eq!(answered, report.answers(), "round {round}: {:?}", report.statuses);
        assert!(report.answers() < REQUESTS, "round {round}: the kill came too late");

        let before = self.gate.tail();
        let allows = ids(&before, is_allow);
        self.check_capture(&before, round);
        let ends = ids(&before, is_end);
        assert!(ends.is_subset(&allows), "round {round}: an end without its allow");
        let reviewed = ids(&before[self.records..], |record| record["outcome"] == "reviewed").len();
        assert!(answered <= reviewed as u64, "round {round}: an answer left unrecorded");
        let open: HashSet<String> = allows.difference(&ends).cloned().collect();

        self.gate.restart();
        let after = self.gate.tail();
        let unknown = ids(&after[before.len()..], |record| record["outcome"] == "unknown");
        assert_eq!(unknown, open, "round {round}: what was left open is closed");
        assert_eq!(after.len(), before.len() + unknown.len(), "round {round}");
        self.unknown += unknown.len();

        let served = self.gate.call(&self.call(round, REQUESTS));
        assert_eq!(served.status, 200, "round {round}: {}", served.text());
        // What the killed gate had sent may have been taken in only now.
        let records = self.gate.tail();
        self.check_capture(&records, round);
        self.records = records.len();
    }

    /// Runs load until the gate is gone; the moment of the kill is another one in each round.
    fn kill_under_load(&mut self, round: u64) -> Report {
        let load = Load {
            address: self.gate.address(),
            connections: 6,
            requests: REQUESTS,
            duration_max: Duration::from_secs(20),
        };
        let kill_at = self.gate.upstream.capture().count() + 40 + round * 61 % 397;
        let token = self.token.clone();
        std::thread::scope(|scope| {
            let load =
                scope.spawn(move || driver::run(&load, |number| call(&token, round, number).to_http(HOST, PATH)));
            until(|| kill_at <= self.gate.upstream.capture().count());
            self.gate.kill();
            load.join().unwrap()
        })
    }

    /// Checks that each request that came through since the last look has its allow.
    fn check_capture(&mut self, records: &[Value], round: u64) {
        let allowed: HashSet<&str> = records
            .iter()
            .filter(|record| is_allow(record))
            .map(|record| record["arguments_digest"].as_str().unwrap())
            .collect();
        let received = self.gate.upstream.capture().requests();
        for request in &received[self.checked..] {
            let digest = self.digest(request);
            assert!(
                allowed.contains(digest.as_str()),
                "round {round}: {} is not in the log",
                request.number
            );
        }
        self.checked = received.len();
    }

    /// The digest of a captured request's arguments as the records have it.
    fn digest(&self, request: &Arc<Received>) -> String {
        let body: Value = serde_json::from_slice(&request.body).unwrap();
        let padding = body["params"]["arguments"]["padding"].as_str().unwrap();
        let tag = hmac::sign(&self.key, arguments(padding).as_bytes());
        tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn call(&self, round: u64, number: u64) -> Call {
        call(&self.token, round, number)
    }

    /// Ends the gate in order: no pair is left open then.
    fn end(mut self) {
        self.gate.terminate();
        assert!(self.gate.wait().success());
        let records = self.gate.tail();
        self.check_capture(&records, u64::MAX);
        assert_eq!(ids(&records, is_allow), ids(&records, is_end));
        assert!(0 < self.unknown, "no kill found a request under way");
    }
}

/// A call with arguments that no other has.
fn call(token: &str, round: u64, number: u64) -> Call {
    Call::tools_call(
        Era::Modern,
        number,
        "demo.echo",
        &arguments(&format!("{round}-{number}")),
    )
    .bearer(token)
}

/// The exact bytes of the arguments, blanks included.
fn arguments(padding: &str) -> String {
    format!("{{ \"padding\" :\"{padding}\"}}")
}

fn digest_key(path: &Path) -> hmac::Key {
    let (_, secret) = stored_keys(path).pop().unwrap();
    hmac::Key::new(hmac::HMAC_SHA256, &secret)
}
