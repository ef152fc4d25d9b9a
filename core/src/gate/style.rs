//! How a refusal of the policy is told to the caller: the server's choice, where it applies.
//!
//! Owns that choice for each reason. Changes no outcome and no record: what is written down is the true reason.

use super::case::Case;
use crate::denial::{Denial, DenyReason, DenyStyle, Noun};
use crate::rpc::Method;

/// Gives `denial` the style of its server, where that has a word on such a refusal of such a call.
#[cold]
pub(super) fn apply(case: &Case<'_>, denial: &mut Denial) {
    let Some(call) = &case.call else { return };
    denial.noun = match call.method {
        // Of what it names, resources alone have rows; its tasks are unknown in every style.
        Method::SubscriptionsListen => Noun::Resource,
        _ => call.named.target().noun(),
    };
    denial.style = style(case.server.deny_style(), denial.reason, call.method, denial.noun);
    if denial.style == DenyStyle::Hidden {
        // It would name the scopes of a tool that is said not to be there.
        denial.challenge = None;
    }
}

/// The style of one refusal.
///
/// A tool error is a tool's result, so it stands for a refused call of a tool and for its withheld answer alone. What
/// is hidden must have a name to be unknown by; an answer is not hidden, since whoever may call a tool knows of it, and
/// a task that is not the caller's is unknown in every style.
fn style(chosen: DenyStyle, reason: DenyReason, method: Method, noun: Noun) -> DenyStyle {
    let policy = matches!(
        reason,
        DenyReason::PolicyDenied
            | DenyReason::PromptUnmapped
            | DenyReason::ResourceUnmapped
            | DenyReason::SubjectUnlisted
            | DenyReason::ToolChanged
            | DenyReason::ToolHidden
            | DenyReason::ToolUnmapped
    );
    let task = matches!(
        method,
        Method::TasksCancel | Method::TasksGet | Method::TasksResult | Method::TasksUpdate
    );
    let applies = match chosen {
        DenyStyle::Http => false,
        DenyStyle::ToolError => method == Method::ToolsCall && (policy || reason == DenyReason::AnswerWithheld),
        DenyStyle::Hidden => noun != Noun::Nothing && !task && (policy || reason == DenyReason::ScopeInsufficient),
    };
    if applies { chosen } else { DenyStyle::Http }
}

#[cfg(test)]
mod tests {
    use super::style;
    use crate::denial::{DenyReason, DenyStyle, Noun};
    use crate::rpc::Method;

    #[test]
    fn only_refusals_of_the_policy_have_a_style() {
        let mut styled = Vec::new();
        for reason in DenyReason::ALL {
            let of = |chosen| style(chosen, reason, Method::ToolsCall, Noun::Tool) == chosen;
            assert!(of(DenyStyle::Http), "{reason:?}");
            if of(DenyStyle::ToolError) || of(DenyStyle::Hidden) {
                styled.push((reason, of(DenyStyle::ToolError), of(DenyStyle::Hidden)));
            }
        }
        let expected = [
            (DenyReason::AnswerWithheld, true, false),
            (DenyReason::PolicyDenied, true, true),
            (DenyReason::PromptUnmapped, true, true),
            (DenyReason::ResourceUnmapped, true, true),
            (DenyReason::ScopeInsufficient, false, true),
            (DenyReason::SubjectUnlisted, true, true),
            (DenyReason::ToolChanged, true, true),
            (DenyReason::ToolUnmapped, true, true),
            (DenyReason::ToolHidden, true, true),
        ];
        assert_eq!(styled, expected);
    }

    #[test]
    fn a_style_needs_a_call_that_it_can_stand_for() {
        let reason = DenyReason::PolicyDenied;
        for (method, noun, tool_error, hidden) in [
            (Method::ToolsCall, Noun::Tool, true, true),
            (Method::PromptsGet, Noun::Prompt, false, true),
            (Method::ResourcesRead, Noun::Resource, false, true),
            (Method::CompletionComplete, Noun::Prompt, false, true),
            (Method::ToolsList, Noun::Nothing, false, false),
            (Method::LoggingSetLevel, Noun::Nothing, false, false),
            (Method::TasksGet, Noun::Tool, false, false),
        ] {
            let of = |chosen| style(chosen, reason, method, noun) == chosen;
            assert_eq!(of(DenyStyle::ToolError), tool_error, "{method:?}");
            assert_eq!(of(DenyStyle::Hidden), hidden, "{method:?}");
        }
    }
}
