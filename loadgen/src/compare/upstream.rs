//! The upstream of a comparison: a demo MCP server in a process of its own.
//!
//! Owns [`start`]. It asks for no token and keeps no request, so that it stays cheap and bounded under load.

use std::io;
use std::net::SocketAddr;

use portcullis_fixtures::mcp::{Answers, Kind, McpServer, McpSettings};

/// Serves the demo CRM at `listen` until the server is dropped.
///
/// # Errors
/// When the address cannot be bound.
pub fn start(listen: SocketAddr, answers: Answers) -> io::Result<McpServer> {
    let settings = McpSettings {
        answers,
        ..McpSettings::new(Kind::Crm)
    };
    McpServer::start_counting(&settings, listen)
}
