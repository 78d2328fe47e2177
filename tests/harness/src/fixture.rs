//! What every test begins with: a namespace and a zone of its own, and manifests to put there.

use std::fmt::Display;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::{Value, json};

use crate::canary;
use crate::control_plane::ControlPlane;
use crate::error::{Context as _, Error, Result};

/// Group and version of `MtlsHostnameSettings`.
pub const API_VERSION: &str = "cloudflare-mtls.dev/v1alpha1";

/// How long a test waits for what should take a second: long enough for a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The Secret and its key that [`Settings`] refer to unless told otherwise.
pub const CREDENTIAL: (&str, &str) = ("cloudflare", "token");

/// A namespace that nobody else uses and a zone id that nobody else names.
#[derive(Clone)]
pub struct Fixture {
    client: kube::Client,
    namespace: String,
    zone_id: String,
}

impl Fixture {
    /// Makes the namespace. The fixture belongs to the runtime of the test that makes it.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn new(control_plane: &ControlPlane) -> Result<Self> {
        Self::of(control_plane.client().await?).await
    }

    /// The same in the cluster of this client.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub async fn of(client: kube::Client) -> Result<Self> {
        let namespace = format!("test-{:08x}", fastrand::u32(..));
        let object = serde_json::from_value(json!({"metadata": {"name": namespace}}))?;
        Api::<Namespace>::all(client.clone()).create(&PostParams::default(), &object).await.context("namespace")?;
        Ok(Self { client, namespace, zone_id: random_id() })
    }

    /// The same in a namespace that is there, and whose name is wanted.
    ///
    /// # Errors
    /// When the API server is not reached.
    pub async fn within(control_plane: &ControlPlane, namespace: &str) -> Result<Self> {
        Ok(Self { client: control_plane.client().await?, namespace: namespace.to_owned(), zone_id: random_id() })
    }

    /// An administrator's client.
    #[must_use]
    pub fn client(&self) -> kube::Client {
        self.client.clone()
    }

    /// The namespace's name.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The zone's id: 32 lower-case hexadecimal digits.
    #[must_use]
    pub fn zone_id(&self) -> &str {
        &self.zone_id
    }

    /// A Secret's manifest.
    #[must_use]
    pub fn secret(&self, name: &str, key: &str, value: &str) -> Value {
        json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name, "namespace": self.namespace},
            "stringData": {key: value},
        })
    }

    /// The manifest of an `MtlsHostnameSettings` of this fixture's zone, to be completed.
    #[must_use]
    pub fn settings(&self, name: &str) -> Settings {
        let (secret, key) = CREDENTIAL;
        let manifest = json!({
            "apiVersion": API_VERSION,
            "kind": "MtlsHostnameSettings",
            "metadata": {"name": name, "namespace": self.namespace},
            "spec": {"zoneId": self.zone_id, "settings": []},
        });
        Settings { manifest }.credential(secret, key)
    }

    /// Applies the manifest of a Secret or an `MtlsHostnameSettings` server-side, as the whole wish of one author, and
    /// returns the stored object. For other kinds there is kubectl. What a Secret holds is watched for from then on.
    ///
    /// # Errors
    /// When the API server refuses it.
    pub async fn apply(&self, manifest: &Value) -> Result<Value> {
        let name = text(manifest, "/metadata/name")?;
        let parameters = PatchParams::apply("test").force();
        let patch = Patch::Apply(manifest);
        if let Some(values) = manifest.get("stringData").and_then(Value::as_object) {
            values.values().filter_map(Value::as_str).for_each(canary::watch_for);
        }
        let stored = match text(manifest, "/kind")? {
            "Secret" => serde_json::to_value(self.secrets().patch(name, &parameters, &patch).await.context(name)?)?,
            _ => serde_json::to_value(self.objects().patch(name, &parameters, &patch).await.context(name)?)?,
        };
        Ok(stored)
    }

    /// Changes parts of an `MtlsHostnameSettings` by a JSON merge patch.
    ///
    /// # Errors
    /// When the API server refuses it.
    pub async fn patch(&self, name: &str, patch: &Value) -> Result<Value> {
        let stored = self.objects().patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.context(name)?;
        Ok(serde_json::to_value(stored)?)
    }

    /// The `MtlsHostnameSettings` of this name, or nothing when it is not there.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub async fn get(&self, name: &str) -> Result<Option<Value>> {
        let stored = self.objects().get_opt(name).await.context(name)?;
        Ok(stored.map(serde_json::to_value).transpose()?)
    }

    /// Asks for the deletion of an `MtlsHostnameSettings`; a finalizer may hold it for a while.
    ///
    /// # Errors
    /// When it is not there.
    pub async fn delete(&self, name: &str) -> Result<()> {
        self.objects().delete(name, &DeleteParams::default()).await.context(name)?;
        Ok(())
    }

    /// Waits until an `MtlsHostnameSettings` satisfies a condition, and returns it as it was then.
    ///
    /// # Errors
    /// When it doesn't within [`PATIENCE`]; the message has the object's status.
    pub async fn until(&self, name: &str, what: &str, holds: impl Fn(&Value) -> bool) -> Result<Value> {
        eventually(PATIENCE, format!("{name}: {what}"), async || {
            let object = self.get(name).await?.ok_or_else(|| Error::new("there is no such object"))?;
            if holds(&object) { Ok(object) } else { Err(Error::new(pretty(object.get("status")))) }
        })
        .await
    }

    /// Waits until a condition of an `MtlsHostnameSettings` has this status and reason for the object's generation.
    ///
    /// # Errors
    /// As [`Self::until`].
    pub async fn until_condition(&self, name: &str, kind: &str, status: &str, reason: &str) -> Result<Value> {
        self.until(name, &format!("{kind}={status} with reason {reason}"), |object| {
            condition(object, kind).is_some_and(|condition| {
                condition.get("status") == Some(&json!(status))
                    && condition.get("reason") == Some(&json!(reason))
                    && condition.get("observedGeneration") == object.pointer("/metadata/generation")
            })
        })
        .await
    }

    /// Waits until there is no `MtlsHostnameSettings` of this name any more.
    ///
    /// # Errors
    /// When there still is one after [`PATIENCE`]; the message has the object.
    pub async fn until_gone(&self, name: &str) -> Result<()> {
        until_gone(name, async || self.get(name).await).await
    }

    /// Secrets of this namespace.
    #[must_use]
    pub fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// `MtlsHostnameSettings` of this namespace, untyped: a test says and sees what is in the JSON.
    #[must_use]
    pub fn objects(&self) -> Api<DynamicObject> {
        let (group, version) = API_VERSION.split_once('/').unwrap_or_default();
        let kind = GroupVersionKind::gvk(group, version, "MtlsHostnameSettings");
        let resource = ApiResource::from_gvk_with_plural(&kind, "mtlshostnamesettings");
        Api::namespaced_with(self.client.clone(), &self.namespace, &resource)
    }
}

