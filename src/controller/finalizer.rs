//! The finalizer of objects with `deletionPolicy: Reset`: set before the first write, removed when nothing is left. Before
//! anything is turned off, the object is read.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use kube::{
    Api, ResourceExt,
    api::{ApiResource, DynamicObject, Patch, PatchParams},
};
use serde_json::json;
use tokio::time::timeout;
use tracing::info;

use super::context::Context;
use crate::{
    api::{DeletionPolicy, FIELD_MANAGER, FINALIZER, Hostname, MtlsHostnameSettings, ObjectKey, SyncMode, ValidSpec},
    sync::Wish,
};

/// Longest that one object may take to be read.
const DEADLINE: Duration = Duration::from_secs(10);

pub(super) fn is_set(object: &MtlsHostnameSettings) -> bool {
    object.finalizers().iter().any(|finalizer| finalizer == FINALIZER)
}

fn api(context: &Context, namespace: &str) -> Api<DynamicObject> {
    let kind = ApiResource::erase::<MtlsHostnameSettings>(&());
    Api::namespaced_with(context.requests.clone(), namespace, &kind)
}

/// Sets the finalizer on the object as the watch showed it. Somebody else's change in between makes it fail; it brings the
/// object back by itself.
pub(super) async fn add(context: &Context, object: &MtlsHostnameSettings) -> Result<(), kube::Error> {
    let mut finalizers = object.finalizers().to_vec();
    finalizers.push(FINALIZER.to_owned());
    let version = object.metadata.resource_version.as_deref().unwrap_or_default();
    let api = api(context, &object.namespace().unwrap_or_default());
    replace(&api, &object.name_any(), version, finalizers).await
}

/// Which of its tombstones the object lets go as the API server has it now. None when it cannot be read, is another one, or
/// cannot be understood: what is not certain is not turned off.
pub(super) async fn lets_go(context: Arc<Context>, wish: Wish) -> BTreeSet<Hostname> {
    let api = api(&context, &wish.key.namespace);
    let read = timeout(DEADLINE, api.get_opt(&wish.key.name)).await;
    let Ok(Ok(Some(object))) = read else { return BTreeSet::new() };
    let Some(object) = object
        .try_parse::<MtlsHostnameSettings>()
        .ok()
        .filter(|object| object.metadata.uid.as_deref() == Some(&wish.uid))
    else {
        return BTreeSet::new();
    };
    let is_leaving = object.metadata.deletion_timestamp.is_some();
    let Ok(spec) = ValidSpec::parse(&object) else { return BTreeSet::new() };
    let writes = is_leaving || !spec.suspend;
    if spec.deletion_policy != DeletionPolicy::Reset || spec.mode == SyncMode::Observe || !writes {
        return BTreeSet::new();
    }
    let lets_go = |hostname: &&Hostname| is_leaving || !spec.settings.contains_key(*hostname);
    wish.tombstones.iter().filter(lets_go).cloned().collect()
}

/// Removes the finalizer from the object as the API server has it now, if it still is the object that was meant: the
/// cache may show one that was deleted and made anew.
pub(super) async fn remove(context: &Context, key: &ObjectKey, uid: &str) -> Result<(), kube::Error> {
    let api = api(context, &key.namespace);
    let Some(object) = api.get_opt(&key.name).await?.map(an_object).transpose()? else { return Ok(()) };
    let is_held = object.finalizers().iter().any(|finalizer| finalizer == FINALIZER);
    if object.metadata.uid.as_deref() != Some(uid) || !is_held {
        return Ok(());
    }
    let mut finalizers = object.finalizers().to_vec();
    finalizers.retain(|finalizer| finalizer != FINALIZER);
    let version = object.metadata.resource_version.as_deref().unwrap_or_default();
    info!(object = %key, "released");
    replace(&api, &key.name, version, finalizers).await
}

async fn replace(
    api: &Api<DynamicObject>,
    name: &str,
    version: &str,
    finalizers: Vec<String>,
) -> Result<(), kube::Error> {
    // With the version, a list of finalizers that somebody else has changed meanwhile is not overwritten.
    let patch = json!({"metadata": {"resourceVersion": version, "finalizers": finalizers}});
    let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    match api.patch(name, &params, &Patch::Merge(&patch)).await {
        Err(kube::Error::Api(answer)) if answer.code == 404 => Ok(()),
        done => done.and_then(an_object).map(drop),
    }
}

/// Takes an answer only when it is an object: whatever stands before the API server may answer 200 with anything else, and
/// much of that decodes.
pub(super) fn an_object(answer: DynamicObject) -> Result<DynamicObject, kube::Error> {
    if answer.metadata.uid.is_some() {
        return Ok(answer);
    }
    Err(kube::Error::SerdeError(serde::de::Error::custom("the answer is no object")))
}
