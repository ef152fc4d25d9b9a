//! Rules about the source of the core that the compiler does not know (design, section 1), and the core seen from
//! outside, through its public API alone.

// `cfg(test)` is always true here; clippy takes it as the sign that its lints for production code do not apply.
#[cfg(test)]
mod heap;
#[cfg(test)]
mod sources;
#[cfg(test)]
mod swaps;
#[cfg(test)]
mod threads;
#[cfg(test)]
mod wycheproof;
