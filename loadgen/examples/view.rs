//! Shows the view of a load without a load: `cargo run -p portcullis-loadgen --example view`.
//!
//! With `panic` as its first word it panics half-way, to show that the terminal comes back.

use std::time::Duration;

use portcullis_loadgen::latency::Times;
use portcullis_loadgen::report::Outcomes;
use portcullis_loadgen::view::{Phase, Second, stderr_is_terminal, watch};

fn main() -> std::io::Result<()> {
    let panics = std::env::args().nth(1).is_some_and(|word| word == "panic");
    let mut view = watch(stderr_is_terminal(), false);
    for number in 0..12_u64 {
        let mut times = Times::new();
        let answers = 1_900 + 37 * (number % 5);
        for answer in 0..answers {
            times.add(Duration::from_micros(150 + answer / 20 + (answer % 100) * number));
        }
        assert!(!(panics && number == 6), "half-way");
        view.second(&Second {
            phase: if number < 3 { Phase::WarmUp } else { Phase::Measured },
            since_start: Duration::from_secs(number),
            planned: Duration::from_secs(12),
            rate_due: Some(2_000.0),
            times: &times,
            outcomes: Outcomes {
                allowed: answers - 100,
                denied: 100 - number,
                timeouts: number,
                ..Outcomes::default()
            },
            under_way: 3 * number,
        });
        std::thread::sleep(Duration::from_millis(400));
    }
    view.end()?;
    println!("the report stands here");
    Ok(())
}
