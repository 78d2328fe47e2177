//! What every reconcile and every scope task shares.

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use kube::Client;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::{events::Events, scopes::Scopes};
use crate::{
    cloudflare::{self, Budget},
    ops::{Health, Leadership, Metrics},
};

/// What the operator's flags decide about serving scopes.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// How often Cloudflare is looked at where the object does not say.
    pub default_interval: Duration,
    /// How often a Secret in use is read again.
    pub secret_poll: Duration,
    /// Requests per five minutes and credential.
    pub requests_per_5m: NonZeroU32,
    /// Whether each object has series of its own.
    pub object_metrics: bool,
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
    pub(super) health: Arc<Health>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) leadership: Leadership,
    /// Cancelled when no new work may start.
    pub(super) stop: CancellationToken,
    pub(super) rounds: Semaphore,
}

/// What the controller is given, beside its clients.
pub struct Surroundings {
    /// What the flags decide.
    pub settings: Settings,
    /// Told that every task works.
    pub health: Arc<Health>,
    /// Told what happens.
    pub metrics: Arc<Metrics>,
    /// Says whether this replica may act.
    pub leadership: Leadership,
    /// Cancelled when the program is to end.
    pub stop: CancellationToken,
    /// To be cancelled when nothing is under way any more.
    pub drained: CancellationToken,
}

impl Context {
    pub(super) fn new(
        requests: Client,
        cloudflare: cloudflare::Client,
        scopes: Scopes,
        events: Events,
        surroundings: Surroundings,
    ) -> Self {
        let Surroundings { settings, health, metrics, leadership, stop, drained: _ } = surroundings;
        Self {
            requests,
            cloudflare,
            budget: Budget::new(settings.requests_per_5m),
            scopes,
            settings,
            events,
            health,
            metrics,
            leadership,
            stop,
            rounds: Semaphore::new(ROUNDS),
        }
    }
}
