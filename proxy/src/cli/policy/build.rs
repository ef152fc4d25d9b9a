//! `portcullis policy build`: folders to a bundle in OPA's format.
//!
//! Owns the command. Compiles what it packs, so that no bundle leaves that the gate would refuse.

use std::path::PathBuf;

use clap::Args;
use portcullis_core::bundle::{self, BundleLimits, Content, Signatures};
use portcullis_core::policy::Policy;

use super::load;
use crate::cli::Exit;
use crate::cli::jwks::write_out;

#[derive(Debug, Args)]
pub(in crate::cli) struct BuildArguments {
    /// Folders whose `.rego`, `data.json`, `data.yaml` and `.manifest` files are packed, each at its path in its folder.
    #[arg(value_name = "DIR", required = true)]
    folders: Vec<PathBuf>,
    /// The bundle that is written.
    #[arg(short, long, value_name = "FILE", default_value = "bundle.tar.gz")]
    output: PathBuf,
    /// What the bundle is called in its manifest. Default: what the manifest says.
    #[arg(long, value_name = "TEXT")]
    revision: Option<String>,
}

/// Packs the folders.
pub(super) fn build(arguments: &BuildArguments) -> anyhow::Result<Exit> {
    let limits = BundleLimits::default();
    let mut files = Vec::new();
    for folder in &arguments.folders {
        match load::bundle_files(folder) {
            Ok(found) => files.extend(found),
            Err(error) => {
                eprintln!("portcullis: {error}");
                return Ok(Exit::Invalid);
            }
        }
    }
    let built = bundle::build(files, arguments.revision.as_deref(), &limits)
        .and_then(|bytes| Ok((bundle::read(&bytes, &limits, Signatures::Absent)?, bytes)));
    let (bundle, bytes) = match built {
        Ok((Content::Snapshot(bundle), bytes)) => (bundle, bytes),
        Ok((Content::Delta(_), _)) => {
            eprintln!("portcullis: a delta bundle is not built from folders");
            return Ok(Exit::Invalid);
        }
        Err(error) => {
            eprintln!("portcullis: {error}");
            return Ok(Exit::Invalid);
        }
    };
    if let Err(error) = Policy::compile(&bundle.source(), 1) {
        eprintln!("portcullis: {error}");
        return Ok(Exit::Invalid);
    }
    load::write(&arguments.output, &bytes)?;
    let (path, digest) = (arguments.output.display(), bundle.digest());
    write_out(&format!("built: {path}, {} bytes, digest {digest}\n", bytes.len()))?;
    Ok(Exit::Ok)
}
