//! Others who write to the same objects, and an API server that does not let the operator write.

use std::time::Duration;

use harness::{
    api_proxy::{Effect, Exchange, Fault},
    fixture::{API_VERSION, PATIENCE, condition},
};
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use super::{Cluster, FOREIGN, OBJECTS, STATUS};

const THEIRS: &str = "example.org/hold";
const OURS: &str = "cloudflare-mtls.dev/reset";

#[tokio::test]
async fn a_conflict_is_tried_again_and_foreign_finalizers_stay_where_they_are() {
    let cluster = Cluster::new().await;
    let conflict = |resource| Fault::refusal(409, "Conflict").on("patch").of(resource);
    for resource in [OBJECTS, STATUS] {
        cluster.proxy.inject(conflict(resource));
    }
    let mut manifest = cluster.fixture.settings("shared").with("deletionPolicy", json!("Reset"));
    manifest = manifest.hostname("shared.example.com", true);
    let mut manifest = manifest.build();
    manifest["metadata"]["finalizers"] = json!(["example.org/before"]);
    cluster.fixture.apply(&manifest).await.unwrap();
    cluster.settles(&["shared"], &["trying again"]).await;

    // Somebody else changes the object between the operator's read and its write: a conflict as it comes about.
    let held = cluster.proxy.inject(Fault::from(Effect::Hold).on("patch").of(OBJECTS));
    cluster.fixture.delete("shared").await.unwrap();
    held.until_met(1, PATIENCE).await.unwrap();
    let version = |object: &Value| object["metadata"]["resourceVersion"].clone();
    let now = cluster.fixture.get("shared").await.unwrap().unwrap();
    assert_eq!(now["metadata"]["finalizers"], json!(["example.org/before", OURS]));
    let label = json!({"metadata": {"labels": {"touched": "yes"}}});
    let touched = cluster.fixture.patch("shared", &label).await.unwrap();
    assert_ne!(version(&touched), version(&now));
    held.release();
    let only_theirs = |object: &Value| object["metadata"]["finalizers"] == json!(["example.org/before"]);
    cluster.fixture.until("shared", "only the foreign finalizer is left", only_theirs).await.unwrap();
    let refused = cluster.proxy.ledger().of("patch", OBJECTS).filtered(|patch| patch.status == Some(409));
    assert_eq!(refused.len(), 2, "{refused}");
    assert_eq!(cluster.remote.get("shared.example.com"), None);
    cluster.is_quiet().await;
    cluster.fixture.patch("shared", &json!({"metadata": {"finalizers": []}})).await.unwrap();
    cluster.until_gone("shared").await;
    cluster.assert_sound(&["trying again"]);
}

#[tokio::test]
async fn a_finalizer_that_comes_after_ours_stays_too() {
    let cluster = Cluster::new().await;
    cluster.apply_resetting("held", "held.example.com").await;
    cluster.until_ready("held").await;
    cluster.fixture.patch("held", &json!({"metadata": {"finalizers": [OURS, THEIRS]}})).await.unwrap();
    cluster.settles(&["held"], &[]).await;
    cluster.fixture.delete("held").await.unwrap();
    let only_theirs = |object: &Value| object["metadata"]["finalizers"] == json!([THEIRS]);
    cluster.fixture.until("held", "only the foreign finalizer is left", only_theirs).await.unwrap();
    cluster.is_quiet().await;
    cluster.assert_sound(&[]);
}

async fn events_that_end_like_this_hold_up_nothing(fault: Fault) {
    let cluster = Cluster::new().await;
    let fault = cluster.proxy.inject(fault.on("create").of("events").for_ever());
    for name in ["one", "two"] {
        cluster.apply(name, &[(&format!("{name}.example.com"), true)]).await;
    }
    cluster.settles(&["one", "two"], &["the event could not be written"]).await;
    // Each object has changed its reason once, and an event is not written again.
    assert!((1..=2).contains(&fault.met()), "{} attempts", fault.met());
}

#[tokio::test]
async fn events_that_are_refused_or_disappear_hold_up_nothing() {
    tokio::join!(
        events_that_end_like_this_hold_up_nothing(Fault::refusal(403, "Forbidden")),
        events_that_end_like_this_hold_up_nothing(Effect::Silence.into()),
    );
}

#[tokio::test]
async fn a_status_that_cannot_be_written_costs_no_write_to_cloudflare() {
    let cluster = Cluster::new().await;
    let refused = cluster.proxy.inject(Fault::refusal(500, "InternalError").on("patch").of(STATUS).for_ever());
    cluster.apply("mute", &[("mute.example.com", true)]).await;
    refused.until_met(4, PATIENCE).await.unwrap();
    assert_eq!(cluster.methods(), ["GET", "PUT", "GET"]);
    let attempts = cluster.status_writes("mute", 0);
    // The first may have said that it waits; the next one is about what was found then, and comes at once.
    let says = |exchange: &Exchange| condition(exchange.json.as_ref()?, "Ready").map(|ready| ready["reason"].clone());
    let pairs = attempts.all().windows(2).filter(|pair| says(&pair[0]) == says(&pair[1]));
    assert!(pairs.clone().count() >= 1, "{attempts}");
    for pair in pairs {
        let gap = pair[1].start.duration_since(pair[0].start);
        assert!(gap >= Duration::from_secs(4), "the next attempt came after {gap:?}:\n{attempts}");
    }
    refused.clear();
    cluster.settles(&["mute"], &["trying again"]).await;
    assert_eq!(cluster.methods(), ["GET", "PUT", "GET"], "nothing was asked for a status alone");
}

#[tokio::test]
async fn a_foreign_manager_of_the_status_is_overruled_at_the_next_look() {
    let cluster = Cluster::new().await;
    cluster.apply("ours", &[("ours.example.com", true)]).await;
    let object = cluster.until_ready("ours").await;
    let theirs = json!({
        "apiVersion": API_VERSION,
        "kind": "MtlsHostnameSettings",
        "metadata": {"name": "ours"},
        "status": {
            "observedGeneration": object["metadata"]["generation"],
            "summary": "0/9",
            "conditions": [{
                "type": "Ready",
                "status": "False",
                "reason": "Pending",
                "message": "somebody else's word",
                "observedGeneration": object["metadata"]["generation"],
                "lastTransitionTime": "2026-01-01T00:00:00Z",
            }],
        },
    });
    let meddle = async || {
        let params = PatchParams::apply("somebody").force();
        cluster.fixture.objects().patch_status("ours", &params, &Patch::Apply(&theirs)).await.unwrap();
        cluster.until_reason("ours", "Pending").await;
    };
    meddle().await;
    cluster.look("ours").await;
    cluster.settles(&["ours"], &[]).await;
    meddle().await;
    cluster.apply("ours", &[("ours.example.com", true), ("more.example.com", true)]).await;
    cluster.settles(&["ours"], &[]).await;
    let object = cluster.fixture.get("ours").await.unwrap().unwrap();
    assert_eq!(object["status"]["summary"], "2/2");
    assert_eq!(cluster.remote.get(FOREIGN), Some((true, false)));
}
