//! The sample decision by other means: the tree interpreter, and the same rule written in Rust.
//!
//! Owns the comparators of the group `decision`. Both are given their input ready made, where the gate makes it from
//! the call; the gate asks its policy two questions, these one. Never a part of the product.

use std::collections::{HashMap, HashSet};
use std::error::Error;
use std::hint::black_box;

use portcullis_fixtures::policy::{TENANT, subject_name};
use regorus::{Engine, Value};
use serde::Deserialize;
use serde_json::json;

use crate::material::row_of;
use crate::scenario::{Meter, Setting, metered};
use crate::world::{self, ISSUER, SCOPE, TOOL};

/// The decision on the first caller's own account by the tree interpreter, input and data prepared.
///
/// # Errors
/// As [`metered`], and when the policy does not load.
pub fn interpreter(subjects: usize, setting: &Setting<'_>, meter: &mut dyn Meter) -> Result<(), Box<dyn Error>> {
    let subjects = setting.scaled(subjects);
    let source = world::policy_source(subjects)?;
    let mut engine = Engine::new();
    for module in source.modules {
        engine.add_policy(module.name, module.text)?;
    }
    for data in source.data {
        engine.add_data(Value::from_json_str(&data.text)?)?;
    }
    let row = row_of(0, subjects);
    let input = json!({
        "tenant": TENANT,
        "request": {"method": "tools/call", "tool": TOOL, "arguments": {"account_id": format!("acc-{row}-1")}},
        "tool": {"class": "read", "required_scopes": [SCOPE]},
        "subject": {"id": subject_name(row), "issuer": ISSUER, "scopes": [SCOPE]},
    });
    let input = Value::from_json_str(&input.to_string())?;
    metered(meter, || {
        engine.set_input(input.clone());
        let decision = engine.eval_rule("data.portcullis.request.decision".to_owned());
        decision.is_ok_and(|decision| decision["allow"] == Value::from(true))
    })
}

/// A row of the sample data's subjects.
#[derive(Deserialize)]
struct Person {
    accounts: HashSet<String>,
    groups: HashSet<String>,
    roles: HashSet<String>,
}

/// The sample data, as far as the decision on a tool call looks at it.
#[derive(Deserialize)]
struct Data {
    agents: HashMap<String, HashMap<String, HashMap<String, serde_json::Value>>>,
    grants: HashMap<String, HashSet<String>>,
    subjects: HashMap<String, HashMap<String, HashMap<String, Person>>>,
    tool_groups: HashMap<String, HashSet<String>>,
    tools_without_account: HashSet<String>,
}

/// What the decision looks at of a call.
struct Call<'c> {
    account: Option<&'c str>,
    actor: Option<[&'c str; 2]>,
    required_scopes: &'c [&'c str],
    scopes: &'c [&'c str],
    subject: [&'c str; 3],
    tool: &'c str,
}

impl Data {
    /// The rule `decision` of the sample policy for calls of tools, as an `if` would have it.
    fn allows(&self, call: &Call<'_>) -> bool {
        let [tenant, issuer, subject] = call.subject;
        let Some(person) = self
            .subjects
            .get(tenant)
            .and_then(|issuers| issuers.get(issuer)?.get(subject))
        else {
            return false;
        };
        let granted = person
            .roles
            .iter()
            .filter_map(|role| self.grants.get(role))
            .any(|tools| tools.contains(call.tool));
        let grouped = self
            .tool_groups
            .get(call.tool)
            .is_some_and(|groups| !groups.is_disjoint(&person.groups));
        let known = call.actor.is_none_or(|[issuer, agent]| {
            let agents = self.agents.get(tenant).and_then(|issuers| issuers.get(issuer));
            agents.is_some_and(|agents| agents.contains_key(agent))
        });
        let scoped = call.required_scopes.iter().all(|scope| call.scopes.contains(scope));
        let assigned = self.tools_without_account.contains(call.tool)
            || call.account.is_some_and(|account| person.accounts.contains(account));
        granted && grouped && known && scoped && assigned
    }
}

/// The decision on the first caller's own account by hand-written Rust over hash maps.
///
/// # Errors
/// As [`metered`], and when the data is not the sample's.
pub fn native(subjects: usize, setting: &Setting<'_>, meter: &mut dyn Meter) -> Result<(), Box<dyn Error>> {
    let subjects = setting.scaled(subjects);
    let source = world::policy_source(subjects)?;
    let text = &source.data.first().ok_or("the sample has no data")?.text;
    let data: Data = serde_json::from_str(text)?;
    let row = row_of(0, subjects);
    let (name, account) = (subject_name(row), format!("acc-{row}-1"));
    let call = Call {
        account: Some(&account),
        actor: None,
        required_scopes: &[SCOPE],
        scopes: &[SCOPE],
        subject: [TENANT, ISSUER, &name],
        tool: TOOL,
    };
    metered(meter, || data.allows(black_box(&call)))
}
