//! Decisions that are remembered: the same answers, each with its own record, and a count of what was asked.

use portcullis_fixtures::calls::{Call, Era};
use portcullis_fixtures::http1::{Connection, request};
use portcullis_fixtures::persona::ALICE;

use crate::gate::{Gate, is_allow};

const READ: &str = "salesforce.opportunity.read";

#[test]
fn the_same_call_is_decided_from_memory_and_counted() {
    let mut gate = Gate::start_with(
        "127.0.0.1:0\nadmin: {address: \"127.0.0.1:0\"}",
        "",
        "  body_deadline: 5s",
    );
    let admin = gate.admin();
    let questions = |memo: &str| -> u64 {
        let mut connection = Connection::open(admin).unwrap();
        let answer = connection
            .exchange(&request("GET", "localhost", "/metrics", [], b""))
            .unwrap();
        let text = answer.text();
        let name = format!("portcullis_policy_questions_total{{server=\"crm\",memo=\"{memo}\"}} ");
        let line = text.lines().find_map(|line| line.strip_prefix(name.as_str()));
        line.unwrap_or_else(|| panic!("{text}")).parse().unwrap()
    };
    let (first, second) = (gate.token(&ALICE), gate.token(&ALICE));
    assert_eq!((questions("hit"), questions("miss"), questions("bypass")), (0, 0, 0));
    for number in 0..40 {
        // Neither another token of the same caller nor another note of the call is anything to the policy.
        let token = if number % 2 == 0 { &first } else { &second };
        for (account, status) in [("acc-1001", 200), ("acc-2001", 403)] {
            let arguments = format!(r#"{{"note":"{number}","account_id":"{account}"}}"#);
            let call = Call::tools_call(Era::Modern, number, READ, &arguments);
            assert_eq!(gate.call(&call.bearer(token)).status, status, "{number} {account}");
        }
    }
    // Two questions on each call, and one on each answer, which is never remembered.
    let (hits, misses, bypassed) = (questions("hit"), questions("miss"), questions("bypass"));
    assert_eq!((hits + misses, bypassed), (160, 40));
    assert!(
        misses <= 3 * 16,
        "{misses} questions were asked anew: three for each worker would do"
    );
    let records = gate.tail();
    let decided = |rule: &str| records.iter().filter(|record| record["rule"] == rule).count();
    assert_eq!((decided("tool-granted"), decided("account-not-assigned")), (40, 40));
    assert_eq!(records.iter().filter(|record| is_allow(record)).count(), 40);
}
