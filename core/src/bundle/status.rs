//! What is told about a bundle: the fields of OPA's status API.
//!
//! Owns [`BundleStatus`] and its JSON. The latest failure stays until the next success. Times are RFC 3339. Never holds
//! a credential or the content of a bundle.

use serde_json::{Map, Value, json};

use crate::time::UnixTime;

/// The state of one bundle.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct BundleStatus {
    name: Box<str>,
    active_revision: Option<Box<str>>,
    active_digest: Option<super::BundleDigest>,
    kind: Option<&'static str>,
    size: Option<usize>,
    last_request: Option<UnixTime>,
    last_successful_request: Option<UnixTime>,
    last_successful_download: Option<UnixTime>,
    last_successful_activation: Option<UnixTime>,
    failure: Option<Failure>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
struct Failure {
    message: String,
    http_status: Option<u16>,
}

impl BundleStatus {
    /// A bundle that was never asked for.
    pub fn new(name: &str) -> Self {
        Self {
            name: Box::from(name),
            ..Self::default()
        }
    }

    /// The server is asked.
    pub const fn requested(&mut self, now: UnixTime) {
        self.last_request = Some(now);
    }

    /// The server has nothing new; a failure that stands was not about the active bundle and goes.
    pub fn unchanged(&mut self, now: UnixTime) {
        self.last_successful_request = Some(now);
        self.failure = None;
    }

    /// Bytes came.
    pub const fn downloaded(&mut self, size: usize, now: UnixTime) {
        self.last_successful_request = Some(now);
        self.last_successful_download = Some(now);
        self.size = Some(size);
    }

    /// A bundle rules, `kind` being `snapshot` or `delta`.
    pub fn activated(&mut self, revision: &str, digest: super::BundleDigest, kind: &'static str, now: UnixTime) {
        self.active_revision = Some(Box::from(revision));
        self.active_digest = Some(digest);
        self.kind = Some(kind);
        self.last_successful_activation = Some(now);
        self.failure = None;
    }

    /// A fetch or an activation failed; what ruled goes on ruling.
    pub fn failed(&mut self, message: String, http_status: Option<u16>) {
        self.failure = Some(Failure { message, http_status });
    }

    /// The revision that rules; `None` before the first.
    pub fn active_revision(&self) -> Option<&str> {
        self.active_revision.as_deref()
    }

    /// When a bundle was activated last.
    pub const fn last_successful_activation(&self) -> Option<UnixTime> {
        self.last_successful_activation
    }

    /// Why the latest attempt failed; `None` after a success.
    pub fn message(&self) -> Option<&str> {
        self.failure.as_ref().map(|failure| failure.message.as_str())
    }

    /// As OPA's status API tells it; what is not known is left out.
    pub fn to_json(&self) -> Value {
        let mut members = Map::new();
        members.insert("name".to_owned(), json!(&*self.name));
        let times = [
            ("last_request", self.last_request),
            ("last_successful_request", self.last_successful_request),
            ("last_successful_download", self.last_successful_download),
            ("last_successful_activation", self.last_successful_activation),
        ];
        for (name, time) in times {
            if let Some(time) = time {
                members.insert(name.to_owned(), json!(shown(time)));
            }
        }
        if let Some(revision) = &self.active_revision {
            members.insert("active_revision".to_owned(), json!(&**revision));
        }
        if let Some(digest) = self.active_digest {
            members.insert("active_digest".to_owned(), json!(digest.to_string()));
        }
        if let Some(kind) = self.kind {
            members.insert("type".to_owned(), json!(kind));
        }
        if let Some(size) = self.size {
            members.insert("size".to_owned(), json!(size));
        }
        if let Some(failure) = &self.failure {
            members.insert("code".to_owned(), json!("bundle_error"));
            members.insert("message".to_owned(), json!(failure.message));
            members.insert("errors".to_owned(), json!([{"message": failure.message}]));
            if let Some(status) = failure.http_status {
                members.insert("http_code".to_owned(), json!(status.to_string()));
            }
        }
        Value::Object(members)
    }
}

fn shown(time: UnixTime) -> String {
    let mut out = Vec::new();
    time.write_rfc3339(&mut out);
    String::from_utf8_lossy(&out).into_owned()
}
