//! The admin listener of the built gate: what it tells of the stages, and to whom.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use portcullis_fixtures::calls::{Call, Era};
use portcullis_fixtures::http1::{Connection, Response, request};
use portcullis_fixtures::mcp::{Answers, Canned};
use portcullis_fixtures::persona::{ALICE, BOB};

use crate::gate::{CONFIG, Gate, HOST, PATH, until};

/// The stages in the order of the way.
const STAGES: [&str; 8] = [
    "connection",
    "identity",
    "parse",
    "scope",
    "policy",
    "record",
    "forward",
    "review",
];

/// A gate with an admin listener, and its address.
fn start() -> (Gate, SocketAddr) {
    let mut gate = Gate::start_with("127.0.0.1:0\nadmin: {address: \"127.0.0.1:0\"}", "", "");
    let admin = gate.admin();
    (gate, admin)
}

fn get(address: SocketAddr, target: &str) -> Response {
    get_by(address, "localhost", target)
}

/// The same by this name of the host.
fn get_by(address: SocketAddr, host: &str, target: &str) -> Response {
    let mut connection = Connection::open(address).unwrap();
    connection.exchange(&request("GET", host, target, [], b"")).unwrap()
}

/// The number of the sample of that name, with its labels.
#[track_caller]
fn sample(text: &str, name: &str) -> f64 {
    let number = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    number
        .unwrap_or_else(|| panic!("no `{name}` in {text}"))
        .parse()
        .unwrap()
}

fn metrics(admin: SocketAddr) -> String {
    let answer = get(admin, "/metrics");
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.text()
}

/// How often each stage was counted.
fn counts(admin: SocketAddr) -> [f64; 8] {
    let text = metrics(admin);
    STAGES.map(|stage| {
        sample(
            &text,
            &format!("portcullis_stage_duration_seconds_count{{stage=\"{stage}\"}}"),
        )
    })
}

/// The seconds spent on a stage.
fn sum(text: &str, stage: &str) -> f64 {
    sample(
        text,
        &format!("portcullis_stage_duration_seconds_sum{{stage=\"{stage}\"}}"),
    )
}

/// Waits for these counts: a request is counted when its answer has left.
#[track_caller]
fn check_counts(admin: SocketAddr, expected: [f64; 8]) {
    until(|| {
        counts(admin)
            .iter()
            .zip(expected)
            .all(|(counted, wanted)| wanted <= *counted)
    });
    assert_eq!(counts(admin), expected);
}

/// A call that Alice may make and Bob may not.
fn of_alice(token: &str) -> Call {
    let arguments = r#"{"account_id":"acc-1001"}"#;
    Call::tools_call(Era::Modern, 1, "salesforce.opportunity.read", arguments).bearer(token)
}

