//! The operator is asked to end while any one of its requests is under way.

use super::{Cluster, STATUS, leases::electing};
use harness::{
    api_proxy::{self, Effect},
    cloudflare,
    fixture::{PATIENCE, condition, eventually},
};

/// The operator is asked to end once a request is held, which is let go when it is about to.
async fn ends_well(
    what: &str,
    cluster: Cluster,
    until_met: impl Future<Output = Result<(), impl std::fmt::Debug>>,
    release: impl Fn(),
) {
    let mut cluster = cluster;
    cluster.apply("one", &[("one.example.com", true)]).await;
    until_met.await.unwrap();
    cluster.world.operator.signal("TERM").unwrap();
    let draining = async || {
        let (status, body) = cluster.operator.get("/readyz").await.map_err(|error| error.to_string())?;
        if status == 503 && body.contains("draining") { Ok(()) } else { Err(format!("{status} {body}")) }
    };
    eventually(PATIENCE, format!("draining with {what} under way"), draining).await.unwrap();
    release();
    let status = cluster.world.operator.wait_exit(PATIENCE).await.unwrap();
    let logs = cluster.operator.logs().unwrap();
    assert!(status == 0 && logs.contains("the lease is given back"), "{what}: {status} {logs}");
    // What was written stands in the status; and nothing is claimed that was not.
    let object = cluster.fixture.get("one").await.unwrap().unwrap();
    let is_written = cluster.remote.get("one.example.com").is_some();
    let is_ready = condition(&object, "Ready").is_some_and(|ready| ready["status"] == "True");
    assert_eq!(is_ready, is_written, "{what}: {:#}\n{}", object["status"], cluster.ledger());
    cluster.world.restart().await;
    cluster.settles(&["one"], &[]).await;
    assert_eq!(cluster.puts(), 1, "{what}: {}", cluster.ledger());
}

async fn at_kubernetes(what: &str, verb: &str, resource: &str) {
    let cluster = Cluster::with(electing).await;
    let held = cluster.proxy.inject(api_proxy::Fault::from(Effect::Hold).on(verb).of(resource));
    ends_well(what, cluster, held.until_met(1, PATIENCE), || held.release()).await;
}

async fn at_cloudflare(what: &str, fault: cloudflare::Fault) {
    let cluster = Cluster::with(electing).await;
    let held = cluster.cloudflare.inject(fault);
    ends_well(what, cluster, held.until_met(1, PATIENCE), || held.release()).await;
}

#[tokio::test]
async fn asked_to_end_at_any_moment_it_ends_well_and_says_what_it_has_done() {
    let held = || cloudflare::Fault::from(cloudflare::Effect::Hold);
    tokio::join!(
        at_kubernetes("the read of the Secret", "get", "secrets"),
        at_kubernetes("the write of the status", "patch", STATUS),
        at_kubernetes("the write of the event", "create", "events"),
        at_kubernetes("a renewal of the lease", "update", "leases"),
        at_cloudflare("the first read of the list", held().on("GET")),
        at_cloudflare("the write of the list", held().on("PUT")),
        at_cloudflare("the read that proves it", held().on("GET").after_passing(1)),
    );
}
