//! One round for one credential: GET, plan, PUT, GET. The only place that calls Cloudflare; every way out of it sets
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
};
use crate::{
    api::{Class, CredentialRef, Flags, Hostname, LastResponse, Reason, Scope, SyncMode},
    cloudflare::{Credential, Failure, RemoteList, Reply},
    ops::Task,
    sync::{self, Problem, Report, Uid, View, Wish},
};

/// So many refusals in a row mean that something else is wrong than single entries: the rest waits.
const MOST_REFUSALS: u32 = 64;

/// A write begins only when this replica may act for so long at least: it is given up when that time is over.
const SHORTEST_TERM: Duration = Duration::from_secs(5);

/// What became of a PUT.
enum Written {
    Accepted,
    /// Refused for what it names: halved, or noted when it named a single entry.
    Refused,
    /// The round is over.
    Failed,
}

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
                let view = &mut self.groups.entry(at.clone()).or_default().view;
                let stood_back = view.problem.is_some() || !view.rejected.is_empty();
                view.read(list, response, Instant::now().into_std());
                self.claims_changed |= stood_back;
                // Over all credentials: the list is one.
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

    /// What to send next: what is new, then the parts of a batch that was refused as a whole.
    fn next_part(&mut self, at: &Arc<CredentialRef>, entries: BTreeMap<Hostname, Flags>) -> BTreeMap<Hostname, Flags> {
        let group = self.group(at);
        let is_new = |hostname: &Hostname| !group.parts.iter().any(|part| part.contains(hostname));
        let new: BTreeMap<Hostname, Flags> = entries
            .iter()
            .filter(|(hostname, _)| is_new(hostname))
            .map(|(name, flags)| (name.clone(), *flags))
            .collect();
        if !new.is_empty() {
            return new;
        }
        while let Some(part) = group.parts.pop() {
            let wanted: BTreeMap<_, _> =
                part.into_iter().filter_map(|name| Some((name.clone(), *entries.get(&name)?))).collect();
            if !wanted.is_empty() {
                return wanted;
            }
        }
        entries
    }

    /// Sends the entries. A refused batch is halved until the refused entries stand alone, so that one bad hostname
    /// holds up none of its neighbours.
    async fn write(
        &mut self,
        at: &Arc<CredentialRef>,
        credential: &Credential,
        batch: BTreeMap<Hostname, Flags>,
    ) -> Written {
        if let Some(problem) = self.limited(at).or_else(|| self.locked()) {
            self.group(at).parts.push(batch.into_keys().collect());
            self.fail(at, problem, None);
            return Written::Failed;
        }
        let Some(term) = self.context.leadership.term(SHORTEST_TERM).await else {
            // The lease is lost: the program is about to end.
            let group = self.group(at);
            group.parts.push(batch.into_keys().collect());
            group.due = Some(Instant::now() + Duration::from_secs(1));
            return Written::Failed;
        };
        let started = Instant::now();
        let domains = self.domains();
        let body = self.guard.body(self.remote_to_be(at).as_ref(), &batch, |hostname| domains.holds(hostname));
        self.spend(at);
        self.context.metrics.batch(body.len());
        let answer = self.context.cloudflare.put(&self.scope, credential, &body, term).await;
        if answer.as_ref().map_or_else(|failure| failure.unclear, |_| true) {
            self.group(at).wrote = true;
            if matches!(self.scope, Scope::Zone(_)) {
                self.domains.extend(batch.keys().map(|hostname| sync::registered_domain(hostname.as_str()).to_owned()));
            }
            for hostname in batch.keys() {
                let owner = self.owners.get(hostname).and_then(|owner| self.wishes.get_mut(&owner.uid));
                if let Some(wish) = owner {
                    wish.sent(hostname);
                }
            }
            self.guard.wrote(self.groups.get(at).and_then(|group| group.view.remote.as_ref()), &body);
        }
        match answer {
            Ok(Reply { response, left, .. }) => {
                self.note(at, left);
                self.log(&response, started, &format!("wrote {} entries of", body.len()));
                self.busy.failures = 0;
                self.busy.until = None;
                let (owners, wishes) = (&self.owners, &self.wishes);
                let repaired = |hostname: &Hostname| {
                    let owner = owners.get(hostname).and_then(|owner| wishes.get(&owner.uid));
                    owner.is_some_and(|wish| wish.is_settled(hostname))
                };
                let drifted: Vec<&Hostname> = batch.keys().filter(|hostname| repaired(hostname)).collect();
                let metrics = &self.context.metrics;
                metrics.drift_corrected.inc_by(count(drifted.len()));
                // Those that a status has told of were counted then.
                let untold = drifted.iter().filter(|hostname| {
                    let owner = owners.get(**hostname).and_then(|owner| wishes.get(&owner.uid));
                    owner.is_some_and(|wish| !wish.is_drifted(hostname))
                });
                metrics.drift_detected.inc_by(count(untold.count()));
                let group = self.groups.entry(at.clone()).or_default();
                // The looks at this write begin anew, so that the parts of a halved batch don't wait longer and longer.
                group.looks = 0;
                group.view.accepted(&batch, repaired, response, started.into_std());
                Written::Accepted
            }
            Err(failure) if blames_an_entry(&failure) && batch.is_empty() => {
                self.log_failure(&failure, started);
                warn!(scope = %self.scope, "what a write removed cannot be put back: Cloudflare refuses it");
                self.guard.give_up();
                Written::Refused
            }
            Err(failure) if blames_an_entry(&failure) => {
                self.log_failure(&failure, started);
                let group = self.group(at);
                if batch.len() > 1 {
                    let mut lower: BTreeSet<Hostname> = batch.into_keys().collect();
                    let middle = lower.iter().nth(lower.len() / 2).cloned();
                    let upper = middle.map(|middle| lower.split_off(&middle)).unwrap_or_default();
                    group.parts.extend([upper, lower]);
                } else {
                    group.view.refused(batch, failure, started.into_std());
                    self.claims_changed = true;
                }
                Written::Refused
            }
            Err(failure) => {
                if failure.unclear {
                    self.view(at).doubted(&batch, started.into_std());
                }
                if failure.refusal.reason == Reason::RemoteBusy {
                    self.busy.failures = self.busy.failures.saturating_add(1);
                    let wait = sync::delay(Reason::RemoteBusy, self.busy.failures, None, fastrand::f64());
                    self.busy.until = Some(Instant::now() + wait);
                }
                self.group(at).parts.push(batch.into_keys().collect());
                self.refused(at, failure, started);
                Written::Failed
            }
        }
    }

    /// Which hostnames can belong to this scope.
    fn domains(&self) -> Domains {
        match self.scope {
            Scope::Account(_) => Domains(None),
            Scope::Zone(_) => {
                // An object that is being deleted lists nothing any more, and still tells whose zone this is.
                let of = |hostname: &Hostname| sync::registered_domain(hostname.as_str()).to_owned();
                let known = self.wishes.values().flat_map(|wish| wish.applied.keys().chain(&wish.tombstones));
                let mut domains: BTreeSet<String> = known.map(of).chain(self.domains.iter().cloned()).collect();
                // What was never applied may lie in another zone.
                if domains.is_empty() {
                    domains.extend(self.wishes.values().flat_map(|wish| wish.spec.settings.keys()).map(of));
                }
                Domains(Some(domains))
            }
        }
    }

    /// The list as it will be once everything has arrived that is on its way, where bodies carry the whole list.
    fn remote_to_be(&self, at: &Arc<CredentialRef>) -> Option<RemoteList> {
        let mut list = self.groups.get(at)?.view.remote.clone().filter(|_| self.guard.replaces())?;
        for (hostname, sent) in self.groups.values().flat_map(|group| &group.view.sent) {
            list.insert(hostname.as_str().to_owned(), sent.flags);
        }
        Some(list)
    }

    fn group(&mut self, at: &Arc<CredentialRef>) -> &mut Group {
        self.groups.entry(at.clone()).or_default()
    }

    fn view(&mut self, at: &Arc<CredentialRef>) -> &mut View {
        &mut self.group(at).view
    }

    fn refused(&mut self, at: &Arc<CredentialRef>, failure: Failure, started: Instant) {
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

/// The domains of a zone's hostnames; `None` where every hostname may belong to the scope.
struct Domains(Option<BTreeSet<String>>);

impl Domains {
    fn holds(&self, hostname: &str) -> bool {
        self.0.as_ref().is_none_or(|domains| domains.contains(sync::registered_domain(hostname)))
    }
}

/// Whether the request was refused for what it names, not for who sent it or where.
fn blames_an_entry(failure: &Failure) -> bool {
    matches!(failure.refusal.reason, Reason::Rejected | Reason::HostnameNotInScope)
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

/// Ten per cent either way, so that scopes do not all look at the same moment.
fn spread(interval: Duration) -> Duration {
    interval.mul_f64(0.9 + 0.2 * fastrand::f64())
}
