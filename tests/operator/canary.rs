//! That the search at the end of every scenario is worth something: there is something to search, and a credential that
//! somebody lets slip is found in each place, whatever it looks like there.

use std::{
    io::Write as _,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use harness::{
    control_plane::ControlPlane,
    fixture::{PATIENCE, eventually, random_id},
};
use k8s_openapi::api::{coordination::v1::Lease, events::v1::Event};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::{
    behaviour::Behaviour,
    world::{TOKEN, World},
};

/// The token as it stands in a Secret's `data`.
fn encoded(text: &str) -> String {
    let bytes = k8s_openapi::ByteString(text.as_bytes().to_vec());
    serde_json::to_value(bytes).unwrap().as_str().unwrap().to_owned()
}

#[tokio::test]
async fn the_operators_of_scenarios_log_all_that_they_can_and_nothing_of_a_credential() {
    let mut world = World::with(|operator| operator.arg("--secret-poll=1s")).await;
    world.apply("loud", &[("loud.example.com", true)]).await;
    world.until_ready("loud").await;
    world.token.revoke();
    world.ask_for_a_look("loud", "1").await;
    world.until_reason("loud", "AuthenticationFailed").await;
    let logs = world.operator.logs().unwrap();
    let is_loud = |line: &Value| {
        line["target"].as_str().unwrap().starts_with("kube_runtime")
            && (line["level"] == "TRACE" || line["level"] == "DEBUG")
    };
    assert!(
        logs.lines().any(|line| is_loud(&serde_json::from_str(line).unwrap())),
        "the level is not in force: {logs}"
    );
    assert_eq!(world.operator.leaks(), Vec::<String>::new());
    assert_eq!(world.leaks(), Vec::<String>::new());
}

#[tokio::test]
async fn one_line_that_tells_the_token_fails_the_scenario() {
    for line in [format!("{:?}", TOKEN.as_bytes()), encoded(&format!("Bearer {TOKEN}")), TOKEN[9..17].to_owned()] {
        let world = World::new().await;
        let mut log = std::fs::File::options().append(true).open(world.operator.log_file()).unwrap();
        writeln!(log, r#"{{"level":"TRACE","fields":{{"message":"GET with {line}"}}}}"#).unwrap();
        assert_eq!(world.leaks(), Vec::<String>::new(), "the log is the operator's own");
        assert!(catch_unwind(AssertUnwindSafe(|| drop(world))).is_err(), "{line} went by unseen");
    }
}

#[tokio::test]
async fn an_object_that_tells_the_token_fails_the_scenario() {
    let mut world = World::new().await;
    world.apply("told", &[("told.example.com", true)]).await;
    world.until_ready("told").await;
    // It would put back what others write into a status.
    world.stop().await;
    world.fixture.patch("told", &json!({"metadata": {"annotations": {"note": encoded(TOKEN)}}})).await.unwrap();
    assert_found(&world, "mtlshostnamesettings");
    world.fixture.patch("told", &json!({"metadata": {"annotations": {"note": null}}})).await.unwrap();
    assert_eq!(world.leaks(), Vec::<String>::new());

    let status = json!({"status": {"lastResponse": {"errors": [{"message": format!("bad token {}", &TOKEN[4..12])}]}}});
    let objects = world.fixture.objects();
    objects.patch_status("told", &PatchParams::default(), &Patch::Merge(&status)).await.unwrap();
    assert_found(&world, "mtlshostnamesettings");
    assert!(catch_unwind(AssertUnwindSafe(|| drop(world))).is_err(), "a status went by unseen");
}

#[tokio::test]
async fn an_event_or_a_lease_that_tells_the_token_fails_the_scenario() {
    let world = World::new().await;
    let namespace = world.fixture.namespace();
    let event = json!({
        "metadata": {"name": "told"}, "eventTime": "2026-01-01T00:00:00.000000Z", "type": "Normal", "action": "Look",
        "reason": "Told", "note": format!("Authorization: Bearer {TOKEN}"), "reportingController": "c",
        "reportingInstance": "i", "regarding": {"kind": "Namespace", "name": namespace, "namespace": namespace},
    });
    let events: Api<Event> = Api::namespaced(world.fixture.client(), namespace);
    events.create(&PostParams::default(), &serde_json::from_value(event).unwrap()).await.unwrap();
    assert_found(&world, "events");
    events.delete("told", &DeleteParams::default()).await.unwrap();
    assert_eq!(world.leaks(), Vec::<String>::new());

    let hex: String = TOKEN.bytes().fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
    let leases: Api<Lease> = Api::namespaced(world.fixture.client(), namespace);
    let lease = json!({"metadata": {"name": "told"}, "spec": {"holderIdentity": hex}});
    leases.create(&PostParams::default(), &serde_json::from_value(lease).unwrap()).await.unwrap();
    assert_found(&world, "leases");
    leases.delete("told", &DeleteParams::default()).await.unwrap();
}

#[tokio::test]
async fn a_request_that_tells_the_token_outside_its_header_fails_the_scenario() {
    let world = World::new().await;
    let url = format!("{}/zones/{}/{TOKEN}", world.cloudflare.url(), random_id());
    reqwest::Client::builder().no_proxy().build().unwrap().get(url).send().await.unwrap();
    assert_found(&world, "request 1");
    assert!(catch_unwind(AssertUnwindSafe(|| drop(world))).is_err(), "a path went by unseen");
}

#[tokio::test]
async fn a_path_of_the_kubernetes_api_that_tells_the_token_fails_the_scenario() {
    // One of its own: the others' scenarios search the log of the shared one.
    let control_plane = Arc::new(ControlPlane::start().await.unwrap());
    control_plane.install().await.unwrap();
    let world = World::on(&control_plane, Behaviour::EVERY[0]).await;
    world.fixture.secrets().get_opt(&TOKEN[5..20]).await.unwrap();
    // The log is written a moment later than the request is answered.
    let told = async || if world.leaks().is_empty() { Err("nothing") } else { Ok(()) };
    eventually(PATIENCE, "a line of the audit log", told).await.unwrap();
    assert_found(&world, "the audit log");
    assert!(catch_unwind(AssertUnwindSafe(|| drop(world))).is_err(), "the audit log went by unseen");
}

fn assert_found(world: &World, place: &str) {
    let leaks = world.leaks();
    assert!(!leaks.is_empty() && leaks.iter().all(|leak| leak.contains(place)), "{place}: {leaks:?}");
}
