//! The answer of a policy, read strictly.
//!
//! Owns [`Decision`], its obligations and [`PolicyFailure`]. An allow is exactly `allow == true` with obligations that
//! are all known and can all be carried out; whatever else comes is a denial or a failure, never an allow.

use regorus::Value;

use super::pointer::Pointer;
use crate::credential::is_nqchar;
use crate::denial::AuthenticationDemand;

/// The most redactions that one decision may ask for.
const REDACTIONS_MAX: usize = 256;
/// The most `acr` values that one decision may accept.
const ACR_VALUES_MAX: usize = 16;
/// The longest `acr` value, in bytes.
const ACR_BYTES_MAX: usize = 256;
/// The longest rule name that is kept, in bytes.
const RULE_BYTES_MAX: usize = 256;
/// The longest reason that is kept, in bytes.
const REASON_BYTES_MAX: usize = 1_024;

/// What a policy decided.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Decision {
    /// Whether the call or the answer passes.
    pub effect: Effect,
    /// The rule that decided, as the policy names it; cut at 256 bytes.
    pub rule: Box<str>,
    /// Why, as the policy says it; cut at 1,024 bytes.
    pub reason: Box<str>,
    /// What must hold or be done; on a denial `authenticate` alone, which tells how to come back.
    pub obligations: Obligations,
}

/// Allow or deny.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Effect {
    /// It passes, once the obligations are met.
    Allow,
    /// It does not.
    #[default]
    Deny,
}

/// What a decision demands.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Obligations {
    /// The login that the caller must have made (RFC 9470); only of a request.
    pub authenticate: Option<AuthenticationDemand>,
    /// The parts of the answer to change, in the order of the policy.
    pub redact: Vec<Redaction>,
}

/// One change to an answer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Redaction {
    /// What is changed.
    pub at: Pointer,
    /// How.
    pub action: Action,
}

/// How a part of an answer is changed. In this order a later action wins over an earlier one at the same place.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Action {
    /// The value becomes a string that says that it was redacted.
    Tag,
    /// The value becomes `"***"`.
    Mask,
    /// The member or element goes.
    Drop,
    /// The whole answer goes when there is such a part.
    Withhold,
}

/// Why there is no decision. Says nothing of the input.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum PolicyFailure {
    /// The server has no policy yet.
    #[error("the server has no policy yet: none of its bundle has come")]
    Absent,
    /// The evaluation took longer than allowed.
    #[error("the policy took longer than its deadline")]
    Deadline,
    /// The evaluation ended with an error.
    #[error("the policy could not be evaluated")]
    Evaluation,
    /// The claims of the token could not be read as JSON.
    #[error("the input of the policy could not be read")]
    Input,
    /// The evaluation ran more instructions than allowed.
    #[error("the policy ran more instructions than allowed")]
    Instructions,
    /// An obligation that is unknown or cannot be carried out.
    #[error("the policy demands an obligation that cannot be carried out")]
    Obligation,
    /// The evaluation panicked.
    #[error("the policy made its evaluation panic")]
    Panicked,
    /// The answer does not have the form of a decision.
    #[error("the policy did not answer in the form of a decision")]
    Shape,
    /// The tree interpreter did not come to the same result: two definitions conflict.
    #[error("the interpreter does not confirm the policy's allow")]
    Unconfirmed,
    /// The decision is undefined.
    #[error("the policy's decision is undefined")]
    Undefined,
    /// The worker could not take the policy.
    #[error("the policy could not be loaded by its worker")]
    Unloadable,
}

impl PolicyFailure {
    /// The same as its display, for a [`crate::denial::Denial`].
    pub const fn operator(self) -> &'static str {
        match self {
            Self::Absent => "the server has no policy yet: none of its bundle has come",
            Self::Deadline => "the policy took longer than its deadline",
            Self::Evaluation => "the policy could not be evaluated",
            Self::Input => "the input of the policy could not be read",
            Self::Instructions => "the policy ran more instructions than allowed",
            Self::Obligation => "the policy demands an obligation that cannot be carried out",
            Self::Panicked => "the policy made its evaluation panic",
            Self::Shape => "the policy did not answer in the form of a decision",
            Self::Unconfirmed => "the interpreter does not confirm the policy's allow",
            Self::Undefined => "the policy's decision is undefined",
            Self::Unloadable => "the policy could not be loaded by its worker",
        }
    }
}

