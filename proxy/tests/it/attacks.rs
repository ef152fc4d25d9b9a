//! The named attacks against the built gate, over HTTP: each test carries the number of what it repeats.
//!
//! Owns [`Trial`]: every refusal is checked for its status, its body, its challenge, the reason in the log and the
//! silence of the upstream, and at the end for its record; every trial also lets good calls through. The rules
//! themselves, with more cases, are tested where they live, in the core.

mod classes;
mod faults;
mod forms;
mod headers;
mod introspection;
mod jwt;
mod mcp;
mod selection;

use std::cell::RefCell;
use std::collections::BTreeMap;

use portcullis_fixtures::calls::{Call, Era};
use portcullis_fixtures::http1::Response;
use portcullis_fixtures::issuer::now_s;
use portcullis_fixtures::persona::ALICE;
use portcullis_fixtures::token::TokenBuilder;
use serde_json::Value;

use crate::gate::{CREDENTIAL, Gate, HOST, PATH, RESOURCE, is_allow};

/// A tool whose answers are passed on as they are, and which Alice may call.
pub(crate) const TOOL: &str = "demo.echo";

/// Lets the callers of a trial come as often as they like.
pub(crate) const RATE: &str = "    rate: {per_second: 1000000, burst: 1000000}";

/// What a refusal looks like: its status, its JSON-RPC code, and the reason in log and record.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Refusal {
    status: u16,
    code: i64,
    reason: &'static str,
}

/// A refusal with 401, whose cure is another token.
pub(crate) const fn token(reason: &'static str) -> Refusal {
    refusal(401, 40_101, reason)
}

/// Any other refusal.
pub(crate) const fn refusal(status: u16, code: i64, reason: &'static str) -> Refusal {
    Refusal { status, code, reason }
}

/// A gate on trial; [`Trial::finish`] ends it.
pub(crate) struct Trial {
    pub(crate) gate: Gate,
    seen: RefCell<Seen>,
}

/// What a trial has seen so far.
#[derive(Default)]
struct Seen {
    /// Calls that were forwarded.
    forwarded: u64,
    /// Refusals before anybody was known, by reason.
    counted: BTreeMap<&'static str, u64>,
    /// The others: name, record and reason.
    recorded: Vec<(String, String, &'static str)>,
    /// What must stand in no log and no record.
    secrets: Vec<String>,
    /// Bytes of the log that were read.
    log_read: usize,
}

impl Trial {
    /// A trial of a gate with these further lines of `limits`.
    pub(crate) fn start(limits: &str) -> Self {
        Self::of(Gate::start_with("127.0.0.1:0", RATE, limits))
    }

    /// A trial of this gate.
    pub(crate) fn of(gate: Gate) -> Self {
        let trial = Self {
            gate,
            seen: RefCell::default(),
        };
        trial.seen.borrow_mut().log_read = trial.gate.log().len();
        trial
    }

    /// Alice's token in the making, good as it is.
    pub(crate) fn alice(&self) -> TokenBuilder {
        TokenBuilder::for_persona(&ALICE, self.gate.issuer.url(), RESOURCE, now_s())
    }

    /// A good token of Alice.
    pub(crate) fn good(&self) -> String {
        self.gate.issuer.sign(&self.alice())
    }

    /// Adds what must stand in no log and no record.
    pub(crate) fn keep_secret(&self, secret: &str) {
        // A shorter text could stand anywhere.
        if 12 <= secret.len() {
            self.seen.borrow_mut().secrets.push(secret.to_owned());
        }
    }

    /// Checks that a call with this token is let through.
    #[track_caller]
    pub(crate) fn accepted_token(&self, name: &str, token: &str) {
        self.accepted(name, &echo().bearer(token));
    }

