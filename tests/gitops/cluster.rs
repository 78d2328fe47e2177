//! A cluster with Flux: a control plane, its definitions, and the real kustomize-controller.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use harness::{
    cloudflare::{Cloudflare, Credential, Remote},
    control_plane::{ControlPlane, OPERATOR},
    fixture::{condition, eventually},
    guard::Guarded,
    operator::{Operator, available},
    shell::Shell,
    tools,
};
use serde_json::{Value, json};

use crate::{
    repository::{Archiver, Artifact, Checkout},
    seen,
};

pub(crate) const TOKEN: &str = "cfut_8Zr2Lw5Tn0Qx7Vb4Hj9Kd1Ms6Pf3Gc";
/// The zone that the manifests in `deploy` name.
pub(crate) const ZONE: &str = "023e105f4ecef8ad9ca31a8372d0c353";
/// Longer than all that is waited for, and shorter than the timeouts in the manifests.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

const KUBECONFIG: &str = "flux.kubeconfig";
pub(crate) const FLUX: &str = "system:serviceaccount:flux-system:kustomize-controller";

pub(crate) struct Cluster {
    pub(crate) cloudflare: Cloudflare,
    pub(crate) remote: Remote,
    pub(crate) token: Credential,
    pub(crate) archiver: Archiver,
    pub(crate) operator: Option<Operator>,
    pub(crate) flux: Guarded,
    /// The last to go.
    pub(crate) control_plane: ControlPlane,
}

impl Cluster {
    /// An empty cluster with Flux.
    pub(crate) async fn new() -> Self {
        Self::with_flux_told(&[]).await
    }

    /// The same with a kustomize-controller that has these arguments too.
    pub(crate) async fn with_flux_told(arguments: &[&str]) -> Self {
        let control_plane = ControlPlane::start_with_controllers().await.unwrap();
        define(&control_plane, "flux-crds.yaml").await;
        let cloudflare = Cloudflare::start().await.unwrap();
        let remote = cloudflare.add_zone(ZONE, "example.com");
        let token = cloudflare.token(TOKEN).named("team");
        token.may_write(remote.scope());
        harness::canary::watch_for(TOKEN);
        admit_flux(&control_plane).await;
        let flux = start(&control_plane, "kustomize-controller", arguments);
        let archiver = Archiver::start().await;
        Self { cloudflare, remote, token, archiver, operator: None, flux, control_plane }
    }

    pub(crate) async fn kubectl(&self, arguments: &[&str]) -> String {
        self.control_plane.kubectl(arguments).await.unwrap()
    }

    /// Types commands in a folder.
    pub(crate) async fn type_in(&self, folder: &Path, commands: &str) -> String {
        Shell::new(self.control_plane.kubeconfig()).within(folder).type_in(commands).await.unwrap()
    }

    /// Applies a file of this repository as it is.
    pub(crate) async fn apply(&self, file: &str) {
        let path = tools::workspace().join(file);
        self.kubectl(&["apply", "--server-side", "-f", path.to_str().unwrap()]).await;
    }

    pub(crate) async fn get(&self, namespace: &str, name: &str) -> Option<Value> {
        seen::get(&self.control_plane, namespace, name).await
    }

    /// Says of a source what source-controller would say once it has fetched what the checkout holds.
    pub(crate) async fn push(&self, source: &str, checkout: &Checkout) {
        self.fetched("flux-system", source, &self.archiver.serve(checkout.folder())).await;
    }

    /// The same of any artifact.
    pub(crate) async fn fetched(&self, namespace: &str, source: &str, artifact: &Artifact) {
        let now = jiff::Timestamp::now();
        let now = now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let status = json!({"status": {
            "observedGeneration": 1,
            "artifact": {
                "digest": artifact.digest, "url": artifact.url, "revision": artifact.revision,
                "path": artifact.revision, "lastUpdateTime": now,
            },
            "conditions": [{
                "type": "Ready", "status": "True", "reason": "Succeeded", "message": "stored artifact",
                "lastTransitionTime": now, "observedGeneration": 1,
            }],
        }});
        let patch = status.to_string();
        self.kubectl(&["patch", "-n", namespace, source, "--subresource=status", "--type=merge", "-p", &patch]).await;
    }

    /// Starts Flux' other controller.
    pub(crate) fn start_helm_controller(&self) -> Guarded {
        start(&self.control_plane, "helm-controller", &[])
    }

    /// Makes the source that `flux bootstrap` makes, with what the checkout holds.
    pub(crate) async fn bootstrap(&self, checkout: &Checkout) {
        let source = json!({
            "apiVersion": "source.toolkit.fluxcd.io/v1",
            "kind": "GitRepository",
            "metadata": {"name": "flux-system", "namespace": "flux-system"},
            "spec": {"interval": "1m", "url": "ssh://git@github.com/example/fleet", "ref": {"branch": "main"}},
        });
        self.control_plane.apply(&source.to_string()).await.unwrap();
        self.push("gitrepository/flux-system", checkout).await;
    }

