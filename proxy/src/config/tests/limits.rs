//! Each bound with its key, its default and its row in `docs/limits.md`; bounds that may be zero, and those that may not.

use std::time::Duration;

use super::*;

#[test]
fn the_grace_after_expiry_may_be_none_and_not_long() {
    let with = |grace: &str| load_with("  body_deadline: 5s", &format!("  expiry_grace: {grace}"));
    for (written, grace) in [("0s", 0), ("30s", 30), ("1h", 3_600)] {
        let limits = with(written).unwrap().limits;
        assert_eq!(limits.expiry_grace, Duration::from_secs(grace), "{written}");
    }
    assert_eq!(
        load_text(RIGHT).unwrap().limits.expiry_grace,
        Duration::from_secs(60),
        "the default"
    );
    for written in ["61m", "1d", "-1s", "60", "soon"] {
        let told = with(written).map(|_| ()).unwrap_err();
        assert!(
            told.contains("expiry_grace") && told.contains("expected"),
            "{written}: {told}"
        );
    }
}

/// Every key with its default, as the design and `docs/limits.md` say it.
const DEFAULTS: [(&str, &str); 44] = [
    ("act_depth_max", "4"),
    ("answer_bytes_max", "8388608"),
    ("audit_deadline", "100ms"),
    ("audit_queue_records", "65536"),
    ("body_bytes_max", "1048576"),
    ("body_deadline", "30s"),
    ("dpop_age_max", "5m"),
    ("dpop_proofs_max", "1000000"),
    ("dpop_proofs_per_key_max", "20000"),
    ("exchange_bytes_max", "65536"),
    ("exchange_deadline", "2s"),
    ("exchanged_cached_max", "5m"),
    ("exchanged_tokens_max", "10000"),
    ("expiry_grace", "1m"),
    ("failed_tokens_burst", "100"),
    ("failed_tokens_per_second", "10"),
    ("fetch_deadline", "5s"),
    ("header_bytes_max", "32768"),
    ("header_deadline", "10s"),
    ("headers_max", "100"),
    ("introspection_bytes_max", "65536"),
    ("introspection_cached_max", "1m"),
    ("introspection_deadline", "1s"),
    ("introspection_refused_cached", "5s"),
    ("json_depth_max", "64"),
    ("json_members_max", "10000"),
    ("jwks_age_max", "1h"),
    ("jwks_bytes_max", "262144"),
    ("jwks_keys_max", "100"),
    ("jwks_refresh", "5m"),
    ("leeway", "1m"),
    ("policy_deadline", "5ms"),
    ("policy_instructions_max", "25000"),
    ("revocations_max", "100000"),
    ("stream_idle_deadline", "5m"),
    ("streams_max", "10000"),
    ("token_bytes_max", "16384"),
    ("token_lifetime_max", "24h"),
    ("token_sources_reported", "16"),
    ("tokens_cached_max", "100000"),
    ("tool_name_bytes_max", "128"),
    ("unknown_kid_interval", "30s"),
    ("unknown_kid_wait", "1s"),
    ("upstream_first_byte_deadline", "1m"),
];

/// The limits of a configuration with these lines in the place of its own.
fn limits_of(lines: &str) -> Limits {
    load_with("  body_deadline: 5s", lines)
        .unwrap_or_else(|told| panic!("{told}"))
        .limits
}

#[test]
fn each_bound_has_its_key_and_its_default() {
    let schema = serde_json::to_value(schemars::schema_for!(RawConfig)).unwrap();
    let known = schema["$defs"]["RawLimits"]["properties"].as_object().unwrap();
    let known: Vec<&str> = known.keys().map(String::as_str).collect();
    assert_eq!(known, DEFAULTS.map(|(key, _)| key));
    let lines = DEFAULTS.map(|(key, default)| format!("  {key}: {default}\n")).concat();
    assert_eq!(limits_of(&lines), Limits::default());
    for (key, default) in DEFAULTS {
        let told = known_default(&schema, key);
        assert!(told.ends_with(&format!("Default: {default}.")), "{key}: {told}");
        // Half of it is another value of the same bound, and of no other one.
        let digits = default.trim_end_matches(|c: char| !c.is_ascii_digit());
        let halved = match (default.strip_prefix(digits).unwrap(), digits.parse::<u32>().unwrap()) {
            ("h", number) => format!("{}m", number * 30),
            ("m", number) => format!("{}s", number * 30),
            ("s", number) => format!("{}ms", number * 500),
            ("ms", number) => format!("{}ms", number / 2),
            (_, number) => (number / 2).to_string(),
        };
        let changed = format!("{:#?}", limits_of(&format!("  {key}: {halved}")));
        let usual = format!("{:#?}", Limits::default());
        let differing: Vec<&str> = changed
            .lines()
            .zip(usual.lines())
            .filter(|(changed, usual)| changed != usual)
            .map(|(changed, _)| changed.trim().split(':').next().unwrap())
            .collect();
        assert_eq!(differing, [key], "{halved}");
    }
}

/// What editors are told about a bound.
fn known_default(schema: &serde_json::Value, key: &str) -> String {
    let property = &schema["$defs"]["RawLimits"]["properties"][key];
    property["description"].as_str().unwrap().replace('\n', " ")
}

#[test]
fn the_page_has_a_row_for_each_bound() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/limits.md");
    let page = fs::read_to_string(page).unwrap();
    let rows = page.lines().filter(|line| line.starts_with("| "));
    let mut told: Vec<(&str, &str)> = rows
        .filter_map(|row| {
            let cells: Vec<&str> = row.split('|').map(str::trim).collect();
            let key = cells[3].strip_prefix('`')?.strip_suffix('`')?;
            assert!(!cells[4].is_empty() && cells[5].starts_with('`'), "{row}");
            Some((key, cells[2]))
        })
        .collect();
    told.sort_unstable();
    assert_eq!(told, DEFAULTS);
}
