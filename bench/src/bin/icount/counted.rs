//! The process that is counted.
//!
//! Owns [`counted_operations`], the one function inside which callgrind collects, so that neither set-up nor warm-up nor
//! another thread is counted; and the CPU features that this process sees, by which its libraries choose their code.

use std::error::Error;

use portcullis_bench::material::Material;
use portcullis_bench::scenario::{Meter, Scale, Scenario};

/// What callgrind is told to collect in: matches the symbol of [`counted_operations`], mangled or not.
pub(crate) const COUNTED: &str = "*counted_operations*";

/// Operations before the counted ones: what is made on first use is there then.
const WARM_UP: u64 = 64;

/// Sets up a scenario and runs its operation so many times.
///
/// # Errors
/// As [`Scenario::run`].
pub(crate) fn run(scenario: &Scenario, material: &Material, times: u64) -> Result<(), Box<dyn Error>> {
    scenario.run(material, Scale::Counted, &mut Counter { times })
}

struct Counter {
    times: u64,
}

impl Meter for Counter {
    fn measure(&mut self, operation: &mut dyn FnMut()) {
        for _ in 0..WARM_UP {
            operation();
        }
        counted_operations(operation, self.times);
    }
}

/// Never inlined: callgrind finds it by its name.
#[inline(never)]
fn counted_operations(operation: &mut dyn FnMut(), times: u64) {
    for _ in 0..times {
        operation();
    }
}

/// The features by which simd-json, ring and the C library choose among their code paths, as this process sees them.
#[cfg(target_arch = "x86_64")]
pub(crate) fn cpu_features() -> Vec<&'static str> {
    use std::arch::is_x86_feature_detected as has;
    let features = [
        ("adx", has!("adx")),
        ("aes", has!("aes")),
        ("avx", has!("avx")),
        ("avx2", has!("avx2")),
        ("avx512f", has!("avx512f")),
        ("bmi1", has!("bmi1")),
        ("bmi2", has!("bmi2")),
        ("fma", has!("fma")),
        ("pclmulqdq", has!("pclmulqdq")),
        ("sha", has!("sha")),
        ("sse4.2", has!("sse4.2")),
        ("ssse3", has!("ssse3")),
    ];
    features
        .into_iter()
        .filter(|(_, has)| *has)
        .map(|(name, _)| name)
        .collect()
}

/// The features by which simd-json and ring choose among their code paths, as this process sees them.
#[cfg(target_arch = "aarch64")]
pub(crate) fn cpu_features() -> Vec<&'static str> {
    use std::arch::is_aarch64_feature_detected as has;
    let features = [
        ("aes", has!("aes")),
        ("neon", has!("neon")),
        ("pmull", has!("pmull")),
        ("sha2", has!("sha2")),
        ("sve", has!("sve")),
    ];
    features
        .into_iter()
        .filter(|(_, has)| *has)
        .map(|(name, _)| name)
        .collect()
}

/// On other processors no library has a choice that we know of.
#[cfg(not(any(target_arch = "aarch64", target_arch = "x86_64")))]
pub(crate) fn cpu_features() -> Vec<&'static str> {
    Vec::new()
}
