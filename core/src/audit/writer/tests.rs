use super::*;
use crate::audit::memory::MemoryStorage;
use crate::audit::{AuditLog, AuditUnavailable, Position, read};
use crate::time::UnixTime;

fn settings() -> AuditSettings {
    AuditSettings {
        queue_records: 8,
        record_bytes_max: 100,
        ..AuditSettings::default()
    }
}

fn open(storage: &MemoryStorage, settings: AuditSettings) -> (AuditLog, Writer) {
    AuditLog::open(Box::new(storage.clone()), settings, UnixTime::from_secs(1)).unwrap()
}

fn record(number: usize) -> Vec<u8> {
    format!("{{\"n\":{number}}}").into_bytes()
}

fn stored(storage: &MemoryStorage) -> Vec<Vec<u8>> {
    read(storage.clone()).map(|record| record.unwrap().json).collect()
}

#[test]
fn what_waits_goes_out_in_one_write_and_only_then_is_durable() {
    let storage = MemoryStorage::default();
    let (log, mut writer) = open(&storage, settings());
    let header_writes = storage.disk().writes;
    assert_eq!(writer.step(), Step::Idle);
    let positions: Vec<_> = (0..5).map(|number| log.submit(record(number)).unwrap()).collect();
    assert!(positions.windows(2).all(|pair| pair[0] < pair[1]));
    assert!(!log.durable().reached(positions[0]));
    assert_eq!(writer.step(), Step::Wrote(5));
    assert_eq!(storage.disk().writes, header_writes + 1);
    assert!(log.durable().reached(positions[4]));
    assert_eq!(stored(&storage), (0..5).map(record).collect::<Vec<_>>());
}

#[test]
fn records_go_out_in_the_order_of_positions_and_never_past_a_gap() {
    let storage = MemoryStorage::default();
    let (log, mut writer) = open(&storage, settings());
    let shared = Arc::clone(&log.shared);
    // Three submitters have their positions; they hand over in the wrong order.
    shared.slots.fetch_add(3, std::sync::atomic::Ordering::SeqCst);
    shared.queue.push((2, record(2))).unwrap();
    assert_eq!(writer.step(), Step::Idle);
    shared.queue.push((0, record(0))).unwrap();
    assert_eq!(writer.step(), Step::Wrote(1));
    assert!(!log.durable().reached(Position::new(2)));
    log.close();
    assert_eq!(writer.step(), Step::Idle, "one is still to come");
    shared.queue.push((1, record(1))).unwrap();
    assert_eq!(writer.step(), Step::Wrote(2));
    assert_eq!(writer.step(), Step::Sealed);
    assert_eq!(stored(&storage), (0..3).map(record).collect::<Vec<_>>());
}

#[test]
fn a_full_queue_and_a_long_record_are_refused_and_leave_no_gap() {
    let storage = MemoryStorage::default();
    let (log, mut writer) = open(&storage, settings());
    for number in 0..8 {
        assert_eq!(log.available(), Ok(()));
        log.submit(record(number)).unwrap();
    }
    assert_eq!(log.submit(record(8)), Err(AuditUnavailable::Full));
    assert_eq!(log.available(), Err(AuditUnavailable::Full));
    assert_eq!(writer.step(), Step::Wrote(8));
    assert_eq!(log.submit(vec![b' '; 101]), Err(AuditUnavailable::TooLong));
    let position = log.submit(vec![b' '; 100]).unwrap();
    assert_eq!(position.index(), 8);
    assert_eq!(writer.step(), Step::Wrote(1));
}

#[test]
fn batches_and_segments_end_at_their_bounds() {
    let storage = MemoryStorage::default();
    let bounds = AuditSettings {
        batch_bytes_max: 25,
        segment_bytes_max: 250,
        ..settings()
    };
    let (log, mut writer) = open(&storage, bounds);
    for number in 0..6 {
        log.submit(record(number)).unwrap();
    }
    log.submit(vec![b'x'; 90]).unwrap();
    // 11 bytes a record with its length: two fit, and one that is too long for a batch has a batch of its own.
    for count in [2, 2, 2, 1] {
        assert_eq!(writer.step(), Step::Wrote(count));
    }
    assert_eq!(writer.step(), Step::Idle);
    let lengths: Vec<_> = storage.segments().values().map(Vec::len).collect();
    assert_eq!(lengths, [64 + 2 * 78, 64 + 78, 64 + 150]);
    assert_eq!(stored(&storage).len(), 7);
}

