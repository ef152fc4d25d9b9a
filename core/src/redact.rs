//! Carrying out what a decision obliges: parts of an answer go, or are covered, before it leaves.
//!
//! Owns the places of a result that obligations reach: `structuredContent` and the `text` of each content item, which
//! must be JSON. What cannot be looked into is withheld, never passed: other kinds of content, text that is not JSON,
//! a text where a pointer wants to go on, members that no result is known to have. Both forms of an answer say the
//! same, so an obligation that finds its place in one alone withholds it. Every byte that no obligation reaches stays
//! as it came. Decides nothing.

use crate::json::{self, Edits, Kind, Node, Number};
use crate::policy::{Action, Redaction, Step};

/// What stands in place of a masked value.
const MASK: &str = "***";
/// What stands in place of a tagged value.
const TAG: &str = "[redacted]";

/// The buffers of a redaction, made once for each worker.
#[derive(Default)]
pub(crate) struct Scratch {
    edits: Edits,
    json: json::Scratch,
    text: Vec<u8>,
}

/// What was done to a result.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Applied {
    /// How many values were changed or taken out.
    pub(crate) redactions: usize,
}

/// What a list is of.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Listed {
    /// Prompts, by name.
    Prompts,
    /// Resources, by URI.
    Resources,
    /// Resource templates, by URI template.
    ResourceTemplates,
    /// Tools, by name.
    Tools,
}

impl Listed {
    /// The member of a result that is the list, and the member of an entry that names it.
    const fn members(self) -> (&'static str, &'static str) {
        match self {
            Self::Prompts => ("prompts", "name"),
            Self::Resources => ("resources", "uri"),
            Self::ResourceTemplates => ("resourceTemplates", "uriTemplate"),
            Self::Tools => ("tools", "name"),
        }
    }
}

/// What is left of a list.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Filtered {
    /// Entries that stay.
    pub(crate) kept: usize,
    /// Entries that go.
    pub(crate) dropped: usize,
}

/// Why a result may not leave at all.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum Withhold {
    /// An item of the content is of a kind that cannot be looked into.
    #[error("content of a kind that cannot be redacted")]
    ContentKind,
    /// The obligations find something in `structuredContent` or in the texts, and nothing in the other.
    #[error("an obligation reaches one form of the answer and not the other")]
    Forms,
    /// A text of the content is not JSON within the limits, or a text stands where a pointer goes on.
    #[error("text that is not JSON cannot be redacted")]
    NotJson,
    /// An obligation says so.
    #[error("an obligation withholds the answer")]
    Obligation,
    /// The result does not have the form that the operation has.
    #[error("a result of unknown form cannot be redacted")]
    Shape,
}

impl Withhold {
    /// The same as its display, for a [`crate::denial::Denial`].
    pub(crate) const fn operator(self) -> &'static str {
        match self {
            Self::ContentKind => "content of a kind that cannot be redacted",
            Self::Forms => "an obligation reaches one form of the answer and not the other",
            Self::NotJson => "text that is not JSON cannot be redacted",
            Self::Obligation => "an obligation withholds the answer",
            Self::Shape => "a result of unknown form cannot be redacted",
        }
    }
}

