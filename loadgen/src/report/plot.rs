//! Plots of a page: lines over an axis of percentiles or of seconds.
//!
//! Owns scales, ticks and the markup. The lines are SVG that stretches to any width, with strokes that keep theirs; the
//! labels are HTML beside them, so that they keep their size on a telephone and follow the page's colours and its dark
//! mode. The crate plotters bakes colours, fonts and a fixed size into its SVG, which can do neither; hence this one.

use std::fmt::Write as _;

use crate::report::figures::{count, percentile, time};
use crate::report::html::escape;

mod scale;

use scale::Scale;

/// The height of a plot in the units of its own SVG, and its width.
const HEIGHT: f64 = 400.0;
const WIDTH: f64 = 1000.0;
/// Ticks of the axis of percentiles.
const PERCENTILES: [f64; 8] = [0.0, 50.0, 90.0, 99.0, 99.9, 99.99, 99.999, 99.9999];
/// Different strokes; more lines begin again.
const STROKES: usize = 6;

/// One line.
#[derive(Clone, Debug)]
pub(crate) struct Series {
    /// What the legend says.
    pub(crate) name: String,
    /// Points by ascending x.
    pub(crate) points: Vec<(f64, f64)>,
    /// Points that are shown as dots with a text of their own: x, y, and the text.
    pub(crate) marks: Vec<(f64, f64, String)>,
}

/// What the numbers of the upright axis are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Measure {
    /// Calls or answers.
    Count,
    /// Microseconds.
    Time,
}

/// What stands above and beside a plot.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame<'t> {
    /// The heading.
    pub(crate) title: &'t str,
    /// What is plotted, in a sentence; also what a screen reader says.
    pub(crate) caption: &'t str,
    /// What the level axis shows.
    pub(crate) across: &'t str,
    /// What the upright axis shows.
    pub(crate) measure: Measure,
}

/// The place of a share of samples (0 to 1) on the axis of percentiles: each nine further is as wide as the last.
pub(crate) fn nines(share: f64, samples: u64) -> f64 {
    // The longest of n samples stands where the n-th part would lie beyond.
    let beyond = (1.0 - share).max(1.0 / (samples.max(1) as f64));
    -beyond.log10()
}

/// Times over percentiles. The part right of `doubtful` (a place by [`nines`]) is shaded: fewer than ten samples lie
/// beyond it.
pub(crate) fn percentiles(frame: Frame<'_>, series: &[Series], doubtful: f64) -> String {
    let right = extent(series, |point| point.0).map_or(1.0, |(_, most)| most).max(1.0);
    let ticks = { PERCENTILES.iter() }
        .map(|percentile| (nines(percentile / 100.0, u64::MAX), *percentile))
        .filter(|(place, _)| *place <= right + 1e-9)
        .map(|(place, percentile)| (place / right, format!("{percentile}")));
    let ticks: Vec<_> = ticks.collect();
    figure(frame, series, (0.0, right), &ticks, Some(doubtful))
}

/// Figures over seconds since the measured part began.
pub(crate) fn seconds(frame: Frame<'_>, series: &[Series]) -> String {
    let right = extent(series, |point| point.0).map_or(1.0, |(_, most)| most).max(1.0);
    let ticks: Vec<_> = { scale::round_steps(right, 8).into_iter() }
        .map(|second| (second / right, format!("{second}")))
        .collect();
    figure(frame, series, (0.0, right), &ticks, None)
}

