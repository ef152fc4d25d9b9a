//! Whom the data of a policy knows: groups and roles of subjects and agents, by tenant, issuer and id.
//!
//! Owns [`Directory`], built once when the policy is compiled. A row is whole or it is none: whoever has none is unknown
//! here, and what that means the gate says. Reads `data.subjects` and `data.agents` and no other data.

use std::collections::HashMap;
use std::sync::Arc;

use regorus::Value;

/// What a row gives to whom it is about.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Row {
    /// The groups, in the order of the data.
    pub(crate) groups: Box<[Box<str>]>,
    /// The roles, likewise.
    pub(crate) roles: Box<[Box<str>]>,
}

/// The rows of a policy's data.
#[derive(Debug)]
pub(crate) struct Directory {
    subjects: Table,
    /// `None` without `data.agents`.
    agents: Option<Table>,
}

/// Rows by tenant, issuer and id.
#[derive(Debug)]
struct Table(Members<Members<Members<Arc<Row>>>>);

/// What the members of an object were read as.
#[derive(Debug)]
struct Members<T>(HashMap<Box<str>, T>);

impl Directory {
    /// The rows that stand in `data`. A row needs `groups` and `roles`, both arrays of texts.
    pub(super) fn of(data: &Value) -> Self {
        let table = |name: &str| member(data, name).map(Table::of);
        Self {
            subjects: table("subjects").unwrap_or_else(|| Table::of(&Value::Undefined)),
            agents: table("agents"),
        }
    }

    /// The row of a subject.
    pub(crate) fn subject(&self, tenant: &str, issuer: &str, id: &str) -> Option<&Arc<Row>> {
        self.subjects.row(tenant, issuer, id)
    }

    /// Whether agents have rows at all: then whoever acts for somebody needs one.
    pub(crate) const fn lists_agents(&self) -> bool {
        self.agents.is_some()
    }

    /// The row of an agent.
    pub(crate) fn agent(&self, tenant: &str, issuer: &str, id: &str) -> Option<&Arc<Row>> {
        self.agents.as_ref()?.row(tenant, issuer, id)
    }
}

impl Table {
    fn of(tenants: &Value) -> Self {
        Self(nested(tenants, |issuers| {
            Some(nested(issuers, |rows| {
                Some(nested(rows, |row| Row::of(row).map(Arc::new)))
            }))
        }))
    }

    fn row(&self, tenant: &str, issuer: &str, id: &str) -> Option<&Arc<Row>> {
        self.0.0.get(tenant)?.0.get(issuer)?.0.get(id)
    }
}

impl Row {
    fn of(row: &Value) -> Option<Self> {
        Some(Self {
            groups: texts(member(row, "groups")?)?,
            roles: texts(member(row, "roles")?)?,
        })
    }
}

/// The members of an object that can be read so; none of what is no object.
fn nested<T>(value: &Value, read: impl Fn(&Value) -> Option<T>) -> Members<T> {
    let Value::Object(members) = value else {
        return Members(HashMap::new());
    };
    let members = members.iter();
    Members(
        members
            .filter_map(|(key, value)| Some((text(key)?, read(value)?)))
            .collect(),
    )
}

fn member<'v>(value: &'v Value, name: &str) -> Option<&'v Value> {
    match value {
        Value::Object(members) => members.get(&Value::from(name)),
        _ => None,
    }
}

fn texts(value: &Value) -> Option<Box<[Box<str>]>> {
    match value {
        Value::Array(elements) => elements.iter().map(text).collect(),
        _ => None,
    }
}

fn text(value: &Value) -> Option<Box<str>> {
    match value {
        Value::String(text) => Some(Box::from(&**text)),
        _ => None,
    }
}
