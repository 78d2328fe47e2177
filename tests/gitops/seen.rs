//! What kubectl shows, and until when it is waited for.

use harness::{
    control_plane::ControlPlane,
    fixture::{condition, eventually},
};
use serde_json::Value;

use crate::cluster::PATIENCE;

pub(crate) async fn get(control_plane: &ControlPlane, namespace: &str, name: &str) -> Option<Value> {
    let command = ["get", "-n", namespace, name, "--ignore-not-found", "-o", "json"];
    let text = control_plane.kubectl(&command).await.unwrap();
    (!text.is_empty()).then(|| serde_json::from_str(&text).unwrap())
}

/// Waits until an `MtlsHostnameSettings` in `team-a` is ready as it is now, or says why it is not.
pub(crate) async fn until_reason(control_plane: &ControlPlane, name: &str, status: &str, reason: &str) -> Value {
    let object = format!("mhs/{name}");
    eventually(PATIENCE, format!("{name}: Ready={status} {reason}"), async || {
        let object = get(control_plane, "team-a", &object).await.ok_or("not there")?;
        let generation = &object["metadata"]["generation"];
        let said = condition(&object, "Ready").is_some_and(|ready| {
            ready["status"] == status && ready["reason"] == reason && ready["observedGeneration"] == *generation
        });
        if said { Ok(object) } else { Err(format!("{:#}", object["status"])) }
    })
    .await
    .unwrap()
}

pub(crate) async fn until_gone(control_plane: &ControlPlane, namespace: &str, name: &str) {
    let gone = async || get(control_plane, namespace, name).await.map_or(Ok(()), |object| Err(format!("{object:#}")));
    eventually(PATIENCE, format!("{name} is gone"), gone).await.unwrap();
}
