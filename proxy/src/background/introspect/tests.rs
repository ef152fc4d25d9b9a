use super::flights::{FLIGHTS_MAX, WAITERS_MAX};
use super::*;

fn question(token: u8) -> Question {
    (Arc::from("https://as.example"), Arc::from("metadata"), [token; 32])
}

fn answer() -> Answer {
    Ok(Arc::new(Fetched {
        status: 200,
        body: b"{}".to_vec(),
        cache_max_age_s: None,
    }))
}

#[test]
fn one_question_serves_all_who_wait_for_it() {
    let flights: Flights<Question, Answer> = Flights::default();
    let mut waiting = Vec::new();
    for place in 0..10 {
        let (sender, receiver) = oneshot::channel();
        let expected = if place == 0 { Joined::First } else { Joined::Waits };
        assert_eq!(flights.join(question(1), sender), expected);
        waiting.push(receiver);
    }
    let (sender, mut other) = oneshot::channel();
    assert_eq!(
        flights.join(question(2), sender),
        Joined::First,
        "another token is another question"
    );
    flights.land(&question(1), &answer());
    for mut receiver in waiting {
        assert_eq!(receiver.try_recv().unwrap().unwrap().status, 200);
    }
    assert!(other.try_recv().is_err(), "it is still out");
    let (sender, _receiver) = oneshot::channel();
    assert_eq!(
        flights.join(question(1), sender),
        Joined::First,
        "an answer is not kept here"
    );
}

#[test]
fn questions_and_waiters_are_bounded() {
    let flights: Flights<Question, Answer> = Flights::default();
    let mut kept = Vec::new();
    let mut join = |question: Question| {
        let (sender, receiver) = oneshot::channel();
        kept.push(receiver);
        flights.join(question, sender)
    };
    for _ in 0..WAITERS_MAX {
        assert_ne!(join(question(0)), Joined::Refused);
    }
    assert_eq!(join(question(0)), Joined::Refused);
    for number in 1..FLIGHTS_MAX {
        let mut digest = [9; 32];
        digest[..8].copy_from_slice(&number.to_le_bytes());
        assert_eq!(join((question(0).0, Arc::from("metadata"), digest)), Joined::First);
    }
    assert_eq!(join(question(1)), Joined::Refused);
    let elsewhere = (Arc::from("https://other.example"), Arc::from("metadata"), [1; 32]);
    assert_eq!(join(elsewhere), Joined::First, "another issuer has room of its own");
}
