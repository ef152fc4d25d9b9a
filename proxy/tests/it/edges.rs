//! Each limit of a request, at the limit and one beyond it.

use portcullis_fixtures::calls::{Call, Era};
use portcullis_fixtures::persona::ALICE;

use crate::attacks::{RATE, TOOL, echo};
use crate::frames::{DATA, END_STREAM, HEADERS, Wire};
use crate::gate::{Gate, HOST, PATH};
use crate::tls::Authority;

/// The status of these bytes on a connection of their own.
fn status(gate: &Gate, bytes: &[u8]) -> u16 {
    gate.connect().exchange(bytes).unwrap().status
}

/// A call whose head has exactly `bytes` bytes, over HTTP/1.1.
fn with_head(call: &Call, bytes: usize) -> Vec<u8> {
    let make = |padding: usize| {
        call.clone()
            .header("x-padding", &"a".repeat(padding))
            .to_http(HOST, PATH)
    };
    let spare = bytes + call.body.len() - make(0).len();
    make(spare)
}

#[test]
fn heads_at_their_limits() {
    for (limits, bytes_max) in [("", 32 * 1024), ("  header_bytes_max: 4000", 4_000)] {
        let gate = Gate::start_with("127.0.0.1:0", RATE, limits);
        let call = echo().bearer(&gate.token(&ALICE));
        assert_eq!(status(&gate, &with_head(&call, bytes_max)), 200);
        assert_eq!(status(&gate, &with_head(&call, bytes_max + 1)), 431);
        assert_eq!(gate.upstream.capture().count(), 1);
    }
    for (limits, fields_max) in [("", 100), ("  headers_max: 20", 20)] {
        let gate = Gate::start_with("127.0.0.1:0", RATE, limits);
        let call = echo().bearer(&gate.token(&ALICE));
        // `host` and `content-length` are added on the way.
        let own = call.headers.len() + 2;
        let with =
            |fields: usize| (own..fields).fold(call.clone(), |call, number| call.header(&format!("x-{number}"), "a"));
        assert_eq!(status(&gate, &with(fields_max).to_http(HOST, PATH)), 200);
        assert_eq!(status(&gate, &with(fields_max + 1).to_http(HOST, PATH)), 431);
        assert_eq!(gate.upstream.capture().count(), 1);
    }
}

#[test]
fn heads_of_http2_at_their_limits() {
    let authority = Authority::new();
    let listener = "127.0.0.1:0\n    tls: {certificate: gate.pem, key: gate.key}";
    let limits = "  header_bytes_max: 4000\n  headers_max: 20";
    let gate = Gate::start_in(authority.folder(), listener, RATE, limits);
    let call = echo().bearer(&gate.token(&ALICE));
    let answer = |call: &Call| {
        let mut wire = Wire::open(&gate, &authority, &[]);
        wire.begin(1, PATH, call);
        wire.send(&crate::frames::frame(DATA, END_STREAM, 1, call.body.as_bytes()));
        let head = wire.until(|frame| frame.stream == 1 && frame.kind == HEADERS);
        head.and_then(|frame| frame.status())
    };
    // The size of a header list is that of its names and values and 32 bytes for each (RFC 9113 section 6.5.2); the
    // pseudo-fields are part of it.
    let size = |call: &Call| {
        let own = call.headers.iter().map(|(name, value)| name.len() + value.len() + 32);
        let pseudo = [
            (":scheme", "https"),
            (":method", "POST"),
            (":path", PATH),
            (":authority", HOST),
        ];
        own.sum::<usize>()
            + pseudo
                .iter()
                .map(|(name, value)| name.len() + value.len() + 32)
                .sum::<usize>()
    };
    let padded = |bytes: usize| {
        let empty = call.clone().header("x-padding", "");
        call.clone().header("x-padding", &"a".repeat(bytes - size(&empty)))
    };
    assert_eq!(answer(&padded(4_000)), Some(200));
    assert_ne!(answer(&padded(4_001)), Some(200));
    let with = |fields: usize| {
        (call.headers.len()..fields).fold(call.clone(), |call, number| call.header(&format!("x-{number}"), "a"))
    };
    assert_eq!(answer(&with(20)), Some(200));
    assert_ne!(answer(&with(21)), Some(200));
    assert_eq!(gate.upstream.capture().count(), 2);
}

