//! Everything that is asked of issuers: their keys, what they say of tokens, and tokens in exchange.
//!
//! Owns [`Issuers`], which puts the services into the place of what the last configuration had, whole or not at all.

use std::sync::Arc;

use async_trait::async_trait;
use portcullis_core::exchange::{ExchangeError, ExchangeRequest, ExchangedToken};
use portcullis_core::jwks::refresh::{FetchError, Fetched};
use portcullis_core::token::IntrospectionRequest;
use tokio::runtime::Handle;

use super::exchange::{self, ExchangeService};
use super::introspect::{self, IntrospectionService};
use super::jwks::{self, KeyService, Publish, StartError};
use crate::config::Config;
use crate::metadata::MetadataStore;
use crate::service::IssuerEvidence;
use crate::signer::Signer;

/// The services.
pub(crate) struct Issuers {
    keys: KeyService,
    introspection: IntrospectionService,
    exchange: ExchangeService,
    signer: Arc<Signer>,
}

/// What they need of a configuration; made before anything changes.
pub(crate) struct Prepared {
    keys: jwks::Prepared,
    introspection: introspect::Prepared,
    exchange: exchange::Prepared,
}

impl Issuers {
    /// Services without issuers, on `runtime`. Keys go to `publish`; `metadata` says where issuers are asked, and
    /// `signer` signs who acts for a subject. So many tokens that were got in exchange are kept.
    pub(crate) fn new(
        runtime: &Handle,
        publish: Arc<dyn Publish>,
        metadata: Arc<MetadataStore>,
        signer: Arc<Signer>,
        exchanged_tokens_max: usize,
    ) -> Self {
        Self {
            keys: KeyService::new(runtime.clone(), publish),
            introspection: IntrospectionService::new(runtime.clone(), Arc::clone(&metadata)),
            exchange: ExchangeService::new(runtime.clone(), metadata, Arc::clone(&signer), exchanged_tokens_max),
            signer,
        }
    }

    /// Who signs for the gate.
    pub(crate) fn signer(&self) -> &Signer {
        &self.signer
    }

    /// Builds what the issuers of a configuration need, and changes nothing.
    ///
    /// # Errors
    /// [`StartError`] for an issuer that could never be asked.
    pub(crate) fn prepare(&self, config: &Config) -> Result<Prepared, StartError> {
        Ok(Prepared {
            keys: self.keys.prepare(&config.issuers, &config.limits)?,
            introspection: self.introspection.prepare(&config.issuers)?,
            exchange: self.exchange.prepare(config)?,
        })
    }

    /// Puts them in force.
    pub(crate) fn start(&self, prepared: Prepared) {
        self.keys.start(prepared.keys);
        self.introspection.start(prepared.introspection);
        self.exchange.start(prepared.exchange);
    }
}

#[async_trait]
impl IssuerEvidence for Issuers {
    async fn fetch_keys(&self, issuer: &str) {
        self.keys.fetch_keys(issuer).await;
    }

    async fn introspect(&self, request: &IntrospectionRequest) -> Result<Arc<Fetched>, FetchError> {
        self.introspection.introspect(request).await
    }

    async fn exchange(&self, request: &ExchangeRequest, token: &str) -> Result<Arc<ExchangedToken>, ExchangeError> {
        self.exchange.exchange(request, token).await
    }
}
