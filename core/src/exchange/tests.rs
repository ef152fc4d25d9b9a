use serde_json::{Value, json};

use super::*;

const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);
const TOKEN: &str = "eyJ.client-token+/.abc=";

fn request() -> ExchangeRequest {
    ExchangeRequest {
        terms: ExchangeTerms {
            issuer: Arc::from("https://as.example"),
            source: Arc::from("as"),
            audience: Some(Arc::from("urn:crm")),
            resource: Some(Arc::from("https://crm.example/mcp")),
            scopes: None,
            actor_token: None,
        },
        scopes: Box::from([Box::from("crm:read"), Box::from("crm:list")]),
        limits: ExchangeLimits {
            deadline: Duration::from_secs(1),
            bytes_max: 1_024,
            token_bytes_max: 64,
            cached_max: Duration::from_secs(300),
        },
        token_digest: crypto::sha256(TOKEN.as_bytes()),
        token_expires: NOW.after(Duration::from_secs(200)),
        actor_claims: None,
        key: ExchangeKey([1; 32]),
    }
}

fn good() -> Value {
    json!({
        "access_token": "upstream-token",
        "issued_token_type": "urn:ietf:params:oauth:token-type:access_token",
        "token_type": "Bearer",
        "expires_in": 120,
        "scope": "crm:read",
    })
}

fn with(name: &str, value: Value) -> Value {
    let mut answer = good();
    answer[name] = value;
    answer
}

fn without(name: &str) -> Value {
    let mut answer = good();
    answer.as_object_mut().unwrap().remove(name);
    answer
}

fn answered(status: u16, body: &str) -> Result<ExchangedToken, ExchangeError> {
    let fetched = Fetched {
        status,
        body: body.as_bytes().to_vec(),
        cache_max_age_s: None,
    };
    request().accept(&Ok(fetched), NOW)
}

#[test]
fn the_question_names_the_upstream_and_the_tools_scopes_alone() {
    let form = request().form(TOKEN, None).unwrap();
    assert_eq!(
        *form,
        "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange\
         &subject_token=eyJ.client-token%2B%2F.abc%3D\
         &subject_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Aaccess_token\
         &requested_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Aaccess_token\
         &audience=urn%3Acrm&resource=https%3A%2F%2Fcrm.example%2Fmcp&scope=crm%3Aread%20crm%3Alist"
    );
    let form = request().form(TOKEN, Some("a.b.c")).unwrap();
    assert!(
        form.ends_with("&actor_token=a.b.c&actor_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Ajwt"),
        "{}",
        *form
    );
    for other in ["", "eyJ.client-token+/.abc", "another"] {
        assert_eq!(request().form(other, None), Err(ExchangeError::TokenForeign), "{other}");
    }
}

