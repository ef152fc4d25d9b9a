//! Several endpoints of one server: turns, health, and sessions that go back to where they were opened.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use portcullis_fixtures::calls::{Call, Era};
use portcullis_fixtures::http1::{Connection, Response, request};
use portcullis_fixtures::mcp::{Kind, McpServer, McpSettings};
use portcullis_fixtures::persona::ALICE;

use super::stub::{Stub, Then, gate_with, json, result, with_upstream};
use crate::gate::{CONFIG, Gate, until};

const ASIDE: &str = "an endpoint is put aside";
const AGAIN: &str = "an endpoint serves again";

fn server() -> McpServer {
    McpServer::start(McpSettings::new(Kind::Crm)).unwrap()
}

/// The lines of an upstream with these endpoints.
fn urls(urls: &[String], further: &str) -> String {
    format!("      urls: [{}]{further}", urls.join(", "))
}

fn ask(gate: &Gate, id: u64) -> Response {
    let call = Call::tools_call(Era::Modern, id, "demo.echo", "{}");
    gate.call(&call.bearer(&gate.token(&ALICE)))
}

/// The same by a call that needs nothing known of the server's tools.
fn ask_for_list(gate: &Gate, id: u64) -> Response {
    gate.call(&Call::tools_list(Era::Modern, id).bearer(&gate.token(&ALICE)))
}

/// Opens a session; the client's name of it.
fn open(gate: &Gate) -> String {
    let opened = gate.call(&Call::initialize(1).bearer(&gate.token(&ALICE)));
    assert_eq!(opened.status, 200, "{}", opened.text());
    opened.header("mcp-session-id").unwrap().to_owned()
}

fn within(gate: &Gate, session: &str) -> Response {
    let call = Call::tools_call(Era::Legacy, 2, "demo.echo", "{}").header("mcp-session-id", session);
    gate.call(&call.bearer(&gate.token(&ALICE)))
}

/// The metrics of the endpoint at this address: well, calls, connections that failed.
fn metrics(admin: SocketAddr, address: SocketAddr) -> [u64; 3] {
    let mut connection = Connection::open(admin).unwrap();
    let answer = connection
        .exchange(&request("GET", "localhost", "/metrics", [], b""))
        .unwrap();
    let text = answer.text();
    let labels = format!("{{server=\"crm\",endpoint=\"{address}/mcp\"}} ");
    ["well", "calls_total", "connections_failed_total"].map(|name| {
        let start = format!("portcullis_upstream_{name}{labels}");
        let number = text.lines().find_map(|line| line.strip_prefix(&*start));
        number
            .unwrap_or_else(|| panic!("no `{start}` in {text}"))
            .parse()
            .unwrap()
    })
}

/// A gate with an admin listener.
fn with_admin(lines: &str) -> (Gate, SocketAddr) {
    let mut gate = Gate::start_changed(|_, text| {
        with_upstream(&text, lines).replacen("audit:\n", "admin: {address: \"127.0.0.1:0\"}\naudit:\n", 1)
    });
    let admin = gate.admin();
    (gate, admin)
}

#[test]
fn calls_go_to_the_endpoints_in_turn_past_one_that_is_down() {
    let [one, two] = [server(), server()];
    let (gate, admin) = with_admin(&urls(&[one.url(), two.url()], ""));
    for id in 0..10 {
        assert_eq!(ask(&gate, id).status, 200);
    }
    assert_eq!((one.capture().count(), two.capture().count()), (5, 5));
    assert_eq!(gate.upstream.capture().count(), 0);
    assert_eq!(metrics(admin, one.address()), [1, 5, 0]);
    let gone = two.address();
    drop(two);
    for id in 0..20 {
        assert_eq!(ask(&gate, id).status, 200, "nothing is lost");
    }
    assert_eq!(one.capture().count(), 25);
    let told = gate.logged(ASIDE);
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(
        (&told[0]["server"], &told[0]["endpoint"]),
        (&"crm".into(), &format!("{gone}/mcp").into())
    );
    let [well, calls, failed] = metrics(admin, gone);
    assert_eq!((well, calls), (0, 5));
    assert!((1..=8).contains(&failed), "{failed}");
    // It comes back, and takes its turns again.
    let back = McpServer::start_counting(&McpSettings::new(Kind::Crm), gone).unwrap();
    until(|| ask(&gate, 1).status == 200 && 1 < back.capture().count());
    assert_eq!(gate.logged(AGAIN).len(), 1);
    assert_eq!(metrics(admin, gone)[0], 1);
}

