//! What is measured. No label holds a hostname, a credential or an id of a request.

use std::{
    fmt::Debug,
    sync::{
        PoisonError, RwLock,
        atomic::{AtomicI64, AtomicU64},
    },
    time::Duration,
};

use prometheus_client::{
    collector::Collector,
    encoding::{EncodeLabelSet, EncodeLabelValue, prometheus_text, text},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
        info::Info,
    },
    registry::Registry,
};

use crate::cloudflare::KNOWN_CODES;

/// The value of the label `controller`, as controller-runtime's dashboards expect one.
const CONTROLLER: &str = "mtlshostnamesettings";

/// How a reconcile ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
#[allow(non_camel_case_types, reason = "the values of the label are written like this")]
pub enum ReconcileResult {
    /// Nothing is left to do until something changes.
    success,
    /// It comes back after a while.
    requeue_after,
    /// It failed, and is tried again.
    error,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReconcileLabels {
    controller: &'static str,
    result: ReconcileResult,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ControllerLabels {
    controller: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LeaseLabels {
    name: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    method: String,
    status: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct MethodLabels {
    method: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CodeLabels {
    code: String,
}

/// Every metric of the program.
#[derive(Debug)]
pub struct Metrics {
    registry: RwLock<Registry>,
    reconciles: Family<ReconcileLabels, Counter>,
    reconcile_errors: Family<ControllerLabels, Counter>,
    reconcile_time: Family<ControllerLabels, Histogram, fn() -> Histogram>,
    workers: Family<ControllerLabels, Gauge>,
    leads: Family<LeaseLabels, Gauge>,
    requests: Family<RequestLabels, Counter>,
    request_time: Family<MethodLabels, Histogram, fn() -> Histogram>,
    codes: Family<CodeLabels, Counter>,
    /// Without labels; there is none before Cloudflare has said something.
    ratelimit_remaining: Family<[(&'static str, &'static str); 0], Gauge>,
    batches: Histogram,
    tasks: Gauge<i64, AtomicI64>,
    /// Hostnames found other than they were left.
    pub drift_detected: Counter<u64, AtomicU64>,
    /// Hostnames written again because of that.
    pub drift_corrected: Counter<u64, AtomicU64>,
    /// Objects with hostnames that are left to somebody else who keeps changing them back.
    pub foreign_writers: Counter<u64, AtomicU64>,
    /// Writes that removed or changed entries that they did not name.
    pub unexpected_changes: Counter<u64, AtomicU64>,
}

/// 1 ms to 16 s.
fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 2.0, 15))
}

impl Default for Metrics {
    fn default() -> Self {
        let metrics = Self {
            registry: RwLock::default(),
            reconciles: Family::default(),
            reconcile_errors: Family::default(),
            reconcile_time: Family::new_with_constructor(seconds),
            workers: Family::default(),
            leads: Family::default(),
            requests: Family::default(),
            request_time: Family::new_with_constructor(seconds),
            codes: Family::default(),
            ratelimit_remaining: Family::default(),
            batches: Histogram::new(exponential_buckets(1.0, 2.0, 11)),
            tasks: Gauge::default(),
            drift_detected: Counter::default(),
            drift_corrected: Counter::default(),
            foreign_writers: Counter::default(),
            unexpected_changes: Counter::default(),
        };
        metrics.register();
        metrics
    }
}

impl Metrics {
    fn register(&self) {
        let mut registry = self.registry.write().unwrap_or_else(PoisonError::into_inner);
        // The names that the dashboards of controller-runtime know.
        registry.register("controller_runtime_reconcile", "Reconciles by their result", self.reconciles.clone());
        registry.register(
            "controller_runtime_reconcile_errors",
            "Reconciles that failed",
            self.reconcile_errors.clone(),
        );
        registry.register(
            "controller_runtime_reconcile_time_seconds",
            "Time of a reconcile",
            self.reconcile_time.clone(),
        );
        registry.register("controller_runtime_active_workers", "Reconciles under way", self.workers.clone());
        registry.register("leader_election_master_status", "Whether this replica leads", self.leads.clone());
        let own = registry.sub_registry_with_prefix("cfmtls");
        own.register("build", "The version of this program", Info::new([("version", env!("CARGO_PKG_VERSION"))]));
        own.register(
            "cloudflare_requests",
            "Requests to Cloudflare by the status of the answer",
            self.requests.clone(),
        );
        own.register(
            "cloudflare_request_duration_seconds",
            "Time of a request to Cloudflare",
            self.request_time.clone(),
        );
        own.register("cloudflare_errors", "Error codes in answers of Cloudflare", self.codes.clone());
        own.register(
            "ratelimit_remaining",
            "Requests that Cloudflare said were left, in its last answer",
            self.ratelimit_remaining.clone(),
        );
        own.register("runtime_tasks", "Tasks of the program", self.tasks.clone());
        own.register("scope_batch_size", "Entries in a write", self.batches.clone());
        own.register("drift_detected", "Hostnames found other than they were left", self.drift_detected.clone());
        own.register("drift_corrected", "Hostnames written again after drift", self.drift_corrected.clone());
        own.register(
            "foreign_writer",
            "Objects with hostnames that are left to somebody else who keeps changing them back",
            self.foreign_writers.clone(),
        );
        own.register(
            "unexpected_remote_change",
            "Writes that removed or changed entries that they did not name",
            self.unexpected_changes.clone(),
        );
    }

    /// Adds what is read from elsewhere at each scrape.
    pub fn collect(&self, collector: Box<dyn Collector>) {
        self.registry.write().unwrap_or_else(PoisonError::into_inner).register_collector(collector);
    }

    /// Everything, with its media type: in the newer text format for who accepts that, else in the older one.
    #[must_use]
    pub fn encode(&self, accept: &str) -> (&'static str, String) {
        let tasks = tokio::runtime::Handle::try_current().map_or(0, |runtime| runtime.metrics().num_alive_tasks());
        self.tasks.set(i64::try_from(tasks).unwrap_or(i64::MAX));
        let registry = self.registry.read().unwrap_or_else(PoisonError::into_inner);
        let mut out = String::new();
        // Writing into a string does not fail.
        if accept.contains("application/openmetrics-text") {
            text::encode(&mut out, &registry).ok();
            ("application/openmetrics-text; version=1.0.0; charset=utf-8", out)
        } else {
            prometheus_text::encode(&mut out, &registry).ok();
            (prometheus_text::CONTENT_TYPE, out)
        }
    }

    /// A reconcile begins; it ends when the returned value is told its result.
    pub fn reconcile_begins(&self) {
        self.workers.get_or_create(&ControllerLabels { controller: CONTROLLER }).inc();
    }

    /// A reconcile has ended.
    pub fn reconcile_ended(&self, result: ReconcileResult, took: Duration) {
        let labels = ControllerLabels { controller: CONTROLLER };
        self.workers.get_or_create(&labels).dec();
        self.reconciles.get_or_create(&ReconcileLabels { controller: CONTROLLER, result }).inc();
        self.reconcile_time.get_or_create(&labels).observe(took.as_secs_f64());
        let errors = self.reconcile_errors.get_or_create(&labels);
        if result == ReconcileResult::error {
            errors.inc();
        }
    }

    /// Whether this replica leads, by the lease of this name.
    pub fn leads(&self, lease: &str, leads: bool) {
        self.leads.get_or_create(&LeaseLabels { name: lease.to_owned() }).set(leads.into());
    }

    /// A request to Cloudflare has ended; without a status when there was no answer.
    pub fn request(&self, method: &str, status: Option<i32>, took: Duration) {
        let status = status.map_or_else(|| "none".to_owned(), |status| status.to_string());
        self.requests.get_or_create(&RequestLabels { method: method.to_owned(), status }).inc();
        self.request_time.get_or_create(&MethodLabels { method: method.to_owned() }).observe(took.as_secs_f64());
    }

    /// Cloudflare said this code. Those that no reason is told by share a label.
    pub fn code(&self, code: i64) {
        let code = if KNOWN_CODES.contains(&code) { code.to_string() } else { "other".to_owned() };
        self.codes.get_or_create(&CodeLabels { code }).inc();
    }

    /// What Cloudflare says is left of its limit.
    pub fn ratelimit_remaining(&self, remaining: u64) {
        self.ratelimit_remaining.get_or_create(&[]).set(i64::try_from(remaining).unwrap_or(i64::MAX));
    }

    /// A write with so many entries is sent.
    pub fn batch(&self, entries: usize) {
        self.batches.observe(u32::try_from(entries).map_or(f64::from(u32::MAX), f64::from));
    }
}