fn figure(
    frame: Frame<'_>,
    series: &[Series],
    across: (f64, f64),
    ticks: &[(f64, String)],
    doubtful: Option<f64>,
) -> String {
    let scale = Scale::fitting(extent(series, |point| point.1), frame.measure == Measure::Time);
    let place = |value: f64| (value - across.0) / (across.1 - across.0);
    let mut out = String::from("<figure class=\"plot\">");
    // Writing to a string cannot fail, here and below.
    let _ = write!(
        out,
        "<figcaption><h3>{}</h3><p>{}",
        escape(frame.title),
        escape(frame.caption)
    );
    if scale.logarithmic() {
        out.push_str(" The upright axis is logarithmic.");
    }
    out.push_str("</p></figcaption>");
    legend(&mut out, series);
    let _ = write!(
        out,
        "<div class=\"canvas\" role=\"img\" aria-label=\"{}: {}\">",
        escape(frame.title),
        escape(frame.caption)
    );
    let _ = write!(
        out,
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" preserveAspectRatio=\"none\" aria-hidden=\"true\">"
    );
    if let Some(begin) = doubtful.map(place).filter(|begin| *begin < 1.0) {
        let x = begin.max(0.0) * WIDTH;
        let _ = write!(
            out,
            "<rect class=\"doubt\" x=\"{x:.1}\" y=\"0\" width=\"{:.1}\" height=\"{HEIGHT}\"/>",
            WIDTH - x
        );
    }
    for (share, _) in scale.ticks() {
        let y = (1.0 - share) * HEIGHT;
        let _ = write!(out, "<path class=\"grid\" d=\"M0 {y:.1}H{WIDTH}\"/>");
    }
    for (share, _) in ticks {
        let x = share * WIDTH;
        let _ = write!(out, "<path class=\"grid\" d=\"M{x:.1} 0V{HEIGHT}\"/>");
    }
    // The first line is drawn last, above the others.
    for (number, line) in series.iter().enumerate().rev() {
        let _ = write!(
            out,
            "<path class=\"line s{}\" d=\"{}\"/>",
            number % STROKES,
            path(line, place, &scale)
        );
    }
    out.push_str("</svg>");
    labels(&mut out, frame.measure, &scale, ticks);
    for (number, line) in series.iter().enumerate() {
        for (x, y, text) in &line.marks {
            let (left, bottom) = (place(*x) * 100.0, scale.place(*y) * 100.0);
            let (colour, text) = (number % STROKES, escape(text));
            let _ = write!(
                out,
                "<i class=\"dot s{colour}\" style=\"left:{left:.2}%;bottom:{bottom:.2}%\" title=\"{text}\"></i>"
            );
        }
    }
    let _ = write!(out, "</div><p class=\"axis\">{}</p></figure>", escape(frame.across));
    out
}

fn legend(out: &mut String, series: &[Series]) {
    out.push_str("<ul class=\"legend\">");
    for (number, line) in series.iter().enumerate() {
        let _ = write!(
            out,
            "<li><svg viewBox=\"0 0 36 8\" aria-hidden=\"true\"><path class=\"line s{}\" d=\"M0 4H36\"/></svg>{}</li>",
            number % STROKES,
            escape(&line.name)
        );
    }
    out.push_str("</ul>");
}

fn labels(out: &mut String, measure: Measure, scale: &Scale, ticks: &[(f64, String)]) {
    for (share, value) in scale.ticks() {
        let text = label(measure, value);
        let _ = write!(
            out,
            "<span class=\"y\" style=\"bottom:{:.2}%\">{}</span>",
            share * 100.0,
            escape(&text)
        );
    }
    for (share, text) in ticks {
        let _ = write!(
            out,
            "<span class=\"x\" style=\"left:{:.2}%\">{}</span>",
            share * 100.0,
            escape(text)
        );
    }
}

/// A tick in its unit without needless decimals.
fn label(measure: Measure, value: f64) -> String {
    let (number, unit) = match (measure, value) {
        (Measure::Count, value) => return scale::short(value),
        (Measure::Time, 0.0) => return String::from("0"),
        (Measure::Time, us) if us < 1.0 => (us * 1e3, "ns"),
        (Measure::Time, us) if us < 1e3 => (us, "µs"),
        (Measure::Time, us) if us < 1e6 => (us / 1e3, "ms"),
        (Measure::Time, us) => (us / 1e6, "s"),
    };
    format!("{} {unit}", scale::short(number))
}

fn path(line: &Series, place: impl Fn(f64) -> f64, scale: &Scale) -> String {
    let mut out = String::new();
    for (number, (x, y)) in line.points.iter().enumerate() {
        let command = if number == 0 { 'M' } else { 'L' };
        let (x, y) = (place(*x) * WIDTH, (1.0 - scale.place(*y)) * HEIGHT);
        let _ = write!(out, "{command}{x:.1} {y:.1}");
    }
    out
}

/// The least and the greatest of all lines; none without points.
fn extent(series: &[Series], of: impl Fn(&(f64, f64)) -> f64) -> Option<(f64, f64)> {
    let all = series.iter().flat_map(|line| line.points.iter().map(&of));
    all.filter(|value| value.is_finite()).fold(None, |range, value| {
        let (least, most) = range.unwrap_or((value, value));
        Some((f64::min(least, value), f64::max(most, value)))
    })
}

/// The text of a dot on a percentile.
pub(crate) fn mark(name: &str, at: f64, us: f64) -> String {
    format!("{name} {}: {}", percentile(at), time(us))
}

/// The text of a dot on a second with failures.
pub(crate) fn failed(second: f64, failures: u64) -> String {
    format!("second {second}: {} failures", count(failures))
}

#[cfg(test)]
mod tests;