#[test]
fn without_an_endpoint_that_is_well_the_answer_comes_at_once() {
    let [one, two] = [server(), server()].map(|server| server.url());
    let gate = gate_with(&urls(&[one, two], ""), "");
    for id in 0..20 {
        let begun = Instant::now();
        let answer = ask_for_list(&gate, id);
        assert_eq!(answer.status, 502, "{}", answer.text());
        assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    }
    assert_eq!(gate.logged(ASIDE).len(), 2);
}

/// A port whose queue of connections is full takes none, and refuses none either.
#[test]
fn an_endpoint_that_lets_connections_wait_is_put_aside_too() {
    let full = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    full.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    full.listen(0).unwrap();
    let address = full.local_addr().unwrap().as_socket().unwrap();
    let waiting: Vec<_> = (0..4)
        .map(|_| std::net::TcpStream::connect_timeout(&address, Duration::from_millis(200)))
        .collect();
    assert!(waiting.last().unwrap().is_err(), "the queue is not full");
    let well = server();
    let gate = gate_with(&urls(&[format!("http://{address}/mcp"), well.url()], ""), "");
    let begun = Instant::now();
    for id in 0..10 {
        assert_eq!(ask_for_list(&gate, id).status, 200);
    }
    // One call has waited for the deadline of connections, and perhaps one more has tried again.
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    let told = gate.logged(ASIDE);
    assert_eq!(
        told[0]["reason"], "the connection did not come about in time",
        "{told:?}"
    );
    assert_eq!(well.capture().count(), 10);
}

#[test]
fn a_session_stays_with_the_endpoint_that_opened_it() {
    // The demo server is strict: a session that it did not open is 404.
    let [one, two] = [server(), server()];
    let gate = gate_with(&urls(&[one.url(), two.url()], ""), "");
    let sessions: Vec<String> = (0..6).map(|_| open(&gate)).collect();
    assert_eq!((one.sessions(), two.sessions()), (3, 3));
    for _ in 0..3 {
        for session in &sessions {
            let answer = within(&gate, session);
            assert_eq!(answer.status, 200, "{}", answer.text());
        }
    }
    let mut own: BTreeMap<&str, Vec<&String>> = BTreeMap::new();
    for session in &sessions {
        let before = one.capture().count();
        assert_eq!(within(&gate, session).status, 200);
        let name = if before < one.capture().count() { "one" } else { "two" };
        own.entry(name).or_default().push(session);
    }
    assert_eq!((own["one"].len(), own["two"].len()), (3, 3));
    // One goes down: its sessions are in trouble, and nobody else's, nor are they taken to another.
    let (url, kept) = (two.url(), one.capture().count());
    drop(two);
    for session in &own["two"] {
        let answer = within(&gate, session);
        assert_eq!(answer.status, 502, "{}", answer.text());
    }
    assert_eq!(one.capture().count(), kept);
    for session in &own["one"] {
        assert_eq!(within(&gate, session).status, 200);
    }
    assert_eq!(ask(&gate, 1).status, 200);
    // It is taken out of the configuration: its sessions are unknown, and their clients begin anew.
    let text = std::fs::read_to_string(gate.path(CONFIG)).unwrap();
    let third = server();
    std::fs::write(gate.path(CONFIG), text.replacen(&url, &third.url(), 1)).unwrap();
    gate.signal("HUP");
    until(|| gate.logged("configuration reloaded").len() == 1);
    for session in &own["two"] {
        let answer = within(&gate, session);
        assert_eq!(answer.status, 404, "{}", answer.text());
    }
    for session in &own["one"] {
        assert_eq!(
            within(&gate, session).status,
            200,
            "the order has not changed, and it would not matter"
        );
    }
    let new = [open(&gate), open(&gate)];
    assert_eq!(third.sessions(), 1);
    for session in &new {
        assert_eq!(within(&gate, session).status, 200);
    }
}