#[test]
fn only_a_bearer_access_token_that_was_asked_for_is_taken() {
    for accepted in [
        good(),
        with("token_type", json!("bearer")),
        with("scope", json!("crm:list crm:read")),
        with("scope", json!("")),
        without("scope"),
        without("expires_in"),
        with("refresh_token", json!("never used")),
    ] {
        let token = answered(200, &accepted.to_string()).unwrap();
        assert_eq!(token.as_str(), "upstream-token");
        assert_eq!(format!("{token:?}"), "ExchangedToken(..)");
    }
    for (refused, error) in [
        (without("issued_token_type"), ExchangeError::TokenType),
        (
            with("issued_token_type", json!("urn:ietf:params:oauth:token-type:id_token")),
            ExchangeError::TokenType,
        ),
        (without("token_type"), ExchangeError::TokenType),
        (with("token_type", json!("N_A")), ExchangeError::TokenType),
        (with("token_type", json!("DPoP")), ExchangeError::TokenType),
        (without("access_token"), ExchangeError::TokenMissing),
        (with("access_token", json!("")), ExchangeError::TokenMissing),
        (with("access_token", json!("a b")), ExchangeError::TokenMissing),
        (
            with("access_token", json!("a\r\nx-api-key: b")),
            ExchangeError::TokenMissing,
        ),
        (with("access_token", json!("a".repeat(65))), ExchangeError::TokenMissing),
        (with("access_token", json!(7)), ExchangeError::TokenMissing),
        (with("access_token", json!(TOKEN)), ExchangeError::Echoed),
        (with("scope", json!("crm:read crm:write")), ExchangeError::Wider),
        (with("scope", json!(["crm:read"])), ExchangeError::Wider),
        (with("expires_in", json!(0)), ExchangeError::Expired),
        (with("expires_in", json!(-1)), ExchangeError::Expired),
        (with("expires_in", json!("120")), ExchangeError::Expired),
        (with("expires_in", json!(null)), ExchangeError::Expired),
        (json!([good()]), ExchangeError::Malformed),
        (json!("upstream-token"), ExchangeError::Malformed),
    ] {
        assert_eq!(answered(200, &refused.to_string()).unwrap_err(), error, "{refused}");
    }
    let twice = good().to_string().replacen('{', "{\"scope\":\"crm:read\",", 1);
    assert_eq!(answered(200, &twice).unwrap_err(), ExchangeError::Malformed);
    assert_eq!(answered(200, "").unwrap_err(), ExchangeError::Malformed);
    assert_eq!(answered(201, &good().to_string()).unwrap_err(), ExchangeError::Refused);
    assert_eq!(
        answered(400, r#"{"error":"invalid_target"}"#).unwrap_err(),
        ExchangeError::Refused
    );
    let long = with("padding", json!("a".repeat(1_024))).to_string();
    assert_eq!(answered(200, &long).unwrap_err(), ExchangeError::TooLarge);
    for (failure, error) in [
        (FetchError::Connection, ExchangeError::Connection),
        (FetchError::TimedOut, ExchangeError::TimedOut),
        (FetchError::TooLarge, ExchangeError::TooLarge),
    ] {
        assert_eq!(request().accept(&Err(failure), NOW).unwrap_err(), error);
    }
}

/// How long a token with this `expires_in` serves, in seconds.
fn serves(expires_in: Value) -> Option<u64> {
    let token = answered(200, &with("expires_in", expires_in).to_string()).unwrap();
    token.until.map(|until| until.since(NOW).as_secs())
}

#[test]
fn a_token_serves_for_no_longer_than_it_and_the_clients_hold() {
    assert_eq!(serves(json!(120)), Some(90));
    assert_eq!(serves(json!(31)), Some(1));
    // It would expire on its way.
    assert_eq!(serves(json!(30)), None);
    assert_eq!(serves(json!(1)), None);
    // The client's expires before.
    assert_eq!(serves(json!(3_600)), Some(200));
    assert_eq!(serves(json!(9_007_199_254_740_991_u64)), Some(200));
    let mut short = request();
    short.limits.cached_max = Duration::from_secs(7);
    let fetched = Fetched {
        status: 200,
        body: good().to_string().into_bytes(),
        cache_max_age_s: None,
    };
    let token = short.accept(&Ok(fetched), NOW).unwrap();
    assert_eq!(token.until, Some(NOW.after(Duration::from_secs(7))));
    let once = answered(200, &without("expires_in").to_string()).unwrap();
    assert_eq!(once.until, None);
}

fn kept(value: &str, until: Option<u64>) -> Arc<ExchangedToken> {
    Arc::new(ExchangedToken {
        value: value.to_owned().into(),
        until: until.map(|seconds| NOW.after(Duration::from_secs(seconds))),
    })
}

#[test]
fn kept_tokens_are_bounded_and_end() {
    let tokens = ExchangedTokens::new(2);
    let key = |number| ExchangeKey([number; 32]);
    let at = |seconds| NOW.after(Duration::from_secs(seconds));
    let found = |number, now| tokens.find(key(number), now).map(|token| token.as_str().to_owned());
    tokens.insert(key(1), &kept("one", Some(10)));
    assert_eq!(found(1, at(9)).as_deref(), Some("one"));
    assert_eq!(found(1, at(10)), None);
    assert_eq!(found(2, NOW), None);
    tokens.insert(key(1), &kept("newer", Some(20)));
    assert_eq!(found(1, at(10)).as_deref(), Some("newer"));
    tokens.insert(key(2), &kept("once", None));
    assert_eq!(found(2, NOW), None);
    for number in 2..=9 {
        tokens.insert(key(number), &kept("more", Some(20)));
    }
    let left = (1..=9).filter(|number| found(*number, NOW).is_some()).count();
    assert_eq!(left, 2, "older ones made room");
    assert_eq!(tokens.tokens.len(), 2);
    assert!(!format!("{tokens:?}").contains("more"));
}
