//! The page of a comparison.

use crate::report::figures::{millis, percentile, ratio, share, time, time_at};
use crate::report::html::page::{Bar, Card, Page};
use crate::report::html::{curve, latencies, percentile_plot};
use crate::report::plot::{self, Frame, Measure, Series};
use crate::report::rows::{self, dash};
use crate::report::words;
use crate::report::{CompareReport, CompareTarget, Interval, Ratio, StageTime};

/// The page of a comparison.
pub fn compare(report: &CompareReport) -> String {
    let names: Vec<&str> = report.targets.iter().map(|target| target.name.as_str()).collect();
    let mut page = Page::new(&format!("{}: comparison", names.join(", ")));
    page.heading(
        &format!("Comparison: {}", names.join(", ")),
        report.invalid,
        &words::reasons(&report.reasons),
    );
    let mut facts: Vec<(&str, String)> = { report.targets.iter() }
        .map(|target| (target.name.as_str(), format!("{} ({})", target.what, target.url)))
        .collect();
    facts.push((
        "Rounds",
        format!(
            "{}, the targets in turns; CPU time and rates are medians of the rounds, response times are of all together",
            report.rounds
        ),
    ));
    facts.push(("Load", words::load(&report.load)));
    facts.push(("Calls", words::workload(&report.load)));
    facts.push(("Measured on", words::machine(&report.environment)));
    page.facts(&facts);
    page.cards(&cards(report));
    page.thresholds(&report.thresholds);
    cpu(&mut page, &report.targets);
    times(&mut page, report);
    ratios(&mut page, &report.ratios);
    for target in report.targets.iter().filter(|target| !target.stages.is_empty()) {
        stages(&mut page, target);
    }
    page.section("Course of the open phase");
    page.raw(&course(report, "p50", |interval| interval.p50_us));
    page.raw(&course(report, "p99", |interval| interval.p99_us));
    page.section("Answers");
    let answers: Vec<_> = { report.targets.iter() }
        .map(|target| (target.name.as_str(), &target.outcomes))
        .collect();
    page.outcomes(&answers);
    let mut notes = report.notes.clone();
    notes.extend(words::build_note(&report.environment));
    page.notes(&notes);
    page.environment(&report.environment);
    page.reading();
    page.finish(report, "compare")
}

/// What the last target costs over the first, and how each fares.
fn cards(report: &CompareReport) -> Vec<Card> {
    let mut cards = Vec::new();
    for target in &report.targets {
        cards.push(Card {
            label: format!("{}: CPU a request", target.name),
            figure: target.cpu_us_per_request.map_or_else(dash, time),
            more: format!("p99 {}", time_at(&target.response_time, 99.0)),
            bad: 0 < target.outcomes.failures(),
        });
    }
    let ends = (report.targets.first(), report.targets.last());
    let (Some(first), Some(last)) = ends else {
        return cards;
    };
    let over = report
        .ratios
        .iter()
        .find(|ratio| ratio.target == last.name && ratio.to == first.name);
    if let Some(over) = over {
        let added = |wanted: f64| over.at(wanted).map(|entry| entry.added_us);
        cards.push(Card {
            label: format!("{} over {}: CPU", last.name, first.name),
            figure: over.cpu.map_or_else(dash, ratio),
            more: over
                .throughput
                .map_or_else(String::new, |part| format!("throughput {}", ratio(part))),
            bad: false,
        });
        cards.push(Card {
            label: format!("{} adds at p99", last.name),
            figure: added(99.0).map_or_else(|| String::from("too few"), time),
            more: added(50.0).map_or_else(String::new, |us| format!("at p50 {}", time(us))),
            bad: false,
        });
    }
    cards
}

