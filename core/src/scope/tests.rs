use super::*;

fn table(danger: bool) -> ToolTable {
    let row = |scopes: &[&str]| ScopeRow {
        scopes: scopes.iter().map(|&scope| scope.to_owned()).collect(),
        class: None,
    };
    let rows = BTreeMap::from([
        ("github.repo.read".to_owned(), row(&["repo:read"])),
        ("github.repo.write".to_owned(), row(&["repo"])),
        ("crm.merge".to_owned(), row(&["crm:write", "crm:read", "crm:read"])),
        ("open".to_owned(), row(&[])),
    ]);
    let implies = BTreeMap::from([
        ("repo".to_owned(), vec!["repo:read".to_owned()]),
        ("admin".to_owned(), vec!["repo".to_owned()]),
        ("loop".to_owned(), vec!["admin".to_owned(), "loop".to_owned()]),
    ]);
    ToolTable::new(rows, &implies, danger).unwrap()
}

#[track_caller]
fn check(tool: &str, scopes: &[&str], want: Result<(), Refused<'_>>) {
    let table = table(false);
    let got = table.grant(tool, |scope| scopes.contains(&scope)).map(|_| ());
    let got = got.map_err(|refusal| match refusal {
        ScopeRefusal::Insufficient(needs) => Refused::Insufficient(needs.required().iter().map(|it| &**it).collect()),
        ScopeRefusal::Unmapped => Refused::Unmapped,
    });
    assert_eq!(got, want, "{tool} with {scopes:?}");
}

/// A refusal by what it names.
#[derive(Debug, Eq, PartialEq)]
enum Refused<'s> {
    Insufficient(Vec<&'s str>),
    Unmapped,
}

#[test]
fn every_required_scope_must_be_covered() {
    let merge = || Err(Refused::Insufficient(vec!["crm:read", "crm:write"]));
    let repo = || Err(Refused::Insufficient(vec!["repo"]));
    check("crm.merge", &["crm:read", "crm:write"], Ok(()));
    check("crm.merge", &["crm:read"], merge());
    check("crm.merge", &[], merge());
    check("github.repo.write", &["repo"], Ok(()));
    check("github.repo.write", &["repo:read"], repo());
    check("github.repo.write", &["REPO"], repo());
    check("open", &[], Ok(()));
}

#[test]
fn broad_scopes_cover_narrow_ones_over_any_number_of_steps() {
    for broad in ["repo:read", "repo", "admin", "loop"] {
        check("github.repo.read", &[broad], Ok(()));
    }
    check("github.repo.write", &["admin"], Ok(()));
}

#[test]
fn a_tool_without_a_row_is_refused_unless_the_dangerous_setting_says_otherwise() {
    check("github.repo.delete", &["repo", "admin"], Err(Refused::Unmapped));
    check("GITHUB.repo.read", &["repo:read"], Err(Refused::Unmapped));
    assert!(table(true).grant("github.repo.delete", |_| false).is_ok());
}

#[test]
fn words_that_are_no_scope_or_name_are_refused() {
    let none = BTreeMap::new();
    for scope in ["", "a b", "a\"", "a\\", "é"] {
        let rows = BTreeMap::from([(
            "t".to_owned(),
            ScopeRow {
                scopes: vec![scope.to_owned()],
                class: None,
            },
        )]);
        assert!(
            matches!(ToolTable::new(rows, &none, false), Err(ScopeTableError::Scope { .. })),
            "{scope:?}"
        );
    }
    for tool in [String::new(), "a\n".to_owned(), "x".repeat(129)] {
        let rows = BTreeMap::from([(tool.clone(), ScopeRow::default())]);
        assert!(
            matches!(ToolTable::new(rows, &none, false), Err(ScopeTableError::Tool { .. })),
            "{tool:?}"
        );
    }
}

#[test]
fn policies_see_the_same_rows() {
    let json: serde_json::Value = serde_json::from_str(&table(false).to_json()).unwrap();
    assert_eq!(
        json["crm.merge"]["required_scopes"],
        serde_json::json!(["crm:read", "crm:write"])
    );
    assert_eq!(json["open"]["class"], serde_json::Value::Null);
}

#[test]
fn a_scope_is_of_one_family() {
    for (scope, family) in [
        ("crm:read", "crm"),
        ("crm.read", "crm"),
        ("crm/read:all", "crm"),
        ("crm", "crm"),
        (":read", ""),
        ("https://graph.example/Mail.Read", "https://graph.example"),
        ("api://crm/Read.All", "api://crm"),
        ("api://crm", "api://crm"),
    ] {
        assert_eq!(scope_family(scope), family, "{scope}");
    }
}

