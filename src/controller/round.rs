//! One round for one credential: GET, plan, PUT, GET. Nothing else calls Cloudflare; every way out of it sets
//! when to look again and answers all objects of the group.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use futures::{StreamExt, stream};
use tokio::time::Instant;
use tracing::warn;

use super::{
    finalizer,
    scope::{Group, ScopeTask},
    write::{Written, count},
};
use crate::{
    api::{Class, CredentialRef, Flags, Hostname, LastResponse, Reason, SyncMode},
    cloudflare::{Credential, Failure, Reply},
    ops::Task,
    sync::{self, Problem, Report, Uid, View, Wish},
};

/// So many refusals in a row mean that something else is wrong than single entries: the rest waits.
const MOST_REFUSALS: u32 = 64;

impl ScopeTask {
    pub(super) async fn round(&mut self, at: &Arc<CredentialRef>, credential: &Credential) {
        // A crowd that is already on its way becomes part of this batch; a single change finds nobody to wait for. Where
        // bodies carry the whole list, the read comes after the wait: what others add between read and write is lost.
        if self.guard.replaces() {
            self.context.scopes.quiet().await;
        }
        let Some(damaged) = self.look(at, credential).await else { return };
        if damaged {
            self.answer(at);
        } else if !self.guard.has_harmed() {
            self.view(at).alarm = false;
        }
        if !self.guard.replaces() {
            self.context.scopes.quiet().await;
        }
        let mut refusals = 0;
        loop {
            self.drain();
            self.assign();
            // At the end of the program nothing new begins; what a write has harmed is mended.
            let stopping = self.context.stop.is_cancelled();
            let entries = if stopping { BTreeMap::new() } else { self.confirmed(at).await };
            if (entries.is_empty() && !self.mends(at)) || refusals >= MOST_REFUSALS {
                return self.settle(at);
            }
            let batch = self.next_part(at, entries);
            match self.write(at, credential, batch).await {
                Written::Failed => return,
                Written::Refused => {
                    refusals += 1;
                    // A body that carries the whole list carries it as it is now.
                    if self.guard.replaces() && self.look(at, credential).await.is_none() {
                        return;
                    }
                }
                Written::Accepted => {
                    let Some(damaged) = self.look(at, credential).await else { return };
                    if damaged {
                        // Said before it is mended, so that it does not go by unseen.
                        self.answer(at);
                        continue;
                    }
                    let group = self.group(at);
                    if !group.view.sent.is_empty() || group.parts.is_empty() {
                        return self.settle(at);
                    }
                    refusals = 0;
                }
            }
        }
    }

    /// Whether this group has to put back what a write of ours has removed. Who wrote mends, whatever became of its objects.
    fn mends(&self, at: &Arc<CredentialRef>) -> bool {
        let wrote = self.groups.get(at).is_some_and(|group| group.wrote);
        self.guard.has_harmed() && (wrote || self.members(at).any(|wish| wish.spec.mode != SyncMode::Observe))
    }

    /// Reads the list. `Some(true)` when it shows that a write of ours removed what it did not name; `None` when the
    /// round is over.
    async fn look(&mut self, at: &Arc<CredentialRef>, credential: &Credential) -> Option<bool> {
        if let Some(problem) = self.limited(at) {
            self.fail(at, problem, None);
            return None;
        }
        let started = Instant::now();
        self.spend(at);
        self.begin(at);
        match self.context.cloudflare.get(&self.scope, credential).await {
            Ok(Reply { list, response, left }) => {
                self.note(at, left);
                self.log(&response, started, "read");
                let domains = self.domains();
                let now = Instant::now().into_std();
                // The list is one: it also shows what was sent through other credentials.
                let arrived = self.groups.values_mut().filter_map(|group| group.view.shown(&list, now)).max();
                let view = &mut self.groups.entry(at.clone()).or_default().view;
                let stood_back = view.problem.is_some() || !view.rejected.is_empty();
                view.read(list, response, now);
                if let Some(at) = arrived {
                    self.groups.values_mut().for_each(|group| group.view.arrived(at));
                }
                self.claims_changed |= stood_back;
                let landed = self.groups.values().all(|group| group.view.sent.is_empty());
                let view = &mut self.groups.get_mut(at)?.view;
                let list = view.remote.as_ref()?;
                let damaged = self.guard.check(list, landed, |hostname| domains.holds(hostname));
                view.alarm |= damaged;
                view.whole_list = self.guard.replaces();
                if damaged {
                    self.context.metrics.unexpected_changes.inc();
                    warn!(scope = %self.scope, "a write removed entries that it did not name: the list is put back");
                }
                Some(damaged)
            }
            Err(failure) => {
                self.refused(at, failure, started);
                None
            }
        }
    }

    /// A look begins: it answers whoever has asked for one by now.
    fn begin(&mut self, at: &Arc<CredentialRef>) {
        self.group(at).asked = false;
        let members = self.wishes.values_mut().filter(|wish| wish.spec.credential == *at);
        members.for_each(|wish| wish.looked_at.clone_from(&wish.reconcile_at));
    }

