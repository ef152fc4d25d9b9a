//! `portcullis keys`: makes, lists and rotates the gate's own keys, and prints what of them is public.
//!
//! Owns the commands and their words. Reads of the configuration only where keys lie, so that it works before the rest is
//! right. Never prints a secret.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use portcullis_core::time::UnixTime;
use serde_json::{Value, json};

use super::input::shown;
use super::jwks::write_out;
use super::{Exit, Format};
use crate::clock;
use crate::config::{self, Diagnostics, NamedKeys, Span};
use crate::keys::{self, KeyStore, MakeError, Purpose, Rotation};

#[derive(Debug, Subcommand)]
pub(super) enum KeysCommand {
    /// Make the keys that are missing; never overwrites one.
    Init(KeysArguments),
    /// Show every key: purpose, id, state, times, file; never a secret.
    List(KeysArguments),
    /// Make the next key of a purpose: it opens at once and seals from `--activate-after` on.
    Rotate(RotateArguments),
    /// Print the public keys of assertions as a JWK Set (RFC 7517), the next and the retiring one too.
    Public(KeysArguments),
}

#[derive(Debug, Args)]
pub(super) struct KeysArguments {
    /// The configuration file.
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
    /// The form of the answer.
    #[arg(long, value_name = "FORMAT", default_value = "pretty")]
    format: Format,
}

#[derive(Debug, Args)]
pub(super) struct RotateArguments {
    /// What the key is for.
    #[arg(value_name = "PURPOSE")]
    purpose: RotatedPurpose,
    #[command(flatten)]
    common: KeysArguments,
    /// How long the old key opens after the new one has begun to seal.
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = span)]
    overlap: Duration,
    /// When the new key begins to seal: as long as every replica needs to have read it.
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = span)]
    activate_after: Duration,
    /// Rotate `digests` although records before and after cannot be linked then.
    #[arg(long)]
    danger_break_records: bool,
}

/// A purpose, spelt as in files.
#[derive(Clone, Copy, Debug, ValueEnum)]
#[value(rename_all = "snake_case")]
enum RotatedPurpose {
    /// Signs the assertions that tell upstreams who calls.
    Assertion,
    /// Keys the digests in the records.
    Digests,
    /// Keys the nonces of proofs of possession.
    DpopNonce,
    /// Seals the sessions of the legacy era.
    Session,
}

impl From<RotatedPurpose> for Purpose {
    fn from(purpose: RotatedPurpose) -> Self {
        match purpose {
            RotatedPurpose::Assertion => Self::Assertion,
            RotatedPurpose::Digests => Self::Digests,
            RotatedPurpose::DpopNonce => Self::DpopNonce,
            RotatedPurpose::Session => Self::Session,
        }
    }
}

