//! Reports as text for a terminal or a log: what a stranger understands, within 110 characters a line.
//!
//! Owns the order and the wording of the text. Computes nothing that the report does not say.

use crate::report::figures::{count, millis, outcomes, rate, seconds, share, time, too_few};
use crate::report::{Generator, InvalidReason, Latency, Measured, Outcomes, RunReport, SearchStep, ThresholdResult};

mod compare;
mod lines;

pub use compare::compare;

use crate::report::words;
use lines::{Lines, WIDTH};

/// A run or a search. Ends with a line break.
pub fn run(report: &RunReport) -> String {
    let mut out = Lines::default();
    verdict(&mut out, report.validity.invalid, &report.validity.reasons);
    out.labelled("target", &words::target(&report.target));
    out.labelled("load", &words::load(&report.load));
    out.labelled("calls", &words::workload(&report.load));
    out.labelled("environment", &words::machine(&report.environment));
    out.labelled("generator", &words::generator(&report.environment));
    answers(&mut out, report);
    times(&mut out, &report.measured);
    said(&mut out, &report.measured.outcomes);
    own(&mut out, &report.generator);
    steps(&mut out, &report.steps);
    notes(&mut out, &words::notes(report));
    thresholds(&mut out, &report.thresholds);
    out.finish()
}

/// INVALID stands first and large.
fn verdict(out: &mut Lines, invalid: bool, reasons: &[InvalidReason]) {
    if !invalid {
        return;
    }
    let bar = "!".repeat(WIDTH);
    out.line(&bar);
    out.line("!!  I N V A L I D  -  these figures must not be quoted");
    for reason in words::reasons(reasons) {
        out.hanging("!!  -", &reason);
    }
    out.line(&bar);
    out.gap();
}

fn answers(out: &mut Lines, report: &RunReport) {
    let measured = &report.measured;
    let due = match report.load.rate {
        Some(due) => format!("of {}/s asked for", rate(due)),
        None => String::from("as fast as answers came"),
    };
    let words = format!(
        "{} of {} calls in {}; {}/s {due}; {} failed ({})",
        count(measured.answered),
        count(measured.due),
        seconds(measured.elapsed_s),
        rate(measured.rate),
        count(measured.outcomes.failures()),
        share_of(measured.outcomes.failures(), measured.outcomes.total()),
    );
    out.labelled("answered", &words);
}

fn times(out: &mut Lines, measured: &Measured) {
    out.heading("Times in milliseconds");
    let service = &measured.service_time;
    let Some(response) = &measured.response_time else {
        let rows = latency_rows(&[service]);
        out.table(&["", "service time (from the first byte sent)"], &rows, &[]);
        return;
    };
    let header = [
        "",
        "response time (from the intended start)",
        "service time (from the first byte sent)",
    ];
    out.table(&header, &latency_rows(&[response, service]), &[]);
}

/// A row a percentile, then the mean, the longest and the number of samples.
fn latency_rows(columns: &[&Latency]) -> Vec<Vec<String>> {
    let Some(first) = columns.first() else {
        return Vec::new();
    };
    let row = |name: &str, cell: &dyn Fn(&Latency) -> String| {
        let cells = columns.iter().map(|latency| cell(latency));
        std::iter::once(String::from(name)).chain(cells).collect::<Vec<_>>()
    };
    let mut rows = vec![row("min", &|latency| millis(latency.min_us))];
    for (place, entry) in first.percentiles.iter().enumerate() {
        let name = crate::report::figures::percentile(entry.percentile);
        rows.push(row(&name, &|latency| at(latency, place)));
    }
    rows.push(row("max", &|latency| millis(latency.max_us)));
    rows.push(row("mean", &|latency| millis(latency.mean_us)));
    rows.push(row("samples", &|latency| count(latency.samples)));
    rows
}

fn at(latency: &Latency, place: usize) -> String {
    let Some(entry) = latency.percentiles.get(place) else {
        return String::from("-");
    };
    entry.us.map_or_else(|| too_few(entry, latency.samples), millis)
}

fn said(out: &mut Lines, answers: &Outcomes) {
    out.heading("Outcomes");
    let total = answers.total();
    let told = outcomes(answers).into_iter().filter(|(_, count, _)| 0 < *count);
    let row = |(name, number, failure): (&str, u64, bool)| {
        let mark = if failure { "FAILURE" } else { "" };
        vec![
            String::from(name),
            count(number),
            share_of(number, total),
            String::from(mark),
        ]
    };
    let rows: Vec<_> = told.map(row).collect();
    if rows.is_empty() {
        out.line("  none: no call was answered");
    } else {
        out.table(&["", "calls", "share", ""], &rows, &[3]);
    }
}

fn own(out: &mut Lines, generator: &Generator) {
    out.heading("Generator");
    let delay = &generator.dispatch_delay;
    let line = format!(
        "{} taken up later than {} after the intended start; dispatch delay p99 {}, max {}",
        share(generator.late_share),
        time(generator.late_after_us),
        crate::report::figures::time_at(delay, 99.0),
        time(delay.max_us)
    );
    out.hanging("  late:", &line);
    let line = format!(
        "{} of the calls, while every connection was busy",
        share(generator.waited_share)
    );
    out.hanging("  waited:", &line);
    let line = format!(
        "{} of a core on the busiest thread; {} of CPU time a call; {} connections opened",
        share(generator.cpu_share_max),
        time(generator.cpu_us_per_request),
        count(generator.connections_opened)
    );
    out.hanging("  CPU:", &line);
}

fn steps(out: &mut Lines, steps: &[SearchStep]) {
    if steps.is_empty() {
        return;
    }
    out.heading("Steps of the search");
    let row = |(number, step): (usize, &SearchStep)| {
        vec![
            (number + 1).to_string(),
            rate(step.rate),
            step.us.map_or_else(|| String::from("too few samples"), millis),
            String::from(if step.held { "held" } else { "missed" }),
            shortened(step.why.as_deref().unwrap_or("")),
        ]
    };
    let rows: Vec<_> = steps.iter().enumerate().map(row).collect();
    out.table(&["step", "rate /s", "time ms", "verdict", "why"], &rows, &[3, 4]);
}

/// What fits beside the other columns of the table of steps.
fn shortened(words: &str) -> String {
    const FITS: usize = 60;
    if words.chars().count() <= FITS {
        return String::from(words);
    }
    words.chars().take(FITS - 1).chain(['…']).collect()
}

fn notes(out: &mut Lines, notes: &[String]) {
    if notes.is_empty() {
        return;
    }
    out.heading("Notes");
    for note in notes {
        out.hanging("  -", note);
    }
}

fn thresholds(out: &mut Lines, thresholds: &[ThresholdResult]) {
    if thresholds.is_empty() {
        return;
    }
    out.heading("Thresholds");
    let row = |result: &ThresholdResult| {
        let verdict = if result.failed { "FAILED" } else { "passed" };
        vec![
            format!("fail if {}", result.expression),
            String::from(verdict),
            words::threshold(result),
        ]
    };
    let rows: Vec<_> = thresholds.iter().map(row).collect();
    out.table(&["", "", ""], &rows, &[1, 2]);
}

fn share_of(part: u64, whole: u64) -> String {
    if whole == 0 {
        String::from("-")
    } else {
        share(part as f64 / whole as f64)
    }
}

#[cfg(test)]
mod tests;
