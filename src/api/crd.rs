//! The CRD as it is applied: kube-derive's output, freed of what the API server would default or Argo CD would diff.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use serde::{Serialize, Serializer};
use serde_json::{Value, json};
use serde_saphyr::FoldStr;

use super::spec::MtlsHostnameSettings;

/// Name of the CRD object.
pub const CRD_NAME: &str = "mtlshostnamesettings.cloudflare-mtls.dev";

/// The CRD as JSON. No `null`, empty map or list stands in it, and nothing in `spec` has a default.
///
/// # Errors
/// When the generated schema cannot be serialised, which a test rules out.
pub fn crd() -> Result<Value, serde_json::Error> {
    let mut crd = serde_json::to_value::<CustomResourceDefinition>(MtlsHostnameSettings::crd())?;
    tidy(&mut crd);
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
    let yaml = serde_saphyr::to_string(&Folded(&crd()?))?;
    // The writer ends a folded text with a line break, which `-` takes away again.
    Ok(format!("{}\n", yaml.trim_end().replace(": >\n", ": >-\n")))
}

/// JSON whose long texts are folded in YAML, so that a change to one can be read as a diff.
struct Folded<'a>(&'a Value);

impl Serialize for Folded<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::String(text) if text.len() > 80 => FoldStr(text).serialize(serializer),
            Value::Array(list) => serializer.collect_seq(list.iter().map(Folded)),
            Value::Object(map) => serializer.collect_map(map.iter().map(|(key, value)| (key, Folded(value)))),
            other => other.serialize(serializer),
        }
    }
}

/// Drops `nullable` (an explicit null is a user's mistake), schema defaults and the title, and makes one line of each
/// description, since `kubectl explain` wraps it by itself.
fn tidy(value: &mut Value) {
    match value {
        Value::Object(map) => {
            // These are schema keywords beside `type`; no field of this resource is called so.
            map.retain(|key, _| !matches!(key.as_str(), "nullable" | "default" | "title"));
            if let Some(Value::String(description)) = map.get_mut("description") {
                *description = description.split_whitespace().collect::<Vec<_>>().join(" ");
            }
            map.values_mut().for_each(tidy);
        }
        Value::Array(list) => list.iter_mut().for_each(tidy),
        _ => {}
    }
}
