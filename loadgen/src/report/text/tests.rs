//! What a stranger reads.

use super::{compare, run};
use crate::report::{InvalidReason, SearchStep, ThresholdResult, samples};

fn check_form(text: &str) {
    assert!(text.ends_with('\n') && !text.contains("\n\n\n"));
    for line in text.lines() {
        assert!(line.chars().count() <= super::WIDTH, "too wide: {line}");
        assert_eq!(line.trim_end(), line, "blanks at the end");
        assert!(!line.chars().any(char::is_control), "{line}");
    }
}

fn check_lines(text: &str, lines: &[&str]) {
    check_form(text);
    let mut rest = text.lines();
    for line in lines {
        assert!(
            rest.any(|own| own == *line),
            "`{line}` is missing or out of order in\n{text}"
        );
    }
}

#[test]
fn a_run_reads_from_what_was_called_to_what_it_said() {
    check_lines(
        &run(&samples::run()),
        &[
            "target       full-chain http://127.0.0.1:8080/mcp HTTP/1.1, no TLS",
            "answered     119,998 of 120,000 calls in 60.02 s; 1,999/s of 2,000/s asked for; 2 failed (<0.01 %)",
            "Times in milliseconds",
            "            response time (from the intended start)   service time (from the first byte sent)",
            "  p50                                         0.180                                     0.170",
            "  p99                                         0.568                                     0.537",
            "  p99.99                                      1.782                                     1.683",
            "  p99.999    too few samples (120,000 of 1,000,000)    too few samples (120,000 of 1,000,000)",
            "Outcomes",
            "                                       calls     share",
            "  allowed, as expected               113,998      95 %",
            "  denied, as expected (no failure)     6,000       5 %",
            "  no answer in time                        2   <0.01 %   FAILURE",
            "Generator",
        ],
    );
}

#[test]
fn an_invalid_run_says_so_first() {
    let mut report = samples::run();
    report.validity.invalid = true;
    report.validity.reasons = vec![InvalidReason {
        code: String::from("late"),
        text: "3.2 % of the calls were taken up late, ".repeat(5),
    }];
    let text = run(&report);
    check_form(&text);
    assert!(text.lines().nth(1).expect("a line").contains("I N V A L I D"));
    assert!(text.lines().nth(2).expect("a line").starts_with("!!  - late: 3.2 %"));
    assert!(!run(&samples::run()).contains("I N V A L I D"));
}

#[test]
fn a_closed_loop_says_that_it_hides_waiting() {
    let mut report = samples::run();
    report.load.model = String::from("closed");
    report.load.rate = None;
    report.measured.response_time = None;
    let text = run(&report);
    check_form(&text);
    assert!(text.contains("closed loop (the next call waits for the last: NOT open loop"));
    assert!(text.contains("it hides waiting"));
    assert!(!text.contains("response time (from"));
    assert!(!run(&samples::run()).contains("hides waiting"));
}

#[test]
fn thresholds_and_steps_stand_as_tables() {
    let mut report = samples::run();
    let threshold = |expression: &str, measured, failed| ThresholdResult {
        expression: String::from(expression),
        measured,
        failed,
    };
    report.thresholds = vec![
        threshold("p99>2ms", Some(0.568), false),
        threshold("p50>100us", Some(180.0), true),
        threshold("p99.999>1s", None, true),
    ];
    report.steps = vec![
        SearchStep {
            rate: 2_000.0,
            us: Some(568.0),
            held: true,
            why: None,
        },
        SearchStep {
            rate: 4_000.0,
            us: None,
            held: false,
            why: Some(String::from("the generator was late ").repeat(9)),
        },
    ];
    check_lines(
        &run(&report),
        &[
            "Steps of the search",
            "  step   rate /s           time ms   verdict   why",
            "  1        2,000             0.568   held",
            "Thresholds",
            "  fail if p99>2ms      passed   measured 0.568",
            "  fail if p50>100us    FAILED   measured 180",
            "  fail if p99.999>1s   FAILED   could not be told, which counts as failed",
        ],
    );
}

#[test]
fn a_comparison_shows_what_each_target_costs() {
    check_lines(
        &compare(&samples::compare()),
        &[
            "target       direct: the upstream, called directly (http://127.0.0.1:8080/direct)",
            "                 CPU µs   user   kernel   rounds   open loop   answers/s   rounds     memory",
            "  direct           21.0    9.5     11.6   ±1.5 %        33.6     42,857*   ±2.5 %   32.0 MiB",
            "  full-chain      105.0   47.2     57.8   ±1.5 %       168.0       8,571   ±2.5 %   32.0 MiB",
            "                   p50    added     p99    added   p99.9    added     max   samples",
            "  full-chain / direct         5.00x        0.20x   2.50x   2.50x   2.50x   2.50x",
            "Stages of full-chain in the open phase, from its own histogram",
            "  stage         count      mean       p50       p99   share of the sum",
            "  forward      40,000    310 µs    279 µs   1.24 ms             85.6 %",
        ],
    );
}

#[test]
fn names_cannot_move_the_cursor() {
    let mut report = samples::run();
    report.target.name = String::from("a\u{1b}[2Jb\u{9b}c");
    check_form(&run(&report));
    assert!(run(&report).contains("a?[2Jb?c"));
}
