//! What a chain is worth: by which authority, at which time, with which list, and after an exchange of the trust.

use std::path::PathBuf;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, ExtendedKeyUsagePurpose,
    IsCa, KeyIdMethod, KeyPair, RevokedCertParams, SanType, SerialNumber,
};

use super::*;

const NOW_S: u64 = 1_800_000_000;
const NOW: UnixTime = UnixTime::from_secs(NOW_S);
const REPORTER: &str = "spiffe://prod.example/agents/reporter";

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// A leaf with this serial whose last second is this one.
    fn leaf(&self, serial: u8, last_s: u64, change: impl FnOnce(&mut CertificateParams)) -> CertificateDer<'static> {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.subject_alt_names = vec![uri(REPORTER)];
        params.serial_number = Some(SerialNumber::from_slice(&[serial]));
        params.not_before = rcgen::date_time_ymd(2_020, 1, 1);
        params.not_after = rcgen::date_time_ymd(1_970, 1, 1) + Duration::from_secs(last_s);
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        params.signed_by(&key, &self.0).unwrap().der().clone()
    }

    fn list(&self, revoked: &[u8], next_update_s: u64) -> String {
        let at = |second: u64| rcgen::date_time_ymd(1_970, 1, 1) + Duration::from_secs(second);
        let row = |serial: u8| RevokedCertParams {
            serial_number: SerialNumber::from_slice(&[serial]),
            revocation_time: at(NOW_S - 10),
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: at(NOW_S - 10),
            next_update: at(next_update_s),
            crl_number: SerialNumber::from_slice(&[1]),
            issuing_distribution_point: None,
            revoked_certs: [127].iter().chain(revoked).map(|serial| row(*serial)).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.0).unwrap().pem().unwrap()
    }

    fn store(&self, list: Option<&str>) -> Arc<TrustStore> {
        let files = TrustFiles {
            client_ca: PathBuf::from("ca.pem"),
            client_crl: list.map(|_| PathBuf::from("clients.crl")),
        };
        Arc::new(TrustStore::new(files, Trust::parse(&self.0.pem(), list).unwrap()))
    }
}

fn uri(uri: &str) -> SanType {
    SanType::URI(uri.try_into().unwrap())
}

/// Why a certificate is refused, or whom it names.
fn found(certificate: &ClientCertificate) -> Result<Option<&str>, &'static str> {
    match certificate.refused {
        Some(refused) => Err(refused),
        None => Ok(certificate.identity.as_ref().map(|identity| &*identity.uri)),
    }
}

fn judged(store: &Arc<TrustStore>, leaf: &CertificateDer<'static>, at_s: u64) -> ClientCertificate {
    PeerChain::new(Arc::clone(store), std::slice::from_ref(leaf)).certificate(UnixTime::from_secs(at_s))
}

#[test]
fn a_verified_leaf_names_its_one_uri() {
    let authority = Authority::new();
    let store = authority.store(None);
    let good = judged(&store, &authority.leaf(5, NOW_S + 60, |_| {}), NOW_S);
    let identity = good.identity.as_ref().unwrap();
    assert_eq!(
        (&*identity.uri, identity.expires, identity.is_listed),
        (REPORTER, UnixTime::from_secs(NOW_S + 60), false)
    );
    type Change = fn(&mut CertificateParams);
    let nobody: [(&str, Change); 4] = [
        ("two", |leaf| {
            leaf.subject_alt_names.push(uri("spiffe://prod.example/x"))
        }),
        ("the same twice", |leaf| leaf.subject_alt_names.push(uri(REPORTER))),
        ("none", |leaf| leaf.subject_alt_names.clear()),
        ("a host's", |leaf| {
            leaf.subject_alt_names = vec![SanType::DnsName("prod.example".try_into().unwrap())];
        }),
    ];
    for (what, change) in nobody {
        let certificate = judged(&store, &authority.leaf(5, NOW_S + 60, change), NOW_S);
        assert_eq!(found(&certificate), Ok(None), "{what}");
    }
    let with_host = authority.leaf(5, NOW_S + 60, |leaf| {
        leaf.subject_alt_names
            .push(SanType::DnsName("prod.example".try_into().unwrap()));
    });
    assert_eq!(found(&judged(&store, &with_host, NOW_S)), Ok(Some(REPORTER)));
    let servers = authority.leaf(5, NOW_S + 60, |leaf| {
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    });
    assert_eq!(
        found(&judged(&store, &servers, NOW_S)),
        Err("the client's certificate cannot be verified")
    );
    let foreign = Authority::new().leaf(5, NOW_S + 60, |_| {});
    assert!(found(&judged(&store, &foreign, NOW_S)).is_err());
    assert!(found(&PeerChain::new(store, &[]).certificate(NOW)).is_err());
}

#[test]
fn time_is_looked_at_on_every_request_of_a_connection() {
    let authority = Authority::new();
    let leaf = authority.leaf(5, NOW_S + 60, |_| {});
    let expired = Err("the client's certificate, or one of its chain, has expired");
    let stale = Err("the revocation list for the client's certificate is out of date");
    for (list, until) in [
        (None, [Ok(Some(REPORTER)), Ok(Some(REPORTER)), expired]),
        (
            Some(authority.list(&[], NOW_S + 60)),
            [Ok(Some(REPORTER)), stale, expired],
        ),
        (Some(authority.list(&[], NOW_S + 9)), [stale, stale, expired]),
    ] {
        let store = authority.store(list.as_deref());
        let chain = PeerChain::new(Arc::clone(&store), std::slice::from_ref(&leaf));
        assert_eq!(found(&chain.certificate(NOW)), Ok(Some(REPORTER)));
        for (at_s, expected) in [NOW_S + 59, NOW_S + 60, NOW_S + 61].into_iter().zip(until) {
            let certificate = chain.certificate(UnixTime::from_secs(at_s));
            assert_eq!(found(&certificate).map_err(drop), expected.map_err(drop), "{at_s}");
            let told = store.judge_told(leaf.to_vec(), certificate.sha256, UnixTime::from_secs(at_s));
            assert_eq!(told, certificate, "{at_s}");
            if at_s < NOW_S + 61 {
                assert_eq!(found(&certificate), expected, "{at_s}");
            }
        }
    }
    let early = judged(&authority.store(None), &leaf, 1_000_000_000);
    assert_eq!(found(&early), Err("the client's certificate is not valid yet"));
}

