//! The tour: what a newcomer tries first, each step with what should come of it.
//!
//! Owns the steps. Each is judged from outside: by the answer a real HTTP client got, by what the MCP servers
//! received, and by the records. Never looks into the gate.

use std::collections::BTreeSet;

use anyhow::Context as _;
use portcullis_fixtures::calls::{Call, Era};
use portcullis_fixtures::issuer::now_s;
use portcullis_fixtures::persona::{AGENT_FOR_ALICE, AGENT_FOR_CAROL, ALICE, BOB, Persona};
use reqwest::header::WWW_AUTHENTICATE;
use serde_json::{Value, json};

use super::stage::{PROMPT, Place, RESOURCE, Stage, TEXT_TOOL};

/// What was tried, in order.
pub(super) struct Tour {
    pub(super) steps: Vec<StepResult>,
    /// The audit records that the tour left, oldest first.
    pub(super) records: Vec<Value>,
}

/// One step and what came of it.
pub(super) struct StepResult {
    pub(super) name: &'static str,
    pub(super) expected: &'static str,
    pub(super) got: String,
    pub(super) ok: bool,
}

impl Tour {
    /// Whether every step came out as expected.
    pub(super) fn ok(&self) -> bool {
        !self.steps.is_empty() && self.steps.iter().all(|step| step.ok)
    }
}

/// An answer, read whole.
struct Answer {
    status: u16,
    challenge: String,
    body: Value,
}

impl Answer {
    /// The code of the JSON-RPC error, 0 without one.
    fn code(&self) -> i64 {
        self.body
            .pointer("/error/code")
            .and_then(Value::as_i64)
            .unwrap_or_default()
    }

    /// Whether it is a tool's own error: on this tour a refusal in the style `tool_error`.
    fn is_tool_error(&self) -> bool {
        self.body.pointer("/result/isError") == Some(&Value::Bool(true))
    }

    /// The structured content of a tool's answer.
    fn structured(&self) -> &Value {
        self.body.pointer("/result/structuredContent").unwrap_or(&Value::Null)
    }
}

struct Guide<'s> {
    stage: &'s Stage,
    client: reqwest::Client,
    steps: Vec<StepResult>,
    /// Bodies that were let through, in order: what the servers must have received, byte for byte.
    passed: Vec<String>,
    /// Every token that was shown to the gate.
    tokens: BTreeSet<String>,
}

/// Takes the tour.
///
/// # Errors
/// When a request gets no answer at all; an unexpected answer is a step that failed.
pub(super) async fn take(stage: &Stage) -> anyhow::Result<Tour> {
    let client = reqwest::Client::builder().no_proxy().build()?;
    let mut guide = Guide {
        stage,
        client,
        steps: Vec::new(),
        passed: Vec::new(),
        tokens: BTreeSet::new(),
    };
    guide.without_token().await?;
    guide.people().await?;
    guide.agents().await?;
    guide.named().await?;
    guide.bad_tokens().await?;
    guide.list().await?;
    guide.upstreams();
    let records = stage.records()?;
    guide.records(&records);
    Ok(Tour {
        steps: guide.steps,
        records,
    })
}

