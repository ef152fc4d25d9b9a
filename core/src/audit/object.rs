//! The JSON form of records: objects whose member names are constants, written straight into a buffer.
//!
//! Owns [`Object`], and with it the spelling of times, digests and the nested parts of a record. Decides nothing about
//! which members a record has, and never reads JSON.

use crate::audit::record::{
    ActTarget, BatchElement, GateNode, Identities, Party, RedactObligation, Revocation, StageTime, TokenEvidence,
    Totals, UpstreamTarget,
};
use crate::crypto;
use crate::json::write_string;
use crate::record_id::RecordId;
use crate::time::UnixTime;
use crate::token::Actor;

/// A JSON object under construction; member names are constants that need no escaping.
pub(super) struct Object<'o> {
    out: &'o mut Vec<u8>,
}

impl<'o> Object<'o> {
    /// Opens a record with the members that every record starts with.
    pub(super) fn record(
        out: &'o mut Vec<u8>,
        record_id: RecordId,
        phase: &str,
        part: Option<u64>,
        time: UnixTime,
    ) -> Self {
        let mut object = Self::open(out);
        object.number("schema", SCHEMA_VERSION);
        object.text("record_id", record_id.encode(&mut [0; 36]));
        object.text("phase", phase);
        object.maybe_number("part", part);
        object.time("time", time);
        object
    }

    fn open(out: &'o mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out }
    }

    pub(super) fn end(self) {
        self.out.push(b'}');
    }

    fn name(&mut self, name: &str) {
        if self.out.last() != Some(&b'{') {
            self.out.push(b',');
        }
        self.out.push(b'"');
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
    }

    pub(super) fn text(&mut self, name: &str, value: &str) {
        self.name(name);
        write_string(self.out, value);
    }

    pub(super) fn maybe_text(&mut self, name: &str, value: Option<&str>) {
        match value {
            Some(value) => self.text(name, value),
            None => self.null(name),
        }
    }

    fn null(&mut self, name: &str) {
        self.name(name);
        self.out.extend_from_slice(b"null");
    }

    pub(super) fn texts<S: AsRef<str>>(&mut self, name: &str, values: &[S]) {
        self.name(name);
        self.out.push(b'[');
        for (index, value) in values.iter().enumerate() {
            if index > 0 {
                self.out.push(b',');
            }
            write_string(self.out, value.as_ref());
        }
        self.out.push(b']');
    }

    pub(super) fn number(&mut self, name: &str, value: u64) {
        self.name(name);
        write_decimal(self.out, value);
    }

    pub(super) fn maybe_number(&mut self, name: &str, value: Option<u64>) {
        match value {
            Some(value) => self.number(name, value),
            None => self.null(name),
        }
    }

    pub(super) fn time(&mut self, name: &str, time: UnixTime) {
        self.name(name);
        self.out.push(b'"');
        time.write_rfc3339(self.out);
        self.out.push(b'"');
    }

    pub(super) fn digest(&mut self, name: &str, digest: Option<&[u8; 32]>) {
        let Some(digest) = digest else {
            return self.null(name);
        };
        self.name(name);
        self.out.push(b'"');
        crypto::write_hex(self.out, digest);
        self.out.push(b'"');
    }

    pub(super) fn party(&mut self, name: &str, party: Option<Party<'_>>) {
        let Some(party) = party else {
            return self.null(name);
        };
        self.name(name);
        let mut object = Object::open(self.out);
        object.text("id", party.id);
        object.text("issuer", party.issuer);
        object.text("kind", party.kind);
        object.end();
    }

    pub(super) fn identities(&mut self, identities: &Identities<'_>) {
        self.party("subject", Some(identities.subject));
        self.party("actor", Some(identities.actor));
        self.party("on_behalf_of", identities.on_behalf_of);
        self.maybe_text("client_id", identities.client_id);
        self.digest("principal_id", Some(identities.principal_id));
    }

    pub(super) fn actors(&mut self, name: &str, actors: &[Actor]) {
        self.name(name);
        self.out.push(b'[');
        for (index, actor) in actors.iter().enumerate() {
            if index > 0 {
                self.out.push(b',');
            }
            let mut entry = Object::open(self.out);
            entry.text("id", &actor.subject);
            entry.text("issuer", &actor.issuer);
            entry.end();
        }
        self.out.push(b']');
    }

    /// A member whose value is JSON already.
    pub(super) fn json(&mut self, name: &str, json: &serde_json::Value) {
        self.name(name);
        self.out.extend_from_slice(json.to_string().as_bytes());
    }

