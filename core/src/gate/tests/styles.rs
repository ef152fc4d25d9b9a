//! How refusals are told: one face for what may not be known, at one price, and the truth on record.

use std::collections::BTreeMap;
use std::sync::Arc;

use portcullis_fixtures::calls::{Call, Era};
use portcullis_fixtures::keys;
use portcullis_fixtures::persona::ALICE;

use super::stage::*;
use crate::config::{Server, ServerParts};
use crate::denial::{Denial, DenyReason, DenyStyle, Noun};
use crate::gate::Snapshot;
use crate::limit::Rate;
use crate::scope::{ScopeRow, ToolTable};

const DECIDE: &str = r#"
decision := {"allow": true, "rule": "open", "reason": "so it is", "obligations": {}} if {
	input.request.tool == "open"
} else := {"allow": false, "rule": "none", "reason": "nothing else", "obligations": {}}
"#;
const VISIBLE: &str = r#"visible if not input.request.tool in {"hidden", "hidden-scoped", "unknown"}"#;
/// More than an evaluation may take: no answer, whatever is asked.
const FAILING: &str =
    "many := [x | some x in split(\"0123456789012345678901234567890123456789012345678901234567890\", \"\")]
visible if count({[a, b, c] | some a in many; some b in many; some c in many}) > 0";

const WITHHOLD: &str = r#"decision := {"allow": false, "rule": "none", "reason": "nothing leaves", "obligations": {}}"#;

/// A stage whose server tells refusals in this style.
fn stage(style: DenyStyle, visible: &str) -> Stage {
    let stage = Stage::new();
    let policy = policy_of(&format!("{DECIDE}\n{visible}"), WITHHOLD);
    let rate = Rate {
        per_second: 1_000,
        burst: 1_000,
    };
    let row = |scope: &str| ScopeRow {
        scopes: vec![scope.to_owned()],
        class: None,
    };
    let rows = ["open", "denied", "hidden"].map(|tool| (tool.to_owned(), row("repo")));
    let scoped = ["scoped", "hidden-scoped"].map(|tool| (tool.to_owned(), row("admin")));
    let rows: BTreeMap<_, _> = rows.into_iter().chain(scoped).collect();
    let parts = ServerParts {
        tools: ToolTable::new(rows, &BTreeMap::new(), false).unwrap(),
        deny_style: style,
        ..server_parts("crm", &policy, rate, vec![issuer(ISSUER)])
    };
    let server = Arc::new(Server::new(parts).unwrap());
    let limits = stage.gate.snapshot().limits().clone();
    stage
        .gate
        .publish(Snapshot::new(vec![server], limits, [7; 32]).unwrap());
    stage
}

fn call(era: Era, tool: &str) -> Request {
    let token = token(&ALICE).scope("repo").sign(keys::es256());
    Request::with_token(&Call::tools_call(era, 7, tool, "{}"), &token)
}

/// The refusal of a call of `tool`, and the reason on record.
#[track_caller]
fn refused(stage: &Stage, era: Era, tool: &str) -> (Denial, String) {
    let denial = stage.record(&call(era, tool)).unwrap_err();
    let record = stage.last();
    (denial, record["reason"].as_str().unwrap().to_owned())
}

/// What a client can tell a refusal by. The reason and the operator's line are no part of it where the faces of both are
/// one, as they are in every style for the reasons of these tests.
fn told(denial: &Denial) -> impl Eq + std::fmt::Debug + use<> {
    let Denial {
        challenge,
        request_id,
        modern,
        style,
        noun,
        retry_after_s,
        stages_ns,
        ..
    } = denial.clone();
    (challenge, request_id, modern, style, noun, retry_after_s, stages_ns)
}

