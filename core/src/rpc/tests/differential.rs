//! Bodies that real parsers read in different ways, as the gate reads them: each case as its corpus expects.

use serde_json::Value;

use crate::denial::DenyReason;
use crate::json::tests::corpus::{corpora, ran, unhex};

use super::reading;

/// What the corpus leaves to us, and what we do.
const OURS: [(&str, Option<DenyReason>); 1] = [
    // A member that no envelope has, whatever it folds to.
    ("fold-kelvin", Some(DenyReason::RpcInvalid)),
];

/// Method and name as serde_json reads them, which neither trims nor normalises.
fn plainly(body: &[u8]) -> (String, Option<String>) {
    let body: Value = serde_json::from_slice(body).unwrap();
    let name = body["params"]["name"].as_str().map(str::to_owned);
    (body["method"].as_str().unwrap().to_owned(), name)
}

#[test]
fn bodies_that_real_parsers_disagree_on() {
    let Some(file) = corpora("json/differential.jsonl") else {
        return;
    };
    #[expect(clippy::disallowed_methods, reason = "the corpora are files")]
    let lines = std::fs::read_to_string(file).unwrap();
    let mut seen = [0_u32; 2];
    for line in lines.lines().filter(|line| !line.is_empty()) {
        let case: Value = serde_json::from_str(line).unwrap();
        let (id, expect) = (case["id"].as_str().unwrap(), case["expect"].as_str().unwrap());
        let body = unhex(case["hex"].as_str().unwrap());
        let read = reading(&[], &body, |call| {
            call.map(|call| (call.method().as_str().to_owned(), call.tool().map(str::to_owned)))
                .map_err(|denial| denial.reason)
        });
        match expect {
            "reject" => assert!(read.is_err(), "{id}: {read:?}"),
            "accept-or-reject" => match OURS.iter().find(|(known, _)| *known == id) {
                Some((_, ours)) => assert_eq!(read.clone().err(), *ours, "{id}"),
                None => ran(
                    "differential.jsonl",
                    format_args!("no verdict is written for {id}: {read:?}"),
                ),
            },
            "accept" | "policy" | "as-method" | "no-normalise" | "no-trim" => {
                assert_eq!(read.clone(), Ok(plainly(&body)), "{id}");
            }
            other => panic!("{id}: {other} is no expectation that is known"),
        }
        seen[usize::from(read.is_err())] += 1;
    }
    let [accepted, refused] = seen;
    ran(
        "differential.jsonl as calls",
        format_args!("{} cases, {accepted} accepted, {refused} refused", accepted + refused),
    );
    assert!(0 < accepted + refused, "the file holds no case");
}
