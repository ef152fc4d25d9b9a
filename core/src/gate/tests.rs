//! The gate from outside: what passes, what is refused beside it, and what stands on record of both.

mod arrival;
mod audiences;
mod awaited;
mod batches;
mod challenges;
mod continuity;
mod credentials;
mod decision;
mod faults;
mod forms;
mod http_methods;
mod machines;
mod records;
mod review;
mod revocation;
mod secrets;
mod sender;
mod server_requests;
mod sessions;
mod stage;
mod stream;
mod styles;
mod subscriptions;
mod tasks;
mod tenants;
mod times;
