//! The table of what is measured.
//!
//! Owns [`Scenario`] and its rows, the seam [`Meter`] and the one place where an operation is checked to have done what
//! it should. The names are lists of dimensions: what is done, on what, how it ends.

use std::error::Error;

use portcullis_core::denial::DenyReason;
use portcullis_fixtures::keys::Algorithm;

use crate::material::Material;
use crate::road::{Outcome, Road};
use crate::stages::Caller;
use crate::world::{Account, CALL_BYTES};
use crate::{engines, reference, stages};

/// What measures an operation: it runs it as often as it wants to.
pub trait Meter {
    /// Runs `operation` and measures it.
    fn measure(&mut self, operation: &mut dyn FnMut());
}

/// How much a scenario sets up.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Scale {
    /// For valgrind: 2,000 subjects, few tokens, since a token more costs no instruction of the others.
    Counted,
    /// Next to nothing, to see that every scenario runs.
    Smoke,
    /// 2,000 subjects and as many tokens as the scenario says.
    Timed,
}

/// What a scenario is set up with.
#[derive(Clone, Copy, Debug)]
pub struct Setting<'m> {
    /// Keys and tokens.
    pub material: &'m Material,
    /// Subjects in the policy's data.
    pub subjects: usize,
    /// How much is set up.
    pub scale: Scale,
}

/// One row: an operation, and how it is measured.
#[derive(Clone, Copy)]
pub struct Scenario {
    /// The name, the same in every report.
    pub name: &'static str,
    /// The group it is reported in: its stage.
    pub group: &'static str,
    /// Whose signatures the tokens have.
    pub algorithm: Algorithm,
    /// How many tokens come in turn, when timed.
    pub tokens: usize,
    /// How many operations are counted by `portcullis-icount`; `None` leaves it to wall time.
    pub counted: Option<u64>,
    #[expect(clippy::type_complexity, reason = "a name for it would hide what it is")]
    run: fn(&Setting<'_>, &mut dyn Meter) -> Result<(), Box<dyn Error>>,
}

impl std::fmt::Debug for Scenario {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Scenario({})", self.name)
    }
}

impl Scenario {
    /// The scenario of that name.
    pub fn by_name(name: &str) -> Option<&'static Self> {
        SCENARIOS.iter().find(|scenario| scenario.name == name)
    }

    /// The scenarios whose instructions are counted.
    pub fn counted() -> impl Iterator<Item = &'static Self> {
        SCENARIOS.iter().filter(|scenario| scenario.counted.is_some())
    }

    /// The tokens that the scenario needs.
    pub fn material(&self, scale: Scale) -> Material {
        let tokens = match scale {
            Scale::Counted => self.tokens.min(COUNTED_TOKENS),
            Scale::Smoke => self.tokens.min(4),
            Scale::Timed => self.tokens,
        };
        Material::sign(self.algorithm, tokens, subjects(scale))
    }

    /// Sets up the scenario and hands its operation to `meter`.
    ///
    /// # Errors
    /// When it cannot be set up, or when the operation once did not do what it should: nothing was measured then.
    pub fn run(&self, material: &Material, scale: Scale, meter: &mut dyn Meter) -> Result<(), Box<dyn Error>> {
        let setting = Setting {
            material,
            subjects: subjects(scale),
            scale,
        };
        (self.run)(&setting, meter).map_err(|error| format!("scenario `{}`: {error}", self.name).into())
    }
}

impl<'m> Setting<'m> {
    /// So many subjects, or the few of a smoke test.
    pub fn scaled(&self, subjects: usize) -> usize {
        match self.scale {
            Scale::Smoke => subjects.min(self.subjects),
            Scale::Counted | Scale::Timed => subjects,
        }
    }

    /// The first token.
    ///
    /// # Errors
    /// When there is none.
    pub fn first_token(&self) -> Result<&'m str, Box<dyn Error>> {
        let first = self.material.tokens.first().ok_or("there is no token")?;
        Ok(first)
    }
}

/// Hands `operation` to `meter` and checks that it did what it should, each time.
///
/// # Errors
/// When it once did not.
pub fn metered(meter: &mut dyn Meter, mut operation: impl FnMut() -> bool) -> Result<(), Box<dyn Error>> {
    let (mut done, mut wrong) = (0_u64, 0_u64);
    meter.measure(&mut || {
        done += 1;
        wrong += u64::from(!operation());
    });
    if wrong == 0 {
        Ok(())
    } else {
        Err(format!("{wrong} of {done} operations did not do what they should").into())
    }
}

