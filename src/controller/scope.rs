//! One task per scope: it gathers the wishes of all objects, decides when to look, and serves one credential at a time,
//! so that at most one request is under way. What it does then is in `round`.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};
use tracing::warn;

use super::{
    context::Context,
    scopes::Message,
    secrets::{self, SecretError},
};
use crate::{
    api::{CredentialRef, Flags, Hostname, Scope},
    cloudflare::Purpose,
    ops::{Task, failpoint},
    sync::{self, Guard, Owners, Problem, Sent, Uid, View, Wish},
};

/// What is known through one credential reference, and when to look again.
#[derive(Default)]
pub(super) struct Group {
    pub(super) view: View,
    /// When the next round is due; `None` until an object asks for one.
    pub(super) due: Option<Instant>,
    /// Whether somebody waits for the next round; else it is a look in the course of things.
    pub(super) wanted: bool,
    /// The budget is used up until then.
    held: Option<Instant>,
    /// When the Secret is read again, to notice that it changed.
    poll: Option<Instant>,
    pub(super) failures: u32,
    pub(super) looks: u32,
    /// A look was asked for since the last one began.
    pub(super) asked: bool,
    /// A write through this credential may still show its effect.
    pub(super) wrote: bool,
    /// What is left of a refused batch that was halved; the last part is next.
    pub(super) parts: Vec<BTreeSet<Hostname>>,
    /// When the API server was last asked for the Secret, if it has not given it.
    unread: Option<Instant>,
    /// What the Secret held when it was last read, as far as it takes to notice a change.
    pub(super) secret: Option<Result<u64, SecretError>>,
}

impl Group {
    /// When this group wants to be served again.
    fn next(&self) -> Option<Instant> {
        [self.round_at(), self.poll].into_iter().flatten().min()
    }

    fn round_at(&self) -> Option<Instant> {
        self.due.map(|due| self.held.map_or(due, |held| held.max(due)))
    }

    /// Somebody waits: at once.
    fn hurry(&mut self) {
        self.failures = 0;
        self.looks = 0;
        self.due = Some(Instant::now());
        self.wanted = true;
        self.held = None;
    }
}

/// Cloudflare's lock on the scope: one for all credentials, so that one of them probes and the others wait.
#[derive(Default)]
pub(super) struct Busy {
    pub(super) failures: u32,
    pub(super) until: Option<Instant>,
}

pub(super) struct ScopeTask {
    pub(super) scope: Scope,
    pub(super) context: Arc<Context>,
    inbox: mpsc::UnboundedReceiver<Message>,
    pub(super) wishes: BTreeMap<Uid, Box<Wish>>,
    /// Boxed: a map of few large values wastes more than it holds, and there is one in each scope.
    pub(super) groups: BTreeMap<Arc<CredentialRef>, Box<Group>>,
    pub(super) owners: Owners,
    /// Whether `owners` has to be decided anew.
    pub(super) claims_changed: bool,
    /// Whether a group may have lost its last object.
    members_changed: bool,
    pub(super) busy: Busy,
    pub(super) guard: Guard,
    /// Domains of a zone's hostnames that were written: they are known still when their object is gone.
    pub(super) domains: BTreeSet<String>,
}

impl ScopeTask {
    pub(super) fn new(scope: Scope, context: Arc<Context>, inbox: mpsc::UnboundedReceiver<Message>) -> Self {
        Self {
            scope,
            context,
            inbox,
            wishes: BTreeMap::new(),
            groups: BTreeMap::new(),
            owners: Owners::new(),
            claims_changed: false,
            members_changed: false,
            busy: Busy::default(),
            guard: Guard::default(),
            domains: BTreeSet::new(),
        }
    }

    /// Serves the scope until nobody wants anything of it any more, or the program ends.
    pub(super) async fn run(mut self) {
        let stop = self.context.stop.clone();
        loop {
            self.drain();
            self.assign();
            self.drop_empty_groups();
            let stopping = stop.is_cancelled();
            if self.is_done() && self.context.scopes.close(&self.scope, &self.inbox) {
                return;
            }
            let served = self.groups.iter().filter(|(_, group)| !stopping || self.is_watched(group));
            let next = served.filter_map(|(at, group)| Some((group.next()?, at.clone()))).min();
            if stopping && next.is_none() {
                return;
            }
            match next {
                Some((when, at)) if when <= Instant::now() => {
                    self.serve(&at).await;
                    self.context.health.rest(&Task::Scope(self.scope.clone()));
                }
                next => {
                    let wake = async {
                        match next {
                            Some((when, _)) => sleep_until(when).await,
                            None => std::future::pending().await,
                        }
                    };
                    tokio::select! {
                        message = self.inbox.recv() => if let Some(message) = message { self.take(message) },
                        () = wake => {}
                        () = stop.cancelled(), if !stopping => {}
                    }
                }
            }
        }
    }

