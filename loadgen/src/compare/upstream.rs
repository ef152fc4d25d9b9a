//! The upstream of a bundled comparison: a demo MCP server in a process of its own.
//!
//! Owns [`serve_upstream`]. It asks for no token and keeps no request, so that it stays cheap and bounded under load.

use std::io::{self, Write as _};

use portcullis_fixtures::mcp::{Answers, Kind, McpServer, McpSettings};

/// Serves the demo CRM on a free loopback port until standard input closes. Prints `listening URL` when it listens.
///
/// # Errors
/// When no port can be had, or standard output is closed.
pub fn serve_upstream(answers: Answers) -> anyhow::Result<()> {
    let settings = McpSettings {
        answers,
        ..McpSettings::new(Kind::Crm)
    };
    let server = McpServer::start_counting(&settings)?;
    let mut out = io::stdout().lock();
    writeln!(out, "listening {}", server.url())?;
    out.flush()?;
    // Whoever started it keeps the other end open as long as it is wanted, and it closes even when that one is killed.
    io::copy(&mut io::stdin().lock(), &mut io::sink())?;
    Ok(())
}