    /// Has a Kustomization looked at now, as `flux reconcile kustomization` does.
    pub(crate) async fn reconcile(&self, name: &str) {
        let value = format!("reconcile.fluxcd.io/requestedAt={}", jiff::Timestamp::now());
        self.kubectl(&["annotate", "-n", "flux-system", "--overwrite", &format!("kustomization/{name}"), &value]).await;
    }

    /// Waits until a Kustomization has been looked at since it was asked for.
    pub(crate) async fn until_looked_at(&self, name: &str) {
        self.until(&format!("kustomization/{name}"), "looked at", |object| {
            let asked = &object["metadata"]["annotations"]["reconcile.fluxcd.io/requestedAt"];
            *asked == object["status"]["lastHandledReconcileAt"]
        })
        .await;
    }

    /// Waits until what is true of an object of Flux.
    pub(crate) async fn until(&self, name: &str, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let waited = eventually(PATIENCE, format!("{name}: {what}"), async || {
            let object = self.get("flux-system", name).await.ok_or("not there")?;
            if holds(&object) { Ok(object) } else { Err(format!("{:#}", object["status"])) }
        });
        waited.await.unwrap_or_else(|error| {
            let log = self.flux.output().unwrap();
            let lines: Vec<_> = log.lines().collect();
            panic!("{error}\n{}", lines[lines.len().saturating_sub(10)..].join("\n"))
        })
    }

    /// Waits until a Kustomization's `Ready` says this, of its present generation.
    pub(crate) async fn until_ready(&self, name: &str, status: &str, reason: &str) -> Value {
        self.until(&format!("kustomization/{name}"), &format!("Ready={status} {reason}"), |object| {
            condition(object, "Ready").is_some_and(|ready| {
                ready["status"] == status
                    && ready["reason"] == reason
                    && ready["observedGeneration"] == object["metadata"]["generation"]
            })
        })
        .await
    }

    /// Waits until a Kustomization has applied what the source holds now, and is ready with it.
    pub(crate) async fn until_applied(&self, name: &str, source: &str) -> Value {
        let source = self.get("flux-system", source).await.unwrap();
        let revision = source["status"]["artifact"]["revision"].clone();
        self.until(&format!("kustomization/{name}"), "ready with the revision", |object| {
            object["status"]["lastAppliedRevision"] == revision
                && condition(object, "Ready").is_some_and(|ready| ready["status"] == "True")
        })
        .await
    }

    /// Waits until an `MtlsHostnameSettings` in `team-a` is ready, or says why it is not.
    pub(crate) async fn until_reason(&self, name: &str, status: &str, reason: &str) -> Value {
        seen::until_reason(&self.control_plane, name, status, reason).await
    }

    /// Waits until an object has acknowledged this value of its annotation `reconcile-at`.
    pub(crate) async fn until_looked(&self, name: &str, value: &str) {
        eventually(PATIENCE, format!("{name}: looked"), async || {
            let object = self.get("team-a", &format!("mhs/{name}")).await.ok_or("not there")?;
            let looked = object["status"]["lastHandledReconcileAt"] == value;
            if looked { Ok(()) } else { Err(format!("{:#}", object["status"])) }
        })
        .await
        .unwrap();
    }

    /// Waits until Flux has applied the operator's Deployment.
    pub(crate) async fn until_deployed(&self) {
        let deployment = format!("deployment/{OPERATOR}");
        let there = || async { self.get(OPERATOR, &deployment).await.map(drop).ok_or("not there") };
        eventually(PATIENCE, &deployment, there).await.unwrap();
    }

    pub(crate) async fn until_gone(&self, namespace: &str, name: &str) {
        seen::until_gone(&self.control_plane, namespace, name).await;
    }

    /// Starts the operator under the `ServiceAccount` that Flux has applied, and says so in the Deployment's status, as its
    /// controller would once a kubelet had started the pod.
    pub(crate) async fn run_operator(&mut self) {
        let program = env!("CARGO_BIN_EXE_cloudflare-mtls-operator");
        let operator = Operator::builder(program, &self.control_plane).cloudflare(self.cloudflare.url());
        let mut operator = operator.arg("--secret-poll=1s").spawn().await.unwrap();
        operator.wait_ready(Duration::from_secs(30)).await.unwrap();
        self.operator = Some(operator);
        let deployment = self.get(OPERATOR, &format!("deployment/{OPERATOR}")).await.unwrap();
        let (generation, replicas) = (&deployment["metadata"]["generation"], &deployment["spec"]["replicas"]);
        let status = available(generation.as_i64(), replicas.as_i64().unwrap());
        self.replicate(&deployment).await;
        let deployment = format!("deployment/{OPERATOR}");
        let patch = status.to_string();
        self.kubectl(&["patch", "-n", OPERATOR, &deployment, "--subresource=status", "--type=merge", "-p", &patch])
            .await;
    }

