//! The parts of a page.
//!
//! Owns the markup, the style sheet and the escaping. [`Page::raw`] alone takes markup; all else takes text.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

use crate::report::figures::{count, outcomes, share};
use crate::report::words;
use crate::report::{Environment, Outcomes, ThresholdResult};

/// The style sheet.
const STYLE: &str = include_str!("page.css");
/// What a page may load: nothing. Styles stand within it, and scripts never run.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";

/// Characters from which on a cell wraps.
const LONG: usize = 48;

/// A page in the making. Writing to a string cannot fail, which is why the outcomes of `write!` are dropped.
#[derive(Debug)]
pub(super) struct Page(String);

/// A key figure.
#[derive(Clone, Debug)]
pub(super) struct Card {
    pub(super) label: String,
    pub(super) figure: String,
    pub(super) more: String,
    pub(super) bad: bool,
}

/// A bar of a chart: parts of the whole width, from 0 to 1.
#[derive(Clone, Debug)]
pub(super) struct Bar {
    pub(super) name: String,
    pub(super) parts: Vec<f64>,
    pub(super) figure: String,
}

/// Text that no browser takes for markup, in contents and in quoted attributes.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            // Control characters are no part of HTML, and turned-round text could read as another verdict.
            control if control.is_control() || matches!(control, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') => {
                out.push('\u{fffd}');
            }
            char => out.push(char),
        }
    }
    out
}

