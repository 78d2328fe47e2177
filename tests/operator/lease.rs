//! Two replicas: one acts, the other is ready to, and never both.

use std::{sync::Arc, time::Duration};

use harness::{
    api_proxy::{self, ApiProxy},
    cloudflare::{Cloudflare, Effect, Fault},
    control_plane::ControlPlane,
    fixture::{PATIENCE, eventually},
    operator::Operator,
};
use serde_json::Value;
use tokio::time::Instant;

use crate::{
    program::until_logged,
    world::{World, program},
};

/// How long a replica that is not heard of keeps the Lease.
const LEASE: Duration = Duration::from_secs(15);

async fn leads(operator: &Operator) -> Result<bool, String> {
    let (_, metrics) = operator.get("/metrics").await.map_err(|error| error.to_string())?;
    let line = metrics.lines().find(|line| line.starts_with("leader_election_master_status{"));
    Ok(line.ok_or("no metric of the lease")?.ends_with(" 1"))
}

/// Waits until the operator leads, and returns how long that took.
async fn until_leading(operator: &Operator) -> Duration {
    let started = Instant::now();
    let leading = || async { if leads(operator).await? { Ok(()) } else { Err("it follows".to_owned()) } };
    eventually(LEASE + PATIENCE, "it leads", leading).await.unwrap();
    started.elapsed()
}

async fn lease(control_plane: &ControlPlane) -> Value {
    let namespace = "cloudflare-mtls-operator";
    let lease = control_plane.kubectl(&["get", "lease", namespace, "-n", namespace, "-o", "json"]).await.unwrap();
    serde_json::from_str(&lease).unwrap()
}

/// How often the operators have listed the objects so far.
fn lists(control_plane: &ControlPlane) -> usize {
    let operator = "system:serviceaccount:cloudflare-mtls-operator:cloudflare-mtls-operator";
    let requests = control_plane.requests_of(operator).unwrap();
    let is_list = |event: &&Value| event["objectRef"]["resource"] == "mtlshostnamesettings" && event["verb"] == "list";
    requests.iter().filter(is_list).count()
}

async fn control_plane() -> Arc<ControlPlane> {
    let control_plane = ControlPlane::start().await.unwrap();
    control_plane.install().await.unwrap();
    Arc::new(control_plane)
}

#[tokio::test]
async fn the_lease_is_handed_over_at_the_end_and_taken_over_when_its_holder_dies() {
    let control_plane = control_plane().await;
    let mut world = World::electing(&control_plane).await;
    until_leading(&world.operator).await;
    let follower = world.another_operator().await;
    assert!(!leads(&follower).await.unwrap());
    let (status, verbose) = follower.get("/readyz?verbose").await.unwrap();
    assert_eq!(status, 200, "who waits for its turn is ready: {verbose}");
    assert!(verbose.contains("[+]lease ok"), "{verbose}");
    world.apply("one", &[("one.example.com", true)]).await;
    world.until_ready("one").await;
    assert!(!follower.logs().unwrap().contains("status: "), "who follows writes nothing");
    let first = lease(&control_plane).await;
    assert_eq!(first["spec"]["leaseDurationSeconds"], 15);
    let holder = first["spec"]["holderIdentity"].as_str().unwrap();
    let (pod, random) = holder.rsplit_once('_').unwrap();
    assert!(!pod.is_empty() && random.len() == 8, "{holder}");

    // At the end the lease is given back.
    let lists_before = lists(&control_plane);
    world.operator.signal("TERM").unwrap();
    let took = until_leading(&follower).await;
    println!("handed over within {} ms of SIGTERM", took.as_millis());
    assert!(took < LEASE / 2, "the lease was given back, and not waited for: {took:?}");
    assert_eq!(world.operator.wait_exit(PATIENCE).await.unwrap(), 0);
    world.apply("two", &[("two.example.com", true)]).await;
    world.until_ready("two").await;
    world.look("one").await;
    assert_eq!(lists(&control_plane), lists_before, "who takes over knows the objects already");
    let second = lease(&control_plane).await;
    assert_ne!(second["spec"]["holderIdentity"], first["spec"]["holderIdentity"]);
    assert_eq!(second["spec"]["leaseTransitions"], 1);

    // A holder that dies gives nothing back.
    world.operator = follower;
    let follower = world.another_operator().await;
    world.stop().await;
    let took = until_leading(&follower).await;
    println!("taken over within {} ms of SIGKILL", took.as_millis());
    assert!(took > LEASE / 2, "nobody may know that the holder is dead: {took:?}");
    world.apply("three", &[("three.example.com", true)]).await;
    world.until_ready("three").await;

    // Without the right to hold it, nothing is done, and somebody is told.
    world.operator = follower;
    world.operator.signal("TERM").unwrap();
    assert_eq!(world.operator.wait_exit(PATIENCE).await.unwrap(), 0);
    let namespace = "cloudflare-mtls-operator";
    control_plane.kubectl(&["delete", "lease", namespace, "-n", namespace]).await.unwrap();
    let create = r#"[{"op": "remove", "path": "/rules/0"}]"#;
    control_plane
        .kubectl(&["patch", "role", &format!("{namespace}-lease"), "-n", namespace, "--type=json", "-p", create])
        .await
        .unwrap();
    let forbidden = world.operator_without_waiting().await;
    let told = || async {
        let logs = forbidden.logs().map_err(|error| error.to_string())?;
        let (status, body) = forbidden.get("/readyz").await.map_err(|error| error.to_string())?;
        let told = status == 503 && body.contains("not known yet who leads");
        if told && logs.contains("create, get and update on leases") { Ok(()) } else { Err(format!("{body}\n{logs}")) }
    };
    eventually(PATIENCE, "it says what it may not do", told).await.unwrap();
}

