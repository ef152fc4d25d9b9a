use std::sync::Arc;
use std::task::Wake;
use std::thread;

use super::*;

#[derive(Default)]
struct Bell(AtomicUsize);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Bell {
    fn rings(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

fn waiting(durable: &Durable, position: u64) -> Arc<Bell> {
    let bell = Arc::new(Bell::default());
    durable.register(Position(position), Waker::from(Arc::clone(&bell)));
    bell
}

#[test]
fn a_position_is_reached_once_it_lies_below_the_watermark() {
    let durable = Durable::new(5);
    for (position, reached) in [(0, true), (4, true), (5, false), (6, false), (u64::MAX, false)] {
        assert_eq!(durable.reached(Position(position)), reached, "{position}");
    }
    durable.advance(5, 2);
    assert!(durable.reached(Position(6)));
    assert!(!durable.reached(Position(7)));
}

#[test]
fn each_waker_rings_once_when_its_position_is_reached_and_not_before() {
    let durable = Durable::new(0);
    let bells: Vec<_> = (0..300).map(|position| waiting(&durable, position)).collect();
    let mut next = 0;
    for count in [1, 2, 61, 64, 65, 100] {
        durable.advance(next, count);
        next += u64::from(count);
        for (position, bell) in bells.iter().enumerate() {
            let expected = usize::from((position as u64) < next);
            assert_eq!(bell.rings(), expected, "{position} after {next}");
        }
    }
}

#[test]
fn a_late_waker_rings_at_once_and_a_second_one_replaces_the_first() {
    let durable = Durable::new(3);
    assert_eq!(waiting(&durable, 2).rings(), 1);
    let first = waiting(&durable, 3);
    let second = waiting(&durable, 3);
    durable.advance(3, 1);
    assert_eq!((first.rings(), second.rings()), (0, 1));
}

#[test]
fn failure_wakes_everybody_and_takes_nothing_back() {
    let durable = Durable::new(1);
    let bells: Vec<_> = (1..200).map(|position| waiting(&durable, position)).collect();
    durable.fail();
    assert!(bells.iter().all(|bell| bell.rings() == 1));
    assert!(durable.failed());
    assert!(durable.reached(Position(0)));
    assert!(!durable.reached(Position(1)));
    assert_eq!(waiting(&durable, 7).rings(), 1);
    assert!(!durable.wait(Position(1), Duration::from_secs(3_600)));
    assert!(durable.wait(Position(0), Duration::from_secs(3_600)));
}

#[test]
fn a_thread_waits_until_its_position_or_its_patience_ends() {
    let durable = Durable::new(0);
    assert!(!durable.wait(Position(0), Duration::ZERO));
    thread::scope(|scope| {
        let waiters: Vec<_> = (0..4)
            .map(|position| {
                scope.spawn({
                    let durable = &durable;
                    move || durable.wait(Position(position), Duration::from_secs(60))
                })
            })
            .collect();
        for first in 0..4 {
            durable.advance(first, 1);
        }
        assert!(waiters.into_iter().all(|waiter| waiter.join().unwrap()));
    });
}

#[test]
fn no_wake_is_lost_between_asking_and_registering() {
    let durable = Durable::new(0);
    let positions = 20_000;
    thread::scope(|scope| {
        let waiter = scope.spawn(|| {
            for position in 0..positions {
                let bell = waiting(&durable, position);
                while bell.rings() == 0 {
                    std::hint::spin_loop();
                }
                assert!(durable.reached(Position(position)));
            }
        });
        for first in 0..positions {
            durable.advance(first, 1);
        }
        waiter.join().unwrap();
    });
    assert!(durable.shards.iter().all(|shard| shard.lock().len() < 512));
}
