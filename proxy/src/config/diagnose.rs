//! What is wrong with a configuration, told so that a person can mend it at once.
//!
//! Owns the codes, the text and the JSON form of a diagnostic, and the translation of the YAML reader's errors. Never
//! prints a value that may be a secret: excerpts end where one could begin.

use std::fmt;
use std::path::Path;

use serde::Serialize;

use super::raw::Place;

/// The kinds of fault. A code never changes its meaning; a retired one is not used again.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Code {
    /// The text is no YAML.
    Syntax,
    /// A key that does not exist there.
    UnknownKey,
    /// A required key is absent.
    MissingKey,
    /// A value of the wrong type.
    WrongType,
    /// A key stands twice.
    DuplicateKey,
    /// A value outside the known ones, or outside its bounds.
    InvalidValue,
    /// A file cannot be read, or is too large.
    FileUnreadable,
    /// An issuer that cannot be used.
    IssuerInvalid,
    /// A server names an issuer that is not in the list.
    IssuerUnknown,
    /// A server has no issuer.
    ServerIssuerMissing,
    /// A server has no resource, hence no audience.
    ServerResourceMissing,
    /// A server has no tools.
    ServerToolsMissing,
    /// A server has no policy.
    ServerPolicyMissing,
    /// A server that cannot be used.
    ServerInvalid,
    /// Two servers or issuers collide.
    Repeated,
    /// The upstream's URL cannot be used.
    UpstreamInvalid,
    /// The upstream's name does not resolve: the one fault that lies outside the files.
    UpstreamUnresolved,
    /// A secret stands in the configuration.
    SecretInline,
    /// A secret cannot be had from where it should be.
    SecretMissing,
    /// The tool table cannot be used.
    ToolsInvalid,
    /// The policy is refused.
    PolicyRefused,
    /// A listener that cannot be used.
    ListenerInvalid,
    /// A key of the gate's own is not there.
    KeyMissing,
    /// The gate's own keys cannot be used.
    KeyUnusable,
}

impl Code {
    /// The number and the name, as people search for it.
    const fn words(self) -> [&'static str; 2] {
        match self {
            Self::Syntax => ["E0100", "syntax"],
            Self::UnknownKey => ["E0101", "unknown_key"],
            Self::MissingKey => ["E0102", "missing_key"],
            Self::WrongType => ["E0103", "wrong_type"],
            Self::DuplicateKey => ["E0104", "duplicate_key"],
            Self::InvalidValue => ["E0105", "invalid_value"],
            Self::FileUnreadable => ["E0201", "file_unreadable"],
            Self::IssuerInvalid => ["E0301", "issuer_invalid"],
            Self::IssuerUnknown => ["E0302", "issuer_unknown"],
            Self::ServerIssuerMissing => ["E0401", "server_issuer_missing"],
            Self::ServerResourceMissing => ["E0402", "server_resource_missing"],
            Self::ServerToolsMissing => ["E0403", "server_tools_missing"],
            Self::ServerPolicyMissing => ["E0404", "server_policy_missing"],
            Self::ServerInvalid => ["E0405", "server_invalid"],
            Self::Repeated => ["E0406", "repeated"],
            Self::UpstreamInvalid => ["E0407", "upstream_invalid"],
            Self::UpstreamUnresolved => ["E0408", "upstream_unresolved"],
            Self::SecretInline => ["E0409", "secret_inline"],
            Self::SecretMissing => ["E0410", "secret_missing"],
            Self::ToolsInvalid => ["E0411", "tools_invalid"],
            Self::PolicyRefused => ["E0501", "policy_refused"],
            Self::ListenerInvalid => ["E0601", "listener_invalid"],
            Self::KeyMissing => ["E0701", "key_missing"],
            Self::KeyUnusable => ["E0702", "key_unusable"],
        }
    }
}

/// What a configuration may have and is used with, but should not have. A code never changes its meaning.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Warning {
    /// A setting is used that weakens safety.
    DangerSet,
    /// An upstream sees an agent where the record names a person.
    ExchangeAgent,
    /// A policy takes people of two issuers for one another.
    IssuerUnread,
    /// A secret of many has a way in, or cannot be told from others.
    SharedSecret,
    /// A policy takes people of two tenants for one another.
    TenantUnread,
    /// An upstream serves who comes past the gate.
    UpstreamOpen,
    /// The name of one of several endpoints does not resolve.
    UpstreamUnresolved,
}

