//! Hand-made reports that the tests of every output share.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::latency::Times;
use crate::report::{
    CallShare, CompareReport, CompareTarget, Environment, Generator, Interval, Latency, Load, Measured, Outcomes,
    PercentileRatio, Ratio, RunReport, SCHEMA_VERSION, StageTime, Target, Validity, WorkloadSummary,
};

/// A valid open-loop run of two minutes.
pub(crate) fn run() -> RunReport {
    RunReport {
        schema_version: SCHEMA_VERSION,
        kind: String::from("run"),
        environment: environment(),
        target: Target {
            name: String::from("full-chain"),
            url: String::from("http://127.0.0.1:8080/mcp"),
            http: String::from("1.1"),
            tls: false,
        },
        load: load(),
        measured: Measured {
            due: 120_000,
            answered: 119_998,
            elapsed_s: 60.02,
            rate: 1_999.3,
            response_time: Some(latency(120_000, 180.0)),
            service_time: latency(120_000, 170.0),
            outcomes: Outcomes {
                allowed: 113_998,
                denied: 6_000,
                timeouts: 2,
                ..Outcomes::default()
            },
            statuses: BTreeMap::from([(200, 113_998), (403, 6_000)]),
            intervals: intervals(60, 180.0),
        },
        generator: Generator {
            dispatch_delay: latency(120_000, 4.0),
            late_after_us: 1_000.0,
            late_share: 0.000_2,
            waited_share: 0.001,
            cpu_share_max: 0.34,
            cpu_us_per_request: 52.0,
            connections_opened: 64,
        },
        validity: Validity::default(),
        thresholds: Vec::new(),
        steps: Vec::new(),
    }
}

/// A comparison of three targets, the last with stages.
pub(crate) fn compare() -> CompareReport {
    let targets = vec![
        target("direct", "the upstream, called directly", 21.0, 180.0),
        target("pass-through", "a proxy that passes everything", 62.0, 260.0),
        CompareTarget {
            stages: stages(),
            ..target(
                "full-chain",
                "every check, a durable record, a reviewed answer",
                105.0,
                420.0,
            )
        },
    ];
    CompareReport {
        schema_version: SCHEMA_VERSION,
        kind: String::from("compare"),
        environment: environment(),
        load: load(),
        rounds: 5,
        ratios: vec![
            ratio("pass-through", "direct", 2.95, 80.0),
            ratio("full-chain", "direct", 5.0, 240.0),
            ratio("full-chain", "pass-through", 1.69, 160.0),
        ],
        targets,
        notes: vec![String::from(
            "the machine is shared: ratios and CPU time are the fair figures",
        )],
        ..CompareReport::default()
    }
}

/// Times around a median, with a tail.
pub(crate) fn latency(samples: u32, median_us: f64) -> Latency {
    times(samples, median_us).latency()
}

/// The same before it is told.
pub(crate) fn times(samples: u32, median_us: f64) -> Times {
    let mut times = Times::new();
    for number in 0..samples {
        let rank = (f64::from(number) + 0.5) / f64::from(samples);
        // A log-logistic shape: its quantiles are known, and its tail is long as those of servers are.
        let us = median_us * (rank / (1.0 - rank)).powf(0.25);
        times.add(Duration::from_secs_f64(us / 1e6));
    }
    times
}

fn environment() -> Environment {
    Environment {
        started: String::from("2026-11-23T06:00:00Z"),
        version: String::from("0.1.0"),
        commit: String::from("5bb5cec"),
        command: ["portcullis-loadgen", "run", "--rate", "2000"]
            .map(String::from)
            .to_vec(),
        cpu: String::from("AMD EPYC"),
        cores: 2,
        cores_online: 2,
        arch: String::from("x86_64"),
        kernel: String::from("6.18.44"),
        governor: None,
        pinning: String::from("1"),
        hypervisor: Some(true),
        allocator: String::from("mimalloc"),
        build: String::from("release"),
        load_average: Some(0.42),
    }
}

