use super::*;

#[test]
fn times_are_read_in_both_forms() {
    for (text, expected) in [
        ("0", Some(0)),
        ("1800000000", Some(1_800_000_000)),
        ("1970-01-01T00:00:00Z", Some(0)),
        ("2027-01-15T08:00:00Z", Some(1_800_000_000)),
        ("2027-01-15T08:00:00.999Z", Some(1_800_000_000)),
        ("2027-01-15T09:30:00+01:30", Some(1_800_000_000)),
        ("2027-01-15T07:00:00-01:00", Some(1_800_000_000)),
        ("2000-02-29T00:00:00Z", Some(951_782_400)),
        ("2024-02-29 12:00:00z", Some(1_709_208_000)),
        ("2100-03-01T00:00:00Z", Some(4_107_542_400)),
        ("2100-02-29T00:00:00Z", None),
        ("2023-02-29T00:00:00Z", None),
        ("2026-13-01T00:00:00Z", None),
        ("2026-00-01T00:00:00Z", None),
        ("2026-01-00T00:00:00Z", None),
        ("2026-01-01T24:00:00Z", None),
        ("2026-01-01T00:00:00", None),
        ("2026-01-01", None),
        ("-1", None),
        ("soon", None),
        ("", None),
        ("é", None),
    ] {
        assert_eq!(time(text).ok().map(UnixTime::secs), expected, "{text}");
    }
    assert_eq!(shown(UnixTime::from_secs(1_800_000_000)), "2027-01-15T08:00:00Z");
}

#[test]
fn foreign_text_is_shown_without_control_characters() {
    assert_eq!(quoted("plain"), "`plain`");
    assert_eq!(quoted("a\u{1b}[31mb\n"), "`a\\u{1b}[31mb\\n`");
    assert_eq!(quoted(&"x".repeat(300)), format!("`{}…`", "x".repeat(200)));
}