impl Warning {
    /// The number and the name, as people search for it.
    const fn words(self) -> [&'static str; 2] {
        match self {
            Self::DangerSet => ["W0801", "danger_set"],
            Self::ExchangeAgent => ["W0901", "exchange_agent"],
            Self::IssuerUnread => ["W0701", "issuer_unread"],
            Self::SharedSecret => ["W0802", "shared_secret"],
            Self::TenantUnread => ["W0702", "tenant_unread"],
            Self::UpstreamOpen => ["W1001", "upstream_open"],
            Self::UpstreamUnresolved => ["W1002", "upstream_unresolved"],
        }
    }
}

/// How bad it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Severity {
    /// The configuration is not used.
    Fault,
    /// It is used all the same.
    Warning,
}

/// One fault or warning: where it is, what it is and what helps.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Diagnostic {
    /// The code, such as `E0101`.
    pub code: &'static str,
    /// The code's name, such as `unknown_key`.
    pub name: &'static str,
    /// The file.
    pub file: String,
    /// The line, counted from 1; 0 when the whole file is meant.
    pub line: u64,
    /// The column, counted from 1.
    pub column: u64,
    /// The key at fault.
    pub key: Option<String>,
    /// The nearest key that exists there.
    pub nearest: Option<String>,
    /// What is wrong, in one line.
    pub message: String,
    /// The source line, up to where a secret could stand.
    pub excerpt: Option<String>,
    /// What helps.
    pub help: Option<String>,
    /// The JSON form has a list for each.
    #[serde(skip)]
    severity: Severity,
}

impl Diagnostic {
    /// A fault without excerpt and help.
    pub(crate) fn new(code: Code, file: &Path, place: Place, message: impl Into<String>) -> Self {
        Self::of(code.words(), Severity::Fault, file, place, message.into())
    }

    /// A warning without excerpt and help.
    pub(crate) fn warning(warning: Warning, file: &Path, place: Place, message: impl Into<String>) -> Self {
        Self::of(warning.words(), Severity::Warning, file, place, message.into())
    }

    fn of([code, name]: [&'static str; 2], severity: Severity, file: &Path, place: Place, message: String) -> Self {
        Self {
            code,
            name,
            file: file.display().to_string(),
            line: place.line,
            column: place.column,
            key: None,
            nearest: None,
            message,
            excerpt: None,
            help: None,
            severity,
        }
    }

    /// Adds what helps.
    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Adds the line of `source` that is meant.
    pub(crate) fn excerpt_of(mut self, source: &str) -> Self {
        let index = usize::try_from(self.line).unwrap_or_default().checked_sub(1);
        self.excerpt = index.and_then(|index| source.lines().nth(index)).map(masked);
        self
    }

    /// Tells it to the log of a running gate.
    pub(crate) fn log(&self) {
        macro_rules! event {
            ($level:ident) => {
                tracing::$level!(
                    code = self.code,
                    name = self.name,
                    file = self.file,
                    line = self.line,
                    column = self.column,
                    key = self.key,
                    nearest = self.nearest,
                    help = self.help,
                    "{}",
                    self.message
                )
            };
        }
        match self.severity {
            Severity::Fault => event!(error),
            Severity::Warning => event!(warn),
        }
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.severity {
            Severity::Fault => "error",
            Severity::Warning => "warning",
        };
        write!(out, "{word}[{} {}]: {}", self.code, self.name, self.message)?;
        match self.line {
            0 => write!(out, "\n  --> {}", self.file)?,
            line => write!(out, "\n  --> {}:{line}:{}", self.file, self.column)?,
        }
        if let Some(excerpt) = &self.excerpt {
            let margin = self.line.to_string().len();
            let width = self.key.as_ref().map_or(1, |key| key.chars().count().max(1));
            let indent = usize::try_from(self.column).unwrap_or_default().saturating_sub(1);
            write!(out, "\n {:margin$} |\n {} | {excerpt}", "", self.line)?;
            write!(out, "\n {:margin$} | {:indent$}{}", "", "", "^".repeat(width))?;
        }
        if let Some(nearest) = &self.nearest {
            write!(out, "\n  = nearest: `{nearest}`")?;
        }
        if let Some(help) = &self.help {
            write!(out, "\n  = help: {help}")?;
        }
        Ok(())
    }
}

/// Everything that is wrong with a configuration; never empty.
#[derive(Clone, Debug, Serialize, thiserror::Error)]
#[error("the configuration cannot be used: {}", self.summary())]
pub(crate) struct Diagnostics {
    /// The faults, in the order they were found.
    pub diagnostics: Vec<Diagnostic>,
}

impl Diagnostics {
    /// Whether nothing but the outside world is at fault: every diagnostic is an upstream that does not resolve.
    pub(crate) fn only_outside(&self) -> bool {
        let [code, _] = Code::UpstreamUnresolved.words();
        self.diagnostics.iter().all(|diagnostic| diagnostic.code == code)
    }

