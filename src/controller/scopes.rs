//! The post office between reconciles and scope tasks: wishes go in, reports come out, and nobody waits for anybody.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use kube::runtime::reflector::ObjectRef;
use tokio::sync::{Notify, mpsc};
use tokio_util::task::TaskTracker;

use super::{Guarded, context::Context, scope::ScopeTask};
use crate::{
    api::{MtlsHostnameSettingsStatus, ObjectKey, Scope},
    sync::{Report, Wish},
};

/// What a scope task is told.
pub(super) enum Message {
    /// This is what an object wants now.
    File(Box<Wish>),
    /// This object is gone, or wants nothing any more.
    Forget(String),
}

/// What a reconcile gets for the wish that it filed.
pub(super) struct Filed {
    /// The newest report about this generation.
    pub(super) report: Option<Report>,
    /// How long this generation has been waiting for one.
    pub(super) waiting: Duration,
}

/// Wakes the reconcile of an object in whichever controller watches its namespace.
pub(super) type Wake = Box<dyn Fn(ObjectRef<Guarded>) + Send + Sync>;

pub(super) struct Scopes {
    state: Mutex<State>,
    tasks: TaskTracker,
    delivered: Notify,
    wake: Wake,
    /// Told when a scope task ended in a panic.
    failed: mpsc::UnboundedSender<Scope>,
}

#[derive(Default)]
struct State {
    inboxes: HashMap<Scope, mpsc::UnboundedSender<Message>>,
    objects: HashMap<String, Place>,
    /// Objects with a report that no reconcile has written yet.
    undelivered: HashSet<String>,
}

/// What is remembered of one object, by UID.
struct Place {
    namespace: String,
    scope: Scope,
    generation: i64,
    since: Instant,
    report: Option<Report>,
    /// The status that was written last, with the `resourceVersion` that it was written over: until the watch shows a
    /// newer one, the cached status is stale and this one counts.
    written: Option<(String, MtlsHostnameSettingsStatus)>,
}

impl Scopes {
    pub(super) fn new(wake: Wake, failed: mpsc::UnboundedSender<Scope>) -> Self {
        Self { state: Mutex::default(), tasks: TaskTracker::new(), delivered: Notify::new(), wake, failed }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Files what an object wants with its scope, and returns what the scope has said so far.
    pub(super) fn file(context: &Arc<Context>, wish: Wish) -> Filed {
        let scopes = &context.scopes;
        let mut state = scopes.state();
        let place = state.objects.entry(wish.uid.clone()).or_insert_with(|| Place {
            namespace: wish.key.namespace.clone(),
            scope: wish.spec.scope.clone(),
            generation: wish.generation,
            since: Instant::now(),
            report: None,
            written: None,
        });
        if place.generation != wish.generation {
            place.generation = wish.generation;
            place.since = Instant::now();
        }
        let filed = Filed {
            report: place.report.clone().filter(|report| report.generation == wish.generation),
            waiting: place.since.elapsed(),
        };
        let scope = wish.spec.scope.clone();
        let moved = (place.scope != scope).then(|| std::mem::replace(&mut place.scope, scope.clone()));
        if let Some(inbox) = moved.and_then(|left| state.inboxes.get(&left)) {
            inbox.send(Message::Forget(wish.uid.clone())).ok();
        }
        let inbox = state.inboxes.entry(scope).or_insert_with_key(|scope| scopes.start(context, scope));
        // A closed inbox means that the task panicked; the program is ending then.
        inbox.send(Message::File(Box::new(wish))).ok();
        filed
    }

    fn start(&self, context: &Arc<Context>, scope: &Scope) -> mpsc::UnboundedSender<Message> {
        let (sender, inbox) = mpsc::unbounded_channel();
        let task = ScopeTask::new(scope.clone(), context.clone(), inbox);
        let (scope, failed) = (scope.clone(), self.failed.clone());
        self.tasks.spawn(async move {
            if tokio::spawn(task.run()).await.is_err() {
                failed.send(scope).ok();
            }
        });
        sender
    }

    /// Forgets an object: its hostnames are free.
    pub(super) fn forget(&self, uid: &str) {
        let mut state = self.state();
        let place = state.objects.remove(uid);
        if state.undelivered.remove(uid) {
            self.delivered.notify_waiters();
        }
        if let Some(inbox) = place.and_then(|place| state.inboxes.get(&place.scope)) {
            inbox.send(Message::Forget(uid.to_owned())).ok();
        }
    }

    /// Forgets every object of a namespace (of all, where `None`) that `known` does not know.
    pub(super) fn forget_all_but(&self, namespace: Option<&str>, known: impl Fn(&str) -> bool) {
        let here = |place: &Place| namespace.is_none_or(|namespace| place.namespace == namespace);
        let state = self.state();
        let objects = state.objects.iter().filter(|(uid, place)| here(place) && !known(uid));
        let gone: Vec<String> = objects.map(|(uid, _)| uid.clone()).collect();
        drop(state);
        for uid in gone {
            self.forget(&uid);
        }
    }

    /// Hands in a report; wakes the object's reconcile when it says something new.
    pub(super) fn answer(&self, key: &ObjectKey, uid: &str, report: Report) {
        let mut state = self.state();
        let Some(place) = state.objects.get_mut(uid) else { return };
        if place.report.as_ref().is_some_and(|former| former.says_the_same(&report)) {
            return;
        }
        place.report = Some(report);
        state.undelivered.insert(uid.to_owned());
        drop(state);
        (self.wake)(ObjectRef::new(&key.name).within(&key.namespace));
    }

    /// The newest report of an object stands in its status.
    pub(super) fn delivered(&self, uid: &str) {
        if self.state().undelivered.remove(uid) {
            self.delivered.notify_waiters();
        }
    }

    /// The status that was written over this `resourceVersion`, if the watch has not shown it yet.
    pub(super) fn written_over(&self, uid: &str, version: &str) -> Option<MtlsHostnameSettingsStatus> {
        let state = self.state();
        let (over, status) = state.objects.get(uid)?.written.as_ref()?;
        (over == version).then(|| status.clone())
    }

    pub(super) fn wrote_over(&self, uid: &str, version: &str, status: MtlsHostnameSettingsStatus) {
        if let Some(place) = self.state().objects.get_mut(uid) {
            place.written = Some((version.to_owned(), status));
        }
    }

    /// Closes a scope whose task has nothing left to do; `false` when a message came in between.
    pub(super) fn close(&self, scope: &Scope, inbox: &mpsc::UnboundedReceiver<Message>) -> bool {
        let mut state = self.state();
        let idle = inbox.is_empty();
        if idle {
            state.inboxes.remove(scope);
        }
        idle
    }

    /// Waits until every scope task has ended, after the stop was called, and what they found stands in the statuses.
    pub(super) async fn drained(&self) {
        self.tasks.close();
        self.tasks.wait().await;
        loop {
            let delivered = self.delivered.notified();
            if self.state().undelivered.is_empty() {
                return;
            }
            delivered.await;
        }
    }
}
