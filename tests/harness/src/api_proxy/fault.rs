//! What can go wrong with a request to the API server on purpose: the effects, whom they meet, and the queue they wait in.

use std::collections::HashMap;
use std::fmt::{self, Debug, Formatter};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::target::Target;
use crate::gate::Gate;

type Change = dyn Fn(Value) -> Vec<Value> + Send + Sync;

/// What becomes of an answer, or of each line of a watch: nothing, another one, or several.
#[derive(Clone)]
pub struct Rewrite(Arc<Change>);

impl Rewrite {
    pub(super) fn apply(&self, value: Value) -> Vec<Value> {
        (self.0)(value)
    }
}

impl Debug for Rewrite {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.write_str("..")
    }
}

/// What happens instead of, or to, the true answer.
#[derive(Debug, Clone)]
pub enum Effect {
    /// Any answer at all.
    Answer {
        /// HTTP status.
        status: u16,
        /// Headers; `content-type: application/json` unless one is given.
        headers: Vec<(String, String)>,
        /// The body.
        body: Vec<u8>,
    },
    /// No answer; the connection stays open until the client leaves.
    Silence,
    /// The connection is reset.
    Reset,
    /// The connection is closed without an answer.
    Close,
    /// The true answer, cut off in the middle of its body.
    Truncate {
        /// How many bytes of the body are sent.
        after: usize,
    },
    /// The true answer, changed.
    Rewrite(Rewrite),
    /// A watch that ends after this time, as one does that reached its time limit.
    End {
        /// How long it lasts.
        after: Duration,
    },
    /// A watch that begins and then shows nothing, though its connection stays open.
    Mute,
    /// Nothing happens until it is released; then all goes on as usual.
    Hold,
    /// The true answer. With a delay: a late one.
    Pass,
}

impl Effect {
    /// The effect's name in the ledger.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Answer { .. } => "answer",
            Self::Silence => "silence",
            Self::Reset => "reset",
            Self::Close => "close",
            Self::Truncate { .. } => "truncate",
            Self::Rewrite(_) => "rewrite",
            Self::End { .. } => "end",
            Self::Mute => "mute",
            Self::Hold => "hold",
            Self::Pass => "pass",
        }
    }

    /// Whether it needs the answer that the request would have got.
    pub(super) fn wants_true_answer(&self) -> bool {
        !matches!(self, Self::Answer { .. } | Self::Silence | Self::Reset | Self::Close)
    }
}

/// An effect with the requests that it meets.
#[derive(Debug, Clone)]
pub struct Fault {
    verb: Option<String>,
    resource: Option<String>,
    name: Option<String>,
    skip: u32,
    times: Option<u32>,
    pub(super) delay: Duration,
    pub(super) apply_first: bool,
    pub(super) effect: Effect,
}

impl From<Effect> for Fault {
    /// Meets the next request, whichever it is, once.
    fn from(effect: Effect) -> Self {
        Self {
            verb: None,
            resource: None,
            name: None,
            skip: 0,
            times: Some(1),
            delay: Duration::ZERO,
            apply_first: false,
            effect,
        }
    }
}

impl Fault {
    /// Any status, headers and body.
    #[must_use]
    pub fn raw(status: u16, headers: &[(&str, &str)], body: impl Into<Vec<u8>>) -> Self {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Effect::Answer { status, headers, body: body.into() }.into()
    }

    /// A refusal as the API server words it.
    #[must_use]
    pub fn refusal(code: u16, reason: &str) -> Self {
        Self::refusal_with(code, reason, &[])
    }

    /// The same with headers, such as `Retry-After`.
    #[must_use]
    pub fn refusal_with(code: u16, reason: &str, headers: &[(&str, &str)]) -> Self {
        Self::raw(code, headers, status(code, reason).to_string())
    }

    /// The true answer, or each line of a watch, with something else in its place.
    #[must_use]
    pub fn rewrite(change: impl Fn(Value) -> Vec<Value> + Send + Sync + 'static) -> Self {
        Effect::Rewrite(Rewrite(Arc::new(change))).into()
    }

    /// Only requests of this verb, as access rules name it: `get`, `list`, `watch`, `patch`, `create`.
    #[must_use]
    pub fn on(mut self, verb: &str) -> Self {
        self.verb = Some(verb.to_owned());
        self
    }

    /// Only requests for this resource: `secrets`, `mtlshostnamesettings/status`.
    #[must_use]
    pub fn of(mut self, resource: &str) -> Self {
        self.resource = Some(resource.to_owned());
        self
    }

    /// Only requests for the object of this name.
    #[must_use]
    pub fn named(mut self, name: &str) -> Self {
        self.name = Some(name.to_owned());
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
        self.delay = delay;
        self
    }

    /// The request takes its effect first; only its answer is lost, late or replaced.
    #[must_use]
    pub fn once_applied(mut self) -> Self {
        self.apply_first = true;
        self
    }

    fn meets(&self, target: &Target) -> bool {
        self.verb.as_deref().is_none_or(|verb| verb == target.verb)
            && self.resource.as_deref().is_none_or(|resource| resource == target.resource)
            && self.name.as_deref().is_none_or(|name| target.name.as_deref() == Some(name))
    }
}

/// The API server's own form of an outcome that is no object.
#[must_use]
pub fn status(code: u16, reason: &str) -> Value {
    let outcome = if code < 400 { "Success" } else { "Failure" };
    json!({
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": outcome,
        "message": format!("{reason}, on purpose"),
        "reason": reason,
        "code": code,
    })
}

/// One fault in the queue.
#[derive(Debug, Clone)]
pub(super) struct Waiting {
    pub(super) id: u64,
    pub(super) fault: Fault,
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
    pub(super) fn pick(&mut self, target: &Target) -> Option<Waiting> {
        let mut found = None;
        for (index, waiting) in self.waiting.iter_mut().enumerate().filter(|(_, waiting)| waiting.fault.meets(target)) {
            if waiting.fault.skip == 0 {
                found = Some(index);
                break;
            }
            waiting.fault.skip -= 1;
        }
        let waiting = self.waiting.get_mut(found?)?;
        let picked = waiting.clone();
        waiting.gate.met.send_modify(|met| *met += 1);
        if let Some(times) = &mut waiting.fault.times {
            *times = times.saturating_sub(1);
        }
        self.waiting.retain(|waiting| waiting.fault.times != Some(0));
        Some(picked)
    }

    /// Takes one fault away, or all of them. Requests that are held go on.
    pub(super) fn clear(&mut self, id: Option<u64>) {
        self.waiting.retain(|waiting| id.is_some_and(|id| id != waiting.id));
        for (_, gate) in self.gates.iter().filter(|(gate, _)| id.is_none_or(|id| id == **gate)) {
            gate.open.send_replace(true);
        }
    }
}
