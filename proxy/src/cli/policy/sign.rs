//! `portcullis policy sign`: a bundle with `.signatures.json` in OPA's format.
//!
//! Owns the command. Never shows the key.

use std::fs;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use portcullis_core::Algorithm;
use portcullis_core::bundle::{BundleLimits, ToSign};
use ring::rand::SystemRandom;
use zeroize::Zeroizing;

use super::load;
use crate::background::assertion::AssertionKey;
use crate::cli::Exit;
use crate::cli::jwks::write_out;

#[derive(Debug, Args)]
pub(in crate::cli) struct SignArguments {
    /// The bundle; it is replaced by the signed one.
    #[arg(value_name = "BUNDLE")]
    bundle: PathBuf,
    /// The private key in PEM, as PKCS #8.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// The algorithm of the signature, which must be the key's.
    #[arg(long, value_name = "NAME")]
    algorithm: SigningAlgorithm,
    /// The id of the key in the key set by which the gate verifies: `kid`.
    #[arg(long, value_name = "ID")]
    key_id: String,
    /// The scope of the signature. Default: none.
    #[arg(long, value_name = "TEXT", default_value = "")]
    scope: String,
    /// Where the signed bundle is written. Default: in the place of the bundle.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// An algorithm, spelt as in JWS.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum SigningAlgorithm {
    /// ECDSA over P-256.
    #[value(name = "ES256")]
    Es256,
    /// Ed25519.
    #[value(name = "EdDSA")]
    EdDsa,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    #[value(name = "RS256")]
    Rs256,
}

impl From<SigningAlgorithm> for Algorithm {
    fn from(algorithm: SigningAlgorithm) -> Self {
        match algorithm {
            SigningAlgorithm::Es256 => Self::Es256,
            SigningAlgorithm::EdDsa => Self::EdDSA,
            SigningAlgorithm::Rs256 => Self::Rs256,
        }
    }
}

/// Signs the bundle.
pub(super) fn sign(arguments: &SignArguments) -> anyhow::Result<Exit> {
    match signed(arguments) {
        Ok(bytes) => {
            let output = arguments.output.as_ref().unwrap_or(&arguments.bundle);
            load::write(output, &bytes)?;
            write_out(&format!("signed: {}\n", output.display()))?;
            Ok(Exit::Ok)
        }
        Err(message) => {
            eprintln!("portcullis: {message}");
            Ok(Exit::Invalid)
        }
    }
}

fn signed(arguments: &SignArguments) -> Result<Vec<u8>, String> {
    let algorithm = Algorithm::from(arguments.algorithm);
    let name = arguments.key.display();
    let pem = fs::read_to_string(&arguments.key).map(Zeroizing::new);
    let pem = pem.map_err(|error| format!("the key `{name}` cannot be read: {error}"))?;
    let key =
        AssertionKey::from_pem(&pem, None).map_err(|error| format!("the key `{name}` cannot be used: {error}"))?;
    if key.algorithm() != algorithm.name() {
        let (own, asked) = (key.algorithm(), algorithm.name());
        return Err(format!(
            "the key `{name}` signs with {own}, not with {asked}: write `--algorithm {own}`"
        ));
    }
    let bundle = load::bytes(&arguments.bundle).map_err(|error| error.to_string())?;
    let limits = BundleLimits::default();
    let to_sign = ToSign::new(&bundle, &limits, algorithm, &arguments.key_id, &arguments.scope)
        .map_err(|error| format!("`{}`: {error}", arguments.bundle.display()))?;
    let signature = key
        .sign(to_sign.input(), &SystemRandom::new())
        .map_err(|_| format!("the key `{name}` does not sign"))?;
    to_sign.signed(&signature).map_err(|error| error.to_string())
}
