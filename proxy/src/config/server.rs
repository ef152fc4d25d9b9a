//! One protected server: from what was written to what the core takes.
//!
//! Owns [`ServerPlan`] and the checks of upstream, tools, policy and credential. Nothing has a default that lets a
//! call through: issuer, resource, tools and policy must be written.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use portcullis_core::Rate;
use portcullis_core::catalog::OnChange;
use portcullis_core::config::{Server, ServerError, ServerParts, Upstream};
use portcullis_core::denial::DenyStyle;
use portcullis_core::gate::SnapshotError;
use portcullis_core::identity::{MachineIdentities, SharedSecret};
use portcullis_core::policy::{Finding, MEMO_ENTRIES, Policy, PolicyError, PolicySource, SourceFile};
use portcullis_core::scope::ScopeTableError;
use portcullis_core::token::{Issuer, SenderRules};

use super::diagnose::{Code, Diagnostic, nearest};
use super::issuer;
use super::lower::Lowering;
use super::raw::{At, Place, RawConfig, RawOnChange, RawPolicy, RawServer};
use super::tables::Tables;
use super::upstream::{self, Resolved};
use super::{IssuerPlan, bundle, credentials, deny, machines, sender, shared_secret};
use crate::background::exchange::ExchangePlan;
use crate::background::policy::{BundlePlan, NewPolicy};
use crate::background::tools::ToolPlan;

/// A server, checked, with what it takes to build it again when its upstream moves.
#[derive(Clone, Debug)]
pub(crate) struct ServerPlan {
    name: Arc<str>,
    title: Option<Arc<str>>,
    tenant: Option<Arc<str>>,
    path: Arc<str>,
    resource: Arc<str>,
    audiences: Vec<Arc<str>>,
    issuer_audiences: BTreeMap<Arc<str>, Vec<Arc<str>>>,
    hosts: Vec<Arc<str>>,
    origins: Vec<Arc<str>>,
    issuers: Vec<Arc<Issuer>>,
    tables: Tables,
    policy: Arc<Policy>,
    bundle: Option<BundlePlan>,
    watched: Option<(Duration, Vec<PathBuf>)>,
    upstream: Upstream,
    /// Where its upstream stands.
    upstream_place: Place,
    exchanges: Vec<ExchangePlan>,
    query_names: Vec<Arc<str>>,
    danger_shared_secret: Option<SharedSecret>,
    rate: Rate,
    sender: SenderRules,
    deny_style: DenyStyle,
    machines: MachineIdentities,
    tool_plan: ToolPlan,
}

/// What keeps a plan from being built.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum BuildError {
    /// The server as a whole.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The servers beside each other.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// Its scope tables.
    #[error(transparent)]
    Tables(#[from] ScopeTableError),
}

/// The policies that rule, by their servers: a reload compiles none anew whose modules are as they were.
#[derive(Clone, Debug, Default)]
pub(crate) struct RulingPolicies(BTreeMap<String, Arc<Policy>>);

impl RulingPolicies {
    /// Those of `plans`.
    pub(crate) fn of(plans: &[ServerPlan]) -> Self {
        let policies = plans
            .iter()
            .map(|plan| (plan.name().to_owned(), Arc::clone(&plan.policy)));
        Self(policies.collect())
    }

    /// The policy of `source` for the server `name`.
    fn renewed(&self, name: &str, source: &PolicySource, workers: usize) -> Result<Policy, PolicyError> {
        match self.0.get(name) {
            Some(ruling) => ruling.with_data(source),
            None => Policy::compile(source, workers),
        }
    }
}

impl ServerPlan {
    /// The server's name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Places of its policy where every allow is confirmed by the slower interpreter.
    pub(crate) fn confirmed(&self) -> &[Finding] {
        self.policy.confirmed()
    }

    /// Questions to its policy about calls whose answers are not remembered, with the reason.
    pub(crate) fn unmemoised(&self) -> impl Iterator<Item = &Finding> {
        self.policy.unmemoised()
    }

    /// Where its policy comes from, when it is a bundle.
    pub(crate) const fn bundle(&self) -> Option<&BundlePlan> {
        self.bundle.as_ref()
    }

    /// The files of its policy that are looked at for changes, and how often.
    pub(crate) const fn watched(&self) -> Option<&(Duration, Vec<PathBuf>)> {
        self.watched.as_ref()
    }

    /// Takes the policy of a bundle, if it was compiled for this plan.
    pub(crate) fn take_policy(&mut self, new: &NewPolicy) -> bool {
        match &mut self.bundle {
            Some(bundle) if Arc::ptr_eq(&bundle.tables, &new.tables) => {
                bundle.loaded = Some(new.ruling.clone());
                self.policy = Arc::clone(&new.policy);
                true
            }
            _ => false,
        }
    }

