//! The program `harness control-plane`: etcd and a Kubernetes API server, from their start to the removal of their last file.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use kube::config::{KubeConfigOptions, Kubeconfig};
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::authority::Authority;
use crate::error::{Context as _, Error, Result};
use crate::guard::{self, Guarded};
use crate::tools;

use super::rights::Record;

/// How long the API server may take to become ready; on an idle machine it needs 3 seconds.
const START_DEADLINE: Duration = Duration::from_secs(90);

/// Arguments of `harness control-plane`.
#[derive(clap::Args)]
pub struct Args {
    /// Run until Ctrl-C or SIGTERM, even when standard input ends
    #[arg(long)]
    keep: bool,
    /// Also run the controllers that end namespaces, collect garbage and put roles together
    #[arg(long)]
    controllers: bool,
    /// Start the API server again, on the same port, whenever it ends
    #[arg(long)]
    restart: bool,
}

/// What the program prints when the API server is ready.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Ready {
    pub(super) url: String,
    pub(super) kubeconfig: PathBuf,
    pub(super) dir: PathBuf,
}

/// Runs a control plane until standard input ends or a signal asks to stop, then removes all traces of it.
///
/// # Errors
/// When a tool is missing, does not become ready or ends by itself.
pub async fn run(args: Args) -> Result<()> {
    let dir = tempfile::Builder::new().prefix("control-plane-").tempdir()?;
    let ended = async { if args.keep { guard::asked_to_stop().await } else { guard::abandoned().await } };
    let record = Record::begin()?;
    // Whichever way this goes, both processes have ended when it is through: the folder is removed after them.
    let outcome = tokio::select! {
        outcome = serve(dir.path(), &args) => outcome,
        outcome = ended => outcome,
    };
    let recorded = record.end(&dir.path().join(super::AUDIT_LOG));
    dir.close()?;
    outcome.and(recorded)
}

