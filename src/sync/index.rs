//! Who owns a hostname: one function over all wishes of a scope decides, and nothing else does.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use jiff::Timestamp;

use super::outcome::Report;
use crate::api::{Hostname, HostnameState, ObjectKey, Reason, ValidSpec};

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
    /// Hostnames that its status shows as applied: claims that survive restarts.
    pub established: BTreeSet<Hostname>,
    /// Whether a status showed this generation's settings as applied once; a drift from then on is somebody else's.
    pub applied: bool,
    /// Value of the annotation that asks for a look now.
    pub reconcile_at: Option<String>,
}

impl Wish {
    /// Takes in what a report about this wish proved.
    pub fn learn(&mut self, report: &Report) {
        self.applied |= report.reason == Reason::InSync;
        let proved = report.hostnames.iter().filter(|hostname| hostname.state == HostnameState::InSync);
        self.established.extend(proved.filter_map(|hostname| Hostname::parse(&hostname.hostname).ok()));
    }
}

/// The UID of each hostname's owner.
pub type Owners<'a> = BTreeMap<&'a Hostname, &'a str>;

/// Decides the owner of every hostname that any wish lists: an established claim first, then the oldest object, then
/// `namespace/name`. Depends on nothing but the set of wishes.
pub fn owners<'a>(wishes: impl IntoIterator<Item = &'a Wish>) -> Owners<'a> {
    let mut best: BTreeMap<&Hostname, &Wish> = BTreeMap::new();
    for wish in wishes {
        for hostname in wish.spec.settings.keys() {
            let rank = |wish: &'a Wish| {
                (Reverse(wish.established.contains(hostname)), wish.created, &wish.key, wish.uid.as_str())
            };
            best.entry(hostname)
                .and_modify(|holder| {
                    if rank(wish) < rank(holder) {
                        *holder = wish;
                    }
                })
                .or_insert(wish);
        }
    }
    best.into_iter().map(|(hostname, wish)| (hostname, wish.uid.as_str())).collect()
}
