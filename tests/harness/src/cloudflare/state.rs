//! The remote list and its semantics: accounts, their zones and entries, pending changes, locks and stale reads.
//!
//! Nothing here waits or looks at a clock: the time comes in with each call, and what is due by then is applied first.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::{Duration, Instant};

use super::codes::{Refusal, STILL_UPDATING};
use super::scope::{Scope, Setting};
use super::switches::{LockReach, Semantics, Switches};

/// Entries by lower-cased hostname.
type Entries = BTreeMap<String, Setting>;

/// How many former states a lagging GET can go back to.
const HISTORY: usize = 512;

/// How many entries they may have together, so that a long list that changes often does not fill the memory.
const HISTORY_ENTRIES: usize = 100_000;

#[derive(Debug)]
struct Zone {
    account: String,
    domain: String,
    china: bool,
}

#[derive(Debug)]
struct Change {
    at: Instant,
    scope: Scope,
    settings: Vec<Setting>,
    semantics: Semantics,
    keep_all_false: bool,
}

/// What a scope's readers are shown while their reads lag behind.
#[derive(Debug)]
struct Shown {
    list: Vec<Setting>,
    reads_left: Option<u32>,
}

#[derive(Debug)]
struct Account {
    entries: Entries,
    china: bool,
    history: VecDeque<(Instant, Entries)>,
    pending: Vec<Change>,
    /// `None` locks the whole account.
    locks: Vec<(Option<Scope>, Instant)>,
    shown: HashMap<Scope, Shown>,
}

/// Everything that the emulated Cloudflare stores.
#[derive(Debug, Default)]
pub(super) struct Store {
    accounts: BTreeMap<String, Account>,
    zones: BTreeMap<String, Zone>,
}

/// The account that a zone is in when nobody says which.
pub(super) fn own_account(zone: &str) -> String {
    format!("account-of-{zone}")
}

impl Store {
    pub(super) fn add_account(&mut self, id: &str, now: Instant) {
        self.accounts.entry(id.to_owned()).or_insert_with(|| Account {
            entries: Entries::new(),
            china: false,
            history: VecDeque::from([(now, Entries::new())]),
            pending: Vec::new(),
            locks: Vec::new(),
            shown: HashMap::new(),
        });
    }

    pub(super) fn add_zone(&mut self, id: &str, domain: &str, account: &str, now: Instant) {
        self.add_account(account, now);
        let zone = Zone { account: account.to_owned(), domain: domain.to_ascii_lowercase(), china: false };
        self.zones.insert(id.to_owned(), zone);
    }

    pub(super) fn move_zone(&mut self, id: &str, account: &str, now: Instant) {
        self.add_account(account, now);
        let Some(zone) = self.zones.get_mut(id) else { return };
        let former = std::mem::replace(&mut zone.account, account.to_owned());
        if former == own_account(id) {
            self.accounts.remove(&former);
        }
    }

    pub(super) fn remove(&mut self, scope: &Scope) {
        match scope {
            Scope::Zone(id) => drop(self.zones.remove(id)),
            Scope::Account(id) => drop(self.accounts.remove(id)),
        }
    }

    pub(super) fn set_china(&mut self, scope: &Scope, enabled: bool) {
        match scope {
            Scope::Zone(id) => self.zones.get_mut(id).into_iter().for_each(|zone| zone.china = enabled),
            Scope::Account(id) => self.accounts.get_mut(id).into_iter().for_each(|account| account.china = enabled),
        }
    }

    /// Every scope with its account and, for a zone, its domain.
    pub(super) fn scopes(&self) -> Vec<(Scope, String, Option<String>)> {
        let accounts = self.accounts.keys().map(|id| (Scope::account(id), id.clone(), None));
        let zones =
            self.zones.iter().map(|(id, zone)| (Scope::zone(id), zone.account.clone(), Some(zone.domain.clone())));
        accounts.chain(zones).collect()
    }

    pub(super) fn knows(&self, scope: &Scope) -> bool {
        self.account_of(scope).is_some()
    }

    fn account_of<'a>(&'a self, scope: &'a Scope) -> Option<&'a str> {
        let id = match scope {
            Scope::Account(id) => id,
            Scope::Zone(id) => &self.zones.get(id)?.account,
        };
        self.accounts.contains_key(id).then_some(id.as_str())
    }

