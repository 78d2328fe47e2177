//! What must hold in the end and all the way there, whatever went wrong in between: one place that says it for every fault.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::StreamExt;
use harness::{
    cloudflare::{Fault, Ledger, Remote},
    fixture::{PATIENCE, condition, eventually},
};
use kube::runtime::{WatchStreamExt, watcher};
use serde_json::Value;
use tokio::{sync::oneshot, task::JoinHandle, time::timeout};

use crate::world::World;

/// The object on which faults are tried, and its only hostname.
pub(crate) const SUBJECT: &str = "subject";
const HOSTNAME: &str = "subject.example.com";

/// What an object wants, by hostname.
fn wanted(object: &Value) -> BTreeMap<String, (bool, bool)> {
    let flag = |entry: &Value, name: &str| entry[name].as_bool().unwrap_or_default();
    let entries = object["spec"]["settings"].as_array().cloned().unwrap_or_default();
    let flags = |entry: &Value| (flag(entry, "clientCertificateForwarding"), flag(entry, "chinaNetwork"));
    entries.iter().map(|entry| (entry["hostname"].as_str().unwrap().to_owned(), flags(entry))).collect()
}

/// What of it the remote does not have, as it is stored and not as it is shown.
fn missing(object: &Value, remote: &Remote) -> Vec<String> {
    let differs = |(hostname, flags): (String, (bool, bool))| {
        let found = remote.get(&hostname).unwrap_or_default();
        (found != flags).then(|| format!("{hostname} is to be {flags:?} and is {found:?}"))
    };
    wanted(object).into_iter().filter_map(differs).collect()
}

fn claims_to_be_ready(object: &Value) -> bool {
    condition(object, "Ready").is_some_and(|ready| {
        ready["status"] == "True"
            && ready["reason"] == "InSync"
            && ready["observedGeneration"] == object["metadata"]["generation"]
    })
}

/// Watches the objects of a scenario and notes each `Ready=True` that came before the remote had what it speaks of.
pub(crate) struct Vigil {
    /// Every state of every object: what lasts for a moment only is in it too.
    shown: Arc<Mutex<Vec<Value>>>,
    lies: Arc<Mutex<Vec<String>>>,
    watch: JoinHandle<()>,
}

impl Vigil {
    /// From now on, and for objects of which nobody else changes the remote side meanwhile.
    pub(crate) async fn over(world: &World) -> Self {
        let (shown, lies) = (Arc::<Mutex<Vec<Value>>>::default(), Arc::<Mutex<Vec<String>>>::default());
        let (begun, begins) = oneshot::channel();
        let states = shown.clone();
        let (remote, objects, noted) = (world.remote.clone(), world.fixture.objects(), lies.clone());
        let watch = tokio::spawn(async move {
            let objects = watcher(objects, watcher::Config::default()).default_backoff().applied_objects();
            let (mut objects, mut begun) = (std::pin::pin!(objects), Some(begun));
            while let Some(object) = objects.next().await {
                // A watch that broke off begins anew by itself.
                let Ok(object) = object else { continue };
                let object = serde_json::to_value(object).unwrap();
                if claims_to_be_ready(&object) {
                    noted.lock().unwrap().extend(missing(&object, &remote));
                }
                states.lock().unwrap().push(object);
                begun.take().map(|begun| begun.send(()));
            }
        });
        // What was there before is seen before it changes.
        timeout(PATIENCE, begins).await.expect("the first object is shown").unwrap();
        Self { shown, lies, watch }
    }

    /// The last state so far of which this holds.
    fn has_shown(&self, holds: impl Fn(&Value) -> bool) -> Option<Value> {
        self.shown.lock().unwrap().iter().rev().find(|object| holds(object)).cloned()
    }

    /// Ends it.
    pub(crate) fn end(self) {
        self.watch.abort();
        let lies = self.lies.lock().unwrap();
        assert!(lies.is_empty(), "Ready=True for what was not applied: {lies:?}");
    }
}

