//! The session that an answer opens: sealed, and handed out once the record of the answer is durable.
//!
//! Owns [`AnswerSession`] and what a [`Ticket`] says of it. Knows no upstream's id but for as long as it takes to seal it.

use http::HeaderValue;

use super::Ticket;
use crate::audit::Position;
use crate::rpc::Method;
use crate::session::Keeper;

/// The session that an answer's head names.
pub(super) enum AnswerSession {
    /// None that the client may know of.
    None,
    /// The one of the request: the client knows it already.
    Echoed,
    /// No session id that could be sealed.
    Invalid,
    /// A new one, sealed; handed out with the answer that opens it.
    Offered { sealed: HeaderValue, digest: [u8; 32] },
    /// A new one whose answer was released by the record at this position.
    Opened { sealed: HeaderValue, position: Position },
}

/// Tells the state only: sessions belong in no log.
impl std::fmt::Debug for AnswerSession {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::None => "None",
            Self::Echoed => "Echoed",
            Self::Invalid => "Invalid",
            Self::Offered { .. } => "Offered",
            Self::Opened { .. } => "Opened",
        })
    }
}

impl Ticket<'_> {
    /// The head of the answer of this keeper names this session: to be told before the answer is opened or reviewed, with
    /// an empty id where it is repeated or no text.
    ///
    /// Only the answer to `initialize` of the legacy era can open a session; one whose id cannot be sealed is withheld.
    /// Elsewhere a session that is not the request's own goes nowhere.
    pub fn upstream_session(&mut self, keeper: Keeper, id: &[u8]) {
        let case = &self.case;
        let own = case
            .session
            .as_ref()
            .is_some_and(|session| session.upstream.as_bytes() == id);
        let opens = case
            .call
            .as_ref()
            .is_some_and(|call| call.method == Method::Initialize && !call.version.is_modern());
        self.session = match (own, opens) {
            (true, _) => AnswerSession::Echoed,
            (false, false) => AnswerSession::None,
            (false, true) => {
                let keys = case.gate.session_keys.current();
                match keys.seal(case.server.name(), &case.principal, (keeper, id), case.now) {
                    Ok(sealed) => AnswerSession::Offered {
                        sealed,
                        digest: case.gate.key.mac(id),
                    },
                    Err(_) => AnswerSession::Invalid,
                }
            }
        };
    }

    /// Whether the answer is yet to open a session: the head for the client, which names it, waits for the review then.
    pub fn opens_session(&self) -> bool {
        matches!(self.session, AnswerSession::Invalid | AnswerSession::Offered { .. }) && !self.answered
    }

    /// The session that the head for the client names: the one of the request as the client knows it, or the one that the
    /// answer opens, sealed, once the record of that answer's release is durable.
    pub fn session_for_client(&self) -> Option<HeaderValue> {
        match &self.session {
            AnswerSession::Echoed => self.case.session.as_ref().map(|session| session.sealed.clone()),
            AnswerSession::Opened { sealed, position } if self.case.gate.durable().reached(*position) => {
                Some(sealed.clone())
            }
            AnswerSession::Invalid
            | AnswerSession::None
            | AnswerSession::Offered { .. }
            | AnswerSession::Opened { .. } => None,
        }
    }
}