    pub(super) fn token(&mut self, token: &TokenEvidence<'_>) {
        self.name("token");
        let mut object = Object::open(self.out);
        object.maybe_text("jti", token.jti);
        object.digest("digest", token.digest);
        object.text("kind", token.kind);
        object.maybe_number("evidence_age_s", token.evidence_age_s);
        match token.revocation {
            Revocation::CheckedAt(time) => object.time("revocation", time),
            Revocation::NotChecked => object.text("revocation", "not_checked"),
        }
        object.text("binding", token.binding.code());
        object.maybe_number("sources", token.sources);
        object.end();
    }

    pub(super) fn obligations(&mut self, redact: &[RedactObligation<'_>]) {
        self.name("obligations");
        let object = Object::open(self.out);
        if redact.is_empty() {
            return object.end();
        }
        object.out.extend_from_slice(b"\"redact\":[");
        for (index, obligation) in redact.iter().enumerate() {
            if index > 0 {
                object.out.push(b',');
            }
            let mut entry = Object::open(object.out);
            entry.text("at", obligation.at);
            entry.text("action", obligation.action);
            entry.end();
        }
        object.out.push(b']');
        object.end();
    }

    pub(super) fn totals(&mut self, totals: Option<Totals>) {
        let Some(totals) = totals else {
            return self.null("totals");
        };
        self.name("totals");
        let mut object = Object::open(self.out);
        object.number("messages", totals.messages);
        object.number("redactions", totals.redactions);
        object.number("withheld", totals.withheld);
        object.end();
    }

    pub(super) fn maybe_record_id(&mut self, name: &str, id: Option<RecordId>) {
        let mut buffer = [0; 36];
        self.maybe_text(name, id.as_ref().map(|id| id.encode(&mut buffer)));
    }

    pub(super) fn batch(&mut self, batch: Option<BatchElement>) {
        let Some(batch) = batch else {
            return self.null("batch");
        };
        self.name("batch");
        let mut object = Object::open(self.out);
        let mut buffer = [0; 36];
        object.text("first", batch.first.encode(&mut buffer));
        object.number("index", u64::try_from(batch.index).unwrap_or(u64::MAX));
        object.number("size", u64::try_from(batch.size).unwrap_or(u64::MAX));
        object.end();
    }

    pub(super) fn gate(&mut self, gate: GateNode<'_>) {
        self.name("gate");
        let mut object = Object::open(self.out);
        object.text("version", gate.version);
        object.text("node", gate.node);
        object.text("digest_key", gate.digest_key);
        object.end();
    }

    pub(super) fn act_target(&mut self, target: Option<ActTarget<'_>>) {
        let Some(target) = target else {
            return self.null("target");
        };
        self.name("target");
        let mut object = Object::open(self.out);
        object.text("kind", target.kind);
        object.text("id", target.id);
        object.text("issuer", target.issuer);
        object.maybe_text("tenant", target.tenant);
        object.maybe_time("expires", target.expires);
        object.maybe_time("revoked_at", target.revoked_at);
        object.maybe_text("note", target.note);
        object.end();
    }

    fn maybe_time(&mut self, name: &str, time: Option<UnixTime>) {
        match time {
            Some(time) => self.time(name, time),
            None => self.null(name),
        }
    }

    pub(super) fn upstream(&mut self, upstream: UpstreamTarget<'_>) {
        self.name("upstream");
        let mut object = Object::open(self.out);
        object.text("name", upstream.name);
        match upstream.credential {
            Some(credential) => {
                object.name("credential");
                let mut shown = Object::open(object.out);
                shown.text("label", credential.label);
                shown.text("kind", credential.kind);
                shown.end();
            }
            None => object.null("credential"),
        }
        object.end();
    }

    pub(super) fn stages(&mut self, stages: &[StageTime]) {
        self.name("stage_us");
        let mut object = Object::open(self.out);
        for stage in stages {
            object.number(stage.stage, stage.us);
        }
        object.end();
    }
}

/// Appends `value` in decimal.
fn write_decimal(out: &mut Vec<u8>, value: u64) {
    let start = out.len();
    let mut rest = value;
    loop {
        out.push(b'0'.saturating_add(u8::try_from(rest % 10).unwrap_or_default()));
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if let Some(digits) = out.get_mut(start..) {
        digits.reverse();
    }
}

/// The version of the schema, the first member of each record.
const SCHEMA_VERSION: u64 = 1;
