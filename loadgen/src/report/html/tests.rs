//! Pages that load nothing, run nothing and hold what they should.

use std::collections::BTreeSet;

use base64::Engine as _;

use super::{compare, escape, run};
use crate::report::{CompareReport, InvalidReason, RunReport, SearchStep, ThresholdResult, samples};

/// The tags of a page in order: name, whether it closes, and its attributes. Contents of styles and scripts are left out.
fn tags(page: &str) -> Vec<(String, bool, String)> {
    let mut tags = Vec::new();
    let mut rest = page;
    while let Some((_, tail)) = rest.split_once('<') {
        let (tag, tail) = tail.split_once('>').expect("a whole tag");
        rest = tail;
        let (closes, tag) = tag.strip_prefix('/').map_or((false, tag), |tag| (true, tag));
        let (name, attributes) = tag.split_once(' ').unwrap_or((tag, ""));
        if !closes && (name == "script" || name == "style") {
            rest = rest
                .find(&format!("</{name}>"))
                .map(|end| rest.split_at(end).1)
                .expect("an end");
        }
        tags.push((String::from(name), closes, String::from(attributes)));
    }
    tags
}

fn attributes<'t>(tags: &'t [(String, bool, String)], name: &'t str) -> impl Iterator<Item = String> {
    tags.iter().flat_map(move |(_, _, attributes)| {
        // Attributes are written with one blank before each and double quotes.
        let own = format!(" {name}=\"");
        let attributes = format!(" {attributes}");
        let values = attributes.split(own.as_str()).skip(1);
        values
            .map(|rest| String::from(rest.split('"').next().expect("a value")))
            .collect::<Vec<_>>()
    })
}

/// Faults of form; empty for a sound page.
fn faults(page: &str) -> Vec<String> {
    let tags = tags(page);
    let mut found = Vec::new();
    let mut open = Vec::new();
    for (name, closes, attributes) in &tags {
        let void = ["!DOCTYPE", "meta", "link", "br"].contains(&name.as_str())
            || attributes.ends_with('/')
            || name.ends_with('/');
        match (closes, void) {
            (false, false) => open.push(name.clone()),
            (false, true) => {}
            (true, _) => {
                if open.pop().as_ref() != Some(name) {
                    found.push(format!("</{name}> closes another tag"));
                }
            }
        }
        if ["link", "img", "iframe", "object", "embed", "base", "form"].contains(&name.as_str()) {
            found.push(format!("a tag <{name}>"));
        }
    }
    found.extend(open.iter().map(|name| format!("<{name}> stays open")));
    let ids: Vec<String> = attributes(&tags, "id").collect();
    let unique: BTreeSet<&String> = ids.iter().collect();
    if unique.len() != ids.len() {
        found.push(String::from("ids are not unique"));
    }
    let loads = ["src", "href", "srcset", "xlink:href", "action", "background", "poster"];
    for value in loads.into_iter().flat_map(|name| attributes(&tags, name)) {
        if !value.starts_with("data:application/json;base64,") {
            found.push(format!("refers to {value}"));
        }
    }
    let style = page
        .split_once("<style>")
        .and_then(|(_, rest)| rest.split_once("</style>"))
        .expect("a style")
        .0;
    let styles: Vec<String> = attributes(&tags, "style").chain([String::from(style)]).collect();
    found.extend(
        styles
            .iter()
            .filter(|style| style.contains("url(") || style.contains("@import"))
            .map(|_| String::from("a style loads")),
    );
    let scripts = tags.iter().filter(|(name, closes, _)| name == "script" && !closes);
    found.extend(
        scripts
            .filter(|tag| tag.2 != "type=\"application/json\" id=\"report\"")
            .map(|_| String::from("a script runs")),
    );
    found.extend(
        tags.iter()
            .filter(|tag| {
                tag.2
                    .split('"')
                    .step_by(2)
                    .any(|names| names.trim_start().starts_with("on"))
            })
            .map(|tag| format!("<{}> may run", tag.0)),
    );
    found
}

/// The JSON within a page, as it was before `<` was written otherwise.
fn embedded(page: &str) -> String {
    let (_, rest) = page
        .split_once("<script type=\"application/json\" id=\"report\">")
        .expect("the report");
    let (json, _) = rest.split_once("</script>").expect("its end");
    let _: serde_json::Value = serde_json::from_str(json).expect("JSON");
    assert!(!json.contains('<'));
    String::from(json.replace("\\u003c", "<").trim())
}

/// The JSON behind the link.
fn linked(page: &str) -> String {
    let (_, rest) = page.split_once("href=\"data:application/json;base64,").expect("a link");
    let (data, _) = rest.split_once('"').expect("its end");
    let json = base64::engine::general_purpose::STANDARD.decode(data).expect("base64");
    String::from_utf8(json).expect("text")
}