    /// The plan, without resets that the API server does not confirm: the watch may be late, and what is turned off is gone.
    async fn confirmed(&self, at: &Arc<CredentialRef>) -> BTreeMap<Hostname, Flags> {
        let mut entries = self.plan(at);
        let resets = |wish: &&Wish| wish.tombstones.iter().any(|hostname| entries.contains_key(hostname));
        let wishes: Vec<Wish> = self.members(at).filter(resets).cloned().collect();
        let reads: Vec<_> = wishes.iter().map(|wish| finalizer::lets_go(self.context.clone(), wish.clone())).collect();
        let beat = |_: &BTreeSet<Hostname>| self.context.health.beat(&Task::Scope(self.scope.clone()));
        let confirmed: Vec<BTreeSet<Hostname>> = stream::iter(reads).buffered(8).inspect(beat).collect().await;
        for hostname in wishes.iter().flat_map(|wish| &wish.tombstones) {
            let is_confirmed = confirmed.iter().any(|names| names.contains(hostname));
            if !is_confirmed && sync::is_free(&self.owners, hostname) {
                entries.remove(hostname);
            }
        }
        entries
    }

    fn plan(&self, at: &Arc<CredentialRef>) -> BTreeMap<Hostname, Flags> {
        let group = self.groups.get(at);
        group.map(|group| sync::plan(self.members(at), &self.owners, &group.view)).unwrap_or_default()
    }

    pub(super) fn group(&mut self, at: &Arc<CredentialRef>) -> &mut Group {
        self.groups.entry(at.clone()).or_default()
    }

    pub(super) fn view(&mut self, at: &Arc<CredentialRef>) -> &mut View {
        &mut self.group(at).view
    }

    pub(super) fn refused(&mut self, at: &Arc<CredentialRef>, failure: Failure, started: Instant) {
        self.log_failure(&failure, started);
        let refusal = failure.refusal;
        self.note(at, failure.left);
        if let (Some(wait), Some(fingerprint)) = (refusal.wait, self.fingerprint(at)) {
            let now = Instant::now();
            self.context.budget.block(fingerprint, now + wait, now);
        }
        let problem = Problem {
            reason: refusal.reason,
            code: refusal.code,
            wait: refusal.wait,
            detail: failure.detail,
            gone: refusal.reason == Reason::ScopeNotFound,
        };
        self.fail(at, problem, Some(failure.response));
    }

    /// Ends a round that did not come to its end.
    pub(super) fn fail(&mut self, at: &Arc<CredentialRef>, problem: Problem, response: Option<LastResponse>) {
        let now = Instant::now();
        let locked = self.busy.until.filter(|_| problem.reason == Reason::RemoteBusy);
        let group = self.group(at);
        group.failures = group.failures.saturating_add(1);
        let wait = sync::delay(problem.reason, group.failures, problem.wait, fastrand::f64());
        group.due = Some(locked.unwrap_or(now + wait));
        if response.is_some() {
            group.view.response = response.map(Arc::new);
        }
        let is_hopeless = problem.gone || problem.reason.class() == Class::Stalled;
        group.view.problem = Some(problem);
        self.claims_changed = true;
        if is_hopeless && (self.context.stop.is_cancelled() || self.members(at).next().is_none()) {
            self.guard.give_up();
        }
        for wish in self.wishes.values_mut().filter(|wish| wish.spec.credential == *at) {
            wish.looked_at.clone_from(&wish.reconcile_at);
        }
        self.answer(at);
    }

    /// Ends a round whose last step was a read.
    fn settle(&mut self, at: &Arc<CredentialRef>) {
        let now = Instant::now();
        let interval = self.members(at).filter_map(|wish| wish.spec.interval).min();
        let interval = interval.unwrap_or(self.context.settings.default_interval);
        let open =
            !self.plan(at).is_empty() || self.mends(at) || self.groups.get(at).is_some_and(|group| group.view.alarm);
        let is_open = self.guard.is_open();
        let group = self.group(at);
        group.failures = 0;
        group.wrote &= is_open;
        let open = open || !group.view.sent.is_empty();
        group.wanted = group.asked || open;
        group.due = Some(if group.asked {
            // Somebody has asked for a look since this one began.
            now
        } else if open {
            group.looks = group.looks.saturating_add(1);
            now + sync::propagation_delay(group.looks)
        } else {
            group.looks = 0;
            group.parts.clear();
            now + spread(interval)
        });
        self.answer(at);
    }

    /// Hands out the reports of all objects of a group; those that say something new wake a reconcile.
    fn answer(&mut self, at: &Arc<CredentialRef>) {
        let Some(group) = self.groups.get(at) else { return };
        let holder = |owner: &str| self.wishes.get(owner).map(|wish| wish.key.clone());
        let reports: Vec<(Uid, Report)> = self
            .members(at)
            .map(|wish| (wish.uid.clone(), sync::report(wish, &self.owners, holder, &group.view)))
            .collect();
        for (uid, report) in reports {
            let Some(wish) = self.wishes.get_mut(&uid) else { continue };
            self.context.metrics.drift_detected.inc_by(count(wish.newly_drifted(&report)));
            wish.learn(&report);
            self.context.scopes.answer(&wish.key, &uid, report);
        }
    }
}

/// Ten per cent either way, so that scopes do not all look at the same moment.
fn spread(interval: Duration) -> Duration {
    interval.mul_f64(0.9 + 0.2 * fastrand::f64())
}
