//! What a measured process may not make itself: signed tokens and the keys that verify them.
//!
//! Owns [`Material`]. Signing and above all the making of RSA keys would take minutes under valgrind, so that another
//! process makes them and hands them over. Never holds a private key longer than it signs.

use portcullis_fixtures::keys::{self, Algorithm};
use portcullis_fixtures::policy::subject_name;
use portcullis_fixtures::token::TokenBuilder;
use serde::{Deserialize, Serialize};

use crate::world::{ISSUER, NOW_S, RESOURCE, SCOPE};

/// A key set and tokens that it verifies. Token `i` is that of caller `i`.
#[derive(Clone, Deserialize, Serialize)]
pub struct Material {
    /// The key set as JSON: one key.
    pub jwks: String,
    /// The tokens, all of equal length.
    pub tokens: Vec<String>,
}

/// Tells the number only: a token belongs in no log, not even one of a bench.
impl std::fmt::Debug for Material {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Material({} tokens)", self.tokens.len())
    }
}

impl Material {
    /// `count` tokens by this process's key for `algorithm`, of callers whose rows stand among `subjects` rows.
    pub fn sign(algorithm: Algorithm, count: usize, subjects: usize) -> Self {
        Self::of(algorithm, count, subjects, |token| token)
    }

    /// One such token that the sample data's agent has got for its caller.
    pub fn acting(algorithm: Algorithm, subjects: usize) -> Self {
        Self::of(algorithm, 1, subjects, |token| token.act("agent-1"))
    }

    fn of(algorithm: Algorithm, count: usize, subjects: usize, finish: impl Fn(TokenBuilder) -> TokenBuilder) -> Self {
        let key = algorithm.key();
        let token = |number: usize| {
            let token = TokenBuilder::new(ISSUER, RESOURCE, NOW_S)
                .subject(&subject_name(row_of(number, subjects)))
                .scope(SCOPE);
            finish(token).sign_with(key, algorithm)
        };
        Self {
            jwks: keys::jwks(&[key]),
            tokens: (0..count).map(token).collect(),
        }
    }
}

/// The row of the sample data that caller `number` has: of each four rows the three whose roles let them read.
pub fn row_of(number: usize, subjects: usize) -> usize {
    let row = number / 3 * 4 + [0, 2, 3].get(number % 3).copied().unwrap_or(0);
    row % (subjects / 4 * 4).max(4)
}