/// The most memory that the operator ever had, in KiB.
pub(crate) fn peak_memory(world: &World) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", world.operator.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// No request came sooner after a refusal for too many than its `Retry-After` allowed.
pub(crate) fn assert_rested(ledger: &Ledger, rest: Duration) {
    let rest = u64::try_from(rest.as_micros()).unwrap();
    for pair in ledger.all().windows(2).filter(|pair| pair[0].status == Some(429)) {
        let waited = pair[1].start_us - pair[0].end_us.unwrap();
        assert!(waited >= rest, "asked again after {waited} us instead of {rest} us:\n{ledger}");
    }
}

impl World {
    /// An object that is ready, to try faults on.
    pub(crate) async fn with_subject() -> Self {
        let world = Self::new().await;
        world.apply(SUBJECT, &[(HOSTNAME, true)]).await;
        world.until_ready(SUBJECT).await;
        world
    }

    /// The subject wants the contrary of what it wanted: a read and a write are due.
    pub(crate) async fn turn_subject(&self) {
        let object = self.fixture.get(SUBJECT).await.unwrap().unwrap();
        let (forwarding, _) = wanted(&object)[HOSTNAME];
        self.apply(SUBJECT, &[(HOSTNAME, !forwarding)]).await;
    }

    /// A change meets a fault that takes away the answer of its write, once; it is looked for and not sent again.
    pub(crate) async fn finds_what_it_wrote(&self, what: &str, fault: impl Into<Fault>) {
        let vigil = Vigil::over(self).await;
        let mark = self.cloudflare.ledger().mark();
        let injected = self.cloudflare.inject(fault.into().on("PUT").once_applied());
        self.turn_subject().await;
        injected.until_met(1, PATIENCE).await.unwrap();
        self.assert_recovered(SUBJECT).await;
        let ledger = self.ledger().since(mark);
        assert_eq!(ledger.puts(&self.scope()).len(), 1, "{what}:\n{ledger}");
        vigil.end();
    }

    /// Stable again: the remote equals the spec, the object says so for its generation, and another look brings no write
    /// and no other status. Nothing has panicked on the way.
    pub(crate) async fn assert_recovered(&self, name: &str) -> Value {
        self.until_ready(name).await;
        self.cloudflare.until("all is applied", PATIENCE, || self.remote.is_settled()).await.unwrap();
        let mark = self.cloudflare.ledger().mark();
        let before = self.look(name).await;
        assert!(claims_to_be_ready(&before), "{before:#}");
        assert_eq!(missing(&before, &self.remote), Vec::<String>::new(), "{}", self.ledger());
        let since = self.ledger().since(mark);
        assert!(since.puts(&self.scope()).is_empty(), "a write though all was as wanted:\n{since}");
        assert!(!since.is_empty(), "the look asked nobody");
        assert!(!self.operator.logs().unwrap().contains("panicked"), "{}", self.operator.logs().unwrap());
        let after = self.fixture.get(name).await.unwrap().unwrap();
        assert_eq!(before["status"]["conditions"], after["status"]["conditions"]);
        before
    }

    /// A change meets a fault that lasts until it was reported with this reason; then all comes right by itself. Returns
    /// the object as it was during the fault.
    pub(crate) async fn endures(&self, what: &str, fault: impl Into<Fault>, reason: &str) -> Value {
        let vigil = Vigil::over(self).await;
        let injected = self.cloudflare.inject(fault.into().for_ever());
        self.turn_subject().await;
        let is_reported = |object: &Value| {
            condition(object, "Ready").is_some_and(|ready| {
                ready["status"] == "False"
                    && ready["reason"] == reason
                    && ready["observedGeneration"] == object["metadata"]["generation"]
            })
        };
        let reported = async || {
            let met = injected.met();
            let found = vigil.has_shown(is_reported).filter(|_| met > 0);
            found.ok_or_else(|| format!("{:?}, after {met} requests", vigil.has_shown(|_| true)))
        };
        // A request may take 30 s before it is given up.
        let during = eventually(PATIENCE * 2, format!("{what}: {reason}"), reported).await.unwrap();
        injected.clear();
        if during["status"]["hostnames"][0]["state"] == "Rejected" {
            // A person has to change what was refused; to ask again would get the same answer.
            self.turn_subject().await;
        } else {
            // A request that met the fault meanwhile has its 30 s.
            self.look_within(2 * PATIENCE, SUBJECT).await;
        }
        self.assert_recovered(SUBJECT).await;
        vigil.end();
        during
    }
}
