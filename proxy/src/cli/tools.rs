//! `portcullis tools`: what tools the upstreams have, which of their definitions are accepted, and what is wrong with them.
//!
//! Owns the three commands. Each lists the upstreams live, by the gate's own parts; only `accept` changes anything, and
//! that is the file of pins, which a running gate reads again at its next listing or at SIGHUP.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use clap::{Args, Subcommand, ValueEnum};
use portcullis_core::catalog::{Catalog, CatalogTool, ListingError, PinState, Pins};
use portcullis_core::config::Server;
use serde_json::{Value, json};

use super::jwks::write_out;
use super::{Exit, check};
use crate::background::tools::list_tools;
use crate::config::{self, Config, Names};
use crate::pins::{self, PinFileError};
use crate::signer::Signer;
use crate::upstream::Upstreams;

mod scopes;

#[derive(Debug, Subcommand)]
pub(super) enum ToolsCommand {
    /// List the tools of the upstreams, and how their definitions stand to the accepted ones.
    List(ToolsArguments),
    /// Accept definitions as they are now; a running gate takes them up at its next listing, or at SIGHUP.
    Accept(AcceptArguments),
    /// Tell what is wrong with the tools and their rows; exit 3 if anything is. Scopes that no issuer of the server lists
    /// among those that it grants are warnings, since an issuer need not list them.
    Lint(ToolsArguments),
}

#[derive(Debug, Args)]
pub(super) struct ToolsArguments {
    /// The configuration file.
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
    /// One server by name. Default: all.
    #[arg(long, value_name = "NAME")]
    server: Option<String>,
    /// The form of the answer.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: ToolsFormat,
}

#[derive(Debug, Args)]
pub(super) struct AcceptArguments {
    #[command(flatten)]
    of: ToolsArguments,
    /// The tools whose definitions are accepted.
    #[arg(value_name = "TOOL", required_unless_present = "all", conflicts_with = "all")]
    tools: Vec<String>,
    /// Accept every definition.
    #[arg(long)]
    all: bool,
}

/// The form of an answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum ToolsFormat {
    /// For people.
    Text,
    /// For programs, on stdout.
    Json,
}

/// One server with what its upstream has.
struct Listed {
    server: Server,
    catalog: Catalog,
    pins: Pins,
}

/// Something that is wrong.
#[derive(Debug)]
struct Finding {
    code: &'static str,
    server: String,
    tool: String,
    message: String,
}

/// Runs one of the commands.
pub(super) fn tools(command: &ToolsCommand) -> anyhow::Result<Exit> {
    let of = match command {
        ToolsCommand::List(of) | ToolsCommand::Lint(of) => of,
        ToolsCommand::Accept(arguments) => &arguments.of,
    };
    let config = match config::load(&of.config, Names::Resolve, 1) {
        Ok(config) => config,
        Err(diagnostics) => {
            eprint!("{}", diagnostics.pretty());
            return Ok(check::exit_of(&diagnostics));
        }
    };
    // Without the gate's keys all is listed but what wants a statement of the gate.
    let signer = Signer::default();
    if let Ok(store) = config::open_keys(&config.keys, &of.config) {
        signer.renew(&store);
    }
    let listed = match list_all(&config, &signer, of.server.as_deref())? {
        Ok(listed) => listed,
        Err(exit) => return Ok(exit),
    };
    match command {
        ToolsCommand::List(_) => show(&listed, of.format),
        ToolsCommand::Lint(_) => lint(&listed, &scopes::warnings(&config, &listed)?, of.format),
        ToolsCommand::Accept(arguments) => accept(listed, &config.pins, arguments),
    }
}

/// Lists the tools of the wanted servers; an exit status when one is not there or not reached.
fn list_all(config: &Config, signer: &Signer, wanted: Option<&str>) -> anyhow::Result<Result<Vec<Listed>, Exit>> {
    let plans = config.servers.iter();
    let plans: Vec<_> = plans
        .filter(|plan| wanted.is_none_or(|name| name == plan.name()))
        .collect();
    if plans.is_empty() {
        eprintln!("portcullis: the configuration has no server of that name");
        return Ok(Err(Exit::Invalid));
    }
    let upstreams = Upstreams::new();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut all = Vec::new();
    for plan in plans {
        let server = plan.build()?;
        let listed = runtime.block_on(list_tools((&upstreams, signer), &server, &config.limits));
        match (listed, pins::read(&config.pins, plan.name())) {
            (Ok(catalog), Ok(pins)) => {
                // Nobody has looked at them yet: the first gate that does accepts them.
                let pins = pins.unwrap_or_default();
                let catalog = catalog.pinned(&pins);
                all.push(Listed { server, catalog, pins });
            }
            (Err(error), _) => {
                eprintln!("portcullis: the tools of `{}` cannot be listed: {error}", plan.name());
                return Ok(Err(exit_of(error)));
            }
            (_, Err(error @ (PinFileError::File { .. } | PinFileError::Pins { .. }))) => {
                eprintln!("portcullis: {error}");
                return Ok(Err(Exit::Invalid));
            }
        }
    }
    Ok(Ok(all))
}