fn load() -> Load {
    Load {
        model: String::from("open"),
        plan: String::from("constant 2000/s for 60 s"),
        rate: Some(2_000.0),
        connections: 64,
        concurrency: 64,
        threads: 1,
        warm_up_s: 5.0,
        duration_s: 60.0,
        seed: 1,
        workload: WorkloadSummary {
            protocol: vec![String::from("2025-11-25")],
            sessions: 64,
            subjects: 2_000,
            tokens: String::from("dev issuer"),
            token_lifetime_s: Some(300),
            rotate_keys_s: None,
            calls: vec![call("search", 0.8), call("read_file", 0.2)],
            deny_share: 0.05,
            body_bytes: (350, 350),
        },
    }
}

fn call(name: &str, share: f64) -> CallShare {
    CallShare {
        name: String::from(name),
        share,
    }
}

fn intervals(seconds: u32, median_us: f64) -> Vec<Interval> {
    let interval = |second: u32| {
        let second = f64::from(second);
        let bump = if second == 40.0 { 20.0 } else { 1.0 };
        Interval {
            start_s: second,
            answered: if second == 40.0 { 1_100 } else { 2_000 },
            failures: if second == 40.0 { 2 } else { 0 },
            p50_us: median_us * (1.0 + 0.05 * (second / 3.0).sin()),
            p99_us: median_us * 3.2 * bump * (1.0 + 0.2 * (second / 2.0).cos()),
            max_us: median_us * 9.0 * bump * (1.0 + 0.4 * (second * 1.7).sin()),
        }
    };
    (0..seconds).map(interval).collect()
}

fn target(name: &str, what: &str, cpu_us: f64, median_us: f64) -> CompareTarget {
    CompareTarget {
        name: String::from(name),
        url: format!("http://127.0.0.1:8080/{name}"),
        what: String::from(what),
        cpu_us_per_request: Some(cpu_us),
        cpu_user_us_per_request: Some(cpu_us * 0.45),
        cpu_kernel_us_per_request: Some(cpu_us * 0.55),
        cpu_us_per_request_rounds: [0.99, 1.0, 1.01, 1.0, 0.98].map(|part| part * cpu_us).to_vec(),
        cpu_us_per_request_open: Some(cpu_us * 1.6),
        rss_bytes: Some(32 * 1_048_576),
        saturation_rate: Some(900_000.0 / cpu_us),
        saturation_rate_rounds: [0.97, 1.0, 1.02].map(|part| part * 900_000.0 / cpu_us).to_vec(),
        generator_bound: name == "direct",
        response_time: latency(40_000, median_us),
        service_time: latency(40_000, median_us * 0.97),
        outcomes: Outcomes {
            allowed: 190_000,
            denied: 10_000,
            ..Outcomes::default()
        },
        intervals: intervals(50, median_us),
        stages: Vec::new(),
    }
}

fn ratio(target: &str, to: &str, cpu: f64, added_us: f64) -> Ratio {
    let percentile = |percentile: f64| PercentileRatio {
        percentile,
        ratio: cpu / 2.0,
        added_us: added_us * percentile / 50.0,
    };
    Ratio {
        target: String::from(target),
        to: String::from(to),
        cpu: Some(cpu),
        throughput: Some(1.0 / cpu),
        percentiles: [50.0, 90.0, 99.0, 99.9].map(percentile).to_vec(),
    }
}

fn stages() -> Vec<StageTime> {
    let stage = |(stage, mean_us): (&str, f64)| StageTime {
        stage: String::from(stage),
        count: if stage == "connection" { 64 } else { 40_000 },
        mean_us,
        p50_us: mean_us * 0.9,
        p99_us: mean_us * 4.0,
    };
    let means = [
        ("connection", 90.0),
        ("identity", 4.1),
        ("parse", 1.3),
        ("scope", 0.4),
        ("policy", 3.2),
        ("record", 41.0),
        ("forward", 310.0),
        ("review", 2.2),
    ];
    means.map(stage).to_vec()
}