    /// Checks that a call is let through, that the very bytes arrive, and nothing of the client's credential.
    #[track_caller]
    pub(crate) fn accepted(&self, name: &str, call: &Call) -> Response {
        let answer = self.gate.call(call);
        assert_eq!(answer.status, 200, "{name}: {}", answer.text());
        self.seen.borrow_mut().forwarded += 1;
        self.check_upstream(name);
        let arrived = self.gate.upstream.capture().last().unwrap();
        assert_eq!(arrived.body, call.body.as_bytes(), "{name}: other bytes arrived");
        let credentials: Vec<&[u8]> = arrived
            .headers
            .iter()
            .filter(|(header, _)| header == "authorization")
            .map(|(_, value)| &**value)
            .collect();
        assert_eq!(
            credentials,
            [CREDENTIAL.as_bytes()],
            "{name}: the upstream saw another credential"
        );
        for (_, value) in call.headers.iter().filter(|(header, _)| header == "authorization") {
            let credential = value.split(' ').next_back().unwrap();
            assert!(
                !arrived.mentions(credential),
                "{name}: the upstream saw the client's token"
            );
        }
        answer
    }

    /// Checks that a call with this token is refused for this reason.
    #[track_caller]
    pub(crate) fn refused_token(&self, name: &str, bearer: &str, reason: &'static str) -> Response {
        self.refused(name, &echo().bearer(bearer), token(reason))
    }

    /// Checks that a call is refused.
    #[track_caller]
    pub(crate) fn refused(&self, name: &str, call: &Call, refusal: Refusal) -> Response {
        for (_, value) in call.headers.iter().filter(|(header, _)| header == "authorization") {
            // The header of a token is the same in good ones and bad ones, and says nothing.
            let parts = value.split(' ').next_back().unwrap_or_default().split('.');
            parts.skip(1).for_each(|part| self.keep_secret(part));
        }
        self.refused_bytes(name, &call.to_http(HOST, PATH), refusal)
    }

    /// Checks that these bytes, one request, are refused.
    #[track_caller]
    pub(crate) fn refused_bytes(&self, name: &str, bytes: &[u8], refusal: Refusal) -> Response {
        let answer = self.gate.connect().exchange(bytes);
        let answer = answer.unwrap_or_else(|error| panic!("{name}: {error}"));
        self.check_refusal(name, &answer, refusal);
        answer
    }

    /// Checks an answer that must be this refusal, and takes note of the record it must have.
    #[track_caller]
    pub(crate) fn check_refusal(&self, name: &str, answer: &Response, refusal: Refusal) {
        let Refusal { status, code, reason } = refusal;
        assert_eq!(answer.status, status, "{name}: {}", answer.text());
        let body: Value = serde_json::from_slice(&answer.body).unwrap_or_else(|_| panic!("{name}: {}", answer.text()));
        assert_eq!(body["error"]["code"], code, "{name}: {body}");
        assert_eq!(body["error"]["data"]["status"], status, "{name}: {body}");
        assert!(body.get("result").is_none(), "{name}: {body}");
        check_challenge(name, answer, refusal);
        assert_eq!(self.newest_reason(), reason, "{name}");
        self.check_upstream(name);
        let record = answer.header("portcullis-record-id").map(str::to_owned);
        assert_eq!(
            body["error"]["data"]["instance"].as_str(),
            record.as_deref(),
            "{name}: {body}"
        );
        let mut seen = self.seen.borrow_mut();
        for secret in &seen.secrets {
            let head = answer.headers.iter().any(|(_, value)| value.contains(&**secret));
            assert!(
                !head && !answer.text().contains(&**secret),
                "{name}: a secret stands in an answer"
            );
        }
        match record {
            Some(record) => seen.recorded.push((name.to_owned(), record, reason)),
            None => *seen.counted.entry(reason).or_default() += 1,
        }
    }

    /// Takes note of calls that were made past this trial's checks: so many forwarded, so many refused for `reason`.
    pub(crate) fn note(&self, forwarded: u64, reason: &'static str, refused: u64) {
        let mut seen = self.seen.borrow_mut();
        seen.forwarded += forwarded;
        if 0 < refused {
            *seen.counted.entry(reason).or_default() += refused;
        }
    }

    /// Checks that the upstream has seen what was let through and nothing else.
    #[track_caller]
    pub(crate) fn check_upstream(&self, name: &str) {
        let arrived = self.gate.upstream.capture().count();
        assert_eq!(arrived, self.seen.borrow().forwarded, "{name}: what the upstream saw");
    }

