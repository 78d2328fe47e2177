//! What the program knows about its own state: whether every task still works, and whether it is ready to serve.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::failpoint;
use crate::api::Scope;

/// A part of the program that works for as long as the program runs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Task {
    /// Renews the lease, or waits for it.
    Lease,
    /// Watches the objects of a place.
    Watch(String),
    /// Serves a scope.
    Scope(Scope),
    /// Publishes events.
    Events,
}

impl Task {
    /// Longest silence of a task that works. None of them waits so long for anything: each request has a deadline.
    fn patience(&self) -> Duration {
        failpoint::patience().unwrap_or(match self {
            Self::Lease | Self::Events => Duration::from_secs(60),
            // A watch is silent for up to 100 s, and then tries again after up to 4 s.
            Self::Watch(_) => Duration::from_secs(300),
            Self::Scope(_) => Duration::from_secs(180),
        })
    }
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lease => f.write_str("lease"),
            Self::Watch(place) => write!(f, "watch of {place}"),
            Self::Scope(scope) => write!(f, "{scope}"),
            Self::Events => f.write_str("events"),
        }
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What it is about.
    pub name: String,
    /// What is wrong with it.
    pub failure: Option<String>,
}

/// What every part of the program tells of itself.
#[derive(Debug, Default)]
pub struct Health {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// When each task that has something to do gave a sign of life.
    beats: BTreeMap<Task, Instant>,
    /// By watched place, whether its objects have been listed.
    watches: BTreeMap<String, bool>,
    /// Whether the state of the lease is known, where there is one.
    lease: Option<bool>,
    draining: bool,
}

impl Health {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A task works, and goes on to do so.
    pub fn beat(&self, task: &Task) {
        let mut state = self.state();
        match state.beats.get_mut(task) {
            Some(at) => *at = Instant::now(),
            None => _ = state.beats.insert(task.clone(), Instant::now()),
        }
    }

    /// A task has nothing to do for the time being.
    pub fn rest(&self, task: &Task) {
        self.state().beats.remove(task);
    }

    /// Announces a watch: the program is not ready before it is synced.
    pub fn expect_watch(&self, place: &str) {
        self.state().watches.entry(place.to_owned()).or_default();
        self.beat(&Task::Watch(place.to_owned()));
    }

    /// All objects of a watch are known.
    pub fn watch_synced(&self, place: &str) {
        self.state().watches.insert(place.to_owned(), true);
    }

    /// Announces an election: the program is not ready before it knows who leads.
    pub fn expect_lease(&self) {
        self.state().lease.get_or_insert(false);
    }

    /// It is known who leads; whoever it is, this replica is ready.
    pub fn lease_known(&self) {
        self.state().lease = Some(true);
    }

    /// The program is ending.
    pub fn draining(&self) {
        self.state().draining = true;
    }

    /// Whether each task works. None of it depends on Cloudflare, or on an answer of the API server.
    #[must_use]
    pub fn live(&self) -> Vec<Check> {
        let beats = self.state().beats.clone();
        let check = |(task, at): (Task, Instant)| {
            let silence = at.elapsed();
            let failure = (silence > task.patience()).then(|| format!("no sign of life for {} s", silence.as_secs()));
            Check { name: task.to_string(), failure }
        };
        beats.into_iter().map(check).collect()
    }

    /// Whether the program can do its work, or would at once if it led.
    #[must_use]
    pub fn ready(&self) -> Vec<Check> {
        let state = self.state();
        let mut checks = vec![Check {
            name: "running".to_owned(),
            failure: if state.draining {
                Some("draining: the program is ending".to_owned())
            } else {
                state.watches.is_empty().then(|| "starting".to_owned())
            },
        }];
        checks.extend(state.watches.iter().map(|(place, synced)| Check {
            name: format!("objects of {place}"),
            failure: (!synced).then(|| format!("the objects of {place} are not listed yet")),
        }));
        checks.extend(state.lease.map(|known| Check {
            name: "lease".to_owned(),
            failure: (!known).then(|| "it is not known yet who leads".to_owned()),
        }));
        checks
    }
}
