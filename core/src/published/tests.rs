//! Readers among writers: whole values alone, none lost, nobody waits. Small enough for Miri.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;

use super::Published;

const WRITERS: u64 = 2;
const READERS: usize = 2;
const EXCHANGES: u64 = if cfg!(miri) { 50 } else { 5_000 };

/// Stands for a set of keys: all its parts must be of one generation, most of them on the heap as keys are.
#[derive(Clone)]
struct Set {
    keys: Vec<u64>,
    check: u64,
}

impl Set {
    fn of(generation: u64) -> Self {
        Self {
            keys: vec![generation; 4],
            check: !generation,
        }
    }

    /// The generation, if all parts are of one.
    fn generation(&self) -> u64 {
        assert!(self.keys.iter().all(|key| !*key == self.check), "a set is torn");
        !self.check
    }
}

#[test]
fn every_look_up_sees_one_whole_value_and_no_exchange_is_lost() {
    let published = Published::new(Set::of(0));
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let readers: Vec<_> = (0..READERS)
            .map(|_| {
                scope.spawn(|| {
                    let (mut last, mut looks) = (0, 0_u64);
                    // One more look after the writers' last exchange, which must be its.
                    let mut over = false;
                    while !over {
                        over = done.load(Ordering::Acquire);
                        let generation = published.current().generation();
                        assert!(last <= generation, "an older value came back");
                        last = generation;
                        looks += 1;
                    }
                    (last, looks)
                })
            })
            .collect();
        let writers: Vec<_> = (0..WRITERS)
            .map(|_| {
                scope.spawn(|| {
                    for _ in 0..EXCHANGES {
                        published.exchange(|current| Set::of(current.generation() + 1));
                    }
                })
            })
            .collect();
        for writer in writers {
            writer.join().unwrap();
        }
        done.store(true, Ordering::Release);
        for reader in readers {
            let (last, looks) = reader.join().unwrap();
            assert_eq!(last, WRITERS * EXCHANGES);
            assert!(looks > 0);
        }
    });
}

#[test]
fn a_value_that_is_held_stays_while_others_come() {
    let published = Published::new(Set::of(0));
    let held = published.current();
    for _ in 0..3 {
        published.exchange(|current| Set::of(current.generation() + 1));
    }
    assert_eq!((held.generation(), published.current().generation()), (0, 3));
    assert_eq!(Arc::strong_count(&held), 1, "the publication still holds an old value");
}

/// Behind a lock, this test would never end: the writer is in the middle of its exchange while the look-ups are made.
#[test]
fn look_ups_do_not_wait_for_a_writer() {
    let published = Published::new(Set::of(0));
    let (inside, go) = (Barrier::new(2), Barrier::new(2));
    thread::scope(|scope| {
        scope.spawn(|| {
            published.exchange(|current| {
                inside.wait();
                go.wait();
                Set::of(current.generation() + 1)
            });
        });
        inside.wait();
        for _ in 0..100 {
            assert_eq!(published.current().generation(), 0);
        }
        go.wait();
    });
    assert_eq!(published.current().generation(), 1);
}
