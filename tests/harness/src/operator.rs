//! The operator under test: its own process, its own identity, and nobody's rights but those that the chart grants.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::account::{self, Account};
use crate::api_proxy::ApiProxy;
use crate::canary;
use crate::control_plane::{ControlPlane, OPERATOR, free_port, write_kubeconfig};
use crate::error::{Context as _, Error, Result};
use crate::guard::Guarded;

/// How to start an operator; made by [`Operator::builder`].
#[derive(Debug)]
pub struct Builder<'a> {
    program: PathBuf,
    control_plane: &'a ControlPlane,
    api_server: String,
    ca: PathBuf,
    account: String,
    cloudflare: Option<String>,
    leader_elect: bool,
    lease_here: bool,
    namespace: Option<String>,
    listen: &'static str,
    deployed: Option<Vec<String>>,
    environment: BTreeMap<String, String>,
    arguments: Vec<String>,
}

impl Builder<'_> {
    /// Watch this namespace; may be said more than once. All namespaces otherwise.
    #[must_use]
    pub fn watch_namespace(mut self, namespace: &str) -> Self {
        self.namespace = Some(namespace.to_owned());
        self.arg(format!("--watch-namespace={namespace}"))
    }

    /// Where the Cloudflare API is.
    #[must_use]
    pub fn cloudflare(mut self, url: impl Into<String>) -> Self {
        self.cloudflare = Some(url.into());
        self
    }

    /// Talk to the API server through this proxy, and trust nobody else.
    #[must_use]
    pub fn through(mut self, proxy: &ApiProxy) -> Self {
        self.api_server = proxy.url();
        proxy.ca_certificate().clone_into(&mut self.ca);
        self
    }

    /// Run under an identity of its own.
    #[must_use]
    pub fn account(mut self, account: &Account) -> Self {
        account.name().clone_into(&mut self.account);
        self
    }

    /// Run under a `ServiceAccount` of this name, beside the usual one.
    #[must_use]
    pub fn service_account(mut self, name: &str) -> Self {
        name.clone_into(&mut self.account);
        self
    }

    /// Take part in leader election; off otherwise, so that operators of different tests don't wait for each other.
    #[must_use]
    pub fn leader_elect(mut self) -> Self {
        self.leader_elect = true;
        self
    }

    /// The same with the Lease in the namespace that it watches, where nobody else takes part.
    #[must_use]
    pub fn leader_elect_here(mut self) -> Self {
        self.lease_here = true;
        self.leader_elect()
    }

    /// Listen on every address of the machine, as in a pod, and not on loopback alone.
    #[must_use]
    pub fn listen_everywhere(mut self) -> Self {
        self.listen = "[::]";
        self
    }

    /// Run with the arguments of an installed Deployment in the place of those that the harness gives. Only where it
    /// listens and where Cloudflare is are other places, since many operators share this machine.
    #[must_use]
    pub fn deployed_as(mut self, arguments: Vec<String>) -> Self {
        self.deployed = Some(arguments);
        self
    }

    /// Set an environment variable. The operator inherits none of the test's.
    #[must_use]
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.environment.insert(name.into(), value.into());
        self
    }

    /// Add an argument after `run` and those that the harness gives.
    #[must_use]
    pub fn arg(mut self, argument: impl Into<String>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Starts the process; it need not be ready when this returns.
    ///
    /// # Errors
    /// When the `ServiceAccount` does not exist or the program cannot be started.
    pub async fn spawn(self) -> Result<Operator> {
        let dir = self.control_plane.dir().join(format!("operator-{:016x}", fastrand::u64(..)));
        std::fs::create_dir(&dir).context(dir.display())?;
        let kubeconfig = dir.join("kubeconfig");
        // In a file, as in a pod: it is read again when it was replaced.
        let token_file = dir.join("token");
        let token = account::token(&self.control_plane.client().await?, &self.account).await?;
        std::fs::write(&token_file, token).context(token_file.display())?;
        write_kubeconfig(&kubeconfig, &self.api_server, &self.ca, &json!({"tokenFile": token_file}), OPERATOR)?;
        let lease = self.namespace.as_ref().filter(|_| self.lease_here);
        if let Some(namespace) = lease {
            account::may_lease(&self.control_plane.client().await?, namespace, &self.account).await?;
        }
        let port = free_port()?;
        let bind = format!("--http-bind={}:{port}", self.listen);
        let own = vec!["run".to_owned(), bind.clone(), format!("--leader-elect={}", self.leader_elect)];
        let mut arguments = self.deployed.clone().unwrap_or(own);
        arguments.retain(|argument| self.cloudflare.is_none() || !argument.starts_with("--cloudflare-api-url="));
        arguments.iter_mut().filter(|it| it.starts_with("--http-bind=")).for_each(|it| bind.clone_into(it));
        let process = Guarded::spawn(&dir.join("log"), |command| {
            command
                .arg(&self.program)
                .args(&arguments)
                .args(self.cloudflare.iter().map(|url| format!("--cloudflare-api-url={url}")))
                .args(lease.map(|namespace| format!("--lease-namespace={namespace}")))
                .args(&self.arguments)
                .env_clear()
                // Where a coverage build writes what it measured.
                .envs(std::env::var_os("LLVM_PROFILE_FILE").map(|file| ("LLVM_PROFILE_FILE", file)))
                .env("RUST_BACKTRACE", "1")
                .env("CFMTLS_LOG_FORMAT", "json")
                .env("KUBECONFIG", &kubeconfig)
                .envs(&self.environment);
        })?;
        let started_with = ["cmdline", "environ"].map(|file| (file, of_process(process.pid(), file)));
        Ok(Operator {
            process,
            port,
            http_url: format!("http://127.0.0.1:{port}"),
            kubeconfig,
            token_file,
            started_with,
        })
    }
}

