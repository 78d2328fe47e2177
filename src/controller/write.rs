//! The write of a round: what it sends, and what becomes of that.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use tokio::time::Instant;
use tracing::warn;

use super::scope::ScopeTask;
use crate::{
    api::{CredentialRef, Flags, Hostname, Reason, Scope},
    cloudflare::{Credential, Failure, RemoteList, Reply},
    sync,
};

/// A write begins only when this replica may act for so long at least: it is given up when that time is over.
const SHORTEST_TERM: Duration = Duration::from_secs(5);

/// What became of a PUT.
pub(super) enum Written {
    Accepted,
    /// Refused for what it names: halved, or noted when it named a single entry.
    Refused,
    /// The round is over.
    Failed,
}

impl ScopeTask {
    /// What to send next: what is new, then the parts of a batch that was refused as a whole.
    pub(super) fn next_part(
        &mut self,
        at: &Arc<CredentialRef>,
        entries: BTreeMap<Hostname, Flags>,
    ) -> BTreeMap<Hostname, Flags> {
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
    pub(super) async fn write(
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
                let wish = |hostname: &Hostname| owners.get(hostname).and_then(|owner| wishes.get(&owner.uid));
                let repaired = |hostname: &Hostname| wish(hostname).is_some_and(|wish| wish.is_settled(hostname));
                let drifted: Vec<&Hostname> = batch.keys().filter(|hostname| repaired(hostname)).collect();
                let metrics = &self.context.metrics;
                metrics.drift_corrected.inc_by(count(drifted.len()));
                // Those that a status has told of were counted then.
                let is_untold = |hostname: &Hostname| wish(hostname).is_some_and(|wish| !wish.is_drifted(hostname));
                let untold = drifted.iter().filter(|hostname| is_untold(hostname));
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
    pub(super) fn domains(&self) -> Domains {
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
}

/// The domains of a zone's hostnames; `None` where every hostname may belong to the scope.
pub(super) struct Domains(Option<BTreeSet<String>>);

impl Domains {
    pub(super) fn holds(&self, hostname: &str) -> bool {
        self.0.as_ref().is_none_or(|domains| domains.contains(sync::registered_domain(hostname)))
    }
}

/// Whether the request was refused for what it names, not for who sent it or where.
fn blames_an_entry(failure: &Failure) -> bool {
    matches!(failure.refusal.reason, Reason::Rejected | Reason::HostnameNotInScope)
}

pub(super) fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
