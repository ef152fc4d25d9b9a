use super::{challenge_of, error_body, face, head, message, written};
use crate::egress::Readers;
use http::header::{ALLOW, RETRY_AFTER, WWW_AUTHENTICATE};
use portcullis_core::denial::{
    AuthenticationDemand, Challenge, ChallengeError, Denial, DenyReason, DenyStyle, DpopChallenge, DpopError, Noun,
};
use serde_json::{Value, json};

fn challenge(error: Option<ChallengeError>, scope: Option<&str>) -> Challenge {
    Challenge {
        error,
        scope: scope.map(str::to_owned),
        resource_metadata: "https://gate.example/.well-known/oauth-protected-resource/mcp".to_owned(),
        authentication: None,
        dpop: None,
    }
}

#[test]
fn every_reason_has_a_status_of_refusal_and_a_code_outside_the_reserved_range() {
    for reason in DenyReason::ALL {
        for modern in [false, true] {
            let face = face::of(reason, modern);
            assert!((400..600).contains(&face.status), "{reason:?}");
            let standard = [-32_700, -32_600, -32_601, -32_602, -32_020, -32_022];
            assert!(
                0 < face.code || standard.contains(&face.code),
                "{reason:?} {}",
                face.code
            );
            assert!(
                !face.text.contains('=') && !face.text.contains(['"', '\\']),
                "{reason:?}"
            );
            assert!(!face.kind.contains([' ', '/', ':']), "{reason:?}");
        }
    }
}

#[test]
fn statuses_and_codes_follow_the_standards() {
    let cases = [
        (DenyReason::CredentialMissing, 401, 40_101),
        (DenyReason::CredentialScheme, 401, 40_101),
        (DenyReason::CredentialRepeated, 400, 40_001),
        (DenyReason::QueryPresent, 400, 40_001),
        (DenyReason::TokenExpired, 401, 40_101),
        (DenyReason::ApiKeyPresent, 400, 40_001),
        (DenyReason::AuthenticationInsufficient, 401, 40_101),
        (DenyReason::ScopeInsufficient, 403, 40_302),
        (DenyReason::PolicyDenied, 403, 40_301),
        (DenyReason::PolicyFailed, 503, 50_301),
        (DenyReason::KeysUnavailable, 503, 50_301),
        (DenyReason::AuditUnavailable, 503, 50_302),
        (DenyReason::JsonAmbiguous, 400, -32_600),
        (DenyReason::JsonMalformed, 400, -32_700),
        (DenyReason::RpcInvalid, 400, -32_600),
        (DenyReason::ParamsInvalid, 400, -32_602),
        (DenyReason::VersionUnsupported, 400, -32_022),
        (DenyReason::UpstreamTimeout, 504, 50_401),
        (DenyReason::AnswerInvalid, 502, 50_202),
    ];
    for (reason, status, code) in cases {
        let face = face::of(reason, true);
        assert_eq!((face.status, face.code), (status, code), "{reason:?}");
    }
    let method = |modern| {
        (
            face::of(DenyReason::MethodUnsupported, modern).status,
            face::of(DenyReason::MethodUnsupported, modern).code,
        )
    };
    assert_eq!(method(true), (404, -32_601));
    assert_eq!(method(false), (400, -32_601));
    let mismatch = |modern| face::of(DenyReason::HeaderMismatch, modern).code;
    assert_eq!((mismatch(true), mismatch(false)), (-32_020, -32_600));
}

#[test]
fn a_hidden_tool_looks_like_a_denied_one() {
    for modern in [false, true] {
        let denied = face::of(DenyReason::PolicyDenied, modern);
        assert_eq!(face::of(DenyReason::ToolHidden, modern), denied);
        assert_eq!(face::of(DenyReason::ToolUnmapped, modern), denied);
        assert_ne!(face::of(DenyReason::ScopeInsufficient, modern), denied);
    }
}