    /// The reason of the newest refusal in the log; reads what came since the last look.
    fn newest_reason(&self) -> String {
        let log = self.gate.log();
        let mut seen = self.seen.borrow_mut();
        let new = log.get(seen.log_read..).unwrap_or_default();
        seen.log_read = log.len();
        let mut refusals = new.lines().rev().filter_map(|line| {
            let line: Value = serde_json::from_str(line).ok()?;
            let refused = line["message"].as_str()?.starts_with("refused: ");
            refused.then(|| line["reason"].as_str().unwrap_or_default().to_owned())
        });
        refusals.next().unwrap_or_default()
    }

    /// Ends the gate and checks what stands on record: each refusal once and for its reason, and no secret anywhere.
    #[track_caller]
    pub(crate) fn finish(self) {
        let Self { mut gate, seen } = self;
        let seen = seen.into_inner();
        assert_eq!(gate.upstream.capture().count(), seen.forwarded, "what the upstream saw");
        gate.terminate();
        assert!(gate.wait().success());
        let records = gate.tail();
        let mut counted: BTreeMap<&str, u64> = BTreeMap::new();
        for record in records.iter().filter(|record| record["phase"] == "refusals") {
            assert_eq!(record["decision"], "deny", "{record}");
            assert_eq!(record["client_ip"], "127.0.0.1", "{record}");
            *counted.entry(record["reason"].as_str().unwrap()).or_default() += record["count"].as_u64().unwrap();
        }
        assert_eq!(counted, seen.counted, "what was refused before anybody was known");
        for (name, id, reason) in &seen.recorded {
            let own: Vec<&Value> = records.iter().filter(|record| record["record_id"] == **id).collect();
            let [record] = own[..] else { panic!("{name}: {own:?}") };
            assert_eq!(
                (&record["phase"], &record["decision"]),
                (&"request".into(), &"deny".into()),
                "{name}"
            );
            assert_eq!(record["reason"], *reason, "{name}");
        }
        let allowed = records.iter().filter(|record| is_allow(record)).count();
        assert_eq!(allowed as u64, seen.forwarded, "what was allowed");
        let log = gate.log();
        assert!(!log.contains("panicked"), "{log}");
        let records: String = records.iter().map(Value::to_string).collect();
        for secret in &seen.secrets {
            assert!(!log.contains(&**secret), "a secret stands in the log: {secret}");
            assert!(!records.contains(&**secret), "a secret stands in a record: {secret}");
        }
    }
}

/// A call that the policy allows to Alice, without a credential.
pub(crate) fn echo() -> Call {
    Call::tools_call(Era::Modern, 1, TOOL, "{ \"padding\" :\"a\"}")
}

/// A refusal that a token cures names the way to one, and only that: no other has a challenge.
#[track_caller]
fn check_challenge(name: &str, answer: &Response, refusal: Refusal) {
    let challenges = answer.headers.iter().filter(|(header, _)| header == "www-authenticate");
    let challenges: Vec<&str> = challenges.map(|(_, value)| value.as_str()).collect();
    let cured = refusal.status == 401 || refusal.reason == "scope_insufficient";
    assert_eq!(challenges.len(), usize::from(cured), "{name}: {challenges:?}");
    if let [challenge] = challenges[..] {
        let metadata = "resource_metadata=\"http://gate.test/.well-known/oauth-protected-resource/crm/mcp\"";
        assert!(challenge.starts_with("Bearer "), "{name}: {challenge}");
        assert!(challenge.contains(metadata), "{name}: {challenge}");
        let error = match refusal.reason {
            "credential_missing" | "credential_scheme" => None,
            "scope_insufficient" => Some("error=\"insufficient_scope\""),
            _ => Some("error=\"invalid_token\""),
        };
        assert_eq!(challenge.contains("error="), error.is_some(), "{name}: {challenge}");
        assert!(
            error.is_none_or(|error| challenge.contains(error)),
            "{name}: {challenge}"
        );
    }
    let retry = refusal.status == 429 || refusal.status == 503;
    assert_eq!(answer.header("retry-after").is_some(), retry, "{name}");
}
