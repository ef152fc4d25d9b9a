use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use pingora_core::upstreams::peer::Peer as _;
use portcullis_core::config::{Endpoint, Kept};
use portcullis_core::session::EndpointId;
use rcgen::{CertifiedKey, KeyPair, generate_simple_self_signed};

use super::super::Upstreams;
use super::{
    ASIDE_ALONE_MAX, ASIDE_MAX, ASIDE_MIN, As, EndpointState, EndpointTrustError, Health, Leave, TRIAL, Trust, nanos,
    peer,
};

const MS: u64 = 1_000_000;

#[test]
fn an_endpoint_that_takes_no_connection_is_put_aside_for_longer_each_time() {
    let health = Health::default();
    assert_eq!(health.leave(MS, false), Some(Leave::Well));
    assert!(health.failed(Leave::Well, MS, ASIDE_MAX), "it was well");
    assert!(!health.failed(Leave::Well, MS, ASIDE_MAX), "one of many says it");
    assert!(!health.is_well());
    let mut now = MS;
    let mut aside = ASIDE_MIN;
    for _ in 0..12 {
        let until = now + nanos(aside);
        assert_eq!(health.leave(until - 1, false), None, "{aside:?}");
        assert_eq!(health.leave(until, false), Some(Leave::Trial), "{aside:?}");
        assert_eq!(health.leave(until, false), None, "one tries it");
        assert!(!health.failed(Leave::Trial, until, ASIDE_MAX), "nothing has changed");
        now = until;
        aside = (aside * 2).min(ASIDE_MAX);
    }
    assert_eq!(aside, ASIDE_MAX);
    assert_eq!(health.leave(now + nanos(ASIDE_MAX), false), Some(Leave::Trial));
    assert!(health.recovered(), "it was put aside");
    assert!(!health.recovered());
    assert_eq!(health.leave(now, false), Some(Leave::Well));
    // It begins anew, as it did at first.
    assert!(health.failed(Leave::Well, now, ASIDE_MAX));
    assert_eq!(health.leave(now + nanos(ASIDE_MIN), false), Some(Leave::Trial));
}

#[test]
fn a_trial_that_never_ends_is_followed_by_another() {
    let health = Health::default();
    health.put_aside(0, ASIDE_MIN);
    let due = nanos(ASIDE_MIN);
    assert_eq!(health.leave(due, false), Some(Leave::Trial));
    assert_eq!(health.leave(due + nanos(TRIAL) - 1, false), None);
    assert_eq!(health.leave(due + nanos(TRIAL), false), Some(Leave::Trial));
}

#[test]
fn a_check_comes_once_in_its_interval() {
    let health = Health::default();
    let interval = Duration::from_secs(5);
    let due = |now: u64| health.check_due(now * 1_000 * MS, interval);
    assert!(due(1));
    assert!(!due(1) && !due(5));
    assert!(due(6) && !due(10) && due(11));
    health.forget();
    assert!(due(12), "after a reload at once");
}

fn pem() -> (String, String) {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["upstream.test".to_owned()]).unwrap();
    (cert.pem(), signing_key.serialize_pem())
}

fn endpoint(host: &str, tls: bool, trust: Option<Trust>) -> Endpoint {
    Endpoint {
        id: EndpointId::ONLY,
        authority: Arc::from("upstream.test"),
        host: Arc::from(host),
        path: Arc::from("/mcp"),
        tls,
        addresses: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 443))],
        kept: Some(Kept::new(EndpointState {
            server: Arc::from("crm"),
            label: Arc::from("upstream.test/mcp"),
            host: Arc::from("upstream.test"),
            port: 443,
            trust,
            check: None,
            is_alone: false,
            health: Arc::default(),
        })),
    }
}

#[test]
fn connections_are_shared_only_where_everything_is_the_same() {
    let [(ca, ca_key), (other, other_key)] = [pem(), pem()];
    let trust = |ca: Option<&str>, client: Option<(&str, &str)>| Some(Trust::parse(ca, client).unwrap());
    let ways = [
        ("in the clear", endpoint("a.test", false, None)),
        ("the gate's trust", endpoint("a.test", true, None)),
        ("another name", endpoint("b.test", true, None)),
        ("an authority", endpoint("a.test", true, trust(Some(&ca), None))),
        ("another authority", endpoint("a.test", true, trust(Some(&other), None))),
        (
            "both authorities",
            endpoint("a.test", true, trust(Some(&format!("{ca}{other}")), None)),
        ),
        (
            "a certificate",
            endpoint("a.test", true, trust(None, Some((&ca, &ca_key)))),
        ),
        (
            "another certificate",
            endpoint("a.test", true, trust(None, Some((&other, &other_key)))),
        ),
        (
            "authority and certificate",
            endpoint("a.test", true, trust(Some(&ca), Some((&ca, &ca_key)))),
        ),
    ];
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 443));
    for (at, (name, one)) in ways.iter().enumerate() {
        let key = peer(one, address, As::Gate).reuse_hash();
        assert_eq!(key, peer(one, address, As::Gate).reuse_hash(), "{name}");
        assert_ne!(
            key,
            peer(one, address, As::Stranger).reuse_hash(),
            "{name}: a stranger's"
        );
        let elsewhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 444));
        assert_ne!(
            key,
            peer(one, elsewhere, As::Gate).reuse_hash(),
            "{name}: another address"
        );
        for (other_name, other) in ways.iter().skip(at + 1) {
            let other = peer(other, address, As::Gate).reuse_hash();
            assert_ne!(key, other, "{name} and {other_name}");
        }
    }
    let same = endpoint("a.test", true, trust(Some(&ca), None));
    assert_eq!(
        peer(&ways[3].1, address, As::Gate).reuse_hash(),
        peer(&same, address, As::Gate).reuse_hash()
    );
    let stranger = peer(&ways[8].1, address, As::Stranger);
    assert!(stranger.client_cert_key.is_none() && stranger.options.ca.is_some());
}

