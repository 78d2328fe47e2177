//! The real API server behind the proxy.

use hyper::body::Bytes;
use hyper::header::{
    ACCEPT_ENCODING, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderName, HeaderValue, TRANSFER_ENCODING,
};
use hyper::http::request::Parts;
use hyper::{HeaderMap, StatusCode};

use super::server::Lost;
use super::target::Target;
use crate::error::Result;

/// What belongs to one connection and not to what is said over it.
const OF_THE_CONNECTION: [HeaderName; 5] = [HOST, CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING, ACCEPT_ENCODING];

/// An answer that is complete.
#[derive(Debug, Clone)]
pub(super) struct Whole {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Whole {
    pub(super) fn made(status: u16, headers: &[(String, String)], body: &[u8]) -> Self {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value)) {
                map.append(name, value);
            }
        }
        map.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static("application/json"));
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self { status, headers: map, body: Bytes::copy_from_slice(body) }
    }
}

/// An answer of the API server.
pub(super) enum Answer {
    Whole(Whole),
    /// A watch that has begun.
    Watch(reqwest::Response),
}

/// A client that passes on what it is given, and nothing of its own.
#[derive(Debug, Clone)]
pub(super) struct Upstream {
    client: reqwest::Client,
    url: String,
}

impl Upstream {
    pub(super) fn new(url: &str, ca: &str) -> Result<Self> {
        // That somebody else installed a provider already is fine.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder()
            .tls_certs_only([reqwest::Certificate::from_pem(ca.as_bytes())?])
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .no_proxy()
            .build()?;
        Ok(Self { client, url: url.to_owned() })
    }

    pub(super) async fn forward(&self, parts: &Parts, target: &Target, body: Bytes) -> Result<Answer, Lost> {
        let mut headers = parts.headers.clone();
        for name in OF_THE_CONNECTION {
            headers.remove(name);
        }
        let url = format!("{}{}", self.url, parts.uri);
        let request = self.client.request(parts.method.clone(), url).headers(headers).body(body);
        // Who asks an API server that is down learns as much here.
        let answer = request.send().await.map_err(|_| Lost::Close)?;
        if target.is_watch() && answer.status().is_success() {
            return Ok(Answer::Watch(answer));
        }
        let (status, mut headers) = (answer.status(), answer.headers().clone());
        for name in OF_THE_CONNECTION {
            headers.remove(name);
        }
        let body = answer.bytes().await.map_err(|_| Lost::Close)?;
        Ok(Answer::Whole(Whole { status, headers, body }))
    }
}
