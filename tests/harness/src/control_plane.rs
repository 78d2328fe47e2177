//! A real etcd and a real Kubernetes API server for tests, gone when the test process is gone.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::account;
use crate::error::{Context as _, Error, Result};
use crate::fixture::{API_VERSION, PATIENCE, eventually};
use crate::guard::{self, Held};
use crate::kubectl::Kubectl;
use crate::tools;

pub mod rights;
mod server;

pub(crate) use server::free_port;
pub use server::{Args, run};

const AUDIT_LOG: &str = "audit.log";
const CA_CERTIFICATE: &str = "ca.crt";
const ETCD: &str = "etcd";
const API_SERVER: &str = "kube-apiserver";

/// Where the process id of one of the programs is.
fn pid_file(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("{name}.pid"))
}

/// The namespace and the name of the `ServiceAccount` under which the operator runs.
pub const OPERATOR: &str = "cloudflare-mtls-operator";

/// A running control plane: RBAC is on, every request is in the audit log. There is no controller manager unless it was
/// asked for (so a deleted namespace stays `Terminating`, and nothing is garbage-collected).
#[derive(Debug)]
pub struct ControlPlane {
    dir: PathBuf,
    url: String,
    kubeconfig: PathBuf,
    /// Ends the control plane when it is dropped, or when this process dies in whatever way.
    _process: Held,
}

impl ControlPlane {
    /// Starts an empty control plane; it is ready when this returns, after about 3 seconds.
    ///
    /// # Errors
    /// When a tool is missing or does not become ready.
    pub async fn start() -> Result<Self> {
        Self::start_with(&[]).await
    }

