//! Events, published one after the other behind the work: they help people, and never hold up a status.

use std::{sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Client, Resource,
    runtime::events::{Event, EventType, Recorder, Reporter},
};
use tokio::{sync::mpsc, time::timeout};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::report::Subject;
use crate::{
    api::{Class, FIELD_MANAGER, MtlsHostnameSettings, ObjectKey, Reason},
    ops::{Health, Task, failpoint},
    sync::{Report, Uid},
};

/// Most events that wait; what comes beyond them is only logged.
const QUEUE: usize = 16_384;
/// A recorder counts a repetition instead of writing it anew. It remembers everything for six minutes, at 4 kB each: after
/// so many events a new one takes its place.
const REMEMBERED: usize = 64;
/// Longest that one event may take.
const DEADLINE: Duration = Duration::from_secs(10);
/// How long the events that still wait hold up the end of the program.
const FAREWELL: Duration = Duration::from_secs(2);

/// An object, and the report whose reason is new for it.
type Queued = (ObjectKey, Uid, Arc<Report>);

/// Where events are handed in.
pub(super) struct Events(mpsc::Sender<Queued>);

/// What publishes them.
pub(super) struct Publisher {
    client: Client,
    queue: mpsc::Receiver<Queued>,
    recorder: Recorder,
    remembered: usize,
    health: Arc<Health>,
}

pub(super) fn events(client: Client, health: Arc<Health>) -> (Events, Publisher) {
    let (sender, queue) = mpsc::channel(QUEUE);
    let recorder = recorder(&client);
    (Events(sender), Publisher { client, queue, recorder, remembered: 0, health })
}

impl Events {
    /// Hands in what a new reason in the status means for people.
    pub(super) fn publish(&self, subject: &Subject<'_>, report: &Arc<Report>) {
        if report.reason == Reason::Pending {
            return;
        }
        if self.0.try_send((subject.key.clone(), subject.uid.into(), report.clone())).is_err() {
            warn!(object = %subject.key, "too many events wait: this one is not written");
        }
    }
}

/// What belongs to the course of things, or was asked for, is no warning.
fn worries(reason: Reason) -> bool {
    !matches!(reason, Reason::Propagating | Reason::RemoteBusy | Reason::Suspended | Reason::Resetting)
        && reason.class() != Class::Ready
}

fn event(report: &Report) -> Event {
    Event {
        type_: if worries(report.reason) { EventType::Warning } else { EventType::Normal },
        reason: report.reason.to_string(),
        note: Some(report.message.clone()),
        action: "Sync".to_owned(),
        secondary: None,
    }
}

fn reference(key: &ObjectKey, uid: &str) -> ObjectReference {
    ObjectReference {
        api_version: Some(MtlsHostnameSettings::api_version(&()).into_owned()),
        kind: Some(MtlsHostnameSettings::kind(&()).into_owned()),
        name: Some(key.name.clone()),
        namespace: Some(key.namespace.clone()),
        uid: Some(uid.to_owned()),
        ..ObjectReference::default()
    }
}

impl Publisher {
    /// Publishes until `drained` is cancelled, and then for a moment what still waits.
    pub(super) async fn run(mut self, drained: CancellationToken) {
        loop {
            tokio::select! {
                Some(queued) = self.queue.recv() => self.publish(&queued).await,
                () = drained.cancelled() => break,
            }
        }
        self.queue.close();
        let rest = async {
            while let Some(queued) = self.queue.recv().await {
                self.publish(&queued).await;
            }
        };
        if timeout(FAREWELL, rest).await.is_err() {
            warn!(lost = self.queue.len(), "events were left unwritten at the end");
        }
    }

    /// An event is a help, not a promise: when it cannot be written, the log says so and the work goes on.
    async fn publish(&mut self, (key, uid, report): &Queued) {
        if self.remembered == REMEMBERED {
            (self.recorder, self.remembered) = (recorder(&self.client), 0);
        }
        self.remembered += 1;
        self.health.beat(&Task::Events);
        failpoint::reach("events", "").await;
        let published = timeout(DEADLINE, self.recorder.publish(&event(report), &reference(key, uid))).await;
        self.health.rest(&Task::Events);
        let problem = match published {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {} s", DEADLINE.as_secs()),
        };
        warn!(object = %key, error = problem, "the event could not be written");
    }
}

fn recorder(client: &Client) -> Recorder {
    let reporter = Reporter { controller: FIELD_MANAGER.to_owned(), instance: std::env::var("POD_NAME").ok() };
    Recorder::new(client.clone(), reporter)
}
