//! What must hold at the end of every scenario, whatever went wrong in it.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use harness::{
    api_proxy::{Exchange, Ledger},
    fixture::PATIENCE,
};
use serde_json::Value;

use super::{Cluster, FOREIGN, OBJECTS, STATUS};

/// How long nothing may be written once all is in sync. Longer than any delay after which a write would be repeated at once.
const QUIET: Duration = Duration::from_secs(3);
/// Statuses of one object that may be written in a scenario: one for each thing that happens to it, and some for how it heals.
const MOST_STATUSES: usize = 10;

impl Cluster {
    /// The objects are in sync and the zone has what they list; then all is silent, and looking back nothing was done that
    /// should not have been. Nothing was complained of in the log but what contains one of `complaints`.
    pub(crate) async fn settles(&self, objects: &[&str], complaints: &[&str]) {
        for name in objects {
            let object = self.until_ready(name).await;
            self.assert_applied(name, &object["spec"]);
        }
        self.is_quiet().await;
        for name in objects {
            let object = self.fixture.get(name).await.unwrap().unwrap();
            self.assert_applied(name, &object["spec"]);
        }
        self.assert_sound(complaints);
    }

    /// For a while neither a request that changes something at Cloudflare nor one that changes an object.
    pub(crate) async fn is_quiet(&self) {
        let (cloudflare, kubernetes) = (self.cloudflare.ledger().mark(), self.proxy.ledger().mark());
        let started = Instant::now();
        self.cloudflare.until("a quiet time", QUIET + PATIENCE, || started.elapsed() >= QUIET).await.unwrap();
        let puts = self.cloudflare.ledger().since(cloudflare).filtered(|exchange| exchange.method == "PUT");
        assert!(puts.is_empty(), "a write to Cloudflare when all was in sync:\n{puts}");
        let writes = self.proxy.ledger().since(kubernetes).filtered(changes_an_object);
        assert!(writes.is_empty(), "a write to Kubernetes when all was in sync:\n{writes}");
    }

    /// What holds at every moment.
    pub(crate) fn assert_sound(&self, complaints: &[&str]) {
        assert_eq!(self.remote.get(FOREIGN), Some((true, false)), "a foreign entry is gone:\n{}", self.ledger());
        self.assert_no_false_claims();
        self.assert_few_writes();
        self.assert_log(complaints);
    }

    /// `Ready=True` was never said of a generation that the zone did not have at that moment.
    fn assert_no_false_claims(&self) {
        for claim in self.claims.lock().unwrap().iter() {
            let spec = self.proxy.spec(&claim.uid, claim.generation).expect("the API server has shown what is claimed");
            if spec["zoneId"] != self.fixture.zone_id() {
                continue;
            }
            for (hostname, forwarding, china) in listed(&spec) {
                let entry = claim.entries.iter().find(|entry| entry.0 == hostname);
                let flags = entry.map_or((false, false), |entry| (entry.1, entry.2));
                let generation = claim.generation;
                assert_eq!(flags, (forwarding, china), "{hostname} when generation {generation} was said to be Ready");
            }
        }
    }

    /// Each write of a status changed it, and there were not many.
    fn assert_few_writes(&self) {
        let ledger = self.proxy.ledger();
        let noops = ledger.filtered(|exchange| {
            changes_an_object(exchange) && exchange.is_noop() && !repeats_what_was_not_answered(exchange, &ledger)
        });
        assert!(noops.is_empty(), "writes that changed nothing:\n{noops}");
        let mut statuses: BTreeMap<&str, usize> = BTreeMap::new();
        for exchange in ledger.all().iter().filter(|exchange| exchange.version.is_some()) {
            if let (STATUS, Some(name)) = (exchange.target.resource.as_str(), &exchange.target.name) {
                *statuses.entry(name).or_default() += 1;
            }
        }
        let many = statuses.iter().find(|(_, count)| **count > MOST_STATUSES);
        assert!(many.is_none(), "{many:?} statuses of one object:\n{ledger}");
    }

    /// No unexpected complaint; the world looks for panics and credentials in the end.
    fn assert_log(&self, complaints: &[&str]) {
        let logs = self.operator.logs().unwrap();
        for line in logs.lines() {
            let parsed: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in the log: {line}"));
            let worries = parsed["level"] == "WARN" || parsed["level"] == "ERROR";
            // Whatever fails on the way to the API server is also told by the client itself, without a word about what it was.
            let is_echo = parsed["target"] == "kube_client::client::builder" && !complaints.is_empty();
            let is_expected = is_echo || complaints.iter().any(|text| line.contains(text));
            assert!(!worries || is_expected, "unexpected: {line}");
        }
    }

    /// The zone has what a spec lists.
    fn assert_applied(&self, name: &str, spec: &Value) {
        if spec["zoneId"] != self.fixture.zone_id() {
            return;
        }
        for (hostname, forwarding, china) in listed(spec) {
            let flags = self.remote.get(&hostname).unwrap_or_default();
            assert_eq!(flags, (forwarding, china), "{hostname} of {name}:\n{}", self.ledger());
        }
    }

    /// Attempts to write the status of an object since a mark of the proxy's ledger.
    pub(crate) fn status_writes(&self, name: &str, mark: u64) -> Ledger {
        let of_it =
            |exchange: &Exchange| exchange.target.resource == STATUS && exchange.target.name.as_deref() == Some(name);
        self.proxy.ledger().since(mark).filtered(of_it)
    }

    /// How often something was written to the zone.
    pub(crate) fn puts(&self) -> usize {
        self.ledger().puts(&self.scope()).len()
    }
}

fn changes_an_object(exchange: &Exchange) -> bool {
    exchange.target.verb == "patch" && [OBJECTS, STATUS].contains(&exchange.target.resource.as_str())
}

/// Whether the write before this one, to the same object, had no answer or an error: it may have been carried out all the same.
fn repeats_what_was_not_answered(exchange: &Exchange, ledger: &Ledger) -> bool {
    let earlier = ledger.all().iter().rev().filter(|other| other.seq < exchange.seq);
    let mut of_it = earlier.filter(|other| changes_an_object(other) && other.target.name == exchange.target.name);
    of_it.next().is_some_and(|former| former.status != Some(200))
}

/// Hostnames with both flags.
fn listed(spec: &Value) -> Vec<(String, bool, bool)> {
    let flag = |entry: &Value, name: &str| entry[name].as_bool().unwrap_or_default();
    let entries = spec["settings"].as_array().into_iter().flatten();
    entries
        .map(|entry| {
            let hostname = entry["hostname"].as_str().unwrap().to_owned();
            (hostname, flag(entry, "clientCertificateForwarding"), flag(entry, "chinaNetwork"))
        })
        .collect()
}
