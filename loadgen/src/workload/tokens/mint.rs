//! Minting, renewal and rotation with the dev issuer.
//!
//! Owns when a token is due and which key signs it. Reads no clock: the time is an argument.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use http::header::HeaderValue;
use portcullis_fixtures::issuer::Issuer;
use portcullis_fixtures::keys::Key;
use portcullis_fixtures::persona::ALICE;
use portcullis_fixtures::token::TokenBuilder;

use super::{Bearer, LIFETIME_S_MIN, Row, TokenError, bearer};

/// Tokens that have expired already: enough that no cache of bad tokens holds just one.
const EXPIRED_TOKENS: usize = 64;
/// How long ago they expired, in seconds: beyond any leeway.
const EXPIRED_SINCE_S: u64 = 3_600;
/// The size of RSA keys in bits.
const RSA_BITS: usize = 2_048;

/// What signs the tokens.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Alg {
    /// ECDSA on P-256.
    #[default]
    Es256,
    /// RSASSA-PKCS1-v1_5 with 2048 bits. A new key costs tenths of a second.
    Rs256,
}

/// How tokens are minted.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct MintSettings {
    /// The resource that they are for.
    pub audience: String,
    /// What signs them.
    pub alg: Alg,
    /// Seconds from their issue to their expiry.
    pub lifetime_s: u64,
    /// Seconds between two signing keys; none keeps the first. A gate that asks for unknown keys at most every 30
    /// seconds refuses tokens when keys change faster.
    pub rotate_every_s: Option<u64>,
}

/// What one renewal did.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Renewed {
    /// Tokens minted anew.
    pub tokens: usize,
    /// Whether a new key signs from now on.
    pub rotated: bool,
    /// Keys withdrawn.
    pub keys_retired: usize,
}

/// An issuer and the keys that it signed with on our behalf.
pub(super) struct Mint {
    issuer: Arc<Issuer>,
    settings: MintSettings,
    keys: Mutex<Keys>,
}

struct Keys {
    /// The id of the current key.
    kid: String,
    /// The place of the current key in the order of keys, from 0.
    generation: u64,
    /// Since when it signs.
    since_s: u64,
    /// Former keys, each with the expiry of the last token that it signed.
    former: Vec<(String, u64)>,
}

impl Mint {
    /// Gives `issuer` its first key of the chosen kind.
    pub(super) fn new(issuer: Arc<Issuer>, settings: MintSettings, now_s: u64) -> Result<Self, TokenError> {
        if settings.lifetime_s < LIFETIME_S_MIN {
            return Err(TokenError::Lifetime(settings.lifetime_s));
        }
        if let Some(0) = settings.rotate_every_s {
            return Err(TokenError::Rotation);
        }
        let kid = fresh_kid();
        issuer.rotate_to(settings.alg.key(&kid));
        Ok(Self {
            issuer,
            settings,
            keys: Mutex::new(Keys {
                kid,
                generation: 0,
                since_s: now_s,
                former: Vec::new(),
            }),
        })
    }

    pub(super) fn settings(&self) -> &MintSettings {
        &self.settings
    }

    /// A token of the first key, for the pool's beginning.
    pub(super) fn bearer(&self, subject: &str, now_s: u64) -> Bearer {
        Bearer {
            value: self.sign(subject, now_s),
            issued_s: now_s,
            generation: 0,
        }
    }

    /// Tokens of the first subjects that have expired, by the current key.
    pub(super) fn expired(&self, rows: &[Row], now_s: u64) -> Vec<HeaderValue> {
        let past_s = now_s.saturating_sub(self.settings.lifetime_s + EXPIRED_SINCE_S);
        let rows = rows.iter().take(EXPIRED_TOKENS);
        rows.map(|row| self.sign(&row.subject.name, past_s)).collect()
    }

    pub(super) fn renew_due(&self, rows: &[Row], expired: &ArcSwap<Vec<HeaderValue>>, now_s: u64) -> Renewed {
        // Held while signing: renewals come from one keeper, and calls never take it.
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        let mut renewed = Renewed::default();
        let rotate_at_s = self.settings.rotate_every_s.map(|every_s| keys.since_s + every_s);
        if rotate_at_s.is_some_and(|at_s| at_s <= now_s) {
            self.rotate(&mut keys, now_s);
            expired.store(Arc::new(self.expired(rows, now_s)));
            renewed.rotated = true;
        }
        for (place, row) in rows.iter().enumerate() {
            let current = row.bearer.load();
            if now_s < self.due_s(&keys, &current, place, rows.len()) {
                continue;
            }
            row.bearer.store(Arc::new(Bearer {
                value: self.sign(&row.subject.name, now_s),
                issued_s: now_s,
                generation: keys.generation,
            }));
            renewed.tokens += 1;
        }
        renewed.keys_retired = self.retire(&mut keys, now_s);
        renewed
    }

    /// When the token at `place` of `count` is due.
    fn due_s(&self, keys: &Keys, token: &Bearer, place: usize, count: usize) -> u64 {
        let spread = |over_s: u64| over_s * place as u64 / count as u64;
        let lifetime_s = self.settings.lifetime_s;
        let by_age_s = token.issued_s + lifetime_s * 2 / 3 + spread(lifetime_s / 4);
        match self.settings.rotate_every_s {
            Some(every_s) if token.generation < keys.generation => by_age_s.min(keys.since_s + spread(every_s / 2)),
            _ => by_age_s,
        }
    }

    fn rotate(&self, keys: &mut Keys, now_s: u64) {
        let kid = fresh_kid();
        let former = std::mem::replace(&mut keys.kid, kid);
        // Whatever the former key signed was signed by now.
        keys.former.push((former, now_s + self.settings.lifetime_s));
        keys.generation += 1;
        keys.since_s = now_s;
        self.issuer.rotate_to(self.settings.alg.key(&keys.kid));
    }

    /// Withdraws the keys whose last token has expired.
    fn retire(&self, keys: &mut Keys, now_s: u64) -> usize {
        let before = keys.former.len();
        keys.former.retain(|(kid, last_s)| {
            let keep = now_s < *last_s;
            if !keep {
                self.issuer.retire(kid);
            }
            keep
        });
        before - keys.former.len()
    }

    fn sign(&self, subject: &str, issued_s: u64) -> HeaderValue {
        let token = TokenBuilder::for_persona(&ALICE, self.issuer.url(), &self.settings.audience, issued_s)
            .subject(subject)
            .expires(issued_s + self.settings.lifetime_s);
        // A compact JWS is base64url and dots, so it is a header value; an empty one would be refused with 401.
        bearer(&self.issuer.sign(&token)).unwrap_or_else(|| HeaderValue::from_static("Bearer"))
    }
}

impl Alg {
    /// A new key of this kind.
    fn key(self, kid: &str) -> Key {
        match self {
            Self::Es256 => Key::new_es256(kid),
            Self::Rs256 => Key::new_rsa(kid, RSA_BITS),
        }
    }
}

/// A key id that no other pool of this process uses, so that two pools may share an issuer.
fn fresh_kid() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    format!("load-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}
