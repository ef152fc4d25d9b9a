//! The files of a bundled gate, as an operator would write them.
//!
//! Owns the configuration: the sample policy over as many subjects as call, limits that a busy machine does not reach,
//! an audit log on disk. Holds no secret: the issuer's keys live in the load generator.

use std::fs;
use std::io;
use std::path::Path;

use portcullis_fixtures::policy;
use serde_json::json;

/// What tokens for the gate name as their audience. The name is never looked up: calls go to the gate's address.
pub const RESOURCE: &str = "http://gate.localhost/crm/mcp";
/// The authority of [`RESOURCE`], which calls name in `Host`.
pub(super) const AUTHORITY: &str = "gate.localhost";
/// The path of [`RESOURCE`].
pub(super) const PATH: &str = "/crm/mcp";
/// The configuration.
pub(super) const CONFIG: &str = "portcullis.yaml";

const AUDIT: &str = "audit";
const TOOLS: &str = "crm.tools.json";
/// Calls a second of one subject, and in all: no limit that a load could reach.
const RATE_MAX: u64 = 1_000_000;

/// What a configuration is made of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample<'s> {
    /// Where the gate listens.
    pub(super) listen: &'s str,
    /// Where it shows its metrics; none for a gate that knows no such listener.
    pub(super) admin: Option<&'s str>,
    /// The URL of the upstream.
    pub(super) upstream: &'s str,
    /// The issuer of the tokens.
    pub(super) issuer: &'s str,
    /// What tokens name as their audience, and its path.
    pub(super) resource: &'s str,
    /// Subjects of the policy's data.
    pub(super) subjects: usize,
}

/// Writes the files of a gate.
pub(super) fn write(folder: &Path, sample: &Sample<'_>) -> io::Result<()> {
    let Sample { issuer, resource, .. } = *sample;
    let path = resource
        .parse::<http::Uri>()
        .map_err(io::Error::other)?
        .path()
        .to_owned();
    let write = |name: &str, text: &str| fs::write(folder.join(name), text);
    write(policy::REQUEST_FILE, policy::REQUEST_REGO)?;
    write(policy::RESPONSE_FILE, policy::RESPONSE_REGO)?;
    write(policy::DATA_FILE, &policy::sample_data_of(issuer, sample.subjects))?;
    write(TOOLS, policy::CRM_TOOLS)?;
    let mut config = json!({
        "node": "compare",
        "listen": [{ "address": sample.listen }],
        "audit": { "directory": AUDIT },
        "issuers": [{ "issuer": issuer, "algorithms": ["ES256", "RS256"] }],
        "servers": [{
            "name": "crm",
            "path": path,
            "resource": resource,
            "issuers": [issuer],
            "upstream": { "url": sample.upstream },
            "tools": { "file": TOOLS },
            "policy": { "files": [policy::REQUEST_FILE, policy::RESPONSE_FILE], "data": [policy::DATA_FILE] },
            "rate": { "per_second": RATE_MAX, "burst": RATE_MAX },
        }],
        // On a shared machine a worker may be off its processor for longer than the default of 5 ms of wall time.
        "limits": { "policy_deadline": "1s" },
    });
    if let (Some(admin), Some(config)) = (sample.admin, config.as_object_mut()) {
        config.insert("admin".to_owned(), json!({ "address": admin }));
    }
    // JSON is YAML.
    write(CONFIG, &format!("{config:#}\n"))
}

/// Where the records go: on a file system in memory they cost less than on a disk.
pub(super) fn audit_note(folder: &Path) -> String {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    match file_system(&mounts, folder) {
        Some("tmpfs" | "ramfs") => {
            "the audit log lies in memory (tmpfs): writing a record costs less there; set TMPDIR to a \
             folder on a disk"
                .to_owned()
        }
        Some(other) => format!(
            "the audit log lies on a disk ({other}); a record is written to it before its call goes on, which survives the \
             end of the gate, not of the machine"
        ),
        None => "it is not known on what the audit log lies".to_owned(),
    }
}

/// The type of the file system that holds `folder`: of the longest mount point above it.
fn file_system<'m>(mounts: &'m str, folder: &Path) -> Option<&'m str> {
    let mut found: Option<(usize, &str)> = None;
    for mount in mounts.lines() {
        let mut fields = mount.split(' ').skip(1);
        let (Some(at), Some(kind)) = (fields.next(), fields.next()) else {
            continue;
        };
        // A later mount hides an earlier one at the same place.
        if folder.starts_with(at) && found.is_none_or(|(length, _)| length <= at.len()) {
            found = Some((at.len(), kind));
        }
    }
    found.map(|(_, kind)| kind)
}

#[cfg(test)]
mod tests;
