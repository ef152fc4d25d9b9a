//! How the view looks: a pure function of what was seen.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Gauge, Paragraph, Row, Sparkline, Table};

use crate::report::figures::{count, outcomes, rate, share, time};
use crate::view::Phase;
use crate::view::screen::Seen;

/// Rows of the tables with their borders.
const TABLES: u16 = 10;
/// Columns of the table of times with its borders.
const TIMES: u16 = 39;
/// Rows of a sparkline with its borders.
const SPARK: u16 = 5;

/// Draws all of it; small terminals cut what does not fit, from below.
pub(crate) fn draw(frame: &mut Frame<'_>, seen: &Seen, colour: bool) {
    let style = Palette { colour };
    let rows = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Length(TABLES),
        Constraint::Length(SPARK),
        Constraint::Length(SPARK),
        Constraint::Length(1),
    ]);
    let [title, progress, tables, p99, answers, foot] = rows.areas(frame.area());
    let [times, said] = Layout::horizontal([Constraint::Length(TIMES), Constraint::Fill(1)]).areas(tables);
    frame.render_widget(Paragraph::new(heading(seen, style)), title);
    gauge(frame, progress, seen, style);
    figures(frame, times, seen, style);
    answered(frame, said, seen, style);
    let highest = |series: &[u64]| series.iter().copied().max().unwrap_or(0);
    let label = format!(" p99 a second, highest {} ", time(highest(&seen.p99s) as f64));
    spark(frame, p99, &label, &seen.p99s, style.of(Color::Magenta));
    let label = format!(" answers a second, highest {} ", count(highest(&seen.answers)));
    spark(frame, answers, &label, &seen.answers, style.of(Color::Cyan));
    let words = Line::styled(
        "Ctrl-C breaks off. Figures of a running load are a guide; the report counts.",
        style.faint(),
    );
    frame.render_widget(Paragraph::new(words), foot);
}

/// Styles, or none with `NO_COLOR`; words never depend on a colour.
#[derive(Clone, Copy, Debug)]
struct Palette {
    colour: bool,
}

impl Palette {
    fn of(self, colour: Color) -> Style {
        if self.colour {
            Style::new().fg(colour)
        } else {
            Style::new()
        }
    }

    fn bold(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    fn faint(self) -> Style {
        self.of(Color::DarkGray)
    }
}

fn heading(seen: &Seen, style: Palette) -> Line<'static> {
    let name = Span::styled("portcullis-loadgen", style.bold());
    let Some(last) = seen.last else {
        return Line::from(vec![name, Span::raw("  waiting for the first second")]);
    };
    let phase = match last.phase {
        Phase::WarmUp => style.of(Color::Yellow),
        Phase::Measured => style.of(Color::Green),
        Phase::Draining => style.of(Color::Blue),
    };
    Line::from(vec![
        name,
        Span::raw("  "),
        Span::styled(last.phase.name(), phase.add_modifier(Modifier::BOLD)),
        Span::raw(format!("  {} under way", count(last.under_way))),
    ])
}

fn gauge(frame: &mut Frame<'_>, area: Rect, seen: &Seen, style: Palette) {
    let (done, planned) = seen
        .last
        .map_or((0, 0), |last| (last.since_start.as_secs() + 1, last.planned.as_secs()));
    let done = done.min(planned);
    let part = if planned == 0 {
        0.0
    } else {
        done as f64 / planned as f64
    };
    let gauge = Gauge::default()
        .ratio(part.clamp(0.0, 1.0))
        .label(format!("{} of {}", clock(done), clock(planned)))
        .gauge_style(style.of(Color::Green));
    frame.render_widget(gauge, area);
}

fn figures(frame: &mut Frame<'_>, area: Rect, seen: &Seen, style: Palette) {
    let now = |place: usize| {
        let times = seen.last.and_then(|last| last.times_us);
        times
            .and_then(|times| times.get(place).copied())
            .map_or_else(dash, time)
    };
    let far = |percentile: f64| seen.times.at_us(percentile).map_or_else(too_few, time);
    let (got, due) = seen.last.map_or((0, None), |last| (last.answered, last.rate_due));
    let mean = if seen.measured == 0 {
        dash()
    } else {
        format!("{}/s", rate(seen.outcomes.total() as f64 / seen.measured as f64))
    };
    let max = if seen.times.samples() == 0 {
        dash()
    } else {
        time(seen.times.max_us())
    };
    let rows = [
        [
            String::new(),
            String::from("last second"),
            String::from("measured so far"),
        ],
        [
            String::from("asked for"),
            due.map_or_else(dash, |due| format!("{}/s", rate(due))),
            String::new(),
        ],
        [String::from("answered"), format!("{}/s", count(got)), mean],
        [String::from("p50"), now(0), far(50.0)],
        [String::from("p99"), now(1), far(99.0)],
        [String::from("p99.9"), String::new(), far(99.9)],
        [String::from("p99.99"), String::new(), far(99.99)],
        [String::from("max"), now(2), max],
    ];
    let row = |(number, [name, now, far]): (usize, [String; 3])| {
        let cells = [
            Line::raw(name),
            Line::raw(now).right_aligned(),
            Line::raw(far).right_aligned(),
        ];
        Row::new(cells).style(if number == 0 { style.faint() } else { Style::new() })
    };
    let widths = [Constraint::Length(9), Constraint::Length(11), Constraint::Length(15)];
    let table = Table::new(rows.into_iter().enumerate().map(row), widths);
    frame.render_widget(table.block(Block::bordered().title(" times ")), area);
}

fn answered(frame: &mut Frame<'_>, area: Rect, seen: &Seen, style: Palette) {
    let total = seen.outcomes.total();
    let told = outcomes(&seen.outcomes).into_iter();
    // The two expected ones always, failures when there are any.
    let told = told.filter(|(_, count, failure)| !failure || 0 < *count);
    let row = |(name, number, failure): (&'static str, u64, bool)| {
        let part = if total == 0 {
            dash()
        } else {
            share(number as f64 / total as f64)
        };
        let name = if failure {
            format!("! {name}")
        } else {
            String::from(name)
        };
        let cells = [
            Line::raw(name),
            Line::raw(count(number)).right_aligned(),
            Line::raw(part).right_aligned(),
        ];
        Row::new(cells).style(if failure { style.of(Color::Red) } else { Style::new() })
    };
    let widths = [Constraint::Fill(1), Constraint::Length(9), Constraint::Length(7)];
    let title = format!(" outcomes: {} failures ", count(seen.outcomes.failures()));
    let table = Table::new(told.map(row), widths);
    frame.render_widget(table.block(Block::bordered().title(title)), area);
}

/// The newest seconds that fit, the last on the right.
fn spark(frame: &mut Frame<'_>, area: Rect, title: &str, series: &[u64], style: Style) {
    let block = Block::bordered().title(String::from(title));
    let fits = usize::from(block.inner(area).width);
    let newest = series.get(series.len().saturating_sub(fits)..).unwrap_or(series);
    frame.render_widget(Sparkline::default().data(newest).style(style).block(block), area);
}

fn clock(seconds: u64) -> String {
    format!("{:02}:{:02}", seconds / 60, seconds % 60)
}

fn dash() -> String {
    String::from("-")
}

fn too_few() -> String {
    String::from("too few samples")
}