#[test]
fn no_judgement_outlives_a_clock_that_was_wrong() {
    let authority = Authority::new();
    let begins_s = NOW_S + 5;
    let leaf = authority.leaf(5, NOW_S + 60, |params| {
        params.not_before = rcgen::date_time_ymd(1_970, 1, 1) + Duration::from_secs(begins_s);
    });
    let store = authority.store(None);
    let chain = PeerChain::new(Arc::clone(&store), std::slice::from_ref(&leaf));
    // Too early by a second, then in time, then far too late, and back again.
    for (at_s, good) in [
        (begins_s - 1, false),
        (begins_s, true),
        (NOW_S + 4_000, false),
        (begins_s + 1, true),
        (begins_s - 1, false),
    ] {
        let now = UnixTime::from_secs(at_s);
        let certificate = chain.certificate(now);
        assert_eq!(found(&certificate).is_ok(), good, "{at_s}");
        let told = store.judge_told(leaf.to_vec(), certificate.sha256, now);
        assert_eq!(told, certificate, "{at_s}");
    }
}

#[test]
fn an_exchanged_trust_holds_for_chains_that_were_judged() {
    let authority = Authority::new();
    let store = authority.store(Some(&authority.list(&[], NOW_S + 60)));
    let (leaf, other) = (
        authority.leaf(5, NOW_S + 60, |_| {}),
        authority.leaf(6, NOW_S + 60, |_| {}),
    );
    let chains = [&leaf, &other].map(|leaf| PeerChain::new(Arc::clone(&store), std::slice::from_ref(leaf)));
    let check = |expected: [Result<Option<&str>, &'static str>; 2]| {
        for ((chain, leaf), expected) in chains.iter().zip([&leaf, &other]).zip(expected) {
            let certificate = chain.certificate(NOW);
            assert_eq!(found(&certificate), expected);
            assert_eq!(store.judge_told(leaf.to_vec(), certificate.sha256, NOW), certificate);
            assert!(certificate.identity.is_none_or(|identity| identity.is_listed));
        }
    };
    let good = Ok(Some(REPORTER));
    check([good, good]);
    store.exchange(&authority.store(Some(&authority.list(&[5], NOW_S + 60))));
    check([Err("the client's certificate was revoked"), good]);
    store.exchange(&authority.store(Some(&authority.list(&[], NOW_S + 60))));
    check([good, good]);
    let foreign = Authority::new();
    store.exchange(&foreign.store(None));
    assert!(chains.iter().all(|chain| chain.certificate(NOW).refused.is_some()));
}

#[test]
fn an_intermediate_needs_a_list_of_its_issuer_too() {
    let root = Authority::new();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
        .distinguished_name
        .push(rcgen::DnType::OrganizationName, "intermediate");
    let inner = CertifiedIssuer::signed_by(params, KeyPair::generate().unwrap(), &root.0).unwrap();
    let inner_der = inner.der().clone();
    let inner = Authority(inner);
    let chain = [inner.leaf(5, NOW_S + 60, |_| {}), inner_der];
    let judged = |list: Option<&str>| {
        let chain = PeerChain::new(root.store(list), &chain);
        found(&chain.certificate(NOW)).map(|name| name.map(str::to_owned))
    };
    let lists = [root.list(&[], NOW_S + 60), inner.list(&[], NOW_S + 60)];
    assert_eq!(judged(None), Ok(Some(REPORTER.to_owned())));
    assert_eq!(judged(Some(&lists.concat())), Ok(Some(REPORTER.to_owned())));
    for one in &lists {
        assert_eq!(
            judged(Some(one)),
            Err("no revocation list tells of the client's certificate")
        );
    }
    let revoked = [root.list(&[], NOW_S + 60), inner.list(&[5], NOW_S + 60)].concat();
    assert_eq!(judged(Some(&revoked)), Err("the client's certificate was revoked"));
}

#[test]
fn what_is_no_trust_is_refused_whole() {
    let authority = Authority::new();
    let (ca, list) = (authority.0.pem(), authority.list(&[], NOW_S + 60));
    let told = |ca: &str, list: Option<&str>| Trust::parse(ca, list).map(drop).map_err(|error| error.is_of_lists());
    assert_eq!(told(&ca, None), Ok(()));
    assert_eq!(told(&ca, Some(&list)), Ok(()));
    assert_eq!(
        told(&format!("a remark\n{ca}{ca}"), Some(&format!("{list}{list}"))),
        Ok(())
    );
    for broken in [
        "",
        "no certificate",
        &list,
        &ca.replacen('M', "", 1),
        &ca.replacen("-----END", "", 1),
    ] {
        assert_eq!(told(broken, None), Err(false), "{broken}");
        assert_eq!(
            told(&format!("{ca}{broken}"), None).is_ok(),
            !broken.contains("BEGIN C"),
            "{broken}"
        );
    }
    for broken in [
        "",
        "no list",
        &ca,
        &list.replacen('M', "", 1),
        &list.replacen("-----END", "", 1),
    ] {
        assert_eq!(told(&ca, Some(broken)), Err(true), "{broken}");
    }
}
