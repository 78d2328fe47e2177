//! How an answer gets to the client, or does not: the effects of faults turned into HTTP.

use std::io;
use std::time::Duration;

use futures::stream::{self, StreamExt};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Bytes, Frame};
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{HeaderMap, Response, StatusCode};
use serde_json::json;

use super::codes::Refusal;
use super::envelope::Reply;
use super::fault::Effect;
use super::server::{Ending, Lost, Open};
use super::switches::Switches;

/// The body of any answer.
pub(super) type Body = UnsyncBoxBody<Bytes, io::Error>;

/// A huge body is sent in pieces of this size.
const PIECE: usize = 64 << 10;

/// An answer and the way in which its body is sent.
pub(super) enum Delivery {
    Whole(Reply),
    /// One byte at a time.
    Slow(Reply, Duration),
    /// Only so many bytes of the body; then the connection is closed or reset.
    Cut(Reply, usize, Lost),
    /// The body, then blanks up to this size.
    Padded(Reply, u64),
}

impl Delivery {
    fn reply(&self) -> &Reply {
        match self {
            Self::Whole(reply) | Self::Slow(reply, _) | Self::Cut(reply, ..) | Self::Padded(reply, _) => reply,
        }
    }

    pub(super) fn summary(&self) -> (u16, Vec<i64>) {
        (self.reply().status, self.reply().codes.clone())
    }
}

/// Whether an effect needs the answer that the request would have got.
pub(super) fn wants_true_answer(effect: &Effect) -> bool {
    matches!(
        effect,
        Effect::Hold | Effect::Pass | Effect::Slow { .. } | Effect::Truncate { .. } | Effect::ResetInBody { .. }
    )
}

/// Turns an effect into an answer. The true one, where the request was handled, comes in as `reply`.
pub(super) async fn perform(effect: &Effect, headers: &HeaderMap, reply: Option<Reply>) -> Result<Delivery, Lost> {
    let plain = Switches::default();
    let refusal = |refusal: &Refusal| Reply::refusal(refusal, &plain);
    let limited = |reply: Reply, after: &Option<String>| match after {
        Some(after) => reply.with_header("retry-after", after.clone()),
        None => reply,
    };
    let made = match effect {
        Effect::Answer { status, headers, body } => {
            let mut made =
                Reply { status: *status, headers: headers.clone(), body: body.clone(), codes: codes_in(body) };
            if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type")) {
                made = made.with_header("content-type", "application/json");
            }
            made
        }
        Effect::Refuse { code, status, message } => {
            let mut known = Refusal::known(*code);
            known.status = status.unwrap_or(known.status);
            refusal(&match message {
                Some(message) => known.with_message(message),
                None => known,
            })
        }
        Effect::RateLimited { retry_after } => limited(refusal(&Refusal::known(971)), retry_after),
        Effect::Text1015 { retry_after } => limited(Reply::text(429, "text/plain", "error code: 1015"), retry_after),
        Effect::Limited200 => refusal(&Refusal::known(971).with_status(200)),
        Effect::Html520 => Reply::text(520, "text/html", HTML_520),
        Effect::Challenge403 => {
            Reply::text(403, "text/html; charset=UTF-8", CHALLENGE_403).with_header("cf-mitigated", "challenge")
        }
        Effect::Silence => std::future::pending().await,
        Effect::Reset => return Err(Lost::Reset),
        Effect::Close => return Err(Lost::Close),
        Effect::Bytes { bytes } => return Err(Lost::Bytes(bytes.clone())),
        Effect::Redirect { status, location } => {
            Reply::text(*status, "text/html", "moved").with_header("location", location.clone())
        }
        Effect::EchoCredential { status } => echo(*status, headers),
        Effect::Huge { bytes } => {
            let start =
                Reply::text(200, "application/json", "{\"success\":true,\"errors\":[],\"messages\":[],\"result\":[");
            return Ok(Delivery::Padded(start, *bytes));
        }
        Effect::Slow { .. } | Effect::Truncate { .. } | Effect::ResetInBody { .. } | Effect::Hold | Effect::Pass => {
            let Some(reply) = reply else { return Err(Lost::Close) };
            return Ok(match effect {
                Effect::Slow { interval_ms } => Delivery::Slow(reply, Duration::from_millis(*interval_ms)),
                Effect::Truncate { after } => Delivery::Cut(reply, *after, Lost::Close),
                Effect::ResetInBody { after } => Delivery::Cut(reply, *after, Lost::Reset),
                _ => Delivery::Whole(reply),
            });
        }
    };
    Ok(Delivery::Whole(made))
}

