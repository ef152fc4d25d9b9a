//! When a bundle is fetched.

use super::*;

const SETTINGS: FetchSettings = FetchSettings {
    delay_min: Duration::from_secs(60),
    delay_max: Duration::from_secs(120),
    long_poll: None,
    fetch_deadline: Duration::from_secs(10),
    bytes_max: 1_000,
    deltas: true,
};

fn at(secs: u64) -> UnixTime {
    UnixTime::from_secs(1_000_000 + secs)
}

fn answer(status: u16, etag: Option<&str>, content_type: &str) -> BundleAnswer {
    BundleAnswer {
        status,
        etag: etag.map(Arc::from),
        content_type: Some(Box::from(content_type)),
        body: b"x".to_vec(),
    }
}

fn wait(fetcher: &BundleFetcher, now: UnixTime) -> Duration {
    fetcher.next_wake(now).since(now)
}

#[test]
fn an_etag_is_sent_once_its_bundle_is_active() {
    let mut fetcher = BundleFetcher::new(SETTINGS, None);
    let first = fetcher.poll_fetch(at(0)).unwrap();
    assert_eq!((first.etag, first.prefer.as_str()), (None, "modes=snapshot,delta"));
    assert_eq!(first.deadline, Duration::from_secs(10));
    assert_eq!(fetcher.poll_fetch(at(1)), None, "one fetch at a time");
    let news = fetcher.on_fetched(first.id, Ok(answer(200, Some("\"a\""), "application/gzip")), at(1), 0);
    assert_eq!(news, Some(BundleNews::Bytes(b"x".to_vec())));
    assert_eq!(
        fetcher.on_fetched(first.id, Ok(answer(200, None, "")), at(1), 0),
        None,
        "nobody's answer"
    );
    assert_eq!(wait(&fetcher, at(1)), Duration::from_secs(60));
    fetcher.on_refused(at(1), 0);
    assert_eq!(wait(&fetcher, at(1)), Duration::from_millis(500));
    let second = fetcher.poll_fetch(at(2)).unwrap();
    assert_eq!(second.etag, None, "a refused bundle is asked for again");
    fetcher.on_fetched(
        second.id,
        Ok(answer(200, Some("\"b\""), "application/gzip")),
        at(2),
        60_000,
    );
    fetcher.on_activated();
    assert_eq!(wait(&fetcher, at(2)), Duration::from_secs(120));
    let third = fetcher.poll_fetch(at(122)).unwrap();
    assert_eq!(third.etag.as_deref(), Some("\"b\""));
    let news = fetcher.on_fetched(third.id, Ok(answer(304, None, "")), at(122), 0);
    assert_eq!(news, Some(BundleNews::Unchanged));
    assert_eq!(fetcher.etag().map(|etag| &**etag), Some("\"b\""));
}

#[test]
fn failures_are_followed_ever_more_slowly_and_each_at_another_time() {
    let mut fetcher = BundleFetcher::new(SETTINGS, None);
    let (mut now, mut waits) = (at(0), Vec::new());
    for _ in 0..10 {
        let request = fetcher.poll_fetch(now).unwrap();
        let news = fetcher.on_fetched(request.id, Err(BundleFetchError::Connection), now, u64::MAX);
        assert_eq!(news, Some(BundleNews::Failed(BundleFetchError::Connection)));
        waits.push(wait(&fetcher, now));
        now = fetcher.next_wake(now);
    }
    assert!(
        waits.windows(2).all(|pair| pair[0] < pair[1] + Duration::from_secs(60)),
        "{waits:?}"
    );
    assert!(waits.iter().all(|wait| *wait <= SETTINGS.delay_max), "{waits:?}");
    for (status, etag) in [(304, None), (404, None), (500, None), (302, None), (206, Some("\"a\""))] {
        let mut fetcher = BundleFetcher::new(SETTINGS, None);
        let request = fetcher.poll_fetch(at(0)).unwrap();
        let news = fetcher.on_fetched(request.id, Ok(answer(status, etag, "")), at(0), 0);
        assert_eq!(news, Some(BundleNews::Failed(BundleFetchError::Status(status))));
    }
    // An answer that never came is given up.
    let mut fetcher = BundleFetcher::new(SETTINGS, None);
    let lost = fetcher.poll_fetch(at(0)).unwrap();
    assert_eq!(fetcher.poll_fetch(at(19)), None);
    let next = fetcher.poll_fetch(at(20)).unwrap();
    assert_ne!(lost.id, next.id);
    assert_eq!(fetcher.on_fetched(lost.id, Ok(answer(200, None, "")), at(21), 0), None);
}

#[test]
fn a_server_that_holds_its_answer_back_is_asked_again_at_once() {
    let settings = FetchSettings {
        long_poll: Some(Duration::from_secs(30)),
        deltas: false,
        ..SETTINGS
    };
    let mut fetcher = BundleFetcher::new(settings, Some(Arc::from("\"a\"")));
    let request = fetcher.poll_fetch(at(0)).unwrap();
    assert_eq!(request.prefer, "modes=snapshot;wait=30");
    assert_eq!(request.etag.as_deref(), Some("\"a\""));
    assert_eq!(request.deadline, Duration::from_secs(40));
    let held = answer(304, None, "application/vnd.openpolicyagent.bundles");
    fetcher.on_fetched(request.id, Ok(held), at(30), 0);
    assert_eq!(wait(&fetcher, at(30)), HELD_PAUSE);
    let request = fetcher.poll_fetch(at(31)).unwrap();
    fetcher.on_fetched(request.id, Ok(answer(304, None, "application/gzip")), at(31), 0);
    assert_eq!(
        wait(&fetcher, at(31)),
        Duration::from_secs(60),
        "this one does not hold"
    );
    // An `ETag` that no header could carry is not kept.
    let request = fetcher.poll_fetch(at(91)).unwrap();
    fetcher.on_fetched(request.id, Ok(answer(200, Some("a\nb"), "")), at(91), 0);
    fetcher.on_activated();
    assert_eq!(fetcher.etag(), None);
}
