//! E5: a review that fails when the head of a stream has left already.

use portcullis_fixtures::persona::ALICE;

use super::upstream::Upstream;
use super::{Client, PROGRESS, RESULT, call, step, trail};
use crate::gate::{Gate, HOST, PATH};

const ALLOW: &str = "decision := {\"allow\": true, \"rule\": \"all\", \"reason\": \"any\"}\n";
/// Passes progress; of an answer it says what follows.
const PASSES_PROGRESS: &str = "decision := {\"allow\": true, \"rule\": \"progress\", \"reason\": \"any\"} if input.response.kind == \"notification\"";

#[test]
fn e5_a_review_that_fails_after_the_head_withholds_the_rest() {
    let upstream = Upstream::start(|_, answer| {
        answer.open();
        answer.event(PROGRESS);
        answer.event(RESULT);
        answer.event(PROGRESS);
        answer.end();
    });
    // A redaction needs a text that can be read, and this one is none: what cannot be searched does not leave.
    let redacts = r#"{"allow": true, "rule": "r", "reason": "r", "obligations": {"redact": [{"at": "/secret", "action": "mask"}]}}"#;
    let numbers: Vec<String> = (0..60).map(|number| number.to_string()).collect();
    let numbers = numbers.join(", ");
    let cases = [
        ("undefined", String::new(), "policy_failed", 503),
        ("no object", "else := true if { true }".to_owned(), "policy_failed", 503),
        (
            "over its budget of instructions",
            format!(
                "else := {{\"allow\": true, \"rule\": \"r\", \"reason\": \"r\"}} if {{\n\
                 \tl := [{numbers}]\n\tcount([1 | some a in l; some b in l; some c in l; a + b == c]) > 0\n}}"
            ),
            "policy_failed",
            503,
        ),
        (
            "a redaction that cannot be made",
            format!("else := {redacts} if {{ true }}"),
            "answer_withheld",
            403,
        ),
        (
            "a denial",
            "else := {\"allow\": false, \"rule\": \"r\", \"reason\": \"r\"} if { true }".to_owned(),
            "answer_withheld",
            403,
        ),
    ];
    for (name, otherwise, reason, status) in cases {
        let folder = tempfile::tempdir().unwrap();
        let request = format!("package portcullis.request\n\n{ALLOW}");
        let response = format!("package portcullis.response\n\n{PASSES_PROGRESS} {otherwise}\n");
        std::fs::write(folder.path().join("request-open.rego"), request).unwrap();
        std::fs::write(folder.path().join("response-open.rego"), response).unwrap();
        let url = upstream.url();
        let gate = Gate::start_changed_in(folder, move |_, text| {
            let text = text.replace(
                "[request.rego, response.rego]",
                "[request-open.rego, response-open.rego]",
            );
            let line = text.lines().find(|line| line.trim().starts_with("url:")).unwrap();
            text.replacen(line, &format!("      url: {url}"), 1)
        });
        let mut client = Client::open(&gate, &call().bearer(&gate.token(&ALICE)).to_http(HOST, PATH));
        assert_eq!(client.message()["method"], "notifications/progress", "{name}");
        let told = client.message();
        assert_eq!(
            (&told["id"], &told["error"]["data"]["status"]),
            (&1.into(), &status.into()),
            "{name}: {told}"
        );
        assert!(!told.to_string().contains("done"), "{name}: {told}");
        assert_eq!(client.events(), None, "{name}: something follows");
        let records = trail(&gate, "tools/call");
        assert!(
            records.contains(&step("part", None, Some("withheld"))),
            "{name}: {records:?}"
        );
        assert_eq!(records.last().unwrap().0, "close", "{name}: {records:?}");
        let reasons = gate.tail();
        assert!(
            reasons.iter().any(|record| record["reason"] == reason),
            "{name}: {reasons:?}"
        );
    }
}
