//! The emulator as a server on a real socket: connections, the path of a request through faults and state to its answer.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::api::{Asked, Inner};
use super::control;
use super::deliver::{self, Body, Delivery};
use super::fault::{Effect, Waiting};
use super::ledger::{Exchange, Route};

/// The largest request body that is read.
const LARGEST_REQUEST: usize = 16 << 20;

/// What the server, the handle and the control API share.
#[derive(Debug)]
pub(super) struct Shared {
    inner: Mutex<Inner>,
    /// Counts everything that a test could wait for.
    pub(super) changes: watch::Sender<u64>,
    /// Whether connections are taken; while not, the port is closed. Each `Taking(n)` with another n drops the open ones.
    pub(super) port: watch::Sender<Port>,
    started: Instant,
}

/// What the port does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Port {
    Taking(u64),
    Closed,
}

impl Shared {
    pub(super) fn new() -> Self {
        Self {
            inner: Mutex::new(Inner::default()),
            changes: watch::Sender::new(0),
            port: watch::Sender::new(Port::Taking(0)),
            started: Instant::now(),
        }
    }

    /// A panic in one test's closure must not hide the state from the others.
    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn changed(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    fn micros(&self) -> u64 {
        self.micros_at(Instant::now())
    }

    fn micros_at(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.started).as_micros()).unwrap_or(u64::MAX)
    }

    fn note(&self, seq: u64, note: impl FnOnce(&mut Exchange, u64)) {
        let now = self.micros();
        if let Some(exchange) = self.lock().ledger.get_mut(seq) {
            note(exchange, now);
        }
        self.changed();
    }
}

/// How a connection ends when its request gets no HTTP answer.
#[derive(Debug)]
pub(super) enum Lost {
    Reset,
    Close,
    Bytes(Vec<u8>),
}

/// How the connection of a request is to end, said by whoever ends it.
#[derive(Debug, Clone, Default)]
pub(super) struct Ending(Arc<Mutex<Option<Lost>>>);

impl Ending {
    pub(super) fn end(&self, how: Lost) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(how);
    }

    fn take(&self) -> Option<Lost> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Takes connections until the task is aborted, which closes all of them.
pub(super) async fn serve(mut listener: TcpListener, address: SocketAddr, shared: Arc<Shared>) {
    let mut port = shared.port.subscribe();
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                if let Ok((stream, peer)) = accepted {
                    connections.spawn(connection(stream, peer, Arc::clone(&shared)));
                }
            }
            _ = connections.join_next(), if !connections.is_empty() => {}
            changed = port.changed() => {
                if changed.is_err() {
                    return;
                }
                connections.shutdown().await;
                if *port.borrow_and_update() == Port::Closed {
                    drop(listener);
                    if port.wait_for(|port| *port != Port::Closed).await.is_err() {
                        return;
                    }
                    match TcpListener::bind(address).await {
                        Ok(bound) => listener = bound,
                        Err(_) => return,
                    }
                }
            }
        }
    }
}

async fn connection(stream: TcpStream, peer: SocketAddr, shared: Arc<Shared>) {
    let _ = stream.set_nodelay(true);
    let ending = Ending::default();
    let service = service_fn(|request: Request<Incoming>| {
        let (shared, ending) = (Arc::clone(&shared), ending.clone());
        async move {
            if request.uri().path().starts_with("/_emulator") {
                return Ok(control::answer(&shared, request).await);
            }
            answer(&shared, peer, request, &ending).await.map_err(|how| {
                ending.end(how);
                io::Error::other("this request gets no answer")
            })
        }
    });
    let mut connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    if Pin::new(&mut connection).await.is_ok() {
        return;
    }
    let how = ending.take();
    let mut stream = connection.into_parts().io.into_inner();
    match how {
        Some(Lost::Reset) => drop(stream.set_zero_linger()),
        Some(Lost::Bytes(bytes)) => {
            let _ = stream.write_all(&bytes).await;
            let _ = stream.shutdown().await;
        }
        Some(Lost::Close) | None => {}
    }
}

