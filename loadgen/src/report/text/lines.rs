//! Lines of a text report: wrapped paragraphs and aligned tables.
//!
//! Owns the width. Counts characters, not bytes, so that `µs` lines up.

/// Characters of a line at most.
pub(super) const WIDTH: usize = 110;
/// Characters of the labels on the left.
const LABEL: usize = 13;

/// A text in the making.
#[derive(Debug, Default)]
pub(super) struct Lines(String);

impl Lines {
    /// One line as it is.
    pub(super) fn line(&mut self, line: &str) {
        // Names come from a command line or a target: nothing in them may move the cursor of a terminal.
        self.0
            .extend(line.chars().map(|char| if char.is_control() { '?' } else { char }));
        self.0.push('\n');
    }

    /// An empty line, unless nothing stands above it.
    pub(super) fn gap(&mut self) {
        if !self.0.is_empty() && !self.0.ends_with("\n\n") {
            self.0.push('\n');
        }
    }

    /// A heading after a gap.
    pub(super) fn heading(&mut self, heading: &str) {
        self.gap();
        self.line(heading);
    }

    /// A label and words that wrap beneath each other.
    pub(super) fn labelled(&mut self, label: &str, words: &str) {
        self.hanging(&format!("{label:<width$}", width = LABEL - 1), words);
    }

    /// Words behind a prefix; what does not fit wraps beneath its end.
    pub(super) fn hanging(&mut self, prefix: &str, words: &str) {
        let indent = prefix.chars().count() + 1;
        let mut line = String::from(prefix);
        let mut empty = true;
        for word in words.split_whitespace() {
            if !empty && WIDTH < line.chars().count() + 1 + word.chars().count() {
                self.line(&line);
                line = " ".repeat(indent - 1);
            }
            line.push(' ');
            line.push_str(word);
            empty = false;
        }
        self.line(line.trim_end());
    }

    /// A table: the first column stands left, the others right, unless `left` names them.
    pub(super) fn table(&mut self, header: &[&str], rows: &[Vec<String>], left: &[usize]) {
        let header = header.iter().map(|cell| String::from(*cell)).collect::<Vec<_>>();
        let all = || std::iter::once(&header).chain(rows);
        let width = |column: usize| {
            let cells = all().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..header.len()).map(width).collect();
        for row in all() {
            let cell = |(column, (cell, width)): (usize, (&String, &usize))| {
                if column == 0 || left.contains(&column) {
                    format!("{cell:<width$}")
                } else {
                    format!("{cell:>width$}")
                }
            };
            let cells: Vec<String> = row.iter().zip(&widths).enumerate().map(cell).collect();
            self.line(format!("  {}", cells.join("   ")).trim_end());
        }
    }

    /// The text.
    pub(super) fn finish(self) -> String {
        self.0
    }
}
