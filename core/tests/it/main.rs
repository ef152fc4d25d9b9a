//! Rules about the source of the core that the compiler does not know (design, section 1).

mod sources;
