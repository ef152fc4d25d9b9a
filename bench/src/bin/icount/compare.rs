//! What a count means beside the baseline.
//!
//! Owns the limit of 3 %, the findings of a check and the acceptance of a new count. Measures nothing, reads and writes
//! no file. What cannot be compared fails: a check that does not know is no pass.

use std::collections::BTreeMap;
use std::fmt;

use crate::baseline::{Baseline, Host, Step};
use crate::callgrind::Counts;

/// By how many hundredths a count may grow.
const GROWTH_PERCENT_MAX: u128 = 3;

/// Something that a check has to say.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Finding {
    /// It takes so much less that the baseline no longer guards it.
    Fell(Change),
    /// It takes more than the limit allows.
    Grew(Change),
    /// Nothing here can be compared with the baseline.
    HostDiffers { baseline: Host, here: Host },
    /// The baseline has no count of it.
    Missing(String),
    /// The baseline itself has grown without a word.
    Unreasoned(Change),
    /// Valgrind is another one, which the features do not show.
    ValgrindDiffers { baseline: String, here: String },
    /// The baseline has a count of what is no scenario any more.
    Vanished(String),
}

/// A scenario with two counts.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Change {
    pub(crate) name: String,
    pub(crate) from: u64,
    pub(crate) to: u64,
}

/// What is to go into the baseline.
#[derive(Clone, Debug)]
pub(crate) struct Accepted {
    /// The counts of every scenario.
    pub(crate) counts: Counts,
    /// The scenarios whose count is accepted; empty accepts whatever moved.
    pub(crate) only: Vec<String>,
    pub(crate) reason: String,
    pub(crate) date: String,
}

/// Why nothing is accepted.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum AcceptError {
    /// Another machine's counts cannot stand beside the baseline's.
    #[error("the baseline is of {0}, here is {1}: accept every scenario at once, without naming any")]
    HostDiffers(Box<Host>, Box<Host>),
    /// A change without a reason is what the baseline is to prevent.
    #[error("`--reason` is empty: say in one sentence why the count changed")]
    ReasonEmpty,
}

/// Compares what was counted with the baseline, and the baseline with itself.
pub(crate) fn check(baseline: &Baseline, counts: &Counts) -> Vec<Finding> {
    let mut findings = unreasoned(baseline);
    let (before, here) = (&baseline.host, &counts.host);
    if !before.is_comparable_to(here) {
        findings.push(Finding::HostDiffers {
            baseline: before.clone(),
            here: here.clone(),
        });
        return findings;
    }
    if before.valgrind != here.valgrind {
        findings.push(Finding::ValgrindDiffers {
            baseline: before.valgrind.clone(),
            here: here.valgrind.clone(),
        });
    }
    for (name, to) in &counts.instructions {
        let Some(from) = baseline.current(name) else {
            findings.push(Finding::Missing(name.clone()));
            continue;
        };
        let change = Change {
            name: name.clone(),
            from,
            to: *to,
        };
        if is_beyond(from, *to) {
            findings.push(Finding::Grew(change));
        } else if fell(from, *to) {
            findings.push(Finding::Fell(change));
        }
    }
    findings.extend(vanished(baseline, &counts.instructions).map(|name| Finding::Vanished(name.clone())));
    findings
}

/// The baseline with new steps for what is accepted, and without what is no scenario any more.
///
/// # Errors
/// [`AcceptError`] without a reason, and for single scenarios of another machine.
pub(crate) fn accept(baseline: Option<Baseline>, accepted: &Accepted) -> Result<Baseline, AcceptError> {
    let reason = accepted.reason.trim();
    if reason.is_empty() {
        return Err(AcceptError::ReasonEmpty);
    }
    let Counts { host, instructions } = &accepted.counts;
    let mut baseline = baseline.unwrap_or_else(|| Baseline {
        host: host.clone(),
        scenarios: BTreeMap::new(),
    });
    let moved_house = !baseline.host.is_comparable_to(host);
    if moved_house && !accepted.only.is_empty() {
        return Err(AcceptError::HostDiffers(
            Box::new(baseline.host),
            Box::new(host.clone()),
        ));
    }
    for (name, to) in instructions {
        let is_meant = if accepted.only.is_empty() {
            let current = baseline.current(name);
            moved_house || current.is_none_or(|from| is_beyond(from, *to) || fell(from, *to))
        } else {
            accepted.only.contains(name)
        };
        if is_meant {
            baseline.scenarios.entry(name.clone()).or_default().push(Step {
                instructions: *to,
                reason: reason.to_owned(),
                date: accepted.date.clone(),
            });
        }
    }
    let gone: Vec<String> = vanished(&baseline, instructions).cloned().collect();
    for name in gone {
        baseline.scenarios.remove(&name);
    }
    baseline.host = host.clone();
    Ok(baseline)
}