/// Notes in `edits` what `redactions` change in `result`, the result of a tool call. Without redactions it changes
/// nothing and looks at nothing. Members named `_meta`, which have no form, are taken out.
///
/// # Errors
/// [`Withhold`]; what `edits` then holds must not be used.
pub(crate) fn apply_result(
    result: Node<'_>,
    redactions: &[Redaction],
    limits: json::Limits,
    scratch: &mut Scratch,
    edits: &mut Edits,
) -> Result<Applied, Withhold> {
    let mut applied = Applied::default();
    if redactions.is_empty() {
        return Ok(applied);
    }
    if result.kind() != Kind::Object {
        return Err(Withhold::Shape);
    }
    let (mut texts, mut structured) = (None, None);
    for member in result.members() {
        let before = applied.redactions;
        match member.key {
            "_meta" => {
                edits.remove_member(result, member.key);
            }
            "content" => {
                apply_content(member.value, redactions, limits, scratch, edits, &mut applied)?;
                texts = (member.value.len() != 0).then_some(before < applied.redactions);
            }
            "isError" if member.value.as_bool().is_some() => {}
            "resultType" if member.value.as_str() == Some("complete") => {}
            "structuredContent" => {
                let whole = apply_document(member.value, redactions, edits, &mut applied)?;
                if whole == Whole::Goes {
                    edits.remove_member(result, member.key);
                }
                structured = Some(before < applied.redactions);
            }
            _ => return Err(Withhold::Shape),
        }
    }
    match (texts, structured) {
        (Some(texts), Some(structured)) if texts != structured => Err(Withhold::Forms),
        _ => Ok(applied),
    }
}

/// Notes in `edits` that entries of `result`, a list, go unless `keep` says so of their name and themselves. With
/// `ttl_ms_max` (MCP 2026-07-28) the list also becomes private to this caller and lives no longer than that. Its cursor
/// stays, whatever is left.
///
/// # Errors
/// [`Withhold::Shape`] when it is no list of named entries.
pub(crate) fn filter_list(
    result: Node<'_>,
    listed: Listed,
    ttl_ms_max: Option<u64>,
    mut keep: impl FnMut(&str, Node<'_>) -> bool,
    edits: &mut Edits,
) -> Result<Filtered, Withhold> {
    let (list, key) = listed.members();
    let entries = result.member(list).filter(|entries| entries.kind() == Kind::Array);
    let entries = entries.ok_or(Withhold::Shape)?;
    let mut filtered = Filtered::default();
    for entry in entries.elements() {
        let name = entry.member(key).and_then(Node::as_str).ok_or(Withhold::Shape)?;
        if keep(name, entry) {
            filtered.kept = filtered.kept.saturating_add(1);
        } else {
            filtered.dropped = filtered.dropped.saturating_add(1);
            edits.remove_element(entries, entry);
        }
    }
    if let Some(ttl_ms_max) = ttl_ms_max {
        set_member(result, "cacheScope", "\"private\"", edits);
        // What names no time is not kept at all.
        let ttl_ms = result.member("ttlMs").and_then(Node::as_u64).unwrap_or(0);
        set_member(result, "ttlMs", &ttl_ms.min(ttl_ms_max).to_string(), edits);
    }
    Ok(filtered)
}

fn set_member(object: Node<'_>, key: &str, json: &str, edits: &mut Edits) {
    match object.member(key) {
        Some(value) if value.raw() == json => {}
        Some(value) => edits.replace(value.span(), json),
        None => edits.insert_member(object, key, json),
    }
}

fn apply_content(
    content: Node<'_>,
    redactions: &[Redaction],
    limits: json::Limits,
    scratch: &mut Scratch,
    edits: &mut Edits,
    applied: &mut Applied,
) -> Result<(), Withhold> {
    if content.kind() != Kind::Array {
        return Err(Withhold::Shape);
    }
    for item in content.elements() {
        let text = text_of(item, edits)?;
        let decoded = text.as_str().ok_or(Withhold::Shape)?;
        let document = json::parse(decoded.as_bytes(), &mut scratch.json, limits).map_err(|_| Withhold::NotJson)?;
        scratch.edits.clear();
        match apply_document(document.root(), redactions, &mut scratch.edits, applied)? {
            Whole::Goes => {
                edits.remove_element(content, item);
            }
            Whole::Stays if scratch.edits.is_empty() => {}
            Whole::Stays => {
                scratch.text.clear();
                let spliced = scratch.edits.apply(document.text(), &mut scratch.text);
                spliced.map_err(|_| Withhold::Shape)?;
                let changed = str::from_utf8(&scratch.text).map_err(|_| Withhold::NotJson)?;
                edits.replace_string(text.span(), changed);
            }
        }
    }
    Ok(())
}

/// The text of a content item that holds nothing but text.
fn text_of<'s>(item: Node<'s>, edits: &mut Edits) -> Result<Node<'s>, Withhold> {
    if item.member("type").and_then(Node::as_str) != Some("text") {
        return Err(Withhold::ContentKind);
    }
    for member in item.members() {
        match member.key {
            "_meta" => {
                edits.remove_member(item, member.key);
            }
            "annotations" => only_known_annotations(member.value)?,
            "text" | "type" => {}
            _ => return Err(Withhold::Shape),
        }
    }
    item.member("text").ok_or(Withhold::Shape)
}