    /// Nobody wants anything any more, and no write of ours has an effect that is still to be seen.
    fn is_done(&self) -> bool {
        self.wishes.is_empty() && self.groups.is_empty()
    }

    /// Whether a write through this credential has an effect that is still to be seen, or to be mended: that is waited for
    /// even when the program ends.
    fn is_watched(&self, group: &Group) -> bool {
        group.wrote && self.guard.is_open()
    }

    /// Takes in everything that was filed meanwhile: it becomes part of the batch that is about to be planned.
    pub(super) fn drain(&mut self) {
        while let Ok(message) = self.inbox.try_recv() {
            self.take(message);
        }
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::File(wish) => self.file(wish),
            Message::Forget(uid) => self.forget(&uid),
        }
    }

    fn file(&mut self, mut wish: Box<Wish>) {
        let former = self.wishes.get(&wish.uid);
        if let Some(former) = former {
            wish.succeed(former);
        }
        let same = former.is_some_and(|former| {
            former.spec == wish.spec
                && former.generation == wish.generation
                && former.reconcile_at == wish.reconcile_at
                && former.leaving == wish.leaving
        });
        if let Some((shared, _)) = self.groups.get_key_value(&wish.spec.credential) {
            wish.spec.credential = shared.clone();
        }
        if wish.whole_list {
            self.guard.remember_replacing();
        }
        let at = wish.spec.credential.clone();
        // Who is new, or wants something else, is content with a look that has begun already; who asks for one is not.
        let asked = match former {
            Some(former) => former.reconcile_at != wish.reconcile_at,
            None => wish.looked_at != wish.reconcile_at,
        };
        let suspended = wish.spec.suspend;
        let listed: BTreeSet<Hostname> = wish.spec.settings.keys().cloned().collect();
        let is_kept = |hostname: &Hostname, flags: &Flags| wish.spec.settings.get(hostname) == Some(flags);
        let given_up: BTreeSet<Hostname> = former
            .into_iter()
            .flat_map(|former| former.spec.settings.iter())
            .filter(|(hostname, flags)| !is_kept(hostname, flags))
            .map(|(hostname, _)| hostname.clone())
            .collect();
        self.wishes.insert(wish.uid.clone(), wish);
        if same {
            return;
        }
        self.claims_changed = true;
        self.members_changed = true;
        if !suspended {
            let group = self.groups.entry(at).or_default();
            group.view.repairs.retain(|hostname, _| !listed.contains(hostname));
            // What was refused is asked for again by who has wanted something else meanwhile.
            group.view.rejected.retain(|hostname, _| !given_up.contains(hostname));
            group.asked |= asked;
            group.hurry();
            self.busy.until = None;
        }
    }

    fn forget(&mut self, uid: &str) {
        if self.wishes.remove(uid).is_some() {
            self.claims_changed = true;
            self.members_changed = true;
        }
    }

    /// Forgets credentials that no object uses any more, but not before the effect of their last write is seen.
    fn drop_empty_groups(&mut self) {
        if !std::mem::take(&mut self.members_changed) && !self.wishes.is_empty() {
            return;
        }
        let used: BTreeSet<&Arc<CredentialRef>> = self.wishes.values().map(|wish| &wish.spec.credential).collect();
        let is_open = self.guard.is_open();
        let mut under_way = BTreeMap::new();
        self.groups.retain(|at, group| {
            let is_needed = used.contains(at) || (group.wrote && is_open);
            if !is_needed {
                under_way.append(&mut group.view.sent);
            }
            is_needed
        });
        // What is on its way arrives, whoever sent it: nobody is in sync before it has.
        for group in self.groups.values_mut() {
            for (hostname, sent) in &under_way {
                group.view.sent.entry(hostname.clone()).or_insert(*sent);
            }
        }
    }

    /// Decides who owns what, when something that matters for it has changed. Whoever gains a hostname is served at
    /// once; so is whoever loses one, unless it is in trouble anyway.
    pub(super) fn assign(&mut self) {
        if !std::mem::take(&mut self.claims_changed) {
            return;
        }
        let groups = &self.groups;
        let owners = sync::owners(self.wishes.values().map(AsRef::as_ref), |wish, hostname, flags| {
            groups.get(&wish.spec.credential).is_some_and(|group| group.view.stands_back(hostname, flags))
        });
        let moved = owners.iter().filter_map(|(hostname, owner)| {
            let former = self.owners.get(hostname)?;
            (former.uid != owner.uid).then_some([(&former.uid, false), (&owner.uid, true)])
        });
        for (uid, gained) in moved.flatten() {
            let group = self.wishes.get(uid).and_then(|wish| self.groups.get_mut(&wish.spec.credential));
            if let Some(group) = group.filter(|group| gained || group.view.problem.is_none()) {
                group.hurry();
            }
        }
        self.owners = owners;
        self.hand_over();
    }

    /// Tells whoever answers for a hostname now of a write that is under way through another credential: what is on its way
    /// arrives, whoever sent it, and nobody is in sync before it has.
    fn hand_over(&mut self) {
        if self.groups.len() < 2 {
            return;
        }
        let sent = self.groups.values().flat_map(|group| &group.view.sent);
        let under_way: Vec<(Hostname, Sent)> = sent.map(|(hostname, sent)| (hostname.clone(), *sent)).collect();
        for (hostname, sent) in under_way {
            let owner = self.owners.get(&hostname).and_then(|owner| self.wishes.get(&owner.uid));
            let lets_go = self.wishes.values().filter(|wish| wish.tombstones.contains(&hostname));
            for wish in owner.into_iter().chain(lets_go) {
                let Some(group) = self.groups.get_mut(&wish.spec.credential) else { continue };
                let newest = group.view.sent.entry(hostname.clone()).or_insert(sent);
                if newest.at < sent.at {
                    *newest = sent;
                }
            }
        }
    }

    /// Does what is due for one credential reference: a round, or just a look at the Secret.
    async fn serve(&mut self, at: &Arc<CredentialRef>) {
        let is_watched = self.groups.get(at).is_some_and(|group| self.is_watched(group));
        let is_idle = self.members(at).next().is_none();
        if let Some(group) = self.groups.get_mut(at).filter(|_| is_idle && !is_watched) {
            (group.due, group.poll) = (None, None);
            self.members_changed = true;
            return;
        }
        let context = self.context.clone();
        let is_due = |group: &Group| group.round_at().is_some_and(|at| at <= Instant::now());
        // Before the Secret is read, so that it is fresh when the round begins. The semaphore is never closed.
        let _place = if self.groups.get(at).is_some_and(|group| is_due(group)) {
            tokio::select! {
                // A place that becomes free because the program ends is no reason to begin.
                biased;
                () = context.stop.cancelled(), if !is_watched => return,
                place = context.rounds.acquire() => place.ok(),
            }
        } else {
            None
        };
        context.health.beat(&Task::Scope(self.scope.clone()));
        failpoint::reach("scope", "").await;
        let credential = secrets::read(&context.requests, at).await;
        let group = self.groups.entry(at.clone()).or_default();
        let now = Instant::now();
        group.poll = Some(now + context.settings.secret_poll);
        if let Err(error @ SecretError::Unreadable(_)) = &credential {
            // That the API server has a bad moment says nothing about the Secret, and often cannot be reported either.
            if group.unread.replace(now).is_none() {
                warn!(scope = %self.scope, namespace = %at.namespace, "{error}");
            }
            group.due = group.due.map(|due| due.max(now + secrets::PAUSE));
            return;
        }
        group.unread = None;
        let secret = Some(credential.as_ref().map(|token| context.budget.fingerprint(token)).map_err(Clone::clone));
        if group.secret.is_some() && group.secret != secret {
            group.view.rejected.clear();
            self.claims_changed = true;
            group.hurry();
        }
        group.secret = secret;
        if !is_due(group) {
            return;
        }
        let overdue = group.due.map(|due| now.saturating_duration_since(due)).unwrap_or_default();
        let purpose = if group.wanted { Purpose::Wanted } else { Purpose::Routine(overdue) };
        if let Some(Ok(fingerprint)) = &group.secret
            && let Err(later) = context.budget.begin(*fingerprint, purpose, now)
        {
            group.held = Some(later);
            return;
        }
        group.held = None;
        match credential {
            Ok(credential) => self.round(at, &credential).await,
            Err(error) => self.fail(at, Problem::from(&error), None),
        }
    }

    /// The objects that are served through one credential reference.
    pub(super) fn members<'a>(&'a self, at: &'a Arc<CredentialRef>) -> impl Iterator<Item = &'a Wish> {
        let wishes = self.wishes.values().map(AsRef::as_ref);
        wishes.filter(move |wish| wish.spec.credential == *at && !wish.spec.suspend)
    }
}
