use std::sync::Mutex;
use std::time::Duration;

use portcullis_fixtures::issuer::{Issuer as DevIssuer, IssuerSettings};
use tokio::sync::Notify;

use super::*;

/// Remembers what was published, and tells of it.
#[derive(Default)]
struct Seen {
    keys: Mutex<Vec<usize>>,
    metadata: Mutex<Vec<Arc<str>>>,
    told: Notify,
}

impl Publish for Seen {
    fn publish(&self, _: &Issuer, published: Published) {
        if let Some(keys) = published.keys {
            self.keys.lock().unwrap().push(keys.len());
        }
        self.metadata.lock().unwrap().extend(published.metadata);
        self.told.notify_one();
    }
}

impl Seen {
    /// Waits until `count` key sets were published.
    async fn key_sets(&self, count: usize) -> Vec<usize> {
        let all = async {
            loop {
                let keys = self.keys.lock().unwrap().clone();
                if count <= keys.len() {
                    return keys;
                }
                self.told.notified().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), all).await.unwrap()
    }
}

fn plan(issuer: &DevIssuer) -> IssuerPlan {
    let _ = rustls::crypto::ring::default_provider().install_default();
    IssuerPlan::plain(issuer.url())
}

fn service(publish: &Arc<Seen>) -> KeyService {
    KeyService::new(Handle::current(), Arc::<Seen>::clone(publish))
}

fn start(service: &KeyService, plans: &[IssuerPlan]) {
    let prepared = service.prepare(plans, &Limits::default()).unwrap();
    service.start(prepared);
}

#[tokio::test]
async fn keys_and_metadata_come_without_being_asked_for() {
    let issuer = DevIssuer::start(IssuerSettings::default()).unwrap();
    let publish = Arc::new(Seen::default());
    let service = service(&publish);
    start(&service, &[plan(&issuer)]);
    assert_eq!(publish.key_sets(1).await, [3]);
    let metadata = publish.metadata.lock().unwrap().clone();
    assert!(metadata[0].contains(issuer.url()), "{metadata:?}");
}

#[tokio::test]
async fn an_unknown_key_is_fetched_once_for_all_who_wait() {
    let issuer = DevIssuer::start(IssuerSettings::default()).unwrap();
    let publish = Arc::new(Seen::default());
    let service = Arc::new(service(&publish));
    start(&service, &[plan(&issuer)]);
    publish.key_sets(1).await;
    issuer.rotate("es-2");
    let mut waiting = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let service = Arc::clone(&service);
        let url = issuer.url().to_owned();
        waiting.spawn(async move { service.fetch_keys(&url).await });
    }
    tokio::time::timeout(Duration::from_secs(10), waiting.join_all())
        .await
        .unwrap();
    assert_eq!(publish.key_sets(2).await, [3, 4], "one further fetch");
    // The interval has not passed: the next wait ends at once, without a fetch.
    service.fetch_keys(issuer.url()).await;
    assert_eq!(publish.key_sets(2).await, [3, 4]);
}

#[tokio::test]
async fn an_issuer_that_fails_or_is_unknown_keeps_nobody_waiting() {
    let issuer = DevIssuer::start(IssuerSettings::default()).unwrap();
    issuer.set_down(true);
    let publish = Arc::new(Seen::default());
    let service = service(&publish);
    start(&service, &[plan(&issuer)]);
    for url in [issuer.url(), "https://unknown.example.test"] {
        let waited = tokio::time::timeout(Duration::from_secs(10), service.fetch_keys(url)).await;
        assert!(waited.is_ok(), "{url}");
    }
    assert!(publish.keys.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_reload_keeps_the_tasks_of_issuers_that_stay() {
    let issuer = DevIssuer::start(IssuerSettings::default()).unwrap();
    let publish = Arc::new(Seen::default());
    let service = service(&publish);
    let plan = plan(&issuer);
    start(&service, std::slice::from_ref(&plan));
    publish.key_sets(1).await;
    let running = |service: &KeyService| {
        service
            .issuers
            .read()
            .unwrap()
            .get(&plan.url)
            .map(|running| running.task.id())
    };
    let first = running(&service);
    assert!(first.is_some());
    start(&service, std::slice::from_ref(&plan));
    assert_eq!(running(&service), first, "nothing changed");
    let mut other = plan.clone();
    other.jwks_uri = Some(Arc::from(issuer.jwks_uri()));
    start(&service, &[other]);
    assert_ne!(running(&service), first, "the key set stands elsewhere now");
    assert_eq!(publish.key_sets(2).await, [3, 3]);
    start(&service, &[]);
    assert_eq!(running(&service), None);
}
