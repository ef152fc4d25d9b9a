use std::time::{Duration, Instant};

use super::Pacer;

/// Waits for `spans` one after another and tells how much was missing each time.
fn wait(spans: &[Duration]) -> Vec<Duration> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let pacer = Pacer::new().unwrap();
        let mut missing = Vec::new();
        for span in spans {
            let due = Instant::now() + *span;
            pacer.until(due).await.unwrap();
            missing.push(due.saturating_duration_since(Instant::now()));
        }
        missing
    })
}

#[test]
fn never_returns_early() {
    let spans = [0, 1, 50, 300, 999, 1_000, 2_500, 10].map(Duration::from_micros);
    assert_eq!(wait(&spans), vec![Duration::ZERO; spans.len()]);
}

#[test]
fn returns_at_once_for_the_past() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let pacer = Pacer::new().unwrap();
        // Were the timer set, this would never come back: a timer of no time is switched off.
        pacer.until(Instant::now() - Duration::from_secs(1)).await.unwrap();
        pacer.until(Instant::now()).await.unwrap();
    });
}
