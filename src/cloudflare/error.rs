//! What an answer means: the one table from HTTP status and Cloudflare's codes to a reason.

use std::time::Duration;

use jiff::Timestamp;
use reqwest::{
    Method,
    header::{DATE, HeaderMap, RETRY_AFTER},
};

use super::{
    retry_after,
    wire::{Envelope, RemoteList},
};
use crate::api::{Reason, ResponseMessage};

/// How long a credential rests when a rate limit names no time: Cloudflare blocks for five minutes.
/// Source: <https://developers.cloudflare.com/fundamentals/api/reference/limits/>.
const UNSPOKEN_LIMIT: Duration = Duration::from_secs(5 * 60);

/// A body as far as it was read.
#[derive(Debug)]
pub enum Body {
    /// All of it.
    Whole(Vec<u8>),
    /// More than the operator is willing to read.
    TooLarge,
}

/// An answer, understood as far as possible.
#[derive(Debug)]
pub struct Answer {
    /// `Ok` with the list that the answer carries (empty for a write), else why it is no success.
    pub verdict: Result<RemoteList, Refusal>,
    /// The envelope's `success`; `false` where there was none.
    pub success: bool,
    /// Cloudflare's errors, bounded and cleaned but not yet masked.
    pub errors: Vec<ResponseMessage>,
    /// Cloudflare's messages, likewise.
    pub messages: Vec<ResponseMessage>,
}

/// Why an answer is no success.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The reason as it goes into the condition.
    pub reason: Reason,
    /// The code that decided, where there was one.
    pub code: Option<i64>,
    /// How long Cloudflare told us to wait; only with [`Reason::RateLimited`].
    pub wait: Option<Duration>,
}

/// Interprets one answer to `method`. Success is a 2xx with a JSON object that says `success: true` and has no errors;
/// of a read also a `result` that is a list of settings. Everything else is a [`Refusal`]. What a write returns as
/// `result` is not looked at: nobody knows whether it is the whole list. `now` serves a `Retry-After` date.
#[must_use]
pub fn interpret(method: &Method, status: u16, headers: &HeaderMap, body: &Body, now: Timestamp) -> Answer {
    let envelope = match body {
        Body::Whole(bytes) => Envelope::parse(bytes),
        Body::TooLarge => None,
    };
    let Some(envelope) = envelope else {
        let limited = status == 429 || matches!(body, Body::Whole(bytes) if is_error_1015(bytes));
        let reason = if limited { Reason::RateLimited } else { Reason::CloudflareUnavailable };
        let verdict = Err(refusal(reason, None, headers, now));
        return Answer { verdict, success: false, errors: Vec::new(), messages: Vec::new() };
    };
    let list = if method == Method::PUT { Some(RemoteList::new()) } else { envelope.result };
    let verdict = match list {
        Some(list) if (200..300).contains(&status) && envelope.success && envelope.errors.is_empty() => Ok(list),
        _ => {
            let (reason, code) = judge(status, &envelope.errors);
            Err(refusal(reason, code, headers, now))
        }
    };
    Answer { verdict, success: envelope.success, errors: envelope.errors, messages: envelope.messages }
}

fn refusal(reason: Reason, code: Option<i64>, headers: &HeaderMap, now: Timestamp) -> Refusal {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let wait = (reason == Reason::RateLimited).then(|| {
        text(RETRY_AFTER).and_then(|value| retry_after::parse(value, text(DATE), now)).unwrap_or(UNSPOKEN_LIMIT)
    });
    Refusal { reason, code, wait }
}

/// The edge answers in plain text when its own limit is hit.
fn is_error_1015(body: &[u8]) -> bool {
    body.trim_ascii().starts_with(b"error code: 1015")
}

/// The first error whose code says more than the status does decides; without one, the status.
fn judge(status: u16, errors: &[ResponseMessage]) -> (Reason, Option<i64>) {
    let known = errors.iter().find_map(|error| Some((reason(status, error)?, error.code)));
    known.unwrap_or_else(|| (fallback(status, errors), errors.iter().find_map(|error| error.code)))
}

/// The codes that the table below knows, for the label of a metric.
pub(crate) const KNOWN_CODES: [i64; 18] =
    [0, 971, 6003, 7000, 7003, 9103, 9106, 9109, 9999, 10000, 10001, 10100, 10502, 12036, 12130, 12132, 12133, 12135];

/// The table. `None` leaves it to the status.
fn reason(status: u16, error: &ResponseMessage) -> Option<Reason> {
    let says = |text: &str| error.message.as_deref().is_some_and(|message| message.contains(text));
    match (status, error.code?) {
        (429, _) | (_, 971 | 10100) => Some(Reason::RateLimited),
        // In an incident the API answers 5xx with all kinds of codes: the status is what counts.
        (500.., _) => Some(Reason::CloudflareUnavailable),
        (_, 12132) if says("active associations") => Some(Reason::Rejected),
        (_, 12132) => Some(Reason::RemoteBusy),
        (_, 6003 | 9103 | 9106 | 9109 | 10000 | 10001 | 10502) | (401, _) => Some(Reason::AuthenticationFailed),
        (_, 0) if says("requires permission") => Some(Reason::PermissionDenied),
        (_, 7000 | 7003 | 12135) => Some(Reason::ScopeNotFound),
        (_, 9999 | 12133) => Some(Reason::NotEntitled),
        // The code of every invalid request of Access. Only the quota is about the plan: it is zero without mTLS.
        (_, 12130) if says("maximum number of certificates") => Some(Reason::NotEntitled),
        (_, 12130) => Some(Reason::Rejected),
        (_, 12036) => Some(Reason::HostnameNotInScope),
        _ => None,
    }
}

/// What the status alone says.
fn fallback(status: u16, errors: &[ResponseMessage]) -> Reason {
    match status {
        // Errors that nobody knows inside a success are still a refusal; a refusal that says nothing is no answer.
        200..=299 if !errors.is_empty() => Reason::Rejected,
        401 => Reason::AuthenticationFailed,
        403 => Reason::PermissionDenied,
        404 => Reason::ScopeNotFound,
        // A conflict that names another code is another conflict, and nothing says that it passes.
        409 if errors.iter().all(|error| error.code.is_none()) => Reason::RemoteBusy,
        429 => Reason::RateLimited,
        408 | 425 => Reason::CloudflareUnavailable,
        400..=499 => Reason::Rejected,
        _ => Reason::CloudflareUnavailable,
    }
}
