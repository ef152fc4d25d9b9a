use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use pingora_core::upstreams::peer::Peer as _;
use portcullis_core::config::{Endpoint, Kept};
use portcullis_core::session::EndpointId;
use rcgen::{CertifiedKey, KeyPair, generate_simple_self_signed};

use super::{ASIDE_MAX, ASIDE_MIN, As, EndpointState, EndpointTrustError, Health, Leave, TRIAL, Trust, nanos, peer};

const MS: u64 = 1_000_000;

#[test]
fn an_endpoint_that_takes_no_connection_is_put_aside_for_longer_each_time() {
    let health = Health::default();
    assert_eq!(health.leave(MS), Some(Leave::Well));
    assert!(health.failed(Leave::Well, MS, ASIDE_MAX), "it was well");
    assert!(!health.failed(Leave::Well, MS, ASIDE_MAX), "one of many says it");
    assert!(!health.is_well());
    let mut now = MS;
    let mut aside = ASIDE_MIN;
    for _ in 0..12 {
        let until = now + nanos(aside);
        assert_eq!(health.leave(until - 1), None, "{aside:?}");
        assert_eq!(health.leave(until), Some(Leave::Trial), "{aside:?}");
        assert_eq!(health.leave(until), None, "one tries it");
        assert!(!health.failed(Leave::Trial, until, ASIDE_MAX), "nothing has changed");
        now = until;
        aside = (aside * 2).min(ASIDE_MAX);
    }
    assert_eq!(aside, ASIDE_MAX);
    assert_eq!(health.leave(now + nanos(ASIDE_MAX)), Some(Leave::Trial));
    assert!(health.recovered(), "it was put aside");
    assert!(!health.recovered());
    assert_eq!(health.leave(now), Some(Leave::Well));
    // It begins anew, as it did at first.
    assert!(health.failed(Leave::Well, now, ASIDE_MAX));
    assert_eq!(health.leave(now + nanos(ASIDE_MIN)), Some(Leave::Trial));
}

#[test]
fn a_trial_that_never_ends_is_followed_by_another() {
    let health = Health::default();
    health.put_aside(0, ASIDE_MIN);
    let due = nanos(ASIDE_MIN);
    assert_eq!(health.leave(due), Some(Leave::Trial));
    assert_eq!(health.leave(due + nanos(TRIAL) - 1), None);
    assert_eq!(health.leave(due + nanos(TRIAL)), Some(Leave::Trial));
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
            aside_max: ASIDE_MAX,
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