/// The whole decision, on a road whose tokens have each been seen once.
fn whole(
    setting: &Setting<'_>,
    meter: &mut dyn Meter,
    tokens_cached_max: usize,
    account: Account,
) -> Result<(), Box<dyn Error>> {
    let mut road = Road::new(setting.material, setting.subjects, tokens_cached_max, account)?;
    let expected = match account {
        Account::Foreign => Outcome::Refused(DenyReason::PolicyDenied),
        Account::Own => Outcome::Released,
    };
    for _ in 0..road.len() {
        let outcome = road.judge_next();
        if outcome != expected {
            return Err(format!("a request came to {outcome:?}").into());
        }
    }
    metered(meter, || road.judge_next() == expected)
}

const fn subjects(scale: Scale) -> usize {
    match scale {
        Scale::Counted | Scale::Timed => 2_000,
        Scale::Smoke => 40,
    }
}

/// Tokens of a counted scenario: enough that the differences between signatures even out.
const COUNTED_TOKENS: usize = 64;

/// The cache of a gate whose callers come back.
const WARM: usize = 100_000;

/// A cache that forgets each token before it comes again.
const COLD: usize = 1;

const STAGE: Scenario = Scenario {
    name: "",
    group: "",
    algorithm: Algorithm::Es256,
    tokens: 1,
    counted: None,
    run: stages::bind_identity,
};

/// A decision timed beside other ways to come to it.
#[expect(clippy::type_complexity, reason = "a name for it would hide what it is")]
const fn decision(name: &'static str, run: fn(&Setting<'_>, &mut dyn Meter) -> Result<(), Box<dyn Error>>) -> Scenario {
    Scenario {
        name,
        group: "decision",
        run,
        ..STAGE
    }
}

