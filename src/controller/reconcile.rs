//! One look at one object: file what it wants with its scope, report what the scope has answered. Never sleeps, never
//! calls Cloudflare.

use std::{
    panic::AssertUnwindSafe,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::FutureExt;
use kube::{
    Api, ResourceExt,
    api::{ApiResource, DynamicObject},
    core::error_boundary::InvalidObject,
    runtime::controller::Action,
};
use thiserror::Error;
use tokio::time::timeout;

use super::{
    Guarded,
    context::Context,
    finalizer,
    report::{self, Subject},
    scopes::{Filed, Scopes},
};
use crate::{
    api::{DeletionPolicy, MtlsHostnameSettings, MtlsHostnameSettingsSpec, ObjectKey, RECONCILE_AT, ValidSpec},
    ops::{ReconcileResult, failpoint},
    sync::{self, Wish},
};

/// Longest that one reconcile may take: it makes two requests to the API server at most.
const DEADLINE: Duration = Duration::from_secs(30);
/// How long a new generation waits in silence for its first answer before its status says that it waits.
const PATIENCE: Duration = Duration::from_secs(1);
/// The same while others have more to say: in a crowd, that would double the work.
const PATIENCE_IN_A_CROWD: Duration = Duration::from_secs(30);

/// When an object comes back whose reconcile found that this replica does not lead.
const PAUSE_OF_A_FOLLOWER: Duration = Duration::from_secs(5);
/// When an object comes back on which the operator itself failed.
const PAUSE_AFTER_A_FAILURE: Duration = Duration::from_secs(300);

#[derive(Debug, Error)]
pub(super) enum Error {
    #[error("the status could not be written: {0}")]
    Status(#[source] kube::Error),
    #[error("the finalizer could not be changed: {0}")]
    Finalizer(#[source] kube::Error),
    #[error("the object could not be read: {0}")]
    Read(#[source] kube::Error),
    #[error("the Kubernetes API server did not answer within {} s", DEADLINE.as_secs())]
    Deadline,
}

pub(super) async fn reconcile(object: Arc<Guarded>, context: Arc<Context>) -> Result<Action, Error> {
    let look = async {
        failpoint::reach("reconcile of ", &name(&*object)).await;
        match &object.0 {
            Ok(object) => valid(object, &context).await,
            Err(object) => invalid(object, &context).await,
        }
    };
    if !context.leadership.is_leading() {
        // The program is about to end, or was stopped for so long that another replica acts.
        return Ok(Action::requeue(PAUSE_OF_A_FOLLOWER));
    }
    let started = Instant::now();
    context.metrics.reconcile_begins();
    // A mistake that one object brings to light must not end the service of all others.
    let looked = AssertUnwindSafe(timeout(DEADLINE, look)).catch_unwind().await;
    context.scopes.reconciled(&ObjectKey { namespace: namespace(&*object), name: name(&*object) });
    let has_panicked = looked.is_err();
    let looked = match looked {
        Ok(looked) => looked.unwrap_or(Err(Error::Deadline)),
        Err(_) => failed(&object, &context).await,
    };
    let result = match &looked {
        _ if has_panicked => ReconcileResult::error,
        Ok(action) if *action == Action::await_change() => ReconcileResult::success,
        Ok(_) => ReconcileResult::requeue_after,
        Err(_) => ReconcileResult::error,
    };
    context.metrics.reconcile_ended(result, started.elapsed());
    looked
}

/// Says in its status that the operator failed on this object.
async fn failed(object: &Guarded, context: &Context) -> Result<Action, Error> {
    if let Ok(object) = &object.0 {
        // Nothing is done for it any more, and nobody waits for its status.
        let subject = subject(object);
        context.scopes.forget(subject.uid);
        let generation = object.metadata.generation.unwrap_or_default();
        let report = Arc::new(sync::internal_error(generation, &subject.status));
        let written = timeout(DEADLINE, report::write(context, &subject, &report)).await;
        written.map_err(|_| Error::Deadline)?.map_err(Error::Status)?;
    }
    Ok(Action::requeue(PAUSE_AFTER_A_FAILURE))
}

/// The object comes back by itself: kube gives no attempt count, and the API server's own limits pace it.
pub(super) fn error_policy(object: &Guarded, error: &Error) -> Action {
    tracing::warn!(
        object = %ObjectKey { namespace: namespace(object), name: name(object) },
        error = %error,
        "trying again"
    );
    Action::requeue(Duration::from_secs(5))
}

fn namespace(object: &impl ResourceExt) -> String {
    object.namespace().unwrap_or_default()
}

fn name(object: &impl ResourceExt) -> String {
    object.name_any()
}

fn subject(object: &MtlsHostnameSettings) -> Subject<'_> {
    Subject {
        key: ObjectKey { namespace: namespace(object), name: name(object) },
        uid: object.metadata.uid.as_deref().unwrap_or_default(),
        resource_version: object.metadata.resource_version.as_deref().unwrap_or_default(),
        status: object.status.clone().unwrap_or_default(),
    }
}

async fn valid(object: &MtlsHostnameSettings, context: &Arc<Context>) -> Result<Action, Error> {
    let subject = subject(object);
    let (uid, version) = (subject.uid, subject.resource_version);
    let status = context.scopes.newer_status(uid, version).unwrap_or_else(|| subject.status.clone());
    let leaving = object.metadata.deletion_timestamp.is_some();
    if leaving && !finalizer::is_set(object) {
        context.scopes.forget(uid);
        return Ok(Action::await_change());
    }
    let generation = object.metadata.generation.unwrap_or_default();
    let spec = match ValidSpec::parse(object) {
        Ok(spec) => spec,
        Err(_) if leaving => {
            context.scopes.forget(uid);
            finalizer::remove(context, &subject.key, uid).await.map_err(Error::Finalizer)?;
            return Ok(Action::await_change());
        }
        Err(problem) => {
            context.scopes.forget(uid);
            let report = Arc::new(sync::spec_invalid(generation, &problem.to_string(), &subject.status));
            report::write(context, &subject, &report).await.map_err(Error::Status)?;
            return Ok(Action::await_change());
        }
    };
    let resets = spec.deletion_policy == DeletionPolicy::Reset;
    if resets && !finalizer::is_set(object) {
        // Before anything is written; the object comes back with its finalizer.
        finalizer::add(context, object).await.map_err(Error::Finalizer)?;
        return Ok(Action::await_change());
    }
    if !resets && finalizer::is_set(object) {
        if leaving {
            context.scopes.forget(uid);
        }
        finalizer::remove(context, &subject.key, uid).await.map_err(Error::Finalizer)?;
        return Ok(Action::await_change());
    }
    let suspend = spec.suspend && !leaving;
    let created = object.metadata.creation_timestamp.as_ref().map(|time| time.0);
    let reconcile_at = object.annotations().get(RECONCILE_AT).cloned();
    let wish = Wish::new(subject.key.clone(), uid, generation, created, spec, &status, reconcile_at);
    let wish = if leaving { wish.leave(&status) } else { wish };
    let Filed { report, waiting, crowded } = Scopes::file(context, wish.clone());
    failpoint::reach("filing of ", &subject.key.name).await;
    let patience = if crowded { PATIENCE_IN_A_CROWD } else { PATIENCE };
    if suspend {
        let report = Arc::new(sync::suspended(&wish, &status));
        report::write(context, &subject, &report).await.map_err(Error::Status)?;
    } else if let Some(report) = report {
        report::write(context, &subject, &report).await.map_err(Error::Status)?;
        context.scopes.delivered(uid, &report);
        if report.released {
            context.scopes.forget(uid);
            finalizer::remove(context, &subject.key, uid).await.map_err(Error::Finalizer)?;
        }
    } else if status.observed_generation == Some(generation) {
        // What was found before a restart stands until the next look; taking it back would be a false alarm.
    } else if waiting < patience {
        return Ok(Action::requeue(patience));
    } else {
        let report = Arc::new(sync::pending(&wish, &status));
        report::write(context, &subject, &report).await.map_err(Error::Status)?;
    }
    Ok(Action::await_change())
}

/// An object that does not even decode: what is known of its status is read from the API server as plain JSON.
async fn invalid(object: &InvalidObject, context: &Arc<Context>) -> Result<Action, Error> {
    let uid = object.metadata.uid.as_deref().unwrap_or_default();
    context.scopes.forget(uid);
    let key = ObjectKey {
        namespace: object.metadata.namespace.clone().unwrap_or_default(),
        name: object.metadata.name.clone().unwrap_or_default(),
    };
    let kind = ApiResource::erase::<MtlsHostnameSettings>(&());
    let api: Api<DynamicObject> = Api::namespaced_with(context.requests.clone(), &key.namespace, &kind);
    let Some(raw) = api.get_opt(&key.name).await.map_err(Error::Read)? else { return Ok(Action::await_change()) };
    if raw.metadata.deletion_timestamp.is_some() && raw.metadata.uid.as_deref() == Some(uid) {
        // Nobody can tell what it listed, and nothing may hold it.
        finalizer::remove(context, &key, uid).await.map_err(Error::Finalizer)?;
        return Ok(Action::await_change());
    }
    let status = raw.data.get("status").and_then(|status| serde_json::from_value(status.clone()).ok());
    let resource_version = raw.metadata.resource_version.as_deref().unwrap_or_default();
    let subject = Subject { key, uid, resource_version, status: status.unwrap_or_default() };
    let generation = object.metadata.generation.unwrap_or_default();
    let problem = problem(&raw).unwrap_or_else(|| object.error.clone());
    let report = Arc::new(sync::spec_invalid(generation, &problem, &subject.status));
    report::write(context, &subject, &report).await.map_err(Error::Status)?;
    Ok(Action::await_change())
}

/// Which field does not decode, and why; the watch's own error does not name the field.
fn problem(raw: &DynamicObject) -> Option<String> {
    let spec = raw.data.get("spec")?;
    let error = serde_path_to_error::deserialize::<_, MtlsHostnameSettingsSpec>(spec).err()?;
    Some(format!("spec.{}: {}", error.path(), error.inner()))
}