    /// The text for a terminal.
    pub(crate) fn pretty(&self) -> String {
        let mut text = String::new();
        for diagnostic in &self.diagnostics {
            text.push_str(&diagnostic.to_string());
            text.push_str("\n\n");
        }
        let count = self.diagnostics.len();
        let faults = if count == 1 { "fault" } else { "faults" };
        text.push_str(&format!("{count} {faults}; nothing was started or changed\n"));
        text
    }

    fn summary(&self) -> String {
        match self.diagnostics.first() {
            Some(first) => format!(
                "{} {} at {}:{}: {} ({} in all)",
                first.code,
                first.name,
                first.file,
                first.line,
                first.message,
                self.diagnostics.len()
            ),
            None => "no diagnostic".to_owned(),
        }
    }
}

impl From<Diagnostic> for Diagnostics {
    fn from(diagnostic: Diagnostic) -> Self {
        Self {
            diagnostics: vec![diagnostic],
        }
    }
}

/// Translates an error of the YAML reader about `file`, whose text is `source`.
pub(crate) fn of_yaml(error: &serde_saphyr::Error, file: &Path, source: &str) -> Diagnostic {
    use serde_saphyr::Error;
    let place = error.location().map(Place::from).unwrap_or_default();
    let new = |code, message: String| Diagnostic::new(code, file, place, message);
    let diagnostic = match error.without_snippet() {
        Error::SerdeUnknownField { field, expected, .. } => unknown_key(field, expected, file, place),
        Error::SerdeMissingField { field, .. } => new(
            Code::MissingKey,
            format!("the section of this line lacks the key `{field}`"),
        ),
        Error::SerdeUnknownVariant { expected, .. } => {
            new(Code::InvalidValue, format!("this is none of {}", list(expected)))
        }
        Error::SerdeInvalidType {
            unexpected, expected, ..
        } => new(
            Code::WrongType,
            format!("expected {expected}, found {}", kind_of(unexpected)),
        ),
        Error::SerdeInvalidValue { expected, .. } => new(Code::InvalidValue, format!("expected {expected}")),
        Error::InvalidScalar { ty, .. } => new(Code::WrongType, format!("expected {}", plain(ty))),
        Error::InvalidBooleanStrict { .. } => new(Code::WrongType, "expected `true` or `false`".to_owned()),
        Error::NullIntoString { .. } => new(Code::WrongType, "expected a string, found nothing".to_owned()),
        Error::Unexpected { expected, .. } => new(Code::WrongType, format!("expected {}", plain(expected))),
        Error::DuplicateMappingKey { key, .. } => duplicate_key(key.as_deref(), file, place),
        Error::MergeKeyNotAllowed { .. } => new(Code::Syntax, "merge keys (`<<`) are not read here".to_owned()),
        Error::Eof { .. } => new(Code::Syntax, "the file ends too early".to_owned()),
        Error::MultipleDocuments { .. } => new(Code::Syntax, "the file holds more than one document".to_owned()),
        // The parser's own words quote no scalar, but to be sure only its first line is told.
        Error::ExternalMessage { msg, .. } => new(Code::Syntax, msg.lines().next().unwrap_or_default().to_owned()),
        _ => new(Code::Syntax, "the file is not valid YAML here".to_owned()),
    };
    diagnostic.excerpt_of(source)
}

/// A key that does not exist there, with the nearest one that does.
fn unknown_key(field: &str, expected: &[&str], file: &Path, place: Place) -> Diagnostic {
    let credential = expected.contains(&"value_file") && matches!(field, "value" | "secret" | "token" | "password");
    let client = expected.contains(&"client_secret_file")
        && matches!(field, "client_secret" | "secret" | "password" | "private_key");
    let shared = expected.contains(&"subject")
        && expected.contains(&"env")
        && matches!(field, "value" | "secret" | "token" | "password");
    if credential || client || shared {
        let mut diagnostic = Diagnostic::new(
            Code::SecretInline,
            file,
            place,
            format!("a secret may not stand in the configuration: `{field}`"),
        );
        diagnostic.key = Some(field.to_owned());
        return diagnostic.help(if client {
            "write it to a file and name that by `client_secret_file` or `private_key_file`, or name a variable by \
             `client_secret_env`"
        } else if shared {
            "write it to a file and name that by `file`, or name a variable by `env`"
        } else {
            "write the value to a file and name it by `value_file`, or name a variable by `value_env`"
        });
    }
    let mut diagnostic = Diagnostic::new(Code::UnknownKey, file, place, format!("unknown key `{field}`"));
    diagnostic.nearest = nearest(field, expected).map(str::to_owned);
    diagnostic.key = Some(field.to_owned());
    diagnostic.help(format!("keys here: {}", list(expected)))
}

fn duplicate_key(key: Option<&str>, file: &Path, place: Place) -> Diagnostic {
    let name = key.unwrap_or_default();
    let mut diagnostic = Diagnostic::new(
        Code::DuplicateKey,
        file,
        place,
        format!("the key `{name}` stands twice"),
    );
    diagnostic.key = key.map(str::to_owned);
    diagnostic
}

/// The candidate that is nearest to `word` by edits, when it is near enough to be meant.
pub(crate) fn nearest<'c>(word: &str, candidates: &[&'c str]) -> Option<&'c str> {
    let folded = word.to_ascii_lowercase().replace('-', "_");
    candidates
        .iter()
        .map(|candidate| {
            (
                strsim::damerau_levenshtein(&folded, &candidate.to_ascii_lowercase()),
                *candidate,
            )
        })
        .filter(|(distance, candidate)| *distance <= candidate.len().max(folded.len()) / 2)
        .min()
        .map(|(_, candidate)| candidate)
}

