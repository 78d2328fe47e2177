//! Who owns a hostname: one function over all wishes of a scope decides, and nothing else does.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::Timestamp;

use super::outcome::Report;
use crate::api::{
    DeletionPolicy, Flags, Hostname, HostnameState, HostnameStatus, MtlsHostnameSettingsStatus, ObjectKey, SyncMode,
    ValidSpec,
};

/// What one object wants from its scope, with what the decision about claims needs to know.
#[derive(Clone, Debug, PartialEq)]
pub struct Wish {
    /// Namespace and name, for messages and as the last word between equal claims.
    pub key: ObjectKey,
    /// UID of the object: a re-created object is another one.
    pub uid: String,
    /// `metadata.generation` that this wish was read from.
    pub generation: i64,
    /// When the object was made.
    pub created: Option<Timestamp>,
    /// What it wants.
    pub spec: ValidSpec,
    /// Hostnames that were applied for this object: claims that survive restarts.
    pub established: BTreeSet<Hostname>,
    /// Hostnames that were proved to be as this spec wants them: a difference from then on is somebody else's doing.
    pub settled: BTreeSet<Hostname>,
    /// What the status has of each hostname; stands until this process has read the remote itself.
    pub previous: Arc<[HostnameStatus]>,
    /// Value of the annotation that asks for a look now.
    pub reconcile_at: Option<String>,
    /// Hostnames that were let go under `deletionPolicy: Reset`: both flags are turned off, unless somebody else lists
    /// them. Derived from the status each time, so that no crash loses them.
    pub tombstones: BTreeSet<Hostname>,
    /// Whether the object is being deleted and waits for its tombstones. It lists nothing any more.
    pub leaving: bool,
}

impl Wish {
    /// A wish as it follows from an object and what its status remembers.
    #[must_use]
    pub fn new(
        key: ObjectKey,
        uid: &str,
        generation: i64,
        created: Option<Timestamp>,
        spec: ValidSpec,
        status: &MtlsHostnameSettingsStatus,
        reconcile_at: Option<String>,
    ) -> Self {
        let (mut established, mut settled) = (BTreeSet::new(), BTreeSet::new());
        for known in &status.hostnames {
            let Ok(hostname) = Hostname::parse(&known.hostname) else { continue };
            // A hostname that is not listed any more is let go: listing it again later is a new claim.
            let Some(wanted) = spec.settings.get(&hostname) else { continue };
            let in_sync = known.state == HostnameState::InSync;
            if !in_sync && known.state != HostnameState::Drifted {
                continue;
            }
            let same_spec = status.observed_generation == Some(generation);
            let same_flags = in_sync && *wanted == known.remote.unwrap_or_default();
            if same_spec || same_flags {
                settled.insert(hostname.clone());
            }
            established.insert(hostname);
        }
        let mut tombstones = BTreeSet::new();
        if resets(&spec) {
            let had =
                |known: &&HostnameStatus| !matches!(known.state, HostnameState::Conflicted | HostnameState::Rejected);
            let names = status.hostnames.iter().filter(had).filter_map(|known| Hostname::parse(&known.hostname).ok());
            tombstones.extend(names.filter(|hostname| !spec.settings.contains_key(hostname)));
        }
        let previous = status.hostnames.clone().into();
        let uid = uid.to_owned();
        // An annotation that was taken away asks for nothing, and what was acknowledged stays acknowledged.
        let reconcile_at = reconcile_at.or_else(|| status.last_handled_reconcile_at.clone());
        let leaving = false;
        Self { key, uid, generation, created, spec, established, settled, previous, reconcile_at, tombstones, leaving }
    }

    /// The last wish of an object that is being deleted under `deletionPolicy: Reset`: that nothing is left of it. It is
    /// honoured even while the object is suspended.
    #[must_use]
    pub fn leave(mut self) -> Self {
        let listed = std::mem::take(&mut self.spec.settings);
        if resets(&self.spec) {
            self.tombstones.extend(listed.into_keys());
        }
        self.spec.suspend = false;
        self.leaving = true;
        self
    }

    /// Takes over what this process proved about the object's former wish, which is newer than a cached status.
    pub fn succeed(&mut self, former: &Self) {
        let still_listed = |hostname: &&Hostname| self.spec.settings.contains_key(*hostname);
        self.established.extend(former.established.iter().filter(still_listed).cloned());
        let wants = |spec: &ValidSpec, hostname: &Hostname| spec.settings.get(hostname).copied();
        let unchanged = |hostname: &&Hostname| wants(&self.spec, hostname) == wants(&former.spec, hostname);
        self.settled.extend(former.settled.iter().filter(unchanged).cloned());
        if resets(&self.spec) {
            // Instead of what the status says: it may lack what was sent just now, and still have what was reset since.
            let let_go = former.spec.settings.keys().chain(&former.tombstones);
            self.tombstones = let_go.filter(|hostname| !self.spec.settings.contains_key(*hostname)).cloned().collect();
        }
    }

    /// Takes in what a report about this wish proved.
    pub fn learn(&mut self, report: &Report) {
        let proved = report.hostnames.iter().filter(|hostname| hostname.state == HostnameState::InSync);
        // What is off now is forgotten: who turns it on again later is none of our business.
        let resetting = |hostname: &Hostname| {
            let known = report.hostnames.iter().find(|known| known.hostname == hostname.as_str());
            known.is_some_and(|known| known.state == HostnameState::Resetting)
        };
        self.tombstones.retain(resetting);
        for hostname in proved.filter_map(|hostname| Hostname::parse(&hostname.hostname).ok()) {
            self.settled.insert(hostname.clone());
            self.established.insert(hostname);
        }
    }
}

/// Whether what this object lets go is turned off. An observer never wrote anything, and does not begin with it.
fn resets(spec: &ValidSpec) -> bool {
    spec.deletion_policy == DeletionPolicy::Reset && spec.mode != SyncMode::Observe
}

/// The UID of each hostname's owner.
pub type Owners = BTreeMap<Hostname, String>;

/// Decides the owner of every hostname that any wish lists: an established claim first, then one that does not stand
/// back, then the oldest object, then `namespace/name`. Depends on nothing but the set of wishes and who stands back: a
/// claim that was never applied and that Cloudflare refused must not block the next one.
pub fn owners<'a>(
    wishes: impl IntoIterator<Item = &'a Wish>,
    stands_back: impl Fn(&Wish, &Hostname, Flags) -> bool,
) -> Owners {
    let mut best = BTreeMap::new();
    for wish in wishes {
        for (hostname, &flags) in &wish.spec.settings {
            let established = wish.established.contains(hostname);
            let rank = (
                Reverse(established),
                !established && stands_back(wish, hostname, flags),
                wish.created,
                &wish.key,
                wish.uid.as_str(),
            );
            best.entry(hostname).and_modify(|holder| *holder = rank.min(*holder)).or_insert(rank);
        }
    }
    best.into_iter().map(|(hostname, (.., uid))| (hostname.clone(), uid.to_owned())).collect()
}

#[cfg(test)]
pub(crate) mod tests;