/// The one endpoint of an upstream may move, and takes its sessions along.
#[test]
fn a_lone_endpoint_is_the_same_wherever_it_is() {
    let gate = Gate::start("");
    let session = open(&gate);
    assert_eq!(within(&gate, &session).status, 200);
    let elsewhere = server();
    let text = std::fs::read_to_string(gate.path(CONFIG)).unwrap();
    let moved = with_upstream(&text, &format!("      url: {}", elsewhere.url()));
    std::fs::write(gate.path(CONFIG), moved).unwrap();
    gate.signal("HUP");
    until(|| gate.logged("configuration reloaded").len() == 1);
    until(|| within(&gate, &session).status != 503);
    // The gate sends it there, and the server says that it does not know it.
    assert_eq!(within(&gate, &session).status, 404);
    assert_eq!(elsewhere.capture().count(), 2);
}

#[test]
fn an_endpoint_is_asked_whether_it_is_well_before_a_call_finds_out() {
    let well = Arc::new(AtomicBool::new(true));
    let asked = Arc::clone(&well);
    let stub = Stub::start(move |stream, request, _| {
        let page = request.starts_with("GET /healthz HTTP/1.1\r\n");
        let answer = match (page, asked.load(Ordering::Relaxed)) {
            (true, true) => String::from("HTTP/1.1 204 No Content\r\n\r\n"),
            (true, false) => String::from("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n"),
            (false, _) => json(&result(1, "well")),
        };
        stream.write_all(answer.as_bytes()).unwrap();
        Then::Keep
    });
    let other = server();
    let health = "\n      health: {interval: 1s, path: /healthz}";
    let gate = gate_with(&urls(&[stub.url(), other.url()], health), "");
    // The other one has no such page: it answers 404, and is not well by this.
    until(|| gate.logged(ASIDE).len() == 1);
    assert_eq!(gate.logged(ASIDE)[0]["reason"], "the status of its page is 404");
    for _ in 0..4 {
        assert_eq!(ask(&gate, 1).status, 200);
    }
    assert_eq!(other.capture().count_of("POST", "/mcp"), 0);
    well.store(false, Ordering::Relaxed);
    until(|| gate.logged(ASIDE).len() == 2);
    assert_eq!(ask(&gate, 1).status, 502, "nobody is well");
    well.store(true, Ordering::Relaxed);
    until(|| gate.logged(AGAIN).len() == 1);
    assert_eq!(ask(&gate, 1).status, 200);
    for request in stub.requests().iter().filter(|request| request.starts_with("GET ")) {
        let head = request.to_ascii_lowercase();
        assert!(
            !head.contains("authorization") && !head.contains("upstream-secret"),
            "{request}"
        );
    }
}

#[test]
fn a_connection_is_enough_to_be_well() {
    let [one, two] = [server(), server()];
    let (gate, admin) = with_admin(&urls(&[one.url(), two.url()], "\n      health: {interval: 1s}"));
    let gone = two.address();
    drop(two);
    until(|| gate.logged(ASIDE).len() == 1);
    assert_eq!(metrics(admin, gone), [0, 0, 0], "no call has found out");
    for id in 0..6 {
        assert_eq!(ask(&gate, id).status, 200);
    }
    assert_eq!(metrics(admin, gone), [0, 0, 0]);
    let back = McpServer::start_counting(&McpSettings::new(Kind::Crm), gone).unwrap();
    until(|| gate.logged(AGAIN).len() == 1);
    for id in 0..6 {
        assert_eq!(ask(&gate, id).status, 200);
    }
    assert!(0 < back.capture().count());
}

