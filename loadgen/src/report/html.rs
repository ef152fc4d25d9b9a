//! Reports as one page that needs no network and no script: figures, plots, tables, and the whole report as JSON.
//!
//! Owns the page of a run; `compare` below owns that of a comparison. Every text of a report is escaped, the page
//! forbids itself to load anything, and nothing in it runs: names come from command lines and targets.

use crate::report::figures::{count, millis, percentile, rate, seconds, share, time, time_at, too_few};
use crate::report::plot::{self, Frame, Measure, Series};
use crate::report::words;
use crate::report::{Interval, Latency, RunReport};

mod compare;
mod page;

pub use compare::compare;
pub(crate) use page::escape;

use page::{Card, Page};

/// Percentiles that carry a dot in a plot.
const DOTS: [f64; 5] = [50.0, 90.0, 99.0, 99.9, 99.99];

/// The page of a run or a search.
pub fn run(report: &RunReport) -> String {
    let name = &report.target.name;
    let mut page = Page::new(&format!("{name}: load report"));
    let what = if report.kind == "search" {
        "Search for the highest rate"
    } else {
        "Load run"
    };
    page.heading(
        &format!("{what}: {name}"),
        report.validity.invalid,
        &words::reasons(&report.validity.reasons),
    );
    page.facts(&[
        ("Target", words::target(&report.target)),
        ("Load", words::load(&report.load)),
        ("Calls", words::workload(&report.load)),
        ("Measured on", words::machine(&report.environment)),
    ]);
    page.cards(&cards(report));
    page.thresholds(&report.thresholds);
    steps(&mut page, report);
    page.section("Times");
    page.raw(&distribution(report));
    latency_table(&mut page, report);
    page.section("Course of the load");
    for plot in course(&report.measured.intervals, report.measured.response_time.is_some()) {
        page.raw(&plot);
    }
    page.section("Answers");
    page.outcomes(&[(name, &report.measured.outcomes)]);
    statuses(&mut page, report);
    generator(&mut page, report);
    page.notes(&words::notes(report));
    page.environment(&report.environment);
    page.reading();
    page.finish(report, &format!("{}-{name}", report.kind))
}

fn cards(report: &RunReport) -> Vec<Card> {
    let measured = &report.measured;
    let open = measured.response_time.is_some();
    let times = measured.response_time.as_ref().unwrap_or(&measured.service_time);
    let which = if open { "response time" } else { "service time" };
    let at = |wanted: f64| Card {
        label: format!("{} {which}", percentile(wanted)),
        figure: time_at(times, wanted),
        more: String::new(),
        bad: false,
    };
    let failures = measured.outcomes.failures();
    let total = measured.outcomes.total();
    let part = if total == 0 {
        String::from("no answers")
    } else {
        share(failures as f64 / total as f64)
    };
    let asked = match report.load.rate {
        Some(due) => format!("of {} asked for", rate(due)),
        None => String::from("as fast as answers came"),
    };
    let card = |label: &str, figure: String, more: String, bad: bool| Card {
        label: String::from(label),
        figure,
        more,
        bad,
    };
    vec![
        at(50.0),
        at(99.0),
        at(99.9),
        card("answers a second", rate(measured.rate), asked, false),
        card(
            "failures",
            count(failures),
            format!("{part} of {}", count(total)),
            0 < failures,
        ),
        card(
            "sent late",
            share(report.generator.late_share),
            format!("later than {}", time(report.generator.late_after_us)),
            false,
        ),
    ]
}

/// Response and service time over the percentiles.
fn distribution(report: &RunReport) -> String {
    let service = &report.measured.service_time;
    let mut lines = Vec::new();
    if let Some(response) = &report.measured.response_time {
        lines.push(curve("response time, from the intended start", response));
    }
    lines.push(curve("service time, from the first byte sent", service));
    let samples = report.measured.response_time.as_ref().unwrap_or(service).samples;
    percentile_plot(&lines, samples)
}

/// One latency as a line with dots at the usual percentiles.
fn curve(name: &str, latency: &Latency) -> Series {
    let points = latency
        .curve
        .iter()
        .map(|(share, us)| (plot::nines(*share, latency.samples), *us));
    let dot = |wanted: f64| {
        let us = latency.at(wanted)?;
        Some((plot::nines(wanted / 100.0, u64::MAX), us, plot::mark(name, wanted, us)))
    };
    Series {
        name: String::from(name),
        points: points.collect(),
        marks: DOTS.into_iter().filter_map(dot).collect(),
    }
}

fn percentile_plot(lines: &[Series], samples: u64) -> String {
    let frame = Frame {
        title: "Time by percentile",
        caption: "The share of calls that took at most so long; each step to the right is ten times rarer. In the \
                  shaded part fewer than ten calls lie beyond: chance decides there.",
        across: "percentile of calls",
        measure: Measure::Time,
    };
    let doubtful = (samples as f64 / 10.0).max(1.0).log10();
    plot::percentiles(frame, lines, doubtful)
}