impl Decision {
    /// The allow of what the protocol lets any valid token do, whatever the policy: it is not asked.
    pub(crate) fn of_protocol() -> Self {
        Self {
            effect: Effect::Allow,
            rule: Box::from("protocol"),
            reason: Box::from("any valid token may do this"),
            obligations: Obligations::default(),
        }
    }

    /// A decision that was recorded as JSON, read as strictly as one that the engine gives.
    ///
    /// # Errors
    /// [`PolicyFailure::Input`] for what is no JSON, otherwise what [`PolicyFailure`] a policy with this answer would have.
    pub fn from_json(text: &str) -> Result<Self, PolicyFailure> {
        let value = super::compile::data::parse("decision", text).map_err(|_| PolicyFailure::Input)?;
        read(&value)
    }

    /// What `visible` says, in the form of a decision.
    pub(super) fn of_visible(is_visible: bool) -> Self {
        Self {
            effect: if is_visible { Effect::Allow } else { Effect::Deny },
            rule: Box::from("visible"),
            reason: Box::default(),
            obligations: Obligations::default(),
        }
    }

    /// Whether it is an allow.
    pub const fn allows(&self) -> bool {
        matches!(self.effect, Effect::Allow)
    }
}

impl Action {
    /// The name of the action in policies and records.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tag => "tag",
            Self::Mask => "mask",
            Self::Drop => "drop",
            Self::Withhold => "withhold",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        match name {
            "tag" => Some(Self::Tag),
            "mask" => Some(Self::Mask),
            "drop" => Some(Self::Drop),
            "withhold" => Some(Self::Withhold),
            _ => None,
        }
    }
}

/// Whether `answer` is exactly `true`.
pub(super) fn is_true(answer: &Value) -> bool {
    matches!(answer, Value::Bool(true))
}

/// Whether `answer` would let something pass: what the interpreter must confirm.
pub(super) fn grants(answer: &Value) -> bool {
    match answer {
        Value::Object(members) => members.get(&Value::from("allow")).is_some_and(is_true),
        other => is_true(other),
    }
}

/// Reads the answer of a decision rule.
pub(super) fn read(answer: &Value) -> Result<Decision, PolicyFailure> {
    let members = match answer {
        Value::Undefined => return Err(PolicyFailure::Undefined),
        Value::Object(members) => members,
        _ => return Err(PolicyFailure::Shape),
    };
    let (mut allow, mut rule, mut reason, mut obligations) = (None, None, None, None);
    for (key, value) in members.iter() {
        match text(key)? {
            "allow" => allow = Some(value),
            "rule" => rule = Some(text(value)?),
            "reason" => reason = Some(text(value)?),
            "obligations" => obligations = Some(value),
            _ => return Err(PolicyFailure::Shape),
        }
    }
    let rule = cut(rule.unwrap_or_default(), RULE_BYTES_MAX);
    let reason = cut(reason.unwrap_or_default(), REASON_BYTES_MAX);
    let (effect, obligations) = match allow {
        Some(Value::Bool(false)) => (Effect::Deny, read_demand(obligations)?),
        // An allow that no rule answers for could not be explained from its record.
        Some(Value::Bool(true)) if rule.is_empty() => return Err(PolicyFailure::Shape),
        Some(Value::Bool(true)) => (Effect::Allow, read_obligations(obligations)?),
        _ => return Err(PolicyFailure::Shape),
    };
    Ok(Decision {
        effect,
        rule,
        reason,
        obligations,
    })
}

