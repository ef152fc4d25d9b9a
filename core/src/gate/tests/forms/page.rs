//! The table of `docs/identity.md`, each of whose rows is made here.

use super::*;

const PAGE: &str = include_str!("../../../../../docs/identity.md");

/// The rows of the page's table of fields: case, subject, actor, on_behalf_of, client_id.
fn page_rows() -> Vec<Vec<String>> {
    let table = PAGE
        .split("| case | subject | actor | on_behalf_of | client_id |\n")
        .nth(1)
        .unwrap();
    table
        .lines()
        .skip(1)
        .take_while(|line| line.starts_with('|'))
        .map(|line| {
            line.trim_matches('|')
                .split(" | ")
                .map(|cell| cell.trim().to_owned())
                .collect()
        })
        .collect()
}

/// A party as the page writes it.
fn cell(party: &Value) -> String {
    let text = |name: &str| party[name].as_str().unwrap();
    match party {
        Value::Null => "null".to_owned(),
        _ if party["issuer"] == ISSUER => format!("`{}`, L, {}", text("id"), text("kind")),
        _ => format!("`{}`, `{}`, {}", text("id"), text("issuer"), text("kind")),
    }
}

/// What proves a caller without a token: its certificate, or the secret of a server on this machine.
fn without_token() -> [(&'static str, Request); 2] {
    let mut certified = Request::with_token(&read(), "x");
    certified.headers.remove("authorization");
    certified.certificate = Some(ClientCertificate {
        sha256: [1; 32],
        identity: Some(CertificateIdentity {
            uri: Arc::from(SPIFFE_ID),
            expires: UnixTime::from_secs(NOW_S + 60),
            is_listed: false,
        }),
        refused: None,
    });
    let mut local = Request::with_token(&read(), SECRET);
    local.client_ip = Ipv4Addr::LOCALHOST.into();
    [
        ("a certificate without a token (mTLS)", certified),
        ("a shared secret on loopback", local),
    ]
}

/// Every row of the page is what the gate records.
#[test]
fn the_page_tells_the_fields_of_every_case() {
    let [act, listed, human] = forms();
    let rows = page_rows();
    let by_token = [
        ("a person", &act, token()),
        (
            "an agent for a person, form `act`",
            &act,
            for_person(&act, "agent-1", "alice"),
        ),
        (
            "an agent for a person, form `listed_agents`",
            &listed,
            for_person(&listed, "agent-1", "alice"),
        ),
        (
            "an agent for a person, form `human_claim`",
            &human,
            for_person(&human, "agent-1", "alice"),
        ),
        (
            "an agent of another issuer (`act` with `iss`)",
            &act,
            token().claim("act", json!({"sub": "agent-1", "iss": AGENTS})),
        ),
        (
            "an agent's agent (`act` within `act`)",
            &act,
            token().client("agent-2").act("agent-1").act("agent-2"),
        ),
        (
            "client credentials, `sub` is the client",
            &listed,
            token().subject("batch").client("batch"),
        ),
        (
            "client credentials, `sub` is a service account",
            &act,
            token().subject("service-9").client("batch").claim("kind", "service"),
        ),
        (
            "an agent for a machine, form `act`",
            &act,
            token()
                .subject("batch")
                .client("agent-1")
                .claim("kind", "service")
                .act("agent-1"),
        ),
        (
            "an agent for nobody, form `human_claim`",
            &human,
            token().subject("agent-7").client("platform"),
        ),
    ];
    let others = without_token();
    let cases = by_token.iter().map(|(case, ..)| *case);
    let cases: Vec<&str> = cases.chain(others.iter().map(|(case, _)| *case)).collect();
    assert_eq!(rows.iter().map(|row| row[0].as_str()).collect::<Vec<_>>(), cases);
    let policy = policy(super::super::stage::ALLOW, &json!({}));
    let check = |case: &str, row: &[String], record: &Value| {
        let fields = ["subject", "actor", "on_behalf_of"].map(|name| cell(&record[name]));
        assert_eq!(row[1..4], fields, "{case}");
        assert_eq!(row[4], format!("`{}`", record["client_id"].as_str().unwrap()), "{case}");
    };
    let (by_tokens, by_others) = rows.split_at(by_token.len());
    for ((case, form, token), row) in by_token.iter().zip(by_tokens) {
        let stage = stage(parts(form, None), &policy);
        for proven in PROVEN {
            check(case, row, &call(&stage, proven, token, &read()).unwrap());
        }
    }
    let stage = stage(parts(&act, None), &policy);
    for ((case, request), row) in others.iter().zip(by_others) {
        let record = record(&stage, request, "").unwrap();
        check(case, row, &record);
        assert_eq!(
            (&record["decision"], &record["roles_from"]),
            (&json!("allow"), &json!("configuration")),
            "{case}"
        );
    }
}

/// The page's data is read as it stands there, and its marks are those of the profiles.
#[test]
fn the_page_shows_rows_that_are_found_and_marks_that_are_known() {
    let (block, _) = PAGE.split("```json\n").nth(1).unwrap().split_once("```").unwrap();
    let data: Value = serde_json::from_str(block).unwrap();
    let stage = stage(parts(&forms()[2], None), &policy(RULES, &data));
    let record = call(
        &stage,
        Proven::Signed,
        &for_person(&forms()[2], "agent-1", "alice"),
        &read(),
    )
    .unwrap();
    assert_eq!(record["reason"], "by an assistant", "{record}");
    for profile in crate::token::Profile::all() {
        let said: Vec<String> = profile
            .parts(Arc::from(ISSUER))
            .machine_marks
            .iter()
            .map(|mark| {
                let claim = &mark.claim;
                match &mark.test {
                    MarkTest::Is(word) => format!("`{claim}` that is `{word}`"),
                    MarkTest::IsClaim(other) => format!("`{claim}` that is the same as `{other}`"),
                    MarkTest::IsClientWith(suffix) => format!("`{claim}` that is the client with `{suffix}` behind it"),
                    MarkTest::IsClientAfter(prefix) => {
                        format!("`{claim}` that is `{prefix}` with the client behind it")
                    }
                    MarkTest::StartsWith(start) => format!("`{claim}` that starts with `{start}`"),
                }
            })
            .collect();
        let row = format!("| `{}` | {} |\n", profile.name(), said.join(", or "));
        assert_eq!(PAGE.contains(&row), !said.is_empty(), "{row}");
    }
}