impl Page {
    pub(super) fn new(title: &str) -> Self {
        Self(format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta name=\"color-scheme\" content=\"light dark\">\n\
             <title>{}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n",
            escape(title)
        ))
    }

    /// Markup as it is.
    pub(super) fn raw(&mut self, markup: &str) {
        self.0.push_str(markup);
        self.0.push('\n');
    }

    /// The name of the report and its verdict, by word and sign.
    pub(super) fn heading(&mut self, name: &str, invalid: bool, reasons: &[String]) {
        let (class, sign, word, more) = if invalid {
            (
                "invalid",
                "M4 4 12 12M12 4 4 12",
                "INVALID",
                "these figures must not be quoted",
            )
        } else {
            (
                "valid",
                "M3 8.5 6.5 12 13 4.5",
                "VALID",
                "the generator's checks of itself held",
            )
        };
        let _ = write!(
            self.0,
            "<header><h1>{}</h1>\n<div class=\"verdict {class}\"><p><svg viewBox=\"0 0 16 16\" aria-hidden=\"true\">\
             <path d=\"{sign}\"/></svg><strong>{word}</strong> <span>{more}</span></p>",
            escape(name)
        );
        if !reasons.is_empty() {
            self.list(reasons);
        }
        self.0.push_str("</div></header>\n");
    }

    pub(super) fn section(&mut self, name: &str) {
        let _ = writeln!(self.0, "<h2>{}</h2>", escape(name));
    }

    pub(super) fn paragraph(&mut self, text: &str) {
        let _ = writeln!(self.0, "<p>{}</p>", escape(text));
    }

    pub(super) fn list(&mut self, lines: &[String]) {
        self.0.push_str("<ul>");
        for line in lines {
            let _ = write!(self.0, "<li>{}</li>", escape(line));
        }
        self.0.push_str("</ul>\n");
    }

    /// Names and what is said of them.
    pub(super) fn facts(&mut self, facts: &[(&str, String)]) {
        self.0.push_str("<dl class=\"facts\">");
        for (name, text) in facts {
            let _ = write!(self.0, "<dt>{}</dt><dd>{}</dd>", escape(name), escape(text));
        }
        self.0.push_str("</dl>\n");
    }

    pub(super) fn cards(&mut self, cards: &[Card]) {
        self.0.push_str("<ul class=\"cards\">");
        for card in cards {
            let class = if card.bad { " class=\"bad\"" } else { "" };
            // A blank that keeps its line, so that the figures of all cards stand on one line.
            let more = if card.more.is_empty() { "\u{a0}" } else { &card.more };
            let _ = write!(
                self.0,
                "<li{class}><span>{}</span><strong>{}</strong><small>{}</small></li>",
                escape(&card.label),
                escape(&card.figure),
                escape(more)
            );
        }
        self.0.push_str("</ul>\n");
    }

    /// A table whose first column names its rows.
    pub(super) fn table(&mut self, header: &[&str], rows: &[Vec<String>]) {
        self.0.push_str("<div class=\"scroll\"><table><thead><tr>");
        for cell in header {
            let _ = write!(self.0, "<th scope=\"col\">{}</th>", escape(cell));
        }
        self.0.push_str("</tr></thead><tbody>");
        for row in rows {
            self.0.push_str("<tr>");
            for (place, cell) in row.iter().enumerate() {
                let _ = match place {
                    0 => write!(self.0, "<th scope=\"row\">{}</th>", escape(cell)),
                    _ if cell.starts_with("too few samples (") => {
                        write!(self.0, "<td class=\"few\">{}</td>", escape(cell))
                    }
                    _ if LONG < cell.chars().count() => write!(self.0, "<td class=\"long\">{}</td>", escape(cell)),
                    _ => write!(self.0, "<td>{}</td>", escape(cell)),
                };
            }
            self.0.push_str("</tr>");
        }
        self.0.push_str("</tbody></table></div>\n");
    }

    /// Level bars with their figures behind them; `legend` names the parts when there are several.
    pub(super) fn bars(&mut self, legend: &[&str], bars: &[Bar]) {
        if 1 < legend.len() {
            self.0.push_str("<ul class=\"legend\">");
            for (place, name) in legend.iter().enumerate() {
                let _ = write!(self.0, "<li><i class=\"key part{place}\"></i>{}</li>", escape(name));
            }
            self.0.push_str("</ul>");
        }
        self.0.push_str("<dl class=\"bars\">");
        for bar in bars {
            let _ = write!(self.0, "<dt>{}</dt><dd><span class=\"bar\">", escape(&bar.name));
            for (place, part) in bar.parts.iter().enumerate() {
                let width = part.clamp(0.0, 1.0) * 100.0;
                let _ = write!(self.0, "<i class=\"part{place}\" style=\"width:{width:.2}%\"></i>");
            }
            let _ = write!(self.0, "</span><b>{}</b></dd>", escape(&bar.figure));
        }
        self.0.push_str("</dl>\n");
    }

    /// What the answers of each target said; outcomes that none of them had are left out.
    pub(super) fn outcomes(&mut self, targets: &[(&str, &Outcomes)]) {
        let mut header = vec![""];
        header.extend(targets.iter().map(|(name, _)| *name));
        let each: Vec<_> = targets.iter().map(|(_, all)| (outcomes(all), all.total())).collect();
        let mut rows = Vec::new();
        for (place, (name, _, failure)) in outcomes(&Outcomes::default()).into_iter().enumerate() {
            let counts = each
                .iter()
                .map(|(told, total)| (told.get(place).map_or(0, |(_, count, _)| *count), *total));
            if counts.clone().all(|(number, _)| number == 0) {
                continue;
            }
            let cell = |(number, total): (u64, u64)| match total {
                0 => String::from("-"),
                total => format!("{} ({})", count(number), share(number as f64 / total as f64)),
            };
            let mark = if failure { "✗ failure: " } else { "✓ " };
            rows.push(
                std::iter::once(format!("{mark}{name}"))
                    .chain(counts.map(cell))
                    .collect(),
            );
        }
        self.table(&header, &rows);
    }

    pub(super) fn thresholds(&mut self, thresholds: &[ThresholdResult]) {
        if thresholds.is_empty() {
            return;
        }
        self.section("Thresholds");
        let row = |result: &ThresholdResult| {
            let verdict = if result.failed { "✗ FAILED" } else { "✓ passed" };
            vec![
                format!("fail if {}", result.expression),
                String::from(verdict),
                words::threshold(result),
            ]
        };
        let rows: Vec<_> = thresholds.iter().map(row).collect();
        self.table(&["", "verdict", ""], &rows);
    }

    pub(super) fn notes(&mut self, notes: &[String]) {
        if !notes.is_empty() {
            self.section("Notes");
            self.list(notes);
        }
    }

    pub(super) fn environment(&mut self, environment: &Environment) {
        self.section("Environment");
        self.facts(&[
            ("Machine", words::machine(environment)),
            ("Generator", words::generator(environment)),
            ("Command", environment.command.join(" ")),
        ]);
    }

    pub(super) fn reading(&mut self) {
        self.section("How to read this page");
        self.list(&words::READING.map(String::from));
    }

    /// The report itself, within the page and as a link, and the end of the page.
    pub(super) fn finish<R: Serialize>(mut self, report: &R, name: &str) -> String {
        // Reports are plain structs with string keys: they serialise.
        let json = serde_json::to_string_pretty(report).unwrap_or_default();
        let name: String = { name.chars() }
            .map(|char| {
                if char.is_ascii_alphanumeric() || char == '-' || char == '.' {
                    char
                } else {
                    '_'
                }
            })
            .collect();
        let _ = write!(
            self.0,
            "<footer><p><a download=\"{name}.json\" href=\"data:application/json;base64,{}\">The whole report as JSON \
             ({})</a></p></footer>\n</main>\n",
            STANDARD.encode(&json),
            crate::report::figures::bytes(json.len() as u64)
        );
        // In JSON `<` stands within strings only, where it may be written so; then no text can end the element.
        let json = json.replace('<', "\\u003c");
        let _ = write!(
            self.0,
            "<script type=\"application/json\" id=\"report\">\n{json}\n</script>\n</body>\n</html>\n"
        );
        self.0
    }
}
