//! An emulated Cloudflare API for Access mTLS hostname settings, as a library and as a program.
//!
//! Start one per test: it listens on a free loopback port, costs less than a millisecond, and is gone when it is dropped.
//!
//! ```
//! # use std::time::Duration;
//! # use harness::cloudflare::{Cloudflare, Effect, Fault, Scope};
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let cloudflare = Cloudflare::start().await?;
//! let zone = cloudflare.add_zone("023e105f4ecef8ad9ca31a8372d0c353", "example.com");
//! cloudflare.token("a-token").may_write(zone.scope());
//!
//! zone.set("theirs.example.com", true, false);                          // somebody else's entry
//! cloudflare.switch(|switches| switches.apply_delay_ms = 200);          // 202 now, effect and lock until later
//! cloudflare.inject(Fault::code(12132).on("PUT").times(2));             // two refusals first
//! let held = cloudflare.inject(Fault::from(Effect::Hold).on("PUT"));    // the third PUT waits ...
//! // ... until `held.until_met(1, deadline).await?` and then `held.release()`
//! # held.release();
//!
//! assert!(cloudflare.ledger().overlapping_puts().is_empty());
//! # Ok(())
//! # }
//! ```
//!
//! What a test can turn: [`Switches`] (how the API behaves, for all or per scope), [`Fault`]s (what happens to the next
//! requests), [`Credential`]s (who may do what) and [`Remote`]s (what other people change). What it can ask: the
//! [`Ledger`] of every request and the entries as they are stored.

#![allow(clippy::must_use_candidate, reason = "handles are returned for chaining; their calls do something already")]

mod api;
mod auth;
mod codes;
mod control;
mod deliver;
mod envelope;
mod fault;
mod handles;
mod ledger;
pub mod program;
mod scope;
mod server;
mod state;
mod switches;
#[cfg(test)]
mod tests;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub use auth::Right;
pub use codes::Refusal;
pub use fault::{Effect, Fault};
pub use handles::{Credential, Injected, Remote};
pub use ledger::{Exchange, Ledger, Route};
pub use scope::{Scope, Setting};
pub use switches::{EmptyResult, Entitlement, LockReach, Order, PutResult, RequestLimit, Semantics, Switches};

use auth::Secret;
use server::{Port, Shared};

/// A condition did not come true in time.
#[derive(Debug, thiserror::Error)]
#[error("{what} did not happen within {deadline:?}; requests so far:\n{ledger}")]
pub struct TimedOut {
    what: String,
    deadline: Duration,
    ledger: Ledger,
}

/// A running emulator. Dropping it closes its port and all its connections.
#[derive(Debug)]
pub struct Cloudflare {
    shared: Arc<Shared>,
    address: SocketAddr,
    server: JoinHandle<()>,
}

impl Drop for Cloudflare {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Cloudflare {
    /// Starts an emulator on a free loopback port. It runs on the current tokio runtime.
    ///
    /// # Errors
    ///
    /// When no port can be had.
    pub async fn start() -> io::Result<Self> {
        Self::start_on(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await
    }

    /// Starts an emulator on an address of the caller's choice.
    ///
    /// # Errors
    ///
    /// When the address cannot be listened on.
    pub async fn start_on(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared::new());
        let server = tokio::spawn(server::serve(listener, address, Arc::clone(&shared)));
        Ok(Self { shared, address, server })
    }

    /// Closes the port and all connections, and waits until that is done.
    pub async fn stop(mut self) {
        self.server.abort();
        let _ = (&mut self.server).await;
    }

    /// The base URL for clients: `http://127.0.0.1:PORT/client/v4`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/client/v4", self.address)
    }

    /// The address that it listens on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Adds a zone, in an account of its own unless [`Remote::in_account`] says otherwise.
    pub fn add_zone(&self, id: &str, domain: &str) -> Remote {
        self.shared.lock().store.add_zone(id, domain, &state::own_account(id), Instant::now());
        self.remote(&Scope::zone(id))
    }

