//! The ordered record of every request: what came when, by whom, and what it was answered.

use std::fmt;

use serde::{Serialize, Serializer};
use serde_json::Value;

use super::scope::Scope;

/// What a request was addressed to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// `/{accounts|zones}/{id}/access/certificates/settings`
    Settings(Scope),
    /// `/user/tokens/verify`, or an account's
    Verify(Option<Scope>),
    /// Anything else.
    Unknown,
}

impl Route {
    /// Reads a path below `/client/v4`.
    #[must_use]
    pub fn of(path: &str) -> Self {
        let Some(rest) = path.strip_prefix("/client/v4/") else { return Self::Unknown };
        let segments: Vec<&str> = rest.split('/').collect();
        match *segments.as_slice() {
            [kind, id, "access", "certificates", "settings"] => {
                Scope::from_segments(kind, id).map_or(Self::Unknown, Self::Settings)
            }
            ["user", "tokens", "verify"] => Self::Verify(None),
            ["accounts", id, "tokens", "verify"] => Self::Verify(Some(Scope::account(id))),
            _ => Self::Unknown,
        }
    }

    /// The scope of a settings request.
    #[must_use]
    pub fn scope(&self) -> Option<&Scope> {
        match self {
            Self::Settings(scope) => Some(scope),
            _ => None,
        }
    }
}

/// One request and what became of it. Times are microseconds since the emulator started.
#[derive(Debug, Clone, Serialize)]
pub struct Exchange {
    /// Counts from 1, in the order in which the heads of the requests arrived.
    pub seq: u64,
    /// HTTP method.
    pub method: String,
    /// Path with query.
    pub path: String,
    /// What it was addressed to.
    #[serde(rename = "scope", serialize_with = "scope_only")]
    pub route: Route,
    /// When the head had arrived.
    pub start_us: u64,
    /// When the answer was handed over or the connection was given up; absent while it lasts.
    pub end_us: Option<u64>,
    /// When a write was accepted.
    pub accepted_us: Option<u64>,
    /// The name of the registered credential.
    pub credential: Option<String>,
    /// Names of the request's headers, in order.
    pub headers: Vec<String>,
    /// `User-Agent`.
    pub user_agent: Option<String>,
    /// The client's address.
    pub peer: String,
    /// The body as text.
    pub body: String,
    /// The body as JSON, when it is JSON.
    pub json: Option<Value>,
    /// Status of the answer; absent when there was none.
    pub status: Option<u16>,
    /// Codes in `errors[]` of the answer.
    pub codes: Vec<i64>,
    /// `cf-ray` of the answer.
    pub ray: String,
    /// The fault that was injected into it.
    pub fault: Option<String>,
}

fn scope_only<S: Serializer>(route: &Route, serializer: S) -> Result<S::Ok, S::Error> {
    route.scope().serialize(serializer)
}

impl Exchange {
    /// The entries that a PUT named, as `(hostname, forwarding, china)`; empty when the body is not of that form.
    #[must_use]
    pub fn settings(&self) -> Vec<(String, bool, bool)> {
        let items = self.json.as_ref().and_then(|json| json.get("settings")).and_then(Value::as_array);
        let flag = |item: &Value, name: &str| item.get(name).and_then(Value::as_bool).unwrap_or(false);
        items
            .into_iter()
            .flatten()
            .filter_map(|item| {
                let hostname = item.get("hostname")?.as_str()?.to_owned();
                Some((hostname, flag(item, "client_certificate_forwarding"), flag(item, "china_network")))
            })
            .collect()
    }

    /// Whether two requests were under way at the same time.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        let end = |exchange: &Self| exchange.end_us.unwrap_or(u64::MAX);
        self.start_us < end(other) && other.start_us < end(self)
    }
}

impl fmt::Display for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let who = self.credential.as_deref().unwrap_or("-");
        write!(f, "#{} +{}us {} {} by {who} -> ", self.seq, self.start_us, self.method, self.path)?;
        match (self.status, self.end_us) {
            (Some(status), _) => write!(f, "{status}")?,
            (None, Some(_)) => write!(f, "no answer")?,
            (None, None) => write!(f, "under way")?,
        }
        if !self.codes.is_empty() {
            write!(f, " {:?}", self.codes)?;
        }
        if let Some(fault) = &self.fault {
            write!(f, " ({fault})")?;
        }
        if !self.body.is_empty() {
            write!(f, " {}", self.body.chars().take(200).collect::<String>())?;
        }
        Ok(())
    }
}

/// A copy of the record, with the questions that tests ask of it.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(transparent)]
pub struct Ledger {
    exchanges: Vec<Exchange>,
}

impl Ledger {
    pub(super) fn push(&mut self, exchange: Exchange) {
        self.exchanges.push(exchange);
    }

    pub(super) fn get_mut(&mut self, seq: u64) -> Option<&mut Exchange> {
        // Newest last and hardly ever far away: the search from the back ends at once.
        self.exchanges.iter_mut().rev().find(|exchange| exchange.seq == seq)
    }

    pub(super) fn clear(&mut self) {
        self.exchanges.clear();
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

    /// Only what a predicate accepts.
    #[must_use]
    pub fn filtered(&self, mut keep: impl FnMut(&Exchange) -> bool) -> Self {
        Self { exchanges: self.exchanges.iter().filter(|exchange| keep(exchange)).cloned().collect() }
    }

    /// Settings requests of one scope.
    #[must_use]
    pub fn of(&self, scope: &Scope) -> Self {
        self.filtered(|exchange| exchange.route.scope() == Some(scope))
    }

    /// Requests with the credential of this name.
    #[must_use]
    pub fn by(&self, credential: &str) -> Self {
        self.filtered(|exchange| exchange.credential.as_deref() == Some(credential))
    }

    /// PUTs of a scope's settings, whatever they were answered.
    #[must_use]
    pub fn puts(&self, scope: &Scope) -> Vec<&Exchange> {
        self.select("PUT", scope)
    }

    /// GETs of a scope's settings, whatever they were answered.
    #[must_use]
    pub fn gets(&self, scope: &Scope) -> Vec<&Exchange> {
        self.select("GET", scope)
    }

    /// PUTs that the emulator accepted, also those whose answer was lost.
    #[must_use]
    pub fn accepted_puts(&self, scope: &Scope) -> Vec<&Exchange> {
        self.puts(scope).into_iter().filter(|exchange| exchange.accepted_us.is_some()).collect()
    }

    /// Pairs of PUTs to one scope that were under way at the same time.
    #[must_use]
    pub fn overlapping_puts(&self) -> Vec<(&Exchange, &Exchange)> {
        let puts: Vec<&Exchange> = self
            .exchanges
            .iter()
            .filter(|exchange| exchange.method == "PUT" && exchange.route.scope().is_some())
            .collect();
        let mut pairs = Vec::new();
        for (index, first) in puts.iter().enumerate() {
            for second in puts.iter().skip(index + 1) {
                if first.end_us.is_some_and(|end| end <= second.start_us) {
                    break; // the rest started even later
                }
                if first.route == second.route && first.overlaps(second) {
                    pairs.push((*first, *second));
                }
            }
        }
        pairs
    }

    fn select(&self, method: &str, scope: &Scope) -> Vec<&Exchange> {
        self.exchanges
            .iter()
            .filter(|exchange| exchange.method == method && exchange.route.scope() == Some(scope))
            .collect()
    }
}

impl fmt::Display for Ledger {
    /// One line per request: what a failed assertion should print.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.exchanges.iter().try_for_each(|exchange| writeln!(f, "{exchange}"))
    }
}
