//! A namespace is deleted with everything in it, by the controllers of a real cluster: it ends, and nobody else is harmed.

use std::sync::Arc;

use futures::future::join_all;
use harness::{
    control_plane::ControlPlane,
    fixture::{CREDENTIAL, PATIENCE, eventually},
    kubectl::Kubectl,
};
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::{Value, json};

use crate::{behaviour::Behaviour, world::World};

const KEPT: [&str; 2] = ["kept-1", "kept-2"];
const RESET: [&str; 3] = ["reset-1", "reset-2", "reset-3"];

fn hostname(object: &str) -> String {
    format!("{object}.example.com")
}

/// A foreign entry, and objects of both policies that are ready.
async fn inhabited(control_plane: &Arc<ControlPlane>, behaviour: Behaviour) -> World {
    let world = World::on(control_plane, behaviour).await;
    world.remote.set("foreign.example.com", true, false);
    for (names, policy) in [(KEPT.as_slice(), "Retain"), (RESET.as_slice(), "Reset")] {
        for name in names {
            let manifest = world.fixture.settings(name).with("deletionPolicy", json!(policy));
            world.fixture.apply(&manifest.hostname(&hostname(name), true).build()).await.unwrap();
        }
    }
    for name in KEPT.iter().chain(&RESET) {
        world.until_ready(name).await;
    }
    world
}

impl World {
    fn assert_only_resets_may_have_changed(&self) {
        let ledger = self.ledger();
        assert_eq!(self.remote.get("foreign.example.com"), Some((true, false)), "{ledger}");
        for name in KEPT {
            assert_eq!(self.remote.get(&hostname(name)), Some((true, false)), "{name}\n{ledger}");
        }
    }
}

/// Everything goes at once, the Secret too: whether a reset still came to its end is a matter of luck.
async fn all_at_once(control_plane: Arc<ControlPlane>, behaviour: Behaviour) {
    let world = inhabited(&control_plane, behaviour).await;
    delete_and_wait(&control_plane, &world).await;
    world.cloudflare.until("all is applied", PATIENCE, || world.remote.is_settled()).await.unwrap();
    world.assert_only_resets_may_have_changed();
    for name in RESET {
        let found = world.remote.get(&hostname(name));
        assert!(found.is_none() || found == Some((true, false)), "{name} is {found:?}\n{}", world.ledger());
    }
}

/// Somebody holds the Secret until the objects are gone: every reset comes to its end.
async fn the_secret_last(control_plane: Arc<ControlPlane>, behaviour: Behaviour) {
    let world = inhabited(&control_plane, behaviour).await;
    let (secret, _) = CREDENTIAL;
    let finalizers = async |finalizers: Value| {
        let patch = json!({"metadata": {"finalizers": finalizers}});
        world.fixture.secrets().patch(secret, &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    };
    finalizers(json!(["example.org/hold"])).await;
    let released = async {
        eventually(PATIENCE, "the objects are gone", async || {
            let objects =
                world.fixture.objects().list(&ListParams::default()).await.map_err(|error| error.to_string())?;
            if objects.items.is_empty() { Ok(()) } else { Err(format!("{:#}", json!(objects.items))) }
        })
        .await
        .unwrap();
        finalizers(Value::Null).await;
    };
    tokio::join!(delete_and_wait(&control_plane, &world), released);
    world.assert_only_resets_may_have_changed();
    for name in RESET {
        assert_eq!(world.remote.get(&hostname(name)), None, "{name}\n{}", world.ledger());
    }
}

/// As a person does it, who waits for the end.
async fn delete_and_wait(control_plane: &ControlPlane, world: &World) {
    let kubectl = Kubectl::new(control_plane.kubeconfig()).deadline(5 * PATIENCE);
    // The namespace controller takes several passes, some seconds apart.
    let timeout = format!("--timeout={}s", 4 * PATIENCE.as_secs());
    let deleted = kubectl.run(&["delete", "namespace", world.fixture.namespace(), "--wait", &timeout]).await;
    if let Err(error) = deleted {
        let left = kubectl.run(&["get", "mhs,secrets", "-n", world.fixture.namespace(), "-o", "yaml"]).await;
        panic!("{error}\n{}\n{}", left.unwrap_or_default(), world.ledger());
    }
}

#[tokio::test]
async fn deleting_a_namespace_with_its_objects_and_their_secret_ends() {
    let control_plane = Arc::new(ControlPlane::start_with_controllers().await.unwrap());
    control_plane.install().await.unwrap();
    let at_once = Behaviour::EVERY.map(|behaviour| all_at_once(control_plane.clone(), behaviour));
    let secret_last = Behaviour::EVERY.map(|behaviour| the_secret_last(control_plane.clone(), behaviour));
    tokio::join!(join_all(at_once), join_all(secret_last));
}
