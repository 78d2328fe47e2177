//! One attempt each: GET and PUT of the settings of one zone or account. No retries, no redirects, a deadline on all.

use std::{
    collections::BTreeMap,
    error::Error as _,
    net::IpAddr,
    str::FromStr,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use reqwest::{
    Method, Url,
    header::{HeaderMap, HeaderName},
    redirect,
};
use thiserror::Error;

use super::{
    credential::Credential,
    error::{Body, Refusal, interpret},
    wire::{PutBody, RemoteList, clean},
};
use crate::api::{Flags, LastResponse, Reason, ResponseMessage, Scope};

/// Most bytes of an answer that are read. A list of 1,000 hostnames has about 150 KiB.
const MOST_BODY: usize = 1024 * 1024;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const CF_RAY: HeaderName = HeaderName::from_static("cf-ray");

/// Deadline of one request, from its start to the last byte of the answer.
pub(crate) const REQUEST_DEADLINE: Duration = Duration::from_secs(30);

/// Root of the API: https, or http on loopback only, since credentials go there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiUrl(Url);

impl FromStr for ApiUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let url = Url::parse(text).map_err(|error| format!("{text:?} is not a URL: {error}"))?;
        let host = url.host_str().unwrap_or_default();
        match url.scheme() {
            "https" if !host.is_empty() => {}
            "http" if is_loopback(host) => {}
            "http" => {
                return Err(format!("{text:?} would send credentials in the clear: use https (http only on loopback)"));
            }
            _ => return Err(format!("{text:?} is not an https URL such as https://api.cloudflare.com/client/v4")),
        }
        if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
            return Err(format!("{:?} has more than a host and a path", url.host_str().unwrap_or_default()));
        }
        Ok(Self(url))
    }
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || address.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// What Cloudflare says is left of its own limit, in the header `Ratelimit: "default";r=50;t=30`.
/// Source: <https://developers.cloudflare.com/fundamentals/api/reference/limits/>.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Left {
    /// Requests.
    pub remaining: u64,
    /// When the limit is renewed.
    pub renewed_in: Duration,
}

/// A success.
#[derive(Debug)]
pub struct Reply {
    /// The remote list; empty in the answer to a write.
    pub list: RemoteList,
    /// The answer, for the status.
    pub response: LastResponse,
    /// What is left of Cloudflare's limit, where it says so.
    pub left: Option<Left>,
}

/// A request that did not succeed.
#[derive(Clone, Debug, Error)]
#[error("{} {}: {}", response.method, refusal.reason, detail.as_deref().unwrap_or("refused by Cloudflare"))]
pub struct Failure {
    /// Why, how long to wait.
    pub refusal: Refusal,
    /// Whether the request may have been carried out all the same: read before writing again.
    pub unclear: bool,
    /// What went wrong below HTTP; never holds anything of the credential.
    pub detail: Option<String>,
    /// The answer, for the status; without a status code when there was none.
    pub response: LastResponse,
    /// What is left of Cloudflare's limit, where it says so.
    pub left: Option<Left>,
}

/// The API of one Cloudflare, for all scopes and credentials.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    base: String,
}

