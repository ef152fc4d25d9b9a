//! Which processors the targets get, and which the generator.
//!
//! Owns [`Pinning`]. Binds nothing itself.

use rustix::thread::{CpuSet, sched_getaffinity};

/// Who is bound where. No processor means: not bound.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Pinning {
    /// The processor of the targets. One: each has one worker, and they take turns.
    pub targets: Vec<usize>,
    /// The processors of the generator and of the upstream.
    pub generator: Vec<usize>,
}

impl Pinning {
    /// Nobody is bound.
    pub fn none() -> Self {
        Self::default()
    }

    /// The first processor that this process may use for the targets, the others for everything else; nobody is bound
    /// where there is but one.
    pub fn apart() -> Self {
        match sched_getaffinity(None) {
            Ok(allowed) => Self::of((0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core)).collect()),
            Err(_) => Self::none(),
        }
    }

    fn of(allowed: Vec<usize>) -> Self {
        match allowed.split_first() {
            Some((first, others)) if !others.is_empty() => Self {
                targets: vec![*first],
                generator: others.to_vec(),
            },
            _ => Self::none(),
        }
    }

    /// What a reader must know of it.
    pub(super) fn notes(&self) -> Vec<String> {
        if self.targets.is_empty() {
            return vec!["nothing is bound to processors: targets, upstream and generator share them all".to_owned()];
        }
        vec![format!(
            "pass-through and gate are bound to processor {}, upstream (`direct`) and generator to {}",
            list(&self.targets),
            list(&self.generator)
        )]
    }
}

fn list(cores: &[usize]) -> String {
    let cores: Vec<String> = cores.iter().map(usize::to_string).collect();
    cores.join(",")
}

#[cfg(test)]
mod tests;
