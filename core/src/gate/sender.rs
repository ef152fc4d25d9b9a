//! The sender of a request at stage 3: the check of `token`, brought together with the gate's memory and configuration.
//!
//! Owns which challenge a client gets for the scheme `DPoP`. Decides nothing about proofs and certificates: that is
//! [`crate::token`]'s.

use super::{Gate, Snapshot, Visit, visit};
use crate::config::{Limits, Server};
use crate::credential::{self, Credential};
use crate::denial::{Denial, DenyReason, DpopChallenge, DpopError};
use crate::head::RequestHead;
use crate::time::UnixTime;
use crate::token::{Nonces, ReplayLimits, SenderCheck, Shown, VerifiedToken};

/// Checks that the request proves what its token is bound to, and what the server asks for.
///
/// # Errors
/// As `SenderCheck::check`, with the challenges that cure them.
pub(super) fn check(
    visit: &Visit<'_>,
    server: &Server,
    head: &RequestHead<'_>,
    credential: &Credential<'_>,
    token: &VerifiedToken,
) -> Result<(), Denial> {
    let (gate, limits) = (visit.gate, visit.limits());
    let check = SenderCheck {
        rules: server.sender(),
        target: server.target(),
        nonces: nonces(gate, limits, server),
        seen: &gate.proofs,
        proof_bytes_max: limits.token_bytes_max,
        leeway: limits.leeway,
        replay: ReplayLimits {
            age_max: limits.dpop_age_max,
            proofs_max: limits.dpop_proofs_max,
            proofs_per_key_max: limits.dpop_proofs_per_key_max,
        },
    };
    let shown = Shown {
        method: head.method,
        proof: credential.proof(),
        certificate: head.certificate.map(|certificate| &certificate.sha256),
    };
    check.check(token, &shown, visit.now).map_err(|denial| {
        let mut denial = visit::challenged(denial, server);
        if token.confirmation().has_key()
            && let Some(challenge) = denial.challenge.as_mut()
        {
            challenge.dpop = Some(DpopChallenge::default());
        }
        denial
    })
}

/// Completes a challenge for a token by that of the scheme `DPoP`: for a client that used the scheme, for a token that
/// demands it, and for a server that does.
#[cold]
pub(super) fn challenged(
    mut denial: Denial,
    gate: &Gate,
    snapshot: &Snapshot,
    server: &Server,
    head: &RequestHead<'_>,
    now: UnixTime,
) -> Denial {
    let Some(challenge) = denial.challenge.as_mut() else {
        return denial;
    };
    let error = match denial.reason {
        DenyReason::DpopNonceMissing => Some(DpopError::UseNonce),
        DenyReason::DpopProofInvalid => Some(DpopError::InvalidProof),
        // The token is good as it is: a better one is asked for by the other scheme's challenge.
        DenyReason::ScopeInsufficient | DenyReason::AuthenticationInsufficient => None,
        _ => credential::names_dpop(head).then_some(DpopError::InvalidToken),
    };
    let rules = server.sender();
    if error.is_some() || challenge.dpop.is_some() || rules.dpop_required || credential::names_dpop(head) {
        let nonces = nonces(gate, snapshot.limits(), server);
        challenge.dpop = Some(DpopChallenge {
            error,
            nonce: rules.dpop_nonce.then(|| nonces.current(now)),
        });
    }
    denial
}

fn nonces<'g>(gate: &'g Gate, limits: &Limits, server: &'g Server) -> Nonces<'g> {
    Nonces {
        key: &gate.nonce_key,
        resource: server.resource(),
        span: limits.dpop_age_max,
    }
}
