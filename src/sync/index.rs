//! Who owns a hostname: one function over all wishes of a scope decides, and nothing else does.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::Timestamp;
use litemap::LiteMap;

use super::outcome::Report;
use crate::api::{
    DeletionPolicy, Flags, Hostname, HostnameState, HostnameStatus, MtlsHostnameSettingsStatus, ObjectKey, Reason,
    SyncMode, ValidSpec, WHOLE_LIST,
};

/// UID of an object; cheap to clone.
pub type Uid = Arc<str>;

/// What one object wants from its scope, with what the decision about claims needs to know.
#[derive(Clone, Debug, PartialEq)]
pub struct Wish {
    /// Namespace and name, for messages and as the last word between equal claims.
    pub key: ObjectKey,
    /// UID of the object: a re-created object is another one.
    pub uid: Uid,
    /// `metadata.generation` that this wish was read from.
    pub generation: i64,
    /// When the object was made.
    pub created: Option<Timestamp>,
    /// What it wants.
    pub spec: ValidSpec,
    /// Hostnames that were applied for this object: established claims, which survive restarts. True for those that are
    /// settled: proved to be as this spec wants them, so that a difference from then on is somebody else's doing.
    pub applied: LiteMap<Hostname, bool>,
    /// What the status has of each hostname; until a report tells what this process itself has read.
    pub previous: Arc<[HostnameStatus]>,
    /// Value of the annotation that asks for a look now.
    pub reconcile_at: Option<String>,
    /// The value that it had when the last look began: what has been answered.
    pub looked_at: Option<String>,
    /// Hostnames that were let go under `deletionPolicy: Reset`: both flags are turned off, unless somebody else lists
    /// them. Derived from the status each time, so that no crash loses them.
    pub tombstones: BTreeSet<Hostname>,
    /// Whether the status remembers that a write replaces the remote list.
    pub whole_list: bool,
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
        let mut applied = LiteMap::new();
        for known in &status.hostnames {
            // A hostname that is not listed any more is let go: listing it again later is a new claim.
            let Some((hostname, wanted)) = listed(&spec, &known.hostname) else { continue };
            if !known.applied {
                continue;
            }
            let in_sync = known.state == HostnameState::InSync;
            let same_spec =
                status.observed_generation == Some(generation) && (in_sync || known.state == HostnameState::Drifted);
            let same_flags = in_sync && *wanted == known.remote.unwrap_or_default();
            applied.insert(hostname.clone(), same_spec || same_flags);
        }
        let mut tombstones = BTreeSet::new();
        if resets(&spec) {
            let names = status
                .hostnames
                .iter()
                .filter(|known| may_be_ours(known, status))
                .filter_map(|known| Hostname::parse(&known.hostname).ok());
            tombstones.extend(names.filter(|hostname| !spec.settings.contains_key(hostname)));
        }
        let previous = status.hostnames.clone().into();
        let uid = uid.into();
        // An annotation that was taken away asks for nothing, and what was acknowledged stays acknowledged.
        let looked_at = status.last_handled_reconcile_at.clone();
        let reconcile_at = reconcile_at.or_else(|| looked_at.clone());
        let whole_list = status.conditions.iter().any(|condition| condition.type_ == WHOLE_LIST);
        Self {
            key,
            uid,
            generation,
            created,
            spec,
            applied,
            previous,
            reconcile_at,
            looked_at,
            tombstones,
            whole_list,
            leaving: false,
        }
    }

    /// The last wish of an object that is being deleted under `deletionPolicy: Reset`: that nothing is left of it. It is
    /// honoured even while the object is suspended. The status is the one that the wish was made from.
    #[must_use]
    pub fn leave(mut self, status: &MtlsHostnameSettingsStatus) -> Self {
        let listed = std::mem::take(&mut self.spec.settings);
        if resets(&self.spec) {
            let known: BTreeMap<&str, bool> =
                status.hostnames.iter().map(|known| (known.hostname.as_str(), may_be_ours(known, status))).collect();
            // A deletion is a generation of its own: what its status does not have was never held, or is off already.
            let is_told = status.observed_generation == Some(self.generation);
            // What another object has, or Cloudflare refused, was never this object's; neither was anything of one that was
            // suspended before it was ever served.
            let ours = |hostname: &Hostname| {
                let maybe = known.get(hostname.as_str()).copied().unwrap_or(!is_told);
                self.applied.contains_key(hostname) || (maybe && !self.spec.suspend)
            };
            let names = listed.into_iter().map(|(hostname, _)| hostname);
            self.tombstones.extend(names.filter(ours));
        }
        self.spec.suspend = false;
        self.leaving = true;
        self
    }

    /// Whether the hostname was applied for this object.
    #[must_use]
    pub fn is_established(&self, hostname: &Hostname) -> bool {
        self.applied.contains_key(hostname)
    }

    /// Whether the hostname was proved to be as this spec wants it.
    #[must_use]
    pub fn is_settled(&self, hostname: &Hostname) -> bool {
        self.applied.get(hostname).copied().unwrap_or_default()
    }

    /// Notes that a write of this hostname was, or may have been, carried out: the claim is established, though nothing is
    /// proved of it.
    pub fn sent(&mut self, hostname: &Hostname) {
        if let Some((hostname, _)) = listed(&self.spec, hostname.as_str()) {
            self.applied.entry(hostname.clone()).or_default();
        }
    }

    /// Takes over what this process proved about the object's former wish, which is newer than a cached status.
    pub fn succeed(&mut self, former: &Self) {
        self.looked_at.clone_from(&former.looked_at);
        for (hostname, was_settled) in &former.applied {
            let Some(wanted) = self.spec.settings.get(hostname) else { continue };
            let unchanged = former.spec.settings.get(hostname) == Some(wanted);
            *self.applied.entry(hostname.clone()).or_default() |= *was_settled && unchanged;
        }
        if resets(&self.spec) {
            // Instead of what the status says: it may lack what was sent just now, and still have what was reset since.
            let let_go = former.applied.keys().chain(&former.tombstones);
            self.tombstones = let_go.filter(|hostname| !self.spec.settings.contains_key(*hostname)).cloned().collect();
        }
    }

    /// Whether the last report said that the hostname had drifted.
    #[must_use]
    pub fn is_drifted(&self, hostname: &Hostname) -> bool {
        let said = self.previous.iter().find(|known| known.hostname == hostname.as_str());
        said.is_some_and(|known| known.state == HostnameState::Drifted)
    }

    /// How many hostnames this report says have drifted that the last one did not.
    #[must_use]
    pub fn newly_drifted(&self, report: &Report) -> usize {
        let drifted = |list: &[HostnameStatus]| {
            list.iter()
                .filter(|known| known.state == HostnameState::Drifted)
                .map(|known| known.hostname.clone())
                .collect()
        };
        let (now, before): (BTreeSet<String>, BTreeSet<String>) = (drifted(&report.hostnames), drifted(&self.previous));
        now.difference(&before).count()
    }

    /// Takes in what a report about this wish proved.
    pub fn learn(&mut self, report: &Report) {
        let in_state = |state: HostnameState| {
            let known = report.hostnames.iter().filter(move |known| known.state == state);
            known.map(|known| known.hostname.as_str())
        };
        // What is off now is forgotten: who turns it on again later is none of our business.
        let resetting: BTreeSet<&str> = in_state(HostnameState::Resetting).collect();
        self.tombstones.retain(|hostname| resetting.contains(hostname.as_str()));
        // Who only observes never applied anything.
        for proved in in_state(HostnameState::InSync).filter(|_| self.spec.mode != SyncMode::Observe) {
            if let Some((hostname, _)) = listed(&self.spec, proved) {
                self.applied.insert(hostname.clone(), true);
            }
        }
        self.previous = report.hostnames.clone();
    }
}

