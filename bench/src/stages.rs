//! One stage of the road at a time, through the core's feature `internal`.
//!
//! Owns the setting up of each and what its operation must give. Never repeats what a stage does: the core runs its own.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use portcullis_core::audit::{AuditLog, AuditSettings, Step};
use portcullis_core::denial::DenyReason;
use portcullis_core::gate::internal::{Known, Parse, Tokens};
use portcullis_core::policy::MEMO_ENTRIES;
use portcullis_fixtures::keys::Algorithm;

use crate::material::Material;
use crate::road::{self, Counting};
use crate::scenario::{Meter, Setting, metered};
use crate::world::{self, Account, CALL_BYTES, NOW, RESOURCE, Request};

/// Who calls.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Caller {
    /// A known agent, for the one whose account it is.
    Agent,
    /// The one whose account it is.
    Owner,
    /// Somebody whose account it is not.
    Stranger,
}

/// Reads a call of `bytes`.
///
/// # Errors
/// As [`metered`], and when the setting has no token.
pub fn parse_call(bytes: usize, setting: &Setting<'_>, meter: &mut dyn Meter) -> Result<(), Box<dyn Error>> {
    let request = Request::new(0, setting.subjects, setting.first_token()?, Account::Own, bytes)?;
    let mut parse = Parse::new(&world::limits(1));
    let (head, body) = (request.head(), &request.body);
    metered(meter, || parse.call(&head, body).is_ok_and(|arguments| 2 <= arguments))
}

/// Verifies tokens in turn, with a cache of `tokens_cached_max`: with one, every token is new each time.
///
/// # Errors
/// As [`metered`], and when a token does not verify before.
pub fn verify(tokens_cached_max: usize, setting: &Setting<'_>, meter: &mut dyn Meter) -> Result<(), Box<dyn Error>> {
    let keys = world::key_set(setting.material)?;
    let limits = world::limits(tokens_cached_max);
    let tokens = Tokens::new(world::issuer()?, keys, Arc::from(RESOURCE), &limits);
    let pool = &setting.material.tokens;
    for token in pool {
        tokens.verify(token, NOW).map_err(DenyReason::code)?;
    }
    let mut next = pool.iter().cycle();
    metered(meter, || {
        next.next().is_some_and(|token| tokens.verify(token, NOW).is_ok())
    })
}

/// Runs `operation` on a call whose caller is known and that is `account`'s, with no memo of decisions.
fn on_known(
    account: Account,
    setting: &Setting<'_>,
    meter: &mut dyn Meter,
    operation: impl Fn(&mut Known<'_, '_>, &Request) -> bool,
) -> Result<(), Box<dyn Error>> {
    on_known_with(0, account, setting, meter, operation)
}

/// The same with a memo of this many.
fn on_known_with(
    memo_entries: usize,
    account: Account,
    setting: &Setting<'_>,
    meter: &mut dyn Meter,
    operation: impl Fn(&mut Known<'_, '_>, &Request) -> bool,
) -> Result<(), Box<dyn Error>> {
    let (gate, _writer) = road::gate(setting.material, setting.subjects, 1, memo_entries)?;
    let request = Request::new(0, setting.subjects, setting.first_token()?, account, CALL_BYTES)?;
    let mut parse = Parse::new(&world::limits(1));
    let mut known = Known::new(&gate, &request.head(), &request.body, &mut parse, NOW).map_err(DenyReason::code)?;
    metered(meter, || operation(&mut known, &request))
}

/// Binds a token to its principal.
///
/// # Errors
/// As [`metered`].
pub fn bind_identity(setting: &Setting<'_>, meter: &mut dyn Meter) -> Result<(), Box<dyn Error>> {
    on_known(Account::Own, setting, meter, |known, _| known.bind().is_ok())
}

/// Checks the scopes of a tool that needs one.
///
/// # Errors
/// As [`metered`].
pub fn scope_grant(setting: &Setting<'_>, meter: &mut dyn Meter) -> Result<(), Box<dyn Error>> {
    on_known(Account::Own, setting, meter, |known, _| known.scopes() == Some(1))
}

