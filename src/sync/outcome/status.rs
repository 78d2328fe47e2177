//! From a report to the status as it is written, and whether writing it would say anything new.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use super::{Report, same_answer};
use crate::api::{Class, HostnameState, MtlsHostnameSettingsStatus, Reason, WHOLE_LIST};

/// Builds the whole status afresh; only the transition times of unchanged conditions come from the previous one.
#[must_use]
pub fn status(report: &Report, previous: &[Condition], now: Timestamp) -> MtlsHostnameSettingsStatus {
    let has = |state: HostnameState| report.hostnames.iter().any(|hostname| hostname.state == state);
    let class = report.reason.class();
    let ready = if class == Class::Ready { "True" } else { "False" };
    let mut conditions = vec![("Ready", ready, report.reason, report.message.as_str())];
    let more = [
        ("Reconciling", class == Class::Reconciling),
        ("Stalled", class == Class::Stalled),
        ("Conflicted", has(HostnameState::Conflicted)),
        ("Drifted", has(HostnameState::Drifted)),
        ("Suspended", report.reason == Reason::Suspended),
    ];
    let held = more.iter().filter(|(_, holds)| *holds);
    conditions.extend(held.map(|(kind, _)| (*kind, "True", report.reason, report.message.as_str())));
    if report.whole_list {
        let text = "Cloudflare was seen to replace the list of this zone or account: every write carries all of it";
        conditions.push((WHOLE_LIST, "True", Reason::UnexpectedRemoteChange, text));
    }
    let condition = |(kind, value, reason, message): (&str, &str, Reason, &str)| {
        let since = previous.iter().find(|old| old.type_ == kind && old.status == value);
        Condition {
            type_: kind.to_owned(),
            status: value.to_owned(),
            reason: reason.as_str().to_owned(),
            message: message.to_owned(),
            observed_generation: Some(report.generation),
            last_transition_time: since.map_or(Time(now), |old| old.last_transition_time.clone()),
        }
    };
    let listed = report.hostnames.iter().filter(|hostname| hostname.state != HostnameState::Resetting).count();
    let in_sync = report.hostnames.iter().filter(|hostname| hostname.state == HostnameState::InSync).count();
    MtlsHostnameSettingsStatus {
        observed_generation: Some(report.generation),
        last_handled_reconcile_at: report.handled_reconcile_at.clone(),
        summary: (listed > 0).then(|| format!("{in_sync}/{listed}")),
        conditions: conditions.into_iter().map(condition).collect(),
        hostnames: report.hostnames.to_vec(),
        last_response: report.response.as_deref().cloned(),
    }
}

/// Whether two statuses differ in nothing but times and the ray id, so that writing the second would say nothing new.
#[must_use]
pub fn same_but_times(one: &MtlsHostnameSettingsStatus, other: &MtlsHostnameSettingsStatus) -> bool {
    let timeless = |status: &MtlsHostnameSettingsStatus| {
        let mut status = MtlsHostnameSettingsStatus { last_response: None, ..status.clone() };
        for condition in &mut status.conditions {
            condition.last_transition_time = Time(Timestamp::UNIX_EPOCH);
        }
        status
    };
    same_answer(one.last_response.as_ref(), other.last_response.as_ref()) && timeless(one) == timeless(other)
}
