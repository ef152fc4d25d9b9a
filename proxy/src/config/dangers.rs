//! Warnings of what a configuration gives up: settings named `danger_`, and places where a secret of many comes in.
//!
//! Owns what is warned of; refuses nothing. Never prints a value that may be a secret.

use std::time::Duration;

use schemars::schema_for;
use serde_json::Value;

use super::diagnose::Warning;
use super::lower::Lowering;
use super::raw::{At, Place, RawConfig, RawCredential, RawUpstream, Span};

/// The longest life of a token that needs no word.
const LIFETIME_MAX: Duration = Duration::from_secs(24 * 3_600);
/// Characters of a path segment from which on it may be a key.
const KEY_CHARS_MIN: usize = 20;

/// Warns of everything of the kind in the configuration, which was read from `source`.
pub(super) fn warn(lowering: &mut Lowering<'_>, raw: &RawConfig, source: &str) {
    warn_of_settings(lowering, source);
    let lifetimes = raw.issuers.iter().map(|issuer| &issuer.value.token_lifetime_max);
    let limit = raw.limits.iter().map(|limits| &limits.token_lifetime_max);
    for lifetime in limit.chain(lifetimes).flatten() {
        warn_of_lifetime(lowering, lifetime);
    }
    for server in &raw.servers {
        warn_of_upstream(
            lowering,
            &server.value.upstream,
            server.value.name.place,
            &server.value.name.value,
        );
    }
}

/// One warning for each setting that weakens safety, in the words that describe it.
fn warn_of_settings(lowering: &mut Lowering<'_>, source: &str) {
    let schema = serde_json::to_value(schema_for!(RawConfig)).unwrap_or_default();
    for (key, place) in settings(source) {
        let gives_up = description(&schema, key).unwrap_or_default();
        let message = format!("`{key}` is set: {}", lower_first(&gives_up));
        lowering.warn(
            Warning::DangerSet,
            place,
            message,
            "leave it out where it is not needed",
        );
    }
}

/// The keys named `danger_` that are written and not `false`, with their places. Reads lines, not YAML: the worst that can
/// come of it is a warning too many.
fn settings(source: &str) -> impl Iterator<Item = (&str, Place)> {
    let lines = source.lines().zip(1_u64..);
    lines.flat_map(|(line, number)| {
        let written = line.split(" #").next().unwrap_or_default();
        let written = if written.trim_start().starts_with('#') {
            ""
        } else {
            written
        };
        written.match_indices("danger_").filter_map(move |(at, _)| {
            let (before, rest) = written.split_at_checked(at)?;
            let (key, value) = rest.split_once(':')?;
            let begins = before
                .chars()
                .next_back()
                .is_none_or(|last| matches!(last, ' ' | '{' | ',' | '"' | '\''));
            let key = key.trim_end_matches([' ', '"', '\'']);
            let named = key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
            let unset = value.trim_start().starts_with("false");
            let column = u64::try_from(before.chars().count()).unwrap_or(0).saturating_add(1);
            let place = Place { line: number, column };
            (begins && named && !unset).then_some((key, place))
        })
    })
}

/// What the schema says of the property `key`, in one line.
fn description(schema: &Value, key: &str) -> Option<String> {
    let found = match schema {
        Value::Object(members) => members
            .get(key)
            .and_then(|property| property.get("description"))
            .and_then(Value::as_str)
            .map(|text| text.split_whitespace().collect::<Vec<_>>().join(" ")),
        _ => None,
    };
    found.or_else(|| match schema {
        Value::Object(members) => members.values().find_map(|member| description(member, key)),
        Value::Array(items) => items.iter().find_map(|item| description(item, key)),
        _ => None,
    })
}

/// A sentence as it goes on behind a colon, without its full stop.
fn lower_first(text: &str) -> String {
    let mut chars = text.trim_end_matches('.').chars();
    let first = chars.next().map(|first| first.to_ascii_lowercase());
    first.into_iter().chain(chars).collect()
}

fn warn_of_lifetime(lowering: &mut Lowering<'_>, lifetime: &At<Span>) {
    if LIFETIME_MAX < lifetime.value.0 {
        let message = "tokens may be valid for more than a day: so long a copied one works";
        let help = "let the issuer make short tokens and clients refresh them";
        lowering.warn(Warning::SharedSecret, lifetime.place, message, help);
    }
}