#[test]
fn after_a_failed_write_nothing_is_accepted_or_written_again() {
    for room in [0, 1, 30, 66] {
        let storage = MemoryStorage::default();
        let (log, mut writer) = open(&storage, settings());
        let kept = log.submit(record(0)).unwrap();
        assert_eq!(writer.step(), Step::Wrote(1));
        storage.disk().room = room;
        let lost = log.submit(record(1)).unwrap();
        assert_eq!(writer.step(), Step::Failed);
        storage.disk().room = usize::MAX;
        let writes = storage.disk().writes;
        assert!(log.durable().failed());
        assert!(log.durable().reached(kept));
        assert!(!log.durable().reached(lost));
        assert_eq!(log.submit(record(2)), Err(AuditUnavailable::Failed));
        assert_eq!(log.available(), Err(AuditUnavailable::Failed));
        assert_eq!(writer.step(), Step::Failed);
        assert_eq!(storage.disk().writes, writes, "nothing follows torn bytes");
        assert_eq!(stored(&storage), [record(0)]);
    }
}

#[test]
fn a_failed_roll_fails_the_log() {
    let storage = MemoryStorage::default();
    let bounds = AuditSettings {
        segment_bytes_max: 100,
        ..settings()
    };
    let (log, mut writer) = open(&storage, bounds);
    log.submit(record(0)).unwrap();
    assert_eq!(writer.step(), Step::Wrote(1));
    storage.disk().segments.insert(1, Vec::new());
    log.submit(record(1)).unwrap();
    assert_eq!(writer.step(), Step::Failed);
}

#[test]
fn sealing_writes_what_was_accepted_and_refuses_the_rest() {
    let storage = MemoryStorage::default();
    let (log, thread) = AuditLog::start(Box::new(storage.clone()), settings(), UnixTime::from_secs(1)).unwrap();
    let position = log.submit(record(0)).unwrap();
    assert_eq!(thread.seal(), Ok(()));
    assert!(log.durable().reached(position));
    assert!(storage.disk().closed);
    assert_eq!(log.submit(record(1)), Err(AuditUnavailable::Sealed));
    assert_eq!(stored(&storage), [record(0)]);
}

#[test]
fn sealing_a_failed_log_says_so() {
    let storage = MemoryStorage::default();
    let (log, thread) = AuditLog::start(Box::new(storage.clone()), settings(), UnixTime::from_secs(1)).unwrap();
    storage.disk().room = 3;
    let position = log.submit(record(0)).unwrap();
    assert!(!log.durable().wait(position, std::time::Duration::from_secs(60)));
    assert_eq!(thread.seal(), Err(SealError::Failed));
}

#[test]
fn a_log_whose_writer_is_gone_accepts_nothing() {
    let storage = MemoryStorage::default();
    let (log, writer) = open(&storage, settings());
    drop(writer);
    assert_eq!(log.submit(record(0)), Err(AuditUnavailable::Failed));
    assert!(log.durable().failed());
}

#[test]
fn buffers_come_back_empty() {
    let storage = MemoryStorage::default();
    let (log, mut writer) = open(&storage, settings());
    let mut buffer = log.buffer();
    buffer.extend_from_slice(b"{}");
    let address = buffer.as_ptr();
    log.submit(buffer).unwrap();
    writer.step();
    let again = log.buffer();
    assert_eq!((again.as_ptr(), again.len()), (address, 0));
}

#[test]
fn many_threads_lose_nothing_and_see_only_durable_records() {
    let storage = MemoryStorage::default();
    let bounds = AuditSettings {
        queue_records: 64,
        segment_bytes_max: 64 * 1024,
        ..settings()
    };
    let (log, writer) = AuditLog::start(Box::new(storage.clone()), bounds, UnixTime::from_secs(1)).unwrap();
    let (threads, each) = (4, 2_000);
    let mut expected: Vec<(u64, Vec<u8>)> = thread::scope(|scope| {
        let submitters: Vec<_> = (0..threads)
            .map(|thread| {
                let log = log.clone();
                scope.spawn(move || {
                    let mut mine = Vec::new();
                    for number in 0..each {
                        let text = record(thread * each + number);
                        let mut buffer = log.buffer();
                        buffer.extend_from_slice(&text);
                        let position = log.submit(buffer).unwrap();
                        if number % 7 == 0 {
                            assert!(log.durable().wait(position, std::time::Duration::from_secs(60)));
                        }
                        mine.push((position.index(), text));
                        while log.available().is_err() {
                            thread::yield_now();
                        }
                    }
                    mine
                })
            })
            .collect();
        submitters
            .into_iter()
            .flat_map(|submitter| submitter.join().unwrap())
            .collect()
    });
    assert_eq!(writer.seal(), Ok(()));
    expected.sort();
    let found: Vec<_> = read(storage.clone())
        .map(|stored| stored.unwrap())
        .map(|stored| (stored.position.index(), stored.json))
        .collect();
    assert_eq!(found, expected);
    assert!(storage.segments().len() > 1);
}
