use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::thread;

use portcullis_core::jwks::JwksLimits;
use portcullis_core::jwks::refresh::{KeySource, RefreshSettings, Refresher};
use portcullis_core::time::UnixTime;

use super::*;

fn check(reach: Reach, accepted: &[&str], refused: &[&str]) {
    for (ips, want) in [(accepted, true), (refused, false)] {
        for ip in ips {
            assert_eq!(reach.includes(ip.parse().unwrap()), want, "{reach:?} {ip}");
        }
    }
}

#[test]
fn a_public_issuer_is_not_reached_through_special_addresses() {
    check(
        Reach::Public,
        &[
            "1.1.1.1",
            "9.255.255.255",
            "11.0.0.1",
            "100.63.0.1",
            "100.128.0.1",
            "172.32.0.1",
            "198.20.0.1",
            "2606:4700::1",
            "::ffff:1.1.1.1",
            "64:ff9b::101:101",
            "2002:101:101::1",
        ],
        &[
            "0.0.0.0",
            "10.0.0.1",
            "100.64.0.1",
            "127.0.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "192.0.0.1",
            "192.0.2.1",
            "192.168.1.1",
            "198.18.0.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:10.0.0.1",
            "::ffff:127.0.0.1",
            "64:ff9b::a00:1",
            "64:ff9b:1::1",
            "2001::1",
            "2001:db8::1",
            "2002:a00:1::1",
            "3fff::1",
            "fc00::1",
            "fd12::1",
            "fe80::1",
            "ff02::1",
        ],
    );
}

#[test]
fn an_issuer_on_this_machine_is_reached_here_alone() {
    check(
        Reach::Loopback,
        &["127.0.0.1", "127.9.9.9", "::1"],
        &["10.0.0.1", "1.1.1.1", "fe80::1"],
    );
    check(Reach::DangerAny, &["127.0.0.1", "10.0.0.1", "1.1.1.1", "fe80::1"], &[]);
}

#[test]
fn the_reach_follows_from_the_issuer() {
    let reach = |url: &str, danger| Fetcher::new(&plan(url, danger), 0).unwrap().reach;
    assert_eq!(reach("https://login.example.test", false), Reach::Public);
    assert_eq!(reach("https://login.example.test", true), Reach::DangerAny);
    assert_eq!(reach("http://127.0.0.1:9", false), Reach::Loopback);
    assert_eq!(reach("http://[::1]:9", false), Reach::Loopback);
    assert_eq!(reach("http://localhost:9/realm", false), Reach::Loopback);
}

#[test]
fn the_age_of_an_answer_is_read() {
    let check = |text: &'static str, want: Option<u64>| {
        let mut headers = HeaderMap::new();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static(text));
        assert_eq!(max_age(&headers), want, "{text}");
    };
    check("max-age=300", Some(300));
    check("public, Max-Age=\"60\"", Some(60));
    check("no-store", Some(0));
    check("public", None);
    check("max-age=-1", None);
    check("s-maxage=5", None);
    assert_eq!(max_age(&HeaderMap::new()), None);
}

#[tokio::test]
async fn an_answer_is_taken_within_its_bounds() {
    let body = "x".repeat(64);
    let whole = format!("HTTP/1.1 200 OK\r\ncache-control: max-age=7\r\ncontent-length: 64\r\n\r\n{body}");
    let fetched = get(&whole, 64).await.unwrap();
    assert_eq!(
        (fetched.status, fetched.body.len(), fetched.cache_max_age_s),
        (200, 64, Some(7))
    );
    assert_eq!(get(&whole, 63).await, Err(FetchError::TooLarge));
    let undeclared = format!("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{body}");
    assert_eq!(get(&undeclared, 64).await.unwrap().body.len(), 64);
    assert_eq!(get(&undeclared, 63).await, Err(FetchError::TooLarge));
    let torn = "HTTP/1.1 200 OK\r\ncontent-length: 64\r\n\r\nx";
    assert_eq!(get(torn, 64).await, Err(FetchError::Connection));
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_not_followed() {
    let moved = "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n";
    assert_eq!(get(moved, 64).await.unwrap().status, 302);
}

#[tokio::test]
async fn a_silent_issuer_ends_at_the_deadline() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let mut request = request(&url, 64);
    request.deadline = Duration::from_millis(50);
    let fetcher = Fetcher::new(&plan(&url, false), 0).unwrap();
    assert_eq!(fetcher.get(&request).await, Err(FetchError::TimedOut));
}

#[tokio::test]
async fn an_address_out_of_reach_is_not_asked() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    let fetcher = Fetcher::new(&plan("https://login.example.test", false), 0).unwrap();
    for host in ["127.0.0.1", "localhost", "[::1]"] {
        let mut request = request("http://127.0.0.1:1", 64);
        request.url = Arc::from(format!("http://{host}:{port}/keys"));
        assert_eq!(fetcher.get(&request).await, Err(FetchError::Connection), "{host}");
    }
    assert!(listener.accept().is_err(), "nobody came");
}

/// Fetches once from a server that answers with `answer`.
async fn get(answer: &str, bytes_max: usize) -> Result<Fetched, FetchError> {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let answer = answer.to_owned();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut head = [0; 1024];
        let _ = stream.read(&mut head).unwrap();
        stream.write_all(answer.as_bytes()).unwrap();
    });
    let result = Fetcher::new(&plan(&url, false), 0)
        .unwrap()
        .get(&request(&url, bytes_max))
        .await;
    server.join().unwrap();
    result
}

/// The refresher's first request: its ids cannot be made elsewhere.
fn request(issuer: &str, bytes_max: usize) -> FetchRequest {
    let settings = RefreshSettings {
        limits: JwksLimits { bytes_max, keys_max: 1 },
        fetch_deadline: Duration::from_secs(5),
        refresh: Duration::from_secs(60),
        age_max: Duration::from_secs(600),
        unknown_kid_interval: Duration::from_secs(30),
    };
    let source = KeySource::Uri(Arc::from(format!("{issuer}/keys")));
    let mut refresher = Refresher::new(Arc::from(issuer), source, settings).unwrap();
    refresher.poll_fetch(UnixTime::from_secs(1)).unwrap()
}

fn plan(url: &str, danger: bool) -> IssuerPlan {
    let _ = rustls::crypto::ring::default_provider().install_default();
    IssuerPlan {
        danger_allow_private_addresses: danger,
        ..IssuerPlan::plain(url)
    }
}
