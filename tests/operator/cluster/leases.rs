//! What can go wrong with the lease of an operator, and what it takes for a sign of life.

use std::time::{Duration, Instant};

use harness::{
    api_proxy::{Effect, Fault},
    fixture::{PATIENCE, eventually},
    operator::Builder,
};
use serde_json::json;

use super::{Cluster, event};

pub(super) fn electing(operator: Builder<'_>) -> Builder<'_> {
    operator.leader_elect_here()
}

#[tokio::test]
async fn whatever_comes_instead_of_an_answer_about_the_lease_its_holder_keeps_it() {
    let mut cluster = Cluster::with(electing).await;
    cluster.apply("one", &[("one.example.com", true)]).await;
    cluster.settles(&["one"], &[]).await;
    let complaint = "the lease could not be read or written";
    for fault in [
        Fault::refusal(409, "Conflict"),
        Fault::refusal(500, "InternalError"),
        Fault::refusal_with(429, "TooManyRequests", &[("retry-after", "3600")]),
        Fault::from(Effect::Reset),
        Fault::from(Effect::Reset).once_applied(),
        Fault::raw(200, &[], "{}"),
        Fault::raw(200, &[], "<html>signed in?</html>"),
    ] {
        let met = cluster.proxy.inject(fault.on("update").of("leases"));
        met.until_met(1, PATIENCE).await.unwrap();
        let mark = cluster.proxy.ledger().mark();
        let renewed =
            || cluster.proxy.ledger().since(mark).of("update", "leases").filtered(|write| write.status == Some(200));
        cluster.proxy.until("a renewal", PATIENCE, || !renewed().is_empty()).await.unwrap();
        // Whoever did not understand an answer reads first: the version that it knew may be gone.
        let reads = cluster.proxy.ledger().since(mark).of("get", "leases");
        assert!(!reads.is_empty(), "{}", cluster.proxy.ledger().since(mark));
    }
    let (_, metrics) = cluster.operator.get("/metrics").await.unwrap();
    assert!(metrics.contains("leader_election_master_status{name=\"cloudflare-mtls-operator\"} 1"), "{metrics}");
    cluster.apply("one", &[("one.example.com", false)]).await;
    cluster.settles(&["one"], &[complaint]).await;

    // The right to renew is taken away: it ends before anybody else may begin, and says why.
    let refused = cluster.proxy.inject(Fault::refusal(403, "Forbidden").of("leases").for_ever());
    assert_eq!(cluster.world.operator.wait_exit(PATIENCE).await.unwrap(), 1);
    let logs = cluster.operator.logs().unwrap();
    for text in ["create, get and update on leases", "could not be renewed within 10 s"] {
        assert!(logs.contains(text), "{logs}");
    }
    refused.clear();
}

#[tokio::test]
async fn alone_it_ends_without_an_api_server_and_is_at_work_again_when_the_lease_is_over() {
    let mut cluster = Cluster::with(electing).await;
    cluster.apply("one", &[("one.example.com", true)]).await;
    cluster.settles(&["one"], &[]).await;
    cluster.proxy.fall_silent();
    assert_eq!(cluster.world.operator.wait_exit(PATIENCE).await.unwrap(), 1);
    cluster.apply("one", &[("one.example.com", false)]).await;
    cluster.proxy.open_port();
    let started = Instant::now();
    cluster.world.restart().await;
    let applied = || cluster.remote.get("one.example.com").is_none();
    cluster.cloudflare.until("the edit is applied", PATIENCE, applied).await.unwrap();
    println!("at work {:?} after it was started again", started.elapsed());
    cluster.settles(&["one"], &[]).await;
}

#[tokio::test]
async fn a_watch_lives_by_what_arrives_and_one_that_hangs_is_noticed() {
    let patience = Duration::from_secs(5);
    let cluster =
        Cluster::with(|operator| operator.env("CFMTLS_PATIENCE", "5").env("CFMTLS_FAILPOINTS", "watch of poison=hang"))
            .await;
    let object = cluster.apply("one", &[("one.example.com", true)]).await;
    cluster.until_ready("one").await;
    let bookmark = event(
        "BOOKMARK",
        &json!({
            "apiVersion": object["apiVersion"],
            "kind": object["kind"],
            "metadata": {"resourceVersion": object["metadata"]["resourceVersion"]},
        }),
    );
    let health = async || {
        cluster.proxy.insert_line(&bookmark);
        cluster.operator.get("/healthz").await.unwrap()
    };
    let started = Instant::now();
    let healthy = async || {
        let (status, body) = health().await;
        assert_eq!(status, 200, "{body}");
        if started.elapsed() > 2 * patience { Ok(()) } else { Err("not long enough yet") }
    };
    eventually(PATIENCE, "alive for twice its patience", healthy).await.unwrap();
    cluster.apply("poison", &[("poison.example.com", true)]).await;
    let noticed = async || {
        let (status, body) = health().await;
        if status == 503 && body.contains("[-]watch of ") { Ok(()) } else { Err(format!("{status} {body}")) }
    };
    eventually(PATIENCE, "a watch that hangs is noticed", noticed).await.unwrap();
}

#[tokio::test]
async fn a_watch_that_panics_ends_the_program() {
    let mut cluster = Cluster::with(|operator| operator.env("CFMTLS_FAILPOINTS", "watch of poison=panic")).await;
    cluster.apply("poison", &[("poison.example.com", true)]).await;
    assert_eq!(cluster.world.operator.wait_exit(PATIENCE).await.unwrap(), 1);
}
