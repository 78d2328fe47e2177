//! The finalizer of objects with `deletionPolicy: Reset`: set before the first write, removed when nothing is left.

use kube::{
    Api, ResourceExt,
    api::{ApiResource, DynamicObject, Patch, PatchParams},
};
use serde_json::json;
use tracing::info;

use super::context::Context;
use crate::api::{FIELD_MANAGER, FINALIZER, MtlsHostnameSettings, ObjectKey};

pub(super) fn is_set(object: &MtlsHostnameSettings) -> bool {
    object.finalizers().iter().any(|finalizer| finalizer == FINALIZER)
}

fn api(context: &Context, namespace: &str) -> Api<DynamicObject> {
    let kind = ApiResource::erase::<MtlsHostnameSettings>(&());
    Api::namespaced_with(context.requests.clone(), namespace, &kind)
}

/// Sets the finalizer on the object as the watch showed it. Somebody else's change in between is no failure: it brings
/// the object back by itself.
pub(super) async fn add(context: &Context, object: &MtlsHostnameSettings) -> Result<(), kube::Error> {
    let mut finalizers = object.finalizers().to_vec();
    finalizers.push(FINALIZER.to_owned());
    let version = object.metadata.resource_version.as_deref().unwrap_or_default();
    let api = api(context, &object.namespace().unwrap_or_default());
    replace(&api, &object.name_any(), version, finalizers).await
}

/// Removes the finalizer from the object as the API server has it now, if it still is the object that was meant: the
/// cache may show one that was deleted and made anew.
pub(super) async fn remove(context: &Context, key: &ObjectKey, uid: &str) -> Result<(), kube::Error> {
    let api = api(context, &key.namespace);
    let Some(object) = api.get_opt(&key.name).await? else { return Ok(()) };
    if object.metadata.uid.as_deref() != Some(uid) {
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
        done => done.map(|_| ()),
    }
}
