//! What a request costs and says: the budget of its credential, why none may be made now, and the log.

use std::sync::Arc;

use tokio::time::Instant;
use tracing::{info, warn};

use super::scope::ScopeTask;
use crate::{
    api::{CredentialRef, LastResponse, Reason},
    cloudflare::{Failure, Left},
    ops::Task,
    sync::Problem,
};

impl ScopeTask {
    pub(super) fn fingerprint(&self, at: &Arc<CredentialRef>) -> Option<u64> {
        self.groups.get(at)?.secret.as_ref()?.as_ref().ok().copied()
    }

    pub(super) fn spend(&self, at: &Arc<CredentialRef>) {
        self.context.health.beat(&Task::Scope(self.scope.clone()));
        if let Some(fingerprint) = self.fingerprint(at) {
            self.context.budget.spend(fingerprint, Instant::now());
        }
    }

    /// Takes in what Cloudflare says is left of its limit.
    pub(super) fn note(&self, at: &Arc<CredentialRef>, left: Option<Left>) {
        if let (Some(fingerprint), Some(Left { remaining, renewed_in })) = (self.fingerprint(at), left) {
            self.context.metrics.ratelimit_remaining(remaining);
            self.context.budget.left(fingerprint, remaining, renewed_in, Instant::now());
        }
    }

    /// Why no request may be made with this credential now.
    pub(super) fn limited(&self, at: &Arc<CredentialRef>) -> Option<Problem> {
        let now = Instant::now();
        let wait = self.context.budget.blocked_until(self.fingerprint(at)?, now)?.saturating_duration_since(now);
        Some(Problem { reason: Reason::RateLimited, code: None, wait: Some(wait), detail: None, gone: false })
    }

    /// Why no write may be made in this scope now.
    pub(super) fn locked(&self) -> Option<Problem> {
        self.busy.until.filter(|until| *until > Instant::now())?;
        Some(Problem { reason: Reason::RemoteBusy, code: None, wait: None, detail: None, gone: false })
    }

    pub(super) fn log(&self, response: &LastResponse, started: Instant, did: &str) {
        self.count(response, started);
        info!(
            scope = %self.scope,
            method = %response.method,
            status = response.http_status,
            ray = response.ray_id.as_deref(),
            took_ms = millis(started),
            "{did} the settings"
        );
    }

    fn count(&self, response: &LastResponse, started: Instant) {
        let metrics = &self.context.metrics;
        metrics.request(&response.method, response.http_status, started.elapsed());
        response.errors.iter().filter_map(|error| error.code).for_each(|code| metrics.code(code));
    }

    pub(super) fn log_failure(&self, failure: &Failure, started: Instant) {
        self.count(&failure.response, started);
        warn!(
            scope = %self.scope,
            method = %failure.response.method,
            status = failure.response.http_status,
            reason = %failure.refusal.reason,
            code = failure.refusal.code,
            ray = failure.response.ray_id.as_deref(),
            detail = failure.detail.as_deref(),
            took_ms = millis(started),
            "no success"
        );
    }
}

fn millis(started: Instant) -> u64 {
    u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX)
}
