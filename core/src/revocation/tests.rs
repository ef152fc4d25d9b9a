//! What may be asked for, what the list holds, and what a journal gives back. What a revocation means for a request is
//! tested with the gate.

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::record_id::RecordIds;

const NOW_S: u64 = 1_800_000_000;
const NOW: UnixTime = UnixTime::from_secs(NOW_S);
const BOUNDS: RevocationBounds = RevocationBounds {
    revocations_max: 3,
    lifetime_max: Duration::from_secs(3_600),
    leeway: Duration::from_secs(60),
};

fn request(json: &str) -> RevocationRequest {
    RevocationRequest::parse(json.as_bytes()).unwrap()
}

/// Revokes what the text asks for.
fn revoke(list: &RevocationList, source: RevocationSource, json: &str, now_s: u64) -> Result<Revoked, RevocationError> {
    let now = UnixTime::from_secs(now_s);
    list.revoke(&request(json), RecordIds::new([9; 16]).next(now), source, now, &BOUNDS)
}

#[test]
fn a_request_names_one_target_of_one_issuer_and_nothing_else() {
    let malformed = |told: &str| Some(RevocationError::Malformed(told.to_owned()));
    let long = format!(r#"{{"issuer":"i","jti":"{}"}}"#, "j".repeat(1_025));
    let cases = [
        (r#"{"issuer":"i","jti":"j"}"#, None),
        (
            r#"{"issuer":"i","subject":"s","tenant":"t","expires":1,"revoked_at":1,"reason":"left"}"#,
            None,
        ),
        (r#"{"issuer":"i","session":"s"}"#, None),
        (r#"{"issuer":"i","client_id":"c"}"#, None),
        (r#"{"issuer":"i"}"#, Some(RevocationError::Target)),
        (
            r#"{"issuer":"i","jti":"j","subject":"s"}"#,
            Some(RevocationError::Target),
        ),
        (r#"{"issuer":"","jti":"j"}"#, Some(RevocationError::Text("issuer"))),
        (r#"{"issuer":"i","jti":""}"#, Some(RevocationError::Text("jti"))),
        (r#"{"issuer":"i","jti":"a\nb"}"#, Some(RevocationError::Text("jti"))),
        (
            r#"{"issuer":"i","jti":"j","tenant":""}"#,
            Some(RevocationError::Text("tenant")),
        ),
        (&long, Some(RevocationError::Text("jti"))),
        (
            r#"{"jti":"j"}"#,
            malformed("missing field `issuer` at line 1 column 11"),
        ),
        (
            r#"{"issuer":"i","jti":"j","jti":"k"}"#,
            malformed("duplicate field `jti` at line 1 column 29"),
        ),
        (r#"{"issuer":"i","jti":7}"#, malformed("a member has the wrong type")),
        (
            r#"{"issuer":"i","jti":"j","expires":"1"}"#,
            malformed("a member has the wrong type"),
        ),
        (r#"{"issuer":"i","jti":"j"} {}"#, malformed("it is no JSON object")),
        (r#"["i","j"]"#, malformed("a member has the wrong type")),
        ("", malformed("it is no JSON object")),
    ];
    for (json, refusal) in cases {
        // Sequences stand for objects in serde's eyes; whatever it says, this is none.
        let parsed = RevocationRequest::parse(json.as_bytes());
        match (&refusal, &parsed) {
            (None, Ok(_)) => {}
            (Some(_), Err(error)) if json.starts_with('[') => assert!(matches!(error, RevocationError::Malformed(_))),
            (Some(expected), Err(error)) => assert_eq!(error, expected, "{json}"),
            _ => panic!("{json}: {parsed:?}"),
        }
    }
    let unknown = RevocationRequest::parse(br#"{"issuer":"i","jti":"j","token":"eyJ"}"#).unwrap_err();
    let told = unknown.to_string();
    assert!(told.contains("`token`") && !told.contains("eyJ"), "{told}");
}

#[test]
fn what_is_revoked_again_stays_revoked_for_longer_never_for_less() {
    let list = RevocationList::default();
    let act = |json: &str, now_s| revoke(&list, RevocationSource::Act, json, now_s).unwrap();
    let subject = |expires: u64| format!(r#"{{"issuer":"i","subject":"s","expires":{expires}}}"#);
    let first = act(&subject(NOW_S + 100), NOW_S);
    assert!(matches!(first, Revoked::Changed(_)));
    let shorter = act(&subject(NOW_S + 50), NOW_S);
    assert!(matches!(shorter, Revoked::Unchanged(_)));
    assert_eq!(shorter.entry().expires.secs(), NOW_S + 100);
    let later = act(&subject(NOW_S + 50), NOW_S + 10);
    assert_eq!(later.entry().revoked_at.secs(), NOW_S + 10, "a later login ends too");
    assert_eq!(later.entry().expires.secs(), NOW_S + 100);
    assert_eq!(list.len(), 1);

    // A list that is read again says nothing new.
    let again = revoke(&list, RevocationSource::List, &subject(NOW_S + 100), NOW_S + 20).unwrap();
    assert_eq!(again.entry().revoked_at.secs(), NOW_S + 10);
    assert!(matches!(again, Revoked::Unchanged(_)));
    let dated = format!(r#"{{"issuer":"i","subject":"s","revoked_at":{}}}"#, NOW_S + 15);
    let again = revoke(&list, RevocationSource::List, &dated, NOW_S + 20).unwrap();
    assert_eq!(again.entry().revoked_at.secs(), NOW_S + 15);
}

#[test]
fn times_that_mean_nothing_are_refused() {
    let list = RevocationList::default();
    let check = |source, members: &str, refusal: Option<RevocationError>| {
        let json = format!(r#"{{"issuer":"i","jti":"j{}"{members}}}"#, list.len());
        assert_eq!(revoke(&list, source, &json, NOW_S).err(), refusal, "{members}");
    };
    let (act, file) = (RevocationSource::Act, RevocationSource::List);
    let expires = |at: u64| format!(r#","expires":{at}"#);
    check(act, "", None);
    // The leeway lets a token live on after its `exp`.
    check(act, &expires(NOW_S - 59), None);
    check(act, &expires(NOW_S - 60), Some(RevocationError::Expired));
    // The clock of who revokes may be ahead as well.
    let ahead = r#"{"issuer":"i","jti":"j","revoked_at":1800000060}"#;
    assert!(revoke(&RevocationList::default(), act, ahead, NOW_S).is_ok());
    check(act, r#","revoked_at":1800000061"#, Some(RevocationError::Future));
    check(act, r#","revoked_at":1799990000"#, Some(RevocationError::Expired));
    check(file, "", Some(RevocationError::TimeMissing));
    check(file, r#","revoked_at":1800000000"#, None);
}

#[test]
fn a_full_list_refuses_and_forgets_nothing_that_is_in_force() {
    let list = RevocationList::default();
    let jti = |name: &str, expires: u64| format!(r#"{{"issuer":"i","jti":"{name}","expires":{expires}}}"#);
    let act = |name: &str, expires, now_s| revoke(&list, RevocationSource::Act, &jti(name, expires), now_s);
    for name in ["a", "b", "c"] {
        act(name, NOW_S + 10, NOW_S).unwrap();
    }
    assert_eq!(act("d", NOW_S + 10, NOW_S).err(), Some(RevocationError::Full(3)));
    assert_eq!(list.len(), 3);
    assert!(act("a", NOW_S + 500, NOW_S).is_ok(), "what is there may be renewed");
    // Two of the three have expired, with the leeway: there is room.
    assert_eq!(act("d", NOW_S + 500, NOW_S + 69).err(), Some(RevocationError::Full(3)));
    act("d", NOW_S + 500, NOW_S + 70).unwrap();
    let names: Vec<String> = list.entries().iter().map(|entry| entry.target.to_string()).collect();
    assert_eq!(names.len(), 2);
    assert!(
        names.contains(&"a".to_owned()) && names.contains(&"d".to_owned()),
        "{names:?}"
    );
}

/// Entries of every kind, with and without what may be absent.
fn samples() -> Vec<Arc<RevocationEntry>> {
    let list = RevocationList::default();
    let bounds = RevocationBounds {
        revocations_max: 100,
        ..BOUNDS
    };
    let texts = [
        r#"{"issuer":"https://a.example","jti":"j-1"}"#,
        r#"{"issuer":"https://a.example","subject":"al\"ice \\ \u00fc","tenant":"acme","reason":"left"}"#,
        r#"{"issuer":"https://a.example","session":"s"}"#,
        r#"{"issuer":"https://a.example","client_id":"c"}"#,
    ];
    let ids = RecordIds::new([1; 16]);
    texts
        .iter()
        .map(|text| {
            let revoked = list.revoke(&request(text), ids.next(NOW), RevocationSource::Act, NOW, &bounds);
            Arc::clone(revoked.unwrap().entry())
        })
        .collect()
}

#[test]
fn a_journal_cut_anywhere_gives_back_every_line_that_was_whole() {
    let samples = samples();
    let mut bytes = journal_header().to_vec();
    let mut ends = Vec::new();
    for entry in &samples {
        encode(entry, &mut bytes);
        ends.push(bytes.len());
    }
    for length in 0..=bytes.len() {
        let journal = read_journal(&bytes[..length]).unwrap_or_else(|error| panic!("cut at {length}: {error}"));
        let whole = ends.iter().filter(|end| **end <= length).count();
        assert_eq!(journal.entries.len(), whole, "cut at {length}");
        for (read, written) in journal.entries.iter().zip(&samples) {
            assert_eq!(read, &**written);
        }
        let header = journal_header().len();
        let expected = match whole.checked_sub(1) {
            Some(last) => ends[last],
            None if header <= length => header,
            None => 0,
        };
        assert_eq!(journal.whole_bytes, expected, "cut at {length}");
    }
}

#[test]
fn a_journal_changed_anywhere_is_refused_or_torn_at_its_end() {
    let samples = samples();
    let mut bytes = journal_header().to_vec();
    for entry in &samples {
        encode(entry, &mut bytes);
    }
    let last = bytes.len() - 1;
    for place in 0..bytes.len() {
        for flip in [0x01_u8, 0x20, 0x80] {
            let mut changed = bytes.clone();
            changed[place] ^= flip;
            match read_journal(&changed) {
                Err(_) => {}
                // The line feed of the last line alone: that is how a line looks which was never acknowledged.
                Ok(journal) => {
                    assert_eq!(place, last, "a change of byte {place} was not seen");
                    assert_eq!(journal.entries.len(), samples.len() - 1);
                }
            }
        }
    }
    assert_eq!(read_journal(b"{}\n"), Err(JournalError::Header));
    let mut gap = bytes.clone();
    gap.insert(journal_header().len(), b'\n');
    assert_eq!(read_journal(&gap), Err(JournalError::Damaged(2)));
}
