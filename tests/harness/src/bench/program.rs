//! The yardstick: a program that makes just the calls of one change, in a row, and knows nothing else.

use std::path::Path;

use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::fixture::{API_VERSION, CREDENTIAL, Fixture};

/// What the operator says when all is well.
pub(super) const MESSAGE: &str = "a read after the last write showed every hostname as the spec wants it";

/// Serves the one object of a fixture, whose zone has one hostname.
pub(super) struct Program {
    secrets: Api<Secret>,
    objects: Api<DynamicObject>,
    http: reqwest::Client,
    url: String,
    name: String,
}

impl Program {
    /// A program that uses the operator's own rights and keeps its connections open, as the operator does.
    pub(super) fn new(client: &kube::Client, fixture: &Fixture, cloudflare: &str, name: &str) -> Result<Self> {
        Ok(Self {
            secrets: Api::namespaced(client.clone(), fixture.namespace()),
            objects: objects(client, fixture),
            http: reqwest::Client::builder().no_proxy().build()?,
            url: format!("{cloudflare}/zones/{}/access/certificates/settings", fixture.zone_id()),
            name: name.to_owned(),
        })
    }

    /// Secret, GET, PUT, GET, status.
    pub(super) async fn serve(&self, generation: i64, hostname: &str, forwarding: bool) -> Result<()> {
        let (secret, key) = CREDENTIAL;
        let secret = self.secrets.get(secret).await?;
        let token = secret.data.as_ref().and_then(|data| data.get(key)).ok_or_else(|| Error::new("no token"))?;
        let token = String::from_utf8(token.0.clone())?;
        self.ask(self.http.get(&self.url), &token).await?;
        let entry = json!({"hostname": hostname, "client_certificate_forwarding": forwarding, "china_network": false});
        self.ask(self.http.put(&self.url).json(&json!({"settings": [entry]})), &token).await?;
        let list = self.ask(self.http.get(&self.url), &token).await?;
        let listed = list.pointer("/result").and_then(Value::as_array).into_iter().flatten();
        let found = listed.into_iter().any(|entry| {
            entry.get("hostname").and_then(Value::as_str) == Some(hostname)
                && entry.get("client_certificate_forwarding") == Some(&json!(true))
        });
        if found != forwarding {
            return Err(Error::new(format!("the list is not as it was written: {list}")));
        }
        apply_status(&self.objects, &self.name, generation, hostname, forwarding).await
    }

    async fn ask(&self, request: reqwest::RequestBuilder, token: &str) -> Result<Value> {
        Ok(request.bearer_auth(token).send().await?.error_for_status()?.json().await?)
    }
}

/// A client with the rights of an operator.
pub(super) async fn client(kubeconfig: &Path) -> Result<kube::Client> {
    let kubeconfig = Kubeconfig::read_from(kubeconfig)?;
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    Ok(kube::Client::try_from(config)?)
}

/// The objects of a fixture as such a client sees them.
pub(super) fn objects(client: &kube::Client, fixture: &Fixture) -> Api<DynamicObject> {
    let resource = kube::core::ApiResource::from_gvk_with_plural(
        &kube::core::GroupVersionKind::gvk("cloudflare-mtls.dev", "v1alpha1", "MtlsHostnameSettings"),
        "mtlshostnamesettings",
    );
    Api::namespaced_with(client.clone(), fixture.namespace(), &resource)
}

/// Applies a status of the size of the operator's.
pub(super) async fn apply_status(
    objects: &Api<DynamicObject>,
    name: &str,
    generation: i64,
    hostname: &str,
    forwarding: bool,
) -> Result<()> {
    let patch = json!({
        "apiVersion": API_VERSION,
        "kind": "MtlsHostnameSettings",
        "metadata": {"name": name},
        "status": status(generation, hostname, forwarding),
    });
    objects.patch_status(name, &PatchParams::apply("bench").force(), &Patch::Apply(&patch)).await?;
    Ok(())
}

/// A status of the size of the operator's.
fn status(generation: i64, hostname: &str, forwarding: bool) -> Value {
    let now = jiff::Timestamp::now().to_string();
    let remote = json!({"clientCertificateForwarding": forwarding, "chinaNetwork": false});
    json!({
        "observedGeneration": generation,
        "summary": "1/1",
        "conditions": [{
            "type": "Ready",
            "status": "True",
            "reason": "InSync",
            "message": MESSAGE,
            "observedGeneration": generation,
            "lastTransitionTime": now,
        }],
        "hostnames": [{"hostname": hostname, "state": "InSync", "remote": remote}],
        "lastResponse": {
            "method": "GET", "httpStatus": 200, "success": true, "rayId": format!("{:016x}-EMU", fastrand::u64(..)), "time": now,
        },
    })
}
