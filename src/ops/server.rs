//! `/healthz`, `/readyz` and `/metrics` on a small server of its own, with limits and deadlines.

use std::{
    convert::Infallible,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use http_body_util::Full;
use hyper::{Request, Response, StatusCode, body::Bytes, header, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{net::TcpListener, sync::Semaphore, time::timeout};
use tracing::debug;

use super::{
    failpoint,
    health::{Check, Health},
    metrics::Metrics,
};

/// Most connections at a time.
const CONNECTIONS: usize = 256;
/// Longest that a connection may take to send its headers.
const HEADER_DEADLINE: Duration = Duration::from_secs(2);
/// Longest that a connection may take from its begin to its end.
const DEADLINE: Duration = Duration::from_secs(15);
/// Most bytes of headers.
const HEADERS: usize = 16 * 1024;

/// What the server tells about.
pub struct Told {
    /// For `/healthz` and `/readyz`.
    pub health: Arc<Health>,
    /// For `/metrics`.
    pub metrics: Arc<Metrics>,
}

/// Opens the address; where a machine has no IPv6, `[::]` falls back to `0.0.0.0`.
async fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    match TcpListener::bind(address).await {
        Err(_) if address.ip() == Ipv6Addr::UNSPECIFIED => {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).await
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
    told: Told,
) -> std::io::Result<impl Future<Output = Infallible> + Send + 'static> {
    let listener = listen(address).await?;
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let told = Arc::new(told);
    Ok(async move {
        loop {
            failpoint::reach("server", "").await;
            // The semaphore is never closed.
            let place = places.clone().acquire_owned().await.ok();
            let Ok((stream, _)) = listener.accept().await else {
                // Out of file descriptors: give others time to close theirs.
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            let told = told.clone();
            tokio::spawn(async move {
                let answering = service_fn(|request| std::future::ready(Ok::<_, Infallible>(answer(&told, &request))));
                let connection = http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(HEADER_DEADLINE)
                    .keep_alive(false)
                    .max_buf_size(HEADERS)
                    .serve_connection(TokioIo::new(stream), answering);
                if !matches!(timeout(DEADLINE, connection).await, Ok(Ok(()))) {
                    debug!("a connection to the health server broke off");
                }
                drop(place);
            });
        }
    })
}

fn answer<B>(told: &Told, request: &Request<B>) -> Response<Full<Bytes>> {
    let is_verbose =
        request.uri().query().is_some_and(|query| query.split('&').any(|part| part.starts_with("verbose")));
    match request.uri().path() {
        "/healthz" => verdict("healthz", &told.health.live(), is_verbose),
        "/readyz" => verdict("readyz", &told.health.ready(), is_verbose),
        "/metrics" => {
            let accept = request.headers().get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
            let (content_type, body) = told.metrics.encode(accept.unwrap_or_default());
            text(StatusCode::OK, content_type, body)
        }
        _ => plain(StatusCode::NOT_FOUND, "not found: try /healthz, /readyz or /metrics\n".to_owned()),
    }
}

/// As the API server's own health endpoints say it: each check in a line, when one fails or when it is asked for.
fn verdict(endpoint: &str, checks: &[Check], is_verbose: bool) -> Response<Full<Bytes>> {
    let failed = checks.iter().any(|check| check.failure.is_some());
    if !failed && !is_verbose {
        return plain(StatusCode::OK, "ok\n".to_owned());
    }
    let mut lines: Vec<String> = checks
        .iter()
        .filter(|check| is_verbose || check.failure.is_some())
        .map(|check| match &check.failure {
            None => format!("[+]{} ok", check.name),
            Some(why) => format!("[-]{} failed: {why}", check.name),
        })
        .collect();
    lines.push(format!("{endpoint} check {}\n", if failed { "failed" } else { "passed" }));
    plain(if failed { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK }, lines.join("\n"))
}

fn plain(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    text(status, "text/plain; charset=utf-8", body)
}

fn text(status: StatusCode, content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(content_type));
    response
}