fn full() -> RunReport {
    let mut report = samples::run();
    report.thresholds = vec![ThresholdResult {
        expression: String::from("p99>2ms"),
        measured: None,
        failed: true,
    }];
    report.steps = vec![
        SearchStep::default(),
        SearchStep {
            rate: 4_000.0,
            why: Some(String::from(
                "the generator was late for 3.2 % of the calls, so this step says nothing about the target",
            )),
            ..SearchStep::default()
        },
    ];
    report
}

#[test]
fn pages_are_sound_and_hold_their_report() {
    let (run_report, compare_report) = (full(), samples::compare());
    let (run, compare) = (run(&run_report), compare(&compare_report));
    assert_eq!(faults(&run), Vec::<String>::new());
    assert_eq!(faults(&compare), Vec::<String>::new());
    for page in [&run, &compare] {
        assert_eq!(embedded(page), linked(page));
        assert!(page.contains("default-src 'none'"));
        assert!(page.contains("<strong>VALID</strong>"));
        assert!(!page.contains("NaN") && !page.contains("inf%"));
    }
    assert_eq!(embedded(&run), serde_json::to_string_pretty(&run_report).expect("JSON"));
    assert_eq!(
        embedded(&compare),
        serde_json::to_string_pretty(&compare_report).expect("JSON")
    );
}

#[test]
fn what_a_browser_would_load_or_run_is_found() {
    let sound = run(&samples::run());
    let spoiled = [
        ("<main>", "<main><img src=\"http://example.com/x.png\">"),
        ("<main>", "<main><a href=\"https://example.com/\">x</a>"),
        ("<main>", "<main><script>run()</script>"),
        ("<main>", "<main><p id=\"report\">x</p>"),
        ("<main>", "<main><p onclick=\"x\" onload=\"x\">x</p>"),
        ("<main>", "<main><p style=\"background:url(x)\">x</p>"),
        ("</style>", "@import 'x';</style>"),
        ("</main>", ""),
    ];
    for (part, by) in spoiled {
        assert!(!faults(&sound.replacen(part, by, 1)).is_empty(), "{by}");
    }
}

#[test]
fn no_text_of_a_report_becomes_markup() {
    let evil = "</script><script>alert(1)</script><!--\" onload=\"x' & <b>";
    let mut report = full();
    report.target.name = String::from(evil);
    report.target.url = String::from(evil);
    report.load.plan = String::from(evil);
    report.load.model = String::from(evil);
    report.load.workload.calls[0].name = String::from(evil);
    report.environment.cpu = String::from(evil);
    report.environment.command = vec![String::from(evil)];
    report.validity.notes = vec![String::from(evil)];
    report.validity.reasons = vec![InvalidReason {
        code: String::from(evil),
        text: String::from(evil),
    }];
    report.thresholds[0].expression = String::from(evil);
    report.steps[0].why = Some(String::from(evil));
    let mut both = samples::compare();
    both.targets[2].name = String::from(evil);
    both.targets[2].what = String::from(evil);
    both.targets[2].stages[0].stage = String::from(evil);
    both.ratios[0].target = String::from(evil);
    both.notes = vec![String::from(evil)];
    for page in [run(&report), compare(&both)] {
        assert_eq!(faults(&page), Vec::<String>::new());
        assert_eq!(page.matches("<script").count(), 1);
        assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;"));
        assert_eq!(embedded(&page), linked(&page));
    }
    assert_eq!(
        escape("\u{202e}\u{1b}<\"'&>"),
        "\u{fffd}\u{fffd}&lt;&quot;&#39;&amp;&gt;"
    );
}

#[test]
fn an_invalid_run_says_so_by_word_and_sign() {
    let mut report = samples::run();
    report.validity.invalid = true;
    report.validity.reasons = vec![InvalidReason {
        code: String::from("late"),
        text: String::from("3.2 % were late"),
    }];
    let page = run(&report);
    assert!(page.contains("<strong>INVALID</strong>") && page.contains("late: 3.2 % were late"));
    assert!(!page.contains("<strong>VALID</strong>"));
}

#[test]
fn reports_of_nothing_make_sound_pages() {
    let empty = RunReport {
        measured: crate::report::Measured::default(),
        generator: crate::report::Generator::default(),
        ..samples::run()
    };
    for page in [run(&empty), compare(&CompareReport::default())] {
        assert_eq!(faults(&page), Vec::<String>::new());
        assert!(!page.contains("NaN") && !page.contains("inf"), "{page}");
    }
}
