//! Which credentials Cloudflare has told to wait: shared by all scopes, since a limit counts for the credential.

use std::{
    collections::HashMap,
    hash::RandomState,
    sync::{Mutex, PoisonError},
};

use tokio::time::Instant;

use super::credential::Credential;

/// Rests by credential, known by a keyed hash of its bytes: two Secrets may hold one token.
#[derive(Debug, Default)]
pub struct Limits {
    hasher: RandomState,
    until: Mutex<HashMap<u64, Instant>>,
}

impl Limits {
    /// Tells whether two credentials are the same, without keeping either.
    #[must_use]
    pub fn fingerprint(&self, credential: &Credential) -> u64 {
        credential.fingerprint(&self.hasher)
    }

    /// No request with this credential before `until`.
    pub fn block(&self, fingerprint: u64, until: Instant) {
        let mut map = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        map.retain(|_, end| *end > now);
        let end = map.entry(fingerprint).or_insert(until);
        *end = until.max(*end);
    }

    /// The end of the credential's rest, when it has one that is not over.
    #[must_use]
    pub fn until(&self, fingerprint: u64) -> Option<Instant> {
        let map = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        map.get(&fingerprint).copied().filter(|end| *end > Instant::now())
    }
}
