//! Expressions, and what becomes of them.

use super::{Threshold, parse};
use crate::report::{CompareReport, RunReport, samples};

fn threshold(expression: &str) -> Threshold {
    parse(expression).unwrap_or_else(|error| panic!("{expression}: {error}"))
}

fn check_run(report: &RunReport, cases: &[(&str, bool, Option<f64>)]) {
    for (expression, failed, measured) in cases {
        let result = threshold(expression).judge_run(report);
        assert_eq!(result.expression, expression.trim());
        check(expression, (result.failed, result.measured), (*failed, *measured));
    }
}

fn check_compare(report: &CompareReport, cases: &[(&str, bool, Option<f64>)]) {
    for (expression, failed, measured) in cases {
        let result = threshold(expression).judge_compare(report);
        check(expression, (result.failed, result.measured), (*failed, *measured));
    }
}

fn check(expression: &str, got: (bool, Option<f64>), expected: (bool, Option<f64>)) {
    assert_eq!(got.0, expected.0, "{expression} measured {:?}", got.1);
    let close = match (got.1, expected.1) {
        (Some(got), Some(expected)) => (got - expected).abs() <= 1e-9 * expected.abs(),
        (got, expected) => got == expected,
    };
    assert!(close, "{expression} measured {:?}", got.1);
}

#[test]
fn a_run_is_judged_by_each_metric() {
    let report = samples::run();
    let p99 = report
        .measured
        .response_time
        .as_ref()
        .expect("an open loop")
        .at(99.0)
        .expect("samples");
    let service = report.measured.service_time.at(99.0).expect("samples");
    let response = report.measured.response_time.clone().expect("an open loop");
    check_run(
        &report,
        &[
            ("p99>2ms", false, Some(p99 / 1_000.0)),
            ("p99 > 2 ms", false, Some(p99 / 1_000.0)),
            ("p99>0.1ms", true, Some(p99 / 1_000.0)),
            ("p99>100us", true, Some(p99)),
            ("p99>100000ns", true, Some(p99 * 1_000.0)),
            ("p99<1s", true, Some(p99 / 1e6)),
            ("service.p99>2ms", false, Some(service / 1_000.0)),
            ("full-chain.service.p99>2ms", false, Some(service / 1_000.0)),
            ("max>1s", false, Some(response.max_us / 1e6)),
            ("mean<=1us", false, Some(response.mean_us)),
            ("failures>1", true, Some(2.0)),
            ("failures>2", false, Some(2.0)),
            ("failures>=2", true, Some(2.0)),
            ("failures<=2", true, Some(2.0)),
            ("failures<2", false, Some(2.0)),
            ("failure-share>1%", false, Some(100.0 * 2.0 / 120_000.0)),
            ("failure-share>0.00001", true, Some(2.0 / 120_000.0)),
            ("late-share>0.01%", true, Some(0.02)),
            ("rate<1990", false, Some(1_999.3)),
            ("rate<2000", true, Some(1_999.3)),
            // What cannot be told fails.
            ("p99.999>10s", true, None),
            ("p99.999<10s", true, None),
            ("cpu>1s", true, None),
            ("direct.p99>1s", true, None),
            ("full-chain/direct.p99>100", true, None),
        ],
    );
}

#[test]
fn a_run_without_answers_fails_by_its_times() {
    let report = RunReport {
        measured: crate::report::Measured::default(),
        ..samples::run()
    };
    check_run(
        &report,
        &[
            ("max>1s", true, None),
            ("mean>1s", true, None),
            ("p50>1s", true, None),
            ("failure-share>1%", true, None),
            ("failures>0", false, Some(0.0)),
        ],
    );
}

#[test]
fn a_closed_loop_is_judged_by_its_service_time() {
    let mut report = samples::run();
    report.measured.response_time = None;
    let service = report.measured.service_time.at(50.0).expect("samples");
    check_run(&report, &[("p50>1ms", false, Some(service / 1_000.0))]);
}

