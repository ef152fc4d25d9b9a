use super::*;

fn table(danger: bool) -> ToolTable {
    let row = |scopes: &[&str]| ToolRow {
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
            ToolRow {
                scopes: vec![scope.to_owned()],
                class: None,
            },
        )]);
        assert!(
            matches!(ToolTable::new(rows, &none, false), Err(ToolTableError::Scope { .. })),
            "{scope:?}"
        );
    }
    for tool in [String::new(), "a\n".to_owned(), "x".repeat(129)] {
        let rows = BTreeMap::from([(tool.clone(), ToolRow::default())]);
        assert!(
            matches!(ToolTable::new(rows, &none, false), Err(ToolTableError::Tool { .. })),
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
    assert_eq!(
        table(false).scopes(),
        BTreeSet::from(["crm:read", "crm:write", "repo", "repo:read"])
    );
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