    /// How its tools are listed.
    pub(crate) const fn tool_plan(&self) -> &ToolPlan {
        &self.tool_plan
    }

    /// The exchanges of its upstream's credentials.
    pub(crate) fn exchanges(&self) -> &[ExchangePlan] {
        &self.exchanges
    }

    /// The server for the core.
    ///
    /// # Errors
    /// [`BuildError`]; a plan that was built once is built again without error.
    pub(crate) fn build(&self) -> Result<Server, BuildError> {
        let parts = ServerParts {
            name: Arc::clone(&self.name),
            title: self.title.clone(),
            tenant: self.tenant.clone(),
            path: Arc::clone(&self.path),
            resource: Arc::clone(&self.resource),
            audiences: self.audiences.clone(),
            issuer_audiences: self.issuer_audiences.clone(),
            hosts: self.hosts.clone(),
            origins: self.origins.clone(),
            issuers: self.issuers.clone(),
            tools: self.tables.tools()?,
            prompts: self.tables.prompts()?,
            resources: self.tables.resources()?,
            policy: Arc::clone(&self.policy),
            upstream: self.upstream.clone(),
            query_names: self.query_names.clone(),
            danger_shared_secret: self.danger_shared_secret.clone(),
            rate: self.rate,
            sender: self.sender,
            machines: self.machines.clone(),
            deny_style: self.deny_style,
            tools_on_change: self.tool_plan.on_change,
        };
        Ok(Server::new(parts)?)
    }

    /// Its upstream.
    pub(crate) fn upstream(&self) -> &Upstream {
        &self.upstream
    }

    /// Where its upstream stands in the configuration.
    pub(crate) fn upstream_place(&self) -> Place {
        self.upstream_place
    }

    /// Looks the names of the upstream's endpoints up again, blocking; one that does not resolve keeps its addresses.
    pub(crate) fn resolve(&mut self) -> Resolved {
        upstream::resolve(&mut self.upstream)
    }

    /// Takes over what is known of the endpoints that `old` has as well.
    pub(crate) fn take_over(&mut self, old: &Self) {
        upstream::take_over(&mut self.upstream, &old.upstream);
    }
}

/// Lowers one server: its plan, and what the core makes of that; `None` after a fault.
pub(super) fn lower(
    lowering: &mut Lowering<'_>,
    at: &At<RawServer>,
    config: &RawConfig,
    issuers: &[IssuerPlan],
    known: &[&str],
) -> Option<(ServerPlan, Server)> {
    let raw = &at.value;
    let name = raw.name.value.as_str();
    let accepted = accepted_issuers(lowering, at, issuers, known);
    let resource = raw.resource.as_ref();
    if resource.is_none() {
        lowering.fault_with(
            Code::ServerResourceMissing,
            at.place,
            format!("server `{name}` has no `resource`: no token could be for it"),
            Some("write the public URL of this endpoint, such as `resource: https://gate.example.com/crm/mcp`"),
        );
    }
    let audiences = issuer::audiences(lowering, raw);
    let tables = Tables::lower(lowering, at);
    let (policy, bundle) = policy(lowering, at, config, tables.as_ref()).unzip();
    let watched = watched(lowering, raw);
    let around = credentials::Surroundings {
        raw: config,
        server: raw,
        issuers,
    };
    let upstream = upstream::lower(lowering, &around);
    let rate = rate(lowering, raw);
    let machines = machines::lower(lowering, raw, known);
    let shared_secret = match &raw.danger_shared_secret {
        Some(raw) => shared_secret::lower(lowering, raw).map(Some),
        None => Some(None),
    };
    let arcs = |list: &[At<String>]| list.iter().map(|text| Arc::from(text.value.as_str())).collect();
    let (upstream, exchanges) = upstream?;
    let plan = ServerPlan {
        name: Arc::from(name),
        title: raw.title.as_ref().map(|title| Arc::from(title.value.as_str())),
        tenant: raw.tenant.as_ref().map(|tenant| Arc::from(tenant.value.as_str())),
        path: Arc::from(raw.path.value.as_str()),
        resource: Arc::from(resource?.value.as_str()),
        audiences: arcs(&raw.audiences),
        issuer_audiences: audiences?,
        hosts: arcs(&raw.hosts),
        origins: arcs(&raw.origins),
        issuers: accepted?,
        tables: tables?,
        policy: policy?,
        bundle: bundle?,
        watched,
        upstream,
        upstream_place: raw.upstream.written().next().map_or(at.place, |url| url.place),
        exchanges,
        query_names: arcs(&raw.query_names),
        danger_shared_secret: shared_secret?,
        rate: rate?,
        sender: sender::rules(raw.dpop.as_ref()),
        deny_style: deny::style(raw.deny.as_ref()),
        machines: machines?,
        tool_plan: tool_plan(lowering, raw),
    };
    let built = plan.build();
    if let Err(error) = &built {
        let place = match error {
            BuildError::Server(ServerError::Resource(..)) => resource.map_or(at.place, |resource| resource.place),
            BuildError::Server(ServerError::Path(..)) => raw.path.place,
            BuildError::Server(ServerError::Credentials(_, error)) => credentials::place(raw, error),
            BuildError::Server(ServerError::Tenant(_) | ServerError::TenantIssuer { .. }) => {
                raw.tenant.as_ref().map_or(at.place, |tenant| tenant.place)
            }
            BuildError::Server(ServerError::QueryName(_, refused)) => {
                let mut names = raw.query_names.iter();
                names
                    .find(|name| *name.value == **refused)
                    .map_or(at.place, |name| name.place)
            }
            BuildError::Server(_) | BuildError::Snapshot(_) | BuildError::Tables(_) => at.place,
        };
        lowering.fault(Code::ServerInvalid, place, error.to_string());
    }
    Some((plan, built.ok()?))
}

