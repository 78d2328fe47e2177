//! What every reconcile and every scope task shares.

use std::{num::NonZeroU32, time::Duration};

use kube::Client;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::{events::Events, scopes::Scopes};
use crate::cloudflare::{self, Budget};

/// What the operator's flags decide about serving scopes.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// How often Cloudflare is looked at where the object does not say.
    pub default_interval: Duration,
    /// How often a Secret in use is read again.
    pub secret_poll: Duration,
    /// Requests per five minutes and credential.
    pub requests_per_5m: NonZeroU32,
}

/// Most rounds at a time, over all scopes.
const ROUNDS: usize = 16;

pub(super) struct Context {
    /// For single requests; has a read timeout that fits them.
    pub(super) requests: Client,
    pub(super) cloudflare: cloudflare::Client,
    pub(super) budget: Budget,
    pub(super) scopes: Scopes,
    pub(super) settings: Settings,
    pub(super) events: Events,
    /// Cancelled when no new work may start.
    pub(super) stop: CancellationToken,
    pub(super) rounds: Semaphore,
}

impl Context {
    pub(super) fn new(
        requests: Client,
        cloudflare: cloudflare::Client,
        settings: Settings,
        scopes: Scopes,
        events: Events,
        stop: CancellationToken,
    ) -> Self {
        Self {
            requests,
            cloudflare,
            budget: Budget::new(settings.requests_per_5m),
            scopes,
            settings,
            events,
            stop,
            rounds: Semaphore::new(ROUNDS),
        }
    }
}
