//! What to send: the difference between what is wanted and what is there, and nothing beside it.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    index::{Owners, Wish},
    outcome::Problem,
};
use crate::{
    api::{Flags, Hostname, LastResponse, SyncMode},
    cloudflare::{Failure, Refusal, RemoteList},
};

/// How long an accepted write may stay invisible before it is sent again.
const LOST_AFTER: Duration = Duration::from_secs(5 * 60);
/// How long a refused entry rests before it is tried again unchanged.
const REJECTED_FOR: Duration = Duration::from_secs(60 * 60);

/// What is known of the remote list through one credential, from one round to the next.
#[derive(Debug, Default)]
pub struct View {
    /// The list as last read; `None` before the first read.
    pub remote: Option<RemoteList>,
    /// What kept the last round from its end.
    pub problem: Option<Problem>,
    /// Entries that Cloudflare accepted and that no read has shown yet.
    pub sent: BTreeMap<Hostname, Sent>,
    /// Entries that Cloudflare refused.
    pub rejected: BTreeMap<Hostname, Rejection>,
    /// The last answer.
    pub response: Option<LastResponse>,
}

/// An accepted entry on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// What was sent.
    pub flags: Flags,
    /// What the read before the write had.
    pub before: Flags,
    /// When it was sent.
    pub at: Instant,
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
    /// Takes in a list that was just read, and forgets what it settles: writes that arrived, were overtaken by somebody
    /// else or are lost, and refusals that are old.
    pub fn read(&mut self, remote: RemoteList, response: LastResponse, now: Instant) {
        self.sent.retain(|hostname, sent| {
            remote_flags(&remote, hostname) == sent.before && now.duration_since(sent.at) < LOST_AFTER
        });
        self.rejected.retain(|_, rejection| now.duration_since(rejection.at) < REJECTED_FOR);
        self.problem = None;
        self.response = Some(response);
        self.remote = Some(remote);
    }

    /// Notes entries that Cloudflare accepted: they are on their way until a read shows them.
    pub fn accepted(&mut self, entries: BTreeMap<Hostname, Flags>, response: LastResponse, at: Instant) {
        let remote = self.remote.get_or_insert_default();
        let sent = entries.into_iter().map(|(hostname, flags)| {
            let before = remote_flags(remote, &hostname);
            (hostname, Sent { flags, before, at })
        });
        self.sent.extend(sent);
        self.response = Some(response);
    }

    /// Notes entries that Cloudflare refused: they rest until they change, or for an hour.
    pub fn refused(&mut self, entries: BTreeMap<Hostname, Flags>, failure: Failure, at: Instant) {
        let response = Arc::new(failure.response);
        let rejections = entries.into_iter().map(|(hostname, flags)| {
            let rejection = Rejection { flags, refusal: failure.refusal.clone(), response: response.clone(), at };
            (hostname, rejection)
        });
        self.rejected.extend(rejections);
    }

    /// Whether the entry was refused as it is, and rests.
    pub(super) fn rejection(&self, hostname: &Hostname, wanted: Flags) -> Option<&Rejection> {
        self.rejected.get(hostname).filter(|rejection| rejection.flags == wanted)
    }

    /// Whether the entry is on its way as it is.
    pub(super) fn is_under_way(&self, hostname: &Hostname, wanted: Flags) -> bool {
        self.sent.get(hostname).is_some_and(|sent| sent.flags == wanted)
    }
}

/// The entries to write now: owned hostnames whose remote state differs, where the object's mode lets us write, and that
/// are neither on their way nor refused as they are. Empty means that no request is due; so does a list never read.
pub fn plan<'a>(wishes: impl IntoIterator<Item = &'a Wish>, owners: &Owners, view: &View) -> BTreeMap<Hostname, Flags> {
    let Some(remote) = &view.remote else { return BTreeMap::new() };
    let mut entries = BTreeMap::new();
    for wish in wishes.into_iter().filter(|wish| may_write(wish)) {
        for (hostname, &wanted) in &wish.spec.settings {
            let owned = owners.get(hostname) == Some(&wish.uid.as_str());
            let differs = remote_flags(remote, hostname) != wanted;
            if owned && differs && !view.is_under_way(hostname, wanted) && view.rejection(hostname, wanted).is_none() {
                entries.insert(hostname.clone(), wanted);
            }
        }
    }
    entries
}

fn may_write(wish: &Wish) -> bool {
    let wanted = match wish.spec.mode {
        SyncMode::Enforce => true,
        SyncMode::Warn => !wish.applied,
        SyncMode::Observe => false,
    };
    wanted && !wish.spec.suspend
}
