//! What can go wrong with a request on purpose: the effects, whom they meet, and the queue they wait in.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::scope::Scope;
use crate::gate::Gate;

/// What happens instead of, or to, the true answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Effect {
    /// Any answer at all.
    Answer {
        /// HTTP status.
        status: u16,
        /// Headers; `content-type: application/json` unless one is given.
        #[serde(default)]
        headers: Vec<(String, String)>,
        /// The body; in JSON a string.
        #[serde(default, with = "text")]
        body: Vec<u8>,
    },
    /// A refusal with one code, with the status and text that are usual for it unless others are given.
    Refuse {
        /// The code in `errors[]`.
        code: i64,
        /// HTTP status.
        #[serde(default)]
        status: Option<u16>,
        /// Text of the error.
        #[serde(default)]
        message: Option<String>,
    },
    /// 429 in JSON.
    RateLimited {
        /// The bytes of `Retry-After`: seconds, a date or garbage; no header when absent.
        #[serde(default)]
        retry_after: Option<String>,
    },
    /// 429 from the edge: the text `error code: 1015`.
    #[serde(rename = "text_1015")]
    Text1015 {
        /// As for [`Effect::RateLimited`].
        #[serde(default)]
        retry_after: Option<String>,
    },
    /// Code 971 inside a 200.
    #[serde(rename = "limited_200")]
    Limited200,
    /// 520 from the edge, in HTML.
    #[serde(rename = "html_520")]
    Html520,
    /// 403 from the edge: a page that wants a browser.
    #[serde(rename = "challenge_403")]
    Challenge403,
    /// No answer; the connection stays open until the client leaves.
    Silence,
    /// The connection is reset.
    Reset,
    /// The connection is closed without an answer.
    Close,
    /// These bytes instead of an HTTP answer, then the connection is closed.
    Bytes {
        /// The bytes; in JSON a string.
        #[serde(with = "text")]
        bytes: Vec<u8>,
    },
    /// The true answer, its body one byte at a time.
    Slow {
        /// Time between two bytes.
        interval_ms: u64,
    },
    /// The true answer, cut off in the middle of its body.
    Truncate {
        /// How many bytes of the body are sent.
        after: usize,
    },
    /// The true answer, its connection reset in the middle of its body.
    ResetInBody {
        /// How many bytes of the body are sent.
        after: usize,
    },
    /// A 200 with a body of this size that starts like an envelope.
    Huge {
        /// Size of the body.
        bytes: u64,
    },
    /// A redirect.
    Redirect {
        /// 301, 302, 303, 307 or 308.
        status: u16,
        /// Where to.
        location: String,
    },
    /// An answer that repeats the request's credential headers in its error, a message and a header.
    EchoCredential {
        /// HTTP status.
        status: u16,
    },
    /// Nothing happens until it is released; then all goes on as usual.
    Hold,
    /// The true answer. With a delay: a late one.
    Pass,
}

impl Effect {
    /// The effect's name in the ledger and in the control API.
    #[must_use]
    pub fn kind(&self) -> String {
        let json = serde_json::to_value(self).unwrap_or_default();
        json.get("kind").and_then(serde_json::Value::as_str).unwrap_or("unknown").to_owned()
    }
}

/// An effect with the requests that it meets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// Only requests of this method.
    #[serde(default)]
    pub method: Option<String>,
    /// Only settings requests of this scope.
    #[serde(default)]
    pub scope: Option<Scope>,
    /// Only requests with the credential of this name.
    #[serde(default)]
    pub credential: Option<String>,
    /// So many matching requests pass first.
    #[serde(default)]
    pub skip: u32,
    /// So many matching requests are met; without end when `null`.
    #[serde(default = "once")]
    pub times: Option<u32>,
    /// Wait this long before anything happens.
    #[serde(default)]
    pub delay_ms: u64,
    /// The request takes its effect first; only its answer is lost or replaced.
    #[serde(default)]
    pub apply_first: bool,
    /// What happens.
    pub effect: Effect,
}

#[allow(clippy::unnecessary_wraps, reason = "serde wants the type of the member")]
fn once() -> Option<u32> {
    Some(1)
}

impl From<Effect> for Fault {
    /// Meets the next API request, whichever it is, once.
    fn from(effect: Effect) -> Self {
        Self {
            method: None,
            scope: None,
            credential: None,
            skip: 0,
            times: Some(1),
            delay_ms: 0,
            apply_first: false,
            effect,
        }
    }
}

impl Fault {
    /// Any status with a JSON body, or a text that claims to be one.
    pub fn answer(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Effect::Answer { status, headers: Vec::new(), body: body.into() }.into()
    }

    /// Any status, headers and body.
    #[must_use]
    pub fn raw(status: u16, headers: &[(&str, &str)], body: impl Into<Vec<u8>>) -> Self {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Effect::Answer { status, headers, body: body.into() }.into()
    }

    /// An envelope with one error code, in the form that is usual for it.
    #[must_use]
    pub fn code(code: i64) -> Self {
        Effect::Refuse { code, status: None, message: None }.into()
    }

