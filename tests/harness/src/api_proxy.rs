//! A proxy between the operator and the API server that can do to a request whatever a network, a load balancer or a
//! failing server does: hold it, lose it, reset it, change its answer, or show a state that is long past.
//!
//! Start one per test and let the operator go [`through`](crate::operator::Builder::through) it. The vocabulary is that of
//! the emulated Cloudflare: what a test can turn are [`Fault`]s, what it can ask is the [`Ledger`].
//!
//! ```no_run
//! # use std::time::Duration;
//! # use harness::{api_proxy::{ApiProxy, Effect, Fault}, control_plane::ControlPlane};
//! # async fn example() -> harness::Result<()> {
//! let proxy = ApiProxy::start(ControlPlane::shared().await?).await?;
//! proxy.inject(Fault::refusal(409, "Conflict").on("patch").of("mtlshostnamesettings/status").times(2));
//! let held = proxy.inject(Fault::from(Effect::Hold).on("get").of("secrets"));
//! // ... until `held.until_met(1, deadline).await?` and then `held.release()`
//! # held.until_met(1, Duration::from_secs(1)).await
//! # }
//! ```

mod deliver;
mod fault;
mod ledger;
mod server;
mod snapshot;
mod target;
mod upstream;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Bytes;
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

pub use fault::{Effect, Fault, Rewrite, status};
pub use ledger::{Exchange, Ledger};
pub use snapshot::Snapshot;
pub use target::Target;

use crate::authority::Authority;
use crate::control_plane::ControlPlane;
use crate::error::{Context as _, Error, Result};
use fault::Waiting;
use server::{Port, Service, Shared};
use upstream::Upstream;

/// A running proxy. Dropping it closes its port and all its connections.
pub struct ApiProxy {
    shared: Arc<Shared>,
    address: SocketAddr,
    ca: PathBuf,
    server: JoinHandle<()>,
}

impl Drop for ApiProxy {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl ApiProxy {
    /// Starts a proxy on a free loopback port, with a certificate of its own. It runs on the current tokio runtime.
    ///
    /// # Errors
    /// When no port can be had, or the certificate cannot be made.
    pub async fn start(control_plane: &ControlPlane) -> Result<Self> {
        let upstream = Upstream::new(control_plane.url(), &control_plane.ca_pem()?)?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let authority = Authority::new("fault proxy for tests")?;
        let ca = control_plane.dir().join(format!("api-proxy-{}.crt", address.port()));
        std::fs::write(&ca, authority.pem()).context(ca.display())?;
        let shared = Arc::new(Shared::new());
        let service = Service { shared: Arc::clone(&shared), upstream, acceptor: acceptor(&authority)? };
        let server = tokio::spawn(server::serve(listener, address, service));
        Ok(Self { shared, address, ca, server })
    }

    /// Its address for clients: `https://127.0.0.1:PORT`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// The certificate of the authority that signed the proxy's.
    #[must_use]
    pub fn ca_certificate(&self) -> &Path {
        &self.ca
    }

    /// Queues a fault. Each request meets at most one: the first in the queue that matches it.
    pub fn inject(&self, fault: impl Into<Fault>) -> Injected {
        let waiting = self.shared.lock().queue.push(fault.into());
        Injected { shared: Arc::clone(&self.shared), waiting }
    }

    /// Takes all faults away and lets held requests go on. Watches that have begun keep what met them.
    pub fn clear_faults(&self) {
        self.shared.lock().queue.clear(None);
    }

    /// A copy of the record of all requests.
    #[must_use]
    pub fn ledger(&self) -> Ledger {
        self.shared.lock().ledger.clone()
    }

    /// The spec of an object in one of its generations, as the API server has shown it.
    #[must_use]
    pub fn spec(&self, uid: &str, generation: i64) -> Option<Value> {
        self.shared.lock().seen.spec(uid, generation).cloned()
    }

