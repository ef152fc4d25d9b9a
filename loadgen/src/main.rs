//! The binary `portcullis-loadgen`: its allocator and its command line.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    portcullis_loadgen::cli::main(std::env::args_os())
}
