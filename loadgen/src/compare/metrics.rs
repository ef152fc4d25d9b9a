//! A metrics page in the text format of Prometheus or OpenMetrics.
//!
//! Owns [`Page`]: names, labels and numbers, nothing of what they mean. Reads what is well formed and skips the rest,
//! for a page that has one odd line still tells the others.

use std::time::Duration;

use http::{HeaderMap, Method, Uri};
use thiserror::Error;
use tokio::time::timeout;

use crate::connect::{Connection, Endpoint, ExchangeError};

/// How long a page is awaited.
const FETCH_DEADLINE: Duration = Duration::from_secs(5);

/// Why a page could not be had.
#[derive(Debug, Error)]
pub enum MetricsError {
    /// No answer.
    #[error("the page `{0}` cannot be read: {1}")]
    Exchange(Uri, ExchangeError),
    /// The system gives no runtime.
    #[error("the system refuses what an HTTP exchange needs: {0}")]
    Runtime(std::io::Error),
    /// Another status than 200.
    #[error("the page `{0}` answers {1}")]
    Status(Uri, u16),
    /// It is no text.
    #[error("the page `{0}` is no text")]
    Text(Uri),
}

/// The numbers of a page.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page {
    samples: Vec<Sample>,
}

/// One number.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Its name, suffix included.
    pub name: String,
    /// Its labels in their order.
    pub labels: Vec<(String, String)>,
    /// The number.
    pub value: f64,
}

impl Sample {
    /// The value of that label.
    pub fn label(&self, name: &str) -> Option<&str> {
        let found = self.labels.iter().find(|(present, _)| present == name);
        found.map(|(_, value)| value.as_str())
    }

    /// `name{label="value",..} number`, and what follows is not looked at.
    fn parse(line: &str) -> Option<Self> {
        let end = line.find(|character: char| character == '{' || character.is_whitespace())?;
        let (name, rest) = line.split_at_checked(end)?;
        let (labels, rest) = match rest.strip_prefix('{') {
            Some(rest) => labels(rest)?,
            None => (Vec::new(), rest),
        };
        let value = rest.split_whitespace().next()?.parse().ok()?;
        Some(Self {
            name: name.to_owned(),
            labels,
            value,
        })
    }
}

impl Page {
    /// Reads a page.
    pub fn parse(text: &str) -> Self {
        let lines = text.lines().map(str::trim).filter(|line| !line.starts_with('#'));
        Self {
            samples: lines.filter_map(Sample::parse).collect(),
        }
    }

    /// Every number of that name.
    pub fn of<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Sample> {
        self.samples.iter().filter(move |sample| sample.name == name)
    }

    /// The first number of that name.
    pub fn value(&self, name: &str) -> Option<f64> {
        self.of(name).next().map(|sample| sample.value)
    }
}

/// Fetches the page at `endpoint`. Blocks; not to be called from within a runtime.
///
/// # Errors
/// [`MetricsError`] when there is none.
pub fn fetch(endpoint: &Endpoint) -> Result<Page, MetricsError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(MetricsError::Runtime)?;
    let answer = runtime.block_on(async {
        let fetched = timeout(FETCH_DEADLINE, async {
            let mut connection = Connection::open(endpoint).await?;
            connection.bare(endpoint, Method::GET, HeaderMap::new()).await
        });
        let late = |_| Err(ExchangeError::Connect(std::io::ErrorKind::TimedOut.into()));
        fetched.await.unwrap_or_else(late)
    });
    let answer = answer.map_err(|error| MetricsError::Exchange(endpoint.url().clone(), error))?;
    if answer.status != 200 {
        return Err(MetricsError::Status(endpoint.url().clone(), answer.status));
    }
    match std::str::from_utf8(&answer.body) {
        Ok(text) => Ok(Page::parse(text)),
        Err(_) => Err(MetricsError::Text(endpoint.url().clone())),
    }
}

/// Labels up to the closing brace, and what stands behind it.
fn labels(mut rest: &str) -> Option<(Vec<(String, String)>, &str)> {
    let mut labels = Vec::new();
    loop {
        rest = rest.trim_start_matches([',', ' ']);
        if let Some(behind) = rest.strip_prefix('}') {
            return Some((labels, behind));
        }
        let (name, behind) = rest.split_once("=\"")?;
        let (value, behind) = quoted(behind)?;
        labels.push((name.trim().to_owned(), value));
        rest = behind;
    }
}

/// A text up to its closing quote, with `\\`, `\"` and `\n` resolved, and what stands behind it.
fn quoted(rest: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = rest.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, rest.get(at + 1..)?)),
            '\\' => value.push(match characters.next()?.1 {
                'n' => '\n',
                other => other,
            }),
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests;
