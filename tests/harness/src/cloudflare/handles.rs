//! The handles that a test holds on to: a scope's remote side, a credential, an injected fault.

#![allow(clippy::must_use_candidate, reason = "handles are returned for chaining; their calls do something already")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::TimedOut;
use super::auth::{Record, Right};
use super::codes::Refusal;
use super::fault::Waiting;
use super::scope::{Scope, Setting};
use super::server::Shared;
use super::switches::Switches;

/// The remote side of one scope: what other people do to it, without requests.
#[derive(Debug, Clone)]
pub struct Remote {
    shared: Arc<Shared>,
    scope: Scope,
}

impl Remote {
    pub(super) fn new(shared: Arc<Shared>, scope: Scope) -> Self {
        Self { shared, scope }
    }

    /// The scope.
    #[must_use]
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// Moves a zone into an account, which is made when there is none. Entries stay where they were.
    #[must_use]
    pub fn in_account(self, account: &str) -> Self {
        if let Scope::Zone(id) = &self.scope {
            let mut inner = self.shared.lock();
            inner.store.move_zone(id, account, Instant::now());
        }
        self
    }

    /// Gives a zone, or an account without zones, the China network.
    #[must_use]
    pub fn with_china_network(self) -> Self {
        self.set_china_network(true);
        self
    }

    /// Gives or takes the China network.
    pub fn set_china_network(&self, enabled: bool) {
        self.shared.lock().store.set_china(&self.scope, enabled);
    }

    /// Sets one entry as the dashboard would. Both flags off removes it.
    pub fn set(&self, hostname: &str, client_certificate_forwarding: bool, china_network: bool) {
        let setting = Setting::new(hostname, client_certificate_forwarding, china_network);
        self.edit(|entries| {
            entries.retain(|entry| !entry.hostname.eq_ignore_ascii_case(hostname));
            if !setting.is_all_false() {
                entries.push(setting);
            }
        });
    }

    /// Removes one entry.
    pub fn remove(&self, hostname: &str) {
        self.edit(|entries| entries.retain(|entry| !entry.hostname.eq_ignore_ascii_case(hostname)));
    }

    /// Removes every entry.
    pub fn clear(&self) {
        self.edit(Vec::clear);
    }

    /// Edits the scope's list as a whole.
    pub fn edit(&self, edit: impl FnOnce(&mut Vec<Setting>)) {
        self.shared.lock().store.edit(&self.scope, Instant::now(), edit);
        self.shared.changed();
    }

    /// The entries as they are stored now, without any lag, by hostname.
    #[must_use]
    pub fn entries(&self) -> Vec<Setting> {
        self.shared.lock().store.entries(&self.scope, Instant::now())
    }

    /// One entry; its two flags.
    #[must_use]
    pub fn get(&self, hostname: &str) -> Option<(bool, bool)> {
        let entries = self.entries();
        let entry = entries.iter().find(|entry| entry.hostname.eq_ignore_ascii_case(hostname))?;
        Some((entry.client_certificate_forwarding, entry.china_network))
    }

    /// Locks the scope, or where [`Switches::lock`] says so its whole account, as another client's change does: PUTs are
    /// refused with 409 for this long.
    pub fn lock_for(&self, duration: Duration) {
        let mut inner = self.shared.lock();
        let reach = inner.switches_of(Some(&self.scope)).lock;
        inner.store.lock(&self.scope, Instant::now() + duration, reach);
    }

    /// Ends a lock that [`Remote::lock_for`] took.
    pub fn unlock(&self) {
        self.lock_for(Duration::ZERO);
    }