/// Annotations say who an item is for, of when it is and how much it matters, never what it says: their values have no
/// room for words either.
fn only_known_annotations(annotations: Node<'_>) -> Result<(), Withhold> {
    let role = |role: Node<'_>| matches!(role.as_str(), Some("assistant" | "user"));
    let known = |key: &str, value: Node<'_>| match key {
        "audience" => value.kind() == Kind::Array && value.elements().all(role),
        "lastModified" => value.as_str().is_some_and(is_time),
        "priority" => match value.as_number() {
            Some(Number::Integer(priority)) => matches!(priority, 0 | 1),
            Some(Number::Float(priority)) => (0.0..=1.0).contains(&priority),
            None => false,
        },
        _ => false,
    };
    if annotations.kind() == Kind::Object && annotations.members().all(|member| known(member.key, member.value)) {
        Ok(())
    } else {
        Err(Withhold::Shape)
    }
}

/// Whether `text` is a point in time as ISO 8601 has it: a day, alone or with an hour, a fraction of nine digits at most
/// and a zone.
pub(crate) fn is_time(text: &str) -> bool {
    let Some((day, time)) = text.split_once('T') else {
        return has_shape(text, "0000-00-00");
    };
    let (time, zone) = time.split_at(time.find(['Z', '+', '-']).unwrap_or(time.len()));
    let (time, fraction) = time.split_once('.').unwrap_or((time, "0"));
    has_shape(day, "0000-00-00")
        && has_shape(time, "00:00:00")
        && (1..=9).contains(&fraction.len())
        && fraction.bytes().all(|byte| byte.is_ascii_digit())
        && (matches!(zone, "" | "Z") || has_shape(zone, "+00:00") || has_shape(zone, "-00:00"))
}

/// Whether `text` is `shape` with any digits for its zeros.
fn has_shape(text: &str, shape: &str) -> bool {
    let fits = |(byte, wanted): (u8, u8)| match wanted {
        b'0' => byte.is_ascii_digit(),
        _ => byte == wanted,
    };
    text.len() == shape.len() && text.bytes().zip(shape.bytes()).all(fits)
}

/// Whether the root of a document is to be taken out: only who holds the document can do that.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Whole {
    Goes,
    Stays,
}

/// A value and what holds it.
#[derive(Clone, Copy)]
struct Place<'s> {
    holder: Option<Holder<'s>>,
    node: Node<'s>,
}

#[derive(Clone, Copy)]
enum Holder<'s> {
    Array(Node<'s>),
    Object(Node<'s>, &'s str),
}