#[test]
fn trust_that_could_fail_later_is_refused_at_once() {
    let (ca, key) = pem();
    let (_, other_key) = pem();
    let ed25519 = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap().serialize_pem();
    assert!(Trust::parse(Some(&ca), Some((&ca, &key))).is_ok());
    let fault = |ca: Option<&str>, client: Option<(&str, &str)>| Trust::parse(ca, client).unwrap_err();
    for text in ["", "no pem", &key, &ca.replace("MII", "AAA")] {
        assert!(
            matches!(fault(Some(text), None), EndpointTrustError::Authorities),
            "{text}"
        );
        let certificate = fault(None, Some((text, &key)));
        assert!(
            matches!(
                certificate,
                EndpointTrustError::Certificate | EndpointTrustError::Pair(_)
            ),
            "{text}: {certificate}"
        );
    }
    for text in ["", "no pem", &ca] {
        assert!(
            matches!(fault(None, Some((&ca, text))), EndpointTrustError::Key),
            "{text}"
        );
    }
    for text in [&other_key, &ed25519] {
        assert!(matches!(fault(None, Some((&ca, text))), EndpointTrustError::Pair(_)));
    }
    let shown = format!("{:?}", Trust::parse(Some(&ca), Some((&ca, &key))).unwrap());
    assert!(shown.len() < 30, "{shown}");
}

#[test]
fn an_endpoint_without_others_is_tried_by_every_call() {
    let mut state = EndpointState::of(&endpoint("a.test", false, None)).unwrap().clone();
    let health = Arc::clone(&state.health);
    // A check has failed: others would be asked until the next two.
    health.put_aside(MS, Duration::ZERO);
    assert_eq!(state.leave(MS), Some(Leave::Trial));
    assert_eq!(state.leave(MS), None, "one of several is tried by one call");
    health.forget();
    state.is_alone = true;
    health.put_aside(MS, Duration::ZERO);
    for _ in 0..3 {
        assert_eq!(state.leave(MS), Some(Leave::Trial));
    }
    assert!(!health.is_well(), "and it is told as what it is");
    // What calls find spares others the wait, for a moment.
    let mut now = MS;
    for _ in 0..8 {
        health.failed(Leave::Trial, now, state.aside_max());
        assert_eq!(state.leave(now), None);
        now += nanos(ASIDE_ALONE_MAX);
        assert_eq!(state.leave(now), Some(Leave::Trial));
    }
}

/// Of several addresses the one that keeps a session takes its calls, and no other in its place.
#[test]
fn a_kept_address_is_reached_and_no_other() {
    if std::env::var_os("PORTCULLIS_TEST_RUNNER").is_some() {
        // qemu's user emulation lacks a socket option of Pingora's, so that it opens no connection there.
        return;
    }
    let [one, two, gone] = [(); 3].map(|()| std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    let [first, second, third] = [&one, &two, &gone].map(|listener| listener.local_addr().unwrap());
    drop(gone);
    let mut endpoint = endpoint("a.test", false, None);
    endpoint.addresses = vec![first, second, third];
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let upstreams = Upstreams::new();
        let mut reached = Vec::new();
        for turn in 0..4 {
            let any = upstreams.reach(&endpoint, None, turn).await.unwrap();
            reached.push(any.address);
            for kept in [first, second] {
                let connected = upstreams.reach(&endpoint, Some(kept), turn).await.unwrap();
                assert_eq!(connected.address, kept, "turn {turn}");
            }
            assert!(
                upstreams.reach(&endpoint, Some(third), turn).await.is_none(),
                "turn {turn}"
            );
            let state = EndpointState::of(&endpoint).unwrap();
            assert!(state.health.is_well(), "the other addresses are");
        }
        assert_eq!(reached, [first, second, first, first]);
    });
}