#[test]
fn bodies_at_their_limits() {
    // The longest name that the upstream lists has 27 bytes: a list with a longer one than the limit is none.
    let gate = Gate::start_with(
        "127.0.0.1:0",
        RATE,
        "  json_depth_max: 10\n  json_members_max: 100\n  tool_name_bytes_max: 27",
    );
    let token = gate.token(&ALICE);
    let of = |arguments: &str| {
        Call::tools_call(Era::Modern, 1, TOOL, arguments)
            .bearer(&token)
            .to_http(HOST, PATH)
    };
    // The document, its `params` and its `arguments` are three levels.
    let deep = |levels: usize| {
        of(&format!(
            "{{\"padding\":{}{}}}",
            "[".repeat(levels - 3),
            "]".repeat(levels - 3)
        ))
    };
    assert_eq!(status(&gate, &deep(10)), 200);
    assert_eq!(status(&gate, &deep(11)), 400);
    let wide = |elements: usize| of(&format!("{{\"padding\":[{}]}}", vec!["1"; elements].join(",")));
    // However the members of the rest are counted, there is one number at which it turns.
    let most = (1..=100)
        .rev()
        .find(|elements| status(&gate, &wide(*elements)) == 200)
        .unwrap();
    assert!(60 < most, "{most}");
    assert_eq!(status(&gate, &wide(most + 1)), 400);
    // A name that is too long is refused before anybody asks whether there is such a tool.
    let named = |bytes: usize| {
        Call::tools_call(Era::Modern, 1, &"t".repeat(bytes), "{}")
            .bearer(&token)
            .to_http(HOST, PATH)
    };
    assert_eq!(status(&gate, &named(27)), 403);
    assert_eq!(status(&gate, &named(28)), 400);
}

#[test]
fn tokens_at_their_limit() {
    let length = |gate: &Gate, padding: usize| {
        let builder = portcullis_fixtures::token::TokenBuilder::for_persona(
            &ALICE,
            gate.issuer.url(),
            crate::gate::RESOURCE,
            portcullis_fixtures::issuer::now_s(),
        );
        gate.issuer.sign(&builder.claim("x", "x".repeat(padding)))
    };
    let gate = Gate::start_with("127.0.0.1:0", RATE, "  header_bytes_max: 65536");
    // Base64 has steps: one padding gives the limit or the byte behind it.
    let limit = 16 * 1024;
    let fit = (11_000..12_500)
        .map(|padding| length(&gate, padding))
        .take_while(|token| token.len() <= limit);
    let (fit, beyond) = (fit.last().unwrap(), 1);
    assert!(limit - fit.len() < 4, "{}", fit.len());
    let call = |token: &str| echo().bearer(token).to_http(HOST, PATH);
    assert_eq!(status(&gate, &call(&fit)), 200);
    let padded = format!("{fit}{}", "a".repeat(limit - fit.len() + beyond));
    let answer = gate.connect().exchange(&call(&padded)).unwrap();
    assert_eq!(answer.status, 401);
    assert!(gate.log().contains("token_too_large"));
    // Of the limit's own length it is looked at, and is no token.
    let exact = format!("{fit}{}", "a".repeat(limit - fit.len()));
    if exact.len() != fit.len() {
        let before = gate.log().matches("token_too_large").count();
        assert_eq!(status(&gate, &call(&exact)), 401);
        assert_eq!(gate.log().matches("token_too_large").count(), before);
    }
}
