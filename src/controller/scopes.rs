//! The post office between reconciles and scope tasks: wishes go in, reports come out, and nobody waits for anybody.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use kube::runtime::reflector::ObjectRef;
use tokio::sync::{Notify, mpsc};
use tokio_util::task::TaskTracker;

use super::{Guarded, context::Context, scope::ScopeTask};
use crate::{
    api::{Class, MtlsHostnameSettingsStatus, ObjectKey, Scope},
    sync::{Report, Uid, Wish},
};

/// What a scope task is told.
pub(super) enum Message {
    /// This is what an object wants now.
    File(Box<Wish>),
    /// This object is gone, or wants nothing any more.
    Forget(Uid),
}

/// What a reconcile gets for the wish that it filed.
pub(super) struct Filed {
    /// The newest report about this generation.
    pub(super) report: Option<Arc<Report>>,
    /// How long this generation has been waiting for one.
    pub(super) waiting: Duration,
    /// Whether other objects have something to say that is not written yet.
    pub(super) crowded: bool,
}

/// Wakes the reconcile of an object in whichever controller watches its namespace.
pub(super) type Wake = Box<dyn Fn(ObjectRef<Guarded>) + Send + Sync>;

pub(super) struct Scopes {
    state: Mutex<State>,
    tasks: TaskTracker,
    delivered: Notify,
    filed: Notify,
    wake: Wake,
    /// Told when a scope task ended in a panic.
    failed: mpsc::UnboundedSender<Scope>,
}

#[derive(Default)]
struct State {
    inboxes: HashMap<Scope, mpsc::UnboundedSender<Message>>,
    /// Every object that the watches show: a wish of any other comes too late.
    objects: HashMap<Uid, Object>,
    /// Objects with a report that no reconcile has written yet.
    undelivered: HashSet<Uid>,
    /// Objects that the watches have handed on and no reconcile has filed.
    queued: HashSet<ObjectKey>,
}

/// What is remembered of one object.
struct Object {
    namespace: String,
    /// Changes when the object needs a look.
    mark: Option<u64>,
    /// Where its wish was filed; boxed, since a table of them has room to spare.
    place: Option<Box<Place>>,
    /// The status that was written last, until the watch shows it.
    written: Option<Box<Written>>,
    /// The version that the watch showed last.
    version: Box<str>,
}

struct Place {
    scope: Scope,
    generation: i64,
    since: Instant,
    report: Option<Arc<Report>>,
    /// When the object was last found to be as it asks.
    synced: Option<Timestamp>,
}

struct Written {
    version: String,
    status: MtlsHostnameSettingsStatus,
}

impl Object {
    /// Drops what was written once it is seen. Versions of one kind are decimal numbers that grow
    /// (kubernetes.io/docs/reference/using-api/api-concepts, "Resource version comparison").
    fn catch_up(&mut self, version: &str) {
        self.written.take_if(|written| number(version) >= number(&written.version));
    }
}

/// Versions in their order.
pub(super) fn number(version: &str) -> (usize, &str) {
    (version.len(), version)
}

/// Longest that the last statuses may take to be written.
const FAREWELL: Duration = Duration::from_secs(20);
/// Longest that a round waits for a crowd of objects to be filed.
const CROWD: Duration = Duration::from_secs(1);

