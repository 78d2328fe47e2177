//! What to report: from what is known of the remote to an object's status.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

mod status;
mod words;

pub use status::{same_but_times, status};
use words::{conflict_message, problem_message, refusal_message};

use super::{
    index::{Owners, Wish, is_free},
    plan::{Rejection, View},
};
use crate::{
    api::{
        Class, Flags, Hostname, HostnameState, HostnameStatus, LastResponse, MtlsHostnameSettingsStatus, ObjectKey,
        Reason, SyncMode, WHOLE_LIST,
    },
    cloudflare::RemoteList,
};

/// What kept a round from its end, for all objects that it served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The reason as it goes into the condition.
    pub reason: Reason,
    /// Cloudflare's code, where there was one.
    pub code: Option<i64>,
    /// How long Cloudflare told us to wait.
    pub wait: Option<Duration>,
    /// What exactly, in words of ours: a Secret, a failed connection.
    pub detail: Option<String>,
    /// Whether the zone, the account or the Secret does not exist any more.
    pub gone: bool,
}

/// What a scope answers for one object.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The generation that it is about.
    pub generation: i64,
    /// The one reason that the conditions carry.
    pub reason: Reason,
    /// What happened and what to do; no ids, times or counters.
    pub message: String,
    /// Every listed hostname.
    pub hostnames: Arc<[HostnameStatus]>,
    /// The last answer.
    pub response: Option<Arc<LastResponse>>,
    /// The value of the annotation that this report answers.
    pub handled_reconcile_at: Option<String>,
    /// Whether every write to the scope carries the whole list, as far as this report knows.
    pub whole_list: bool,
    /// Whether an object that is being deleted may go.
    pub released: bool,
}

impl Report {
    /// Whether another report differs in nothing but the time and the ray id of the answer.
    #[must_use]
    pub fn says_the_same(&self, other: &Self) -> bool {
        same_answer(self.response.as_deref(), other.response.as_deref())
            && *self == Self { response: self.response.clone(), ..other.clone() }
    }
}

/// Whether two answers differ in nothing but their time and ray id.
fn same_answer(one: Option<&LastResponse>, other: Option<&LastResponse>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => {
            *one == LastResponse { time: one.time.clone(), ray_id: one.ray_id.clone(), ..other.clone() }
        }
        (one, other) => one.is_none() && other.is_none(),
    }
}

/// Judges one object from what is known of the remote through its credential.
pub fn report(wish: &Wish, owners: &Owners, holder: impl Fn(&str) -> Option<ObjectKey>, view: &View) -> Report {
    let hostnames: Arc<[HostnameStatus]> = match &view.remote {
        None => carried_over(wish, &wish.previous),
        Some(remote) => {
            let settings = wish.spec.settings.iter();
            settings
                .map(|(hostname, &wanted)| HostnameStatus {
                    hostname: hostname.as_str().to_owned(),
                    state: state(wish, owners, view, remote, hostname, wanted),
                    applied: is_applied(wish, owners, view, remote, hostname, wanted),
                    remote: remote.get(hostname.as_str()).copied(),
                })
                .chain(resetting(wish, owners, view, remote))
                .collect()
        }
    };
    let refusal = refusal(wish, owners, view);
    let (reason, message) = verdict(wish, owners, holder, view, refusal, &hostnames);
    let released = wish.leaving && released(wish, view, &hostnames);
    Report {
        generation: wish.generation,
        reason,
        message,
        hostnames,
        response: response(wish, view, refusal),
        handled_reconcile_at: wish.looked_at.clone(),
        whole_list: view.whole_list || wish.whole_list,
        released,
    }
}

/// Hostnames that were let go and are not off yet. What another object lists is handed over instead.
fn resetting<'a>(
    wish: &'a Wish,
    owners: &'a Owners,
    view: &'a View,
    remote: &'a RemoteList,
) -> impl Iterator<Item = HostnameStatus> + 'a {
    let left = wish
        .tombstones
        .iter()
        .filter(|hostname| is_free(owners, hostname) && !view.is_proved(remote, hostname, Flags::default()));
    left.map(|hostname| HostnameStatus {
        hostname: hostname.as_str().to_owned(),
        state: HostnameState::Resetting,
        applied: true,
        remote: remote.get(hostname.as_str()).copied(),
    })
}