#[test]
fn every_judged_request_counts_once_in_each_stage_that_it_reached() {
    let (gate, admin) = start();
    check_counts(admin, [0.; 8]);
    let (alice, bob) = (gate.token(&ALICE), gate.token(&BOB));
    let echo = Call::tools_call(Era::Modern, 1, "demo.echo", r#"{"padding":"a"}"#).bearer(&alice);
    for call in [of_alice(&alice), echo.clone(), echo] {
        assert_eq!(gate.call(&call).status, 200);
    }
    check_counts(admin, [3.; 8]);

    gate.upstream.set_answers(Answers::Sse);
    let streamed = gate.call(&of_alice(&alice));
    assert_eq!(streamed.header("content-type"), Some("text/event-stream"));
    check_counts(admin, [4.; 8]);

    assert_eq!(gate.call(&of_alice(&bob)).status, 403);
    check_counts(admin, [5., 5., 5., 5., 5., 5., 4., 4.]);
    let torn = Call {
        body: "{".to_owned(),
        ..of_alice(&alice)
    };
    assert_eq!(gate.call(&torn).status, 400);
    check_counts(admin, [6., 6., 6., 5., 5., 6., 4., 4.]);
    assert_eq!(gate.call(&of_alice("a.b.c")).status, 401);
    check_counts(admin, [7., 7., 6., 5., 5., 6., 4., 4.]);
    let mut failing = Canned::json("");
    failing.status = 500;
    failing.headers.clear();
    gate.upstream.answer_next(failing);
    assert_eq!(gate.call(&of_alice(&alice)).status, 502);
    check_counts(admin, [8., 8., 7., 6., 6., 7., 5., 4.]);

    // Pages that need no token are no requests; the call after them shows that they had time to be counted.
    // Metadata is told by the server's own name alone.
    for (host, target) in [
        ("localhost", "/livez"),
        ("localhost", "/readyz"),
        (HOST, "/.well-known/oauth-protected-resource/crm/mcp"),
    ] {
        assert_eq!(get_by(gate.address(), host, target).status, 200, "{target}");
    }
    assert_eq!(gate.call(&of_alice(&alice)).status, 200);
    check_counts(admin, [9., 9., 8., 7., 7., 8., 6., 5.]);
}

#[test]
fn the_times_add_up_and_leave_out_what_is_no_request() {
    const DELAY: Duration = Duration::from_secs(1);
    let (gate, admin) = start();
    let token = gate.token(&ALICE);
    let bytes = of_alice(&token).to_http(HOST, PATH);
    // Two connections that wait while another request is served: a used one and a new one.
    let (mut used, mut unused) = (gate.connect(), gate.connect());
    assert_eq!(used.exchange(&bytes).unwrap().status, 200);
    gate.upstream.set_delay(DELAY);
    assert_eq!(gate.connect().exchange(&bytes).unwrap().status, 200);
    gate.upstream.set_delay(Duration::ZERO);
    assert_eq!(used.exchange(&bytes).unwrap().status, 200);
    assert_eq!(unused.exchange(&bytes).unwrap().status, 200);
    check_counts(admin, [4.; 8]);

    let text = metrics(admin);
    for stage in STAGES {
        assert!(sum(&text, stage) > 0., "{stage} took no time: {text}");
    }
    let delay = DELAY.as_secs_f64();
    assert!(delay <= sum(&text, "forward"), "{text}");
    // The delay is a thousand times what a connection takes; neither it nor the wait for a request is in it.
    assert!(sum(&text, "connection") < delay, "{text}");
    assert!(sum(&text, "review") < delay, "{text}");

    let last = |stage: &str| {
        let buckets = format!("portcullis_stage_duration_seconds_bucket{{le=\"+Inf\",stage=\"{stage}\"}}");
        sample(&text, &buckets)
    };
    assert_eq!(STAGES.map(last), [4.; 8], "the last bucket counts all");
    let before = sample(&text, "process_cpu_seconds_total");
    assert!(0. < before && before < 600., "{text}");
    until(|| before < sample(&metrics(admin), "process_cpu_seconds_total"));
    assert!(1e6 < sample(&text, "process_resident_memory_bytes"), "{text}");
    let build = format!("portcullis_build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION"));
    assert_eq!(sample(&text, &build), 1.);
    for secret in [&token, "alice", "salesforce", "acc-1001"] {
        assert!(!text.contains(secret), "`{secret}` stands in the metrics");
    }
}

