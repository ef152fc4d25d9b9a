//! `portcullis policy verify`: whether the gate would take a bundle.
//!
//! Owns the command. The verdict is the core's.

use std::path::PathBuf;

use clap::Args;
use portcullis_core::bundle::{self, BundleLimits, Content, Signatures, Verification};
use portcullis_core::config::Limits;
use portcullis_core::policy::Policy;

use super::load;
use crate::cli::Exit;
use crate::cli::input::KeyFile;
use crate::cli::jwks::write_out;
use crate::clock;

#[derive(Debug, Args)]
pub(in crate::cli) struct VerifyArguments {
    /// The bundle.
    #[arg(value_name = "BUNDLE")]
    bundle: PathBuf,
    /// The public keys: a JWK Set or a single JWK.
    #[arg(long, alias = "key", value_name = "FILE")]
    keys: PathBuf,
    /// The only key that may have signed. Default: the one that the signature names.
    #[arg(long, value_name = "ID")]
    key_id: Option<String>,
    /// The scope that the signature must have. Default: none.
    #[arg(long, value_name = "TEXT", default_value = "")]
    scope: String,
}

/// Verifies and reads the bundle, and compiles its policy.
pub(super) fn verify(arguments: &VerifyArguments) -> anyhow::Result<Exit> {
    match verified(arguments) {
        Ok(text) => {
            write_out(&text)?;
            Ok(Exit::Ok)
        }
        Err(message) => {
            eprintln!("portcullis: {message}");
            Ok(Exit::Invalid)
        }
    }
}

fn verified(arguments: &VerifyArguments) -> Result<String, String> {
    let limits = Limits::default();
    let keys = KeyFile::read(&arguments.keys, &limits)
        .and_then(|file| file.key_set(&arguments.keys, &limits, clock::now()))
        .map_err(|error| error.to_string())?;
    let verification = Verification {
        keys,
        key_id: arguments.key_id.as_deref().map(Box::from),
        scope: Box::from(arguments.scope.as_str()),
    };
    let bytes = load::bytes(&arguments.bundle).map_err(|error| error.to_string())?;
    let name = arguments.bundle.display();
    let content = bundle::read(&bytes, &BundleLimits::default(), Signatures::Verified(&verification))
        .map_err(|error| format!("`{name}`: {error}"))?;
    let Content::Snapshot(bundle) = content else {
        return Err(format!("`{name}` is a delta bundle, which cannot be signed"));
    };
    Policy::compile(&bundle.source(), 1).map_err(|error| format!("`{name}`: {error}"))?;
    let (revision, digest) = (bundle.manifest().revision(), bundle.digest());
    Ok(format!("ok: revision `{}`, digest {digest}\n", revision.escape_debug()))
}
