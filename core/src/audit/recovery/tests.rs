use serde_json::Value;

use super::*;
use crate::audit::memory::MemoryStorage;
use crate::audit::{AuditLog, AuditSettings, read};
use crate::record_id::RecordIds;

fn open(storage: &MemoryStorage) -> (AuditLog, crate::audit::Writer) {
    AuditLog::open(
        Box::new(storage.clone()),
        AuditSettings::default(),
        UnixTime::from_secs(9),
    )
    .unwrap()
}

fn records(storage: &MemoryStorage) -> Vec<Value> {
    read(storage.clone())
        .map(|record| serde_json::from_slice(&record.unwrap().json).unwrap())
        .collect()
}

/// Writes one batch of each group and leaves, as a killed process does.
fn run(storage: &MemoryStorage, batches: &[Vec<String>]) {
    let (log, mut writer) = open(storage);
    for batch in batches {
        for record in batch {
            log.submit(record.clone().into_bytes()).unwrap();
        }
        writer.step();
    }
}

fn record(id: RecordId, phase: &str, decision: &str) -> String {
    format!(
        r#"{{"schema":1,"record_id":"{id}","phase":"{phase}","tenant":"a\"b","server":"crm","principal_id":"ff","decision":"{decision}"}}"#
    )
}

#[test]
fn each_allow_without_an_end_is_closed_once_as_unknown() {
    let ids = RecordIds::new([3; 16]);
    let next = || ids.next(UnixTime::from_secs(1));
    let (answered, denied, open_call, open_stream, closed_stream) = (next(), next(), next(), next(), next());
    let storage = MemoryStorage::default();
    run(
        &storage,
        &[
            vec![record(answered, "request", "allow"), record(denied, "request", "deny")],
            vec![
                record(open_stream, "request", "allow"),
                record(open_call, "request", "allow"),
            ],
            vec![
                record(closed_stream, "request", "allow"),
                record(closed_stream, "open", "allow"),
            ],
            vec![
                record(answered, "response", "deny"),
                record(open_stream, "open", "allow"),
            ],
            vec![
                record(open_stream, "part", "allow"),
                record(closed_stream, "close", "allow"),
            ],
            vec!["[]".to_owned(), r#"{"phase":"request"}"#.to_owned()],
        ],
    );
    let before = records(&storage).len();
    open(&storage);
    let closing = records(&storage).split_off(before);
    let seen: Vec<_> = closing
        .iter()
        .map(|record| (record["record_id"].as_str().unwrap(), record["phase"].as_str().unwrap()))
        .collect();
    let (stream, call) = (open_stream.to_string(), open_call.to_string());
    assert_eq!(seen, [(stream.as_str(), "close"), (call.as_str(), "response")]);
    for record in &closing {
        assert_eq!(record["outcome"], "unknown");
        assert_eq!(record["tenant"], "a\"b");
        assert_eq!(record["time"], "1970-01-01T00:00:09.000000Z");
    }
    open(&storage);
    assert_eq!(
        records(&storage).len(),
        before + 2,
        "a second start has nothing to close"
    );
}

#[test]
fn pairs_are_followed_over_the_last_segments() {
    let ids = RecordIds::new([4; 16]);
    let id = ids.next(UnixTime::from_secs(1));
    let storage = MemoryStorage::default();
    run(&storage, &[vec![record(id, "request", "allow")]]);
    let (log, mut writer) = open(&storage);
    log.submit(b"{}".to_vec()).unwrap();
    writer.step();
    let outcomes = || {
        records(&storage)
            .iter()
            .filter(|record| record["outcome"] == "unknown")
            .count()
    };
    assert_eq!(outcomes(), 1);
    drop(writer);
    open(&storage);
    assert_eq!(
        outcomes(),
        1,
        "the closing record stands in the segment after its request"
    );
}

#[test]
fn starts_without_records_leave_one_empty_segment() {
    let storage = MemoryStorage::default();
    for _ in 0..5 {
        open(&storage);
        assert_eq!(storage.segments().len(), 1);
    }
    run(&storage, &[vec!["{}".to_owned()]]);
    open(&storage);
    open(&storage);
    let segments = storage.segments();
    assert_eq!(segments.keys().copied().collect::<Vec<_>>(), [0, 1]);
    assert_eq!(records(&storage).len(), 1);
}

#[test]
fn zeros_at_the_end_are_a_torn_write_and_other_bytes_are_damage() {
    for (tail, taken) in [
        (vec![0; 1], true),
        (vec![0; 52], true),
        (vec![0; 10_000], true),
        (vec![1; 51], true),
        (vec![1; 52], false),
        ([vec![0; 9_999], vec![1]].concat(), false),
    ] {
        let storage = MemoryStorage::default();
        run(&storage, &[vec!["{}".to_owned()]]);
        storage.disk().segments.get_mut(&0).unwrap().extend_from_slice(&tail);
        let before = storage.segments();
        let opened = AuditLog::open(
            Box::new(storage.clone()),
            AuditSettings::default(),
            UnixTime::from_secs(9),
        );
        assert_eq!(opened.is_ok(), taken, "{} bytes", tail.len());
        if taken {
            assert_eq!(records(&storage).len(), 1);
        } else {
            assert_eq!(storage.segments(), before, "a damaged log is not touched");
        }
    }
}