#[test]
fn a_comparison_is_judged_by_target_or_by_the_worst() {
    let report = samples::compare();
    check_compare(
        &report,
        &[
            ("full-chain.cpu>90us", true, Some(105.0)),
            ("full-chain.cpu>0.2ms", false, Some(0.105)),
            ("direct.cpu>90us", false, Some(21.0)),
            ("cpu>90us", true, Some(105.0)),
            ("cpu<90us", true, Some(21.0)),
            ("full-chain/direct.cpu>4", true, Some(5.0)),
            ("full-chain/direct.cpu>5", false, Some(5.0)),
            ("full-chain/direct.rate<0.1", false, Some(0.2)),
            ("full-chain/direct.p99>3", false, Some(2.5)),
            ("direct/full-chain.cpu>1", false, Some(0.2)),
            ("full-chain.failures>0", false, Some(0.0)),
            ("rate<9000", true, Some(900_000.0 / 105.0)),
            // What cannot be told fails.
            ("direct.p99.99>10s", true, None),
            ("p99.99>10s", true, None),
            ("other.cpu>90us", true, None),
            ("full-chain/other.cpu>90", true, None),
            ("late-share>1%", true, None),
            ("full-chain/direct.failures>1", true, None),
        ],
    );
    let unreadable = |report: &mut CompareReport| report.targets[0].cpu_us_per_request = None;
    let mut report = report;
    unreadable(&mut report);
    check_compare(
        &report,
        &[("cpu>90us", true, None), ("full-chain.cpu>900us", false, Some(105.0))],
    );
    check_compare(&CompareReport::default(), &[("cpu>90us", true, None)]);
}

#[test]
fn what_is_wrong_is_said_with_what_would_be_right() {
    let cases = [
        (
            "",
            "`` compares nothing: write METRIC OP VALUE, such as `p99>2ms`, with one of > >= < <=",
        ),
        ("p99", "`p99` compares nothing"),
        ("p99=2ms", "`p99=2ms` compares nothing"),
        ("p98>2ms", "`p98` is no metric; there are p50, p75, "),
        (">2ms", "`` is no metric"),
        (".p99>2ms", "`.p99` is no metric"),
        ("xp99>2ms", "`xp99` is no metric"),
        ("/direct.cpu>4", "`/direct.cpu` is no metric"),
        ("full-chain/.cpu>4", "`full-chain/.cpu` is no metric"),
        ("P99>2ms", "`P99` is no metric"),
        (
            "p99>",
            "`` behind `p99` is no number that is zero or more, such as `p99>2ms`",
        ),
        ("p99>>2ms", "`>2ms` behind `p99` is no number"),
        ("p99>-2ms", "`-2ms` behind `p99` is no number"),
        ("p99>1.2.3ms", "`1.2.3ms` behind `p99` is no number"),
        ("p99>NaNms", "`NaNms` behind `p99` is no number"),
        ("failure-share>x", "such as `failure-share>1%`"),
        (
            "p99>2",
            "`` does not fit `p99`: it is a time and needs one of ns, us, ms, s",
        ),
        ("p99>2%", "`%` does not fit `p99`"),
        ("p99>2MS", "`MS` does not fit `p99`"),
        ("p99>1e3us", "`e3us` does not fit `p99`"),
        ("cpu>2", "`` does not fit `cpu`"),
        (
            "rate<2ms",
            "`ms` does not fit `rate`: it is a plain number without a unit",
        ),
        ("failures>1%", "`%` does not fit `failures`"),
        ("late-share>1ms", "`ms` does not fit `late-share`: it is a share"),
        ("a/b.p99>2ms", "`ms` does not fit `a/b.p99`: it is a plain number"),
    ];
    for (expression, message) in cases {
        let error = parse(expression).expect_err(expression).to_string();
        assert!(error.contains(message), "{expression}: {error}");
        assert!(!error.contains('\n'));
    }
}

#[test]
fn what_can_never_be_told_is_refused_before_the_load() {
    let runs = [
        ("p99>2ms", None),
        ("gate.p99>2ms", None),
        ("other.p99>2ms", Some("`other` is no target; there are gate")),
        ("cpu>2ms", Some("`cpu` is not measured by a run")),
        ("gate/direct.p99>2", Some("`a ratio` is not measured by a run")),
    ];
    for (expression, refused) in runs {
        let result = threshold(expression)
            .check_run("gate")
            .map_err(|error| error.to_string());
        match refused {
            None => assert_eq!(result, Ok(()), "{expression}"),
            Some(message) => assert!(result.expect_err(expression).starts_with(message), "{expression}"),
        }
    }
    let compares = [
        ("p99>2ms", None),
        ("gate.cpu>2ms", None),
        ("gate/direct.cpu>2", None),
        (
            "other/direct.cpu>2",
            Some("`other` is no target; there are direct, gate"),
        ),
        ("gate/other.cpu>2", Some("`other` is no target")),
        ("late-share>2%", Some("`late-share` is not measured by `compare`")),
    ];
    for (expression, refused) in compares {
        let result = threshold(expression)
            .check_compare(&["direct", "gate"])
            .map_err(|error| error.to_string());
        match refused {
            None => assert_eq!(result, Ok(()), "{expression}"),
            Some(message) => assert!(result.expect_err(expression).starts_with(message), "{expression}"),
        }
    }
}
