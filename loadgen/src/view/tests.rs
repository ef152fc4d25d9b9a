//! What is seen while a load runs.

use std::time::Duration;

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::style::Color;

use super::screen::{Seen, draw};
use super::{Phase, Plain, Second, Silent, Watch};
use crate::latency::Times;
use crate::report::{Outcomes, samples};

fn second(phase: Phase, number: u64, times: &Times) -> Second<'_> {
    Second {
        phase,
        since_start: Duration::from_secs(number),
        planned: Duration::from_secs(65),
        rate_due: Some(2_000.0),
        times,
        outcomes: Outcomes {
            allowed: times.samples(),
            timeouts: u64::from(number == 3),
            ..Outcomes::default()
        },
        under_way: 12,
    }
}

fn screen(seen: &Seen, colour: bool, width: u16, height: u16) -> (Vec<String>, Vec<Color>) {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a terminal");
    terminal.draw(|frame| draw(frame, seen, colour)).expect("a drawing");
    let cells = terminal.backend().buffer().content();
    let lines = cells.chunks(usize::from(width));
    let lines = lines.map(|line| line.iter().map(|cell| cell.symbol()).collect());
    (
        lines.collect(),
        cells.iter().flat_map(|cell| [cell.fg, cell.bg]).collect(),
    )
}

fn seen() -> Seen {
    let mut seen = Seen::default();
    let (warm_up, times) = (samples::times(500, 9_000.0), samples::times(2_000, 180.0));
    seen.add(&second(Phase::WarmUp, 0, &warm_up));
    for number in 1..=4 {
        seen.add(&second(Phase::Measured, number, &times));
    }
    seen
}

#[test]
fn a_line_a_second() {
    let mut lines = Vec::new();
    let mut plain = Plain::new(&mut lines);
    let (none, times) = (Times::new(), samples::times(2_000, 180.0));
    plain.second(&Second {
        rate_due: None,
        ..second(Phase::WarmUp, 0, &none)
    });
    plain.second(&second(Phase::Measured, 3, &times));
    plain.end().expect("an end");
    let expected = "    0 s  warm-up   due       -/s  got     0.0/s  p50       -  p99       -  max       -  failed   0  \
                    under way   12\n\
                    \u{20}   3 s  measured  due   2,000/s  got   2,001/s  p50  180 µs  p99  565 µs  max 1.43 ms  \
                    failed   1  under way   12\n";
    assert_eq!(String::from_utf8(lines).expect("text"), expected);
}

#[test]
fn the_screen_shows_progress_times_and_failures() {
    let (lines, _) = screen(&seen(), true, 80, 24);
    let text = lines.join("\n");
    for part in [
        "portcullis-loadgen  measured  12 under way",
        "00:05 of 01:05",
        "│asked for     2,000/s",
        "│answered      2,000/s         2,000/s",
        "│p50            180 µs          180 µs",
        "│p99.99                too few samples",
        "outcomes: 1 failures",
        "│! no answer in time ",
        "│allowed, as expected ",
        " p99 a second, highest 27.",
        " answers a second, highest 2,001 ",
        "█",
    ] {
        assert!(text.contains(part), "`{part}` is missing in\n{text}");
    }
    // The warm-up is seen in the sparkline, but does not count.
    assert!(!text.contains("9.00 ms"), "{text}");
}

#[test]
fn without_colours_the_words_are_the_same() {
    let (coloured, colours) = screen(&seen(), true, 80, 24);
    let (plain, none) = screen(&seen(), false, 80, 24);
    assert_eq!(coloured, plain);
    assert!(colours.contains(&Color::Red));
    assert!(none.iter().all(|colour| *colour == Color::Reset));
}

#[test]
fn any_size_and_an_unstarted_load_can_be_drawn() {
    for (width, height) in [(1, 1), (20, 5), (80, 10), (300, 100)] {
        screen(&seen(), true, width, height);
        screen(&Seen::default(), true, width, height);
    }
    let (lines, _) = screen(&Seen::default(), true, 80, 24);
    assert!(lines[0].contains("waiting for the first second"));
    let mut unplanned = Seen::default();
    unplanned.add(&Second {
        planned: Duration::ZERO,
        ..second(Phase::Draining, 9, &Times::new())
    });
    screen(&unplanned, true, 80, 24);
}

#[test]
fn every_watch_of_several_ends() {
    struct Ends(std::rc::Rc<std::cell::Cell<u32>>, bool);
    impl Watch for Ends {
        fn second(&mut self, _second: &Second<'_>) {}

        fn end(&mut self) -> std::io::Result<()> {
            self.0.set(self.0.get() + 1);
            if self.1 {
                Err(std::io::ErrorKind::StorageFull.into())
            } else {
                Ok(())
            }
        }
    }
    let ends = std::rc::Rc::default();
    let watch = |fails| -> Box<dyn Watch> { Box::new(Ends(std::rc::Rc::clone(&ends), fails)) };
    let mut watches = vec![watch(false), watch(true), watch(false), Box::new(Silent)];
    assert!(watches.end().is_err());
    assert_eq!(ends.get(), 3);
}