fn warn_of_upstream(lowering: &mut Lowering<'_>, upstream: &RawUpstream, place: Place, server: &str) {
    let holds_key = |url: &At<String>| {
        let path = url.value.split("://").nth(1).unwrap_or_default();
        path.split('/').skip(1).any(looks_like_key)
    };
    if upstream.written().any(holds_key) {
        // Its own line would be shown.
        let message = format!("the path of the upstream of server `{server}` seems to hold a key");
        let help = "put the key into `credential`, from a file: this file and its diagnostics show the URL";
        lowering.warn(Warning::SharedSecret, place, message, help);
    }
    let credentials = upstream.credential.iter().chain(&upstream.credentials);
    let is_static = |raw: &RawCredential| raw.value_file.is_some() || raw.value_env.is_some();
    for credential in credentials.filter(|raw| is_static(&raw.value) && raw.value.label.is_none()) {
        let message = format!("the static credential of the upstream of server `{server}` has no label");
        let help = "write `label: NAME`, by which the records tell which secret was used";
        lowering.warn(Warning::SharedSecret, credential.place, message, help);
    }
}

/// Whether a segment is as long and as mixed as keys are, and names are not: it has digits, and on average a letter of
/// another case, or a digit beside a letter, at each fourth place.
fn looks_like_key(segment: &str) -> bool {
    #[derive(Eq, PartialEq)]
    enum Class {
        Digit,
        Lower,
        Upper,
    }
    let classes: Vec<Class> = segment
        .chars()
        .filter_map(|character| match character {
            '0'..='9' => Some(Class::Digit),
            'a'..='z' => Some(Class::Lower),
            'A'..='Z' => Some(Class::Upper),
            _ => None,
        })
        .collect();
    let changes = classes
        .windows(2)
        .filter(|pair| matches!(pair, [left, right] if left != right))
        .count();
    KEY_CHARS_MIN <= classes.len() && classes.contains(&Class::Digit) && classes.len() <= changes.saturating_mul(4)
}

#[cfg(test)]
mod tests {
    use schemars::schema_for;

    use super::{RawConfig, description, looks_like_key, settings};

    #[test]
    fn keys_in_a_path_are_told_from_names() {
        for key in [
            "9f86d081884c7d659a2feaa0c55ad015",
            "sk_live_51HqLyjWDarjtT1zdp7dc",
            "3b241101-e2bb-4255-8caf-4136c566a962",
            "QUtJQUlPU0ZPRE5ON0VYQU1QTEU5",
        ] {
            assert!(looks_like_key(key), "{key}");
        }
        for name in [
            "mcp",
            "v2",
            "customer-relationship-management",
            "2026-07-28",
            "2026072820260728202607282026",
            "api-version-2024-11-05-preview",
            "listCustomerRecordsForAccount",
            "",
        ] {
            assert!(!looks_like_key(name), "{name}");
        }
    }

    #[test]
    fn dangerous_settings_are_found_where_they_are_written() {
        let source = "a: 1 # danger_one: true\n# danger_two: true\n  danger_three: true\nx: {danger_four: true, danger_five: false}\n\"danger_six\": [a]\nnot_danger_seven: 1\nb: danger_eight\n";
        let found: Vec<(&str, u64, u64)> = settings(source)
            .map(|(key, place)| (key, place.line, place.column))
            .collect();
        assert_eq!(
            found,
            [("danger_three", 3, 3), ("danger_four", 4, 5), ("danger_six", 5, 2)]
        );
    }

    #[test]
    fn the_schema_says_what_each_dangerous_setting_gives_up() {
        let schema = serde_json::to_value(schema_for!(RawConfig)).unwrap();
        let text = schema.to_string();
        let keys: std::collections::BTreeSet<&str> = text
            .match_indices("\"danger_")
            .filter_map(|(at, _)| text.get(at + 1..)?.split('"').next())
            .collect();
        assert!(6 < keys.len(), "{keys:?}");
        for key in keys {
            let said = description(&schema, key).unwrap_or_default();
            assert!(20 < said.len(), "{key} says `{said}`");
        }
    }
}