#[tokio::test]
async fn who_comes_second_to_a_lease_that_was_free_does_not_complain() {
    let control_plane = control_plane().await;
    let proxy = Arc::new(ApiProxy::start(&control_plane).await.unwrap());
    let refused = proxy.inject(api_proxy::Fault::refusal(409, "AlreadyExists").on("create").of("leases"));
    let through = proxy.clone();
    let world = World::on_with(&control_plane, move |operator| operator.leader_elect().through(&through)).await;
    refused.until_met(1, PATIENCE).await.unwrap();
    until_leading(&world.operator).await;
    let logs = world.operator.logs().unwrap();
    assert!(!logs.contains("the lease could not be read or written"), "{logs}");
}

/// What the leader was about to do when it was stopped.
enum Queued {
    /// It waits for the list, of which follows what it writes.
    Read,
    /// It waits for the end of a lock, to try its write again.
    Lock,
}

async fn stopped(queued: Queued, time: Duration) {
    let control_plane = control_plane().await;
    let mut world = World::electing(&control_plane).await;
    until_leading(&world.operator).await;
    let mut follower = world.another_operator().await;
    let is_long = time > 2 * LEASE;
    let read = match queued {
        Queued::Read => {
            let read = world.cloudflare.inject(Fault::from(Effect::Hold).on("GET"));
            world.apply("one", &[("one.example.com", true)]).await;
            read.until_met(1, PATIENCE).await.unwrap();
            Some(read)
        }
        Queued::Lock => {
            world.remote.lock_for(Duration::from_secs(600));
            world.apply("one", &[("one.example.com", true)]).await;
            world.until_reason("one", "RemoteBusy").await;
            None
        }
    };
    let stopped_at = Instant::now();
    world.operator.signal("STOP").unwrap();
    // It has everything that it needs for its write, but does not run.
    world.remote.unlock();
    if let Some(read) = read {
        read.release();
    }
    let mark = world.cloudflare.ledger().mark();
    let write = world.cloudflare.inject(Fault::from(Effect::Hold).on("PUT").for_ever());
    until_leading(&follower).await;
    write.until_met(1, PATIENCE).await.unwrap();
    tokio::time::sleep_until(stopped_at + time).await;
    if is_long {
        // The follower has given up its first write meanwhile: the next one has just begun.
        let met = write.met();
        write.until_met(met + 1, PATIENCE).await.unwrap();
    }
    let before = world.ledger().since(mark).puts(&world.scope()).len();
    world.operator.signal("CONT").unwrap();
    assert_eq!(world.operator.wait_exit(PATIENCE).await.unwrap(), 1, "it has lost the lease");
    let logs = world.operator.logs().unwrap();
    assert!(logs.contains("the lease cloudflare-mtls-operator is lost"), "{logs}");
    let ledger = world.ledger();
    assert_eq!(ledger.since(mark).puts(&world.scope()).len(), before, "it wrote when it went on:\n{ledger}");
    write.clear();
    world.until_ready("one").await;
    follower.signal("TERM").unwrap();
    assert_eq!(follower.wait_exit(PATIENCE).await.unwrap(), 0);
}