impl Guide<'_> {
    async fn without_token(&mut self) -> anyhow::Result<()> {
        let answer = self.send(Place::Crm, &read_account("acc-1001"), None, "").await?;
        let pointer = answer
            .challenge
            .split('"')
            .find(|part| part.contains("/.well-known/"))
            .map(str::to_owned);
        let ok = answer.status == 401 && pointer.is_some() && !answer.challenge.contains("error=");
        self.note(
            "no token",
            "401 and where to get one",
            status_and(&answer, "resource_metadata", pointer.is_some()),
            ok,
        );

        let pointer = pointer.context("the challenge names no metadata")?;
        let metadata: Value = serde_json::from_slice(&self.client.get(pointer).send().await?.bytes().await?)?;
        let issuer = metadata
            .pointer("/authorization_servers/0")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let ok = issuer == self.stage.issuer_url()
            && metadata.get("resource").and_then(Value::as_str) == Some(&self.stage.resource(Place::Crm));
        self.note(
            "resource metadata",
            "names the resource and its issuer",
            format!("issuer {issuer}"),
            ok,
        );
        Ok(())
    }

    async fn people(&mut self) -> anyhow::Result<()> {
        let answer = self.call(Place::Crm, &read_account("acc-1001"), &ALICE).await?;
        let contact = answer.structured().get("contact").cloned().unwrap_or_default();
        let ok = answer.status == 200
            && contact.get("email") == Some(&json!("***"))
            && contact.get("phone") == Some(&json!("***"))
            && answer.structured().get("internal_note").is_none()
            && !answer.body.to_string().contains("@");
        self.note(
            "alice reads an account of hers",
            "200, contact masked",
            redaction(&answer, &contact),
            ok,
        );

        let answer = self.call(Place::Crm, &read_account("acc-2001"), &BOB).await?;
        let ok = answer.status == 200 && answer.structured().get("account_id") == Some(&json!("acc-2001"));
        self.note(
            "bob reads his, through the same client",
            "200, a subject of his own",
            status(&answer),
            ok,
        );

        let answer = self.call(Place::Crm, &read_account("acc-2001"), &ALICE).await?;
        let ok = answer.status == 403 && answer.code() == 40_301 && answer.challenge.is_empty();
        self.note("alice reads bob's account", "403 by policy", status(&answer), ok);

        let answer = self.call(Place::Code, &write_repository(), &ALICE).await?;
        self.note(
            "alice writes to a repository",
            "200 with scope repo",
            status(&answer),
            answer.status == 200,
        );

        let narrow = Persona {
            scope: "salesforce:read",
            ..ALICE
        };
        let answer = self.call(Place::Code, &write_repository(), &narrow).await?;
        let ok = answer.status == 403
            && answer.challenge.contains("error=\"insufficient_scope\"")
            && answer.challenge.contains("repo");
        let got = status_and(&answer, "challenge for repo", ok);
        self.note("alice writes without the scope", "403 and the scope it takes", got, ok);

        let answer = self.call(Place::Code, &write_repository(), &BOB).await?;
        let ok = answer.status == 403 && answer.code() == 40_301 && answer.challenge.is_empty();
        self.note(
            "bob, who may not see that tool",
            "403 and no word of scopes",
            status(&answer),
            ok,
        );
        Ok(())
    }

    async fn agents(&mut self) -> anyhow::Result<()> {
        let answer = self
            .call(Place::Crm, &read_account("acc-1002"), &AGENT_FOR_ALICE)
            .await?;
        self.note(
            "an agent on behalf of alice",
            "200, both in the record",
            status(&answer),
            answer.status == 200,
        );

        let answer = self
            .call(Place::Crm, &read_account("acc-1001"), &AGENT_FOR_CAROL)
            .await?;
        let ok = answer.status == 403 && answer.code() == 40_301;
        self.note(
            "the same agent for carol, who has no role",
            "403 by policy",
            status(&answer),
            ok,
        );
        Ok(())
    }

    /// What is no tool, and how a refusal may look to a model.
    async fn named(&mut self) -> anyhow::Result<()> {
        let prompt = |name: &str| Call::prompts_get(Era::Modern, 11, name, "{}");
        let resource = Call::resources_read(Era::Modern, 12, RESOURCE);
        let answer = self.call(Place::Everything, &prompt(PROMPT), &ALICE).await?;
        let ok = answer.status == 200 && answer.body.pointer("/result/messages/0").is_some();
        self.note("alice gets a prompt", "200 with its messages", status(&answer), ok);

        let answer = self
            .call(Place::Everything, &prompt("test_prompt_with_image"), &ALICE)
            .await?;
        let ok = answer.status == 403 && answer.code() == 40_301;
        self.note("a prompt that has no row", "403 by policy", status(&answer), ok);

        let answer = self.call(Place::Everything, &resource, &ALICE).await?;
        let ok = answer.status == 200 && answer.body.pointer("/result/contents/0/text").is_some();
        self.note("alice reads a resource", "200 with its text", status(&answer), ok);

        let answer = self.call(Place::Everything, &resource, &BOB).await?;
        let ok = answer.status == 403
            && answer.challenge.contains("error=\"insufficient_scope\"")
            && answer.challenge.contains("repo");
        let got = status_and(&answer, "challenge for repo", ok);
        self.note("bob reads it without the scope", "403 and the scope it takes", got, ok);

        let call = Call::tools_call(Era::Modern, 13, TEXT_TOOL, "{}");
        let answer = self.call(Place::Everything, &call, &ALICE).await?;
        let ok =
            answer.status == 200 && answer.is_tool_error() && answer.body.pointer("/result/content/0/text").is_some();
        let got = format!("{}, isError {}", answer.status, answer.is_tool_error());
        self.note(
            "a tool not granted, deny.style: tool_error",
            "200, words for the model",
            got,
            ok,
        );
        Ok(())
    }

    async fn bad_tokens(&mut self) -> anyhow::Result<()> {
        let token = self.stage.mint(&ALICE, Place::Crm);
        let query = format!("?access_token={token}");
        let answer = self.send(Place::Crm, &read_account("acc-1001"), None, &query).await?;
        self.tokens.insert(token);
        self.note("a token in the query", "400", status(&answer), answer.status == 400);

        let builder = self.stage.token(Place::Crm).scope("salesforce:read");
        let past = now_s().saturating_sub(3_600);
        let expired = self
            .stage
            .sign(&builder.claim("iat", past.saturating_sub(60)).expires(past));
        let answer = self
            .send(Place::Crm, &read_account("acc-1001"), Some(&expired), "")
            .await?;
        let ok = answer.status == 401 && answer.challenge.contains("error=\"invalid_token\"");
        self.note(
            "an expired token",
            "401 invalid_token",
            status_and(&answer, "invalid_token", ok),
            ok,
        );

        let foreign = self.stage.mint(&ALICE, Place::Code);
        let answer = self
            .send(Place::Crm, &read_account("acc-1001"), Some(&foreign), "")
            .await?;
        self.note(
            "a token for the other server",
            "401",
            status(&answer),
            answer.status == 401,
        );
        Ok(())
    }

    async fn list(&mut self) -> anyhow::Result<()> {
        let answer = self.call(Place::Crm, &Call::tools_list(Era::Modern, 9), &ALICE).await?;
        let tools = answer
            .body
            .pointer("/result/tools")
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default();
        let names: BTreeSet<&str> = tools.iter().filter_map(|tool| tool.get("name")?.as_str()).collect();
        let hers = [
            "demo.echo",
            "salesforce.opportunity.list",
            "salesforce.opportunity.read",
        ];
        let ok = names == BTreeSet::from(hers);
        let got = names.into_iter().collect::<Vec<_>>().join(" ");
        self.note("alice lists the tools", "three of four: no account.delete", got, ok);
        Ok(())
    }

    /// What the servers received, seen from their side.
    fn upstreams(&mut self) {
        let received = self.stage.received();
        let bodies: Vec<String> = received
            .iter()
            .map(|request| String::from_utf8_lossy(&request.body).into_owned())
            .collect();
        let mut sent = self.passed.clone();
        let mut got = bodies;
        sent.sort_unstable();
        got.sort_unstable();
        let ok = !sent.is_empty() && sent == got;
        let text = format!("{} received, {} let through", got.len(), sent.len());
        self.note(
            "what the servers received",
            "the calls let through, byte for byte",
            text,
            ok,
        );

        let leaked = received
            .iter()
            .filter(|request| self.tokens.iter().any(|token| request.mentions(token)))
            .count();
        let text = format!("{leaked} of {} tokens seen", self.tokens.len());
        self.note(
            "what they never saw",
            "no token of a client",
            text,
            leaked == 0 && !self.tokens.is_empty(),
        );
    }

    /// What the records tell.
    fn records(&mut self, records: &[Value]) {
        let requests: Vec<&Value> = records
            .iter()
            .filter(|record| text(record, "/phase") == "request")
            .collect();
        let allowed: Vec<&&Value> = requests
            .iter()
            .filter(|record| text(record, "/decision") == "allow")
            .collect();
        let closed = |id: &str| {
            let closings = records
                .iter()
                .filter(|record| matches!(text(record, "/phase"), "response" | "close"));
            closings.filter(|record| text(record, "/record_id") == id).count() == 1
        };
        let pairs = allowed
            .iter()
            .filter(|record| closed(text(record, "/record_id")))
            .count();
        let ok = pairs == self.passed.len() && allowed.len() == pairs;
        let got = format!("{} allowed, {pairs} with one reviewed answer", allowed.len());
        self.note("the records: pairs", "an answer's record for each allow", got, ok);

        let desktop = allowed.iter().filter(|record| text(record, "/client_id") == "desktop");
        let subjects: BTreeSet<&str> = desktop.map(|record| text(record, "/subject/id")).collect();
        let got = subjects.iter().copied().collect::<Vec<_>>().join(" ");
        let ok = subjects == BTreeSet::from(["alice", "bob"]);
        self.note("the records: one client, two people", "alice and bob", got, ok);

        let agent = allowed.iter().find(|record| text(record, "/actor/id") == "agent-1");
        let got = agent.map_or_else(String::new, |record| {
            format!("{} for {}", text(record, "/actor/id"), text(record, "/on_behalf_of/id"))
        });
        let ok = got == "agent-1 for alice";
        self.note("the records: agent and human", "agent-1 for alice", got, ok);
    }

    /// A call of `persona` with a fresh token.
    async fn call(&mut self, place: Place, call: &Call, persona: &Persona) -> anyhow::Result<Answer> {
        let token = self.stage.mint(persona, place);
        self.send(place, call, Some(&token), "").await
    }

    async fn send(&mut self, place: Place, call: &Call, token: Option<&str>, query: &str) -> anyhow::Result<Answer> {
        let mut request = self
            .client
            .post(format!("{}{query}", self.stage.resource(place)))
            .body(call.body.clone());
        for (name, value) in &call.headers {
            request = request.header(name, value);
        }
        if let Some(token) = token {
            self.tokens.insert(token.to_owned());
            request = request.bearer_auth(token);
        }
        let response = request.send().await.context("the gate gave no answer")?;
        let status = response.status().as_u16();
        let challenge = response
            .headers()
            .get(WWW_AUTHENTICATE)
            .and_then(|value| value.to_str().ok());
        let challenge = challenge.unwrap_or_default().to_owned();
        let body = response.bytes().await?;
        let answer = Answer {
            status,
            challenge,
            body: serde_json::from_slice(&body).unwrap_or_default(),
        };
        if status == 200 && !answer.is_tool_error() {
            self.passed.push(call.body.clone());
        }
        Ok(answer)
    }

    fn note(&mut self, name: &'static str, expected: &'static str, got: String, ok: bool) {
        self.steps.push(StepResult {
            name,
            expected,
            got,
            ok,
        });
    }
}

fn read_account(account: &str) -> Call {
    let arguments = json!({ "account_id": account }).to_string();
    Call::tools_call(Era::Modern, 1, "salesforce.opportunity.read", &arguments)
}

fn write_repository() -> Call {
    let arguments = json!({ "repository": "portal", "path": "README.md", "content": "hello" }).to_string();
    Call::tools_call(Era::Modern, 2, "github.repo.write", &arguments)
}

fn status(answer: &Answer) -> String {
    match answer.code() {
        0 => answer.status.to_string(),
        code => format!("{}, code {code}", answer.status),
    }
}

fn status_and(answer: &Answer, what: &str, present: bool) -> String {
    let presence = if present { "with" } else { "without" };
    format!("{}, {presence} {what}", answer.status)
}

fn redaction(answer: &Answer, contact: &Value) -> String {
    let email = contact.get("email").and_then(Value::as_str).unwrap_or("?");
    format!("{}, email `{email}`", answer.status)
}

/// The text at a pointer of a record, empty when there is none.
fn text<'r>(record: &'r Value, pointer: &str) -> &'r str {
    record.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}