#[test]
fn metrics_are_told_to_operators_alone_and_operators_get_nothing_else() {
    let (gate, admin) = start();
    let answer = get(gate.address(), "/metrics");
    assert_eq!(answer.status, 404);
    assert!(!answer.text().contains("portcullis_stage"), "{}", answer.text());

    let answer = get(admin, "/metrics");
    let media_type = answer.header("content-type").unwrap();
    assert!(media_type.starts_with("application/openmetrics-text"), "{media_type}");
    assert!(answer.text().ends_with("\n# EOF\n"));
    for target in ["/livez", "/readyz"] {
        assert_eq!(get(admin, target).status, 200, "{target}");
    }
    for target in ["/", "/metric", "/metrics/", "/metrics/x", "/Metrics", PATH] {
        assert_eq!(get(admin, target).status, 404, "{target}");
    }
    let token = gate.token(&ALICE);
    let call = of_alice(&token);
    for target in [PATH, "/metrics", "/livez"] {
        let mut connection = Connection::open(admin).unwrap();
        let answer = connection.exchange(&call.to_http("localhost", target)).unwrap();
        assert_eq!(answer.status, 404, "a call to {target}");
    }
    assert_eq!(gate.upstream.capture().count(), 0, "no call goes in by the back door");
    let head = request("HEAD", "127.0.0.1", "/metrics", [], b"");
    let mut stream = std::net::TcpStream::connect(admin).unwrap();
    std::io::Write::write_all(&mut stream, &head).unwrap();
    let mut line = [0; 15];
    std::io::Read::read_exact(&mut stream, &mut line).unwrap();
    assert_eq!(&line, b"HTTP/1.1 200 OK");
    // The clients' listener knows no server at `/metrics`: a refusal as any other, and the only request of all these.
    check_counts(admin, [1., 1., 0., 0., 0., 0., 0., 0.]);
}

#[test]
fn the_listener_is_fixed_for_the_life_of_a_gate_and_public_only_when_that_is_meant() {
    let (gate, admin) = start();
    let config = std::fs::read_to_string(gate.path(CONFIG)).unwrap();
    let moved = config.replacen(
        "admin: {address: \"127.0.0.1:0\"}",
        "admin: {address: \"127.0.0.2:0\"}",
        1,
    );
    assert_ne!(moved, config);
    std::fs::write(gate.path(CONFIG), moved).unwrap();
    gate.signal("HUP");
    let refused = || gate.logged("reload refused, the old configuration stays in force");
    until(|| !refused().is_empty());
    assert_eq!(
        refused()[0]["error"],
        "`admin` differs from the running gate's: restart it to change that"
    );
    assert_eq!(get(admin, "/livez").status, 200);

    let check = |written: &str| {
        let text = config.replacen("admin: {address: \"127.0.0.1:0\"}", written, 1);
        std::fs::write(gate.path("other.yaml"), text).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_portcullis"))
            .args(["check", "-c"])
            .arg(gate.path("other.yaml"))
            .output()
            .unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (status, told) = check("admin: {address: \"0.0.0.0:9901\"}");
    assert_eq!(status, Some(3), "{told}");
    assert!(
        told.contains("is not on loopback") && told.contains("danger_public"),
        "{told}"
    );
    let (status, told) = check("admin: {address: \"0.0.0.0:9901\", danger_public: true}");
    assert_eq!(status, Some(0), "{told}");
}

/// A web page whose name leads to this machine (DNS rebinding) reads nothing; the clients' listener tells its health to
/// any name, since balancers ask in their own words.
#[test]
fn pages_for_this_machine_are_read_by_no_foreign_name() {
    let (gate, admin) = start();
    let ask = |address: SocketAddr, host: &str, target: &str| {
        let mut connection = Connection::open(address).unwrap();
        connection.exchange(&request("GET", host, target, [], b"")).unwrap()
    };
    for target in ["/metrics", "/livez", "/readyz"] {
        for host in ["localhost", "127.0.0.1", "[::1]:9901", &admin.to_string()] {
            assert_eq!(ask(admin, host, target).status, 200, "{host} {target}");
        }
        for host in ["evil.test", HOST, "localhost.evil.test", "127.0.0.1.evil.test:80"] {
            let answer = ask(admin, host, target);
            assert_eq!(answer.status, 403, "{host} {target}");
            assert!(!answer.text().contains("portcullis_"), "{host} {target}");
        }
    }
    for target in ["/livez", "/readyz"] {
        assert_eq!(ask(gate.address(), "evil.test", target).status, 200, "{target}");
    }
}