/// The words in backticks, separated by commas.
pub(crate) fn list(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    quoted.join(", ")
}

/// The reader's name of a type in the words of somebody who writes YAML.
fn plain(expected: &str) -> &str {
    match expected {
        "i8" | "i16" | "i32" | "i64" | "u8" | "u16" | "u32" | "u64" => "a whole number",
        "mapping start" => "a section of keys",
        "sequence start" => "a list",
        "string scalar" => "a string",
        other => other,
    }
}

/// The kind in serde's description of an unexpected value, without the value: `string "x"` gives `string`.
fn kind_of(unexpected: &str) -> &str {
    let end = unexpected.find(['"', '`']).unwrap_or(unexpected.len());
    unexpected
        .split_at_checked(end)
        .map_or("a value", |(kind, _)| kind.trim())
}

/// A source line, cut after the first key that could carry a secret.
fn masked(line: &str) -> String {
    const SECRET_KEYS: [&str; 5] = ["value:", "secret:", "token:", "password:", "key:"];
    let lower = line.to_ascii_lowercase();
    let end = SECRET_KEYS
        .iter()
        .filter_map(|key| lower.find(key).map(|start| start.saturating_add(key.len())))
        .min();
    match end.and_then(|end| line.split_at_checked(end)) {
        Some((shown, hidden)) if !hidden.trim().is_empty() => format!("{shown} ..."),
        _ => line.trim_end().to_owned(),
    }
}
