//! Where an issuer's tokens carry what the gate reads, and in which form.
//!
//! Owns [`ClaimPath`], [`MachineMark`] and [`ClaimMap`], checked when they are made: a claim that means something else,
//! or that people can change, carries no identity. Reads no token; that is `claims`'s.

use crate::json::{Kind, Node};
use crate::token::{IdentityForm, IssuerParts, TokenTenant};

/// How a claim holds scopes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ScopeForm {
    /// One of the two others; which, the token says.
    Any,
    /// An array of scopes.
    List,
    /// One string of scopes, parted by spaces (RFC 8693 section 4.2).
    Text,
}

/// What tells a token that its client got for itself from a person's, where `sub` is not the client's own id.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct MachineMark {
    /// The claim that is looked at: a name, or a JSON Pointer when it starts with `/`.
    pub claim: String,
    /// What it is like in such a token. A token without the claim is not marked.
    pub test: MarkTest,
}

/// What a claim is like that marks a machine's token.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum MarkTest {
    /// It is this text.
    Is(String),
    /// It is what this other claim is; where that is absent, it marks nothing.
    IsClaim(String),
    /// It is the client's id with this text behind it.
    IsClientWith(String),
    /// It is this text with the client's id behind it, in whatever case the issuer writes that there.
    IsClientAfter(String),
    /// It starts with this text.
    StartsWith(String),
}

/// A [`MachineMark`] whose claims can be looked up.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct MarkRule {
    pub(super) path: ClaimPath,
    pub(super) test: MarkPath,
}

/// A [`MarkTest`], likewise.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum MarkPath {
    Is(String),
    IsClaim(ClaimPath),
    IsClientWith(String),
    IsClientAfter(String),
    StartsWith(String),
}

/// A claim by its name or, when it was written with `/` at its start, by a JSON Pointer through objects (RFC 6901).
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct ClaimPath(Vec<String>);

/// A step of a path leads through something that is no object: the claim is neither there nor absent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct PathBlocked;

/// The claim with the scopes, and its form.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct ScopeRule {
    pub(super) path: ClaimPath,
    pub(super) form: ScopeForm,
}

/// Where everything stands that an issuer may put in a place of its own.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct ClaimMap {
    /// `None` is `sub`.
    pub(super) subject: Option<ClaimPath>,
    /// `None` is `client_id` or `azp`.
    pub(super) client: Option<ClaimPath>,
    /// `None` is `scope` as a text, or `scp` in any form.
    pub(super) scope: Option<ScopeRule>,
    pub(super) groups: ClaimPath,
    pub(super) roles: ClaimPath,
    pub(super) single_as_list: bool,
    /// The human, when the token is an agent's.
    pub(super) human: Option<ClaimPath>,
    /// What marks a token that its client got for itself; any of them does.
    pub(super) machine: Box<[MarkRule]>,
    /// The tenant, when a claim names it.
    pub(super) tenant: Option<ClaimPath>,
    /// What stands in for an absent `aud`; `None` is nothing.
    pub(super) audience: Option<ClaimPath>,
    pub(super) ignores_overage: bool,
}

impl ClaimPath {
    /// The path; `None` when it names nothing or is no JSON Pointer.
    fn parse(written: &str) -> Option<Self> {
        let steps = match written.strip_prefix('/') {
            None => vec![written.to_owned()],
            Some(pointer) => pointer.split('/').map(unescape).collect::<Option<Vec<_>>>()?,
        };
        steps.iter().any(|step| !step.is_empty()).then_some(Self(steps))
    }

    /// The claim at the top level that the path begins with.
    pub(super) fn top(&self) -> &str {
        self.0.first().map_or("", String::as_str)
    }

    /// The only step, if there is only one.
    fn name(&self) -> Option<&str> {
        match self.0.as_slice() {
            [name] => Some(name),
            _ => None,
        }
    }

    /// What stands there; `None` when it is absent.
    pub(super) fn find<'s>(&self, root: Node<'s>) -> Result<Option<Node<'s>>, PathBlocked> {
        let mut node = root;
        for step in &self.0 {
            if node.kind() != Kind::Object {
                return Err(PathBlocked);
            }
            match node.member(step) {
                Some(member) => node = member,
                None => return Ok(None),
            }
        }
        Ok(Some(node))
    }
}

/// A claim that cannot be what it is named for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Misnamed {
    /// It cannot carry identity.
    Claim(String),
    /// It cannot mark machines.
    Mark(String),
}

impl From<String> for Misnamed {
    fn from(claim: String) -> Self {
        Self::Claim(claim)
    }
}

