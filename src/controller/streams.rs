//! The watch streams, one per namespace, each with a backoff of its own.

use std::{collections::HashSet, future::ready, sync::Arc, time::Duration};

use futures::{Stream, StreamExt, TryStreamExt};
use kube::{
    Api, Client, Config, Resource, ResourceExt,
    runtime::{
        Predicate, WatchStreamExt, predicates,
        reflector::{self, Store},
        watcher::{self, Event, ExponentialBackoff},
    },
};
use tracing::warn;

use super::{Guarded, context::Context};
use crate::{
    api::{CRD_NAME, ObjectKey, RECONCILE_AT},
    ops::Health,
};

/// The API server sends a bookmark every minute: longer silence means that the connection is dead.
const WATCH_SILENCE: Duration = Duration::from_secs(100);
/// Longest silence inside a single request.
const REQUEST_SILENCE: Duration = Duration::from_secs(10);

/// Two clients, since a watch may be silent for a minute and a request may not.
pub struct Clients {
    /// For the watch streams.
    pub(super) watches: Client,
    /// For everything else.
    pub(super) requests: Client,
}

impl Clients {
    /// Makes both from one configuration. Neither retries by itself: kube's own retries hide outages for hours.
    ///
    /// # Errors
    /// When the configuration cannot be used.
    pub fn new(config: &Config) -> Result<Self, kube::Error> {
        let client = |silence| {
            let mut config = config.clone();
            // kube takes HTTPS_PROXY for the API server too when there is a kubeconfig, cannot use it as it is built here, and
            // says so with the proxy's password. In a pod it takes none.
            config.proxy_url = None;
            config.default_retry = false;
            config.connect_timeout = Some(Duration::from_secs(5));
            config.read_timeout = Some(silence);
            Client::try_from(config)
        };
        Ok(Self { watches: client(WATCH_SILENCE)?, requests: client(REQUEST_SILENCE)? })
    }
}

fn backoff(first: Duration, cap: Duration) -> ExponentialBackoff {
    let builder = backon::ExponentialBuilder::new().with_min_delay(first).with_max_delay(cap).without_max_times();
    if cap.is_zero() { builder.into() } else { builder.with_jitter().into() }
}

pub(super) fn no_backoff() -> ExponentialBackoff {
    backoff(Duration::ZERO, Duration::ZERO)
}

/// The objects that need a look, and the cache of all of them. Objects that disappear are forgotten on the way.
pub(super) fn objects(
    client: Client,
    namespace: Option<String>,
    selector: Option<String>,
    context: Arc<Context>,
    health: Arc<Health>,
) -> (impl Stream<Item = Result<Guarded, watcher::Error>> + Send + 'static, Store<Guarded>) {
    let api: Api<Guarded> = match &namespace {
        Some(namespace) => Api::namespaced(client, namespace),
        None => Api::all(client),
    };
    // A plain list, in pages: not every supported API server streams lists, and kube does not fall back by itself.
    // Short ones: what a page takes while it is decoded stays with the process.
    let config = watcher::Config { label_selector: selector, page_size: Some(100), ..watcher::Config::default() };
    let (store, writer) = reflector::store();
    let known = store.clone();
    let place = namespace.clone().unwrap_or_else(|| "all namespaces".to_owned());
    health.expect_watch(&place);
    let scopes = context.clone();
    let stream = watcher::watcher(api, config)
        .backoff(backoff(Duration::from_millis(500), Duration::from_secs(10)))
        .modify(prune)
        .reflect(writer)
        .inspect_err(|error| warn!("{}", explain(error)))
        // The cache shows the objects of a new list only when the list is complete: none of them is handed on before.
        .map_ok(move |event| match event {
            Event::Apply(object) => vec![Arc::new(object)],
            Event::Delete(object) => {
                context.scopes.gone(&key(&object), uid(&object));
                Vec::new()
            }
            Event::InitDone => {
                health.watch_synced(&place);
                let objects = known.state();
                let uids: HashSet<&str> = objects.iter().map(|object| uid(object)).collect();
                context.scopes.forget_all_but(namespace.as_deref(), |uid| uids.contains(uid));
                objects
            }
            Event::Init | Event::InitApply(_) => Vec::new(),
        })
        .map_ok(|objects| futures::stream::iter(objects.into_iter().map(Ok)))
        .try_flatten()
        .try_filter(move |object: &Arc<Guarded>| {
            let mark = predicates::generation.combine(predicates::finalizers).combine(asks_for_a_look);
            let version = object.meta().resource_version.as_deref().unwrap_or_default();
            ready(scopes.scopes.seen(key(object), uid(object), version, mark.hash_property(object)))
        })
        // One at a time: a copy of all objects of a new list would stay in the process for good.
        .map_ok(Arc::unwrap_or_clone);
    (stream.boxed(), store)
}

fn key(object: &Guarded) -> ObjectKey {
    ObjectKey { namespace: object.namespace().unwrap_or_default(), name: object.name_any() }
}

fn uid(object: &Guarded) -> &str {
    object.meta().uid.as_deref().unwrap_or_default()
}

/// The cache keeps what is read, not what was written by whom and when.
fn prune(object: &mut Guarded) {
    let meta = object.meta_mut();
    meta.managed_fields = None;
    meta.labels = None;
    meta.owner_references = None;
    if let Some(annotations) = &mut meta.annotations {
        annotations.retain(|key, _| key == RECONCILE_AT);
    }
}

/// Changes when the annotation does; an object that loses it needs no look.
fn asks_for_a_look(object: &Guarded) -> Option<u64> {
    use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
    let value = object.annotations().get(RECONCILE_AT)?;
    Some(BuildHasherDefault::<DefaultHasher>::default().hash_one(value))
}

/// Says what to do about a watch that fails; it is tried again in any case.
fn explain(error: &watcher::Error) -> String {
    use watcher::Error::{InitialListFailed, WatchError, WatchFailed, WatchStartFailed};
    let code = match error {
        InitialListFailed(kube::Error::Api(status))
        | WatchStartFailed(kube::Error::Api(status))
        | WatchFailed(kube::Error::Api(status))
        | WatchError(status) => Some(status.code),
        _ => None,
    };
    match code {
        Some(404) => {
            format!("the CRD {CRD_NAME} is not installed: apply it with `kubectl apply -k crds/`; trying again")
        }
        Some(403) => {
            "the operator may not list and watch mtlshostnamesettings: check its role; trying again".to_owned()
        }
        Some(_) => format!("the watch broke off: {error}; trying again"),
        None => format!("the Kubernetes API server does not answer: {error}; trying again"),
    }
}