/// The entry of a hostname in a spec.
fn listed<'a>(spec: &'a ValidSpec, hostname: &str) -> Option<(&'a Hostname, &'a Flags)> {
    spec.settings.get_indexed(spec.settings.find_index(hostname).ok()?)
}

/// Whether an entry of a status may be the object's work: it was applied, or may have been on its way when the process
/// ended.
fn may_be_ours(known: &HostnameStatus, status: &MtlsHostnameSettingsStatus) -> bool {
    let ready = status.conditions.iter().find(|condition| condition.type_ == "Ready");
    let could_write = || !ready.is_some_and(|ready| NEVER_WROTE.iter().any(|reason| reason.as_str() == ready.reason));
    known.applied || known.state == HostnameState::Resetting || (known.state == HostnameState::Pending && could_write())
}

/// Under these an entry that is pending, and was not applied before, has not been sent: nothing could be.
const NEVER_WROTE: [Reason; 6] = [
    Reason::SecretNotFound,
    Reason::SecretInvalid,
    Reason::AuthenticationFailed,
    Reason::PermissionDenied,
    Reason::ScopeNotFound,
    Reason::Suspended,
];

/// Whether what this object lets go is turned off. An observer never wrote anything, and does not begin with it.
fn resets(spec: &ValidSpec) -> bool {
    spec.deletion_policy == DeletionPolicy::Reset && spec.mode != SyncMode::Observe
}

/// Who owns a hostname.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// UID of the object.
    pub uid: Uid,
    /// Whether its claim, never applied, stands back: it owns the hostname for want of another claim.
    pub stands_back: bool,
}

/// Each hostname's owner.
pub type Owners = BTreeMap<Hostname, Owner>;

/// Whether nobody lists the hostname whose claim counts, so that who lets it go turns it off.
#[must_use]
pub fn is_free(owners: &Owners, hostname: &Hostname) -> bool {
    owners.get(hostname).is_none_or(|owner| owner.stands_back)
}

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
            let established = wish.is_established(hostname);
            let rank = (
                Reverse(established),
                !established && stands_back(wish, hostname, flags),
                wish.created,
                &wish.key,
                &wish.uid,
            );
            best.entry(hostname).and_modify(|holder| *holder = rank.min(*holder)).or_insert(rank);
        }
    }
    let owner = |stands_back: bool, uid: &Uid| Owner { uid: uid.clone(), stands_back };
    best.into_iter().map(|(hostname, (_, stands_back, .., uid))| (hostname.clone(), owner(stands_back, uid))).collect()
}

#[cfg(test)]
pub(crate) mod tests;
