//! What each of these tests begins with: an emulated Cloudflare that pods reach, a zone with its token, and the means to
//! install the chart. And what none of them may end with.

use std::time::{Duration, Instant};

use harness::{
    canary,
    cloudflare::{Cloudflare, Credential, Ledger, Remote},
    fixture::{self, Fixture, eventually},
    helm,
    hosts::Front,
    tools,
};
use serde_json::{Value, json};

use crate::node::Node;

/// The release, its namespace, and so whatever the chart creates.
pub(crate) const NAME: &str = "cloudflare-mtls-operator";
pub(crate) const TOKEN: &str = "cfut_2Wq8Yb5Nz0Lk7Rt4Xc9Jm1Vd6Hp3Sg";
const HOST: &str = "cloudflare.test";

/// How long a pod may take to be replaced, and its successor to do something.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Stage {
    pub(crate) node: Node,
    pub(crate) cloudflare: Cloudflare,
    pub(crate) fixture: Fixture,
    pub(crate) remote: Remote,
    pub(crate) token: Credential,
    front: Front,
    folder: tempfile::TempDir,
}

impl Stage {
    /// Sets the stage, plays a scenario on it, looks whether anything went wrong unnoticed, and clears it.
    pub(crate) async fn play(scenario: impl AsyncFnOnce(&Self)) {
        let stage = Self::set().await;
        scenario(&stage).await;
        stage.check().await;
        stage.clear().await;
    }