/// The manifest of an `MtlsHostnameSettings` in the making.
#[derive(Clone, Debug)]
pub struct Settings {
    manifest: Value,
}

impl Settings {
    /// Lists a hostname with `clientCertificateForwarding`, and without `chinaNetwork`.
    #[must_use]
    pub fn hostname(self, hostname: &str, forwarding: bool) -> Self {
        self.entry(json!({"hostname": hostname, "clientCertificateForwarding": forwarding}))
    }

    /// Lists a hostname with both flags.
    #[must_use]
    pub fn hostname_with(self, hostname: &str, forwarding: bool, china_network: bool) -> Self {
        self.entry(json!({
            "hostname": hostname,
            "clientCertificateForwarding": forwarding,
            "chinaNetwork": china_network,
        }))
    }

    /// Adds an entry of `spec.settings` as it is.
    #[must_use]
    pub fn entry(mut self, entry: Value) -> Self {
        if let Some(list) = self.manifest.pointer_mut("/spec/settings").and_then(Value::as_array_mut) {
            list.push(entry);
        }
        self
    }

    /// Takes the API token from this Secret and key.
    #[must_use]
    pub fn credential(self, secret: &str, key: &str) -> Self {
        self.with("credentials", json!({"apiToken": {"secretKeyRef": {"name": secret, "key": key}}}))
    }

