//! The watch streams, one per namespace, each with a backoff of its own.

mod watch;

use std::{collections::HashSet, sync::Arc, time::Duration};

use futures::{Stream, StreamExt, TryStreamExt, stream};
use http_body_util::BodyExt;
use kube::{
    Api, Client, Config, Resource, ResourceExt,
    client::ClientBuilder,
    runtime::{
        Predicate, WatchStreamExt, predicates,
        reflector::{self, ObjectRef, Store},
        watcher::{self, Event, ExponentialBackoff},
    },
};
use tower::{timeout::TimeoutLayer, util::MapResponseLayer};
use tracing::warn;

use self::watch::{in_order, watch};
use super::{Guarded, context::Context};
use crate::{
    api::{CRD_NAME, ObjectKey, RECONCILE_AT},
    ops::{Health, Task, failpoint},
};

/// The API server sends a bookmark every minute: longer silence means that the connection is dead.
const WATCH_SILENCE: Duration = Duration::from_secs(100);
/// Longest silence inside a single request.
const REQUEST_SILENCE: Duration = Duration::from_secs(10);

/// Clients for watches and for requests, since a watch may be silent for a minute and a request may not.
pub struct Clients {
    /// Makes a client for each watch stream: what arrives through it is that watch's sign of life.
    config: Config,
    /// For everything else.
    pub(super) requests: Client,
}

impl Clients {
    /// All from one configuration. None retries by itself: kube's own retries hide outages for hours.
    ///
    /// # Errors
    /// When the configuration cannot be used.
    pub fn new(mut config: Config) -> Result<Self, kube::Error> {
        // kube takes HTTPS_PROXY for the API server too when there is a kubeconfig, cannot use it as it is built here, and says
        // so with the proxy's password. In a pod it takes none.
        config.proxy_url = None;
        config.default_retry = false;
        config.connect_timeout = Some(Duration::from_secs(5));
        config.read_timeout = Some(REQUEST_SILENCE);
        let requests = ClientBuilder::try_from(config.clone())?.with_layer(&begun()).build();
        config.read_timeout = Some(WATCH_SILENCE);
        Ok(Self { config, requests })
    }

    /// For single requests.
    #[must_use]
    pub fn requests(&self) -> Client {
        self.requests.clone()
    }

    /// For one watch stream, whose every byte counts as a sign of life.
    fn watch(&self, task: Task, health: Arc<Health>) -> Result<Client, kube::Error> {
        let observed = MapResponseLayer::new(move |response: hyper::Response<_>| {
            let (task, health) = (task.clone(), health.clone());
            response.map(|body| {
                BodyExt::map_frame(body, move |frame| {
                    health.beat(&task);
                    frame
                })
            })
        });
        Ok(ClientBuilder::try_from(self.config.clone())?.with_layer(&begun()).with_layer(&observed).build())
    }
}

/// A watch too is answered at once, though its first event may be long in coming.
fn begun() -> TimeoutLayer {
    TimeoutLayer::new(REQUEST_SILENCE)
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
    clients: &Clients,
    namespace: Option<String>,
    selector: Option<String>,
    context: Arc<Context>,
) -> Result<(impl Stream<Item = Result<Guarded, watcher::Error>> + Send + 'static, Store<Guarded>), kube::Error> {
    let place = namespace.clone().unwrap_or_else(|| "all namespaces".to_owned());
    let health = context.health.clone();
    health.expect_watch(&place);
    let task = Task::Watch(place.clone());
    let client = clients.watch(task.clone(), health.clone())?;
    let api: Api<Guarded> = match &namespace {
        Some(namespace) => Api::namespaced(client, namespace),
        None => Api::all(client),
    };
    // A plain list, in pages: not every supported API server streams lists, and kube does not fall back by itself.
    // Short ones: what a page takes while it is decoded stays with the process.
    let config = watcher::Config { label_selector: selector, page_size: Some(100), ..watcher::Config::default() };
    let (store, writer) = reflector::store();
    let (known, former) = (store.clone(), store.clone());
    let (scopes, replaced, leadership) = (context.clone(), context.clone(), context.leadership.clone());
    let (alive, taken_over, listed) = (health.clone(), leadership.clone(), store.clone());
    // Who only begins to lead now takes what the cache has, without a new list.
    let taken_over = stream::once(async move {
        taken_over.begun().await;
        Ok(listed.state())
    });
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
        .inspect_err(move |error| {
            // It works, if in vain.
            alive.beat(&task);
            warn!("{}", explain(error));
        })
        .then(|event| async {
            if let Ok(Event::Apply(object)) = &event {
                failpoint::reach("watch of ", &object.name_any()).await;
            }
            event
        })
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
                let listed = |key: &ObjectKey| known.get(&ObjectRef::new(&key.name).within(&key.namespace)).is_some();
                context.scopes.forget_all_but(namespace.as_deref(), |uid| uids.contains(uid), listed);
                objects
            }
            Event::Init | Event::InitApply(_) => Vec::new(),
        })
        .map_ok(move |objects| if leadership.is_leading() { objects } else { Vec::new() });
    let stream = stream::select(stream, taken_over)
        // All at once, so that a scope can wait for its crowd.
        .map_ok(move |mut objects| {
            let mark = predicates::generation.combine(predicates::finalizers).combine(asks_for_a_look);
            objects.retain(|object: &Arc<Guarded>| {
                let version = object.meta().resource_version.as_deref().unwrap_or_default();
                scopes.scopes.seen(key(object), uid(object), version, mark.hash_property(object))
            });
            objects
        })
        .map_ok(|objects| stream::iter(objects.into_iter().map(Ok)))
        .try_flatten()
        // One at a time: a copy of all objects of a new list would stay in the process for good.
        .map_ok(Arc::unwrap_or_clone);
    Ok((stream.boxed(), store))
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
