//! Logs: one JSON object a line, to stderr.
//!
//! Owns the level and what dependencies may say. Pingora's error about a bad head quotes the head, token included, so
//! its modules that print such errors are silent, as is the one that calls a missed chance to reuse a connection an
//! error; its chatter stops at `info`. Nothing of ours logs a token, a key, a header's value or an argument.

use std::io;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// How much is logged.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub(crate) enum Level {
    /// What needs somebody.
    Error,
    /// And what may soon.
    Warn,
    /// And what changes: starts, reloads, key sets.
    Info,
    /// And what explains a fault.
    Debug,
    /// And every step.
    Trace,
}

impl Level {
    const fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }

    /// Ours at this level, the HTTP and TLS stacks one less and at most at `info`.
    fn filter(self) -> String {
        let ours = self.name();
        let theirs = match self {
            Self::Error => Self::Error.name(),
            Self::Warn | Self::Info => Self::Warn.name(),
            Self::Debug | Self::Trace => Self::Info.name(),
        };
        let mut filter = format!("{theirs},portcullis={ours},portcullis_core={ours}");
        for silent in SILENT {
            filter.push_str(&format!(",{silent}=off"));
        }
        filter
    }
}

/// Modules whose errors quote the head of a request, or are none: connections fail in our own words.
const SILENT: [&str; 3] = [
    "pingora_core::apps",
    "pingora_core::connectors",
    "pingora_core::protocols::http",
];

/// Starts logging; a second call changes nothing.
pub(crate) fn start(level: Level) {
    let lines = tracing_subscriber::fmt::layer()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_span_list(false)
        .with_writer(io::stderr);
    // Refused only when a subscriber is set already, as in tests.
    let _ = tracing_subscriber::registry()
        .with(EnvFilter::new(level.filter()))
        .with(lines)
        .try_init();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_are_capped_and_what_quotes_heads_is_silent() {
        let silent = "pingora_core::apps=off,pingora_core::connectors=off,pingora_core::protocols::http=off";
        let check = |level: Level, want: &str| {
            let want = format!("{want},{silent}");
            assert_eq!(level.filter(), want);
            assert!(EnvFilter::try_new(&want).is_ok(), "{want}");
        };
        check(Level::Error, "error,portcullis=error,portcullis_core=error");
        check(Level::Info, "warn,portcullis=info,portcullis_core=info");
        check(Level::Trace, "info,portcullis=trace,portcullis_core=trace");
    }
}