impl Client {
    /// A client for the API at `base`.
    ///
    /// # Errors
    /// When the TLS roots of this system cannot be loaded.
    pub fn new(base: &ApiUrl) -> Result<Self, reqwest::Error> {
        let builder = reqwest::Client::builder()
            .user_agent(concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(REQUEST_DEADLINE)
            .redirect(redirect::Policy::none())
            .retry(reqwest::retry::never())
            // Each idle connection keeps its buffers.
            .pool_max_idle_per_host(8)
            .min_tls_version(reqwest::tls::Version::TLS_1_2);
        // Plain http exists for loopback alone; through a proxy it would leave the machine.
        let builder = if base.0.scheme() == "http" { builder.no_proxy() } else { builder.https_only(true) };
        Ok(Self { http: builder.build()?, base: base.0.as_str().trim_end_matches('/').to_owned() })
    }

    /// Reads the settings of a scope.
    ///
    /// # Errors
    /// Everything that is not a success that carries a list.
    pub async fn get(&self, scope: &Scope, credential: &Credential) -> Result<Reply, Failure> {
        self.exchange(Method::GET, scope, credential, None).await
    }

    /// Writes the settings of the named hostnames. Success says that Cloudflare took them, not that they are applied.
    ///
    /// # Errors
    /// Everything that is not a success; look at [`Failure::unclear`] before sending anything again. It is given up at
    /// `until`, if that is earlier than the deadline of every request, however long it took to get as far as sending it.
    pub async fn put(
        &self,
        scope: &Scope,
        credential: &Credential,
        settings: &BTreeMap<String, Flags>,
        until: Instant,
    ) -> Result<Reply, Failure> {
        let body = serde_json::to_vec(&PutBody::new(settings)).unwrap_or_default();
        self.exchange(Method::PUT, scope, credential, Some((body, until))).await
    }

    async fn exchange(
        &self,
        method: Method,
        scope: &Scope,
        credential: &Credential,
        body: Option<(Vec<u8>, Instant)>,
    ) -> Result<Reply, Failure> {
        let url = format!("{}/{}/{}/access/certificates/settings", self.base, scope.collection(), scope.id());
        let writes = body.is_some();
        let mut headers = HeaderMap::new();
        credential.authenticate(&mut headers);
        let mut request = self.http.request(method.clone(), url).headers(headers);
        let failed = |unclear, detail| Failure {
            refusal: Refusal { reason: Reason::ConnectionFailed, code: None, wait: None },
            unclear,
            detail: Some(detail),
            response: empty_response(&method),
            left: None,
        };
        if let Some((body, until)) = body {
            let left = until.saturating_duration_since(Instant::now());
            // reqwest looks at the clock only when it has sent all that it can send at once.
            if left.is_zero() {
                return Err(failed(false, "no time was left to send it".to_owned()));
            }
            request = request.header(reqwest::header::CONTENT_TYPE, "application/json").body(body);
            request = request.timeout(left.min(REQUEST_DEADLINE));
        }
        let no_answer = |error: &reqwest::Error| failed(writes && !error.is_connect(), describe(error));
        let mut answer = request.send().await.map_err(|error| no_answer(&error))?;
        let status = answer.status().as_u16();
        let mut bytes = Vec::new();
        let body = loop {
            match answer.chunk().await.map_err(|error| no_answer(&error))? {
                Some(chunk) if bytes.len() + chunk.len() > MOST_BODY => break Body::TooLarge,
                Some(chunk) => bytes.extend_from_slice(&chunk),
                None => break Body::Whole(bytes),
            }
        };
        let understood = interpret(&method, status, answer.headers(), &body, Timestamp::now());
        let response = LastResponse {
            http_status: Some(i32::from(status)),
            success: understood.success,
            errors: masked(understood.errors, credential),
            messages: masked(understood.messages, credential),
            ray_id: ray_id(answer.headers()).map(|id| credential.mask(&id)),
            ..empty_response(&method)
        };
        let left = left(answer.headers());
        match understood.verdict {
            Ok(list) => Ok(Reply { list, response, left }),
            Err(refusal) => {
                // A refusal in so many words was not carried out; an answer from the edge may hide one that was.
                let unclear = writes && refusal.reason == Reason::CloudflareUnavailable;
                Err(Failure { refusal, unclear, detail: None, response, left })
            }
        }
    }
}

fn empty_response(method: &Method) -> LastResponse {
    LastResponse {
        method: method.as_str().to_owned(),
        http_status: None,
        success: false,
        errors: Vec::new(),
        messages: Vec::new(),
        ray_id: None,
        time: Time(Timestamp::now()),
    }
}

/// Says what failed below HTTP, in words of ours: the library's text may name the URL of a proxy with its password.
fn describe(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "no complete answer within the deadline".to_owned();
    }
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(tls) = cause.downcast_ref::<rustls::Error>() {
            return format!("TLS: {tls}");
        }
        source = match cause.downcast_ref::<std::io::Error>() {
            Some(io) if io.raw_os_error().is_some() => return io.kind().to_string(),
            // What it wraps is not its source but its text: that one's source would come next.
            Some(io) => io.get_ref().map(|inner| inner as &(dyn std::error::Error + 'static)),
            None => cause.source(),
        };
    }
    if error.is_connect() { "no connection (name resolution, TLS or proxy)" } else { "the connection broke off" }
        .to_owned()
}

fn masked(mut messages: Vec<ResponseMessage>, credential: &Credential) -> Vec<ResponseMessage> {
    for message in &mut messages {
        let pointer = message.source.as_mut().map(|source| &mut source.pointer);
        for text in [message.message.as_mut(), message.documentation_url.as_mut(), pointer].into_iter().flatten() {
            // Cut again: a mask may be longer than what it hides.
            *text = clean(&credential.mask(text));
        }
    }
    messages
}

fn left(headers: &HeaderMap) -> Option<Left> {
    let mut members = headers.get("ratelimit")?.to_str().ok()?.split(';').map(str::trim);
    let mut number = |name: &str| members.find_map(|member| member.strip_prefix(name)?.strip_prefix('=')?.parse().ok());
    Some(Left { remaining: number("r")?, renewed_in: Duration::from_secs(number("t")?) })
}

fn ray_id(headers: &HeaderMap) -> Option<String> {
    let id = headers.get(CF_RAY)?.to_str().ok()?;
    let plain = (1..=64).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    plain.then(|| id.to_owned())
}