    /// An envelope with one error code under another status.
    #[must_use]
    pub fn code_with_status(code: i64, status: u16) -> Self {
        Effect::Refuse { code, status: Some(status), message: None }.into()
    }

    /// 429 with this `Retry-After`, or none.
    #[must_use]
    pub fn rate_limited(retry_after: Option<&str>) -> Self {
        Effect::RateLimited { retry_after: retry_after.map(str::to_owned) }.into()
    }

    /// A redirect with this status.
    pub fn redirect(status: u16, location: impl Into<String>) -> Self {
        Effect::Redirect { status, location: location.into() }.into()
    }

    /// Only requests of this method.
    #[must_use]
    pub fn on(mut self, method: &str) -> Self {
        self.method = Some(method.to_owned());
        self
    }

    /// Only settings requests of this scope.
    #[must_use]
    pub fn in_scope(mut self, scope: &Scope) -> Self {
        self.scope = Some(scope.clone());
        self
    }

    /// Only requests with the credential of this name.
    #[must_use]
    pub fn by(mut self, credential: &str) -> Self {
        self.credential = Some(credential.to_owned());
        self
    }

    /// Meets so many requests.
    #[must_use]
    pub fn times(mut self, times: u32) -> Self {
        self.times = Some(times);
        self
    }

    /// Meets every request until it is cleared.
    #[must_use]
    pub fn for_ever(mut self) -> Self {
        self.times = None;
        self
    }

    /// Lets so many matching requests pass first.
    #[must_use]
    pub fn after_passing(mut self, requests: u32) -> Self {
        self.skip = requests;
        self
    }

    /// Waits before anything happens.
    #[must_use]
    pub fn delayed(mut self, delay: Duration) -> Self {
        self.delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        self
    }

    /// The request takes its effect first; only its answer is lost or replaced.
    #[must_use]
    pub fn once_applied(mut self) -> Self {
        self.apply_first = true;
        self
    }

    fn meets(&self, method: &str, scope: Option<&Scope>, credential: Option<&str>) -> bool {
        self.method.as_deref().is_none_or(|wanted| wanted.eq_ignore_ascii_case(method))
            && self.scope.as_ref().is_none_or(|wanted| Some(wanted) == scope)
            && self.credential.as_deref().is_none_or(|wanted| Some(wanted) == credential)
    }
}

/// One fault in the queue.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Waiting {
    pub(super) id: u64,
    #[serde(flatten)]
    pub(super) fault: Fault,
    #[serde(skip)]
    pub(super) gate: Arc<Gate>,
}

/// The faults that are still to meet requests, first come first served.
#[derive(Debug, Default)]
pub(super) struct Queue {
    next: u64,
    waiting: Vec<Waiting>,
    /// Kept for faults that have left the queue too: their requests may still be held.
    gates: HashMap<u64, Arc<Gate>>,
}

impl Queue {
    pub(super) fn push(&mut self, fault: Fault) -> Waiting {
        self.next += 1;
        let waiting = Waiting { id: self.next, fault, gate: Arc::new(Gate::new()) };
        self.gates.insert(self.next, Arc::clone(&waiting.gate));
        self.waiting.push(waiting.clone());
        waiting
    }

    /// The fault that meets this request, if any; each request meets at most one.
    pub(super) fn pick(&mut self, method: &str, scope: Option<&Scope>, credential: Option<&str>) -> Option<Waiting> {
        let mut passes_all = Vec::new();
        let index = self.waiting.iter().position(|waiting| {
            let meets = waiting.fault.meets(method, scope, credential);
            let skips = meets && waiting.fault.skip > 0;
            if skips {
                passes_all.push(waiting.id);
            }
            meets && !skips
        });
        for waiting in self.waiting.iter_mut().filter(|waiting| passes_all.contains(&waiting.id)) {
            waiting.fault.skip -= 1;
        }
        let waiting = self.waiting.get_mut(index?)?;
        let picked = waiting.clone();
        waiting.gate.met.send_modify(|met| *met += 1);
        if let Some(times) = &mut waiting.fault.times {
            *times = times.saturating_sub(1);
        }
        self.waiting.retain(|waiting| waiting.fault.times != Some(0));
        Some(picked)
    }

    pub(super) fn all(&self) -> &[Waiting] {
        &self.waiting
    }

    /// Lets requests go on that one fault holds, or all. False when there is no such fault.
    pub(super) fn release(&self, id: Option<u64>) -> bool {
        let mut gates = self.gates.iter().filter(|(gate, _)| id.is_none_or(|id| id == **gate)).peekable();
        let any = gates.peek().is_some();
        for (_, gate) in gates {
            gate.open.send_replace(true);
        }
        any
    }

    /// Takes one fault away, or all of them. Requests that are held go on. False when there is no such fault.
    pub(super) fn clear(&mut self, id: Option<u64>) -> bool {
        self.waiting.retain(|waiting| id.is_some_and(|id| id != waiting.id));
        self.release(id)
    }
}

/// Bytes as a JSON string.
mod text {
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&String::from_utf8_lossy(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        Ok(String::deserialize(deserializer)?.into_bytes())
    }
}