    /// Whether nothing is still to be applied and no lock is held in the account.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.shared.lock().store.is_settled(&self.scope, Instant::now())
    }

    /// Turns switches for this scope, which from then on has its own: a copy of the common ones as they are now.
    pub fn switch(&self, turn: impl FnOnce(&mut Switches)) {
        let mut inner = self.shared.lock();
        let mut switches = inner.switches_of(Some(&self.scope)).clone();
        turn(&mut switches);
        inner.own_switches.insert(self.scope.clone(), switches);
        drop(inner);
        self.shared.changed();
    }

    /// Deletes the zone or account itself: requests for it are answered with 7003 from then on.
    pub fn delete(&self) {
        self.shared.lock().store.remove(&self.scope);
        self.shared.changed();
    }
}

/// A registered credential.
#[derive(Debug, Clone)]
pub struct Credential {
    shared: Arc<Shared>,
    name: String,
}

impl Credential {
    pub(super) fn new(shared: Arc<Shared>, name: String) -> Self {
        Self { shared, name }
    }

    /// The name under which the ledger knows it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Gives it a name for the ledger instead of a number.
    #[must_use]
    pub fn named(mut self, name: &str) -> Self {
        self.change(|record| name.clone_into(&mut record.name));
        name.clone_into(&mut self.name);
        self
    }

    /// May GET a scope's settings.
    pub fn may_read(&self, scope: &Scope) -> &Self {
        self.change(|record| record.give(scope, Right::Read))
    }

    /// May GET and PUT a scope's settings.
    pub fn may_write(&self, scope: &Scope) -> &Self {
        self.change(|record| record.give(scope, Right::Write))
    }

    /// May GET and PUT everything.
    pub fn may_write_everything(&self) -> &Self {
        self.change(|record| record.everywhere = Some(Right::Write))
    }

    /// Loses all rights; it is still a valid credential.
    pub fn may_nothing(&self) -> &Self {
        self.change(|record| {
            record.everywhere = None;
            record.rights.clear();
        })
    }

    /// No longer valid: 9109, or 9103 for a key.
    pub fn revoke(&self) -> &Self {
        self.change(|record| record.revoked = true)
    }

    /// Valid again.
    pub fn restore(&self) -> &Self {
        self.change(|record| {
            record.revoked = false;
            record.refusal = None;
        })
    }

    /// Refused with this until it is restored: an address filter, an expiry, too many failures.
    pub fn refused_with(&self, refusal: Refusal) -> &Self {
        self.change(|record| record.refusal = Some(refusal))
    }

    fn change(&self, change: impl FnOnce(&mut Record)) -> &Self {
        if let Some(record) = self.shared.lock().register.get_mut(&self.name) {
            change(record);
        }
        self
    }
}

/// A fault in the queue, or one that has met its requests.
#[derive(Debug, Clone)]
pub struct Injected {
    shared: Arc<Shared>,
    waiting: Waiting,
}

impl Injected {
    pub(super) fn new(shared: Arc<Shared>, waiting: Waiting) -> Self {
        Self { shared, waiting }
    }

    /// How many requests it has met.
    #[must_use]
    pub fn met(&self) -> u32 {
        *self.waiting.gate.met.borrow()
    }

    /// Waits until it has met so many requests. For [`Effect::Hold`](super::Effect::Hold) they are waiting then.
    ///
    /// # Errors
    ///
    /// [`TimedOut`] when it did not meet them in time.
    pub async fn until_met(&self, requests: u32, deadline: Duration) -> Result<(), TimedOut> {
        let mut met = self.waiting.gate.met.subscribe();
        let outcome = tokio::time::timeout(deadline, met.wait_for(|met| *met >= requests)).await;
        let kind = self.waiting.fault.effect.kind();
        outcome.map(drop).map_err(|_| TimedOut {
            what: format!("the fault `{kind}` meeting {requests} requests"),
            deadline,
            ledger: self.shared.lock().ledger.clone(),
        })
    }

    /// Lets held requests go on, those that come later too.
    pub fn release(&self) {
        self.waiting.gate.open.send_replace(true);
    }

    /// Takes the fault out of the queue and lets held requests go on.
    pub fn clear(&self) {
        self.shared.lock().queue.clear(Some(self.waiting.id));
    }
}
