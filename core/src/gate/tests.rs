//! The gate from outside: what passes, what is refused beside it, and what stands on record of both.

mod arrival;
mod audiences;
mod credentials;
mod decision;
mod faults;
mod records;
mod review;
mod revocation;
mod sender;
mod stage;
mod stream;
mod times;
