//! The binary: a gate in front of MCP servers.
//!
//! Owns the allocator, the one crypto provider, what is said of a panic, and the process's end. Everything else is a
//! module's.

use std::process::ExitCode;

mod admin;
mod background;
mod cli;
mod clock;
mod config;
mod cors;
mod durable;
mod egress;
mod health;
mod ingress;
mod keys;
mod listen;
mod metadata;
mod pins;
mod respond;
mod scratch;
mod service;
mod shutdown;
mod signer;
mod telemetry;
mod tls;
mod trust;
mod upstream;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Before anything that could speak TLS; refused only when one is installed already, which cannot be here.
    let _ = rustls::crypto::ring::default_provider().install_default();
    std::panic::set_hook(Box::new(report_panic));
    match cli::main() {
        Ok(exit) => exit.into(),
        Err(error) => {
            eprintln!("portcullis: {error:#}");
            cli::Exit::Internal.into()
        }
    }
}

/// Says where a panic was, and nothing of its message: it may quote what a client sent.
fn report_panic(panic: &std::panic::PanicHookInfo<'_>) {
    let (file, line) = panic.location().map_or(("?", 0), |place| (place.file(), place.line()));
    if tracing::dispatcher::has_been_set() {
        tracing::error!(file, line, "a task panicked");
    } else {
        eprintln!("portcullis: a task panicked at {file}:{line}");
    }
}