    /// Makes the `ReplicaSet` of the Deployment, at which Helm 3 looks, with its pods ready.
    async fn replicate(&self, deployment: &Value) {
        let (metadata, spec) = (&deployment["metadata"], &deployment["spec"]);
        let name = format!("{OPERATOR}-1");
        let set = json!({
            "apiVersion": "apps/v1",
            "kind": "ReplicaSet",
            "metadata": {
                "name": name, "namespace": OPERATOR, "labels": spec["template"]["metadata"]["labels"],
                "ownerReferences": [{
                    "apiVersion": "apps/v1", "kind": "Deployment", "controller": true,
                    "name": metadata["name"], "uid": metadata["uid"],
                }],
            },
            "spec": {"replicas": spec["replicas"], "selector": spec["selector"], "template": spec["template"]},
        });
        self.control_plane.apply(&set.to_string()).await.unwrap();
        let replicas = &spec["replicas"];
        let status = json!({"status": {
            "observedGeneration": 1, "replicas": replicas, "readyReplicas": replicas, "availableReplicas": replicas,
        }});
        let (set, patch) = (format!("replicaset/{name}"), status.to_string());
        self.kubectl(&["patch", "-n", OPERATOR, &set, "--subresource=status", "--type=merge", "-p", &patch]).await;
    }

    /// Makes the Secret of the guide by hand.
    pub(crate) async fn create_secret(&self) {
        let token = format!("--from-literal=token={TOKEN}");
        self.kubectl(&["create", "secret", "generic", "cloudflare", "-n", "team-a", &token]).await;
    }

    pub(crate) fn requests_of_flux(&self) -> Vec<Value> {
        self.control_plane.requests_of(FLUX).unwrap()
    }
}

/// The API server takes the manifests, and knows each of their fields.
pub(crate) async fn taken(control_plane: &ControlPlane, file: &Path) {
    let arguments = ["apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", file.to_str().unwrap()];
    eventually(PATIENCE, "the kinds are served", async || control_plane.kubectl(&arguments).await).await.unwrap();
}

/// Teaches the API server the kinds of one of the tools.
pub(crate) async fn define(control_plane: &ControlPlane, file: &str) {
    let file = tools::tool(file).unwrap();
    control_plane.kubectl(&["apply", "--server-side", "-f", file.to_str().unwrap()]).await.unwrap();
    control_plane.until_established().await.unwrap();
}

/// Makes the identity under which Flux' controllers run, with the rights that Flux gives them.
async fn admit_flux(control_plane: &ControlPlane) {
    for command in [
        "create namespace flux-system",
        "create serviceaccount kustomize-controller -n flux-system",
        "create clusterrolebinding cluster-reconciler --clusterrole=cluster-admin \
         --serviceaccount=flux-system:kustomize-controller",
    ] {
        control_plane.kubectl(&command.split_whitespace().collect::<Vec<_>>()).await.unwrap();
    }
    let command = ["create", "token", "kustomize-controller", "-n", "flux-system", "--duration=2h"];
    let token = control_plane.kubectl(&command).await.unwrap();
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "flux",
        "clusters": [{"name": "c", "cluster": {
            "server": control_plane.url(), "certificate-authority": control_plane.ca_certificate(),
        }}],
        "users": [{"name": "u", "user": {"token": token.trim()}}],
        "contexts": [{"name": "flux", "context": {"cluster": "c", "user": "u"}}],
    });
    std::fs::write(control_plane.dir().join(KUBECONFIG), config.to_string()).unwrap();
}

/// Starts one of Flux' controllers as Flux runs it.
fn start(control_plane: &ControlPlane, controller: &str, arguments: &[&str]) -> Guarded {
    let temporary: PathBuf = control_plane.dir().join(format!("{controller}-tmp"));
    std::fs::create_dir(&temporary).unwrap();
    let program = tools::tool(controller).unwrap();
    Guarded::spawn(&control_plane.dir().join(format!("{controller}.log")), |command| {
        command
            .arg(&program)
            .args(["--metrics-addr=127.0.0.1:0", "--health-addr=127.0.0.1:0"])
            // As often as a test can wait for.
            .arg("--requeue-dependency=2s")
            .args(arguments)
            .env_clear()
            .env("RUNTIME_NAMESPACE", "flux-system")
            .env("KUBECONFIG", control_plane.dir().join(KUBECONFIG))
            .env("TMPDIR", &temporary);
    })
    .unwrap()
}