fn accepted_issuers(
    lowering: &mut Lowering<'_>,
    at: &At<RawServer>,
    issuers: &[IssuerPlan],
    known: &[&str],
) -> Option<Vec<Arc<Issuer>>> {
    if at.value.issuers.is_empty() {
        lowering.fault_with(
            Code::ServerIssuerMissing,
            at.place,
            format!(
                "server `{}` has no `issuers`: no token could be verified",
                at.value.name.value
            ),
            Some("name at least one of the list `issuers` at the top"),
        );
        return None;
    }
    let mut accepted: Vec<Arc<Issuer>> = Vec::new();
    let mut whole = true;
    for url in &at.value.issuers {
        match issuers.iter().find(|plan| *plan.url == *url.value) {
            Some(plan) => accepted.push(Arc::clone(&plan.issuer)),
            None if known.contains(&url.value.as_str()) => whole = false,
            None => {
                let help = nearest(&url.value, known).map(|near| format!("did you mean `{near}`?"));
                let message = format!("the issuer `{}` is not in the list `issuers`", url.value);
                lowering.fault_with(Code::IssuerUnknown, url.place, message, help.as_deref());
                whole = false;
            }
        }
    }
    let asked = accepted
        .iter()
        .filter(|issuer| issuer.introspection().is_some())
        .count();
    if 1 < asked {
        let message = format!(
            "server `{}` accepts {asked} issuers with `introspection`: a token that is no JWT does not say whose it is",
            at.value.name.value
        );
        lowering.fault(Code::ServerInvalid, at.place, message);
        return None;
    }
    whole.then_some(accepted)
}

/// The compiled policy, and its bundle when it is one; `None` after a fault, or when the tools that it reads have one.
fn policy(
    lowering: &mut Lowering<'_>,
    at: &At<RawServer>,
    config: &RawConfig,
    tables: Option<&Tables>,
) -> Option<(Arc<Policy>, Option<BundlePlan>)> {
    let name = &at.value.name.value;
    let raw = at.value.policy.as_ref();
    if let Some((policy, written)) = raw.and_then(|raw| Some((raw, raw.value.bundle.as_ref()?))) {
        if !policy.value.files.is_empty() || !policy.value.data.is_empty() || policy.value.watch.is_some() {
            let message =
                "a bundle takes the place of `files` and `data`, and is not watched but fetched: write one of them";
            lowering.fault(Code::InvalidValue, written.place, message);
            return None;
        }
        let memo_entries = memo_entries(lowering, &policy.value)?;
        let (policy, plan) = bundle::lower(lowering, written, name, config, tables, memo_entries)?;
        return Some((policy, Some(plan)));
    }
    let Some(raw) = raw.filter(|raw| !raw.value.files.is_empty()) else {
        lowering.fault_with(
            Code::ServerPolicyMissing,
            at.value.policy.as_ref().map_or(at.place, |raw| raw.place),
            format!("server `{name}` has no policy: nothing could be decided"),
            Some("write `policy: {files: [policy.rego]}`"),
        );
        return None;
    };
    let source = policy_source(lowering, &raw.value, tables)?;
    let memo_entries = memo_entries(lowering, &raw.value)?;
    match lowering.ruling.renewed(&at.value.name.value, &source, lowering.workers) {
        Ok(policy) => Some((Arc::new(policy.with_memo_entries(memo_entries)), None)),
        Err(PolicyError(finding)) => {
            let place = Place {
                line: u64::from(finding.line),
                column: u64::from(finding.column),
            };
            let mut files = source.modules.iter().chain(&source.data);
            let text = files
                .find(|file| file.name == finding.file)
                .map_or("", |file| &file.text);
            let path = Path::new(&finding.file);
            let diagnostic = Diagnostic::new(Code::PolicyRefused, path, place, finding.message).excerpt_of(text);
            lowering.fault_elsewhere(diagnostic);
            None
        }
    }
}

