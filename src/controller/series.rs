//! The series of each object, made at the scrape from what the watches show: they go when their object goes.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
    time::Duration,
};

use kube::runtime::reflector::Store;
use prometheus_client::{collector::Collector, encoding::DescriptorEncoder, metrics::MetricType};

use super::{Guarded, context::Context};
use crate::api::{HostnameState, MtlsHostnameSettings, Reason, parse_interval};

/// Collects from the caches of all watches.
pub(super) struct Series {
    stores: Vec<Store<Guarded>>,
    context: Arc<Context>,
}

impl Series {
    pub(super) fn new(stores: Vec<Store<Guarded>>, context: Arc<Context>) -> Self {
        Self { stores, context }
    }
}

impl fmt::Debug for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Series").finish_non_exhaustive()
    }
}

/// Namespace, name and UID of an object, and what can be read of it.
struct Shown<'a> {
    namespace: &'a str,
    name: &'a str,
    uid: &'a str,
    object: Option<&'a MtlsHostnameSettings>,
}

impl<'a> Shown<'a> {
    fn new(guarded: &'a Guarded) -> Self {
        let (meta, object) = match &guarded.0 {
            Ok(object) => (&object.metadata, Some(object)),
            Err(invalid) => (&invalid.metadata, None),
        };
        Self {
            namespace: meta.namespace.as_deref().unwrap_or_default(),
            name: meta.name.as_deref().unwrap_or_default(),
            uid: meta.uid.as_deref().unwrap_or_default(),
            object,
        }
    }

    /// Type and status of its conditions. Of an object that does not decode, these are known without reading them.
    fn conditions(&self) -> BTreeSet<(&'a str, &'a str)> {
        let Some(object) = self.object else { return BTreeSet::from([("Ready", "False"), ("Stalled", "True")]) };
        let conditions = object.status.iter().flat_map(|status| &status.conditions);
        conditions.map(|condition| (kind(&condition.type_), status(&condition.status))).collect()
    }

    /// The reason of its condition `Ready`.
    fn reason(&self) -> Option<&'static str> {
        let Some(object) = self.object else { return Some(Reason::SpecInvalid.as_str()) };
        let mut conditions = object.status.iter().flat_map(|status| &status.conditions);
        conditions.find(|condition| condition.type_ == "Ready").map(|ready| reason(&ready.reason))
    }

    /// How often it is looked at, if it is.
    fn interval(&self, default: Duration) -> Option<Duration> {
        let spec = &self.object.filter(|object| object.metadata.deletion_timestamp.is_none())?.spec;
        let told = || spec.interval.as_deref().map_or(Some(default), |text| parse_interval(text).ok());
        if spec.suspend.unwrap_or_default() { None } else { told() }
    }

    /// How many of its hostnames are in each state.
    fn hostnames(&self) -> BTreeMap<&'a str, u32> {
        let mut counts = BTreeMap::new();
        let status = self.object.and_then(|object| object.status.as_ref());
        for hostname in status.iter().flat_map(|status| &status.hostnames) {
            *counts.entry(state(&hostname.state)).or_default() += 1;
        }
        counts
    }
}

/// Anybody who may write a status may write anything into it: what is not known shares a label.
const OTHER: &str = "other";

fn kind(kind: &str) -> &str {
    const KNOWN: [&str; 7] = ["Ready", "Reconciling", "Stalled", "Conflicted", "Drifted", "Suspended", "WholeList"];
    if KNOWN.contains(&kind) { kind } else { OTHER }
}

fn status(status: &str) -> &str {
    if ["True", "False", "Unknown"].contains(&status) { status } else { OTHER }
}

fn reason(reason: &str) -> &'static str {
    Reason::ALL.iter().find(|known| known.as_str() == reason).map_or(OTHER, |known| known.as_str())
}

fn state(state: &HostnameState) -> &str {
    if matches!(state, HostnameState::Other(_)) { OTHER } else { state.as_str() }
}

impl Collector for Series {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        // A replica that waits for its turn would tell the same once more.
        let is_leading = self.context.leadership.is_leading();
        let objects: Vec<_> = self.stores.iter().filter(|_| is_leading).flat_map(Store::state).collect();
        let shown: Vec<Shown<'_>> = objects.iter().map(|object| Shown::new(object)).collect();

        let mut family = encoder.encode_descriptor(
            "cfmtls_resource_condition",
            "The conditions of an object: 1 for the status that each has",
            None,
            MetricType::Gauge,
        )?;
        for one in &shown {
            for (kind, status) in one.conditions() {
                let labels = [("namespace", one.namespace), ("name", one.name), ("type", kind), ("status", status)];
                family.encode_family(&labels)?.encode_gauge(&1_i64)?;
            }
        }

        let mut family = encoder.encode_descriptor(
            "cfmtls_resource_reason",
            "The reason of an object's condition Ready: 1 for the one that it has",
            None,
            MetricType::Gauge,
        )?;
        for one in &shown {
            if let Some(reason) = one.reason() {
                let labels = [("namespace", one.namespace), ("name", one.name), ("reason", reason)];
                family.encode_family(&labels)?.encode_gauge(&1_i64)?;
            }
        }

        let mut family = encoder.encode_descriptor(
            "cfmtls_resource_interval_seconds",
            "How often an object is looked at",
            None,
            MetricType::Gauge,
        )?;
        for one in &shown {
            if let Some(interval) = one.interval(self.context.settings.default_interval) {
                let labels = [("namespace", one.namespace), ("name", one.name)];
                family.encode_family(&labels)?.encode_gauge(&interval.as_secs_f64())?;
            }
        }

        let mut family = encoder.encode_descriptor(
            "cfmtls_hostnames",
            "The hostnames of an object by their state",
            None,
            MetricType::Gauge,
        )?;
        for one in &shown {
            for (state, count) in one.hostnames() {
                let labels = [("namespace", one.namespace), ("name", one.name), ("state", state)];
                family.encode_family(&labels)?.encode_gauge(&i64::from(count))?;
            }
        }

        let mut family = encoder.encode_descriptor(
            "cfmtls_last_successful_sync_timestamp_seconds",
            "When an object was last found to be as it asks",
            None,
            MetricType::Gauge,
        )?;
        for one in &shown {
            if let Some(at) = self.context.scopes.synced_at(one.uid) {
                let labels = [("namespace", one.namespace), ("name", one.name)];
                family.encode_family(&labels)?.encode_gauge(&at.as_second())?;
            }
        }
        Ok(())
    }
}