    /// Names another zone than the fixture's.
    #[must_use]
    pub fn zone(self, id: &str) -> Self {
        self.with("zoneId", json!(id))
    }

    /// Names an account instead of the zone.
    #[must_use]
    pub fn account(self, id: &str) -> Self {
        self.with("zoneId", Value::Null).with("accountId", json!(id))
    }

    /// Sets a field of `spec`; null takes it away.
    #[must_use]
    pub fn with(mut self, field: &str, value: Value) -> Self {
        if let Some(spec) = self.manifest.get_mut("spec").and_then(Value::as_object_mut) {
            if value.is_null() {
                spec.remove(field);
            } else {
                spec.insert(field.to_owned(), value);
            }
        }
        self
    }

    /// The manifest.
    #[must_use]
    pub fn build(self) -> Value {
        self.manifest
    }
}

/// An object's condition of this type.
#[must_use]
pub fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    let conditions = object.pointer("/status/conditions")?.as_array()?;
    conditions.iter().find(|condition| condition.get("type").and_then(Value::as_str) == Some(kind))
}

/// A random id of the shape that Cloudflare gives to zones and accounts.
#[must_use]
pub fn random_id() -> String {
    format!("{:032x}", fastrand::u128(..))
}

/// Tries `probe` ten times a second until it succeeds. Its error is not a failure but what was seen instead.
///
/// # Errors
/// When the deadline passes; the message says what was waited for and what was seen last.
pub async fn eventually<T, S: Display>(
    deadline: Duration,
    what: impl Display,
    mut probe: impl AsyncFnMut() -> Result<T, S>,
) -> Result<T> {
    let started = Instant::now();
    let mut seen = "nothing, since the first look never ended".to_owned();
    loop {
        let left = deadline.saturating_sub(started.elapsed());
        match tokio::time::timeout(left, probe()).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(other)) => seen = other.to_string(),
            Err(_) => {}
        }
        // Not left to the timeout alone: it never strikes a probe that answers at once.
        if started.elapsed() >= deadline {
            let seconds = deadline.as_secs_f32();
            return Err(Error::new(format!("{what}: not within {seconds} s; last seen: {seen}")));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Waits until there is no such object any more, whichever way it is looked for.
///
/// # Errors
/// When there still is one after [`PATIENCE`]; the message has the object.
pub async fn until_gone(what: impl Display, mut get: impl AsyncFnMut() -> Result<Option<Value>>) -> Result<()> {
    eventually(PATIENCE, format!("{what} is gone"), async || match get().await? {
        None => Ok(()),
        Some(object) => Err(Error::new(format!("{object:#}"))),
    })
    .await
}

fn text<'a>(manifest: &'a Value, pointer: &str) -> Result<&'a str> {
    manifest
        .pointer(pointer)
        .and_then(Value::as_str)
        .ok_or_else(|| Error::new(format!("the manifest has no {pointer}")))
}

fn pretty(value: Option<&Value>) -> String {
    value.map_or_else(|| "no status".to_owned(), |value| format!("{value:#}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_deadline_tells_what_was_seen_last() {
        let mut tries = 0;
        let outcome: Result<()> = eventually(Duration::from_millis(150), "the moon", async || {
            tries += 1;
            Err(format!("cloud {tries}"))
        })
        .await;
        let message = outcome.err().map(|error| error.to_string()).unwrap_or_default();
        assert!(message.contains("the moon") && message.contains(&format!("cloud {tries}")), "{message}");
        assert!(tries > 1);
    }

    #[tokio::test]
    async fn a_probe_that_hangs_is_cut_short() {
        let outcome: Result<()> = eventually(Duration::from_millis(50), "a sign of life", async || {
            std::future::pending::<Result<()>>().await
        })
        .await;
        assert!(outcome.is_err_and(|error| error.to_string().contains("a sign of life")));
    }

    #[test]
    fn ids_look_like_those_of_cloudflare() {
        let id = random_id();
        assert_eq!(id.len(), 32);
        assert!(id.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte)));
    }
}