impl Scopes {
    pub(super) fn new(wake: Wake, failed: mpsc::UnboundedSender<Scope>) -> Self {
        Self {
            state: Mutex::default(),
            tasks: TaskTracker::new(),
            delivered: Notify::new(),
            filed: Notify::new(),
            wake,
            failed,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Files what an object wants with its scope, and returns what the scope has said so far.
    pub(super) fn file(context: &Arc<Context>, wish: Wish) -> Filed {
        let scopes = &context.scopes;
        let mut state = scopes.state();
        let state = &mut *state;
        let Some(object) = state.objects.get_mut(&wish.uid) else {
            // Deleted since this reconcile began: whoever forgot it must not be overtaken.
            return Filed { report: None, waiting: Duration::ZERO, crowded: false };
        };
        let place = object.place.get_or_insert_with(|| {
            let scope = wish.spec.scope.clone();
            Box::new(Place { scope, generation: wish.generation, since: Instant::now(), report: None, synced: None })
        });
        if place.generation != wish.generation {
            place.generation = wish.generation;
            place.since = Instant::now();
            // Generations come again when the API server shows the past, and what was found before may have been undone.
            place.report = None;
            // A report about a former generation is not written any more.
            state.undelivered.remove(&wish.uid);
            scopes.delivered.notify_waiters();
        }
        let filed = Filed {
            report: place.report.clone().filter(|report| report.generation == wish.generation),
            waiting: place.since.elapsed(),
            crowded: !state.undelivered.is_empty(),
        };
        let scope = wish.spec.scope.clone();
        let moved = (place.scope != scope).then(|| std::mem::replace(&mut place.scope, scope.clone()));
        if let Some(inbox) = moved.and_then(|left| state.inboxes.get(&left)) {
            inbox.send(Message::Forget(wish.uid.clone())).ok();
        }
        let inbox = state.inboxes.entry(scope).or_insert_with_key(|scope| scopes.start(context, scope));
        // A closed inbox means that the task panicked; the program is ending then.
        let filed_now = state.queued.remove(&wish.key) && state.queued.is_empty();
        inbox.send(Message::File(Box::new(wish))).ok();
        if filed_now {
            scopes.filed.notify_waiters();
        }
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

    /// The watch shows an object in this version; whether it needs a look, which its reconcile then takes.
    pub(super) fn seen(&self, key: ObjectKey, uid: &str, version: &str, mark: Option<u64>) -> bool {
        let mut state = self.state();
        let news = if let Some(object) = state.objects.get_mut(uid) {
            object.version = version.into();
            object.catch_up(version);
            std::mem::replace(&mut object.mark, mark) != mark
        } else {
            let object =
                Object { namespace: key.namespace.clone(), mark, place: None, written: None, version: version.into() };
            state.objects.insert(uid.into(), object);
            true
        };
        if news {
            state.queued.insert(key);
        }
        news
    }

    /// A reconcile has filed what an object wants, or found that it wants nothing.
    pub(super) fn reconciled(&self, key: &ObjectKey) {
        let mut state = self.state();
        if state.queued.remove(key) && state.queued.is_empty() {
            self.filed.notify_waiters();
        }
    }

    /// Waits until everything that the watches have handed on is filed, so that a crowd becomes one batch.
    pub(super) async fn quiet(&self) {
        let quiet = async {
            loop {
                let filed = self.filed.notified();
                if self.state().queued.is_empty() {
                    return;
                }
                filed.await;
            }
        };
        tokio::time::timeout(CROWD, quiet).await.ok();
    }

    /// An object is gone from the watch: deleted, or not selected any more.
    pub(super) fn gone(&self, key: &ObjectKey, uid: &str) {
        self.reconciled(key);
        let mut state = self.state();
        self.forget_in(&mut state, uid);
        state.objects.remove(uid);
    }

    /// Forgets an object: its hostnames are free.
    pub(super) fn forget(&self, uid: &str) {
        self.forget_in(&mut self.state(), uid);
    }

    fn forget_in(&self, state: &mut State, uid: &str) {
        let place = state.objects.get_mut(uid).and_then(|object| object.place.take());
        if state.undelivered.remove(uid) {
            self.delivered.notify_waiters();
        }
        if let Some(inbox) = place.and_then(|place| state.inboxes.get(&place.scope)) {
            inbox.send(Message::Forget(uid.into())).ok();
        }
    }

    /// Forgets every object of a namespace (of all, where `None`) that `known` does not know.
    pub(super) fn forget_all_but(
        &self,
        namespace: Option<&str>,
        known: impl Fn(&str) -> bool,
        listed: impl Fn(&ObjectKey) -> bool,
    ) {
        let here = |place: &str| namespace.is_none_or(|namespace| place == namespace);
        let mut state = self.state();
        // No reconcile comes for these any more.
        state.queued.retain(|key| !here(&key.namespace) || listed(key));
        if state.queued.is_empty() {
            self.filed.notify_waiters();
        }
        let objects = state.objects.iter().filter(|(uid, object)| here(&object.namespace) && !known(uid));
        let gone: Vec<Uid> = objects.map(|(uid, _)| uid.clone()).collect();
        for uid in gone {
            self.forget_in(&mut state, &uid);
            state.objects.remove(&uid);
        }
    }

    /// Hands in a report; wakes the object's reconcile when it says something new.
    pub(super) fn answer(&self, key: &ObjectKey, uid: &Uid, report: Report) {
        let mut state = self.state();
        let Some(place) = state.objects.get_mut(uid).and_then(|object| object.place.as_mut()) else { return };
        let outdated = place.generation != report.generation;
        if !outdated && report.reason.class() == Class::Ready {
            place.synced = Some(Timestamp::now());
        }
        if outdated || place.report.as_ref().is_some_and(|former| former.says_the_same(&report)) {
            return;
        }
        place.report = Some(Arc::new(report));
        state.undelivered.insert(uid.clone());
        drop(state);
        (self.wake)(ObjectRef::new(&key.name).within(&key.namespace));
    }

    /// A report of an object stands in its status; if there is a newer one, that one is still to come.
    pub(super) fn delivered(&self, uid: &str, report: &Report) {
        let mut state = self.state();
        let place = state.objects.get(uid).and_then(|object| object.place.as_ref());
        let newest = place.and_then(|place| place.report.as_deref()) == Some(report);
        if newest && state.undelivered.remove(uid) {
            self.delivered.notify_waiters();
        }
    }

    /// When an object was last found to be as it asks.
    pub(super) fn synced_at(&self, uid: &str) -> Option<Timestamp> {
        self.state().objects.get(uid)?.place.as_ref()?.synced
    }

    /// The status that was written last, when the cache still shows an older version of the object.
    pub(super) fn newer_status(&self, uid: &str, cached: &str) -> Option<MtlsHostnameSettingsStatus> {
        let mut state = self.state();
        let object = state.objects.get_mut(uid)?;
        object.catch_up(cached);
        object.written.as_ref().map(|written| written.status.clone())
    }

    /// Notes what was written, and the version that came of it.
    pub(super) fn wrote(&self, uid: &str, version: String, status: MtlsHostnameSettingsStatus) {
        if let Some(object) =
            self.state().objects.get_mut(uid).filter(|object| number(&object.version) < number(&version))
        {
            object.written = Some(Box::new(Written { version, status }));
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

    /// Waits until every scope task has ended, after the stop was called, and what they found stands in the statuses; false
    /// when it cannot be written.
    pub(super) async fn drained(&self) -> bool {
        self.tasks.close();
        self.tasks.wait().await;
        let told = async {
            loop {
                let delivered = self.delivered.notified();
                if self.state().undelivered.is_empty() {
                    return;
                }
                delivered.await;
            }
        };
        tokio::time::timeout(FAREWELL, told).await.is_ok()
    }
}