impl ClaimMap {
    /// The places that `parts` name, or the one that cannot be.
    pub(super) fn new(parts: &IssuerParts) -> Result<Self, Misnamed> {
        let own = |written: &Option<String>, own: &[&str]| written.as_deref().map(|text| place(text, own)).transpose();
        let named = |written: &Option<String>, default: &str| place(written.as_deref().unwrap_or(default), &[]);
        let scope = own(&parts.scope_claim, &["scope", "scp"])?.map(|path| ScopeRule {
            form: parts.scope_form.unwrap_or_else(|| usual_form(&path)),
            path,
        });
        if let Some(claim) = parts.subject_claim.as_deref().filter(|claim| is_mutable(claim)) {
            return Err(claim.to_owned().into());
        }
        let human = match &parts.identity {
            IdentityForm::HumanClaim(claim) if is_mutable(claim) => return Err(claim.to_owned().into()),
            IdentityForm::HumanClaim(claim) => Some(place(claim, &[])?),
            IdentityForm::Act | IdentityForm::ListedAgents(_) => None,
        };
        let tenant = match &parts.tenant {
            TokenTenant::Claim(claim) if is_mutable(claim) => return Err(Misnamed::Claim(claim.to_owned())),
            TokenTenant::Claim(claim) => Some(place(claim, &[])?),
            TokenTenant::Fixed(_) | TokenTenant::Untold => None,
        };
        Ok(Self {
            subject: own(&parts.subject_claim, &["sub"])?.filter(|path| path.name() != Some("sub")),
            client: own(&parts.client_claim, &CLIENT_CLAIMS)?,
            scope,
            groups: named(&parts.groups_claim, "groups")?,
            roles: named(&parts.roles_claim, "roles")?,
            single_as_list: parts.single_as_list,
            human,
            machine: parts
                .machine_marks
                .iter()
                .map(MarkRule::new)
                .collect::<Result<_, _>>()?,
            tenant,
            audience: own(&parts.danger_audience_from, &CLIENT_CLAIMS)?,
            ignores_overage: parts.danger_ignore_group_overage,
        })
    }
}

impl MarkRule {
    /// The rule of `mark`, or its claim when that marks nobody or everybody.
    fn new(mark: &MachineMark) -> Result<Self, Misnamed> {
        let wrong = || Misnamed::Mark(mark.claim.clone());
        let path = |claim: &str| place(claim, &MARK_CLAIMS).map_err(|_| wrong());
        let text = |text: &String| match text.is_empty() {
            true => Err(wrong()),
            false => Ok(text.clone()),
        };
        Ok(Self {
            path: path(&mark.claim)?,
            test: match &mark.test {
                MarkTest::Is(word) => MarkPath::Is(text(word)?),
                MarkTest::IsClaim(other) if *other == mark.claim => return Err(wrong()),
                MarkTest::IsClaim(other) => MarkPath::IsClaim(path(other)?),
                MarkTest::IsClientWith(suffix) => MarkPath::IsClientWith(suffix.clone()),
                MarkTest::IsClientAfter(prefix) => MarkPath::IsClientAfter(prefix.clone()),
                MarkTest::StartsWith(start) => MarkPath::StartsWith(text(start)?),
            },
        })
    }
}

/// The claim as it was written, unless it means something else than what `own` claims mean.
fn place(written: &str, own: &[&str]) -> Result<ClaimPath, String> {
    ClaimPath::parse(written)
        .filter(|path| {
            path.name()
                .is_none_or(|name| own.contains(&name) || !TAKEN_CLAIMS.contains(&name))
        })
        .ok_or_else(|| written.to_owned())
}

/// One step of a JSON Pointer (RFC 6901 section 4); `None` when a tilde escapes nothing.
fn unescape(step: &str) -> Option<String> {
    let escapes = step.matches("~0").count().saturating_add(step.matches("~1").count());
    (step.matches('~').count() == escapes).then(|| step.replace("~1", "/").replace("~0", "~"))
}

/// The form that a claim of this name has wherever it is known.
fn usual_form(path: &ClaimPath) -> ScopeForm {
    match path.name() {
        Some("scope") => ScopeForm::Text,
        Some("permissions") => ScopeForm::List,
        Some(_) | None => ScopeForm::Any,
    }
}

/// Whether a claim is one that people can change, or that passes from one to another (OpenID Connect Core 5.7).
pub(super) fn is_mutable(claim: &str) -> bool {
    // Of a path, the last step says what the claim is.
    let last = match claim.strip_prefix('/') {
        Some(path) => path.rsplit('/').next().unwrap_or(path),
        None => claim,
    };
    MUTABLE_CLAIMS.contains(&last)
}

/// Claims that tell people apart only today.
const MUTABLE_CLAIMS: [&str; 7] = [
    "email",
    "name",
    "nickname",
    "phone_number",
    "preferred_username",
    "unique_name",
    "upn",
];

/// Claims that name the client.
const CLIENT_CLAIMS: [&str; 2] = ["azp", "client_id"];

/// Claims that the verification reads and that may mark a machine's token all the same.
const MARK_CLAIMS: [&str; 3] = ["azp", "client_id", "sub"];

/// Claims that the verification itself reads.
const TAKEN_CLAIMS: [&str; 23] = [
    "_claim_names",
    "_claim_sources",
    "acr",
    "act",
    "active",
    "amr",
    "aud",
    "auth_time",
    "azp",
    "client_id",
    "cnf",
    "exp",
    "hasgroups",
    "iat",
    "iss",
    "jti",
    "may_act",
    "nbf",
    "scope",
    "scp",
    "sub",
    "token_use",
    "typ",
];
