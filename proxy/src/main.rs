//! The binary: a gate in front of MCP servers.
//!
//! Owns the allocator, the one crypto provider and the process's end. Everything else is a module's.

use std::process::ExitCode;

mod background;
mod cli;
mod config;
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
mod telemetry;
mod tls;
mod upstream;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Before anything that could speak TLS; refused only when one is installed already, which cannot be here.
    let _ = rustls::crypto::ring::default_provider().install_default();
    match cli::main() {
        Ok(exit) => exit.into(),
        Err(error) => {
            eprintln!("portcullis: {error:#}");
            cli::Exit::Internal.into()
        }
    }
}
