use std::time::Duration;

use super::*;
use crate::scope::ScopeRow;

fn table(rows: &[(&str, &[&str])]) -> ToolTable {
    let row = |scopes: &[&str]| ScopeRow {
        scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect(),
        class: None,
    };
    let rows = rows
        .iter()
        .map(|(tool, scopes)| ((*tool).to_owned(), row(scopes)))
        .collect();
    ToolTable::new(rows, &BTreeMap::new(), false).unwrap()
}

/// Two tools of a CRM, one of a repository, one that needs nothing.
fn tools() -> ToolTable {
    table(&[
        ("crm.list", &["crm:read"]),
        ("crm.write", &["crm:write"]),
        ("ping", &[]),
        ("repo.read", &["repo.read"]),
    ])
}

fn of(label: &str, kind: CredentialKind) -> UpstreamCredential {
    UpstreamCredential {
        label: Arc::from(label),
        header: HeaderName::from_static("authorization"),
        kind,
    }
}

fn secret(label: &str, value: &str, danger: bool) -> UpstreamCredential {
    let kind = CredentialKind::Static {
        value: value.to_owned().into(),
        danger_shared_identity: danger,
    };
    of(label, kind)
}

fn exchange(label: &str, scopes: Option<&[&str]>) -> UpstreamCredential {
    let terms = ExchangeTerms {
        issuer: Arc::from("https://as.example"),
        source: Arc::from("as"),
        audience: None,
        resource: None,
        scopes: scopes.map(|scopes| scopes.iter().map(|scope| Box::from(*scope)).collect()),
        actor_token: None,
    };
    of(label, CredentialKind::Exchange(terms))
}

fn assertion(label: &str) -> UpstreamCredential {
    let terms = AssertionTerms {
        issuer: Arc::from("https://gate.example"),
        audience: Arc::from("crm"),
        lifetime: Duration::from_secs(60),
    };
    of(label, CredentialKind::Assertion(terms))
}

fn group(tools: &[&str], credential: Option<UpstreamCredential>) -> CredentialGroup {
    CredentialGroup {
        tools: tools.iter().map(|tool| Box::from(*tool)).collect(),
        credential,
    }
}

fn fit(default: Option<UpstreamCredential>, groups: Vec<CredentialGroup>) -> Result<Credentials, CredentialsError> {
    let credentials = Credentials::new(default, groups)?;
    credentials
        .check(&tools(), &PromptTable::default(), &ResourceTable::default())
        .map(|()| credentials)
}

#[test]
fn each_tool_has_its_own_credential_and_the_rest_the_default() {
    let credentials = fit(
        Some(secret("shared", "one", false)),
        vec![
            group(&["crm.list", "crm.write"], Some(secret("crm", "two", false))),
            group(&["repo.read"], Some(assertion("repo"))),
            group(&["ping"], None),
        ],
    );
    let credentials = credentials.unwrap();
    let label = |tool| credentials.of(tool).map(|credential| &*credential.label);
    assert_eq!(label(Some("crm.list")), Some("crm"));
    assert_eq!(label(Some("crm.write")), Some("crm"));
    assert_eq!(label(Some("repo.read")), Some("repo"));
    assert_eq!(label(Some("ping")), None);
    assert_eq!(label(Some("unmapped")), Some("shared"));
    assert_eq!(label(None), Some("shared"));
    assert!(Credentials::default().of(Some("crm.list")).is_none());
}

#[test]
fn a_tool_has_one_credential_and_a_row() {
    let repeated = fit(
        None,
        vec![
            group(&["ping", "crm.list"], None),
            group(&["crm.list"], Some(assertion("b"))),
        ],
    );
    assert_eq!(repeated.unwrap_err(), CredentialsError::ToolRepeated("crm.list".into()));
    let within = fit(None, vec![group(&["ping", "ping"], None)]);
    assert_eq!(within.unwrap_err(), CredentialsError::ToolRepeated("ping".into()));
    let unmapped = fit(None, vec![group(&["crm.lists"], None)]);
    assert_eq!(
        unmapped.unwrap_err(),
        CredentialsError::ToolUnmapped("crm.lists".into())
    );
}