/// With nobody else to go to, a call tries what a check has found to be down.
#[test]
fn a_lone_endpoint_is_tried_by_the_next_call_whatever_a_check_has_found() {
    let well = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&well);
    let stub = Stub::start(move |stream, request, _| {
        let answer = match (request.starts_with("GET /healthz "), asked.load(Ordering::Relaxed)) {
            (true, true) => String::from("HTTP/1.1 204 No Content\r\n\r\n"),
            (true, false) => String::from("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n"),
            (false, _) => json(&result(1, "well")),
        };
        stream.write_all(answer.as_bytes()).unwrap();
        Then::Keep
    });
    let url = stub.url();
    let (gate, admin) = with_admin(&format!(
        "      url: {url}\n      health: {{interval: 1s, path: /healthz}}"
    ));
    until(|| gate.logged(ASIDE).len() == 1);
    for _ in 0..5 {
        assert_eq!(ask(&gate, 1).status, 200);
    }
    // Its page alone says that it is well: calls that go through do not make it so, nor is it told twice.
    assert_eq!(metrics(admin, stub.address)[..2], [0, 5]);
    assert_eq!((gate.logged(ASIDE).len(), gate.logged(AGAIN).len()), (1, 0));
    well.store(true, Ordering::Relaxed);
    until(|| gate.logged(AGAIN).len() == 1);
    assert_eq!(metrics(admin, stub.address)[0], 1);
}

/// A name that does not resolve is an endpoint that is down, as long as there is another.
#[test]
fn a_name_that_does_not_resolve_is_an_endpoint_that_is_down() {
    let one = server();
    let nowhere = "http://nowhere.invalid/mcp".to_owned();
    let (gate, admin) = with_admin(&urls(&[nowhere.clone(), one.url()], ""));
    for id in 0..4 {
        assert_eq!(ask(&gate, id).status, 200);
    }
    assert_eq!(one.capture().count(), 4);
    assert!(
        gate.log().contains("the upstream `nowhere.invalid` cannot be found"),
        "{}",
        gate.log()
    );
    let mut connection = Connection::open(admin).unwrap();
    let text = connection
        .exchange(&request("GET", "localhost", "/metrics", [], b""))
        .unwrap();
    let down = "portcullis_upstream_well{server=\"crm\",endpoint=\"nowhere.invalid/mcp\"} 0";
    assert!(text.text().contains(down), "{}", text.text());
    let text = std::fs::read_to_string(gate.path(CONFIG)).unwrap();
    let reload = |urls: &str, message: &str| {
        let changed = text.replacen(&format!("{nowhere}, {}", one.url()), urls, 1);
        assert_ne!(changed, text);
        std::fs::write(gate.path(CONFIG), changed).unwrap();
        let before = gate.logged(message).len();
        gate.signal("HUP");
        until(|| before < gate.logged(message).len());
    };
    // A reload is as patient, and with nobody left it changes nothing.
    reload(
        &format!("{}, http://elsewhere.invalid/mcp", one.url()),
        "configuration reloaded",
    );
    until(|| ask(&gate, 1).status == 200);
    reload(
        "http://a.invalid/mcp, http://b.invalid/mcp",
        "reload refused, the old configuration stays in force",
    );
    assert_eq!(ask(&gate, 1).status, 200);
}

#[test]
fn interim_heads_before_a_list_are_passed_over() {
    const HEAD: &str = "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n";
    let seven: &'static str = Box::leak(HEAD.repeat(7).into_boxed_str());
    let eight: &'static str = Box::leak(HEAD.repeat(8).into_boxed_str());
    for (before, listed) in [(HEAD, true), (seven, true), (eight, false)] {
        let stub = Stub::start_listing(before, |stream, _, _| {
            stream.write_all(json(&result(1, "well")).as_bytes()).unwrap();
            Then::Keep
        });
        let gate = super::stub::gate(&stub.url(), "");
        let message = if listed {
            "tools listed"
        } else {
            "tools were not listed"
        };
        until(|| !gate.logged(message).is_empty());
        assert_eq!(
            ask(&gate, 1).status == 200,
            listed,
            "{} heads",
            before.len() / HEAD.len()
        );
    }
}
