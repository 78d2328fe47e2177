//! Converged means silent; and what people see with kubectl.

use std::time::{Duration, Instant};

use harness::{control_plane::ControlPlane, fixture::PATIENCE};
use serde_json::json;

use crate::world::World;

#[tokio::test]
async fn three_minutes_with_an_interval_of_one_minute_bring_looks_and_nothing_else() {
    let world = World::new().await;
    let manifest = world.fixture.settings("still").with("interval", json!("1m")).hostname("still.example.com", true);
    world.fixture.apply(&manifest.build()).await.unwrap();
    let before = world.until_ready("still").await;
    let started = Instant::now();
    let requests = world.ledger().len();
    let is_shown = |line: &&str| !line.contains("\"level\":\"DEBUG\"") && !line.contains("\"level\":\"TRACE\"");
    let lines = || world.operator.logs().unwrap().lines().filter(is_shown).count();
    // It is written a moment later than the status.
    let is_told = || world.operator.logs().unwrap().contains("status: a read after the last write showed");
    world.cloudflare.until("the line about the status", PATIENCE, is_told).await.unwrap();
    let logged = lines();
    let deadline = Duration::from_secs(180);
    world.cloudflare.until("three minutes", deadline + PATIENCE, || started.elapsed() >= deadline).await.unwrap();

    let after = world.fixture.get("still").await.unwrap().unwrap();
    assert_eq!(after["metadata"]["resourceVersion"], before["metadata"]["resourceVersion"]);
    let ledger = world.ledger();
    assert_eq!(ledger.puts(&world.scope()).len(), 1);
    // Ten per cent of jitter either way: two or three looks in three minutes.
    assert!((2..=3).contains(&(ledger.len() - requests)), "{} looks", ledger.len() - requests);
    let is_complete = || lines() - logged >= ledger.len() - requests;
    world.cloudflare.until("the line about the last look", PATIENCE, is_complete).await.unwrap();
    assert_eq!(lines() - logged, ledger.len() - requests, "a line for each look, and no other");
    // Drift is found by such a look alone, and repaired.
    world.remote.set("still.example.com", false, false);
    world
        .cloudflare
        .until("repaired", Duration::from_secs(90), || world.remote.get("still.example.com").is_some())
        .await
        .unwrap();
    world.until_ready("still").await;
}

#[tokio::test]
async fn kubectl_shows_what_a_person_needs() {
    let world = World::new().await;
    let control_plane = ControlPlane::shared().await.unwrap();
    world.apply("good", &[("good.example.com", true), ("more.example.com", true)]).await;
    world.apply("bad", &[("bad.elsewhere.org", true)]).await;
    let namespace = world.fixture.namespace();
    let kubectl = |arguments: &[&str]| {
        let arguments: Vec<String> = ["-n", namespace].iter().chain(arguments).map(ToString::to_string).collect();
        async move {
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            control_plane.kubectl(&arguments).await.unwrap()
        }
    };
    kubectl(&["wait", "--for=condition=Ready", "mhs/good", "--timeout=30s"]).await;
    kubectl(&["wait", "--for=condition=Stalled", "mhs/bad", "--timeout=30s"]).await;

    let table = kubectl(&["get", "mhs"]).await;
    let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["NAME", "READY", "REASON", "HOSTNAMES", "CODE", "AGE"]);
    assert_eq!(rows[1][..5], ["bad", "False", "HostnameNotInScope", "0/1", "12036"]);
    assert_eq!(rows[2][..4], ["good", "True", "InSync", "2/2"]);
    let wide = kubectl(&["get", "mhs", "-o", "wide"]).await;
    assert!(wide.contains("MESSAGE") && wide.contains("lies outside this zone"), "{wide}");

    let description = kubectl(&["describe", "mhs", "bad"]).await;
    for piece in ["12036", "HostnameNotInScope", "Observed Generation:  1", "Events:", "Warning"] {
        assert!(description.contains(piece), "{piece}: {description}");
    }
    // Another generation with the same reason is no event.
    world.apply("good", &[("good.example.com", true)]).await;
    world.until_ready("good").await;
    let events = kubectl(&["get", "events", "-o", "json"]).await;
    let events: serde_json::Value = serde_json::from_str(&events).unwrap();
    let reasons: Vec<_> = events["items"].as_array().unwrap().iter().map(|event| event["reason"].clone()).collect();
    assert!(reasons.contains(&json!("InSync")) && reasons.contains(&json!("HostnameNotInScope")), "{reasons:?}");
    assert_eq!(reasons.len(), 2, "one event for each change: {reasons:?}");
}
