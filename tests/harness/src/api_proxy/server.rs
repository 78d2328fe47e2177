//! The proxy as a server on a real socket: connections, the path of a request through faults to the API server and back.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use http_body_util::{BodyExt as _, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::http::request::Parts;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{broadcast, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::deliver::{self, Body};
use super::fault::{Effect, Queue, Waiting};
use super::ledger::{Exchange, Ledger};
use super::snapshot::{Seen, Snapshot};
use super::target::Target;
use super::upstream::{Answer, Upstream, Whole};

/// The largest request body that is read.
const LARGEST_REQUEST: usize = 16 << 20;
/// So many lines may wait to be put into a watch.
const LINES: usize = 256;

type Observer = dyn Fn(&Target, &Value) + Send + Sync;

/// What the server and the handle share.
pub(super) struct Shared {
    inner: Mutex<Inner>,
    /// Counts everything that a test could wait for.
    pub(super) changes: watch::Sender<u64>,
    pub(super) port: watch::Sender<Port>,
    /// Whether looks show a snapshot and watches stand still.
    pub(super) frozen: watch::Sender<bool>,
    /// Lines for all open watches.
    pub(super) lines: broadcast::Sender<Bytes>,
}

#[derive(Default)]
pub(super) struct Inner {
    pub(super) queue: Queue,
    pub(super) ledger: Ledger,
    pub(super) seen: Seen,
    pub(super) snapshot: Option<Snapshot>,
    pub(super) observer: Option<Arc<Observer>>,
    /// The newest answer to each look.
    pub(super) recorded: HashMap<String, Whole>,
    last_seq: u64,
}

/// What the port does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Port {
    /// Takes connections. Another number drops those that are open.
    Taking(u64),
    /// Refuses connections; those that were open are closed.
    Closed,
    /// Takes connections and never says a word; who was connected hears nothing more, not even an end.
    Silent,
}

impl Shared {
    pub(super) fn new() -> Self {
        Self {
            inner: Mutex::new(Inner::default()),
            changes: watch::Sender::new(0),
            port: watch::Sender::new(Port::Taking(0)),
            frozen: watch::Sender::new(false),
            lines: broadcast::Sender::new(LINES),
        }
    }

    /// A panic in one test's closure must not hide the state from the others.
    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn changed(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    pub(super) fn note(&self, seq: u64, note: impl FnOnce(&mut Exchange)) {
        if let Some(exchange) = self.lock().ledger.get_mut(seq) {
            note(exchange);
        }
        self.changed();
    }

    /// Opens the exchange and finds the fault that meets it.
    fn arrive(self: &Arc<Self>, parts: &Parts, target: &Target, body: &[u8]) -> (Open, Option<Waiting>) {
        let json: Option<Value> = target.is_write().then_some(body).and_then(|body| serde_json::from_slice(body).ok());
        let observer = self.lock().observer.clone();
        if let (Some(observer), Some(json)) = (observer, &json) {
            observer(target, json);
        }
        let mut inner = self.lock();
        inner.last_seq += 1;
        let seq = inner.last_seq;
        let waiting = inner.queue.pick(target);
        let exchange = Exchange {
            seq,
            target: target.clone(),
            path: parts.uri.to_string(),
            start: Instant::now(),
            end: None,
            status: None,
            json,
            known: inner.seen.highest(),
            version: None,
            fault: waiting.as_ref().map(|waiting| waiting.fault.effect.kind()),
        };
        inner.ledger.push(exchange);
        drop(inner);
        self.changed();
        (Open { shared: Arc::clone(self), seq }, waiting)
    }
}

/// How a connection ends when its request gets no HTTP answer, or only a part of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lost {
    Reset,
    Close,
}

/// How the connection of a request is to end, said by whoever ends it.
#[derive(Debug, Clone, Default)]
struct Ending(Arc<Mutex<Option<Lost>>>);

impl Ending {
    fn end(&self, how: Lost) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(how);
    }

    fn is_reset(&self) -> bool {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) == Some(Lost::Reset)
    }
}

/// Stamps the end of an exchange even when the client goes away in the middle.
pub(super) struct Open {
    pub(super) shared: Arc<Shared>,
    pub(super) seq: u64,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.shared.note(self.seq, |exchange| {
            exchange.end.get_or_insert_with(Instant::now);
        });
    }
}

/// What every connection is served with.
#[derive(Clone)]
pub(super) struct Service {
    pub(super) shared: Arc<Shared>,
    pub(super) upstream: Upstream,
    pub(super) acceptor: TlsAcceptor,
}

