use super::Page;

const PAGE: &str = r#"# HELP process_cpu_seconds_total Total user and system CPU time spent in seconds.
# TYPE process_cpu_seconds_total counter
process_cpu_seconds_total 12.37
process_resident_memory_bytes 4.1943040e+07
http_requests_total{method="post",code="200"} 1027 1395066363000
odd{path="C:\\DIR\\",text="a \"b\" {c}, d=\"e\"\n"} 1
with_exemplar_bucket{le="0.1",} 8 # {trace_id="KOO5S4vxi0o"} 0.067
infinite_bucket{ le = "+Inf" } +Inf
broken{le="0.1 8
empty
words many
# EOF
"#;

#[test]
fn numbers_are_found_by_name_and_label() {
    let page = Page::parse(PAGE);
    assert_eq!(page.value("process_cpu_seconds_total"), Some(12.37));
    assert_eq!(page.value("process_resident_memory_bytes"), Some(41_943_040.0));
    assert_eq!(
        page.value("http_requests_total"),
        Some(1_027.0),
        "the time behind it is not the number"
    );
    assert_eq!(page.value("with_exemplar_bucket"), Some(8.0));
    let sample = page.of("http_requests_total").next().unwrap();
    assert_eq!(sample.label("code"), Some("200"));
    assert_eq!(sample.label("le"), None);
    let odd = page.of("odd").next().unwrap();
    assert_eq!(odd.label("path"), Some("C:\\DIR\\"));
    assert_eq!(odd.label("text"), Some("a \"b\" {c}, d=\"e\"\n"));
}

#[test]
fn what_is_no_number_is_skipped() {
    let page = Page::parse(PAGE);
    for name in ["process_cpu_seconds", "broken", "empty", "words", "#", ""] {
        assert_eq!(page.value(name), None, "{name}");
    }
    assert_eq!(Page::parse(""), Page::default());
}
