//! The watch streams, one per namespace, each with a backoff of its own.

use std::{collections::HashSet, future::ready, sync::Arc, time::Duration};

use futures::{Stream, StreamExt, TryStreamExt, stream};
use kube::{
    Api, Client, Config, Resource, ResourceExt,
    client::ClientBuilder,
    runtime::{
        Predicate, WatchStreamExt, predicates,
        reflector::{self, ObjectRef, Store},
        watcher::{self, Event, ExponentialBackoff},
    },
};
use tower::timeout::TimeoutLayer;
use tracing::warn;

use super::{Guarded, context::Context, scopes::number};
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
        // A watch too is answered at once, though its first event may be long in coming.
        let begun = TimeoutLayer::new(REQUEST_SILENCE);
        let client = |silence| {
            let mut config = config.clone();
            config.default_retry = false;
            config.connect_timeout = Some(Duration::from_secs(5));
            config.read_timeout = Some(silence);
            ClientBuilder::try_from(config).map(|builder| builder.with_layer(&begun).build())
        };
        Ok(Self { watches: client(WATCH_SILENCE)?, requests: client(REQUEST_SILENCE)? })
    }
}

/// Longest pause before a watch is tried again, but for the jitter, which may double it.
const LONGEST_BACKOFF: Duration = Duration::from_secs(2);

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
    let (known, former) = (store.clone(), store.clone());
    let place = namespace.clone().unwrap_or_else(|| "all namespaces".to_owned());
    health.expect_watch(&place);
    let (scopes, replaced) = (context.clone(), context.clone());
    let stream = in_order(watch(api, config).backoff(backoff(Duration::from_millis(500), LONGEST_BACKOFF)))
        .modify(prune)
        // Before the cache shows the new object: an end that the watch did not show is an end too.
        .inspect_ok(move |event| {
            if let Event::Apply(object) = event
                && let Some(former) = former.get(&ObjectRef::from_obj(object))
                && uid(&former) != uid(object)
            {
                replaced.scopes.gone(&key(&former), uid(&former));
            }
        })
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
        .map_ok(|objects| stream::iter(objects.into_iter().map(Ok)))
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

/// What a watch says.
type Said = Result<Event<Guarded>, watcher::Error>;

/// Watches, and begins anew where kube does not.
fn watch(api: Api<Guarded>, config: watcher::Config) -> impl Stream<Item = Said> + Send + 'static {
    let begin = move || watcher::watcher(api.clone(), config.clone()).boxed();
    stream::unfold((begin(), None, begin), |(mut watching, mut held, begin)| async move {
        let mut said: Said = match held.take() {
            Some(said) => said,
            None => watching.next().await?,
        };
        if let Ok(Event::Init) = said {
            // Said before the list is asked for. Passed on together with what comes of it, or else the backoff would take it
            // for a success.
            held = Some(watching.next().await?);
            if let Some(failure) = held.take_if(|next| next.is_err()) {
                said = failure;
            }
        }
        if is_gone(&said) {
            watching = begin();
        }
        Some((said, (watching, held, begin)))
    })
}

/// Whether the version to resume from is gone, said before the watch begins: kube would ask for the same for ever.
fn is_gone(said: &Said) -> bool {
    matches!(said, Err(watcher::Error::WatchStartFailed(kube::Error::Api(status))) if status.code == 410)
}

/// Within a watch, versions only grow: what is older than what was shown before is a replay, and not how things are.
fn in_order(said: impl Stream<Item = Said> + Send + 'static) -> impl Stream<Item = Said> + Send + 'static {
    let mut newest = String::new();
    let mut is_older = move |object: Option<&Guarded>| {
        let Some(object) = object else {
            newest.clear();
            return false;
        };
        let version = object.meta().resource_version.as_deref().unwrap_or_default();
        let is_older = number(version) < number(&newest);
        if !is_older {
            version.clone_into(&mut newest);
        }
        is_older
    };
    said.filter(move |said| {
        ready(match said {
            // A list begins anew: it is believed, whatever was shown before.
            Ok(Event::Init) => !is_older(None),
            Ok(Event::InitApply(object)) => {
                is_older(Some(object));
                true
            }
            Ok(Event::Apply(object) | Event::Delete(object)) => !is_older(Some(object)),
            Ok(Event::InitDone) | Err(_) => true,
        })
    })
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