/// A zone that is gone has nothing left to reset, and a Secret that is gone must not hold up a whole namespace. What a write
/// has harmed is mended first: the credential to do so may go with the object.
fn released(wish: &Wish, view: &View, left: &[HostnameStatus]) -> bool {
    match &view.problem {
        Some(problem) => problem.gone || wish.tombstones.is_empty(),
        None if view.alarm => false,
        None => {
            let is_left = left.iter().any(|hostname| hostname.state == HostnameState::Resetting);
            wish.tombstones.is_empty() || (view.remote.is_some() && !is_left)
        }
    }
}

/// Whether the claim is established with what this report says.
fn is_applied(
    wish: &Wish,
    owners: &Owners,
    view: &View,
    remote: &RemoteList,
    hostname: &Hostname,
    wanted: Flags,
) -> bool {
    let proved = wish.spec.mode != SyncMode::Observe && view.is_proved(remote, hostname, wanted);
    is_owner(wish, owners, hostname) && (wish.is_established(hostname) || proved)
}

fn is_owner(wish: &Wish, owners: &Owners, hostname: &Hostname) -> bool {
    owners.get(hostname).is_some_and(|owner| owner.uid == wish.uid)
}

fn state(
    wish: &Wish,
    owners: &Owners,
    view: &View,
    remote: &RemoteList,
    hostname: &Hostname,
    wanted: Flags,
) -> HostnameState {
    if !is_owner(wish, owners, hostname) {
        HostnameState::Conflicted
    } else if view.is_proved(remote, hostname, wanted) {
        HostnameState::InSync
    } else if view.rejection(hostname, wanted).is_some() {
        HostnameState::Rejected
    } else if view.is_under_way(hostname, wanted) {
        HostnameState::Pending
    } else if wish.is_settled(hostname) || wish.spec.mode == SyncMode::Observe {
        HostnameState::Drifted
    } else {
        HostnameState::Pending
    }
}

/// The first entry of this object that Cloudflare refused and that is not there all the same.
fn refusal<'a>(wish: &'a Wish, owners: &Owners, view: &'a View) -> Option<(&'a Hostname, &'a Rejection)> {
    wish.spec.settings.iter().find_map(|(hostname, &wanted)| {
        let stands = is_owner(wish, owners, hostname)
            && !view.remote.as_ref().is_some_and(|remote| view.is_proved(remote, hostname, wanted));
        view.rejection(hostname, wanted).filter(|_| stands).map(|rejection| (hostname, rejection))
    })
}

/// The answer that a person needs to see: while a refusal stands, not the reads that came after it.
fn response(wish: &Wish, view: &View, refusal: Option<(&Hostname, &Rejection)>) -> Option<Arc<LastResponse>> {
    let off = Flags::default();
    let reset = || wish.tombstones.iter().find_map(|hostname| view.rejection(hostname, off));
    let refusal = refusal.map(|(_, refusal)| refusal).or_else(reset).filter(|_| view.problem.is_none());
    refusal.map(|refusal| refusal.response.clone()).or_else(|| view.response.clone())
}