    async fn set() -> Self {
        let node = Node::here();
        let fixture = Fixture::of(node.client().await).await.unwrap();
        let cloudflare = Cloudflare::start().await.unwrap();
        // A write takes as long as one over the internet, and its effect longer still.
        cloudflare.switch(|switches| {
            switches.latency_ms = 100;
            switches.apply_delay_ms = 200;
        });
        let remote = cloudflare.add_zone(fixture.zone_id(), "example.com").with_china_network();
        let token = cloudflare.token(TOKEN).named("team");
        token.may_write(remote.scope());
        let (secret, key) = fixture::CREDENTIAL;
        fixture.apply(&fixture.secret(secret, key, TOKEN)).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let front = Front::named(HOST, node.address, cloudflare.address(), folder.path()).await.unwrap();
        let stage = Self { node, cloudflare, fixture, remote, token, front, folder };
        stage.clear().await;
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {
            "name": NAME, "labels": {"pod-security.kubernetes.io/enforce": "restricted"},
        }});
        stage.node.apply(&namespace).await;
        let authority = std::fs::read_to_string(stage.front.authority()).unwrap();
        let ca = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "cloudflare-ca", "namespace": NAME},
            "data": {"ca.crt": authority}});
        stage.node.apply(&ca).await;
        stage
    }

    /// Uninstalls what this or a failed test has left. The CRD stays, as it does for everybody.
    async fn clear(&self) {
        self.node.helm(&format!("uninstall {NAME} -n {NAME} --ignore-not-found --wait")).await;
        // Its rights go with it, so that it cannot give the Lease back: the next one would have to wait for its end.
        self.node.kubectl(&format!("wait --for=delete pods -n {NAME} --all --timeout=60s")).await;
        self.node.kubectl(&format!("delete lease {NAME} -n {NAME} --ignore-not-found")).await;
        if self.node.try_kubectl("get crd mtlshostnamesettings.cloudflare-mtls.dev").await.is_ok() {
            let free = json!([{"op": "remove", "path": "/metadata/finalizers"}]).to_string();
            for object in self.node.get("mhs -A").await["items"].as_array().unwrap() {
                let (namespace, name) = (&object["metadata"]["namespace"], &object["metadata"]["name"]);
                let mhs = format!("mhs {} -n {}", name.as_str().unwrap(), namespace.as_str().unwrap());
                if object["metadata"]["finalizers"].is_array() {
                    self.node.kubectl(&format!("patch {mhs} --type=json -p {}", free.replace(' ', ""))).await;
                }
                self.node.kubectl(&format!("delete {mhs} --ignore-not-found")).await;
            }
        }
    }

    /// What no scenario may end with, besides what it looks for itself.
    async fn check(&self) {
        self.assert_no_overlap("in the end");
        for pod in self.pods().await {
            let log = self.log_of(&pod).await;
            assert_eq!(canary::complaint("the log", Ok(&log)), None);
            assert!(!log.contains("panicked at"), "{log}");
        }
    }

    pub(crate) fn assert_no_overlap(&self, when: &str) {
        let ledger = self.cloudflare.ledger();
        assert!(ledger.overlapping_puts().is_empty(), "{when}: two PUTs under way at the same time:\n{ledger}");
    }

    pub(crate) fn ledger(&self) -> Ledger {
        self.cloudflare.ledger().of(self.remote.scope())
    }

    // --- Helm

    /// Installs the chart with these values besides those that lead it to the emulator, and waits until all is ready.
    pub(crate) async fn install(&self, values: &Value) {
        let started = Instant::now();
        let arguments = self.arguments("install", values);
        self.node.helm(&arguments).await;
        println!("installed and ready after {:.1} s", started.elapsed().as_secs_f32());
    }

    /// The same for a release that is there.
    pub(crate) async fn upgrade(&self, values: &Value) {
        self.try_upgrade(values).await.unwrap();
    }

    pub(crate) async fn try_upgrade(&self, values: &Value) -> harness::Result<String> {
        self.node.try_helm(&self.arguments("upgrade", values)).await
    }

    fn arguments(&self, command: &str, values: &Value) -> String {
        let mut all = json!({
            "cloudflare": {"apiUrl": self.front.url(), "requestsPer5m": 1200},
            "hostAliases": [{"ip": self.node.address, "hostnames": [HOST]}],
            "caBundle": {"configMap": "cloudflare-ca"},
        });
        all.as_object_mut().unwrap().extend(values.as_object().unwrap().clone());
        let file = self.folder.path().join("values.json");
        std::fs::write(&file, all.to_string()).unwrap();
        let (chart, file) = (helm::chart().display().to_string(), file.display().to_string());
        format!("{command} {NAME} {chart} -n {NAME} --wait --timeout 60s -f {file}")
    }

    // --- pods

    /// The pods that are not on their way out.
    pub(crate) async fn pods(&self) -> Vec<Value> {
        let list = self.node.get(&format!("pods -n {NAME} -l app.kubernetes.io/name={NAME}")).await;
        let pods = list["items"].as_array().unwrap().iter();
        pods.filter(|pod| pod["metadata"]["deletionTimestamp"].is_null()).cloned().collect()
    }

    pub(crate) async fn pod(&self) -> Value {
        let mut pods = self.pods().await;
        assert_eq!(pods.len(), 1, "{pods:#?}");
        pods.remove(0)
    }

    pub(crate) async fn log_of(&self, pod: &Value) -> String {
        self.node.kubectl(&format!("logs -n {NAME} {}", pod["metadata"]["name"].as_str().unwrap())).await
    }

    /// The pod that holds the Lease, as it calls itself: `POD_RANDOM`.
    pub(crate) async fn holder(&self) -> String {
        let lease = self.node.get(&format!("lease -n {NAME} {NAME}")).await;
        lease["spec"]["holderIdentity"].as_str().unwrap_or_default().to_owned()
    }

    /// Waits until somebody else holds the Lease.
    pub(crate) async fn successor_of(&self, former: &str) -> String {
        eventually(PATIENCE, format!("a successor of {former}"), async || {
            let holder = self.holder().await;
            if holder.is_empty() || holder == former { Err(holder) } else { Ok(holder) }
        })
        .await
        .unwrap()
    }

    // --- objects

    pub(crate) async fn apply(&self, name: &str, settings: &[(&str, bool)]) {
        let manifest = settings.iter().fold(self.fixture.settings(name), |manifest, (hostname, forwarding)| {
            manifest.hostname(hostname, *forwarding)
        });
        self.fixture.apply(&manifest.build()).await.unwrap();
    }

    pub(crate) async fn until_ready(&self, name: &str) -> Value {
        self.fixture.until_condition(name, "Ready", "True", "InSync").await.unwrap()
    }
}

/// What a person wants to see when a test has failed.
impl Drop for Stage {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        let commands = [
            "get pods,leases -A -o wide".to_owned(),
            format!("describe pods -n {NAME}"),
            format!("logs -n {NAME} -l app.kubernetes.io/name={NAME} --tail=40 --prefix"),
            "get mhs -A -o yaml".to_owned(),
        ];
        for command in commands {
            let output = std::process::Command::new(tools::tool("kubectl").unwrap())
                .args(command.split_whitespace())
                .output()
                .unwrap();
            println!("$ kubectl {command}\n{}", String::from_utf8_lossy(&output.stdout));
        }
    }
}