#[test]
fn one_secret_serves_one_family_of_scopes() {
    let shared = |result: Result<Credentials, CredentialsError>| match result {
        Err(CredentialsError::Shared { first, second, .. }) => (first.to_string(), second.to_string()),
        other => panic!("{other:?}"),
    };
    let pair = |first: &str, second: &str| (first.to_owned(), second.to_owned());
    let default = |danger| Some(secret("all", "one", danger));
    assert_eq!(shared(fit(default(false), Vec::new())), pair("crm.list", "repo.read"));
    assert!(fit(default(true), Vec::new()).is_ok());
    // The same value under two names is one secret.
    let twice = |value: &str, danger| {
        vec![
            group(&["crm.list", "crm.write"], Some(secret("crm", "one", danger))),
            group(&["repo.read"], Some(secret("repo", value, danger))),
        ]
    };
    assert_eq!(shared(fit(None, twice("one", false))), pair("crm.list", "repo.read"));
    assert!(fit(None, twice("two", false)).is_ok());
    assert!(fit(None, twice("one", true)).is_ok());
    // What is made for each caller may serve all of them.
    assert!(fit(Some(assertion("all")), Vec::new()).is_ok());
    assert!(fit(Some(exchange("all", Some(&["mcp"]))), Vec::new()).is_ok());
}

/// A tool that needs scopes of two families shares its secret only with such as need both.
#[test]
fn a_secret_lends_nobody_a_family_that_he_lacks() {
    let both: &[&str] = &["crm:read", "repo:read"];
    let check = |rows: &[(&str, &[&str])]| {
        let credentials = Credentials::new(Some(secret("all", "one", false)), Vec::new()).unwrap();
        credentials
            .check(&table(rows), &PromptTable::default(), &ResourceTable::default())
            .is_ok()
    };
    assert!(check(&[("a", both)]));
    assert!(check(&[("a", both), ("b", both), ("c", &[])]));
    assert!(!check(&[("a", both), ("b", &["crm:read"])]));
    assert!(!check(&[("a", &["crm:read"]), ("b", both)]));
}

#[test]
fn an_exchange_asks_for_scopes() {
    let missing = |result: Result<Credentials, CredentialsError>| match result {
        Err(CredentialsError::ScopesMissing { tool, .. }) => tool,
        other => panic!("{other:?}"),
    };
    assert_eq!(missing(fit(Some(exchange("all", None)), Vec::new())), None);
    assert_eq!(missing(fit(Some(exchange("all", Some(&[]))), Vec::new())), None);
    let needs_none = fit(None, vec![group(&["ping", "crm.list"], Some(exchange("crm", None)))]);
    assert_eq!(missing(needs_none), Some("ping".into()));
    assert!(fit(None, vec![group(&["crm.list"], Some(exchange("crm", None)))]).is_ok());
    assert!(fit(None, vec![group(&["ping"], Some(exchange("crm", Some(&["mcp"]))))]).is_ok());
}

#[test]
fn a_credential_shows_no_value() {
    let shown = format!(
        "{:?}",
        fit(None, vec![group(&["ping"], Some(secret("label", "s3cret", false)))])
    );
    assert!(shown.contains("label") && !shown.contains("s3cret"), "{shown}");
}

#[test]
fn listings_have_the_credential_that_was_named_or_the_one_of_calls_without_a_tool() {
    let new = |default| Credentials::new(default, Vec::new()).unwrap();
    let label = |credentials: &Credentials| credentials.of_listing().map(|shown| shown.label.to_string());
    let cases = [
        ("nothing", new(None), None, false),
        ("a secret", new(Some(secret("own", "one", false))), Some("own"), true),
        ("a statement", new(Some(assertion("who"))), Some("who"), false),
        (
            "an exchange has no caller",
            new(Some(exchange("sts", None))),
            None,
            false,
        ),
        (
            "named",
            new(Some(exchange("sts", None))).listed_with(Some(secret("list", "two", false))),
            Some("list"),
            true,
        ),
        (
            "a named statement",
            new(Some(secret("own", "one", false))).listed_with(Some(assertion("gate"))),
            Some("gate"),
            true,
        ),
        (
            "nothing, by name",
            new(Some(secret("own", "one", false))).listed_with(None),
            None,
            false,
        ),
    ];
    for (name, credentials, shown, must_list) in cases {
        assert_eq!(label(&credentials).as_deref(), shown, "{name}");
        assert_eq!(credentials.must_list(), must_list, "{name}");
        let named = credentials.iter().any(|credential| Some(&*credential.label) == shown);
        assert_eq!(named, shown.is_some(), "{name}: every credential is told");
    }
}