/// Whatever an upstream answers, it is not there as it should be.
const fn exit_of(_: ListingError) -> Exit {
    Exit::Unavailable
}

fn show(listed: &[Listed], format: ToolsFormat) -> anyhow::Result<Exit> {
    let text = match format {
        ToolsFormat::Json => {
            let servers: Vec<Value> = listed.iter().map(Listed::to_json).collect();
            format!("{}\n", json!({ "servers": servers }))
        }
        ToolsFormat::Text => {
            let rows = listed.iter().flat_map(Listed::rows);
            let heads = ["server", "tool", "definition", "digest", "scopes", "headers"].map(str::to_owned);
            table(std::iter::once(heads).chain(rows).collect())
        }
    };
    write_out(&text)?;
    Ok(Exit::Ok)
}

impl Listed {
    fn name(&self) -> &str {
        self.server.name()
    }

    fn to_json(&self) -> Value {
        let tools = self.catalog.tools().map(|(name, tool)| {
            json!({
                "name": name,
                "definition": tool.pin().code(),
                "digest": tool.digest().to_string(),
                "accepted_digest": self.pins.of(name).map(|digest| digest.to_string()),
                "scopes": self.server.tools().required(name),
                "headers": tool.parameter_headers().collect::<Vec<_>>(),
                "header_fault": tool.parameter_fault().map(|fault| fault.to_string()),
            })
        });
        json!({ "server": self.name(), "tools": tools.collect::<Vec<_>>() })
    }

    fn rows(&self) -> impl Iterator<Item = [String; 6]> {
        self.catalog.tools().map(|(name, tool)| {
            let scopes = match self.server.tools().required(name) {
                None => "no row".to_owned(),
                Some([]) => "none".to_owned(),
                Some(scopes) => scopes.iter().map(|scope| &**scope).collect::<Vec<_>>().join(" "),
            };
            let digest: String = tool.digest().to_string().chars().take(DIGEST_CHARS).collect();
            let pin = tool.pin().code().to_owned();
            [self.name().to_owned(), plain(name), pin, digest, scopes, headers(tool)]
        })
    }
}

fn headers(tool: &CatalogTool) -> String {
    if tool.parameter_fault().is_some() {
        return "unusable".to_owned();
    }
    let headers: Vec<&str> = tool.parameter_headers().collect();
    if headers.is_empty() {
        "-".to_owned()
    } else {
        headers.join(" ")
    }
}

/// A name of the upstream's without what a terminal would act on.
fn plain(name: &str) -> String {
    name.escape_default().to_string()
}