/// Stamps the end of an exchange even when the client goes away in the middle.
pub(super) struct Open {
    shared: Arc<Shared>,
    seq: u64,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.shared.note(self.seq, |exchange, now| {
            exchange.end_us.get_or_insert(now);
        });
    }
}

async fn answer(
    shared: &Arc<Shared>,
    peer: SocketAddr,
    request: Request<Incoming>,
    ending: &Ending,
) -> Result<Response<Body>, Lost> {
    let (parts, body) = request.into_parts();
    let route = Route::of(parts.uri.path());
    let ray = format!("{:016x}-EMU", fastrand::u64(..));
    let (open, waiting, latency) = arrive(shared, peer, &parts, &route, &ray);
    let body = Limited::new(body, LARGEST_REQUEST).collect().await.map_err(|_| Lost::Close)?.to_bytes();
    shared.note(open.seq, |exchange, _| {
        exchange.body = String::from_utf8_lossy(&body).into_owned();
        exchange.json = serde_json::from_slice(&body).ok();
    });
    let fault = waiting.as_ref().map(|waiting| &waiting.fault);
    let delay = latency + fault.map_or(0, |fault| fault.delay_ms);
    if delay > 0 {
        tokio::time::sleep(Duration::from_millis(delay)).await;
    }
    let path = parts.uri.path();
    let asked = Asked { method: &parts.method, path, route: &route, headers: &parts.headers, body: &body };
    let handle = || {
        let mut state = shared.lock();
        let now = Instant::now();
        let (reply, accepted) = state.handle(&asked, now);
        drop(state);
        if accepted {
            // As the effect counts from it: a moment later another write may have come.
            shared.note(open.seq, |exchange, _| exchange.accepted_us = Some(shared.micros_at(now)));
        }
        reply
    };
    let delivery = match waiting {
        None => Delivery::Whole(handle()),
        Some(Waiting { fault, gate, .. }) => {
            let mut reply = (fault.apply_first || fault.effect == Effect::Pass).then(&handle);
            if fault.effect == Effect::Hold {
                gate.pass().await;
            }
            if reply.is_none() && deliver::wants_true_answer(&fault.effect) {
                reply = Some(handle());
            }
            deliver::perform(&fault.effect, &parts.headers, reply).await?
        }
    };
    let (status, codes) = delivery.summary();
    shared.note(open.seq, |exchange, now| {
        exchange.status = Some(status);
        exchange.codes = codes;
        if matches!(delivery, Delivery::Whole(_)) {
            // Before the last byte leaves, so that a client that asks again at once does not seem to overlap.
            exchange.end_us = Some(now);
        }
    });
    Ok(deliver::respond(delivery, &ray, open, ending.clone()))
}

/// Opens the exchange, finds the fault that meets it and the latency of its scope.
fn arrive(
    shared: &Arc<Shared>,
    peer: SocketAddr,
    parts: &hyper::http::request::Parts,
    route: &Route,
    ray: &str,
) -> (Open, Option<Waiting>, u64) {
    let start_us = shared.micros();
    let mut inner = shared.lock();
    inner.last_seq += 1;
    let seq = inner.last_seq;
    let (credential, _) = inner.register.identify(&parts.headers);
    let waiting = inner.queue.pick(parts.method.as_str(), route.scope(), credential.as_deref());
    let agent = parts.headers.get(hyper::header::USER_AGENT);
    let exchange = Exchange {
        seq,
        method: parts.method.to_string(),
        path: parts.uri.to_string(),
        route: route.clone(),
        start_us,
        end_us: None,
        accepted_us: None,
        credential,
        headers: parts.headers.keys().map(ToString::to_string).collect(),
        user_agent: agent.map(|agent| String::from_utf8_lossy(agent.as_bytes()).into_owned()),
        peer: peer.to_string(),
        body: String::new(),
        json: None,
        status: None,
        codes: Vec::new(),
        ray: ray.to_owned(),
        fault: waiting.as_ref().map(|waiting| waiting.fault.effect.kind()),
    };
    inner.ledger.push(exchange);
    let latency = inner.switches_of(route.scope()).latency_ms;
    drop(inner);
    shared.changed();
    (Open { shared: Arc::clone(shared), seq }, waiting, latency)
}
