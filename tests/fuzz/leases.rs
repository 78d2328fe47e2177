//! Leases with whatever somebody has put into them, and the decisions that a candidate takes on them.

use std::time::{Duration, Instant};

use cloudflare_mtls_operator::ops::{Candidate, Step, Timing, lease_record};
use k8s_openapi::api::coordination::v1::Lease;
use proptest::{collection::vec, option, prelude::*, prop_oneof, test_runner::TestCaseError};
use serde_json::{Value, json};

use crate::raw::like;

const TIMING: Timing = Timing {
    duration: Duration::from_secs(15),
    renew_deadline: Duration::from_secs(10),
    retry: Duration::from_secs(2),
};

/// What is read one after the other, each some milliseconds after the one before.
pub(crate) fn leases() -> impl Strategy<Value = Vec<(Option<Value>, u32)>> {
    let holder = option::of(prop_oneof![Just("me".to_owned()), Just(String::new()), like("\\PC{0,20}")]);
    let spec = (holder, option::of(any::<i32>()), option::of(any::<i32>())).prop_map(|(holder, seconds, transitions)| {
        json!({"holderIdentity": holder, "leaseDurationSeconds": seconds, "leaseTransitions": transitions})
    });
    let lease = (option::of(spec), option::of(like("[0-9]{0,5}|\\PC{0,5}"))).prop_map(|(spec, version)| {
        json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"resourceVersion": version}, "spec": spec})
    });
    vec((option::of(lease), 0..100_000_u32), 1..8)
}

#[allow(clippy::ptr_arg, reason = "what a strategy gives")]
pub(crate) fn examine(read: &Vec<(Option<Value>, u32)>) -> Result<(), TestCaseError> {
    let mut now = Instant::now();
    let mut candidate = Candidate::new("me".to_owned(), TIMING, now);
    let mut since = None;
    for (lease, later) in read {
        now += Duration::from_millis((*later).into());
        let lease: Option<Lease> =
            lease.as_ref().map(|lease| serde_json::from_value(lease.clone())).transpose().unwrap();
        let record = lease.as_ref().map(|lease| lease_record(lease, TIMING.duration));
        if let Some(record) = &record {
            prop_assert!(record.duration >= Duration::from_secs(1), "{:?}", record);
        }
        // Since when it has been held like this by somebody else.
        let held = |record: &cloudflare_mtls_operator::ops::Record| {
            record.holder.as_ref().is_some_and(|holder| !holder.is_empty() && holder != "me")
        };
        since = match (&record, since.take()) {
            (None, before) => before,
            (Some(record), Some((former, at))) if *record == former => Some((former, at)),
            (Some(record), _) => held(record).then(|| (record.clone(), now)),
        };
        candidate.saw(record, now);
        let is_taken = since.as_ref().is_some_and(|(record, at)| now < *at + record.duration);
        let takes = matches!(candidate.step(now), Step::Create | Step::Replace(_));
        prop_assert!(takes != is_taken, "taken: {}, {:?}", is_taken, candidate);
        prop_assert_eq!(candidate.valid_until(), None, "it never wrote");
    }
    Ok(())
}
