//! A watch of the bench's own: what it sees of the objects of a namespace, and when.

use std::collections::HashMap;
use std::time::Duration;

use futures::StreamExt as _;
use jiff::Timestamp;
use kube::runtime::{WatchStreamExt as _, watcher};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use crate::error::{Context as _, Error, Result};
use crate::fixture::{Fixture, condition};

/// Events as they come, until it is dropped.
pub(super) struct Watch {
    seen: mpsc::UnboundedReceiver<Seen>,
    task: AbortHandle,
}

/// One event.
pub(super) struct Seen {
    pub(super) at: Timestamp,
    pub(super) name: String,
    pub(super) generation: i64,
    /// Ready, and of this generation.
    pub(super) ready: bool,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Watch {
    /// Watches the fixture's namespace.
    pub(super) fn start(fixture: &Fixture) -> Self {
        let (sender, seen) = mpsc::unbounded_channel();
        let mut events =
            Box::pin(watcher(fixture.objects(), watcher::Config::default()).default_backoff().applied_objects());
        let task = tokio::spawn(async move {
            while let Some(event) = events.next().await {
                let Ok(object) = event else { continue };
                let at = Timestamp::now();
                let Ok(object) = serde_json::to_value(object) else { continue };
                if sender.send(Seen::of(&object, at)).is_err() {
                    return;
                }
            }
        });
        Self { seen, task: task.abort_handle() }
    }

    /// The next event that satisfies a condition.
    pub(super) async fn until(&mut self, patience: Duration, holds: impl Fn(&Seen) -> bool) -> Result<Seen> {
        let wait = async {
            loop {
                match self.seen.recv().await {
                    Some(seen) if holds(&seen) => return Ok(seen),
                    Some(_) => {}
                    None => return Err(Error::new("the watch ended")),
                }
            }
        };
        tokio::time::timeout(patience, wait).await.context("waiting for a change to be served")?
    }

    /// When so many objects have become ready, all of this generation at least.
    pub(super) async fn all_ready(&mut self, objects: usize, generation: i64, patience: Duration) -> Result<Timestamp> {
        let mut ready: HashMap<String, Timestamp> = HashMap::new();
        let wait = async {
            while ready.len() < objects {
                let seen = self.seen.recv().await.ok_or_else(|| Error::new("the watch ended"))?;
                if seen.ready && seen.generation >= generation {
                    ready.entry(seen.name).or_insert(seen.at);
                }
            }
            Ok::<(), Error>(())
        };
        let outcome = tokio::time::timeout(patience, wait).await;
        outcome.map_err(|_| Error::new(format!("{} of {objects} objects were ready in time", ready.len())))??;
        ready.into_values().max().ok_or_else(|| Error::new("no object was to become ready"))
    }
}

impl Seen {
    fn of(object: &Value, at: Timestamp) -> Self {
        let name = object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default().to_owned();
        let generation = generation(object).unwrap_or_default();
        let ready = condition(object, "Ready").is_some_and(|ready| {
            ready.get("status") == Some(&json!("True")) && ready.get("observedGeneration") == Some(&json!(generation))
        });
        Self { at, name, generation, ready }
    }
}

/// An object's generation.
pub(super) fn generation(object: &Value) -> Result<i64> {
    let generation = object.pointer("/metadata/generation").and_then(Value::as_i64);
    generation.ok_or_else(|| Error::new("the object has no generation"))
}
