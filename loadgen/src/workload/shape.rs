//! The calls of a mix as they are drawn: templates by era, with their shares, and the subjects as they stand in bodies.
//!
//! Owns how parts become [`Shape`]s, once, when a load begins. Whatever cannot be sent is refused here, so that a call
//! under load has nothing left to refuse.

use portcullis_fixtures::calls::Era;

use super::draw::below;
use super::mix::{Ask, MixCall};
use super::subject::Subject;
use super::template::{Gap, Gaps, Template, escaped};
use super::{BODY_BYTES_MAX, EraMix, WorkloadError, WorkloadParts};

/// One call of the mix.
pub(super) struct Shape {
    pub(super) name: String,
    /// The share of this call and all before it.
    pub(super) up_to: f64,
    pub(super) share: f64,
    pub(super) refused: bool,
    pub(super) legacy: Option<Template>,
    pub(super) modern: Option<Template>,
}

/// A subject as it stands in bodies.
pub(super) struct Caller {
    pub(super) name: String,
    pub(super) index: String,
    pub(super) accounts: Vec<String>,
    /// Accounts of the next subject.
    pub(super) foreign: Vec<String>,
}

impl Shape {
    /// The template of the era that `draw` chooses, or of the other when this call has only that.
    pub(super) fn template(&self, era: EraMix, draw: f64) -> Option<(&Template, Era)> {
        let legacy = || self.legacy.as_ref().map(|template| (template, Era::Legacy));
        let modern = || self.modern.as_ref().map(|template| (template, Era::Modern));
        match era {
            EraMix::Mixed { legacy: share } if draw < share => legacy().or_else(modern),
            _ => modern().or_else(legacy),
        }
    }
}

/// The subjects as they stand in bodies.
pub(super) fn callers(subjects: &[Subject]) -> Vec<Caller> {
    let of = |accounts: &[String]| accounts.iter().map(|account| escaped(account)).collect();
    let next = subjects.iter().cycle().skip(1);
    let pairs = subjects.iter().zip(next);
    let made = pairs.map(|(subject, next)| {
        let mut foreign = next.accounts.clone();
        foreign.retain(|account| !subject.accounts.contains(account));
        if foreign.is_empty() {
            // Nobody's account will do: it is not the subject's either.
            foreign.extend(subject.accounts.first().map(|account| format!("{account}-foreign")));
        }
        Caller {
            name: escaped(&subject.name),
            index: subject.index.to_string(),
            accounts: of(&subject.accounts),
            foreign: of(&foreign),
        }
    });
    made.collect()
}

/// The calls of `parts`, in the mix's order; those of no share are left out.
pub(super) fn shapes(parts: &WorkloadParts, callers: &[Caller]) -> Result<Vec<Shape>, WorkloadError> {
    let weight_of = |refused: bool| -> f64 {
        let calls = parts.mix.calls().iter().filter(|call| call.refused == refused);
        calls.map(|call| call.weight).sum()
    };
    let (refused, others) = (weight_of(true), weight_of(false));
    let deny_share = parts.deny_share.unwrap_or(refused / (refused + others));
    if 0.0 < deny_share && refused == 0.0 {
        return Err(WorkloadError::DenyShare("to be refused"));
    }
    if deny_share < 1.0 && others == 0.0 {
        return Err(WorkloadError::DenyShare("to be allowed"));
    }
    let mut shapes: Vec<Shape> = Vec::new();
    for call in parts.mix.calls() {
        let share = match call.refused {
            true => deny_share * call.weight / refused,
            false => (1.0 - deny_share) * call.weight / others,
        };
        if share <= 0.0 {
            continue;
        }
        let before = shapes.last().map_or(0.0, |shape| shape.up_to);
        shapes.push(shape(parts, call, callers, share, before + share)?);
    }
    Ok(shapes)
}

fn shape(
    parts: &WorkloadParts,
    call: &MixCall,
    callers: &[Caller],
    share: f64,
    up_to: f64,
) -> Result<Shape, WorkloadError> {
    let template = |era: Era| -> Result<Option<Template>, WorkloadError> {
        let asked = match parts.era {
            EraMix::Legacy => era == Era::Legacy,
            EraMix::Modern => era == Era::Modern,
            EraMix::Mixed { .. } => true,
        };
        let known = match &call.ask {
            Ask::Method(method) => method.is_of(era),
            Ask::Tool { .. } => true,
        };
        match asked && known {
            true => sized(Template::new(era, call, 0), parts, call, callers).map(Some),
            false => Ok(None),
        }
    };
    let (legacy, modern) = (template(Era::Legacy)?, template(Era::Modern)?);
    match (&call.ask, &legacy, &modern) {
        (Ask::Method(method), None, None) => Err(WorkloadError::Method(method.as_str())),
        _ => Ok(Shape {
            name: call.name().to_owned(),
            up_to,
            share,
            refused: call.refused,
            legacy,
            modern,
        }),
    }
}

/// Gives `template` its size, once it is known that every caller's body fits.
fn sized(
    mut template: Template,
    parts: &WorkloadParts,
    call: &MixCall,
    callers: &[Caller],
) -> Result<Template, WorkloadError> {
    let with_accounts = template.has(Gap::Account) || template.has(Gap::ForeignAccount);
    let without = callers.iter().position(|caller| caller.accounts.is_empty());
    if let Some(place) = without.filter(|_| with_accounts) {
        return Err(WorkloadError::AccountsMissing(place));
    }
    let longest = |accounts: &[String]| accounts.iter().max_by_key(|account| account.len()).cloned();
    let needs = callers.iter().map(|caller| {
        template.bare_bytes(&Gaps {
            id: NUMBER_FOR_SIZE,
            number: NUMBER_FOR_SIZE,
            subject: &caller.name,
            subject_index: &caller.index,
            account: &longest(&caller.accounts).unwrap_or_default(),
            foreign_account: &longest(&caller.foreign).unwrap_or_default(),
        })
    });
    let needed = needs.max().unwrap_or(0);
    let asked = match call.body_bytes {
        Some(body_bytes) => body_bytes,
        None => parts.body_bytes.max(needed),
    };
    if !(needed..=BODY_BYTES_MAX).contains(&asked) {
        return Err(WorkloadError::BodyBytes {
            call: call.name().to_owned(),
            needed,
            asked,
        });
    }
    template.set_body_bytes(asked);
    Ok(template)
}

/// One of the accounts, or nothing when there are none.
pub(super) fn pick(accounts: &[String], bits: u64) -> &str {
    accounts.get(below(bits, accounts.len())).map_or("", String::as_str)
}

/// The largest call number for which bodies are sized; beyond it they grow by a byte a digit.
const NUMBER_FOR_SIZE: &str = "9999999999";