/// A row that needs `scope`.
fn row_of(scope: &str) -> ScopeRow {
    ScopeRow {
        scopes: vec![scope.to_owned()],
        class: None,
    }
}

#[test]
fn the_default_tables_refuse_everything() {
    let (prompts, resources) = (PromptTable::default(), ResourceTable::default());
    assert!(prompts.is_empty() && resources.is_empty());
    assert!(matches!(prompts.grant("greet", |_| true), Err(ScopeRefusal::Unmapped)));
    assert!(matches!(
        resources.grant("file:///a", |_| true),
        Err(ScopeRefusal::Unmapped)
    ));
    assert_eq!((prompts.to_json(), resources.to_json()), ("{}".into(), "{}".into()));
}

#[test]
fn a_prompt_is_granted_by_its_own_row() {
    let rows = || BTreeMap::from([("greet".to_owned(), row_of("prompts:read"))]);
    let table = PromptTable::new(rows(), &BTreeMap::new(), false).unwrap();
    assert!(table.grant("greet", |scope| scope == "prompts:read").is_ok());
    assert!(matches!(
        table.grant("greet", |_| false),
        Err(ScopeRefusal::Insufficient(_))
    ));
    for other in ["Greet", "greet ", "", "part"] {
        assert!(
            matches!(table.grant(other, |_| true), Err(ScopeRefusal::Unmapped)),
            "{other}"
        );
    }
    let danger = PromptTable::new(rows(), &BTreeMap::new(), true).unwrap();
    assert!(danger.grant("part", |_| false).is_ok());
    assert!(danger.grant("greet", |_| false).is_err());
}

fn resources(danger: bool) -> ResourceTable {
    let rows = [
        ("file:///docs/*", "docs"),
        ("file:///docs/private/*", "private"),
        ("file:///docs/private/open.md", "docs"),
        ("note:*", "notes"),
    ];
    let rows = rows.map(|(uri, scope)| (uri.to_owned(), row_of(scope)));
    ResourceTable::new(BTreeMap::from(rows), &BTreeMap::new(), danger).unwrap()
}

#[test]
fn the_exact_row_of_a_resource_holds_else_the_longest_prefix() {
    let table = resources(false);
    for (uri, row, scope) in [
        ("file:///docs/a.md", "file:///docs/*", "docs"),
        ("file:///docs/", "file:///docs/*", "docs"),
        ("file:///docs/private", "file:///docs/*", "docs"),
        ("file:///docs/private/a.md", "file:///docs/private/*", "private"),
        ("file:///docs/private/open.md", "file:///docs/private/open.md", "docs"),
        ("file:///docs/private/open.md2", "file:///docs/private/*", "private"),
        ("note:a", "note:*", "notes"),
    ] {
        assert_eq!(table.row(uri), Some(row), "{uri}");
        assert_eq!(table.required(uri).unwrap(), [Box::from(scope)], "{uri}");
        assert!(table.grant(uri, |held| held == scope).is_ok(), "{uri}");
        assert!(
            matches!(
                table.grant(uri, |held| held != scope),
                Err(ScopeRefusal::Insufficient(_))
            ),
            "{uri}"
        );
    }
    for uri in [
        "file:///docs",
        "file:///doc",
        "file:///",
        "file:///docs2/a",
        "notes:a",
        "",
    ] {
        assert!(
            matches!(table.grant(uri, |_| true), Err(ScopeRefusal::Unmapped)),
            "{uri}"
        );
        assert!(
            table.row(uri).is_none() && resources(true).grant(uri, |_| false).is_ok(),
            "{uri}"
        );
    }
    let json: serde_json::Value = serde_json::from_str(&table.to_json()).unwrap();
    assert_eq!(json["file:///docs/*"]["required_scopes"], serde_json::json!(["docs"]));
}

#[test]
fn rows_of_resources_are_uris_or_prefixes_in_normal_form() {
    let table = |uri: &str| {
        let rows = BTreeMap::from([(uri.to_owned(), ScopeRow::default())]);
        ResourceTable::new(rows, &BTreeMap::new(), false)
    };
    for uri in [
        "*",
        "file://*",
        "https://*",
        "https://a.example/*",
        "note:*",
        "file:///a",
        "urn:a:b*",
    ] {
        assert!(table(uri).is_ok(), "{uri}");
    }
    for uri in [
        "",
        "docs",
        "docs*",
        "file*",
        "File:///docs/*",
        "file:///docs/../*",
        "file:///do%63s/*",
        "file:///docs/%2*",
        "file:///docs/ *",
        // Another host may begin so too.
        "https://crm*",
        "https://crm.example*",
        "note://inbox*",
    ] {
        assert!(matches!(table(uri), Err(ScopeTableError::Resource { .. })), "{uri:?}");
    }
}
