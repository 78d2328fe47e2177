//! The ordered record of what was asked of the API server, and what came of it.

use std::fmt;
use std::time::Instant;

use serde_json::Value;

use super::target::Target;

/// One request.
#[derive(Debug, Clone)]
pub struct Exchange {
    /// Counts up from 1.
    pub seq: u64,
    /// Verb, resource and name.
    pub target: Target,
    /// Path and query.
    pub path: String,
    /// When it arrived.
    pub start: Instant,
    /// When its answer was complete, or nobody waited for it any more. Nothing while it is under way.
    pub end: Option<Instant>,
    /// The HTTP status that was sent.
    pub status: Option<u16>,
    /// The body of a write, as far as it is JSON.
    pub json: Option<Value>,
    /// The highest version that was known of any object when it arrived.
    pub known: u64,
    /// The version that the API server gave to what was written.
    pub version: Option<u64>,
    /// The fault that met it.
    pub fault: Option<&'static str>,
}

impl Exchange {
    /// Whether it is a write that was carried out and changed nothing: the object kept a version that was known before.
    #[must_use]
    pub fn is_noop(&self) -> bool {
        self.target.is_write() && self.version.is_some_and(|version| version <= self.known)
    }
}

impl fmt::Display for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Target { verb, resource, name, .. } = &self.target;
        write!(f, "{:4} {verb} {resource}", self.seq)?;
        if let Some(name) = name {
            write!(f, " {name}")?;
        }
        match (self.status, self.end) {
            (Some(status), _) => write!(f, " -> {status}")?,
            (None, Some(_)) => f.write_str(" -> no answer")?,
            (None, None) => f.write_str(" -> under way")?,
        }
        if let Some(end) = self.end {
            write!(f, " in {:?}", end.saturating_duration_since(self.start))?;
        }
        if let Some(version) = self.version {
            write!(f, " version {version}")?;
        }
        if let Some(fault) = self.fault {
            write!(f, " ({fault})")?;
        }
        Ok(())
    }
}

/// A copy of the record, with the questions that tests ask of it.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    exchanges: Vec<Exchange>,
}

impl Ledger {
    pub(super) fn push(&mut self, exchange: Exchange) {
        self.exchanges.push(exchange);
    }

    pub(super) fn get_mut(&mut self, seq: u64) -> Option<&mut Exchange> {
        self.exchanges.iter_mut().rev().find(|exchange| exchange.seq == seq)
    }

    /// Every request, oldest first.
    #[must_use]
    pub fn all(&self) -> &[Exchange] {
        &self.exchanges
    }

    /// How many requests there were.
    #[must_use]
    pub fn len(&self) -> usize {
        self.exchanges.len()
    }

    /// Whether nothing was asked.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.exchanges.is_empty()
    }

    /// The last sequence number, to be given to [`Ledger::since`] later; 0 when there was no request.
    #[must_use]
    pub fn mark(&self) -> u64 {
        self.exchanges.last().map_or(0, |exchange| exchange.seq)
    }

    /// Only what came after a [`mark`](Ledger::mark).
    #[must_use]
    pub fn since(&self, mark: u64) -> Self {
        self.filtered(|exchange| exchange.seq > mark)
    }

    /// Only requests of this verb for this resource.
    #[must_use]
    pub fn of(&self, verb: &str, resource: &str) -> Self {
        self.filtered(|exchange| exchange.target.verb == verb && exchange.target.resource == resource)
    }

    /// Only what changes something, or tries to.
    #[must_use]
    pub fn writes(&self) -> Self {
        self.filtered(|exchange| exchange.target.is_write())
    }

    /// Only what a predicate accepts.
    #[must_use]
    pub fn filtered(&self, mut keep: impl FnMut(&Exchange) -> bool) -> Self {
        Self { exchanges: self.exchanges.iter().filter(|exchange| keep(exchange)).cloned().collect() }
    }
}

impl fmt::Display for Ledger {
    /// One line per request: what a failed assertion should print.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.exchanges.iter().try_for_each(|exchange| writeln!(f, "{exchange}"))
    }
}
