//! What to send: the difference between what is wanted and what is there, and nothing beside it.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    index::{Owners, Wish, is_free},
    outcome::Problem,
};
use crate::{
    api::{Class, Flags, Hostname, LastResponse, Reason, SyncMode},
    cloudflare::{Failure, Refusal, RemoteList},
};

/// How long an accepted write may stay invisible before it is sent again: a repetition harms nobody and is refused while the
/// first one is still being applied, whereas somebody else may have changed it back at once, which looks the same.
const LOST_AFTER: Duration = Duration::from_secs(60);
/// The same for a write that got no clear answer: it may be on its way, or may never have arrived.
const DOUBTED_AFTER: Duration = Duration::from_secs(10);
/// How long a refused entry rests before it is tried again unchanged.
const REJECTED_FOR: Duration = Duration::from_secs(60 * 60);
/// How often a hostname is repaired within that time before it is left to whoever keeps changing it.
const MOST_REPAIRS: usize = 3;
const REPAIRS_WITHIN: Duration = Duration::from_secs(60 * 60);

/// What is known of the remote list through one credential, from one round to the next.
#[derive(Debug, Default)]
pub struct View {
    /// The list as last read; `None` before the first read.
    pub remote: Option<RemoteList>,
    /// What kept the last round from its end.
    pub problem: Option<Problem>,
    /// Entries that were sent and that no read has shown yet.
    pub sent: BTreeMap<Hostname, Sent>,
    /// Entries that Cloudflare refused.
    pub rejected: BTreeMap<Hostname, Rejection>,
    /// When drift of a hostname was repaired.
    pub repairs: BTreeMap<Hostname, Vec<Instant>>,
    /// A write through this credential removed entries that it did not name, and a later round has not yet found
    /// everything in its place.
    pub alarm: bool,
    /// Whether every write carries the whole list.
    pub whole_list: bool,
    /// The last answer.
    pub response: Option<Arc<LastResponse>>,
}

/// An entry on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// What was sent.
    pub flags: Flags,
    /// What the read before the write had.
    pub before: Flags,
    /// When it was sent.
    pub at: Instant,
    /// When it counts as lost.
    pub lost_at: Instant,
}

/// An entry that Cloudflare refused.
#[derive(Clone, Debug, PartialEq)]
pub struct Rejection {
    /// What was refused.
    pub flags: Flags,
    /// Why.
    pub refusal: Refusal,
    /// The answer that refused it, shared by all entries of one request.
    pub response: Arc<LastResponse>,
    /// When.
    pub at: Instant,
}

/// The state of a hostname in a list: an absent entry has both flags off.
pub(super) fn remote_flags(remote: &RemoteList, hostname: &Hostname) -> Flags {
    remote.get(hostname.as_str()).copied().unwrap_or_default()
}

impl View {
    /// Takes in a list that was just read, and forgets what it settles: writes, and refusals and repairs that are old.
    pub fn read(&mut self, remote: RemoteList, response: LastResponse, now: Instant) {
        self.shown(&remote, now);
        self.rejected.retain(|_, rejection| now.duration_since(rejection.at) < REJECTED_FOR);
        self.repairs.retain(|_, times| {
            times.retain(|at| now.duration_since(*at) < REPAIRS_WITHIN);
            !times.is_empty()
        });
        self.problem = None;
        self.response = Some(Arc::new(response));
        self.remote = Some(remote);
    }

    /// Forgets the writes that a list settles, through whichever credential it was read: those that arrived, were overtaken by
    /// somebody else or are lost. Returns when the newest of those was sent that arrived.
    pub fn shown(&mut self, remote: &RemoteList, now: Instant) -> Option<Instant> {
        let mut arrived = None;
        self.sent.retain(|hostname, sent| {
            let seen = remote_flags(remote, hostname);
            if seen == sent.flags && seen != sent.before {
                arrived = arrived.max(Some(sent.at));
            }
            seen != sent.flags && seen == sent.before && now < sent.lost_at
        });
        arrived
    }

    /// A write that was sent then has arrived: what was sent before and has not arrived does not come any more. Where writes
    /// replace the list, the later one has removed it.
    pub fn arrived(&mut self, at: Instant) {
        self.sent.retain(|_, sent| sent.at >= at);
    }

    /// Notes entries that Cloudflare accepted: they are on their way until a read shows them. `repaired` tells which of
    /// them mend what somebody else changed.
    pub fn accepted(
        &mut self,
        entries: &BTreeMap<Hostname, Flags>,
        repaired: impl Fn(&Hostname) -> bool,
        response: LastResponse,
        now: Instant,
    ) {
        self.under_way(entries, now, LOST_AFTER);
        for hostname in entries.keys().filter(|hostname| repaired(hostname)) {
            self.repairs.entry(hostname.clone()).or_default().push(now);
        }
        self.response = Some(Arc::new(response));
    }