/// Takes connections until the task is aborted, which closes all of them.
pub(super) async fn serve(mut listener: TcpListener, address: SocketAddr, service: Service) {
    let mut port = service.shared.port.subscribe();
    let mut former = *port.borrow_and_update();
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                if let Ok((stream, _)) = accepted {
                    connections.spawn(connection(stream, service.clone()));
                }
            }
            _ = connections.join_next(), if !connections.is_empty() => {}
            changed = port.changed() => {
                if changed.is_err() {
                    return;
                }
                let now = *port.borrow_and_update();
                // Whom the silence has met is never told that it is over.
                if now != Port::Silent && former != Port::Silent {
                    connections.shutdown().await;
                }
                former = now;
                if now == Port::Closed {
                    drop(listener);
                    if port.wait_for(|port| *port != Port::Closed).await.is_err() {
                        return;
                    }
                    former = *port.borrow_and_update();
                    match TcpListener::bind(address).await {
                        Ok(bound) => listener = bound,
                        Err(_) => return,
                    }
                }
            }
        }
    }
}

async fn connection(stream: TcpStream, service: Service) {
    let mut port = service.shared.port.subscribe();
    let mut served = pin!(serve_one(stream, service));
    tokio::select! {
        biased;
        _ = port.wait_for(|port| *port == Port::Silent) => {}
        () = &mut served => return,
    }
    // The socket stays open, and nobody reads from it any more.
    std::future::pending::<()>().await;
}

async fn serve_one(stream: TcpStream, service: Service) {
    let _ = stream.set_nodelay(true);
    let Ok(stream) = service.acceptor.accept(stream).await else { return };
    let ending = Ending::default();
    let answering = service_fn(|request: Request<Incoming>| {
        let (service, ending) = (service.clone(), ending.clone());
        async move {
            answer(&service, request).await.map_err(|how| {
                ending.end(how);
                io::Error::other("this request gets no answer")
            })
        }
    });
    let mut connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answering);
    if std::pin::Pin::new(&mut connection).await.is_err() && ending.is_reset() {
        let (socket, _) = connection.into_parts().io.into_inner().into_inner();
        let _ = socket.set_zero_linger();
    }
}

async fn answer(service: &Service, request: Request<Incoming>) -> Result<Response<Body>, Lost> {
    let (parts, body) = request.into_parts();
    let target = Target::of(&parts.method, &parts.uri);
    let body = Limited::new(body, LARGEST_REQUEST).collect().await.map_err(|_| Lost::Close)?.to_bytes();
    let (open, waiting) = service.shared.arrive(&parts, &target, &body);
    let ask = || ask(service, &open, &parts, &target, &body);
    let Some(Waiting { fault, gate, .. }) = waiting else {
        let answer = ask().await?;
        return Ok(deliver::respond(answer, &Effect::Pass, open));
    };
    let mut answer = if fault.apply_first { Some(ask().await?) } else { None };
    if !fault.delay.is_zero() {
        tokio::time::sleep(fault.delay).await;
    }
    match &fault.effect {
        Effect::Hold => gate.pass().await,
        Effect::Silence => std::future::pending().await,
        Effect::Reset => return Err(Lost::Reset),
        Effect::Close => return Err(Lost::Close),
        Effect::Answer { status, headers, body } => answer = Some(Answer::Whole(Whole::made(*status, headers, body))),
        _ => {}
    }
    if answer.is_none() && fault.effect.wants_true_answer() {
        answer = Some(ask().await?);
    }
    answer.map(|answer| deliver::respond(answer, &fault.effect, open)).ok_or(Lost::Close)
}

/// The answer of the API server, or of the snapshot that stands in for it.
async fn ask(service: &Service, open: &Open, parts: &Parts, target: &Target, body: &Bytes) -> Result<Answer, Lost> {
    let shared = &service.shared;
    let path = parts.uri.to_string();
    if target.is_look()
        && let Some(snapshot) = &shared.lock().snapshot
        && let Some(whole) = snapshot.answer(&path, target)
    {
        return Ok(Answer::Whole(whole));
    }
    let answer = service.upstream.forward(parts, target, body.clone()).await?;
    if let Answer::Whole(whole) = &answer
        && whole.status.is_success()
        && let Ok(json) = serde_json::from_slice::<Value>(&whole.body)
    {
        let mut inner = shared.lock();
        let version = inner.seen.note(&json);
        if target.is_look() {
            inner.recorded.insert(path, whole.clone());
        }
        drop(inner);
        if target.is_write() && !is_last_word(&json) {
            shared.note(open.seq, |exchange| exchange.version = version);
        }
    }
    Ok(answer)
}

/// Whether the write has ended the object: what is shown of it then is its last version, and no new one.
fn is_last_word(object: &Value) -> bool {
    let is_leaving = object.pointer("/metadata/deletionTimestamp").is_some();
    is_leaving && object.pointer("/metadata/finalizers").is_none()
}
