//! The server's nonces of proofs of possession (RFC 9449 sections 8 and 9), kept nowhere.
//!
//! Owns [`Nonces`]: a nonce is a keyed code of the resource and of the span of time in which it was given. Whoever shows
//! one got it from us for this resource in the present or the last span, so it is good for one to two spans. Never
//! remembers a nonce: that a proof serves once is `replay`'s.

use std::time::Duration;

use crate::crypto::{MacKey, decode_base64url, encode_base64url, same_digest};
use crate::time::UnixTime;

/// The nonces of one resource.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Nonces<'k> {
    /// The gate's secret.
    pub(crate) key: &'k MacKey,
    /// The URL of the resource.
    pub(crate) resource: &'k str,
    /// How long one nonce is given out.
    pub(crate) span: Duration,
}

impl Nonces<'_> {
    /// The nonce of the moment: 43 characters of base64url, for the field `DPoP-Nonce`.
    #[cold]
    pub(crate) fn current(&self, now: UnixTime) -> String {
        encode_base64url(&self.code(self.span_of(now)))
    }

    /// Whether `nonce` is the present or the last one.
    pub(super) fn is_current(&self, nonce: &str, now: UnixTime) -> bool {
        let mut shown = Vec::with_capacity(32);
        if decode_base64url(nonce.as_bytes(), &mut shown).is_err() {
            return false;
        }
        let Ok(shown) = <[u8; 32]>::try_from(shown.as_slice()) else {
            return false;
        };
        let present = self.span_of(now);
        let last = present.saturating_sub(1);
        [present, last]
            .into_iter()
            .any(|span| same_digest(&self.code(span), &shown))
    }

    fn span_of(&self, now: UnixTime) -> u64 {
        now.secs()
            .checked_div(self.span.as_secs())
            .unwrap_or_else(|| now.secs())
    }

    fn code(&self, span: u64) -> [u8; 32] {
        self.key
            .mac_framed(&[b"dpop nonce", self.resource.as_bytes(), &span.to_le_bytes()])
    }
}

#[cfg(test)]
mod tests {
    use super::Nonces;
    use crate::crypto::MacKey;
    use crate::time::UnixTime;
    use std::time::Duration;

    #[test]
    fn a_nonce_serves_one_resource_for_one_to_two_spans() {
        let (key, other_key) = (MacKey::new([1; 32]), MacKey::new([2; 32]));
        let nonces = |key, resource, span_s| Nonces {
            key,
            resource,
            span: Duration::from_secs(span_s),
        };
        let ours = nonces(&key, "https://gate.example/mcp", 300);
        let given = ours.current(UnixTime::from_secs(600));
        assert_eq!(given.len(), 43);
        for (now, expected) in [
            (600, true),
            (899, true),
            (900, true),
            (1_199, true),
            (1_200, false),
            (599, false),
        ] {
            assert_eq!(ours.is_current(&given, UnixTime::from_secs(now)), expected, "{now}");
        }
        let now = UnixTime::from_secs(600);
        assert_eq!(ours.current(UnixTime::from_secs(899)), given);
        assert_ne!(ours.current(UnixTime::from_secs(900)), given);
        for others in [
            nonces(&other_key, "https://gate.example/mcp", 300),
            nonces(&key, "https://gate.example/other", 300),
            nonces(&key, "https://gate.example/mcp", 100),
        ] {
            assert!(!others.is_current(&given, now), "{others:?}");
        }
        let longer = format!("{given}A");
        let (_, shorter) = given.split_at(1);
        for forged in ["", "x", shorter, &longer, &"A".repeat(43), "eyJrZXkiOiJ2YWx1ZSJ9"] {
            assert!(!ours.is_current(forged, now), "{forged}");
        }
        // A span shorter than a second is one.
        let brief = Nonces {
            span: Duration::from_millis(1),
            ..ours
        };
        assert!(brief.is_current(&brief.current(now), now));
        assert!(!brief.is_current(&brief.current(now), UnixTime::from_secs(602)));
    }
}
