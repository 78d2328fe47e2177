//! How an answer gets to the client, or does not: the effects of faults turned into HTTP.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::stream::{self, StreamExt as _};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::Response;
use hyper::body::{Bytes, Frame};
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use serde_json::Value;
use tokio::sync::{broadcast, watch};

use super::fault::{Effect, Rewrite};
use super::server::{Open, Shared};
use super::upstream::{Answer, Whole};

/// The body of any answer.
pub(super) type Body = UnsyncBoxBody<Bytes, io::Error>;

/// Makes the HTTP answer. The exchange stays open until its body was sent or given up.
pub(super) fn respond(answer: Answer, effect: &Effect, open: Open) -> Response<Body> {
    match answer {
        Answer::Whole(whole) => complete(whole, effect, open),
        Answer::Watch(upstream) => {
            open.shared.note(open.seq, |exchange| exchange.status = Some(upstream.status().as_u16()));
            let mut response = Response::new(Lines::new(upstream, effect, open).body());
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            response
        }
    }
}

fn complete(mut whole: Whole, effect: &Effect, open: Open) -> Response<Body> {
    if let Effect::Rewrite(rewrite) = effect
        && let Ok(json) = serde_json::from_slice(&whole.body)
    {
        let pieces: Vec<String> = rewrite.apply(json).iter().map(ToString::to_string).collect();
        whole.body = Bytes::from(pieces.concat());
    }
    open.shared.note(open.seq, |exchange| {
        exchange.status = Some(whole.status.as_u16());
        // Before the last byte leaves, so that a client that asks again at once does not seem to overlap.
        exchange.end = Some(Instant::now());
    });
    let length = whole.body.len();
    let body = if let Effect::Truncate { after } = effect {
        let start = whole.body.slice(..length.min(*after));
        let end = stream::once(async move {
            // A pause, so that the first part is out before the connection goes.
            tokio::time::sleep(Duration::from_millis(20)).await;
            drop(open);
            Err(io::Error::new(io::ErrorKind::ConnectionAborted, "cut off on purpose"))
        });
        streamed(stream::iter([Ok(start)]).chain(end))
    } else {
        Full::new(whole.body).map_err(|never| match never {}).boxed_unsync()
    };
    let mut response = Response::new(body);
    *response.status_mut() = whole.status;
    *response.headers_mut() = whole.headers;
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
    response
}

fn streamed(pieces: impl stream::Stream<Item = io::Result<Bytes>> + Send + 'static) -> Body {
    StreamBody::new(pieces.map(|piece| piece.map(Frame::data))).boxed_unsync()
}

/// The lines of a watch on their way to the client.
struct Lines {
    upstream: reqwest::Response,
    /// The beginning of a line whose end has not come yet.
    rest: Vec<u8>,
    ready: VecDeque<Bytes>,
    inserted: broadcast::Receiver<Bytes>,
    frozen: watch::Receiver<bool>,
    rewrite: Option<Rewrite>,
    is_mute: bool,
    end: Option<tokio::time::Instant>,
    shared: Arc<Shared>,
    _open: Open,
}

impl Lines {
    fn new(upstream: reqwest::Response, effect: &Effect, open: Open) -> Self {
        let shared = Arc::clone(&open.shared);
        let (rewrite, end) = match effect {
            Effect::Rewrite(rewrite) => (Some(rewrite.clone()), None),
            Effect::End { after } => (None, Some(tokio::time::Instant::now() + *after)),
            _ => (None, None),
        };
        Self {
            upstream,
            rest: Vec::new(),
            ready: VecDeque::new(),
            inserted: shared.lines.subscribe(),
            frozen: shared.frozen.subscribe(),
            rewrite,
            is_mute: matches!(effect, Effect::Mute),
            end,
            shared,
            _open: open,
        }
    }

    fn body(self) -> Body {
        streamed(stream::unfold(self, |mut lines| async { Some((lines.next().await?, lines)) }))
    }

    async fn next(&mut self) -> Option<io::Result<Bytes>> {
        if self.is_mute {
            std::future::pending::<()>().await;
        }
        loop {
            if let Some(line) = self.ready.pop_front() {
                return Some(Ok(line));
            }
            let is_frozen = *self.frozen.borrow_and_update();
            let end = self.end;
            let ended = async {
                match end {
                    Some(end) => tokio::time::sleep_until(end).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                chunk = self.upstream.chunk(), if !is_frozen => match chunk {
                    Ok(Some(chunk)) => self.take(&chunk),
                    Ok(None) => return None,
                    Err(error) => return Some(Err(io::Error::other(error))),
                },
                line = self.inserted.recv() => self.ready.extend(line.ok()),
                _ = self.frozen.changed() => {}
                () = ended => return None,
            }
        }
    }

    fn take(&mut self, chunk: &[u8]) {
        self.rest.extend_from_slice(chunk);
        while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.rest.drain(..=end).collect();
            let Ok(event) = serde_json::from_slice::<Value>(&line) else { continue };
            self.shared.lock().seen.note(&event);
            let events =
                self.rewrite.as_ref().map_or_else(|| vec![event.clone()], |change| change.apply(event.clone()));
            self.ready.extend(events.iter().map(|event| Bytes::from(format!("{event}\n"))));
        }
        self.shared.changed();
    }
}