    /// The zone of this account that a hostname belongs to: the one with the longest matching domain.
    fn zone_of(&self, account: &str, hostname: &str) -> Option<(&String, &Zone)> {
        let hostname = hostname.to_ascii_lowercase();
        self.zones
            .iter()
            .filter(|(_, zone)| zone.account == account)
            .filter(|(_, zone)| {
                hostname.strip_suffix(&zone.domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
            })
            .max_by_key(|(_, zone)| zone.domain.len())
    }

    fn belongs(&self, scope: &Scope, account: &str, hostname: &str) -> bool {
        match scope {
            Scope::Account(_) => true,
            Scope::Zone(id) => self.zone_of(account, hostname).is_some_and(|(owner, _)| owner == id),
        }
    }

    /// What a scope sees of a set of entries.
    fn view(&self, scope: &Scope, account: &str, entries: &Entries, foreign_visible: bool) -> Vec<Setting> {
        entries
            .values()
            .filter(|entry| foreign_visible || self.belongs(scope, account, &entry.hostname))
            .cloned()
            .collect()
    }

    /// The entries as they are stored now, without any lag: a zone's own, or all of an account.
    pub(super) fn entries(&mut self, scope: &Scope, now: Instant) -> Vec<Setting> {
        let Some(id) = self.settle(scope, now) else { return Vec::new() };
        self.accounts.get(&id).map(|account| self.view(scope, &id, &account.entries, false)).unwrap_or_default()
    }

    /// The entries as a GET shows them.
    pub(super) fn read(&mut self, scope: &Scope, switches: &Switches, now: Instant) -> Vec<Setting> {
        let Some(id) = self.settle(scope, now) else { return Vec::new() };
        let Some(account) = self.accounts.get(&id) else { return Vec::new() };
        let as_of = now.checked_sub(Duration::from_millis(switches.get_lag_ms)).unwrap_or(now);
        let entries = account
            .history
            .iter()
            .rev()
            .find(|(at, _)| *at <= as_of)
            .or(account.history.front())
            .map_or(&account.entries, |(_, entries)| entries);
        let current = self.view(scope, &id, entries, switches.foreign_visible);
        let Some(account) = self.accounts.get_mut(&id) else { return current };
        let shown =
            account.shown.entry(scope.clone()).or_insert_with(|| Shown { list: current.clone(), reads_left: None });
        if shown.list != current {
            let left = shown.reads_left.unwrap_or(switches.get_lag_reads);
            if let Some(fewer) = left.checked_sub(1) {
                shown.reads_left = Some(fewer);
                return shown.list.clone();
            }
            shown.list.clone_from(&current);
        }
        shown.reads_left = None;
        current
    }

    /// Accepts a PUT: refused whole, or applied now or after the delay. Returns the scope's list as it will be.
    pub(super) fn write(
        &mut self,
        scope: &Scope,
        settings: Vec<Setting>,
        switches: &Switches,
        now: Instant,
    ) -> Result<Vec<Setting>, Refusal> {
        let Some(id) = self.settle(scope, now) else { return Ok(Vec::new()) };
        self.check(scope, &id, &settings, switches)?;
        self.remember_view(scope, &id, switches.foreign_visible);
        let Some(account) = self.accounts.get_mut(&id) else { return Ok(Vec::new()) };
        if account.locks.iter().any(|(held, _)| held.as_ref().is_none_or(|held| held == scope)) {
            return Err(Refusal::new(409, 12132, STILL_UPDATING));
        }
        let at = now + switches.apply_delay();
        match switches.lock {
            _ if at == now => {}
            LockReach::Nobody => {}
            LockReach::Scope => account.locks.push((Some(scope.clone()), at)),
            LockReach::Account => account.locks.push((None, at)),
        }
        account.pending.push(Change {
            at,
            scope: scope.clone(),
            settings,
            semantics: switches.semantics,
            keep_all_false: switches.keep_all_false,
        });
        self.settle(scope, now);
        let Some(account) = self.accounts.get(&id) else { return Ok(Vec::new()) };
        let mut coming = account.entries.clone();
        account.pending.iter().for_each(|change| self.apply(change, &id, &mut coming));
        Ok(self.view(scope, &id, &coming, switches.foreign_visible))
    }

    fn check(&self, scope: &Scope, account: &str, settings: &[Setting], switches: &Switches) -> Result<(), Refusal> {
        let has_zones = self.zones.values().any(|zone| zone.account == account);
        for setting in settings {
            let zone = self.zone_of(account, &setting.hostname);
            let inside = match scope {
                Scope::Zone(id) => zone.is_some_and(|(owner, _)| owner == id),
                Scope::Account(_) => zone.is_some() || !has_zones,
            };
            if !inside {
                return Err(Refusal::known(12036));
            }
            let china = match zone {
                Some((_, zone)) => zone.china,
                None => self.accounts.get(account).is_some_and(|account| account.china),
            };
            if setting.china_network && !china {
                return Err(Refusal::new(
                    400,
                    switches.china_code,
                    "access.api.error.invalid_request: china network is not enabled for this zone",
                ));
            }
        }
        Ok(())
    }

    /// Fixes what lagging reads of a scope still show before something changes.
    fn remember_view(&mut self, scope: &Scope, id: &str, foreign_visible: bool) {
        let Some(account) = self.accounts.get(id) else { return };
        if account.shown.contains_key(scope) {
            return;
        }
        let list = self.view(scope, id, &account.entries, foreign_visible);
        if let Some(account) = self.accounts.get_mut(id) {
            account.shown.insert(scope.clone(), Shown { list, reads_left: None });
        }
    }

    fn apply(&self, change: &Change, account: &str, entries: &mut Entries) {
        if change.semantics == Semantics::Replace {
            entries.retain(|_, entry| !self.belongs(&change.scope, account, &entry.hostname));
        }
        for setting in &change.settings {
            let key = setting.hostname.to_ascii_lowercase();
            if setting.is_all_false() && !change.keep_all_false {
                entries.remove(&key);
            } else {
                entries.insert(key, setting.clone());
            }
        }
    }

    /// Applies every change of the scope's account that is due, drops the locks that ended, and names the account.
    fn settle(&mut self, scope: &Scope, now: Instant) -> Option<String> {
        let id = self.account_of(scope)?.to_owned();
        let account = self.accounts.get_mut(&id)?;
        account.locks.retain(|(_, until)| *until > now);
        let (mut due, pending): (Vec<Change>, Vec<Change>) =
            std::mem::take(&mut account.pending).into_iter().partition(|change| change.at <= now);
        account.pending = pending;
        due.sort_by_key(|change| change.at);
        for change in due {
            let mut entries = self.accounts.get(&id)?.entries.clone();
            self.apply(&change, &id, &mut entries);
            self.commit(&id, entries, change.at);
        }
        Some(id)
    }

    fn commit(&mut self, id: &str, entries: Entries, at: Instant) {
        let Some(account) = self.accounts.get_mut(id) else { return };
        if account.entries == entries {
            return;
        }
        account.entries.clone_from(&entries);
        account.history.push_back((at, entries));
        let versions = HISTORY.min(HISTORY_ENTRIES / account.entries.len().max(1)).max(2);
        while account.history.len() > versions {
            account.history.pop_front();
        }
    }

    /// Somebody else's edit, without a request: takes effect at once, asks for nobody's permission.
    pub(super) fn edit(&mut self, scope: &Scope, now: Instant, edit: impl FnOnce(&mut Vec<Setting>)) {
        let Some(id) = self.settle(scope, now) else { return };
        self.remember_view(scope, &id, false);
        let Some(account) = self.accounts.get(&id) else { return };
        let (mine, rest): (Vec<Setting>, Vec<Setting>) =
            account.entries.values().cloned().partition(|entry| self.belongs(scope, &id, &entry.hostname));
        let mut edited = mine;
        edit(&mut edited);
        let entries =
            rest.into_iter().chain(edited).map(|entry| (entry.hostname.to_ascii_lowercase(), entry)).collect();
        self.commit(&id, entries, now);
    }

    /// Locks a scope's writes as another client's change does, until then; a time in the past unlocks it.
    pub(super) fn lock(&mut self, scope: &Scope, until: Instant, reach: LockReach) {
        let Some(id) = self.account_of(scope).map(str::to_owned) else { return };
        let Some(account) = self.accounts.get_mut(&id) else { return };
        let held = (reach != LockReach::Account).then(|| scope.clone());
        account.locks.retain(|(other, _)| *other != held);
        account.locks.push((held, until));
    }

    /// Whether a change of this account is still to take effect.
    pub(super) fn is_settled(&mut self, scope: &Scope, now: Instant) -> bool {
        self.settle(scope, now)
            .and_then(|id| self.accounts.get(&id))
            .is_none_or(|account| account.pending.is_empty() && account.locks.is_empty())
    }
}