    /// The same with the controllers that end namespaces, collect garbage, and put `view`, `edit` and `admin` together.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn start_with_controllers() -> Result<Self> {
        Self::start_with(&["--controllers"]).await
    }

    /// The same with an API server that comes back when it is killed.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn start_restarting() -> Result<Self> {
        Self::start_with(&["--restart"]).await
    }

    async fn start_with(arguments: &[&str]) -> Result<Self> {
        let mut command = Command::new(tools::harness()?);
        command.arg("control-plane").args(arguments);
        let (process, line) = tokio::task::spawn_blocking(move || Held::spawn(command)).await??;
        let ready: server::Ready = serde_json::from_str(&line).context(format!("reading {line:?}"))?;
        Ok(Self { dir: ready.dir, url: ready.url, kubeconfig: ready.kubeconfig, _process: process })
    }

    /// The control plane that all tests of this process share, with the CRD and the operator's RBAC in place.
    ///
    /// # Errors
    /// When it cannot be started; every caller then gets the same error.
    pub async fn shared() -> Result<&'static Self> {
        static SHARED: OnceCell<Result<ControlPlane, String>> = OnceCell::const_new();
        let start = || async {
            let control_plane = Self::start().await.map_err(|error| error.to_string())?;
            control_plane.install().await.map_err(|error| error.to_string())?;
            Ok(control_plane)
        };
        SHARED.get_or_init(start).await.as_ref().map_err(Error::new)
    }

    /// Kills the API server. Where it restarts, it serves again after some seconds.
    ///
    /// # Errors
    /// When it is not running.
    pub fn kill_api_server(&self) -> Result<()> {
        self.signal(API_SERVER, "KILL")
    }

    /// Stops etcd where it stands, so that the API server answers late or with errors.
    ///
    /// # Errors
    /// When it is not running.
    pub fn pause_etcd(&self) -> Result<()> {
        self.signal(ETCD, "STOP")
    }

    /// Lets etcd go on.
    ///
    /// # Errors
    /// When it is not running.
    pub fn resume_etcd(&self) -> Result<()> {
        self.signal(ETCD, "CONT")
    }

    fn signal(&self, program: &str, signal: &str) -> Result<()> {
        let file = pid_file(&self.dir, program);
        let pid = std::fs::read_to_string(&file).context(file.display())?;
        guard::send(signal, &pid)
    }

    /// Installs the operator's manifests from this repository, and waits until the API serves the new kind. Where there
    /// is no controller manager and no node, they run nothing: the CRD and the operator's rights are what counts.
    ///
    /// # Errors
    /// When the API server refuses them.
    pub async fn install(&self) -> Result<()> {
        let manifests = tools::workspace().join("deploy");
        self.kubectl(&["apply", "--server-side", "-k", &manifests.to_string_lossy()]).await?;
        self.until_installed().await
    }

    /// Waits until the API serves the new kind to the operator, whichever way it was installed.
    ///
    /// # Errors
    /// When it does not within [`PATIENCE`].
    pub async fn until_installed(&self) -> Result<()> {
        self.until_established().await?;
        // The server itself learns of both by watching: for a moment it may still answer 404 or 403.
        let operator = format!("system:serviceaccount:{OPERATOR}:{OPERATOR}");
        eventually(PATIENCE, "the new kind, served to the operator", async || {
            self.kubectl(&["get", "mtlshostnamesettings.cloudflare-mtls.dev", "-A", "--as", &operator]).await
        })
        .await?;
        Ok(())
    }

    /// Waits until every CRD is established.
    ///
    /// # Errors
    /// When one is not within [`PATIENCE`].
    pub async fn until_established(&self) -> Result<()> {
        let wait = ["wait", "--for=condition=Established", "crd", "--all", "--timeout=30s"];
        // kubectl gives up where there is no condition yet.
        eventually(PATIENCE, "the kinds are established", async || self.kubectl(&wait).await).await?;
        Ok(())
    }

    /// The same manifests without the CRD, which thus comes later than the operator.
    ///
    /// # Errors
    /// When the API server refuses them.
    pub async fn install_without_crd(&self) -> Result<()> {
        let path = tools::workspace().join("deploy/install.yaml");
        let text = std::fs::read_to_string(&path).context(path.display())?;
        let crd = |document: &&str| document.contains("kind: CustomResourceDefinition");
        let others: Vec<_> = text.split("\n---\n").filter(|document| !crd(document)).collect();
        self.apply(&others.join("\n---\n")).await?;
        let client = self.client().await?;
        let rights = json!({"group": "cloudflare-mtls.dev", "resource": "mtlshostnamesettings", "verb": "list"});
        account::until_allowed(&client, OPERATOR, &rights).await
    }

    /// Everything that an operator may have written in connection with a namespace, as JSON by path: objects with their
    /// status and `managedFields`, events, and leases, also those of its own namespace. Blocks, since whoever drops a value
    /// cannot await.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub fn written_in(&self, namespace: &str) -> Result<Vec<(String, String)>> {
        let kubeconfig = self.kubeconfig.clone();
        let paths = [
            format!("/apis/{API_VERSION}/namespaces/{namespace}/mtlshostnamesettings"),
            format!("/api/v1/namespaces/{namespace}/events"),
            format!("/apis/events.k8s.io/v1/namespaces/{namespace}/events"),
            format!("/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"),
            format!("/apis/coordination.k8s.io/v1/namespaces/{OPERATOR}/leases"),
        ];
        // A thread of its own, since a runtime cannot be entered from within another one.
        let reading = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let client = server::client(&kubeconfig).await?;
                let mut texts = Vec::new();
                for path in paths {
                    let request = hyper::Request::get(&path).body(Vec::new())?;
                    let text = tokio::time::timeout(PATIENCE, client.request_text(request)).await?;
                    let text = text.context(&path)?;
                    texts.push((path, text));
                }
                Ok(texts)
            })
        });
        reading.join().map_err(|_| Error::new("the thread that reads what was written has panicked"))?
    }

    /// The kubeconfig of an administrator.
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// A client with an administrator's rights. It belongs to the runtime of the test that asks for it.
    ///
    /// # Errors
    /// When the kubeconfig is not usable.
    pub async fn client(&self) -> Result<kube::Client> {
        server::client(&self.kubeconfig).await
    }

    /// Runs kubectl with an administrator's rights and returns what it printed.
    ///
    /// # Errors
    /// As [`Kubectl::run`].
    pub async fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        Kubectl::new(&self.kubeconfig).run(arguments).await
    }

    /// Applies manifests (YAML or JSON) server-side, with an administrator's rights.
    ///
    /// # Errors
    /// As [`Kubectl::apply`].
    pub async fn apply(&self, manifests: &str) -> Result<String> {
        Kubectl::new(&self.kubeconfig).apply(manifests).await
    }

    /// The API server's address: `https://127.0.0.1:PORT`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// A folder for files that belong to this control plane; it goes when the control plane goes.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The certificate of the authority that signed the API server's.
    #[must_use]
    pub fn ca_certificate(&self) -> PathBuf {
        self.dir.join(CA_CERTIFICATE)
    }

    /// The same as PEM text.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn ca_pem(&self) -> Result<String> {
        let path = self.ca_certificate();
        std::fs::read_to_string(&path).context(path.display())
    }

    /// The audit log: one JSON object a line for each request, with its metadata and without its body.
    #[must_use]
    pub fn audit_log(&self) -> PathBuf {
        self.dir.join(AUDIT_LOG)
    }

    /// What the audit log says so far about the requests of one user,
    /// such as `system:serviceaccount:NAMESPACE:NAME`.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn requests_of(&self, user: &str) -> Result<Vec<Value>> {
        let path = self.audit_log();
        let text = std::fs::read_to_string(&path).context(path.display())?;
        // The last line may still be in the making.
        let about = text.lines().filter(|line| line.contains(user));
        let entries = about.filter_map(|line| serde_json::from_str::<Value>(line).ok());
        Ok(entries.filter(|entry| entry.pointer("/user/username").and_then(Value::as_str) == Some(user)).collect())
    }
}

/// Writes a kubeconfig with one cluster and one user, whose home is this namespace.
pub(crate) fn write_kubeconfig(path: &Path, url: &str, ca: &Path, user: &Value, namespace: &str) -> Result<()> {
    let kubeconfig = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "clusters": [{"name": "test", "cluster": {"server": url, "certificate-authority": ca}}],
        "users": [{"name": "test", "user": user}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test", "namespace": namespace}}],
    });
    // JSON is YAML.
    std::fs::write(path, kubeconfig.to_string()).context(path.display())
}