/// Asks the policy whether the tool is shown and the call allowed: it is, with two obligations.
///
/// # Errors
/// As [`metered`].
pub fn decide_allow(setting: &Setting<'_>, meter: &mut dyn Meter) -> Result<(), Box<dyn Error>> {
    on_known(Account::Own, setting, meter, |known, _| known.decide() == Ok(2))
}

/// Asks the policy about somebody else's account.
///
/// # Errors
/// As [`metered`].
pub fn decide_deny(setting: &Setting<'_>, meter: &mut dyn Meter) -> Result<(), Box<dyn Error>> {
    on_known(Account::Foreign, setting, meter, |known, _| {
        known.decide() == Err(DenyReason::PolicyDenied)
    })
}

/// Asks the same again: both answers come from memory.
///
/// # Errors
/// As [`metered`].
pub fn decide_memo_hit(setting: &Setting<'_>, meter: &mut dyn Meter) -> Result<(), Box<dyn Error>> {
    on_known_with(MEMO_ENTRIES, Account::Foreign, setting, meter, |known, _| {
        known.decide() == Err(DenyReason::PolicyDenied)
    })
}

/// Asks the policy whether the tool is shown and the call allowed, over `subjects` subjects.
///
/// # Errors
/// As [`metered`].
pub fn decide(
    subjects: usize,
    caller: Caller,
    memo: bool,
    setting: &Setting<'_>,
    meter: &mut dyn Meter,
) -> Result<(), Box<dyn Error>> {
    let acting;
    let (material, account) = match caller {
        Caller::Agent => {
            acting = Material::acting(Algorithm::Es256, subjects);
            (&acting, Account::Own)
        }
        Caller::Owner => (setting.material, Account::Own),
        Caller::Stranger => (setting.material, Account::Foreign),
    };
    let setting = Setting {
        material,
        subjects: setting.scaled(subjects),
        ..*setting
    };
    let expected = match account {
        Account::Own => Ok(2),
        Account::Foreign => Err(DenyReason::PolicyDenied),
    };
    let entries = if memo { MEMO_ENTRIES } else { 0 };
    on_known_with(entries, account, &setting, meter, |known, _| known.decide() == expected)
}

/// Writes the record of an allowed request.
///
/// # Errors
/// As [`metered`].
pub fn record_request(setting: &Setting<'_>, meter: &mut dyn Meter) -> Result<(), Box<dyn Error>> {
    on_known(Account::Own, setting, meter, |known, _| 500 < known.record())
}

/// Hands a record of a kibibyte to the log and lets the writer write it, a batch of one.
///
/// # Errors
/// As [`metered`], and when the log does not start.
pub fn append_record(_: &Setting<'_>, meter: &mut dyn Meter) -> Result<(), Box<dyn Error>> {
    let (log, mut writer) = AuditLog::open(Box::new(Counting::default()), AuditSettings::default(), NOW)?;
    let text = format!("{{\"record\":\"{}\"}}", "r".repeat(1_011));
    metered(meter, || {
        let mut record = log.buffer();
        record.extend_from_slice(text.as_bytes());
        log.submit(record).is_ok() && writer.step() == Step::Wrote(1)
    })
}

/// Reads the upstream's answer.
///
/// # Errors
/// As [`metered`].
pub fn split_answer(setting: &Setting<'_>, meter: &mut dyn Meter) -> Result<(), Box<dyn Error>> {
    on_known(Account::Own, setting, meter, |known, request| {
        known.split(&request.answer) == Ok(2)
    })
}

/// Reads an answer and masks two values in each of its two forms.
///
/// # Errors
/// As [`metered`].
pub fn redact(setting: &Setting<'_>, meter: &mut dyn Meter) -> Result<(), Box<dyn Error>> {
    on_known(Account::Own, setting, meter, |known, request| {
        known.redact(&request.answer) == Ok(4)
    })
}

/// Reads an answer, asks the policy about it and carries out three redactions in each of its two forms.
///
/// # Errors
/// As [`metered`].
pub fn review(setting: &Setting<'_>, meter: &mut dyn Meter) -> Result<(), Box<dyn Error>> {
    on_known(Account::Own, setting, meter, |known, request| {
        let left = known.review(request.answer.clone(), NOW.after(Duration::from_millis(5)));
        left.is_ok_and(|left| left < request.answer.len())
    })
}