/// Steps of the baseline that nobody gave a reason for.
fn unreasoned(baseline: &Baseline) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (name, steps) in &baseline.scenarios {
        for (before, after) in steps.iter().zip(steps.iter().skip(1)) {
            if after.reason.trim().is_empty() && is_beyond(before.instructions, after.instructions) {
                findings.push(Finding::Unreasoned(Change {
                    name: name.clone(),
                    from: before.instructions,
                    to: after.instructions,
                }));
            }
        }
    }
    findings
}

fn vanished<'b>(baseline: &'b Baseline, now: &BTreeMap<String, u64>) -> impl Iterator<Item = &'b String> {
    baseline.scenarios.keys().filter(|name| !now.contains_key(*name))
}

/// Whether `to` is more than the limit above `from`.
fn is_beyond(from: u64, to: u64) -> bool {
    u128::from(from) * (100 + GROWTH_PERCENT_MAX) < u128::from(to) * 100
}

/// Whether `to` is more than the limit below `from`.
fn fell(from: u64, to: u64) -> bool {
    u128::from(to) * 100 < u128::from(from) * (100 - GROWTH_PERCENT_MAX)
}

impl Finding {
    /// Whether a check with this finding has failed.
    pub(crate) const fn fails(&self) -> bool {
        match self {
            Self::Fell(_) | Self::ValgrindDiffers { .. } => false,
            Self::Grew(_) | Self::HostDiffers { .. } | Self::Missing(_) | Self::Unreasoned(_) | Self::Vanished(_) => {
                true
            }
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, from, to } = self;
        let thousandths = if *from == 0 {
            0
        } else {
            from.abs_diff(*to).saturating_mul(1_000) / from
        };
        let sign = if to < from { '-' } else { '+' };
        let (whole, tenths) = (thousandths / 10, thousandths % 10);
        write!(
            formatter,
            "`{name}` {from} -> {to} instructions an operation ({sign}{whole}.{tenths} %)"
        )
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fell(change) => write!(
                formatter,
                "{change}: well done; hold it with `portcullis-icount accept --reason TEXT {}`",
                change.name
            ),
            Self::Grew(change) => write!(
                formatter,
                "{change}: more than 3 %; make it smaller, or say why with `portcullis-icount accept --reason TEXT {}`",
                change.name
            ),
            Self::HostDiffers { baseline, here } => write!(
                formatter,
                "the baseline was counted on {baseline}; valgrind here shows {here}. Libraries choose their code by \
                 that, so the counts cannot be compared: check on a machine like the baseline's, or take this one for \
                 the baseline with `portcullis-icount accept --reason TEXT`"
            ),
            Self::Missing(name) => write!(
                formatter,
                "`{name}` has no count in the baseline; add it with `portcullis-icount accept --reason TEXT {name}`"
            ),
            Self::Unreasoned(change) => write!(
                formatter,
                "the baseline lets {change} by without a reason: write one into the step"
            ),
            Self::ValgrindDiffers { baseline, here } => write!(
                formatter,
                "the baseline was counted by {baseline}, this by {here}; counts may differ a little"
            ),
            Self::Vanished(name) => write!(
                formatter,
                "the baseline has a count of `{name}`, which is no scenario: `portcullis-icount accept --reason TEXT` \
                 takes it out"
            ),
        }
    }
}

#[cfg(test)]
mod tests;