/// The clock of the stage goes on by a step whenever it is read, so equal times are equal numbers of questions.
#[test]
fn what_may_not_be_known_looks_and_costs_the_same_in_every_style() {
    for style in [DenyStyle::Http, DenyStyle::ToolError, DenyStyle::Hidden] {
        for era in [Era::Legacy, Era::Modern] {
            let stage = stage(style, VISIBLE);
            // The first question loads the policy.
            let _ = refused(&stage, era, "denied");
            let (hidden, on_record) = refused(&stage, era, "hidden");
            assert_eq!((hidden.reason, &*on_record), (DenyReason::ToolHidden, "tool_hidden"));
            assert_eq!((hidden.style, hidden.noun), (style, Noun::Tool));
            for (tool, reason) in [
                // What was asked about before, as every tool is by a list, is no quicker than what was not.
                ("hidden", DenyReason::ToolHidden),
                ("hidden-scoped", DenyReason::ToolHidden),
                ("hidden-scoped", DenyReason::ToolHidden),
                ("unknown", DenyReason::ToolUnmapped),
                ("unknown", DenyReason::ToolUnmapped),
                ("nor-this", DenyReason::ToolUnmapped),
            ] {
                let (denial, on_record) = refused(&stage, era, tool);
                assert_eq!(
                    (denial.reason, &*on_record),
                    (reason, reason.code()),
                    "{style:?} {tool}"
                );
                assert_eq!(told(&denial), told(&hidden), "{style:?} {era:?} {tool}");
            }
            // Whoever is shown a tool knows of it: the refusal of its call is remembered.
            let (denied, _) = refused(&stage, era, "denied");
            assert_eq!((denied.reason, denied.style), (DenyReason::PolicyDenied, style));
            assert!(denied.stages_ns < hidden.stages_ns);
        }
    }
}

#[test]
fn scopes_are_named_but_where_tools_are_hidden() {
    for (style, visible) in [
        (DenyStyle::Http, ""),
        (DenyStyle::ToolError, ""),
        (DenyStyle::Hidden, ""),
        (DenyStyle::Hidden, VISIBLE),
    ] {
        let stage = stage(style, visible);
        let _ = refused(&stage, Era::Modern, "denied");
        let (denial, on_record) = refused(&stage, Era::Modern, "scoped");
        assert_eq!(
            (denial.reason, &*on_record),
            (DenyReason::ScopeInsufficient, "scope_insufficient")
        );
        let hides = style == DenyStyle::Hidden;
        assert_eq!(denial.challenge.is_none(), hides, "{style:?}");
        let expected = if hides { DenyStyle::Hidden } else { DenyStyle::Http };
        assert_eq!(denial.style, expected);
        if hides {
            let (unknown, _) = refused(&stage, Era::Modern, "unknown");
            assert_eq!(told(&denial), told(&unknown), "{visible}");
        }
    }
}

/// A policy that cannot say what is shown tells nothing by failing.
#[test]
fn a_failing_word_on_what_is_shown_fails_for_all_tools_alike() {
    for style in [DenyStyle::Http, DenyStyle::ToolError, DenyStyle::Hidden] {
        let stage = stage(style, FAILING);
        let (first, _) = refused(&stage, Era::Modern, "open");
        assert_eq!((first.reason, first.style), (DenyReason::PolicyFailed, DenyStyle::Http));
        let (open, _) = refused(&stage, Era::Modern, "open");
        for tool in ["denied", "hidden", "scoped", "hidden-scoped", "unknown"] {
            let (denial, on_record) = refused(&stage, Era::Modern, tool);
            assert_eq!(
                (denial.reason, &*on_record),
                (DenyReason::PolicyFailed, "policy_failed"),
                "{tool}"
            );
            assert_eq!(told(&denial), told(&open), "{style:?} {tool}");
        }
    }
}

/// The call was made and its tool is known: nothing is left to be hidden, but the model may read that nothing came.
#[test]
fn a_withheld_answer_is_a_tools_error_where_that_is_the_style() {
    for (style, expected) in [
        (DenyStyle::Http, DenyStyle::Http),
        (DenyStyle::ToolError, DenyStyle::ToolError),
        (DenyStyle::Hidden, DenyStyle::Http),
    ] {
        let stage = stage(style, "");
        let (_, mut ticket) = stage.forward(&call(Era::Legacy, "open")).unwrap();
        let answer = json(200, r#"{"jsonrpc":"2.0","id":7,"result":{"content":[]}}"#);
        match stage.review(&mut ticket, answer) {
            crate::gate::Release::Withheld(denial) => {
                assert_eq!((denial.reason, denial.style), (DenyReason::AnswerWithheld, expected));
                assert_eq!(denial.request_id.as_deref(), Some("7"));
            }
            other => panic!("{other:?}"),
        }
        let list = Call::tools_list(Era::Legacy, 3);
        let token = token(&ALICE).scope("repo").sign(keys::es256());
        let denial = stage.record(&Request::with_token(&list, &token)).unwrap_err();
        assert_eq!(
            (denial.reason, denial.style),
            (DenyReason::PolicyDenied, DenyStyle::Http)
        );
    }
}
