//! The machines that a server knows by name: `machine_identities`.
//!
//! Owns their lowering. Each row names one machine exactly; what could name two, or somebody else, is a fault.

use std::sync::Arc;

use portcullis_core::identity::{Grants, MachineError, MachineIdentities, MachineName, MachineRow, PartyKind};

use super::diagnose::{Code, list, nearest};
use super::lower::Lowering;
use super::raw::{At, RawMachine, RawMachineKind, RawServer};

/// The machines of a server; `None` after a fault. `known` are the URLs of every issuer.
pub(super) fn lower(lowering: &mut Lowering<'_>, raw: &RawServer, known: &[&str]) -> Option<MachineIdentities> {
    let mut rows: Vec<MachineRow> = Vec::new();
    let mut whole = true;
    for at in &raw.machine_identities {
        match row(lowering, at, raw, known) {
            Some(row) if rows.iter().any(|known| known.name == row.name) => {
                let (MachineName::Client { client: id, .. } | MachineName::Uri(id)) = row.name;
                lowering.fault(Code::Repeated, at.place, MachineError::Repeated(id).to_string());
                whole = false;
            }
            Some(row) => rows.push(row),
            None => whole = false,
        }
    }
    // Each row was checked by itself and against the others.
    MachineIdentities::new(rows).ok().filter(|_| whole)
}

fn row(lowering: &mut Lowering<'_>, at: &At<RawMachine>, server: &RawServer, known: &[&str]) -> Option<MachineRow> {
    let raw = &at.value;
    let name = match (&raw.uri, &raw.client) {
        (Some(uri), None) => uri_name(lowering, uri, raw, known)?,
        (None, Some(client)) => client_name(lowering, client, raw, server)?,
        (Some(_), Some(_)) | (None, None) => {
            let message = "a row of `machine_identities` needs either `uri` or `client`";
            lowering.fault(Code::InvalidValue, at.place, message);
            return None;
        }
    };
    let mut words = raw.scopes.iter().chain(&raw.groups).chain(&raw.roles);
    if words.any(|word| word.is_empty() || word.contains(char::is_whitespace)) {
        let message = "a scope, a group or a role of a machine is empty or more than one word";
        lowering.fault(Code::InvalidValue, at.place, message);
        return None;
    }
    let boxes = |list: &[String]| list.iter().map(|text| Box::from(text.as_str())).collect();
    Some(MachineRow {
        name,
        kind: match raw.kind {
            Some(RawMachineKind::Agent) => PartyKind::Agent,
            Some(RawMachineKind::Machine) | None => PartyKind::Machine,
        },
        grants: Grants {
            scopes: boxes(&raw.scopes),
            groups: boxes(&raw.groups),
            roles: boxes(&raw.roles),
        },
    })
}

fn uri_name(lowering: &mut Lowering<'_>, uri: &At<String>, raw: &RawMachine, known: &[&str]) -> Option<MachineName> {
    if let Some(issuer) = &raw.issuer {
        let message = "`issuer` goes with `client`: the authority of a URI stands for its name";
        lowering.fault(Code::InvalidValue, issuer.place, message);
        return None;
    }
    let name = MachineName::Uri(Arc::from(uri.value.as_str()));
    let alone = MachineRow {
        name: name.clone(),
        kind: PartyKind::Machine,
        grants: Grants::default(),
    };
    let machines = match MachineIdentities::new(vec![alone]) {
        Ok(machines) => machines,
        Err(error) => {
            let help = "the name stands in the certificate byte by byte as here: no wildcard, query, fragment or user";
            lowering.fault_with(Code::InvalidValue, uri.place, error.to_string(), Some(help));
            return None;
        }
    };
    let issuer = machines.certificate_issuers().next()?;
    if known.contains(&&**issuer) {
        let message = format!(
            "`{}` begins with the issuer `{issuer}`: a token of its could name the same",
            uri.value
        );
        let help = "give machines a name space of their own, such as `spiffe://prod.example/`";
        lowering.fault_with(Code::InvalidValue, uri.place, message, Some(help));
        return None;
    }
    Some(name)
}

fn client_name(
    lowering: &mut Lowering<'_>,
    client: &At<String>,
    raw: &RawMachine,
    server: &RawServer,
) -> Option<MachineName> {
    if client.value.is_empty() {
        lowering.fault(Code::InvalidValue, client.place, "`client` is empty");
        return None;
    }
    let accepted: Vec<&str> = server.issuers.iter().map(|url| url.value.as_str()).collect();
    let issuer = match (&raw.issuer, &*accepted) {
        (Some(issuer), _) if accepted.contains(&issuer.value.as_str()) => issuer.value.as_str(),
        (Some(issuer), _) => {
            let message = format!("the issuer `{}` is not one of the server's", issuer.value);
            let help = match nearest(&issuer.value, &accepted) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("the server accepts {}", list(&accepted)),
            };
            lowering.fault_with(Code::IssuerUnknown, issuer.place, message, Some(&help));
            return None;
        }
        (None, [only]) => only,
        // A server without issuers has its own fault.
        (None, []) => return None,
        (None, _) => {
            let message = format!(
                "whose client `{}` is cannot be told: the server has several issuers",
                client.value
            );
            let help = format!("write `issuer` beside `client`, one of {}", list(&accepted));
            lowering.fault_with(Code::MissingKey, client.place, message, Some(&help));
            return None;
        }
    };
    Some(MachineName::Client {
        issuer: Arc::from(issuer),
        client: Arc::from(client.value.as_str()),
    })
}