async fn serve(dir: &Path, args: &Args) -> Result<()> {
    let certificates = Certificates::write(dir)?;
    let mut processes = start(dir, &certificates).await?;
    if args.controllers {
        processes.controllers = Some(start_controllers(dir, &processes.ready.kubeconfig)?);
    }
    guard::say(&serde_json::to_string(&processes.ready)?)?;
    loop {
        if args.restart && processes.api_server.exit_code()?.is_some() {
            let (clients, port) = processes.ports;
            processes.api_server = start_api_server(dir, &certificates, clients, port)?;
        }
        processes.fail_if_one_ended()?;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn start(dir: &Path, certificates: &Certificates) -> Result<Processes> {
    let mut attempts = 0;
    loop {
        attempts += 1;
        match Processes::start(dir, certificates).await {
            // Somebody took a port between the look for it and its use.
            Err(error) if attempts < 3 && error.to_string().contains("address already in use") => {}
            outcome => return outcome,
        }
    }
}

/// Ports of control planes, each a process of its own, below those of the tests: nobody takes what another has looked at.
const OWN_PORTS: Range<u16> = 15_000..20_000;
const PORTS: Range<u16> = 20_000..32_000;

/// A loopback port that nobody listens on, from below the range out of which the system picks ports by itself. None is given
/// twice by one process: who was given it may not listen yet.
pub(crate) fn free_port() -> Result<u16> {
    free_port_of(PORTS)
}

fn free_port_of(range: Range<u16>) -> Result<u16> {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    std::iter::repeat_with(|| fastrand::u16(range.clone()))
        .take(1000)
        .filter(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok())
        .find(|port| given.insert(*port))
        .ok_or_else(|| Error::new(format!("no loopback port is free in {range:?}")))
}

/// The running programs. Fields are dropped in order: each ends before what it uses.
struct Processes {
    controllers: Option<Guarded>,
    api_server: Guarded,
    etcd: Guarded,
    /// Where etcd takes clients, and the API server.
    ports: (u16, u16),
    ready: Ready,
}

impl Processes {
    async fn start(dir: &Path, certificates: &Certificates) -> Result<Self> {
        let (clients, peers, port) = (free_port_of(OWN_PORTS)?, free_port_of(OWN_PORTS)?, free_port_of(OWN_PORTS)?);
        let url = format!("https://127.0.0.1:{port}");
        let etcd = start_etcd(dir, clients, peers)?;
        let api_server = start_api_server(dir, certificates, clients, port)?;
        let kubeconfig = dir.join("admin.kubeconfig");
        let user = json!({"client-certificate": certificates.admin, "client-key": certificates.admin_key});
        super::write_kubeconfig(&kubeconfig, &url, &certificates.ca, &user, "default")?;
        let ready = Ready { url, kubeconfig, dir: dir.to_path_buf() };
        let mut processes = Self { controllers: None, api_server, etcd, ports: (clients, port), ready };
        processes.wait_until_ready().await?;
        Ok(processes)
    }

    async fn wait_until_ready(&mut self) -> Result<()> {
        let started = Instant::now();
        let client = client(&self.ready.kubeconfig).await?;
        loop {
            let request = hyper::Request::get("/readyz").body(Vec::new())?;
            let answer = tokio::time::timeout(Duration::from_secs(5), client.request_text(request)).await;
            let seen = match answer {
                Ok(Ok(_)) => return Ok(()),
                Ok(Err(error)) => Error::from(error).to_string(),
                Err(_) => "no answer within 5 s".to_owned(),
            };
            self.fail_if_one_ended()?;
            if started.elapsed() > START_DEADLINE {
                return Err(Error::new(format!(
                    "the API server was not ready after {} s: {seen}\n{}",
                    START_DEADLINE.as_secs(),
                    self.api_server.tail()
                )));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn fail_if_one_ended(&mut self) -> Result<()> {
        let servers = [("etcd", &mut self.etcd), ("kube-apiserver", &mut self.api_server)];
        let controllers = self.controllers.iter_mut().map(|process| ("kube-controller-manager", process));
        for (name, process) in servers.into_iter().chain(controllers) {
            if let Some(code) = process.exit_code()? {
                return Err(Error::new(format!("{name} ended with status {code}:\n{}", process.tail())));
            }
        }
        Ok(())
    }
}

fn start_etcd(dir: &Path, clients: u16, peers: u16) -> Result<Guarded> {
    let clients = format!("http://127.0.0.1:{clients}");
    let peers = format!("http://127.0.0.1:{peers}");
    let program = tools::tool("etcd")?;
    let data = dir.join("etcd");
    let process = Guarded::spawn(&dir.join("etcd.log"), |command| {
        command
            .arg(program)
            .arg("--data-dir")
            .arg(data)
            .args(["--listen-client-urls", &clients, "--advertise-client-urls", &clients])
            .args(["--listen-peer-urls", &peers, "--initial-advertise-peer-urls", &peers])
            .args(["--initial-cluster", &format!("default={peers}")])
            .args(["--log-level", "warn"])
            // Nothing has to survive a power cut, and a sync per write would be most of the tests' time.
            .arg("--unsafe-no-fsync");
    })?;
    note_pid(dir, super::ETCD, &process)?;
    Ok(process)
}

/// For tests that send signals to it.
fn note_pid(dir: &Path, name: &str, process: &Guarded) -> Result<()> {
    let file = super::pid_file(dir, name);
    std::fs::write(&file, process.pid().to_string()).context(file.display())
}

fn start_api_server(dir: &Path, certificates: &Certificates, etcd: u16, port: u16) -> Result<Guarded> {
    let policy = dir.join("audit-policy.yaml");
    std::fs::write(
        &policy,
        "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\nrules: [{level: Metadata}]\n",
    )?;
    let program = tools::tool("kube-apiserver")?;
    let file = |flag: &str, path: &Path| format!("--{flag}={}", path.display());
    let process = Guarded::spawn(&dir.join("kube-apiserver.log"), |command| {
        command
            .arg(program)
            .arg(format!("--etcd-servers=http://127.0.0.1:{etcd}"))
            .arg(format!("--secure-port={port}"))
            .args(["--bind-address=127.0.0.1", "--advertise-address=127.0.0.1"])
            .arg("--service-cluster-ip-range=10.0.0.0/24")
            .arg("--endpoint-reconciler-type=none")
            .arg("--authorization-mode=RBAC")
            .arg(file("cert-dir", dir))
            .arg(file("client-ca-file", &certificates.ca))
            .arg(file("tls-cert-file", &certificates.serving))
            .arg(file("tls-private-key-file", &certificates.serving_key))
            .arg("--service-account-issuer=https://kubernetes.default.svc")
            .arg(file("service-account-key-file", &certificates.service_account_public_key))
            .arg(file("service-account-signing-key-file", &certificates.service_account_key))
            .arg(file("audit-policy-file", &policy))
            .arg(file("audit-log-path", &dir.join(super::AUDIT_LOG)))
            // In megabytes: a log that is never rotated is a log that is complete.
            .arg("--audit-log-maxsize=100000");
    })?;
    note_pid(dir, super::API_SERVER, &process)?;
    Ok(process)
}

/// Starts the controllers without which a deleted namespace stays, nothing follows its owner, and `view`, `edit` and `admin`
/// grant nothing of new kinds. They need not be ready when this returns: they take up whatever they find.
fn start_controllers(dir: &Path, kubeconfig: &Path) -> Result<Guarded> {
    let program = tools::tool("kube-controller-manager")?;
    Guarded::spawn(&dir.join("kube-controller-manager.log"), |command| {
        command
            .arg(program)
            .arg(format!("--kubeconfig={}", kubeconfig.display()))
            .arg("--controllers=namespace-controller,garbage-collector-controller,clusterrole-aggregation-controller")
            .args(["--leader-elect=false", "--use-service-account-credentials=false"])
            // Nobody asks it for anything.
            .arg("--secure-port=0");
    })
}

/// A client for an API server that may not answer yet; retries and proxies would only blur what a test sees.
pub(super) async fn client(kubeconfig: &Path) -> Result<kube::Client> {
    let kubeconfig = Kubeconfig::read_from(kubeconfig)?;
    let mut config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    config.default_retry = false;
    config.proxy_url = None;
    Ok(kube::Client::try_from(config)?)
}

/// The files that prove identities: one authority signs the server and the administrator.
struct Certificates {
    ca: PathBuf,
    serving: PathBuf,
    serving_key: PathBuf,
    admin: PathBuf,
    admin_key: PathBuf,
    service_account_key: PathBuf,
    service_account_public_key: PathBuf,
}

impl Certificates {
    fn write(dir: &Path) -> Result<Self> {
        let files = Self {
            ca: dir.join(super::CA_CERTIFICATE),
            serving: dir.join("serving.crt"),
            serving_key: dir.join("serving.key"),
            admin: dir.join("admin.crt"),
            admin_key: dir.join("admin.key"),
            service_account_key: dir.join("service-account.key"),
            service_account_public_key: dir.join("service-account.pub"),
        };
        let authority = Authority::new("control plane for tests")?;
        std::fs::write(&files.ca, authority.pem())?;

        let names = ["127.0.0.1", "localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"];
        let mut serving = CertificateParams::new(names.map(str::to_owned))?;
        serving.distinguished_name.push(DnType::CommonName, "kube-apiserver");
        sign(serving, ExtendedKeyUsagePurpose::ServerAuth, &authority, &files.serving, &files.serving_key)?;

        let mut admin = CertificateParams::new(Vec::new())?;
        admin.distinguished_name.push(DnType::CommonName, "admin");
        // The group that may do anything, whatever RBAC says.
        admin.distinguished_name.push(DnType::OrganizationName, "system:masters");
        sign(admin, ExtendedKeyUsagePurpose::ClientAuth, &authority, &files.admin, &files.admin_key)?;

        let pair = KeyPair::generate()?;
        std::fs::write(&files.service_account_key, pair.serialize_pem())?;
        std::fs::write(&files.service_account_public_key, pair.public_key_pem())?;
        Ok(files)
    }
}

fn sign(
    params: CertificateParams,
    usage: ExtendedKeyUsagePurpose,
    authority: &Authority,
    certificate: &Path,
    key: &Path,
) -> Result<()> {
    let (signed, pair) = authority.sign(params, usage)?;
    std::fs::write(certificate, signed.pem()).context(certificate.display())?;
    std::fs::write(key, pair.serialize_pem()).context(key.display())
}
