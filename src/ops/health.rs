//! `/healthz` and `/readyz` on a small server of its own.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use http_body_util::Full;
use hyper::{Request, Response, StatusCode, body::Bytes, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{net::TcpListener, sync::Semaphore};
use tracing::debug;

/// Most connections at a time, and the longest that one may take to send its headers.
const CONNECTIONS: usize = 64;
const HEADER_DEADLINE: Duration = Duration::from_secs(5);

/// What the program knows about its own state.
#[derive(Debug, Default)]
pub struct Health {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// By watched place, whether its objects have been listed.
    watches: BTreeMap<String, bool>,
    draining: bool,
}

impl Health {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Announces a watch: the program is not ready before it is synced.
    pub fn expect_watch(&self, place: &str) {
        self.state().watches.entry(place.to_owned()).or_default();
    }

    /// All objects of a watch are known.
    pub fn watch_synced(&self, place: &str) {
        self.state().watches.insert(place.to_owned(), true);
    }

    /// The program is ending.
    pub fn draining(&self) {
        self.state().draining = true;
    }

    /// Why the program is not ready; `None` when it is.
    #[must_use]
    pub fn unready(&self) -> Option<String> {
        let state = self.state();
        if state.draining {
            return Some("draining: the program is ending".to_owned());
        }
        if state.watches.is_empty() {
            return Some("starting".to_owned());
        }
        let missing = state.watches.iter().find(|(_, synced)| !**synced);
        missing.map(|(place, _)| format!("the objects of {place} are not listed yet"))
    }
}

/// Opens the address; where a machine has no IPv6, `[::]` falls back to `0.0.0.0`.
async fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    match TcpListener::bind(address).await {
        Err(_) if address.ip() == std::net::Ipv6Addr::UNSPECIFIED => {
            TcpListener::bind((std::net::Ipv4Addr::UNSPECIFIED, address.port())).await
        }
        bound => bound,
    }
}

/// Opens the address and returns the server, to be run as a task.
///
/// # Errors
/// When the address cannot be opened.
pub async fn serve(
    address: SocketAddr,
    health: Arc<Health>,
) -> std::io::Result<impl Future<Output = Infallible> + Send + 'static> {
    let listener = listen(address).await?;
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    Ok(async move {
        loop {
            // The semaphore is never closed.
            let place = places.clone().acquire_owned().await.ok();
            let Ok((stream, _)) = listener.accept().await else {
                // Out of file descriptors: give others time to close theirs.
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            let health = health.clone();
            tokio::spawn(async move {
                let answering =
                    service_fn(|request| std::future::ready(Ok::<_, Infallible>(answer(&health, &request))));
                let connection = http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(HEADER_DEADLINE)
                    .keep_alive(false)
                    .max_buf_size(16 * 1024)
                    .serve_connection(TokioIo::new(stream), answering);
                if let Err(error) = connection.await {
                    debug!(%error, "a connection to the health server broke off");
                }
                drop(place);
            });
        }
    })
}

fn answer<B>(health: &Health, request: &Request<B>) -> Response<Full<Bytes>> {
    let (status, text) = match request.uri().path() {
        // Every long-lived task ends the process when it ends, so an answer is the sign of life.
        "/healthz" => (StatusCode::OK, "ok".to_owned()),
        "/readyz" => match health.unready() {
            None => (StatusCode::OK, "ok".to_owned()),
            Some(why) => (StatusCode::SERVICE_UNAVAILABLE, why),
        },
        _ => (StatusCode::NOT_FOUND, "not found: try /healthz or /readyz".to_owned()),
    };
    let mut response = Response::new(Full::new(Bytes::from(format!("{text}\n"))));
    *response.status_mut() = status;
    response
}
