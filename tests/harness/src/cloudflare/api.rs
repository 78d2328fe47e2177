//! The emulated API itself: one request in, one answer out, with nothing in between but the state.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use hyper::{HeaderMap, Method};
use serde_json::json;

use super::auth::Register;
use super::codes::Refusal;
use super::envelope::{Reply, parse_put};
use super::fault::Queue;
use super::ledger::{Ledger, Route};
use super::scope::Scope;
use super::state::Store;
use super::switches::{Entitlement, PutResult, RequestLimit, Switches};

/// What a request is, once it was read.
pub(super) struct Asked<'a> {
    pub(super) method: &'a Method,
    pub(super) path: &'a str,
    pub(super) route: &'a Route,
    pub(super) headers: &'a HeaderMap,
    pub(super) body: &'a [u8],
}

/// Everything behind the lock.
#[derive(Debug, Default)]
pub(super) struct Inner {
    pub(super) store: Store,
    pub(super) register: Register,
    pub(super) queue: Queue,
    pub(super) ledger: Ledger,
    pub(super) last_seq: u64,
    pub(super) switches: Switches,
    pub(super) own_switches: HashMap<Scope, Switches>,
    budgets: HashMap<String, Budget>,
}

/// The requests of one credential in the current window.
#[derive(Debug)]
struct Budget {
    since: Instant,
    used: u32,
    blocked_until: Option<Instant>,
}

/// The published limit, which `Ratelimit-Policy` shows when no other is enforced.
const PUBLISHED: RequestLimit = RequestLimit { requests: 1200, window_ms: 300_000, block_ms: 300_000 };

impl Inner {
    /// The switches of a scope: its own, or the common ones.
    pub(super) fn switches_of(&self, scope: Option<&Scope>) -> &Switches {
        scope.and_then(|scope| self.own_switches.get(scope)).unwrap_or(&self.switches)
    }

    /// Answers a request. The second value is true when a write was accepted.
    pub(super) fn handle(&mut self, asked: &Asked<'_>, now: Instant) -> (Reply, bool) {
        let switches = self.switches_of(asked.route.scope()).clone();
        let (name, _) = self.register.identify(asked.headers);
        let limit = switches.request_limit.unwrap_or(PUBLISHED);
        let (remaining, reset, blocked) =
            self.spend(name.as_deref().unwrap_or("nobody"), limit, switches.request_limit.is_some(), now);
        let (reply, accepted) = if blocked {
            let reply = Reply::refusal(&Refusal::known(971).with_status(429), &switches);
            (reply.with_header("retry-after", reset.to_string()), false)
        } else {
            match self.decide(asked, &switches, now) {
                Ok((reply, accepted)) => (reply, accepted),
                Err(refusal) => (Reply::refusal(&refusal, &switches), false),
            }
        };
        if !switches.ratelimit_headers {
            return (reply, accepted);
        }
        let remaining = switches.ratelimit_remaining.unwrap_or(remaining);
        let reply = reply
            .with_header("ratelimit", format!("\"default\";r={remaining};t={reset}"))
            .with_header("ratelimit-policy", format!("\"default\";q={};w={}", limit.requests, limit.window_ms / 1000));
        (reply, accepted)
    }

    fn decide(&mut self, asked: &Asked<'_>, switches: &Switches, now: Instant) -> Result<(Reply, bool), Refusal> {
        if *asked.route == Route::Unknown {
            return Err(Refusal::no_route(asked.path));
        }
        let (_, who) = self.register.identify(asked.headers);
        let refused = who.is_err();
        let right = match (&who, asked.route) {
            (Ok(record), Route::Settings(scope)) => record.authorise(scope, asked.method == Method::PUT),
            (Ok(record), Route::Verify(scope)) if !record.is_verified_at(scope.is_some()) => Err(Refusal::known(1000)),
            _ => Ok(()),
        };
        let refusal = who.map(|record| record.name.clone());
        self.register.count(refused, switches.auth_failure_limit)?;
        let name = match (refusal, asked.route) {
            // The verify endpoints have their own code for a token that is not one.
            (Err(refusal), Route::Verify(_)) if refusal.codes() == [9109] => return Err(Refusal::known(1000)),
            (name, _) => name?,
        };
        let scope = match asked.route {
            Route::Verify(_) => return right.map(|()| (verified(&name), false)),
            Route::Settings(scope) if !self.store.knows(scope) => return Err(Refusal::no_route(asked.path)),
            Route::Settings(scope) => scope,
            Route::Unknown => return Err(Refusal::no_route(asked.path)),
        };
        right?;
        match switches.entitlement {
            Entitlement::Full => {}
            Entitlement::NoAccess => return Err(Refusal::known(9999)),
            Entitlement::NoQuota => {
                return Err(Refusal::invalid("you have reached the maximum number of certificates"));
            }
            Entitlement::OtherPlan => return Err(Refusal::known(12133)),
        }
        match *asked.method {
            Method::GET => Ok((Reply::settings(200, self.store.read(scope, switches, now), switches), false)),
            Method::PUT => {
                let settings = parse_put(asked.body, switches)?;
                let whole = self.store.write(scope, settings.clone(), switches, now)?;
                let shown = match switches.put_result {
                    PutResult::Whole => whole,
                    PutResult::Written => settings,
                    PutResult::Empty => Vec::new(),
                };
                Ok((Reply::settings(202, shown, switches), true))
            }
            ref method => Err(Refusal::new(
                405,
                10000,
                format!("{method} method not allowed for the api_token authentication scheme"),
            )),
        }
    }

    /// Counts a request: what is left, seconds until the window or the block ends, and whether it is blocked.
    fn spend(&mut self, who: &str, limit: RequestLimit, enforced: bool, now: Instant) -> (u32, u64, bool) {
        let window = Duration::from_millis(limit.window_ms);
        let budget = self.budgets.entry(who.to_owned()).or_insert(Budget { since: now, used: 0, blocked_until: None });
        if budget.blocked_until.is_some_and(|until| until <= now) || budget.since + window <= now {
            *budget = Budget { since: now, used: 0, blocked_until: budget.blocked_until.filter(|until| *until > now) };
        }
        budget.used = budget.used.saturating_add(1);
        if enforced && budget.used > limit.requests && budget.blocked_until.is_none() {
            budget.blocked_until = Some(now + Duration::from_millis(limit.block_ms));
        }
        let blocked = budget.blocked_until.filter(|_| enforced);
        let until = blocked.unwrap_or(budget.since + window);
        let seconds = until.saturating_duration_since(now).as_millis().div_ceil(1000);
        let remaining = limit.requests.saturating_sub(budget.used);
        (remaining, u64::try_from(seconds).unwrap_or(u64::MAX), blocked.is_some())
    }
}

fn verified(name: &str) -> Reply {
    Reply::json(
        200,
        &json!({
            "result": {"id": name, "status": "active"},
            "success": true,
            "errors": [],
            "messages": [{"code": 10000, "message": "This API Token is valid and active", "type": null}],
        }),
    )
}
