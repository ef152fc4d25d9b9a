//! Who connects, as written: listeners, the operators' side and hops in front of the gate.

use schemars::JsonSchema;

use super::At;

/// One listening address.
#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawListener {
    /// IP address and port, such as `127.0.0.1:8080` or `[::1]:8080`; port 0 takes a free one.
    pub address: At<String>,
    /// TLS of this listener; without it the listener speaks plain HTTP.
    pub tls: Option<RawTls>,
}

/// What operators ask and do. Taken up by a restart alone.
#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawAdmin {
    /// IP address on loopback and port of `/metrics`, `/livez` and `/readyz` in plain HTTP, without a token, such as
    /// `127.0.0.1:9901`; port 0 takes a free one. Default: nowhere.
    pub address: Option<At<String>>,
    /// Where operators revoke, each by name. Default: nowhere.
    pub control: Option<At<RawControl>>,
    /// Lets the address be one that other machines reach: whoever does can read how much the gate is used, and when.
    #[serde(default)]
    pub danger_public: bool,
}

/// The control plane: on a Unix socket, or on a TCP port with bearers or client certificates.
#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawControl {
    /// The path of a socket that is made with mode 0600: the gate's own user and root may act.
    pub unix: Option<At<String>>,
    /// IP address and port, on loopback unless there is `tls`.
    pub address: Option<At<String>>,
    /// TLS of that address. With `client_ca` a certificate of that authority says who acts.
    pub tls: Option<RawTls>,
    /// The bearers that may act.
    #[serde(default)]
    pub tokens: Vec<RawControlToken>,
}

/// A bearer of the control plane; it never stands in this file.
#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawControlToken {
    /// Who acts by it, in audit records.
    pub name: At<String>,
    /// The file whose first line is the bearer, at least 32 bytes.
    pub file: At<String>,
}

/// TLS files of a listener, in PEM.
#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawTls {
    /// The certificate chain, the gate's own certificate first.
    pub certificate: At<String>,
    /// The private key of the first certificate.
    pub key: At<String>,
    /// Certificate authorities of clients. When set, a client without a certificate of theirs is refused. Read again on
    /// SIGHUP.
    pub client_ca: Option<At<String>>,
    /// Whether a client needs a certificate; one that is shown has to be good either way. Default: required.
    pub client_certificates: Option<At<RawClientCertificates>>,
    /// Revocation lists of those authorities, one or several. When set, each certificate needs one of its issuer that is
    /// in date: past its next update nobody of that issuer passes. Read again on SIGHUP, also for open connections.
    pub client_crl: Option<At<String>>,
}

/// Whether clients need certificates.
#[derive(Clone, Copy, Debug, Eq, PartialEq, serde::Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RawClientCertificates {
    /// They may come without.
    Optional,
    /// They may not.
    Required,
}

/// Proxies that tell where a request came from.
#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawTrustedProxies {
    /// Their networks or addresses, such as `[10.0.0.0/8, 192.0.2.7]`, at least one. The client is the right-most address
    /// that is none of them. From everybody else the fields are not read.
    pub addresses: At<Vec<At<String>>>,
    /// The one family of fields that they set in every request, over whatever the client wrote there. The other family is
    /// not read: it would be the client's own word. Required.
    pub fields: RawProxyFields,
}

/// The families of fields in which proxies tell where a request came from.
#[derive(Clone, Copy, Debug, Eq, PartialEq, serde::Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RawProxyFields {
    /// `Forwarded` (RFC 7239).
    Forwarded,
    /// `X-Forwarded-For`, `X-Forwarded-Host` and `X-Forwarded-Proto`.
    XForwarded,
}

/// A hop in front of the gate.
#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawTrustedHop {
    /// The networks or addresses that it connects from, such as `[10.0.0.0/8, 192.0.2.7]`. Whoever can connect from
    /// there can name any client's certificate.
    pub addresses: Vec<At<String>>,
    /// Where it tells the client's certificate, which it has verified. It must take the same header out of what clients
    /// send.
    pub client_certificate: RawHopCertificate,
}

/// The header in which a hop tells the client's certificate.
#[derive(Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawHopCertificate {
    /// The header, such as `client-cert`. Empty or absent, the client has no certificate.
    pub header: At<String>,
    /// How the certificate stands in it.
    pub form: RawCertificateForm,
    /// Certificate authorities that the gate verifies it by as well: only then does it name a machine, and one that fails
    /// is refused. Intermediate authorities stand here too. Not with `sha256_hex`. Read again on SIGHUP.
    pub client_ca: Option<At<String>>,
    /// Revocation lists of those authorities, as for a listener.
    pub client_crl: Option<At<String>>,
}

/// The forms of a certificate in a header.
#[derive(Clone, Copy, Debug, Eq, PartialEq, serde::Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RawCertificateForm {
    /// PEM with percent-encoding, as nginx's `$ssl_client_escaped_cert`.
    PemUrlEncoded,
    /// RFC 9440: DER in base64 between colons.
    Rfc9440,
    /// SHA-256 of the DER form, 64 hexadecimal digits.
    Sha256Hex,
}