fn read_obligations(value: Option<&Value>) -> Result<Obligations, PolicyFailure> {
    let members = match value {
        None => return Ok(Obligations::default()),
        Some(Value::Object(members)) => members,
        Some(_) => return Err(PolicyFailure::Obligation),
    };
    let (mut redact, mut authenticate) = (Vec::new(), None);
    for (key, value) in members.iter() {
        match (key, value) {
            (Value::String(name), demand) if &**name == "authenticate" => {
                authenticate = Some(read_authenticate(demand)?);
            }
            (Value::String(name), Value::Array(items)) if &**name == "redact" && items.len() <= REDACTIONS_MAX => {
                redact = items.iter().map(read_redaction).collect::<Result<_, _>>()?;
            }
            // A set has no order, and none is needed: the strongest action wins.
            (Value::String(name), Value::Set(items)) if &**name == "redact" && items.len() <= REDACTIONS_MAX => {
                redact = items.iter().map(read_redaction).collect::<Result<_, _>>()?;
            }
            _ => return Err(PolicyFailure::Obligation),
        }
    }
    Ok(Obligations { authenticate, redact })
}

/// What a denial says about how to come back; whatever else stands there obliges nobody.
fn read_demand(value: Option<&Value>) -> Result<Obligations, PolicyFailure> {
    let authenticate = match value {
        Some(Value::Object(members)) => members.get(&Value::from("authenticate")),
        _ => None,
    };
    Ok(Obligations {
        authenticate: authenticate.map(read_authenticate).transpose()?,
        redact: Vec::new(),
    })
}

/// A demand that can be told in a challenge: nothing in it may need an escape in a quoted string, and an `acr` value
/// with a space would be read as two.
fn read_authenticate(value: &Value) -> Result<AuthenticationDemand, PolicyFailure> {
    let Value::Object(members) = value else {
        return Err(PolicyFailure::Obligation);
    };
    let mut acr_values: Box<[Box<str>]> = Box::default();
    let mut max_age_s = None;
    for (key, value) in members.iter() {
        match (key, value) {
            // An array alone: the order tells what is preferred.
            (Value::String(name), Value::Array(items)) if &**name == "acr_values" => {
                if items.is_empty() || ACR_VALUES_MAX < items.len() {
                    return Err(PolicyFailure::Obligation);
                }
                acr_values = items.iter().map(read_acr).collect::<Result<_, _>>()?;
            }
            (Value::String(name), Value::Number(seconds)) if &**name == "max_age" => {
                let seconds = seconds.as_u64().and_then(|seconds| u32::try_from(seconds).ok());
                max_age_s = Some(seconds.ok_or(PolicyFailure::Obligation)?);
            }
            _ => return Err(PolicyFailure::Obligation),
        }
    }
    if acr_values.is_empty() && max_age_s.is_none() {
        return Err(PolicyFailure::Obligation);
    }
    Ok(AuthenticationDemand { acr_values, max_age_s })
}

fn read_acr(value: &Value) -> Result<Box<str>, PolicyFailure> {
    match value {
        Value::String(acr) if !acr.is_empty() && acr.len() <= ACR_BYTES_MAX && acr.bytes().all(is_nqchar) => {
            Ok((&**acr).into())
        }
        _ => Err(PolicyFailure::Obligation),
    }
}

fn read_redaction(value: &Value) -> Result<Redaction, PolicyFailure> {
    let Value::Object(members) = value else {
        return Err(PolicyFailure::Obligation);
    };
    let (mut at, mut action) = (None, None);
    for (key, value) in members.iter() {
        match (key, value) {
            (Value::String(name), Value::String(text)) if &**name == "at" => at = Pointer::parse(text).ok(),
            (Value::String(name), Value::String(text)) if &**name == "action" => action = Action::from_name(text),
            // `detector`, `class` and whatever else cannot be carried out.
            _ => return Err(PolicyFailure::Obligation),
        }
    }
    match (at, action) {
        (Some(at), Some(action)) => Ok(Redaction { at, action }),
        _ => Err(PolicyFailure::Obligation),
    }
}

fn text(value: &Value) -> Result<&str, PolicyFailure> {
    match value {
        Value::String(text) => Ok(text),
        _ => Err(PolicyFailure::Shape),
    }
}

/// `text`, cut at the last character that ends within `bytes_max`.
fn cut(text: &str, bytes_max: usize) -> Box<str> {
    text.get(..text.floor_char_boundary(bytes_max))
        .unwrap_or_default()
        .into()
}
