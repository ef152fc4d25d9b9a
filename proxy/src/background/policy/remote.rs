//! One fetch of a bundle: no redirect, no proxy, bounded in bytes and time.
//!
//! Owns the HTTP client of one bundle server and its credential. Never logs the token, and follows the URL of the
//! configuration alone.

use std::path::Path;
use std::sync::Arc;

use http::HeaderValue;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, ETAG, HeaderName, IF_NONE_MATCH};
use portcullis_core::bundle::fetch::{BundleAnswer, BundleFetchError, BundleRequest};
use reqwest::redirect;
use zeroize::Zeroizing;

use super::BundlePlan;

/// The server of one bundle.
pub(super) struct Remote {
    client: reqwest::Client,
    url: Arc<str>,
    token_file: Option<Arc<Path>>,
}

impl Remote {
    /// The server of `plan`.
    ///
    /// # Errors
    /// When the authorities or the gate's certificate cannot be used.
    pub(super) fn new(plan: &BundlePlan) -> Result<Self, reqwest::Error> {
        let mut builder = reqwest::Client::builder()
            .redirect(redirect::Policy::none())
            .no_proxy()
            .referer(false)
            .pool_max_idle_per_host(1)
            .user_agent(concat!("portcullis/", env!("CARGO_PKG_VERSION")));
        if let Some(pem) = &plan.ca_pem {
            builder = builder.tls_certs_only(reqwest::Certificate::from_pem_bundle(pem.as_bytes())?);
        }
        if let Some(pem) = &plan.identity {
            builder = builder.identity(reqwest::Identity::from_pem(pem)?);
        }
        Ok(Self {
            client: builder.build()?,
            url: Arc::clone(&plan.url),
            token_file: plan.token_file.as_deref().map(Arc::from),
        })
    }

    /// Performs one fetch.
    ///
    /// # Errors
    /// [`BundleFetchError`].
    pub(super) async fn get(&self, request: &BundleRequest) -> Result<BundleAnswer, BundleFetchError> {
        match tokio::time::timeout(request.deadline, self.get_all(request)).await {
            Ok(answer) => answer,
            Err(_) => Err(BundleFetchError::TimedOut),
        }
    }

    async fn get_all(&self, request: &BundleRequest) -> Result<BundleAnswer, BundleFetchError> {
        let mut asked = self
            .client
            .get(&*self.url)
            .header(ACCEPT, "application/gzip, application/vnd.openpolicyagent.bundles")
            .header(HeaderName::from_static("prefer"), &request.prefer);
        if let Some(etag) = &request.etag {
            asked = asked.header(IF_NONE_MATCH, &**etag);
        }
        if let Some(file) = &self.token_file {
            asked = asked.header(AUTHORIZATION, bearer(Arc::clone(file)).await?);
        }
        let mut response = asked.send().await.map_err(|error| failed(&error))?;
        let declared = response.content_length().unwrap_or(0);
        if usize::try_from(declared).map_or(true, |declared| request.bytes_max < declared) {
            return Err(BundleFetchError::TooLarge);
        }
        let text = |name| {
            response
                .headers()
                .get(name)
                .and_then(|value: &HeaderValue| value.to_str().ok())
        };
        let (etag, content_type) = (text(ETAG).map(Arc::from), text(CONTENT_TYPE).map(Box::from));
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| failed(&error))? {
            if request.bytes_max.saturating_sub(body.len()) < chunk.len() {
                return Err(BundleFetchError::TooLarge);
            }
            body.extend_from_slice(&chunk);
        }
        Ok(BundleAnswer {
            status: response.status().as_u16(),
            etag,
            content_type,
            body,
        })
    }
}

/// The token of the file's first line, read anew so that it may be rotated.
async fn bearer(file: Arc<Path>) -> Result<HeaderValue, BundleFetchError> {
    let read = tokio::task::spawn_blocking(move || std::fs::read_to_string(&file).map(Zeroizing::new)).await;
    let text = read.ok().and_then(Result::ok).ok_or(BundleFetchError::Credential)?;
    let token = text.lines().next().unwrap_or_default().trim();
    let value = Zeroizing::new(format!("Bearer {token}"));
    let mut value = HeaderValue::from_str(&value).map_err(|_| BundleFetchError::Credential)?;
    value.set_sensitive(true);
    Ok(value)
}

/// The cause goes to the log, where it helps.
fn failed(error: &reqwest::Error) -> BundleFetchError {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    tracing::debug!(%cause, "the bundle server was not reached");
    BundleFetchError::Connection
}