/// Why a command did nothing.
#[derive(Debug, thiserror::Error)]
enum KeysError {
    #[error(transparent)]
    Config(#[from] Diagnostics),
    #[error(transparent)]
    Make(#[from] MakeError),
    #[error("{0}")]
    Refused(String),
}

/// `portcullis keys`.
pub(super) fn keys(command: &KeysCommand) -> anyhow::Result<Exit> {
    let now = clock::now();
    let (answer, format) = match command {
        KeysCommand::Init(arguments) => (init(&arguments.config, now), arguments.format),
        KeysCommand::List(arguments) => (list(&arguments.config, now), arguments.format),
        KeysCommand::Rotate(arguments) => (rotate(arguments, now), arguments.common.format),
        KeysCommand::Public(arguments) => (public(&arguments.config, now), arguments.format),
    };
    match answer {
        Ok(answer) => {
            write_out(&match format {
                Format::Pretty => answer.pretty,
                Format::Json => format!("{}\n", answer.json),
            })?;
            Ok(Exit::Ok)
        }
        Err(KeysError::Config(diagnostics)) => {
            eprint!("{}", diagnostics.pretty());
            Ok(Exit::Invalid)
        }
        // The machine's fault, not the operator's.
        Err(KeysError::Make(error @ (MakeError::Randomness | MakeError::Write(..)))) => Err(error.into()),
        Err(error @ (KeysError::Make(_) | KeysError::Refused(_))) => {
            eprintln!("portcullis: {error}");
            Ok(Exit::Invalid)
        }
    }
}

/// What a command has to say.
struct Answer {
    pretty: String,
    json: Value,
}

fn init(config: &Path, now: UnixTime) -> Result<Answer, KeysError> {
    let NamedKeys { places, unnamed } = config::key_places(config)?;
    if let Some(before) = unnamed
        && !places.file(Purpose::Digests).exists()
    {
        return Err(KeysError::Refused(format!(
            "`{before}` holds the key of the digests in the records so far: name it by `audit.digest_key` to go on with it, \
             or move it away",
            before = before.display()
        )));
    }
    let made = keys::init(&places, now)?;
    let is_new = |purpose: &Purpose| made.iter().any(|made| made.purpose == *purpose);
    let kept: Vec<Purpose> = Purpose::ALL.into_iter().filter(|purpose| !is_new(purpose)).collect();
    let mut pretty = String::new();
    for made in &made {
        let path = made.path.display();
        pretty.push_str(&format!("made: {} {} in {path}\n", made.purpose, made.id));
    }
    for purpose in &kept {
        pretty.push_str(&format!("kept: {purpose} in {}\n", places.file(*purpose).display()));
    }
    let made = made.iter().map(|made| {
        json!({
            "purpose": made.purpose.name(),
            "id": made.id,
            "source": made.path.display().to_string(),
        })
    });
    let kept = kept.iter().map(|purpose| {
        json!({
            "purpose": purpose.name(),
            "source": places.file(*purpose).display().to_string(),
        })
    });
    let json = json!({"made": made.collect::<Vec<_>>(), "kept": kept.collect::<Vec<_>>()});
    Ok(Answer { pretty, json })
}

fn list(config: &Path, now: UnixTime) -> Result<Answer, KeysError> {
    let places = config::key_places(config)?.places;
    let store = KeyStore::open(&places).map_err(MakeError::from)?;
    let mut pretty = format!(
        "{:<11} {:<9} {:<9} {:<28} {:<28} source\n",
        "purpose", "id", "state", "since", "until"
    );
    let mut listed = Vec::new();
    for purpose in Purpose::ALL {
        let source = places.file(purpose).display().to_string();
        for key in store.keys(purpose) {
            let state = store.state(purpose, key, now).name();
            // A key from a file of digits does not say since when it is used.
            let since = (key.from != UnixTime::default()).then(|| shown(key.from));
            let until = key.until.map(shown);
            pretty.push_str(&format!(
                "{:<11} {:<9} {state:<9} {:<28} {:<28} {source}\n",
                purpose.name(),
                key.id,
                since.as_deref().unwrap_or("-"),
                until.as_deref().unwrap_or("-"),
            ));
            listed.push(json!({
                "purpose": purpose.name(),
                "id": key.id,
                "state": state,
                "since": since,
                "until": until,
                "source": source,
            }));
        }
        if store.keys(purpose).is_empty() {
            pretty.push_str(&format!("{:<11} {:<9} missing\n", purpose.name(), "-"));
        }
    }
    for path in store.readable_by_others() {
        pretty.push_str(&format!(
            "note: everybody on this machine can read `{}`\n",
            path.display()
        ));
    }
    let missing: Vec<&str> = store.missing().map(Purpose::name).collect();
    let json = json!({"keys": listed, "missing": missing});
    Ok(Answer { pretty, json })
}

fn rotate(arguments: &RotateArguments, now: UnixTime) -> Result<Answer, KeysError> {
    let purpose = Purpose::from(arguments.purpose);
    if purpose == Purpose::Digests && !arguments.danger_break_records {
        return Err(KeysError::Refused(BREAKS_RECORDS.to_owned()));
    }
    let places = config::key_places(&arguments.common.config)?.places;
    let rotation = Rotation {
        overlap: arguments.overlap,
        activate_after: arguments.activate_after,
    };
    let rotated = keys::rotate(&places, purpose, rotation, now)?;
    let (retiring, retires) = &rotated.retiring;
    let mut pretty = format!(
        "{purpose}: {} seals from {}, {retiring} opens until {}\n",
        rotated.made.id,
        shown(rotated.from),
        shown(*retires)
    );
    if !rotated.dropped.is_empty() {
        pretty.push_str(&format!("dropped: {}\n", rotated.dropped.join(", ")));
    }
    let next = match purpose {
        Purpose::Assertion | Purpose::Session => "each gate takes it up on SIGHUP",
        Purpose::Digests | Purpose::DpopNonce => "each gate takes it up when it is started anew",
    };
    pretty.push_str(&format!("next: {next}\n"));
    let json = json!({
        "purpose": purpose.name(),
        "id": rotated.made.id,
        "since": shown(rotated.from),
        "source": rotated.made.path.display().to_string(),
        "retiring": {"id": retiring, "until": shown(*retires)},
        "dropped": rotated.dropped,
        "next": next,
    });
    Ok(Answer { pretty, json })
}

fn public(config: &Path, now: UnixTime) -> Result<Answer, KeysError> {
    let places = config::key_places(config)?.places;
    let store = KeyStore::open(&places).map_err(MakeError::from)?;
    if store.keys(Purpose::Assertion).is_empty() {
        return Err(MakeError::Missing(Purpose::Assertion).into());
    }
    let json = keys::public_jwks(&store, now);
    Ok(Answer {
        pretty: format!("{json:#}\n"),
        json,
    })
}

fn span(text: &str) -> Result<Duration, String> {
    Span::parse(text)
        .map(|span| span.0)
        .ok_or_else(|| "it is no time such as `500ms`, `10s`, `5m` or `24h`".to_owned())
}

const BREAKS_RECORDS: &str = "another key for `digests` breaks the thread of the records: one caller has another `principal_id` \
                              after it, sessions and arguments have other digests, and nothing before can be linked to \
                              what comes after; say `--danger-break-records` to do it all the same";