fn policy_source(lowering: &mut Lowering<'_>, raw: &RawPolicy, tables: Option<&Tables>) -> Option<PolicySource> {
    let mut texts = |names: &[At<String>]| -> Option<Vec<SourceFile>> {
        let read: Vec<_> = names
            .iter()
            .map(|name| {
                let text = lowering.read(name)?;
                let name = lowering.files.path(&name.value).display().to_string();
                Some(SourceFile { name, text })
            })
            .collect();
        read.into_iter().collect()
    };
    let modules = texts(&raw.files);
    let data = texts(&raw.data);
    Some(PolicySource {
        modules: modules?,
        data: data?,
        tools_json: tables?.tools().ok()?.to_json(),
        prompts_json: tables?.prompts().ok()?.to_json(),
        resources_json: tables?.resources().ok()?.to_json(),
    })
}

/// How many answers each worker remembers of the policy; `None` after a fault.
fn memo_entries(lowering: &mut Lowering<'_>, raw: &RawPolicy) -> Option<usize> {
    let Some(memo) = &raw.memo else {
        return Some(MEMO_ENTRIES);
    };
    let entries = &memo.value.entries;
    if MEMO_ENTRIES_MAX < entries.value {
        let message = format!("`memo.entries` is at most {MEMO_ENTRIES_MAX}");
        lowering.fault(Code::InvalidValue, entries.place, message);
        return None;
    }
    usize::try_from(entries.value).ok()
}

/// The files that are looked at for changes, and how often; `None` for never, or after a fault.
fn watched(lowering: &mut Lowering<'_>, raw: &RawServer) -> Option<(Duration, Vec<PathBuf>)> {
    let policy = &raw.policy.as_ref()?.value;
    let written = policy.watch.as_ref()?;
    let interval = bundle::span(lowering, Some(written), "watch", WATCH, "500ms to 1h", Duration::ZERO)?;
    let files = policy.files.iter().chain(&policy.data);
    Some((interval, files.map(|file| lowering.files.path(&file.value)).collect()))
}

/// How often files are looked at.
const WATCH: RangeInclusive<Duration> = Duration::from_millis(500)..=Duration::from_secs(3_600);

/// How the upstream's tools are listed and held against what was accepted.
fn tool_plan(lowering: &mut Lowering<'_>, raw: &RawServer) -> ToolPlan {
    let refresh = match &raw.tools_refresh {
        Some(written) if !TOOLS_REFRESH.contains(&written.value.0) => {
            let message = "`tools_refresh` is from 1s to 24h";
            lowering.fault(Code::InvalidValue, written.place, message);
            TOOLS_REFRESH_DEFAULT
        }
        Some(written) => written.value.0,
        None => TOOLS_REFRESH_DEFAULT,
    };
    ToolPlan {
        server: Arc::from(raw.name.value.as_str()),
        on_change: match raw.tools_changed {
            None | Some(RawOnChange::Report) => OnChange::Report,
            Some(RawOnChange::Withhold) => OnChange::Withhold,
        },
        refresh,
    }
}

/// So many answers that memory, not time, is what a memo costs.
const MEMO_ENTRIES_MAX: u32 = 1_000_000;
/// How often tools are listed.
const TOOLS_REFRESH: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(24 * 3_600);
const TOOLS_REFRESH_DEFAULT: Duration = Duration::from_secs(300);

fn rate(lowering: &mut Lowering<'_>, raw: &RawServer) -> Option<Rate> {
    let Some(rate) = &raw.rate else {
        return Some(Rate {
            per_second: 50,
            burst: 100,
        });
    };
    if rate.value.per_second == 0 || rate.value.burst == 0 {
        lowering.fault(Code::InvalidValue, rate.place, "a rate of zero lets no call through");
        return None;
    }
    Some(Rate {
        per_second: rate.value.per_second,
        burst: rate.value.burst,
    })
}
