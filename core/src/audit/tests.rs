//! The log as a whole: crashes at every byte, damage of every byte, real files.

use std::collections::BTreeMap;
use std::ops::Range;

use super::memory::MemoryStorage;
use super::*;

fn settings() -> AuditSettings {
    AuditSettings {
        segment_bytes_max: 300,
        ..AuditSettings::default()
    }
}

fn record(number: u64) -> Vec<u8> {
    format!("{{\"n\":{number}}}").into_bytes()
}

/// Writes the numbered records in batches of three; returns how many were acknowledged.
fn write(storage: &MemoryStorage, numbers: Range<u64>) -> u64 {
    let Ok((log, mut writer)) = AuditLog::open(Box::new(storage.clone()), settings(), UnixTime::from_secs(1)) else {
        return 0;
    };
    let mut acknowledged = 0;
    for number in numbers {
        let Ok(position) = log.submit(record(number)) else {
            break;
        };
        if number % 3 == 2 {
            writer.step();
            if log.durable().reached(position) {
                acknowledged = number + 1;
            }
        }
    }
    acknowledged
}

/// The numbers in the log, after checking that each stands at its own position.
fn numbers(storage: &MemoryStorage) -> u64 {
    let mut count = 0;
    for stored in read(storage.clone()) {
        let stored = stored.unwrap();
        assert_eq!(stored.position.index(), count);
        assert_eq!(stored.json, record(count));
        count += 1;
    }
    count
}

fn whole_log() -> BTreeMap<u64, Vec<u8>> {
    let storage = MemoryStorage::default();
    assert_eq!(write(&storage, 0..15), 15);
    storage.segments()
}

fn bytes(segments: &BTreeMap<u64, Vec<u8>>) -> usize {
    segments.values().map(Vec::len).sum()
}

#[test]
fn a_crash_at_any_byte_loses_nothing_acknowledged_and_the_log_goes_on() {
    let log = whole_log();
    assert!(log.len() > 2);
    for room in 0..=bytes(&log) {
        let storage = MemoryStorage::default();
        storage.disk().room = room;
        let acknowledged = write(&storage, 0..15);
        let kept = numbers(&storage);
        assert!(acknowledged <= kept, "after {room} bytes");
        storage.disk().room = usize::MAX;
        assert_eq!(write(&storage, kept..kept + 6), kept + 6, "after {room} bytes");
        assert_eq!(numbers(&storage), kept + 6, "after {room} bytes");
    }
}

#[test]
fn a_crash_in_the_start_after_a_crash_loses_nothing_either() {
    for room in (0..bytes(&whole_log())).step_by(7) {
        for again in [0, 1, 63, 64, 65, 140] {
            let storage = MemoryStorage::default();
            storage.disk().room = room;
            let acknowledged = write(&storage, 0..15);
            storage.disk().room = again;
            let kept = numbers(&storage);
            write(&storage, kept..kept + 3);
            let kept = numbers(&storage);
            assert!(acknowledged <= kept);
            storage.disk().room = usize::MAX;
            assert_eq!(
                write(&storage, kept..kept + 3),
                kept + 3,
                "after {room} and {again} bytes"
            );
        }
    }
}

#[test]
fn a_changed_byte_is_found_wherever_it_is() {
    let log = whole_log();
    for (segment, content) in &log {
        for at in 0..content.len() {
            let mut changed = log.clone();
            changed.get_mut(segment).unwrap()[at] ^= 1;
            let storage = MemoryStorage::of(changed.clone());
            let fault = read(storage.clone()).find_map(Result::err);
            assert!(
                matches!(fault, Some(ReadError::Damaged { segment: named, offset, .. })
                    if named == *segment && offset <= at as u64),
                "byte {at} of segment {segment}: {fault:?}"
            );
            if *segment + 1 >= log.len() as u64 - 1 {
                assert!(AuditLog::open(Box::new(storage.clone()), settings(), UnixTime::from_secs(1)).is_err());
                assert_eq!(storage.segments(), changed, "a damaged log is not touched");
            }
        }
    }
}

/// Changes a whole log and compares the fault that a reader finds.
fn check_fault(expected: Option<Fault>, case: &str, change: impl FnOnce(&mut BTreeMap<u64, Vec<u8>>)) {
    let mut log = whole_log();
    change(&mut log);
    let found = match read(MemoryStorage::of(log)).find_map(Result::err) {
        Some(ReadError::Damaged { fault, .. }) => Some(fault),
        Some(other) => panic!("{case}: {other}"),
        None => None,
    };
    assert_eq!(found, expected, "{case}");
}

