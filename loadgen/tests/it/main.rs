//! The generator as its users have it: the binary, its reports and its exit status, against real servers.

// `cfg(test)` is always true here; clippy takes it as the sign that its lints for production code do not apply.
#[cfg(test)]
mod program;
#[cfg(test)]
mod run;
#[cfg(test)]
mod search;
