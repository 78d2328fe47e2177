//! The CRD as it is applied: kube-derive's output, freed of what the API server would default or Argo CD would diff.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use serde_json::{Value, json};

use super::spec::MtlsHostnameSettings;

/// Name of the CRD object.
pub const CRD_NAME: &str = "mtlshostnamesettings.cloudflare-mtls.dev";

/// The CRD as JSON. No `null`, empty map or list stands in it, and nothing in `spec` has a default.
///
/// # Errors
/// When the generated schema cannot be serialised, which a test rules out.
pub fn crd() -> Result<Value, serde_json::Error> {
    let mut crd = serde_json::to_value::<CustomResourceDefinition>(MtlsHostnameSettings::crd())?;
    prune(&mut crd);
    let status = crd.pointer_mut("/spec/versions/0/schema/openAPIV3Schema/properties/status");
    if let Some(status) = status.and_then(Value::as_object_mut) {
        // Without a status, kstatus takes an object for healthy: it must look unseen until it was looked at.
        status.insert("default".into(), json!({"observedGeneration": -1}));
    }
    Ok(crd)
}

/// The CRD as YAML, as `cloudflare-mtls-operator crd` prints it and `crds/` holds it.
///
/// # Errors
/// When the generated schema cannot be serialised, which a test rules out.
pub fn crd_yaml() -> Result<String, Box<dyn std::error::Error + Send + Sync>> {
    Ok(serde_saphyr::to_string(&crd()?)?)
}

/// Drops nulls, empty maps and lists, `nullable` (an explicit null is a user's mistake), schema defaults and Rust's
/// number formats that the API server does not know.
fn prune(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|key, _| key != "nullable");
            // `default` is a schema keyword beside `type`; no field of this resource is called so.
            map.retain(|key, _| key != "default");
            // The one empty map with a meaning: it switches the status subresource on.
            map.iter_mut().filter(|(key, _)| *key != "subresources").for_each(|(_, child)| prune(child));
            map.retain(|_, child| !is_empty(child));
        }
        Value::Array(list) => {
            list.iter_mut().for_each(prune);
            list.retain(|child| !is_empty(child));
        }
        _ => {}
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(map) => map.is_empty(),
        Value::Array(list) => list.is_empty(),
        _ => false,
    }
}
