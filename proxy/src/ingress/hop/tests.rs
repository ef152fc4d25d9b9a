use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue};
use portcullis_core::denial::DenyReason;
use portcullis_core::head::ClientCertificate;
use ring::digest;

use super::{CertificateForm, Hop, TrustedHops};

/// Bytes in place of a certificate: nobody looks into it. In base64 they have both signs and padding.
const DER: [u8; 5] = [0x30, 0xfb, 0xef, 0xff, 0x00];
const OWN: [u8; 32] = [9; 32];

fn hops(form: CertificateForm) -> TrustedHops {
    let hops = vec![
        Hop {
            networks: vec!["10.1.0.0/16".parse().unwrap(), "fd00::/8".parse().unwrap()],
            header: HeaderName::from_static("client-cert"),
            form,
            trust: None,
        },
        Hop {
            networks: vec!["192.0.2.7/32".parse().unwrap()],
            header: HeaderName::from_static("x-other"),
            form: CertificateForm::Sha256Hex,
            trust: None,
        },
    ];
    TrustedHops::new(hops, None)
}

fn certificate(
    form: CertificateForm,
    peer: &str,
    fields: &[(&'static str, &str)],
) -> Result<Option<[u8; 32]>, DenyReason> {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
    }
    let peer: IpAddr = peer.parse().unwrap();
    let own = || {
        Some(ClientCertificate {
            sha256: OWN,
            identity: None,
            refused: None,
        })
    };
    let certificate = hops(form).certificate(peer, &headers, own);
    let told = certificate.map_err(|denial| denial.reason)?;
    assert!(
        told.as_ref()
            .is_none_or(|told| told.identity.is_none() && told.refused.is_none())
    );
    Ok(told.map(|told| told.sha256))
}

fn expected() -> [u8; 32] {
    digest::digest(&digest::SHA256, &DER).as_ref().try_into().unwrap()
}

#[test]
fn only_a_configured_network_is_heard() {
    let told = format!(":{}:", STANDARD.encode(DER));
    let mine = [("client-cert", told.as_str())];
    let form = CertificateForm::Rfc9440;
    for peer in ["10.1.0.0", "10.1.255.255", "::ffff:10.1.2.3", "fd12::1"] {
        assert_eq!(certificate(form, peer, &mine), Ok(Some(expected())), "{peer}");
        // What the hop does not tell its own certificate does not stand in for.
        assert_eq!(certificate(form, peer, &[]), Ok(None), "{peer}");
        assert_eq!(certificate(form, peer, &[("client-cert", " ")]), Ok(None), "{peer}");
        assert_eq!(certificate(form, peer, &[("x-other", &told)]), Ok(None), "{peer}");
    }
    for peer in [
        "10.2.0.0",
        "10.0.255.255",
        "127.0.0.1",
        "::ffff:10.2.0.0",
        "fe80::1",
        "::1",
    ] {
        for value in [told.as_str(), "", "garbage"] {
            let fields = [("client-cert", value), ("client-cert", value)];
            assert_eq!(certificate(form, peer, &fields), Ok(Some(OWN)), "{peer} {value}");
        }
    }
    // Each hop by its own header and form.
    assert_eq!(certificate(form, "192.0.2.7", &mine), Ok(None));
    let hex = "0a".repeat(32);
    assert_eq!(certificate(form, "192.0.2.7", &[("x-other", &hex)]), Ok(Some([10; 32])));
    assert_eq!(certificate(form, "192.0.2.8", &[("x-other", &hex)]), Ok(Some(OWN)));
}

#[test]
fn each_form_tells_one_certificate_or_nothing() {
    use CertificateForm::{PemUrlEncoded, Rfc9440, Sha256Hex};
    let base64 = STANDARD.encode(DER);
    let escaped = base64.replace('+', "%2B").replace('/', "%2f").replace('=', "%3D");
    let hex: String = expected().iter().map(|byte| format!("{byte:02x}")).collect();
    let (first, rest) = base64.split_at(4);
    let (short, _) = hex.split_at(63);
    let pem = |body: &str| format!("-----BEGIN%20CERTIFICATE-----%0A{body}%0A-----END%20CERTIFICATE-----%0A");
    let good = [
        (Rfc9440, format!(":{base64}:")),
        (PemUrlEncoded, pem(&escaped)),
        (PemUrlEncoded, pem(&base64)),
        (PemUrlEncoded, pem(&format!("{}%0d%0A{}", first, rest))),
        (Sha256Hex, hex.clone()),
        (Sha256Hex, hex.to_uppercase()),
    ];
    for (form, told) in &good {
        let one = certificate(*form, "10.1.0.1", &[("client-cert", told)]);
        assert_eq!(one, Ok(Some(expected())), "{told}");
        let two = [("client-cert", told.as_str()), ("client-cert", told)];
        assert_eq!(
            certificate(*form, "10.1.0.1", &two),
            Err(DenyReason::HeadMalformed),
            "{told}"
        );
    }
    let malformed = [
        (Rfc9440, base64.clone()),
        (Rfc9440, format!(":{base64}")),
        (Rfc9440, "::".to_owned()),
        (Rfc9440, ":".to_owned()),
        (Rfc9440, format!(":{base64}:;a=b")),
        (Rfc9440, format!(":{base64}:, :{base64}:")),
        (Rfc9440, format!(":{}:", base64.trim_end_matches('='))),
        (Rfc9440, format!(":{}:", base64.replace('+', "-").replace('/', "_"))),
        (Rfc9440, pem(&escaped)),
        (PemUrlEncoded, escaped.clone()),
        (PemUrlEncoded, pem("")),
        (PemUrlEncoded, pem(&escaped).replace("%20", "+")),
        (PemUrlEncoded, pem(&escaped).replace("CERTIFICATE", "PRIVATE%20KEY")),
        (PemUrlEncoded, format!("{0}{0}", pem(&escaped))),
        (PemUrlEncoded, format!("{}x", pem(&escaped))),
        (PemUrlEncoded, format!("{}%", pem(&escaped))),
        (PemUrlEncoded, format!("{}%0", pem(&escaped))),
        (PemUrlEncoded, pem(&format!("{escaped}%zz"))),
        (PemUrlEncoded, format!(":{base64}:")),
        (Sha256Hex, short.to_owned()),
        (Sha256Hex, format!("{hex}0")),
        (Sha256Hex, format!("{}g", short)),
        (Sha256Hex, format!("+{}", short)),
        (Sha256Hex, format!(":{base64}:")),
    ];
    for (form, told) in malformed {
        let refused = certificate(form, "10.1.0.1", &[("client-cert", &told)]);
        assert_eq!(refused, Err(DenyReason::HeadMalformed), "{form:?} {told}");
    }
}
