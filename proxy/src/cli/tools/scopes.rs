//! The scopes that tools need, against those that their issuers say they grant.
//!
//! Owns the warnings about them and no more: an issuer may grant what it does not list (RFC 8414 section 2), so nothing
//! is refused for it. Asks each issuer once, as the gate would for its keys.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::super::jwks::probe;
use super::{Finding, Listed};
use crate::config::Config;

/// The scopes of the rows that no issuer of their server lists, nor one that covers them. An issuer that lists none, or
/// cannot be asked, is told on stderr, and nothing is said of its servers' scopes.
///
/// # Errors
/// When an issuer could never be asked.
pub(super) fn warnings(config: &Config, listed: &[Listed]) -> anyhow::Result<Vec<Finding>> {
    let mut asked: BTreeMap<Arc<str>, Option<BTreeSet<String>>> = BTreeMap::new();
    let mut warnings = Vec::new();
    for one in listed {
        let mut granted = BTreeSet::new();
        let mut silent = false;
        for plan in &config.issuers {
            let accepted = one.server.issuers().iter();
            if !accepted.into_iter().any(|issuer| *issuer.url() == plan.url) {
                continue;
            }
            if !asked.contains_key(&plan.url) {
                let scopes = probe::fetch(plan, &config.limits)?.scopes;
                if scopes.is_none() {
                    eprintln!(
                        "portcullis: `{}` does not say which scopes it grants, so those of its servers are not compared",
                        plan.url
                    );
                }
                asked.insert(Arc::clone(&plan.url), scopes);
            }
            match asked.get(&plan.url) {
                Some(Some(scopes)) => granted.extend(scopes.iter().cloned()),
                _ => silent = true,
            }
        }
        if !silent {
            warnings.extend(unlisted(one, &granted));
        }
    }
    Ok(warnings)
}

/// A warning for each scope of a row that is not covered by what is granted.
fn unlisted<'l>(one: &'l Listed, granted: &'l BTreeSet<String>) -> impl Iterator<Item = Finding> + 'l {
    let rows = one.server.tools().rows();
    rows.flat_map(move |(tool, _)| {
        let needed = one.server.tools().covering(tool);
        let missing = needed.filter(|(_, covering)| !covering.iter().any(|scope| granted.contains(&**scope)));
        missing.map(|(scope, _)| Finding {
            code: "scope_unlisted",
            server: one.name().to_owned(),
            tool: tool.to_owned(),
            message: format!("it needs the scope `{scope}`, which no issuer of the server lists among its scopes"),
        })
    })
}