/// Times, answers and failures by second.
fn course(intervals: &[Interval], open: bool) -> [String; 2] {
    let line = |name: &str, of: fn(&Interval) -> f64, empty: bool| Series {
        name: String::from(name),
        // A second without answers has no times; a zero would be a lie, and on a logarithmic scale a cliff.
        points: { intervals.iter() }
            .filter(|interval| empty || 0 < interval.answered)
            .map(|interval| (interval.start_s, of(interval)))
            .collect(),
        marks: Vec::new(),
    };
    let which = if open { "Response time" } else { "Service time" };
    let times = Frame {
        title: &format!("{which} by second"),
        caption: "By the time of the answer. One second holds few calls, so its p99 is only a guide.",
        across: "seconds since the measured part began",
        measure: Measure::Time,
    };
    let lines = [
        line("p50", |interval| interval.p50_us, false),
        line("p99", |interval| interval.p99_us, false),
        line("longest", |interval| interval.max_us, false),
    ];
    let rates = Frame {
        title: "Answers and failures by second",
        caption: "A dip with a peak behind it is a target that stood still and caught up.",
        across: "seconds since the measured part began",
        measure: Measure::Count,
    };
    let mut failures = line("failures a second", |interval| interval.failures as f64, true);
    failures.marks = { intervals.iter() }
        .filter(|interval| 0 < interval.failures)
        .map(|interval| {
            let text = plot::failed(interval.start_s, interval.failures);
            (interval.start_s, interval.failures as f64, text)
        })
        .collect();
    let counts = [
        line("answers a second", |interval| interval.answered as f64, true),
        failures,
    ];
    [plot::seconds(times, &lines), plot::seconds(rates, &counts)]
}

fn latency_table(page: &mut Page, report: &RunReport) {
    let service = &report.measured.service_time;
    let mut columns = vec![("service time (ms)", service)];
    if let Some(response) = &report.measured.response_time {
        columns.insert(0, ("response time (ms)", response));
    }
    latencies(page, &columns);
}

/// A row a percentile, a column a latency.
fn latencies(page: &mut Page, columns: &[(&str, &Latency)]) {
    let mut header = vec![""];
    header.extend(columns.iter().map(|(name, _)| *name));
    let row = |name: String, cell: &dyn Fn(&Latency) -> String| {
        let cells = columns.iter().map(|(_, latency)| cell(latency));
        std::iter::once(name).chain(cells).collect::<Vec<_>>()
    };
    let mut rows = vec![row(String::from("shortest"), &|latency| millis(latency.min_us))];
    let told = columns
        .first()
        .map(|(_, latency)| latency.percentiles.as_slice())
        .unwrap_or_default();
    for (place, entry) in told.iter().enumerate() {
        rows.push(row(percentile(entry.percentile), &|latency| {
            let entry = latency.percentiles.get(place);
            entry.map_or_else(String::new, |entry| {
                entry.us.map_or_else(|| too_few(entry, latency.samples), millis)
            })
        }));
    }
    rows.push(row(String::from("longest"), &|latency| millis(latency.max_us)));
    rows.push(row(String::from("mean"), &|latency| millis(latency.mean_us)));
    rows.push(row(String::from("standard deviation"), &|latency| {
        millis(latency.stdev_us)
    }));
    rows.push(row(String::from("samples"), &|latency| count(latency.samples)));
    page.table(&header, &rows);
}

fn statuses(page: &mut Page, report: &RunReport) {
    let rows: Vec<_> = { report.measured.statuses.iter() }
        .map(|(status, answers)| vec![status.to_string(), count(*answers)])
        .collect();
    if !rows.is_empty() {
        page.table(&["HTTP status", "answers"], &rows);
    }
}

fn steps(page: &mut Page, report: &RunReport) {
    if report.steps.is_empty() {
        return;
    }
    page.section("Steps of the search");
    let row = |(number, step): (usize, &crate::report::SearchStep)| {
        vec![
            (number + 1).to_string(),
            rate(step.rate),
            step.us.map_or_else(|| String::from("too few samples"), millis),
            String::from(if step.held { "✓ held" } else { "✗ missed" }),
            step.why.clone().unwrap_or_default(),
        ]
    };
    let rows: Vec<_> = report.steps.iter().enumerate().map(row).collect();
    page.table(&["step", "rate /s", "time (ms)", "verdict", "why"], &rows);
}

fn generator(page: &mut Page, report: &RunReport) {
    let generator = &report.generator;
    let delay = &generator.dispatch_delay;
    page.section("The generator itself");
    page.facts(&[
        (
            "Late",
            format!(
                "{} of the calls were taken up later than {} after their intended start",
                share(generator.late_share),
                time(generator.late_after_us)
            ),
        ),
        (
            "Dispatch delay",
            format!(
                "p50 {}, p99 {}, longest {}",
                time_at(delay, 50.0),
                time_at(delay, 99.0),
                time(delay.max_us)
            ),
        ),
        (
            "Waited",
            format!(
                "{} of the calls were due while every connection was busy; their waiting is in the response time",
                share(generator.waited_share)
            ),
        ),
        (
            "CPU",
            format!(
                "{} of a core on the busiest thread, {} a call",
                share(generator.cpu_share_max),
                time(generator.cpu_us_per_request)
            ),
        ),
        ("Connections", format!("{} opened", count(generator.connections_opened))),
        (
            "Answered",
            format!(
                "{} of {} calls in {}",
                count(report.measured.answered),
                count(report.measured.due),
                seconds(report.measured.elapsed_s)
            ),
        ),
    ]);
}

#[cfg(test)]
mod tests;
