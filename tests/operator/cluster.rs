//! The operator where the Kubernetes API server, or the way to it, fails: whatever happens, it ends where it would have ended
//! without the fault.

use std::{
    ops::Deref,
    sync::{Arc, Mutex},
};

use harness::{
    api_proxy::{ApiProxy, Fault, Target},
    control_plane::ControlPlane,
    fixture::condition,
    operator::Builder,
};
use serde_json::{Value, json};

use crate::world::World;

mod answers;
mod away;
mod conflicts;
mod ends;
mod leases;
mod lists;
mod oracle;
mod restart;
mod rights;
mod schema;
mod secrets;
mod travel;
mod watches;

pub(crate) const OBJECTS: &str = "mtlshostnamesettings";
pub(crate) const STATUS: &str = "mtlshostnamesettings/status";
/// Somebody else's entry of the zone.
pub(crate) const FOREIGN: &str = "foreign.example.com";

/// That an object is in sync: said by the operator, and how the zone was when it said so.
struct Claim {
    uid: String,
    generation: i64,
    entries: Vec<(String, bool, bool)>,
}

/// A world whose operator reaches the API server through a proxy.
pub(crate) struct Cluster {
    world: World,
    pub(crate) proxy: Arc<ApiProxy>,
    claims: Arc<Mutex<Vec<Claim>>>,
}

impl Deref for Cluster {
    type Target = World;

    fn deref(&self) -> &World {
        &self.world
    }
}

impl Cluster {
    /// Everything in place and the operator ready.
    pub(crate) async fn new() -> Self {
        Self::with(|operator| operator).await
    }

    /// The same with an operator that was told more.
    pub(crate) async fn with(tell: impl Fn(Builder<'_>) -> Builder<'_> + 'static) -> Self {
        Self::starting(tell, Vec::new()).await
    }

    /// The same where the operator meets these faults from its first request on.
    pub(crate) async fn starting(tell: impl Fn(Builder<'_>) -> Builder<'_> + 'static, faults: Vec<Fault>) -> Self {
        let proxy = proxied(ControlPlane::shared().await.unwrap(), faults).await;
        let through = proxy.clone();
        let world = World::with(move |operator| tell(operator.through(&through))).await;
        Self::around(world, proxy)
    }

    /// The same in a control plane of the test's own.
    pub(crate) async fn on(control_plane: &Arc<ControlPlane>) -> Self {
        let proxy = proxied(control_plane, Vec::new()).await;
        let through = proxy.clone();
        let world = World::on_with(control_plane, move |operator| operator.through(&through)).await;
        Self::around(world, proxy)
    }

    fn around(world: World, proxy: Arc<ApiProxy>) -> Self {
        world.remote.set(FOREIGN, true, false);
        let claims = Arc::new(Mutex::new(Vec::new()));
        let (remote, noted) = (world.remote.clone(), claims.clone());
        proxy.on_write(move |target: &Target, body: &Value| {
            let Some(ready) = condition(body, "Ready").filter(|ready| ready["status"] == "True") else { return };
            if target.resource != STATUS {
                return;
            }
            let entries = remote.entries().into_iter();
            noted.lock().unwrap().push(Claim {
                uid: body["metadata"]["uid"].as_str().unwrap().to_owned(),
                generation: ready["observedGeneration"].as_i64().unwrap(),
                entries: entries
                    .map(|entry| (entry.hostname, entry.client_certificate_forwarding, entry.china_network))
                    .collect(),
            });
        });
        Self { world, proxy, claims }
    }

    /// Applies an object with a finalizer, that is: with `deletionPolicy: Reset`.
    pub(crate) async fn apply_resetting(&self, name: &str, hostname: &str) -> Value {
        let manifest = self.fixture.settings(name).with("deletionPolicy", json!("Reset"));
        self.fixture.apply(&manifest.hostname(hostname, true).build()).await.unwrap()
    }

    /// Whether a watch is open.
    pub(crate) fn is_watching(&self) -> bool {
        let watches = self.proxy.ledger().of("watch", OBJECTS);
        watches.all().iter().any(|watch| watch.status == Some(200) && watch.end.is_none())
    }

    /// Waits until the log has a text.
    pub(crate) async fn until_logged(&self, text: &str) {
        let logged = async || {
            let logs = self.operator.logs().map_err(|error| error.to_string())?;
            if logs.contains(text) { Ok(()) } else { Err(logs) }
        };
        harness::fixture::eventually(harness::fixture::PATIENCE, text, logged).await.unwrap();
    }
}

async fn proxied(control_plane: &ControlPlane, faults: Vec<Fault>) -> Arc<ApiProxy> {
    let proxy = ApiProxy::start(control_plane).await.unwrap();
    for fault in faults {
        proxy.inject(fault);
    }
    Arc::new(proxy)
}

/// An event as a watch shows it.
pub(crate) fn event(kind: &str, object: &Value) -> Value {
    json!({"type": kind, "object": object})
}