fn table(rows: Vec<[String; 6]>) -> String {
    let widths: [usize; 6] = std::array::from_fn(|column| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or_default()
    });
    let mut text = String::new();
    for row in &rows {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

fn accept(listed: Vec<Listed>, folder: &Path, arguments: &AcceptArguments) -> anyhow::Result<Exit> {
    let known = |tool: &String| listed.iter().any(|one| one.catalog.tool(tool).is_some());
    if let Some(unknown) = arguments.tools.iter().find(|tool| !known(tool)) {
        eprintln!("portcullis: no server lists a tool `{}`", plain(unknown));
        return Ok(Exit::Invalid);
    }
    let mut accepted = Vec::new();
    for mut one in listed {
        let wanted = |name: &str| arguments.all || arguments.tools.iter().any(|tool| tool == name);
        let before = accepted.len();
        for (name, tool) in one.catalog.tools().filter(|(name, _)| wanted(name)) {
            if one.pins.accept(name, tool.digest()) {
                accepted.push((Arc::clone(one.server.name()), name.to_owned(), tool.digest()));
            }
        }
        if before != accepted.len() || arguments.all {
            pins::write(folder, one.server.name(), &one.pins).context("the pins cannot be written")?;
        }
    }
    let text = match arguments.of.format {
        ToolsFormat::Json => {
            let one = |(server, tool, digest): &(Arc<str>, String, _)| {
                let digest: &portcullis_core::catalog::ToolDigest = digest;
                json!({ "server": &**server, "tool": tool, "digest": digest.to_string() })
            };
            format!(
                "{}\n",
                json!({ "accepted": accepted.iter().map(one).collect::<Vec<_>>() })
            )
        }
        ToolsFormat::Text => {
            let one = |(server, tool, digest): &(Arc<str>, String, _)| {
                let digest: &portcullis_core::catalog::ToolDigest = digest;
                format!("accepted {server} {} {digest}\n", plain(tool))
            };
            let lines: String = accepted.iter().map(one).collect();
            format!("{lines}{} accepted\n", accepted.len())
        }
    };
    write_out(&text)?;
    Ok(Exit::Ok)
}

fn lint(listed: &[Listed], warnings: &[Finding], format: ToolsFormat) -> anyhow::Result<Exit> {
    let mut findings: Vec<Finding> = listed.iter().flat_map(Listed::findings).collect();
    findings.extend(shadows(listed));
    let text = match format {
        ToolsFormat::Json => {
            let all = |of: &[Finding]| of.iter().map(Finding::to_json).collect::<Vec<_>>();
            format!("{}\n", json!({ "findings": all(&findings), "warnings": all(warnings) }))
        }
        ToolsFormat::Text => {
            let mut lines: String = findings.iter().map(|finding| format!("{}\n", finding.line())).collect();
            for warning in warnings {
                lines.push_str(&format!("warning: {}\n", warning.line()));
            }
            let found = match findings.len() {
                0 => "nothing is wrong".to_owned(),
                count => format!("{count} found"),
            };
            match warnings.len() {
                0 => format!("{lines}{found}\n"),
                1 => format!("{lines}{found}, 1 warning\n"),
                count => format!("{lines}{found}, {count} warnings\n"),
            }
        }
    };
    write_out(&text)?;
    Ok(match findings.is_empty() {
        true => Exit::Ok,
        false => Exit::Invalid,
    })
}

impl Finding {
    fn line(&self) -> String {
        let Self {
            code,
            server,
            tool,
            message,
        } = self;
        format!("{server}: {}: {message} [{code}]", plain(tool))
    }

    fn to_json(&self) -> Value {
        let Self {
            code,
            server,
            tool,
            message,
        } = self;
        json!({ "code": code, "server": server, "tool": tool, "message": message })
    }
}

impl Listed {
    /// What is wrong with this server's tools and rows.
    fn findings(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        let mut found = |code, tool: &str, message: String| {
            findings.push(Finding {
                code,
                server: self.name().to_owned(),
                tool: tool.to_owned(),
                message,
            });
        };
        for (name, tool) in self.catalog.tools() {
            if self.server.tools().required(name).is_none() {
                found(
                    "tool_without_row",
                    name,
                    "it has no row, so that no call of it passes".to_owned(),
                );
            }
            if !is_tool_name(name) {
                let message = "its name is not 1 to 128 of the letters A-Z and a-z, digits and `_.-`";
                found("name_invalid", name, message.to_owned());
            }
            if let Some(fault) = tool.parameter_fault() {
                found(
                    "header_invalid",
                    name,
                    format!("{fault}, so that clients must not call it"),
                );
            }
            match tool.pin() {
                PinState::Changed => {
                    found(
                        "definition_changed",
                        name,
                        "its definition is not the accepted one".to_owned(),
                    );
                }
                PinState::New if !self.pins.is_empty() => {
                    found("definition_new", name, "its definition was never accepted".to_owned());
                }
                PinState::Accepted | PinState::New => {}
            }
        }
        for (name, _) in self.server.tools().rows() {
            if self.catalog.tool(name).is_none() {
                found(
                    "row_without_tool",
                    name,
                    "its row names a tool that the upstream does not list".to_owned(),
                );
            }
        }
        findings
    }
}

/// Names that differ by case alone, on one server or on several: a model takes the one for the other.
fn shadows(listed: &[Listed]) -> Vec<Finding> {
    let mut by_folded: BTreeMap<String, BTreeSet<(&str, &str)>> = BTreeMap::new();
    for one in listed {
        for (name, _) in one.catalog.tools() {
            let spelled = by_folded.entry(name.to_lowercase()).or_default();
            spelled.insert((name, one.name()));
        }
    }
    let mut findings = Vec::new();
    for spelled in by_folded.values() {
        let mut others = spelled.iter();
        let Some((first, at)) = others.next() else {
            continue;
        };
        for (name, server) in others.filter(|(name, _)| name != first) {
            findings.push(Finding {
                code: "name_shadows",
                server: (*server).to_owned(),
                tool: (*name).to_owned(),
                message: format!("its name differs by case alone from `{}` of `{at}`", plain(first)),
            });
        }
    }
    findings
}

/// A name as the specification recommends it (MCP 2025-11-25, tools).
fn is_tool_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    (1..=128).contains(&name.len()) && name.bytes().all(allowed)
}

/// `sha256:` and as many digits as tell definitions apart.
const DIGEST_CHARS: usize = 19;