fn verdict(
    wish: &Wish,
    owners: &Owners,
    holder: impl Fn(&str) -> Option<ObjectKey>,
    view: &View,
    refusal: Option<(&Hostname, &Rejection)>,
    hostnames: &[HostnameStatus],
) -> (Reason, String) {
    let is_resetting = hostnames.iter().any(|hostname| hostname.state == HostnameState::Resetting);
    if wish.leaving {
        return farewell(wish, view, is_resetting);
    }
    if let Some(problem) = &view.problem {
        return (problem.reason, problem_message(problem, wish));
    }
    if view.alarm {
        let text = "a write of this operator removed entries that it did not name, since Cloudflare replaced the list; they \
                    are being put back, and every write to this zone or account carries the whole list from now on";
        return (Reason::UnexpectedRemoteChange, text.to_owned());
    }
    let has = |state: HostnameState| hostnames.iter().any(|hostname| hostname.state == state);
    if has(HostnameState::Conflicted) {
        return (Reason::HostnameConflict, conflict_message(wish, owners, holder));
    }
    if let Some((hostname, Rejection { refusal, .. })) = refusal {
        return (refusal.reason, format!("{hostname}: {}", refusal_message(refusal.reason, refusal.code)));
    }
    let fought = |hostname: &&Hostname| wish.is_settled(hostname) && view.is_fought_over(hostname);
    if has(HostnameState::Drifted) && wish.spec.mode == SyncMode::Enforce {
        return match wish.spec.settings.keys().find(fought) {
            Some(hostname) => (
                Reason::ForeignWriter,
                format!(
                    "{hostname} was repaired three times within an hour and is changed back each time: find out who else \
                     writes it, such as an object for its account or zone, Terraform or a person; a change of this object, \
                     or of its annotation cloudflare-mtls.dev/reconcile-at, tries again"
                ),
            ),
            None => (Reason::Propagating, "Cloudflare differs from the spec; it is being repaired".to_owned()),
        };
    }
    if has(HostnameState::Drifted) {
        let text = format!("Cloudflare differs from the spec and syncMode {:?} leaves it alone", wish.spec.mode);
        return (Reason::DriftDetected, format!("{text}: see status.hostnames"));
    }
    if is_resetting {
        let off = Flags::default();
        let refused = wish.tombstones.iter().find_map(|hostname| Some((hostname, view.rejection(hostname, off)?)));
        return match refused {
            Some((hostname, Rejection { refusal, .. })) => {
                let why = refusal_message(refusal.reason, refusal.code);
                (Reason::ResetBlocked, format!("{hostname}, which is not listed any more, is not turned off: {why}"))
            }
            None => (Reason::Resetting, "turning off the hostnames that this object does not list any more".to_owned()),
        };
    }
    if has(HostnameState::Pending) {
        return (Reason::Propagating, "the settings were sent to Cloudflare; a read does not show them yet".to_owned());
    }
    match wish.spec.mode {
        SyncMode::Observe => {
            (Reason::Observed, "Cloudflare equals the spec; syncMode Observe writes nothing".to_owned())
        }
        _ => (Reason::InSync, "a read after the last write showed every hostname as the spec wants it".to_owned()),
    }
}

/// What an object says that is being deleted.
fn farewell(wish: &Wish, view: &View, is_resetting: bool) -> (Reason, String) {
    let off = Flags::default();
    let refusal = wish.tombstones.iter().find_map(|hostname| view.rejection(hostname, off));
    let trouble = match (&view.problem, refusal) {
        (Some(problem), _) => Some((problem.reason, problem_message(problem, wish))),
        (None, Some(Rejection { refusal, .. })) => {
            Some((refusal.reason, refusal_message(refusal.reason, refusal.code)))
        }
        (None, None) => None,
    };
    match trouble {
        Some((Reason::ScopeNotFound, why)) => {
            (Reason::Resetting, format!("nothing is turned off, and entries that are there all the same stay: {why}"))
        }
        Some((_, why)) if view.problem.as_ref().is_some_and(|problem| problem.gone) => (
            Reason::ResetBlocked,
            format!("the hostnames stay as they are on Cloudflare, since the credential is gone: {why}"),
        ),
        Some((reason, why)) if reason.class() == Class::Stalled || reason == Reason::SecretNotFound => {
            let patch = r#"--type=merge -p '{"spec":{"deletionPolicy":"Retain"}}'"#;
            let way_out = format!("kubectl patch mhs {} -n {} {patch}", wish.key.name, wish.key.namespace);
            (Reason::ResetBlocked, format!("{why}; to let the object go and leave Cloudflare as it is: {way_out}"))
        }
        Some((_, why)) => (Reason::Resetting, format!("turning off the hostnames of this object: {why}")),
        None if is_resetting => (Reason::Resetting, "turning off the hostnames of this object".to_owned()),
        None => (Reason::Resetting, "the hostnames of this object are off".to_owned()),
    }
}