#[tokio::test]
async fn a_leader_that_is_stopped_with_a_write_in_its_hand_does_not_send_it_when_it_goes_on() {
    // A read that is answered counts for 30 s; the lease does for 14.
    tokio::join!(stopped(Queued::Read, Duration::from_secs(16)), stopped(Queued::Lock, Duration::from_secs(40)));
}

#[tokio::test]
async fn a_leader_that_is_cut_off_from_the_api_server_stops_writing_before_its_successor_begins() {
    let control_plane = control_plane().await;
    let proxy = Arc::new(ApiProxy::start(&control_plane).await.unwrap());
    let through = proxy.clone();
    let mut world = World::on_with(&control_plane, move |operator| operator.leader_elect().through(&through)).await;
    until_leading(&world.operator).await;
    world.apply("one", &[("one.example.com", true)]).await;
    world.until_ready("one").await;
    let follower = Operator::builder(env!("CARGO_BIN_EXE_cloudflare-mtls-operator"), &control_plane)
        .watch_namespace(world.fixture.namespace())
        .cloudflare(world.cloudflare.url())
        .leader_elect();
    let mut follower = follower.spawn().await.unwrap();
    follower.wait_ready(PATIENCE).await.unwrap();
    // A write of the leader is under way when the line goes dead, and would be for longer than it leads.
    let held = world.cloudflare.inject(Fault::from(Effect::Hold).on("PUT"));
    world.apply("two", &[("two.example.com", true)]).await;
    held.until_met(1, PATIENCE).await.unwrap();
    proxy.fall_silent();
    assert_eq!(world.operator.wait_exit(PATIENCE).await.unwrap(), 1);
    let logs = world.operator.logs().unwrap();
    assert!(logs.contains("could not be renewed within 10 s"), "{logs}");
    until_leading(&follower).await;
    let written = |line: &str| serde_json::from_str::<Value>(line).unwrap()["timestamp"].as_str().unwrap().to_owned();
    let last = logs.lines().rfind(|line| line.starts_with('{')).map(written).unwrap();
    let follower_logs = follower.logs().unwrap();
    let leads = follower_logs.lines().find(|line| line.contains(r#""message":"leading""#)).map(written).unwrap();
    assert!(last < leads, "it has ended before another one leads: {last}, {leads}");
    world.until_ready("two").await;
    held.clear();
    let ledger = world.ledger();
    assert_eq!(ledger.accepted_puts(&world.scope()).len(), 2, "{ledger}");
}

/// Both have found no Lease, and one of them is slower to make it.
#[tokio::test]
async fn who_loses_the_race_for_a_new_lease_says_whom_it_follows() {
    let control_plane = control_plane().await;
    let proxy = ApiProxy::start(&control_plane).await.unwrap();
    let held = proxy.inject(api_proxy::Fault::from(api_proxy::Effect::Hold).on("create").of("leases"));
    let cloudflare = Cloudflare::start().await.unwrap();
    let replica = || Operator::builder(program(), &control_plane).leader_elect().cloudflare(cloudflare.url());
    let slower = replica().through(&proxy).spawn().await.unwrap();
    held.until_met(1, PATIENCE).await.unwrap();
    let faster = replica().spawn().await.unwrap();
    until_leading(&faster).await;
    held.release();
    until_logged(&slower, "following: another replica leads").await;
    assert!(!leads(&slower).await.unwrap());
}
