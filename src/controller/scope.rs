//! One task per scope: it gathers the wishes of all objects, makes at most one request at a time, and answers each of
//! them with a report. The only place that calls Cloudflare.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};
use tracing::{info, warn};

use super::{
    context::Context,
    scopes::Message,
    secrets::{self, SecretError},
};
use crate::{
    api::{CredentialRef, Flags, Hostname, LastResponse, Reason, Scope},
    cloudflare::{Credential, Failure, Read},
    sync::{self, Problem, Report, View, Wish},
};

/// What is known through one credential reference, and when to look again.
#[derive(Default)]
struct Group {
    view: View,
    /// When the next round is due; `None` until an object asks for one.
    due: Option<Instant>,
    /// When the Secret is read again, to notice that it changed.
    poll: Option<Instant>,
    /// Cloudflare told us not to come before.
    not_before: Option<Instant>,
    failures: u32,
    looks: u32,
    /// What the Secret held when it was last read, as far as it takes to notice a change.
    secret: Option<Result<u64, SecretError>>,
}

pub(super) struct ScopeTask {
    scope: Scope,
    context: Arc<Context>,
    inbox: mpsc::UnboundedReceiver<Message>,
    wishes: BTreeMap<String, Wish>,
    groups: BTreeMap<CredentialRef, Group>,
}

impl ScopeTask {
    pub(super) fn new(scope: Scope, context: Arc<Context>, inbox: mpsc::UnboundedReceiver<Message>) -> Self {
        Self { scope, context, inbox, wishes: BTreeMap::new(), groups: BTreeMap::new() }
    }