/// Every scenario, in the order of the road.
pub static SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "verify_hit_64",
        group: "verify",
        tokens: 64,
        counted: Some(2_048),
        run: |setting, meter| stages::verify(WARM, setting, meter),
        ..STAGE
    },
    Scenario {
        name: "verify_hit_10k",
        group: "verify",
        tokens: 10_000,
        run: |setting, meter| stages::verify(WARM, setting, meter),
        ..STAGE
    },
    Scenario {
        name: "verify_es256_cold",
        group: "verify",
        tokens: 64,
        counted: Some(128),
        run: |setting, meter| stages::verify(COLD, setting, meter),
        ..STAGE
    },
    Scenario {
        name: "reference_ring_es256",
        group: "verify",
        tokens: 64,
        run: reference::ring_es256,
        ..STAGE
    },
    Scenario {
        name: "verify_rs256_cold",
        group: "verify",
        algorithm: Algorithm::Rs256,
        tokens: 64,
        counted: Some(128),
        run: |setting, meter| stages::verify(COLD, setting, meter),
    },
    Scenario {
        name: "reference_ring_rs256",
        group: "verify",
        algorithm: Algorithm::Rs256,
        tokens: 64,
        run: reference::ring_rs256,
        ..STAGE
    },
    Scenario {
        name: "bind_identity",
        group: "identity",
        counted: Some(2_000),
        run: stages::bind_identity,
        ..STAGE
    },
    Scenario {
        name: "parse_call_350b",
        group: "parse",
        counted: Some(2_000),
        run: |setting, meter| stages::parse_call(CALL_BYTES, setting, meter),
        ..STAGE
    },
    Scenario {
        name: "reference_simd_json_350b",
        group: "parse",
        run: |setting, meter| reference::simd_json(CALL_BYTES, setting, meter),
        ..STAGE
    },
    Scenario {
        name: "parse_call_4k",
        group: "parse",
        counted: Some(500),
        run: |setting, meter| stages::parse_call(4_096, setting, meter),
        ..STAGE
    },
    Scenario {
        name: "reference_simd_json_4k",
        group: "parse",
        run: |setting, meter| reference::simd_json(4_096, setting, meter),
        ..STAGE
    },
    Scenario {
        name: "scope_grant",
        group: "scope",
        counted: Some(5_000),
        run: stages::scope_grant,
        ..STAGE
    },
    Scenario {
        name: "decide_r2000_allow",
        group: "decide",
        counted: Some(500),
        run: stages::decide_allow,
        ..STAGE
    },
    Scenario {
        name: "decide_r2000_deny",
        group: "decide",
        counted: Some(500),
        run: stages::decide_deny,
        ..STAGE
    },
    Scenario {
        name: "decide_memo_hit",
        group: "decide",
        counted: Some(2_000),
        run: stages::decide_memo_hit,
        ..STAGE
    },
    decision("allow_10", |setting, meter| {
        stages::decide(10, Caller::Owner, false, setting, meter)
    }),
    decision("allow_10_memo", |setting, meter| {
        stages::decide(10, Caller::Owner, true, setting, meter)
    }),
    decision("deny_10", |setting, meter| {
        stages::decide(10, Caller::Stranger, false, setting, meter)
    }),
    decision("deny_10_memo", |setting, meter| {
        stages::decide(10, Caller::Stranger, true, setting, meter)
    }),
    decision("agent_10", |setting, meter| {
        stages::decide(10, Caller::Agent, false, setting, meter)
    }),
    decision("agent_10_memo", |setting, meter| {
        stages::decide(10, Caller::Agent, true, setting, meter)
    }),
    decision("interpreter_10", |setting, meter| {
        engines::interpreter(10, setting, meter)
    }),
    decision("native_10", |setting, meter| engines::native(10, setting, meter)),
    decision("allow_10k", |setting, meter| {
        stages::decide(10_000, Caller::Owner, false, setting, meter)
    }),
    decision("allow_10k_memo", |setting, meter| {
        stages::decide(10_000, Caller::Owner, true, setting, meter)
    }),
    decision("deny_10k", |setting, meter| {
        stages::decide(10_000, Caller::Stranger, false, setting, meter)
    }),
    decision("deny_10k_memo", |setting, meter| {
        stages::decide(10_000, Caller::Stranger, true, setting, meter)
    }),
    decision("agent_10k", |setting, meter| {
        stages::decide(10_000, Caller::Agent, false, setting, meter)
    }),
    decision("agent_10k_memo", |setting, meter| {
        stages::decide(10_000, Caller::Agent, true, setting, meter)
    }),
    decision("interpreter_10k", |setting, meter| {
        engines::interpreter(10_000, setting, meter)
    }),
    decision("native_10k", |setting, meter| engines::native(10_000, setting, meter)),
    decision("allow_100k", |setting, meter| {
        stages::decide(100_000, Caller::Owner, false, setting, meter)
    }),
    decision("allow_100k_memo", |setting, meter| {
        stages::decide(100_000, Caller::Owner, true, setting, meter)
    }),
    decision("deny_100k", |setting, meter| {
        stages::decide(100_000, Caller::Stranger, false, setting, meter)
    }),
    decision("deny_100k_memo", |setting, meter| {
        stages::decide(100_000, Caller::Stranger, true, setting, meter)
    }),
    decision("agent_100k", |setting, meter| {
        stages::decide(100_000, Caller::Agent, false, setting, meter)
    }),
    decision("agent_100k_memo", |setting, meter| {
        stages::decide(100_000, Caller::Agent, true, setting, meter)
    }),
    decision("interpreter_100k", |setting, meter| {
        engines::interpreter(100_000, setting, meter)
    }),
    decision("native_100k", |setting, meter| engines::native(100_000, setting, meter)),
    Scenario {
        name: "record_request",
        group: "record",
        counted: Some(2_000),
        run: stages::record_request,
        ..STAGE
    },
    Scenario {
        name: "append_record_1k",
        group: "record",
        counted: Some(1_000),
        run: stages::append_record,
        ..STAGE
    },
    Scenario {
        name: "split_answer",
        group: "review",
        run: stages::split_answer,
        ..STAGE
    },
    Scenario {
        name: "redact_2",
        group: "review",
        counted: Some(1_000),
        run: stages::redact,
        ..STAGE
    },
    Scenario {
        name: "review_3_redactions",
        group: "review",
        counted: Some(500),
        run: stages::review,
        ..STAGE
    },
    // Not counted: how the allocator joins its free blocks moves it by 3.5 % from run to run. `whole_cold_es256` takes
    // the same road.
    Scenario {
        name: "whole_warm_allow",
        group: "whole",
        tokens: 10_000,
        run: |setting, meter| whole(setting, meter, WARM, Account::Own),
        ..STAGE
    },
    Scenario {
        name: "whole_warm_deny",
        group: "whole",
        tokens: 10_000,
        counted: Some(256),
        run: |setting, meter| whole(setting, meter, WARM, Account::Foreign),
        ..STAGE
    },
    Scenario {
        name: "whole_cold_es256",
        group: "whole",
        tokens: 10_000,
        counted: Some(128),
        run: |setting, meter| whole(setting, meter, COLD, Account::Own),
        ..STAGE
    },
];

#[cfg(test)]
mod tests;