    /// Adds an account. Its PUTs may name hostnames of any of its zones, and any hostname while it has no zones.
    pub fn add_account(&self, id: &str) -> Remote {
        self.shared.lock().store.add_account(id, Instant::now());
        self.remote(&Scope::account(id))
    }

    /// Other people's view of a scope: edits without requests.
    #[must_use]
    pub fn remote(&self, scope: &Scope) -> Remote {
        Remote::new(Arc::clone(&self.shared), scope.clone())
    }

    /// Registers an API token. It may do nothing until it is given a right.
    pub fn token(&self, value: &str) -> Credential {
        let name = self.shared.lock().register.add(Secret::Token(value.to_owned()), None);
        Credential::new(Arc::clone(&self.shared), name)
    }

    /// Registers a global API key with its e-mail address. It may do nothing until it is given a right.
    pub fn api_key(&self, email: &str, key: &str) -> Credential {
        let secret = Secret::Key { email: email.to_owned(), key: key.to_owned() };
        let name = self.shared.lock().register.add(secret, None);
        Credential::new(Arc::clone(&self.shared), name)
    }

    /// Turns switches for all scopes that have none of their own.
    pub fn switch(&self, turn: impl FnOnce(&mut Switches)) {
        turn(&mut self.shared.lock().switches);
        self.shared.changed();
    }

    /// Turns switches for one scope, which from then on has its own: a copy of the common ones as they are now.
    pub fn switch_in(&self, scope: &Scope, turn: impl FnOnce(&mut Switches)) {
        self.remote(scope).switch(turn);
    }

    /// Queues a fault. Each request meets at most one: the first in the queue that matches it.
    pub fn inject(&self, fault: impl Into<Fault>) -> Injected {
        let waiting = self.shared.lock().queue.push(fault.into());
        Injected::new(Arc::clone(&self.shared), waiting)
    }

    /// Takes all faults away and lets held requests go on.
    pub fn clear_faults(&self) {
        self.shared.lock().queue.clear(None);
    }

    /// A copy of the record of all requests.
    #[must_use]
    pub fn ledger(&self) -> Ledger {
        self.shared.lock().ledger.clone()
    }

    /// Looks at the record without copying it. The closure must not call the emulator.
    pub fn with_ledger<T>(&self, look: impl FnOnce(&Ledger) -> T) -> T {
        look(&self.shared.lock().ledger)
    }

    /// The entries as they are stored now, without any lag: a zone's own, or all of an account.
    #[must_use]
    pub fn entries(&self, scope: &Scope) -> Vec<Setting> {
        self.remote(scope).entries()
    }

    /// Waits until a condition holds. It is looked at after every change and every few milliseconds.
    ///
    /// # Errors
    ///
    /// [`TimedOut`], with the requests so far, when it did not hold in time.
    pub async fn until(&self, what: &str, deadline: Duration, mut holds: impl FnMut() -> bool) -> Result<(), TimedOut> {
        let mut changes = self.shared.changes.subscribe();
        let end = tokio::time::Instant::now() + deadline;
        while !holds() {
            if tokio::time::Instant::now() >= end {
                return Err(TimedOut { what: what.to_owned(), deadline, ledger: self.ledger() });
            }
            // Either outcome is a reason to look again: changes that time brings, such as a delay's end, are not announced.
            let _ = tokio::time::timeout(Duration::from_millis(5), changes.changed()).await;
        }
        Ok(())
    }

    /// Closes every open connection; new ones are taken. Pooled connections of clients are dead then.
    pub fn drop_connections(&self) {
        self.shared.port.send_modify(|port| {
            *port = match *port {
                Port::Taking(count) => Port::Taking(count + 1),
                Port::Closed => Port::Closed,
            };
        });
    }

    /// Closes the port, so that connections are refused, and every open connection.
    pub fn close_port(&self) {
        self.shared.port.send_replace(Port::Closed);
    }

    /// Opens the port again.
    pub fn open_port(&self) {
        self.shared.port.send_replace(Port::Taking(0));
    }
}