    /// Has each write looked at when it arrives, before anything happens to it. The closure must not call the proxy.
    pub fn on_write(&self, observer: impl Fn(&Target, &Value) + Send + Sync + 'static) {
        self.shared.lock().observer = Some(Arc::new(observer));
    }

    /// Puts a line into every open watch, as if the API server had sent it.
    pub fn insert_line(&self, event: &Value) {
        // Nobody may be watching: that is for the caller to find out.
        let _ = self.shared.lines.send(Bytes::from(format!("{event}\n")));
    }

    /// What looks show now.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot(self.shared.lock().recorded.clone())
    }

    /// From now on looks show what they showed then, and watches stand still.
    pub fn freeze_at(&self, snapshot: &Snapshot) {
        self.shared.lock().snapshot = Some(snapshot.clone());
        self.shared.frozen.send_replace(true);
    }

    /// Time goes on: watches show all that has happened meanwhile.
    pub fn thaw(&self) {
        self.shared.lock().snapshot = None;
        self.shared.frozen.send_replace(false);
    }

    /// Closes every open connection; new ones are taken.
    pub fn drop_connections(&self) {
        self.shared.port.send_modify(|port| {
            if let Port::Taking(count) = port {
                *count += 1;
            }
        });
    }

    /// Closes the port, so that connections are refused, and every open connection.
    pub fn close_port(&self) {
        self.shared.port.send_replace(Port::Closed);
    }

    /// Takes connections and never says a word. Who is connected hears nothing more either, not even when it is over.
    pub fn fall_silent(&self) {
        self.shared.port.send_replace(Port::Silent);
    }

    /// Serves connections again.
    pub fn open_port(&self) {
        self.shared.port.send_replace(Port::Taking(0));
    }

    /// Waits until a condition holds. It is looked at after every change and every few milliseconds.
    ///
    /// # Errors
    /// When it did not hold in time; the message has the requests so far.
    pub async fn until(&self, what: &str, deadline: Duration, mut holds: impl FnMut() -> bool) -> Result<()> {
        let mut changes = self.shared.changes.subscribe();
        let end = tokio::time::Instant::now() + deadline;
        while !holds() {
            if tokio::time::Instant::now() >= end {
                return Err(late(what, deadline, &self.shared));
            }
            let _ = tokio::time::timeout(Duration::from_millis(5), changes.changed()).await;
        }
        Ok(())
    }
}

fn acceptor(authority: &Authority) -> Result<TlsAcceptor> {
    let params = CertificateParams::new(["127.0.0.1".to_owned()])?;
    let (certificate, key) = authority.sign(params, ExtendedKeyUsagePurpose::ServerAuth)?;
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn late(what: &str, deadline: Duration, shared: &Shared) -> Error {
    let ledger = shared.lock().ledger.clone();
    Error::new(format!("{what} did not happen within {deadline:?}; requests so far:\n{ledger}"))
}

/// A fault in the queue, or one that has met its requests.
#[derive(Clone)]
pub struct Injected {
    shared: Arc<Shared>,
    waiting: Waiting,
}

impl Injected {
    /// How many requests it has met.
    #[must_use]
    pub fn met(&self) -> u32 {
        *self.waiting.gate.met.borrow()
    }

    /// Waits until it has met so many requests. For [`Effect::Hold`] they are waiting then.
    ///
    /// # Errors
    /// When it did not meet them in time.
    pub async fn until_met(&self, requests: u32, deadline: Duration) -> Result<()> {
        let mut met = self.waiting.gate.met.subscribe();
        let outcome = tokio::time::timeout(deadline, met.wait_for(|met| *met >= requests)).await;
        let what = format!("the fault `{}` meeting {requests} requests", self.waiting.fault.effect.kind());
        outcome.map(drop).map_err(|_| late(&what, deadline, &self.shared))
    }

    /// Lets held requests go on, those that come later too.
    pub fn release(&self) {
        self.waiting.gate.open.send_replace(true);
    }

    /// Takes the fault out of the queue and lets held requests go on.
    pub fn clear(&self) {
        self.shared.lock().queue.clear(Some(self.waiting.id));
    }
}
