//! Two demo servers compared in this process, in tenths of seconds: what is told, not how fast it is.

use std::sync::Arc;
use std::time::Duration;

use portcullis_fixtures::mcp::{Canned, Kind, McpServer, McpSettings};

use super::cpu::CpuSource;
use super::{CompareOptions, ComparedTarget, Part, Row, Setting, Turn, WatchTurns, run};
use crate::connect::{Endpoint, EndpointOptions};
use crate::report::CompareReport;
use crate::view::{Second, Silent, Watch};
use crate::workload::{Calls, Workload, WorkloadParts};

fn options() -> CompareOptions {
    CompareOptions {
        rounds: 2,
        rate: 200.0,
        open: Duration::from_millis(200),
        closed: Duration::from_millis(100),
        warm_up: Duration::from_millis(50),
        settle: Duration::from_millis(50),
        connections: 2,
        ..CompareOptions::default()
    }
}

fn server() -> McpServer {
    McpServer::start_counting(&McpSettings::new(Kind::Crm), (std::net::Ipv4Addr::LOCALHOST, 0).into()).unwrap()
}

fn target(name: &str, url: &str, judged: bool, cpu: CpuSource) -> ComparedTarget {
    let calls = Workload::new(WorkloadParts {
        judged,
        ..WorkloadParts::default()
    });
    let calls: Arc<dyn Calls> = Arc::new(calls.unwrap());
    let row = Row {
        name: name.to_owned(),
        what: "a demo server".to_owned(),
        endpoint: Endpoint::new(url, &EndpointOptions::default()).unwrap(),
        judged,
        cpu,
        metrics: None,
    };
    row.with(calls)
}

/// Notes whose turn it is.
#[derive(Default)]
struct Turns(Vec<(String, usize, Part)>);

impl Watch for Turns {
    fn second(&mut self, _second: &Second<'_>) {}
}

impl WatchTurns for Turns {
    fn turn(&mut self, turn: &Turn<'_>) {
        self.0.push((turn.target.to_owned(), turn.round, turn.part));
    }
}

fn codes(report: &CompareReport) -> Vec<&str> {
    report.reasons.iter().map(|reason| reason.code.as_str()).collect()
}

#[test]
fn two_targets_take_turns_and_stand_beside_each_other() {
    let (one, other) = (server(), server());
    let own = CpuSource::Process(std::process::id());
    let targets = [
        target("one", &one.url(), false, own),
        target("other", &other.url(), false, CpuSource::Nowhere),
    ];
    let mut turns = Turns::default();
    let report = run(&options(), &targets, &Setting::default(), &mut turns).unwrap();
    let turn = |name: &str, round, part| (name.to_owned(), round, part);
    let expected = [
        turn("one", 0, Part::Settle),
        turn("other", 0, Part::Settle),
        turn("one", 1, Part::Open),
        turn("one", 1, Part::Closed),
        turn("other", 1, Part::Open),
        turn("other", 1, Part::Closed),
        turn("other", 2, Part::Open),
        turn("other", 2, Part::Closed),
        turn("one", 2, Part::Open),
        turn("one", 2, Part::Closed),
    ];
    assert_eq!(turns.0, expected);

    assert_eq!(
        (report.kind.as_str(), report.rounds, report.targets.len()),
        ("compare", 2, 2)
    );
    for (row, server) in report.targets.iter().zip([&one, &other]) {
        // 200 a second for 0.2 s, twice.
        assert_eq!(row.response_time.samples, 80, "{}", row.name);
        assert_eq!(row.saturation_rate_rounds.len(), 2);
        assert!(0.0 < row.saturation_rate.unwrap());
        assert_eq!(row.outcomes.failures(), 0, "{:?}", row.outcomes);
        assert!(row.outcomes.total() <= server.capture().count());
        assert!(row.intervals.windows(2).all(|pair| pair[0].start_s <= pair[1].start_s));
    }
    let [one, other] = report.targets.as_slice() else {
        panic!("{:?}", report.targets.len())
    };
    assert_eq!(one.cpu_us_per_request_rounds.len(), 2);
    assert!(0.0 < one.cpu_us_per_request.unwrap() && one.rss_bytes.is_some());
    assert!(other.cpu_us_per_request.is_none() && other.cpu_us_per_request_rounds.is_empty());
    assert!(
        report
            .notes
            .iter()
            .any(|note| note.starts_with("`other`: its CPU time cannot be read"))
    );

    let [ratio] = report.ratios.as_slice() else {
        panic!("{:?}", report.ratios)
    };
    assert_eq!((ratio.target.as_str(), ratio.to.as_str()), ("other", "one"));
    assert!(ratio.cpu.is_none() && ratio.throughput.is_some());
    assert!(!codes(&report).contains(&"answers"), "{:?}", report.reasons);
}

#[test]
fn a_target_that_does_other_work_makes_the_comparison_invalid() {
    let (right, wrong) = (server(), server());
    for _ in 0..100_000 {
        wrong.answer_next(Canned::json("{}"));
    }
    let targets = [
        target("right", &right.url(), false, CpuSource::Nowhere),
        target("wrong", &wrong.url(), false, CpuSource::Nowhere),
    ];
    let report = run(&options(), &targets, &Setting::default(), &mut Silent).unwrap();
    assert!(report.invalid);
    let of = |code: &str| -> Vec<bool> {
        let found = report.reasons.iter().filter(|reason| reason.code == code);
        found.map(|reason| reason.text.starts_with("`wrong`")).collect()
    };
    assert_eq!(
        (of("failures"), of("answers")),
        (vec![true], vec![true]),
        "{:?}",
        report.reasons
    );
}

#[test]
fn what_cannot_be_compared_is_refused_before_anything_is_sent() {
    let server = server();
    let one = || target("one", &server.url(), false, CpuSource::Nowhere);
    let gone = target("gone", &server.url(), false, CpuSource::Process(u32::MAX));
    let none = CompareOptions { rounds: 0, ..options() };
    let still = CompareOptions { rate: 0.0, ..options() };
    let cases = [
        (options(), vec![], "no target"),
        (none, vec![one()], "at least one round"),
        (still, vec![one()], "a rate must lie above 0"),
        (options(), vec![one(), one()], "two targets are called `one`"),
        (
            options(),
            vec![one(), gone],
            "the CPU time of `gone` cannot be measured",
        ),
    ];
    for (options, targets, expected) in cases {
        let refused = run(&options, &targets, &Setting::default(), &mut Silent).unwrap_err();
        assert!(refused.to_string().contains(expected), "{refused:#}");
    }
    assert_eq!(server.capture().count(), 0);
}

#[test]
fn a_target_that_takes_no_connection_is_named() {
    let address = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let targets = [target(
        "away",
        &format!("http://{address}/mcp"),
        false,
        CpuSource::Nowhere,
    )];
    let refused = run(&options(), &targets, &Setting::default(), &mut Silent).unwrap_err();
    assert_eq!(refused.to_string(), "the target `away` is of no use");
}