    /// Serves the scope until nobody wants anything of it any more, or the program ends.
    pub(super) async fn run(mut self) {
        let stop = self.context.stop.clone();
        loop {
            self.drain();
            if stop.is_cancelled() || (self.wishes.is_empty() && self.context.scopes.close(&self.scope, &self.inbox)) {
                return;
            }
            let now = Instant::now();
            let next = self.groups.iter().filter_map(|(at, group)| Some((group.next()?, at.clone()))).min();
            match next {
                Some((when, at)) if when <= now => self.serve(&at).await,
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
                        () = stop.cancelled() => {}
                    }
                }
            }
        }
    }

    /// Takes in everything that was filed meanwhile: it becomes part of the batch that is about to be planned.
    fn drain(&mut self) {
        while let Ok(message) = self.inbox.try_recv() {
            self.take(message);
        }
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::File(wish) => self.file(*wish),
            Message::Forget(uid) => self.forget(&uid),
        }
    }

    fn file(&mut self, mut wish: Wish) {
        let former = self.wishes.get(&wish.uid);
        if let Some(former) = former.filter(|former| former.spec == wish.spec) {
            // What this task proved itself is newer than what a cached status says.
            wish.applied |= former.applied;
            wish.established.extend(former.established.iter().cloned());
            if former.reconcile_at == wish.reconcile_at && former.generation == wish.generation {
                self.wishes.insert(wish.uid.clone(), wish);
                return;
            }
        }
        let at = wish.spec.credential.clone();
        let suspended = wish.spec.suspend;
        let left = self.wishes.insert(wish.uid.clone(), wish).map(|former| former.spec.credential);
        if left.is_some_and(|left| left != at) {
            self.drop_empty_groups();
        }
        if suspended {
            return;
        }
        let group = self.groups.entry(at.clone()).or_default();
        group.hurry();
        if group.due > Some(Instant::now()) {
            self.answer(&at);
        }
    }

    fn forget(&mut self, uid: &str) {
        let Some(gone) = self.wishes.remove(uid) else { return };
        self.drop_empty_groups();
        // Whoever waits for one of its hostnames may have it now.
        for wish in self.wishes.values() {
            let waits = wish.spec.settings.keys().any(|hostname| gone.spec.settings.contains_key(hostname));
            if let Some(group) = self.groups.get_mut(&wish.spec.credential).filter(|_| waits) {
                group.hurry();
            }
        }
    }

    fn drop_empty_groups(&mut self) {
        let used: BTreeSet<&CredentialRef> = self.wishes.values().map(|wish| &wish.spec.credential).collect();
        self.groups.retain(|at, _| used.contains(at));
    }

    /// Does what is due for one credential reference: a round, or just a look at the Secret.
    async fn serve(&mut self, at: &CredentialRef) {
        if !self.wishes.values().any(|wish| wish.spec.credential == *at && !wish.spec.suspend) {
            self.groups.remove(at);
            return;
        }
        let credential = secrets::read(&self.context.requests, at).await;
        let secret = credential.as_ref().map(|credential| self.context.limits.fingerprint(credential));
        let limited = secret.as_ref().ok().and_then(|fingerprint| self.context.limits.until(*fingerprint));
        let secret = Some(secret.map_err(Clone::clone));
        let group = self.groups.entry(at.clone()).or_default();
        let now = Instant::now();
        group.poll = Some(now + self.context.settings.secret_poll);
        if group.secret.is_some() && group.secret != secret {
            group.hurry();
        }
        group.secret = secret;
        if group.due.is_none_or(|due| due > now) {
            return;
        }
        if let Some(until) = limited {
            group.not_before = Some(until);
            let wait = Some(until.saturating_duration_since(now));
            self.fail(at, Problem { reason: Reason::RateLimited, code: None, wait, detail: None }, None);
            return;
        }
        match credential {
            Ok(credential) => self.round(at, &credential).await,
            Err(error) => self.fail(at, Problem::from(&error), None),
        }
    }

    /// GET, plan, PUT, GET. Every way out of it sets when to look again, and answers all objects of the group.
    async fn round(&mut self, at: &CredentialRef, credential: &Credential) {
        let context = self.context.clone();
        // The semaphore is never closed.
        let _place = context.rounds.acquire().await.ok();
        if !self.look(at, credential).await {
            return;
        }
        self.drain();
        let entries = self.plan(at);
        let write = !entries.is_empty() && !context.stop.is_cancelled();
        if !write || (self.write(at, credential, entries).await && self.look(at, credential).await) {
            self.settle(at);
        }
    }

    async fn look(&mut self, at: &CredentialRef, credential: &Credential) -> bool {
        let started = Instant::now();
        match self.context.cloudflare.get(&self.scope, credential).await {
            Ok(Read { list, response }) => {
                self.log(&response, started, "read");
                self.view(at).read(list, response, Instant::now().into_std());
                true
            }
            Err(failure) => {
                self.refused(at, failure, started);
                false
            }
        }
    }

    fn plan(&self, at: &CredentialRef) -> BTreeMap<Hostname, Flags> {
        let Some(group) = self.groups.get(at) else { return BTreeMap::new() };
        let owners = sync::owners(self.wishes.values());
        sync::plan(self.members(at), &owners, &group.view)
    }

    /// Sends the entries. A refused batch is halved until the refused entries stand alone, so that one bad hostname
    /// holds up none of its neighbours.
    async fn write(&mut self, at: &CredentialRef, credential: &Credential, entries: BTreeMap<Hostname, Flags>) -> bool {
        let mut batches = vec![entries];
        while let Some(mut batch) = batches.pop() {
            let started = Instant::now();
            match self.context.cloudflare.put(&self.scope, credential, &batch).await {
                Ok(response) => {
                    self.log(&response, started, "wrote");
                    self.view(at).accepted(batch, response, started.into_std());
                }
                Err(failure) if blames_an_entry(&failure) => {
                    self.log_failure(&failure, started);
                    let middle = batch.keys().nth(batch.len() / 2).cloned();
                    match middle.filter(|_| batch.len() > 1) {
                        Some(middle) => {
                            let upper = batch.split_off(&middle);
                            batches.extend([upper, batch]);
                        }
                        None => self.view(at).refused(batch, failure, started.into_std()),
                    }
                }
                Err(failure) => {
                    self.refused(at, failure, started);
                    return false;
                }
            }
        }
        true
    }

    fn view(&mut self, at: &CredentialRef) -> &mut View {
        &mut self.groups.entry(at.clone()).or_default().view
    }

    fn refused(&mut self, at: &CredentialRef, failure: Failure, started: Instant) {
        self.log_failure(&failure, started);
        let refusal = failure.refusal;
        if let (Some(wait), Some(Ok(fingerprint))) =
            (refusal.wait, self.groups.get(at).and_then(|group| group.secret.as_ref()))
        {
            self.context.limits.block(*fingerprint, Instant::now() + wait);
        }
        let problem =
            Problem { reason: refusal.reason, code: refusal.code, wait: refusal.wait, detail: failure.detail };
        self.fail(at, problem, Some(failure.response));
    }

    /// Ends a round that did not come to its end.
    fn fail(&mut self, at: &CredentialRef, problem: Problem, response: Option<LastResponse>) {
        let now = Instant::now();
        let group = self.groups.entry(at.clone()).or_default();
        group.failures = group.failures.saturating_add(1);
        let wait = sync::delay(problem.reason, group.failures, problem.wait, fastrand::f64());
        group.due = Some(now + wait);
        if problem.wait.is_some() {
            group.not_before = group.due;
        }
        if response.is_some() {
            group.view.response = response;
        }
        group.view.problem = Some(problem);
        self.answer(at);
    }

    /// Ends a round whose last step was a read.
    fn settle(&mut self, at: &CredentialRef) {
        let now = Instant::now();
        let interval = self.members(at).filter_map(|wish| wish.spec.interval).min();
        let interval = interval.unwrap_or(self.context.settings.default_interval);
        let group = self.groups.entry(at.clone()).or_default();
        group.failures = 0;
        group.not_before = None;
        group.due = Some(if group.view.sent.is_empty() {
            group.looks = 0;
            now + spread(interval)
        } else {
            group.looks = group.looks.saturating_add(1);
            now + sync::propagation_delay(group.looks)
        });
        self.answer(at);
    }

    fn members<'a>(&'a self, at: &'a CredentialRef) -> impl Iterator<Item = &'a Wish> {
        self.wishes.values().filter(move |wish| wish.spec.credential == *at && !wish.spec.suspend)
    }

    /// Hands out the reports of all objects of a group; those that say something new wake a reconcile.
    fn answer(&mut self, at: &CredentialRef) {
        let Some(group) = self.groups.get(at) else { return };
        let owners = sync::owners(self.wishes.values());
        let holder = |owner: &str| self.wishes.get(owner).map(|wish| wish.key.clone());
        let reports: Vec<(String, Report)> =
            self.members(at).map(|wish| (wish.uid.clone(), sync::report(wish, &owners, holder, &group.view))).collect();
        for (uid, report) in reports {
            let Some(wish) = self.wishes.get_mut(&uid) else { continue };
            wish.learn(&report);
            self.context.scopes.answer(&wish.key, &uid, report);
        }
    }

    fn log(&self, response: &LastResponse, started: Instant, did: &str) {
        info!(
            scope = %self.scope,
            method = %response.method,
            status = response.http_status,
            ray = response.ray_id.as_deref(),
            took_ms = millis(started),
            "{did} the settings"
        );
    }

    fn log_failure(&self, failure: &Failure, started: Instant) {
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

impl Group {
    /// When this group wants to be served again.
    fn next(&self) -> Option<Instant> {
        [self.due, self.poll].into_iter().flatten().min()
    }

    /// Somebody waits: at once, unless Cloudflare itself named a time.
    fn hurry(&mut self) {
        let now = Instant::now();
        self.failures = 0;
        self.looks = 0;
        self.due = Some(self.not_before.map_or(now, |not_before| not_before.max(now)));
    }
}

/// Whether the request was refused for what it names, not for who sent it or where.
fn blames_an_entry(failure: &Failure) -> bool {
    matches!(failure.refusal.reason, Reason::Rejected | Reason::HostnameNotInScope)
}

fn millis(started: Instant) -> u64 {
    u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// Ten per cent either way, so that scopes do not all look at the same moment.
fn spread(interval: Duration) -> Duration {
    interval.mul_f64(0.9 + 0.2 * fastrand::f64())
}
