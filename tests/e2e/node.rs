//! The node that `tests/e2e/run` has made around these tests: its API server, and what only somebody on the machine sees.

use std::{
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use harness::{
    helm::{Helm, Version},
    kubectl::Kubectl,
};
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::Value;
use tokio::process::Command;

/// More than any command here waits by itself.
const DEADLINE: Duration = Duration::from_secs(150);

pub(crate) struct Node {
    pub(crate) address: IpAddr,
    kubeconfig: PathBuf,
    kubectl: Kubectl,
    helm: Helm,
}

impl Node {
    pub(crate) fn here() -> Self {
        let address = std::env::var("E2E_NODE_ADDRESS").expect("these tests need a node around them: run `make e2e`");
        let kubeconfig = PathBuf::from(std::env::var_os("KUBECONFIG").unwrap());
        let kubectl = Kubectl::new(&kubeconfig).deadline(DEADLINE);
        let helm = Helm::new(Version::Four, &kubeconfig).deadline(DEADLINE);
        Self { address: address.parse().unwrap(), kubeconfig, kubectl, helm }
    }

    pub(crate) async fn client(&self) -> kube::Client {
        let kubeconfig = Kubeconfig::read_from(&self.kubeconfig).unwrap();
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
        kube::Client::try_from(config).unwrap()
    }

    /// Runs kubectl as an administrator; its arguments are separated by spaces.
    pub(crate) async fn kubectl(&self, arguments: &str) -> String {
        self.try_kubectl(arguments).await.unwrap()
    }

    pub(crate) async fn try_kubectl(&self, arguments: &str) -> harness::Result<String> {
        self.kubectl.run(&arguments.split_whitespace().collect::<Vec<_>>()).await
    }

    /// The same as a user types it, for who reads what the tests print.
    pub(crate) async fn show(&self, arguments: &str) -> String {
        let output = self.kubectl(arguments).await;
        println!("$ kubectl {arguments}\n{output}");
        output
    }

    /// What `kubectl get ... -o json` says.
    pub(crate) async fn get(&self, what: &str) -> Value {
        serde_json::from_str(&self.kubectl(&format!("get {what} -o json")).await).unwrap()
    }

    pub(crate) async fn apply(&self, manifest: &Value) {
        self.kubectl.apply(&manifest.to_string()).await.unwrap();
    }

    /// Runs Helm 4 as an administrator; its arguments are separated by spaces.
    pub(crate) async fn helm(&self, arguments: &str) -> String {
        self.try_helm(arguments).await.unwrap()
    }

    pub(crate) async fn try_helm(&self, arguments: &str) -> harness::Result<String> {
        self.helm.run(&arguments.split_whitespace().collect::<Vec<_>>()).await
    }

    /// The digest of an image that the node has.
    pub(crate) async fn digest(&self, reference: &str) -> String {
        let output = Command::new("ctr").args(["--namespace=k8s.io", "images", "ls"]).output().await.unwrap();
        let list = String::from_utf8(output.stdout).unwrap();
        let line = list.lines().find(|line| line.split_whitespace().next() == Some(reference));
        let line = line.unwrap_or_else(|| panic!("the node has no image {reference}:\n{list}"));
        line.split_whitespace().find(|word| word.starts_with("sha256:")).unwrap().to_owned()
    }
}

/// A process in a container, as the machine sees it.
pub(crate) struct Process {
    pid: String,
    /// The folder of its cgroup that counts memory.
    memory: PathBuf,
}

impl Process {
    /// The operator's in a pod.
    pub(crate) fn in_pod(pod: &Value) -> Option<Self> {
        let uid = pod["metadata"]["uid"].as_str().unwrap();
        fs::read_dir("/proc").unwrap().find_map(|entry| Self::of(&entry.ok()?.path(), uid))
    }

    fn of(folder: &Path, pod: &str) -> Option<Self> {
        let pid = folder.file_name()?.to_str()?.to_owned();
        if !fs::read_to_string(folder.join("comm")).ok()?.starts_with("cloudflare-mtls") {
            return None;
        }
        let cgroups = fs::read_to_string(folder.join("cgroup")).ok()?;
        // Lines are `number:controllers:path`; version 2 has one, without controllers.
        let mut lines = cgroups.lines().map(|line| line.splitn(3, ':').collect::<Vec<_>>());
        let of_memory = lines.find(|line| matches!(line[1], "memory" | "") && line[2].contains(pod))?;
        let root = Path::new("/sys/fs/cgroup").join(of_memory[1]);
        Some(Self { pid, memory: root.join(of_memory[2].trim_start_matches('/')) })
    }

    /// Bytes that its cgroup uses now, used at most, and may use.
    pub(crate) fn memory(&self) -> [u64; 3] {
        let read = |names: [&str; 2]| -> u64 {
            let text = names.iter().find_map(|name| fs::read_to_string(self.memory.join(name)).ok());
            text.unwrap().trim().parse().unwrap()
        };
        [
            read(["memory.usage_in_bytes", "memory.current"]),
            read(["memory.max_usage_in_bytes", "memory.peak"]),
            read(["memory.limit_in_bytes", "memory.max"]),
        ]
    }

    /// Kills it as the kernel does when memory is short.
    pub(crate) async fn kill(&self) {
        let killed = Command::new("sh").args(["-c", "kill -s KILL \"$0\"", &self.pid]).status().await.unwrap();
        assert!(killed.success());
    }
}
