//! Writes what was found into the object: its status by server-side apply, and an event when the reason changes.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{
    Api, Resource,
    api::{ApiResource, DynamicObject, Patch, PatchParams},
};
use serde_json::json;
use tracing::info;

use super::{context::Context, finalizer};
use crate::{
    api::{FIELD_MANAGER, MtlsHostnameSettings, MtlsHostnameSettingsStatus, ObjectKey, Reason},
    sync::{self, Report},
};

/// The object that a report is about, as far as writing it needs to know.
pub(super) struct Subject<'a> {
    pub(super) key: ObjectKey,
    pub(super) uid: &'a str,
    pub(super) resource_version: &'a str,
    /// The status as the cache has it.
    pub(super) status: MtlsHostnameSettingsStatus,
}

/// Applies the status, unless nothing but a time or the ray id would change.
pub(super) async fn write(context: &Context, subject: &Subject<'_>, report: &Arc<Report>) -> Result<(), kube::Error> {
    if !context.leadership.is_leading() {
        // Another replica may have written a newer one.
        return Ok(());
    }
    let newer = context.scopes.newer_status(subject.uid, subject.resource_version);
    let former = newer.as_ref().unwrap_or(&subject.status);
    let status = sync::status(report, &former.conditions, Timestamp::now());
    if sync::same_but_times(former, &status) {
        return Ok(());
    }
    let ObjectKey { namespace, name } = &subject.key;
    // Untyped: the answer holds the spec, and this has to work for an object whose spec does not decode.
    let kind = ApiResource::erase::<MtlsHostnameSettings>(&());
    let api: Api<DynamicObject> = Api::namespaced_with(context.requests.clone(), namespace, &kind);
    let patch = json!({
        "apiVersion": MtlsHostnameSettings::api_version(&()),
        "kind": MtlsHostnameSettings::kind(&()),
        // With the UID, a re-created object of the same name refuses a status that is not about it.
        "metadata": {"name": name, "namespace": namespace, "uid": subject.uid},
        "status": status,
    });
    let params = PatchParams::apply(FIELD_MANAGER).force();
    let stored = match api.patch_status(name, &params, &Patch::Apply(&patch)).await {
        Ok(stored) => finalizer::an_object(stored)?,
        // Gone meanwhile, or another object of the same name: there is nobody to report to.
        Err(kube::Error::Api(answer)) if answer.code == 404 => return Ok(()),
        Err(error) => return Err(error),
    };
    let version = stored.metadata.resource_version.unwrap_or_default();
    let changed = reason(&former.conditions) != Some(report.reason.as_str());
    context.scopes.wrote(subject.uid, version, status);
    info!(object = %subject.key, generation = report.generation, reason = %report.reason, "status: {}", report.message);
    if changed {
        if report.reason == Reason::ForeignWriter {
            context.metrics.foreign_writers.inc();
        }
        context.events.publish(subject, report);
    }
    Ok(())
}

fn reason(conditions: &[Condition]) -> Option<&str> {
    conditions.iter().find(|condition| condition.type_ == "Ready").map(|condition| condition.reason.as_str())
}
