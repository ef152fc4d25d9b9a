//! Portcullis: a gate in front of MCP servers.

mod cors;
mod durable;
mod egress;
mod health;
mod ingress;
mod listen;
mod metadata;
mod respond;
mod scratch;
mod service;
mod shutdown;
mod tls;
mod upstream;

fn main() {}