#[test]
fn cuts_gaps_and_swaps_are_found_and_a_torn_end_is_an_end() {
    let last = whole_log().len() as u64 - 1;
    let shorten = |log: &mut BTreeMap<u64, Vec<u8>>, segment| {
        log.get_mut(&segment).unwrap().pop();
    };
    let empty = |log: &mut BTreeMap<u64, Vec<u8>>, segment| log.get_mut(&segment).unwrap().clear();
    check_fault(None, "nothing happened", |_| {});
    check_fault(None, "the last segment lost bytes", |log| shorten(log, last));
    check_fault(None, "the last segment is empty", |log| empty(log, last));
    check_fault(None, "the oldest segment was deleted by age", |log| {
        drop(log.remove(&0))
    });
    check_fault(Some(Fault::Cut), "another segment lost bytes", |log| shorten(log, 0));
    check_fault(Some(Fault::Cut), "another segment is empty", |log| empty(log, 1));
    check_fault(Some(Fault::Missing), "a segment is missing", |log| drop(log.remove(&1)));
    check_fault(Some(Fault::Position), "a batch is missing", |log| {
        log.get_mut(&0).unwrap().truncate(64);
    });
    check_fault(Some(Fault::Position), "a batch stands twice", |log| {
        let content = log.get_mut(&0).unwrap();
        content.extend_from_within(64..);
    });
    check_fault(Some(Fault::Header), "two segments are swapped", |log| {
        let (one, two) = (log[&0].clone(), log[&1].clone());
        log.extend([(0, two), (1, one)]);
    });
}

#[test]
fn a_log_written_anew_from_the_middle_breaks_the_chain() {
    let log = whole_log();
    let other = MemoryStorage::default();
    // As many records in as many batches, with another first one.
    let (handle, mut writer) = AuditLog::open(Box::new(other.clone()), settings(), UnixTime::from_secs(1)).unwrap();
    for number in [7, 1, 2, 3, 4, 5, 6, 7, 8] {
        let position = handle.submit(record(number)).unwrap();
        if position.index() % 3 == 2 {
            writer.step();
        }
    }
    let mut mixed = log;
    mixed.insert(0, other.segments()[&0].clone());
    let fault = read(MemoryStorage::of(mixed)).find_map(Result::err);
    assert!(
        matches!(
            fault,
            Some(ReadError::Damaged {
                segment: 1,
                fault: Fault::Chain,
                ..
            })
        ),
        "{fault:?}"
    );
}

#[test]
fn a_reader_follows_a_log_that_grows() {
    let storage = MemoryStorage::default();
    let mut records = read(storage.clone());
    assert!(records.next().is_none());
    let (log, mut writer) = AuditLog::open(Box::new(storage.clone()), settings(), UnixTime::from_secs(1)).unwrap();
    for number in 0..40 {
        assert!(records.next().is_none());
        log.submit(record(number)).unwrap();
        writer.step();
        let stored = records.next().unwrap().unwrap();
        assert_eq!((stored.position.index(), stored.json), (number, record(number)));
    }
    assert!(storage.segments().len() > 3);
    storage.disk().room = 10;
    log.submit(record(40)).unwrap();
    writer.step();
    assert!(records.next().is_none());
    assert_eq!(records.torn_bytes(), 10);
}

#[test]
fn real_files_keep_what_was_written_over_restarts() {
    let folder = tempfile::tempdir().unwrap();
    let mut expected = Vec::new();
    for round in 0..3 {
        let storage = FileStorage::open(folder.path()).unwrap();
        let (log, thread) = AuditLog::start(Box::new(storage), settings(), UnixTime::from_secs(1)).unwrap();
        for number in 0..50 {
            let text = record(round * 100 + number);
            let position = log.submit(text.clone()).unwrap();
            assert!(log.durable().wait(position, std::time::Duration::from_secs(60)));
            expected.push(text);
        }
        assert_eq!(thread.seal(), Ok(()));
    }
    let found: Vec<_> = read(FileSegments::new(folder.path()))
        .map(|stored| stored.unwrap().json)
        .collect();
    assert_eq!(found, expected);
}