fn cpu(page: &mut Page, targets: &[CompareTarget]) {
    page.section("CPU time a request");
    page.paragraph(
        "Time of the target's own process, measured at saturation in a closed loop. It depends least on what \
                    else the machine does.",
    );
    let most = targets
        .iter()
        .filter_map(|target| target.cpu_us_per_request)
        .fold(0.0, f64::max);
    let bar = |target: &CompareTarget| {
        let part = |us: Option<f64>| us.filter(|_| 0.0 < most).map_or(0.0, |us| us / most);
        Bar {
            name: target.name.clone(),
            parts: vec![
                part(target.cpu_user_us_per_request),
                part(target.cpu_kernel_us_per_request),
            ],
            figure: target.cpu_us_per_request.map_or_else(dash, time),
        }
    };
    let bars: Vec<_> = targets.iter().map(bar).collect();
    page.bars(&["user", "kernel"], &bars);
    page.table(&rows::COST, &rows::cost(targets));
    if targets.iter().any(|target| target.generator_bound) {
        page.paragraph("* Bounded by the generator, not by the target: the target can do at least this.");
    }
}

fn times(page: &mut Page, report: &CompareReport) {
    page.section("Response time");
    let lines: Vec<Series> = { report.targets.iter() }
        .map(|target| curve(&target.name, &target.response_time))
        .collect();
    let samples = report
        .targets
        .iter()
        .map(|target| target.response_time.samples)
        .min()
        .unwrap_or(0);
    page.raw(&percentile_plot(&lines, samples));
    let names: Vec<String> = report
        .targets
        .iter()
        .map(|target| format!("{} (ms)", target.name))
        .collect();
    let columns: Vec<_> = { names.iter().zip(&report.targets) }
        .map(|(name, target)| (name.as_str(), &target.response_time))
        .collect();
    latencies(page, &columns);
}

fn ratios(page: &mut Page, ratios: &[Ratio]) {
    let Some(first) = ratios.first() else {
        return;
    };
    page.section("Ratios");
    page.paragraph(
        "Above 1: more time, or more throughput. Behind the ratio of a percentile stands what it adds, in \
                    milliseconds.",
    );
    let told: Vec<f64> = first.percentiles.iter().map(|entry| entry.percentile).collect();
    let names: Vec<String> = told.iter().copied().map(percentile).collect();
    let row = |entry: &Ratio| {
        let at = |wanted: &f64| {
            entry.at(*wanted).map_or_else(dash, |entry| {
                let sign = if 0.0 <= entry.added_us { "+" } else { "" };
                format!("{} ({sign}{})", ratio(entry.ratio), millis(entry.added_us))
            })
        };
        let mut row = vec![format!("{} / {}", entry.target, entry.to)];
        row.push(entry.cpu.map_or_else(dash, ratio));
        row.push(entry.throughput.map_or_else(dash, ratio));
        row.extend(told.iter().map(at));
        row
    };
    let rows: Vec<_> = ratios.iter().map(row).collect();
    let mut header = vec!["", "CPU", "throughput"];
    header.extend(names.iter().map(String::as_str));
    page.table(&header, &rows);
}

fn stages(page: &mut Page, target: &CompareTarget) {
    page.section(&format!("Stages of {}", target.name));
    page.paragraph("From the target's own histogram, open phase: where the time of all calls together went.");
    let bar = |(stage, part): (&StageTime, f64)| Bar {
        name: stage.stage.clone(),
        parts: vec![part],
        figure: share(part),
    };
    let shares = rows::stage_shares(&target.stages);
    let bars: Vec<_> = target.stages.iter().zip(shares).map(bar).collect();
    page.bars(&["share"], &bars);
    page.table(&rows::STAGES, &rows::stages(&target.stages));
}

fn course(report: &CompareReport, name: &str, of: fn(&Interval) -> f64) -> String {
    let line = |target: &CompareTarget| Series {
        name: target.name.clone(),
        points: { target.intervals.iter() }
            .filter(|interval| 0 < interval.answered)
            .map(|interval| (interval.start_s, of(interval)))
            .collect(),
        marks: Vec::new(),
    };
    let lines: Vec<_> = report.targets.iter().map(line).collect();
    let frame = Frame {
        title: &format!("Response time at {name} by second"),
        caption: "The rounds one after another. One second holds few calls, so its figures are only a guide.",
        across: "seconds of each target's own open phases",
        measure: Measure::Time,
    };
    plot::seconds(frame, &lines)
}