fn apply_document(
    root: Node<'_>,
    redactions: &[Redaction],
    edits: &mut Edits,
    applied: &mut Applied,
) -> Result<Whole, Withhold> {
    let mut whole = Whole::Stays;
    // Of two changes at one place the later wins, so the weaker are noted first.
    for action in [Action::Withhold, Action::Tag, Action::Mask, Action::Drop] {
        for redaction in redactions.iter().filter(|redaction| redaction.action == action) {
            let start = Place {
                holder: None,
                node: root,
            };
            let mut found = 0_usize;
            let (mut closed, mut missed) = (false, false);
            each_place(start, None, redaction.at.steps(), &mut |met| {
                let Met::Place(place) = met else {
                    closed = true;
                    return;
                };
                found = found.saturating_add(1);
                match change(place, action, edits) {
                    Change::Holder => whole = Whole::Goes,
                    Change::Missed => missed = true,
                    Change::Noted => {}
                }
            });
            if closed {
                return Err(Withhold::NotJson);
            }
            if missed {
                return Err(Withhold::Shape);
            }
            if action == Action::Withhold && found != 0 {
                return Err(Withhold::Obligation);
            }
            applied.redactions = applied.redactions.saturating_add(found);
        }
    }
    Ok(whole)
}

/// Where the steps of a pointer lead.
enum Met<'s> {
    /// To a value.
    Place(Place<'s>),
    /// Into a text, which may hold in its own words what the pointer is after.
    Text,
}

/// Calls `visit` for every value that `steps` lead to, and for every text in their way. `reached` is the step that led
/// here.
fn each_place<'s>(place: Place<'s>, reached: Option<&Step>, steps: &[Step], visit: &mut dyn FnMut(Met<'s>)) {
    let Some((step, rest)) = steps.split_first() else {
        return visit(Met::Place(place));
    };
    let node = place.node;
    let mut on = |holder, node| {
        let holder = Some(holder);
        each_place(Place { holder, node }, Some(step), rest, visit);
    };
    match (node.kind(), step) {
        (Kind::Array, Step::Any) => node.elements().for_each(|element| on(Holder::Array(node), element)),
        (Kind::Array, Step::Named(_)) => {
            if let Some(element) = step.index().and_then(|index| node.elements().nth(index)) {
                on(Holder::Array(node), element);
            }
        }
        (Kind::Object, Step::Any) => node
            .members()
            .for_each(|member| on(Holder::Object(node, member.key), member.value)),
        (Kind::Object, Step::Named(name)) => {
            if let Some(member) = node.members().find(|member| *member.key == **name) {
                on(Holder::Object(node, member.key), member.value);
            }
        }
        (Kind::Bool | Kind::Null | Kind::Number | Kind::String, _) if is_in_the_way(node, reached) => visit(Met::Text),
        (Kind::Bool | Kind::Null | Kind::Number | Kind::String, _) => {}
    }
}

/// Whether `node`, where a pointer goes on, may hold all that the pointer is after: a document that is a text or a
/// number, a text where the policy expects more structure. `*` expects nothing, so that only a text that looks like a
/// document of its own stands in its way.
fn is_in_the_way(node: Node<'_>, reached: Option<&Step>) -> bool {
    match (node.kind(), reached) {
        (Kind::Number | Kind::String, None) | (Kind::String, Some(Step::Named(_))) => true,
        (Kind::String, Some(Step::Any)) => {
            let text = node.as_str().unwrap_or_default();
            text.trim_start().starts_with(['{', '[', '"'])
        }
        _ => false,
    }
}

/// What became of one change.
enum Change {
    /// Only who holds the document can make it.
    Holder,
    /// It could not be made.
    Missed,
    /// It stands in the edits.
    Noted,
}

fn change(place: Place<'_>, action: Action, edits: &mut Edits) -> Change {
    let noted = match (action, place.holder) {
        (Action::Tag, _) => {
            edits.replace_string(place.node.span(), TAG);
            true
        }
        (Action::Mask, _) => {
            edits.replace_string(place.node.span(), MASK);
            true
        }
        (Action::Drop, None) => return Change::Holder,
        (Action::Drop, Some(Holder::Array(array))) => edits.remove_element(array, place.node),
        (Action::Drop, Some(Holder::Object(object, key))) => edits.remove_member(object, key),
        // The whole answer goes; nothing of it is edited.
        (Action::Withhold, _) => true,
    };
    if noted { Change::Noted } else { Change::Missed }
}

#[cfg(test)]
mod tests;
