//! One client of a released SDK with one legacy session, told what to do line by line.
//!
//! Owns the talk with the scripts `session.mjs` and `session.py`, which tell what their SDK found.

use std::time::Duration;

use serde_json::{Value, json};

use crate::interop::install::Parts;
use crate::interop::process::Process;

/// The SDKs, by the script of each.
pub(super) const SDKS: [&str; 2] = ["session.mjs", "session.py"];

/// A running client.
pub(super) struct Client {
    process: Process,
    orders: u64,
}

/// An order that is under way.
pub(super) struct Order(u64);

impl Client {
    /// Starts a client that carries `token`.
    pub(super) fn start(parts: &Parts, script: &str, token: &str) -> Self {
        let mut command = match script.rsplit_once('.') {
            Some((_, "py")) => parts.python(&[script]),
            _ => parts.node(&[script]),
        };
        let mut process = Process::start(script, &mut command);
        process.await_line(WITHIN, |line| line.contains("ready").then_some(()));
        let mut client = Self { process, orders: 0 };
        client.set("token", token);
        client
    }

    /// Opens the session; gives its id as the client knows it.
    #[track_caller]
    pub(super) fn connect(&mut self, url: &str) -> String {
        let order = self.order(json!({"do": "connect", "url": url}));
        let done = self.ended(&order).unwrap();
        done["session"].as_str().unwrap().to_owned()
    }

    /// Sets `token`, `place` or `stolen` for all requests from now on.
    pub(super) fn set(&mut self, name: &str, value: &str) {
        let order = self.order(json!({"do": "set", name: value}));
        self.ended(&order).unwrap();
    }

    /// Calls a tool; gives the text of its answer.
    ///
    /// # Errors
    /// What the SDK raised.
    pub(super) fn call(&mut self, tool: &str, arguments: &Value) -> Result<String, Value> {
        let order = self.begin(tool, arguments);
        self.end(&order)
    }

    /// Begins a call of a tool.
    pub(super) fn begin(&mut self, tool: &str, arguments: &Value) -> Order {
        self.order(json!({"do": "call", "tool": tool, "arguments": arguments}))
    }

    /// Waits for the first progress of a call.
    pub(super) fn progress(&mut self, order: &Order) {
        self.await_order(order, |line| line.get("progress").map(|_| ()));
    }

    /// Waits for the end of a call.
    ///
    /// # Errors
    /// What the SDK raised.
    pub(super) fn end(&mut self, order: &Order) -> Result<String, Value> {
        self.ended(order).map(|done| done["text"].as_str().unwrap().to_owned())
    }

    fn order(&mut self, mut order: Value) -> Order {
        self.orders += 1;
        order["n"] = self.orders.into();
        self.process.say(&order.to_string());
        Order(self.orders)
    }

    fn ended(&mut self, order: &Order) -> Result<Value, Value> {
        self.await_order(order, |line| match (line.get("done"), line.get("failed")) {
            (Some(done), _) => Some(Ok(done.clone())),
            (None, Some(failed)) => Some(Err(failed.clone())),
            (None, None) => None,
        })
    }

    /// Finds something in a line about an order, also in one that came while another order was awaited.
    fn await_order<T>(&mut self, order: &Order, find: impl Fn(&Value) -> Option<T>) -> T {
        let find = |line: &str| {
            let line: Value = serde_json::from_str(line).ok()?;
            (line["n"] == order.0).then(|| find(&line)).flatten()
        };
        match self.process.seen().iter().find_map(|line| find(line)) {
            Some(found) => found,
            None => self.process.await_line(WITHIN, find),
        }
    }
}

const WITHIN: Duration = Duration::from_secs(60);