    /// Notes entries whose write got no clear answer: a read must tell before they are sent again.
    pub fn doubted(&mut self, entries: &BTreeMap<Hostname, Flags>, now: Instant) {
        self.under_way(entries, now, DOUBTED_AFTER);
    }

    fn under_way(&mut self, entries: &BTreeMap<Hostname, Flags>, now: Instant, lost_after: Duration) {
        let remote = self.remote.get_or_insert_default();
        for (hostname, &flags) in entries {
            let before = remote_flags(remote, hostname);
            let sent = Sent { flags, before, at: now, lost_at: now + lost_after };
            self.sent.insert(hostname.clone(), sent);
        }
    }

    /// Notes entries that Cloudflare refused: they rest until they change, or for an hour.
    pub fn refused(&mut self, entries: BTreeMap<Hostname, Flags>, failure: Failure, at: Instant) {
        let response = Arc::new(failure.response);
        for (hostname, flags) in entries {
            let rejection = Rejection { flags, refusal: failure.refusal.clone(), response: response.clone(), at };
            self.rejected.insert(hostname, rejection);
        }
    }

    /// Whether a claim through this credential, never applied, must not block the next claimant.
    #[must_use]
    pub fn stands_back(&self, hostname: &Hostname, wanted: Flags) -> bool {
        let unfit =
            |problem: &Problem| problem.reason.class() == Class::Stalled || problem.reason == Reason::SecretNotFound;
        self.rejection(hostname, wanted).is_some() || self.problem.as_ref().is_some_and(unfit)
    }

    /// Whether the entry was refused as it is, and rests.
    pub(super) fn rejection(&self, hostname: &Hostname, wanted: Flags) -> Option<&Rejection> {
        self.rejected.get(hostname).filter(|rejection| rejection.flags == wanted)
    }

    /// Whether the entry is on its way as it is.
    pub(super) fn is_under_way(&self, hostname: &Hostname, wanted: Flags) -> bool {
        self.sent.get(hostname).is_some_and(|sent| sent.flags == wanted)
    }

    /// Whether the remote is as wanted, and nothing else is on its way there: a write that was accepted and then
    /// revoked in the spec still arrives.
    pub(super) fn is_proved(&self, remote: &RemoteList, hostname: &Hostname, wanted: Flags) -> bool {
        remote_flags(remote, hostname) == wanted && !self.sent.contains_key(hostname)
    }

    /// Whether the hostname was repaired so often that somebody else must be changing it back.
    pub(super) fn is_fought_over(&self, hostname: &Hostname) -> bool {
        self.repairs.get(hostname).is_some_and(|times| times.len() >= MOST_REPAIRS)
    }
}

/// The entries to write now: owned hostnames whose remote state differs, where the object's mode lets us write, and that
/// are neither on their way nor refused as they are. Empty means that no request is due; so does a list never read.
pub fn plan<'a>(wishes: impl IntoIterator<Item = &'a Wish>, owners: &Owners, view: &View) -> BTreeMap<Hostname, Flags> {
    let Some(remote) = &view.remote else { return BTreeMap::new() };
    let mut entries = BTreeMap::new();
    for wish in wishes.into_iter().filter(|wish| !wish.spec.suspend) {
        for (hostname, &wanted) in &wish.spec.settings {
            // What holds for most entries of a large scope is asked first.
            let due = !view.is_proved(remote, hostname, wanted)
                && owners.get(hostname).is_some_and(|owner| owner.uid == wish.uid)
                && may_write(wish, hostname)
                && !view.is_under_way(hostname, wanted)
                && view.rejection(hostname, wanted).is_none()
                && !(wish.is_settled(hostname) && view.is_fought_over(hostname));
            if due {
                entries.insert(hostname.clone(), wanted);
            }
        }
        let off = Flags::default();
        let due = |hostname: &&Hostname| {
            is_free(owners, hostname)
                && !view.is_proved(remote, hostname, off)
                && !view.is_under_way(hostname, off)
                && view.rejection(hostname, off).is_none()
        };
        entries.extend(wish.tombstones.iter().filter(due).map(|hostname| (hostname.clone(), off)));
    }
    entries
}

fn may_write(wish: &Wish, hostname: &Hostname) -> bool {
    match wish.spec.mode {
        SyncMode::Enforce => true,
        SyncMode::Warn => !wish.is_settled(hostname),
        SyncMode::Observe => false,
    }
}

#[cfg(test)]
mod tests;