/// The report while the first answer is still to come.
#[must_use]
pub fn pending(wish: &Wish, previous: &MtlsHostnameSettingsStatus) -> Report {
    let message = "waiting for the first answer of Cloudflare";
    let handled = previous.last_handled_reconcile_at.clone();
    Report { handled_reconcile_at: handled, ..without_look(wish, previous, Reason::Pending, message) }
}

/// The report of an object that asks to be left alone.
#[must_use]
pub fn suspended(wish: &Wish, previous: &MtlsHostnameSettingsStatus) -> Report {
    let message = "spec.suspend is true: nothing is read or written until it is false";
    without_look(wish, previous, Reason::Suspended, message)
}

fn without_look(wish: &Wish, previous: &MtlsHostnameSettingsStatus, reason: Reason, message: &str) -> Report {
    Report {
        generation: wish.generation,
        reason,
        message: message.to_owned(),
        hostnames: carried_over(wish, &previous.hostnames),
        response: previous.last_response.clone().map(Arc::new),
        handled_reconcile_at: wish.reconcile_at.clone(),
        whole_list: wish.whole_list,
        released: false,
    }
}

/// What the status had is kept, since it is what the object owns; but a state that was proved for other flags is not
/// proved for these.
fn carried_over(wish: &Wish, previous: &[HostnameStatus]) -> Arc<[HostnameStatus]> {
    let known: BTreeMap<&str, &HostnameStatus> =
        previous.iter().map(|known| (known.hostname.as_str(), known)).collect();
    let carry = |(hostname, wanted): (&Hostname, &Flags)| {
        let known = known.get(hostname.as_str()).copied();
        let outdated = |known: &HostnameStatus| {
            known.state == HostnameState::InSync && known.remote.unwrap_or_default() != *wanted
        };
        HostnameStatus {
            hostname: hostname.as_str().to_owned(),
            state: known.filter(|known| !outdated(known)).map_or(HostnameState::Pending, |known| known.state.clone()),
            applied: wish.is_established(hostname),
            remote: known.and_then(|known| known.remote),
        }
    };
    // Those too that no status has yet: what is not in the report counts as turned off.
    let resetting = wish.tombstones.iter().map(|hostname| HostnameStatus {
        hostname: hostname.as_str().to_owned(),
        state: HostnameState::Resetting,
        applied: true,
        remote: known.get(hostname.as_str()).and_then(|known| known.remote),
    });
    wish.spec.settings.iter().map(carry).chain(resetting).collect()
}

/// The report of an object that was stored but cannot be understood.
#[must_use]
pub fn spec_invalid(generation: i64, problem: &str, previous: &MtlsHostnameSettingsStatus) -> Report {
    unserved(generation, Reason::SpecInvalid, format!("the stored object cannot be used: {problem}"), previous)
}

/// The report of an object that made the operator itself fail.
#[must_use]
pub fn internal_error(generation: i64, previous: &MtlsHostnameSettingsStatus) -> Report {
    let message = "the operator itself failed on this object, and its log says where: please report that; it is tried again \
                   every five minutes";
    unserved(generation, Reason::InternalError, message.to_owned(), previous)
}

fn unserved(generation: i64, reason: Reason, message: String, previous: &MtlsHostnameSettingsStatus) -> Report {
    Report {
        generation,
        reason,
        message,
        hostnames: previous.hostnames.clone().into(),
        response: previous.last_response.clone().map(Arc::new),
        handled_reconcile_at: previous.last_handled_reconcile_at.clone(),
        whole_list: previous.conditions.iter().any(|condition| condition.type_ == WHOLE_LIST),
        released: false,
    }
}

#[cfg(test)]
mod tests;
