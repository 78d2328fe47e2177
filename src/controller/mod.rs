//! The effects: watches, reconciles, scope tasks, Secrets and status. `cli` starts it; it asks `sync` what to do.

mod context;
mod events;
mod finalizer;
mod reconcile;
mod report;
mod requests;
mod round;
mod scope;
mod scopes;
mod secrets;
mod series;
mod streams;
mod write;

use std::{
    collections::{BTreeSet, HashMap},
    future::{pending, ready},
    sync::Arc,
};

use futures::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use kube::{
    core::DeserializeGuard,
    runtime::{
        Controller, controller,
        reflector::{ObjectRef, Store},
    },
};
use thiserror::Error;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use self::{context::Context, scopes::Scopes, series::Series};
pub use self::{
    context::{Settings, Surroundings},
    secrets::SecretData,
    streams::Clients,
};
use crate::{
    api::{MtlsHostnameSettings, Scope},
    cloudflare,
};

/// An object as it is watched: one that does not decode must not stop its neighbours.
type Guarded = DeserializeGuard<MtlsHostnameSettings>;

/// Most reconciles at a time, per watched namespace.
const RECONCILES: u16 = 16;

/// What the controller watches.
#[derive(Clone, Debug, Default)]
pub struct Watch {
    /// Namespaces; none means all.
    pub namespaces: Vec<String>,
    /// A label selector; empty means every object.
    pub selector: Option<String>,
}

/// A part of the controller that ended while it should run.
#[derive(Debug, Error)]
pub enum Ended {
    /// The loop that serves a namespace.
    #[error("the controller of {0} ended unexpectedly")]
    Controller(String),
    /// The task of a scope.
    #[error("the task of {0} ended in a panic")]
    Scope(Scope),
    /// The task that publishes events.
    #[error("the task that publishes events ended unexpectedly")]
    Events,
    /// What was found or done last is not in the statuses.
    #[error("the last statuses could not be written before the end")]
    Statuses,
    /// The Kubernetes configuration cannot be used.
    #[error("the Kubernetes configuration cannot be used: {0}")]
    Configuration(#[from] kube::Error),
}

/// Runs until `stop` is cancelled and everything under way has ended.
///
/// # Errors
/// When a part ends while it should run.
pub async fn run(
    clients: Clients,
    cloudflare: cloudflare::Client,
    watch: Watch,
    surroundings: Surroundings,
) -> Result<(), Ended> {
    let namespaces: BTreeSet<Option<String>> = match watch.namespaces.as_slice() {
        [] => BTreeSet::from([None]),
        named => named.iter().cloned().map(Some).collect(),
    };
    let (stop, drained) = (surroundings.stop.clone(), surroundings.drained.clone());
    let (wakers, wakeups): (HashMap<_, _>, Vec<_>) = namespaces
        .iter()
        .map(|namespace| {
            let (sender, receiver) = mpsc::unbounded_channel::<ObjectRef<Guarded>>();
            ((namespace.clone(), sender), receiver)
        })
        .unzip();
    let wake = move |object: ObjectRef<Guarded>| {
        if let Some(waker) = wakers.get(&None).or_else(|| wakers.get(&object.namespace)) {
            waker.send(object).ok();
        }
    };
    let (failed, mut failures) = mpsc::unbounded_channel();
    let scopes = Scopes::new(Box::new(wake), failed);
    let (events, publisher) = events::events(clients.requests.clone(), surroundings.health.clone());
    let context = Arc::new(Context::new(clients.requests.clone(), cloudflare, scopes, events, surroundings));

    // The controllers end after the scopes, so that what a last write brought still reaches the status.
    let (controllers, stores): (Vec<BoxFuture<'static, String>>, Vec<_>) = namespaces
        .into_iter()
        .zip(wakeups)
        .map(|(namespace, wakeups)| {
            let name = namespace.clone().unwrap_or_else(|| "all namespaces".to_owned());
            let (serving, store) = serve(&clients, namespace, watch.selector.clone(), wakeups, &context, &drained)?;
            Ok((serving.map(|()| name).boxed(), store))
        })
        .collect::<Result<Vec<_>, kube::Error>>()?
        .into_iter()
        .unzip();
    let mut controllers: FuturesUnordered<_> = controllers.into_iter().collect();
    if context.settings.object_metrics {
        context.metrics.collect(Box::new(Series::new(stores, context.clone())));
    }
    let ending = CancellationToken::new();
    let mut publisher = tokio::spawn(publisher.run(ending.clone()));
    tokio::select! {
        () = stop.cancelled() => {}
        _ = &mut publisher => return Err(Ended::Events),
        Some(name) = controllers.next() => return Err(Ended::Controller(name)),
        Some(scope) = failures.recv() => return Err(Ended::Scope(scope)),
    }
    let drain = async {
        let is_told = context.scopes.drained().await;
        drained.cancel();
        is_told
    };
    let (is_told, ()) = tokio::join!(drain, controllers.by_ref().for_each(|_| ready(())));
    ending.cancel();
    publisher.await.map_err(|_| Ended::Events)?;
    if let Ok(scope) = failures.try_recv() {
        return Err(Ended::Scope(scope));
    }
    if is_told { Ok(()) } else { Err(Ended::Statuses) }
}

/// Watches one namespace, or all, and reconciles what changes there.
fn serve(
    clients: &Clients,
    namespace: Option<String>,
    selector: Option<String>,
    wakeups: mpsc::UnboundedReceiver<ObjectRef<Guarded>>,
    context: &Arc<Context>,
    drained: &CancellationToken,
) -> Result<(impl Future<Output = ()> + use<>, Store<Guarded>), kube::Error> {
    let (objects, store) = streams::objects(clients, namespace, selector, context.clone())?;
    let wakeups = futures::stream::unfold(wakeups, |mut wakeups| async { Some((wakeups.recv().await?, wakeups)) });
    let serving = Controller::for_stream(objects, store.clone())
        // The stream has a backoff of its own; a second one would hold up every other trigger too.
        .trigger_backoff(streams::no_backoff())
        .with_config(controller::Config::default().concurrency(RECONCILES))
        .reconcile_on(wakeups)
        .graceful_shutdown_on(drained.clone().cancelled_owned())
        .run(reconcile::reconcile, |object, error, _| reconcile::error_policy(&object, error), context.clone())
        .for_each(|_| ready(()));
    let (drained, listed) = (drained.clone(), store.clone());
    // kube's controller begins, and therefore ends, with the first list. As long as there is none, nothing is under way.
    let never_begun = async move {
        drained.cancelled().await;
        if listed.wait_until_ready().now_or_never().is_some() {
            pending::<()>().await;
        }
    };
    let serving = async move {
        tokio::select! {
            () = serving => {}
            () = never_begun => {}
        }
    };
    Ok((serving, store))
}