/// The codes of an answer that a test wrote by hand, as far as it is an envelope.
fn codes_in(body: &[u8]) -> Vec<i64> {
    let body: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let errors = body.get("errors").and_then(serde_json::Value::as_array);
    errors.into_iter().flatten().filter_map(|error| error.get("code")?.as_i64()).collect()
}

fn echo(status: u16, headers: &HeaderMap) -> Reply {
    let secrets: Vec<String> = ["authorization", "x-auth-email", "x-auth-key"]
        .iter()
        .filter_map(|name| Some(format!("{name}: {}", String::from_utf8_lossy(headers.get(*name)?.as_bytes()))))
        .collect();
    let secrets = secrets.join("; ");
    let body = json!({
        "success": false,
        "errors": [{"code": 10000, "message": format!("Authentication error for {secrets}")}],
        "messages": [{"code": 1, "message": format!("you sent {secrets}")}],
        "result": null,
    });
    let mut reply = Reply::json(status, &body).with_header("x-echo", secrets);
    reply.codes = vec![10000];
    reply
}

/// Makes the HTTP answer. The exchange stays open until its body was sent or given up.
pub(super) fn respond(delivery: Delivery, ray: &str, open: Open, ending: Ending) -> Response<Body> {
    let reply = delivery.reply();
    let status = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut headers = HeaderMap::new();
    for (name, value) in &reply.headers {
        // What HTTP cannot carry is left out; `Effect::Bytes` can send anything.
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value)) {
            headers.append(name, value);
        }
    }
    if !headers.contains_key("cf-ray") {
        headers.extend(HeaderValue::from_str(ray).ok().map(|ray| (HeaderName::from_static("cf-ray"), ray)));
    }
    if matches!(delivery, Delivery::Cut(..)) {
        // Promises the whole body, so that the client can tell that it did not get it.
        headers.insert(CONTENT_LENGTH, HeaderValue::from(reply.body.len()));
    }
    let body = match delivery {
        Delivery::Whole(reply) => Full::new(Bytes::from(reply.body)).map_err(|never| match never {}).boxed_unsync(),
        Delivery::Slow(reply, interval) => {
            let bytes = stream::iter(reply.body).then(move |byte| async move {
                tokio::time::sleep(interval).await;
                Ok(Bytes::from(vec![byte]))
            });
            streamed(bytes, open)
        }
        Delivery::Cut(mut reply, after, how) => {
            reply.body.truncate(after);
            let pieces = stream::iter([Ok(Bytes::from(reply.body))]);
            // A pause, so that the first part is out before the connection goes.
            let end = stream::once(async move {
                tokio::time::sleep(Duration::from_millis(20)).await;
                ending.end(how);
                Err(io::Error::new(io::ErrorKind::ConnectionAborted, "cut off on purpose"))
            });
            streamed(pieces.chain(end), open)
        }
        Delivery::Padded(reply, size) => {
            let blanks = Bytes::from(vec![b' '; PIECE]);
            let start = Bytes::from(reply.body);
            let pieces = (size.saturating_sub(start.len() as u64) / PIECE as u64) + 1;
            let pieces = usize::try_from(pieces).unwrap_or(usize::MAX);
            streamed(stream::iter([start]).chain(stream::repeat(blanks).take(pieces)).map(Ok), open)
        }
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

fn streamed(pieces: impl stream::Stream<Item = Result<Bytes, io::Error>> + Send + 'static, open: Open) -> Body {
    let pieces = pieces.map(move |piece| {
        let _until_sent = &open;
        piece.map(Frame::data)
    });
    StreamBody::new(pieces).boxed_unsync()
}

/// A JSON answer of the control API.
pub(super) fn plain(status: u16, body: &serde_json::Value) -> Response<Body> {
    let text = serde_json::to_vec_pretty(body).unwrap_or_default();
    let mut response = Response::new(Full::new(Bytes::from(text)).map_err(|never| match never {}).boxed_unsync());
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// A plain text of the control API.
pub(super) fn text(status: u16, text: &str) -> Response<Body> {
    let body = Full::new(Bytes::from(text.to_owned())).map_err(|never| match never {}).boxed_unsync();
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

const HTML_520: &str = "<!DOCTYPE html>\n<html lang=\"en-US\"><head><title>api.cloudflare.com | 520: Web server is \
    returning an unknown error</title></head><body><h1>Web server is returning an unknown error \
    <span>Error code 520</span></h1></body></html>\n";

const CHALLENGE_403: &str = "<!DOCTYPE html><html lang=\"en-US\"><head><title>Just a moment...</title></head>\
    <body><noscript>Enable JavaScript and cookies to continue</noscript></body></html>\n";
