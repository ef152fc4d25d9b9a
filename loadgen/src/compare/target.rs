//! Targets as they are written on the command line: `NAME=URL[,pid=N][,metrics=URL][,authority=HOST][,judges=no]`.
//!
//! Owns [`NamedUrl`]. Connects to nothing and resolves nothing.

use std::str::FromStr;

use thiserror::Error;

use crate::connect::shown;

/// A target by its URL.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NamedUrl {
    /// Its name in the report: letters, digits, `-`, `_` and `.`.
    pub name: String,
    /// The endpoint.
    pub url: String,
    /// The process whose CPU time is its own, when it runs on this machine.
    pub pid: Option<u32>,
    /// A page with its metrics: CPU time of its process and, of a gate, the time of each stage.
    pub metrics: Option<String>,
    /// What is sent as `Host`, when it is not the URL's own.
    pub authority: Option<String>,
    /// Whether it judges: `judges=no` says that it refuses nothing.
    pub judges: bool,
}

/// Why a text names no target.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum NamedUrlError {
    /// There is no name in front of the URL, or an odd one.
    #[error(
        "`{0}` names no target: write NAME=URL[,pid=N][,metrics=URL][,authority=HOST][,judges=no], the name of letters, digits, `-`, `_` and `.`"
    )]
    Name(String),
    /// A part behind the URL is none of those that are known.
    #[error("`{0}` is none of pid=N, metrics=URL, authority=HOST and judges=no")]
    Part(String),
    /// The process id is no number above 0.
    #[error("`{0}` is no process id")]
    Pid(String),
    /// A part stands there twice.
    #[error("`{0}` is given twice")]
    Twice(&'static str),
    /// It is no URL.
    #[error("`{0}` is no URL such as http://127.0.0.1:8080/mcp")]
    Url(String),
}

impl FromStr for NamedUrl {
    type Err = NamedUrlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, rest) = text
            .split_once('=')
            .filter(|(name, _)| is_name(name))
            .ok_or_else(|| NamedUrlError::Name(text.to_owned()))?;
        let mut parts = rest.split(',');
        let mut target = Self {
            name: name.to_owned(),
            url: url(parts.next().unwrap_or_default())?,
            pid: None,
            metrics: None,
            authority: None,
            judges: true,
        };
        for part in parts {
            match part.split_once('=') {
                Some(("pid", _)) if target.pid.is_some() => return Err(NamedUrlError::Twice("pid")),
                Some(("pid", pid)) => target.pid = Some(process_id(pid)?),
                Some(("metrics", _)) if target.metrics.is_some() => return Err(NamedUrlError::Twice("metrics")),
                Some(("metrics", page)) => target.metrics = Some(url(page)?),
                Some(("authority", _)) if target.authority.is_some() => return Err(NamedUrlError::Twice("authority")),
                Some(("authority", authority)) if !authority.is_empty() => {
                    target.authority = Some(authority.to_owned());
                }
                Some(("judges", "no")) => target.judges = false,
                _ => return Err(NamedUrlError::Part(part.to_owned())),
            }
        }
        Ok(target)
    }
}

fn is_name(name: &str) -> bool {
    let allowed = |character: char| character.is_ascii_alphanumeric() || "-_.".contains(character);
    !name.is_empty() && name.chars().all(allowed)
}

fn url(text: &str) -> Result<String, NamedUrlError> {
    let wrong = || NamedUrlError::Url(shown(text));
    let parsed: http::Uri = text.parse().map_err(|_| wrong())?;
    match parsed.scheme_str() {
        Some("http" | "https") if parsed.host().is_some() => Ok(text.to_owned()),
        _ => Err(wrong()),
    }
}

fn process_id(text: &str) -> Result<u32, NamedUrlError> {
    let pid = text.parse().ok().filter(|pid| 0 < *pid);
    pid.ok_or_else(|| NamedUrlError::Pid(text.to_owned()))
}

#[cfg(test)]
mod tests;
