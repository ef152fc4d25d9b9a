//! A comparison as text.

use crate::report::figures::{count, millis, outcomes, percentile, ratio};
use crate::report::rows::{self, dash};
use crate::report::text::lines::Lines;
use crate::report::text::{notes, share_of, thresholds, verdict};
use crate::report::words;
use crate::report::{CompareReport, CompareTarget, Ratio};

/// The percentiles of the table of targets.
const SHOWN: [f64; 3] = [50.0, 99.0, 99.9];

/// A comparison. Ends with a line break.
pub fn compare(report: &CompareReport) -> String {
    let mut out = Lines::default();
    verdict(&mut out, report.invalid, &report.reasons);
    for target in &report.targets {
        out.labelled("target", &format!("{}: {} ({})", target.name, target.what, target.url));
    }
    out.labelled(
        "rounds",
        &format!(
            "{}, the targets in turns; CPU time and rates are medians of the rounds, response times are of all together",
            report.rounds
        ),
    );
    out.labelled("load", &words::load(&report.load));
    out.labelled("calls", &words::workload(&report.load));
    out.labelled("environment", &words::machine(&report.environment));
    out.labelled("generator", &words::generator(&report.environment));
    cpu(&mut out, &report.targets);
    times(&mut out, report);
    ratios(&mut out, &report.ratios);
    failures(&mut out, &report.targets);
    for target in report.targets.iter().filter(|target| !target.stages.is_empty()) {
        stages(&mut out, target);
    }
    let mut told = report.notes.clone();
    told.extend(words::build_note(&report.environment));
    notes(&mut out, &told);
    thresholds(&mut out, &report.thresholds);
    out.finish()
}

fn cpu(out: &mut Lines, targets: &[CompareTarget]) {
    out.heading("CPU time of the target's process a request, and answers a second, at saturation (closed loop)");
    out.table(&rows::COST, &rows::cost(targets), &[]);
    if targets.iter().any(|target| target.generator_bound) {
        out.hanging(
            "  *",
            "bounded by the generator, not by the target: the target can do at least this",
        );
    }
}

fn times(out: &mut Lines, report: &CompareReport) {
    let first = report
        .targets
        .first()
        .map_or("the first", |target| target.name.as_str());
    out.heading(&format!(
        "Response time in the open phase in milliseconds, and what it adds over {first}"
    ));
    let row = |(place, target): (usize, &CompareTarget)| {
        let mut row = vec![target.name.clone()];
        for wanted in SHOWN {
            row.push(
                target
                    .response_time
                    .at(wanted)
                    .map_or_else(|| String::from("too few"), millis),
            );
            let added = report
                .ratios
                .iter()
                .find(|ratio| ratio.target == target.name && ratio.to == first);
            let added = added
                .filter(|_| 0 < place)
                .and_then(|ratio| ratio.at(wanted))
                .map(|entry| entry.added_us);
            row.push(added.map_or_else(String::new, |us| {
                format!("{}{}", if 0.0 <= us { "+" } else { "" }, millis(us))
            }));
        }
        row.push(millis(target.response_time.max_us));
        row.push(count(target.response_time.samples));
        row
    };
    let rows: Vec<_> = report.targets.iter().enumerate().map(row).collect();
    out.table(
        &["", "p50", "added", "p99", "added", "p99.9", "added", "max", "samples"],
        &rows,
        &[],
    );
}

fn ratios(out: &mut Lines, ratios: &[Ratio]) {
    let Some(first) = ratios.first() else {
        return;
    };
    out.heading("Ratios (above 1: more time, or more throughput)");
    let told: Vec<f64> = first.percentiles.iter().map(|entry| entry.percentile).take(5).collect();
    let names: Vec<String> = told.iter().copied().map(percentile).collect();
    let row = |entry: &Ratio| {
        let at = |wanted: &f64| entry.at(*wanted).map_or_else(dash, |entry| ratio(entry.ratio));
        let mut row = vec![format!("{} / {}", entry.target, entry.to)];
        row.push(entry.cpu.map_or_else(dash, ratio));
        row.push(entry.throughput.map_or_else(dash, ratio));
        row.extend(told.iter().map(at));
        row
    };
    let rows: Vec<_> = ratios.iter().map(row).collect();
    let mut header = vec!["", "CPU", "throughput"];
    header.extend(names.iter().map(String::as_str));
    out.table(&header, &rows, &[]);
}

fn failures(out: &mut Lines, targets: &[CompareTarget]) {
    out.heading("Outcomes of both phases");
    for target in targets {
        let total = target.outcomes.total();
        let told: Vec<String> = { outcomes(&target.outcomes).into_iter() }
            .filter(|(_, count, _)| 0 < *count)
            .map(|(name, number, failure)| {
                let mark = if failure { "FAILURE: " } else { "" };
                format!("{mark}{} ({}) {name}", count(number), share_of(number, total))
            })
            .collect();
        let told = if told.is_empty() {
            String::from("no answer")
        } else {
            told.join("; ")
        };
        out.hanging(&format!("  {}:", target.name), &told);
    }
}

fn stages(out: &mut Lines, target: &CompareTarget) {
    out.heading(&format!(
        "Stages of {} in the open phase, from its own histogram",
        target.name
    ));
    out.table(&rows::STAGES, &rows::stages(&target.stages), &[]);
}