#[test]
fn a_challenge_has_its_parameters_in_one_order() {
    let metadata = r#"resource_metadata="https://gate.example/.well-known/oauth-protected-resource/mcp""#;
    let cases = [
        (challenge(None, None), format!("Bearer {metadata}")),
        (
            challenge(None, Some("a b")),
            format!(r#"Bearer scope="a b", {metadata}"#),
        ),
        (
            challenge(Some(ChallengeError::InvalidToken), Some("a")),
            format!(r#"Bearer error="invalid_token", scope="a", {metadata}, error_description="why""#),
        ),
        (
            challenge(Some(ChallengeError::InsufficientScope), Some("a b")),
            format!(r#"Bearer error="insufficient_scope", scope="a b", {metadata}, error_description="why""#),
        ),
    ];
    for (challenge, expected) in cases {
        assert_eq!(challenge_of(&challenge, "why"), expected);
    }
    let mut login = challenge(Some(ChallengeError::InsufficientUserAuthentication), Some("a"));
    for (acr_values, max_age_s, expected) in [
        (
            &["loa3", "loa2"][..],
            Some(300),
            r#", acr_values="loa3 loa2", max_age="300""#,
        ),
        (&["loa3"], None, r#", acr_values="loa3""#),
        (&[], Some(0), r#", max_age="0""#),
    ] {
        login.authentication = Some(AuthenticationDemand {
            acr_values: acr_values.iter().map(|&acr| acr.into()).collect(),
            max_age_s,
        });
        let begins = format!(
            r#"Bearer error="insufficient_user_authentication", scope="a", {metadata}, error_description="why""#
        );
        assert_eq!(challenge_of(&login, "why"), format!("{begins}{expected}"));
    }
    let hostile = challenge(None, Some("a\"\r\n, error=\\x\u{e9}"));
    assert_eq!(
        challenge_of(&hostile, ""),
        format!(r#"Bearer scope="a, error=x", {metadata}"#)
    );
}

#[test]
fn a_challenge_for_a_proof_stands_behind_the_other_one() {
    let algorithms = r#"algs="EdDSA ES256 PS256 PS384 PS512 RS256 RS384 RS512""#;
    let why = face::of(DenyReason::DpopProofInvalid, false).text;
    for (error, nonce, expected) in [
        (None, None, format!("DPoP {algorithms}")),
        (None, Some("n-1"), format!("DPoP {algorithms}")),
        (
            Some(DpopError::InvalidProof),
            None,
            format!(r#"DPoP error="invalid_dpop_proof", {algorithms}, error_description="{why}""#),
        ),
        (
            Some(DpopError::UseNonce),
            Some("n-2"),
            format!(r#"DPoP error="use_dpop_nonce", {algorithms}, error_description="{why}""#),
        ),
        (
            Some(DpopError::InvalidToken),
            Some("n-3"),
            format!(r#"DPoP error="invalid_token", {algorithms}, error_description="{why}""#),
        ),
    ] {
        let mut challenge = challenge(None, Some("a"));
        let alone = challenge_of(&challenge, why);
        challenge.dpop = Some(DpopChallenge {
            error,
            nonce: nonce.map(str::to_owned),
        });
        let denial = Denial::new(DenyReason::DpopProofInvalid, "").with_challenge(challenge);
        let header = head(&denial, &face::of(denial.reason, false), 10, &Readers::default()).unwrap();
        let values: Vec<&str> = header
            .headers
            .get_all(WWW_AUTHENTICATE)
            .iter()
            .map(|value| value.to_str().unwrap())
            .collect();
        assert_eq!(values, [alone.as_str(), expected.as_str()]);
        let given = header.headers.get("dpop-nonce").map(|value| value.to_str().unwrap());
        assert_eq!(given, nonce);
    }
    let bearer = Denial::new(DenyReason::TokenExpired, "").with_challenge(challenge(None, None));
    let header = head(&bearer, &face::of(bearer.reason, false), 10, &Readers::default()).unwrap();
    assert_eq!(header.headers.get_all(WWW_AUTHENTICATE).iter().count(), 1);
    assert!(!header.headers.contains_key("dpop-nonce"));
}

#[test]
fn the_body_echoes_the_id_as_it_stood_and_describes_the_problem() {
    for (id, shown) in [(Some("7"), "7"), (Some(r#""\u0061""#), r#""\u0061""#), (None, "null")] {
        let mut denial = Denial::new(DenyReason::PolicyDenied, "only the operator reads this");
        denial.request_id = id.map(Into::into);
        let face = face::of(denial.reason, false);
        let body = error_body(&denial, &face);
        let text = std::str::from_utf8(&body).unwrap();
        assert!(
            text.starts_with(&format!(r#"{{"jsonrpc":"2.0","id":{shown},"error":"#)),
            "{text}"
        );
        assert!(!text.contains("operator"), "{text}");
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["error"]["code"], 40_301);
        assert_eq!(body["error"]["data"]["status"], 403);
        assert_eq!(body["error"]["data"]["type"], "urn:portcullis:policy");
        assert_eq!(body["error"]["data"]["detail"], body["error"]["message"]);
        assert!(body["error"]["data"].get("instance").is_none());
        assert!(body["error"]["data"].get("supported").is_none());
    }
    let mut unsupported = Denial::new(DenyReason::VersionUnsupported, "");
    let data = |denial: &Denial| {
        let body = error_body(denial, &face::of(denial.reason, denial.modern));
        serde_json::from_slice::<Value>(&body).unwrap()["error"]["data"].clone()
    };
    let legacy = data(&unsupported);
    assert_eq!(
        (&legacy["supported"][0], legacy["supported"].as_array().unwrap().len()),
        (&json!("2026-07-28"), 4)
    );
    assert!(legacy.get("requested").is_none());
    unsupported.modern = true;
    unsupported.requested_version = Some("2099-01-01".into());
    let modern = data(&unsupported);
    assert_eq!(
        (&modern["supported"], &modern["requested"]),
        (&json!(["2026-07-28"]), &json!("2099-01-01"))
    );
}

#[test]
fn headers_of_a_refusal_say_what_cures_it() {
    let header = |denial: &Denial| {
        let face = face::of(denial.reason, denial.modern);
        head(denial, &face, 10, &Readers::default()).unwrap()
    };
    let denied = header(&Denial::new(DenyReason::PolicyDenied, ""));
    for name in [WWW_AUTHENTICATE, ALLOW, RETRY_AFTER] {
        assert!(!denied.headers.contains_key(&name), "{name}");
    }
    assert_eq!(denied.headers["cache-control"], "no-store");
    let missing = Denial::new(DenyReason::CredentialMissing, "").with_challenge(challenge(None, Some("a")));
    assert!(
        header(&missing).headers[WWW_AUTHENTICATE]
            .to_str()
            .unwrap()
            .starts_with("Bearer scope=")
    );
    for reason in [DenyReason::HttpMethod, DenyReason::ResumptionRefused] {
        let mut denial = Denial::new(reason, "");
        assert_eq!(header(&denial).headers[ALLOW], "GET, POST, DELETE");
        denial.modern = true;
        assert_eq!(header(&denial).headers[ALLOW], "POST");
    }
    let waits = [
        (Denial::new(DenyReason::RateLimited, "").with_retry_after_s(2), "2"),
        (Denial::new(DenyReason::PolicyFailed, ""), "5"),
        (Denial::new(DenyReason::AuditUnavailable, ""), "5"),
    ];
    for (denial, seconds) in waits {
        assert_eq!(header(&denial).headers[RETRY_AFTER], seconds);
    }
}

/// The whole answer to a refusal as it is written: status, fields and body.
fn answer(denial: &Denial) -> (u16, Vec<(String, Vec<u8>)>, String) {
    let (face, body) = written(denial);
    let header = head(denial, &face, body.len(), &Readers::default()).unwrap();
    let fields = header.headers.iter();
    let fields = fields.map(|(name, value)| (name.to_string(), value.as_bytes().to_vec()));
    let body = String::from_utf8(body.to_vec()).unwrap();
    (header.status.as_u16(), fields.collect(), body)
}

fn styled(reason: DenyReason, style: DenyStyle, noun: Noun, modern: bool) -> Denial {
    let mut denial = Denial::new(reason, "only the operator reads this");
    (denial.style, denial.noun, denial.modern) = (style, noun, modern);
    denial.request_id = Some("7".into());
    denial
}

#[test]
fn a_refusal_of_the_policy_is_told_in_the_style_of_its_server() {
    let cases = [
        (
            DenyStyle::ToolError,
            Noun::Tool,
            (
                200,
                r#"{"jsonrpc":"2.0","id":7,"result":{"content":[{"type":"text","text":"the policy does not allow this call"}],"isError":true}}"#,
            ),
            (
                200,
                r#"{"jsonrpc":"2.0","id":7,"result":{"content":[{"type":"text","text":"the policy does not allow this call"}],"isError":true,"resultType":"complete"}}"#,
            ),
        ),
        (
            DenyStyle::Hidden,
            Noun::Tool,
            (
                200,
                r#"{"jsonrpc":"2.0","id":7,"error":{"code":-32602,"message":"Unknown tool"}}"#,
            ),
            (
                400,
                r#"{"jsonrpc":"2.0","id":7,"error":{"code":-32602,"message":"Unknown tool"}}"#,
            ),
        ),
        (
            DenyStyle::Hidden,
            Noun::Prompt,
            (
                200,
                r#"{"jsonrpc":"2.0","id":7,"error":{"code":-32602,"message":"Unknown prompt"}}"#,
            ),
            (
                400,
                r#"{"jsonrpc":"2.0","id":7,"error":{"code":-32602,"message":"Unknown prompt"}}"#,
            ),
        ),
        (
            DenyStyle::Hidden,
            Noun::Resource,
            (
                200,
                r#"{"jsonrpc":"2.0","id":7,"error":{"code":-32602,"message":"Unknown resource"}}"#,
            ),
            (
                400,
                r#"{"jsonrpc":"2.0","id":7,"error":{"code":-32602,"message":"Unknown resource"}}"#,
            ),
        ),
    ];
    for (style, noun, legacy, modern) in cases {
        for (is_modern, expected) in [(false, legacy), (true, modern)] {
            let (status, fields, body) = answer(&styled(DenyReason::PolicyDenied, style, noun, is_modern));
            assert_eq!((status, &*body), expected, "{style:?} {noun:?}");
            assert!(
                fields
                    .iter()
                    .all(|(name, _)| name != "www-authenticate" && name != "retry-after")
            );
            let _: Value = serde_json::from_str(&body).unwrap();
        }
    }
    let withheld = styled(DenyReason::AnswerWithheld, DenyStyle::ToolError, Noun::Tool, false);
    assert!(answer(&withheld).2.contains("the policy withholds the answer"));
    assert_eq!(message(&withheld), answer(&withheld).2);
}

/// Existence never leaks by a byte: what is hidden, has no row or is denied reads the same in each style.
#[test]
fn refusals_of_one_style_are_the_same_bytes() {
    for style in [DenyStyle::Http, DenyStyle::ToolError, DenyStyle::Hidden] {
        for modern in [false, true] {
            let answers = [
                DenyReason::PolicyDenied,
                DenyReason::SubjectUnlisted,
                DenyReason::ToolChanged,
                DenyReason::ToolHidden,
                DenyReason::ToolUnmapped,
            ]
            .map(|reason| answer(&styled(reason, style, Noun::Tool, modern)));
            assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "{answers:?}");
            let scopes = answer(&styled(DenyReason::ScopeInsufficient, style, Noun::Tool, modern));
            assert_eq!(scopes == answers[0], style == DenyStyle::Hidden, "{style:?}");
        }
    }
}