/// What everybody on the machine may be able to read of a process. A program that has ended already has nothing there.
fn of_process(pid: u32, file: &str) -> Vec<u8> {
    std::fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default()
}

/// A running operator. It is killed when this value is dropped or the test process dies.
///
/// Nobody can start one that is not searched for credentials in the end: dropping it does that.
#[derive(Debug)]
pub struct Operator {
    process: Guarded,
    port: u16,
    http_url: String,
    kubeconfig: PathBuf,
    token_file: PathBuf,
    /// Its arguments and its environment, as they can be seen from outside.
    started_with: [(&'static str, Vec<u8>); 2],
}

impl Drop for Operator {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let leaks = self.leaks();
            assert!(leaks.is_empty(), "the operator does not keep its credentials to itself:\n{}", leaks.join("\n"));
        }
    }
}

impl Operator {
    /// Describes an operator that runs `program` against this control plane.
    pub fn builder(program: impl Into<PathBuf>, control_plane: &ControlPlane) -> Builder<'_> {
        Builder {
            program: program.into(),
            control_plane,
            api_server: control_plane.url().to_owned(),
            ca: control_plane.ca_certificate(),
            account: OPERATOR.to_owned(),
            cloudflare: None,
            leader_elect: false,
            lease_here: false,
            namespace: None,
            listen: "127.0.0.1",
            deployed: None,
            environment: BTreeMap::new(),
            arguments: Vec::new(),
        }
    }

    /// The operator's process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// The operator's kubeconfig: what it may do, kubectl with this may do.
    #[must_use]
    pub fn kubeconfig(&self) -> &std::path::Path {
        &self.kubeconfig
    }

    /// The file with the token that it shows to the API server.
    #[must_use]
    pub fn token_file(&self) -> &std::path::Path {
        &self.token_file
    }

    /// Where its metrics and health are served: `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn http_url(&self) -> &str {
        &self.http_url
    }

    /// The file to which its standard output and standard error go.
    #[must_use]
    pub fn log_file(&self) -> &std::path::Path {
        self.process.file()
    }

    /// Standard output and standard error so far.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn logs(&self) -> Result<String> {
        self.process.output()
    }

    /// Where it shows a credential that a test has put into a Secret, one line each: its log, its arguments, its
    /// environment, and what it serves while it runs.
    pub fn leaks(&mut self) -> Vec<String> {
        let mut places = vec![("the log".to_owned(), self.process.bytes())];
        for (file, at_first) in &self.started_with {
            places.push((format!("/proc/PID/{file}"), Ok(at_first.clone())));
        }
        if matches!(self.process.exit_code(), Ok(None)) {
            for file in ["cmdline", "environ"] {
                places.push((format!("/proc/PID/{file} in the end"), Ok(of_process(self.process.pid(), file))));
            }
            for path in ["/metrics", "/healthz", "/readyz"] {
                // No answer is no leak: it may be stopped, or not listen yet.
                places.extend(self.served(path).map(|answer| (path.to_owned(), Ok(answer))));
            }
        }
        places.into_iter().filter_map(|(place, text)| canary::complaint(&place, text)).collect()
    }

    /// Head and body of an answer of its HTTP server. Blocks, since whoever drops a value cannot await.
    fn served(&self, path: &str) -> Option<Vec<u8>> {
        let patience = Duration::from_secs(1);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        let mut stream = TcpStream::connect_timeout(&address, patience).ok()?;
        stream.set_read_timeout(Some(patience)).ok()?;
        write!(stream, "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n").ok()?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).ok()?;
        Some(answer)
    }

    /// Sends a signal, named as `kill -s` names it: `TERM`, `KILL`, `STOP`, `CONT`.
    ///
    /// # Errors
    /// When the operator has ended.
    pub fn signal(&mut self, name: &str) -> Result<()> {
        self.process.signal(name)
    }

    /// Waits until the operator has ended, and returns its exit status: the code, or 128 plus the signal.
    ///
    /// # Errors
    /// When it still runs after the deadline; the message has the end of its log.
    pub async fn wait_exit(&mut self, deadline: Duration) -> Result<i32> {
        let started = Instant::now();
        loop {
            if let Some(code) = self.process.exit_code()? {
                return Ok(code);
            }
            if started.elapsed() > deadline {
                let message =
                    format!("the operator still runs after {} s:\n{}", deadline.as_secs(), self.process.tail());
                return Err(Error::new(message));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until `/readyz` answers 200.
    ///
    /// # Errors
    /// When it doesn't before the deadline, or the operator has ended; the message has the end of its log.
    pub async fn wait_ready(&mut self, deadline: Duration) -> Result<()> {
        let started = Instant::now();
        loop {
            let seen = match self.get("/readyz").await {
                Ok((200, _)) => return Ok(()),
                Ok((status, body)) => format!("{status} {body}"),
                Err(error) => error.to_string(),
            };
            let ended = self.process.exit_code()?;
            if ended.is_some() || started.elapsed() > deadline {
                let state = ended.map_or("not ready".to_owned(), |code| format!("ended with status {code}"));
                return Err(Error::new(format!("the operator is {state}: {seen}\n{}", self.process.tail())));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Asks the operator's HTTP server: status and body of `/metrics`, `/healthz`, `/readyz`.
    ///
    /// # Errors
    /// When there is no answer within 5 seconds.
    pub async fn get(&self, path: &str) -> Result<(u16, String)> {
        self.get_as(path, "application/openmetrics-text; version=1.0.0, text/plain;q=0.5").await
    }

    /// Its metrics in the format of who does not ask for another one.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn metrics_as_text(&self) -> Result<String> {
        Ok(self.get_as("/metrics", "text/plain").await?.1)
    }

    async fn get_as(&self, path: &str, accept: &str) -> Result<(u16, String)> {
        // reqwest wants a provider even for plain HTTP; that somebody else installed one already is fine.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().timeout(Duration::from_secs(5)).no_proxy().build()?;
        let answer = client.get(format!("{}{path}", self.http_url)).header("accept", accept).send().await?;
        Ok((answer.status().as_u16(), answer.text().await?))
    }
}

/// The status that the Deployment controller would give to the operator's Deployment once a kubelet had started its pods.
#[must_use]
pub fn available(generation: Option<i64>, replicas: i64) -> serde_json::Value {
    let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let conditions = [("Available", "MinimumReplicasAvailable"), ("Progressing", "NewReplicaSetAvailable")];
    let conditions = conditions.map(|(kind, reason)| {
        serde_json::json!({
            "type": kind, "status": "True", "reason": reason, "message": "", "lastTransitionTime": now, "lastUpdateTime": now,
        })
    });
    serde_json::json!({"status": {
        "observedGeneration": generation,
        "replicas": replicas, "updatedReplicas": replicas, "readyReplicas": replicas, "availableReplicas": replicas,
        "conditions": conditions,
    }})
}
