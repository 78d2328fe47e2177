//! The operator on a machine that has little to give.

use std::{os::unix::fs::PermissionsExt, path::Path, time::Duration};

use harness::{control_plane::ControlPlane, fixture::PATIENCE, operator::Operator};
use tokio::net::TcpStream;

use crate::world::World;

/// A script that starts the operator with fewer file descriptors than it would like.
fn with_descriptors(dir: &Path, most: u32) -> std::path::PathBuf {
    let script = dir.join("operator");
    let program = env!("CARGO_BIN_EXE_cloudflare-mtls-operator");
    std::fs::write(&script, format!("#!/bin/sh\nulimit -n {most}\nexec {program} \"$@\"\n")).unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    script
}

#[tokio::test]
async fn without_file_descriptors_it_waits_for_some_and_goes_on() {
    let mut world = World::new().await;
    world.stop().await;
    let dir = tempfile::tempdir().unwrap();
    let mut operator = Operator::builder(with_descriptors(dir.path(), 40), ControlPlane::shared().await.unwrap())
        .watch_namespace(world.fixture.namespace())
        .cloudflare(world.cloudflare.url())
        .spawn()
        .await
        .unwrap();
    operator.wait_ready(PATIENCE).await.unwrap();
    // Each of these takes one, and they come faster than they are given up.
    let address = operator.http_url().trim_start_matches("http://").to_owned();
    let mut connections = Vec::new();
    for _ in 0..100 {
        connections.push(TcpStream::connect(&address).await.unwrap());
    }
    world.operator = operator;
    world.apply("one", &[("one.example.com", true)]).await;
    world.until_ready("one").await;
    drop(connections);
    assert_eq!(world.operator.get("/healthz").await.unwrap().0, 200);
    assert_eq!(world.operator.wait_exit(Duration::ZERO).await.ok(), None, "it still runs");
}

#[tokio::test]
async fn with_a_tenth_of_a_processor_it_does_the_same_only_later() {
    let mut world = World::new().await;
    let pid = world.operator.pid().to_string();
    let signal = |name: &str| {
        let done = std::process::Command::new("kill").args(["-s", name, &pid]).status().unwrap();
        assert!(done.success());
    };
    world.apply("one", &[("one.example.com", true)]).await;
    for _ in 0..20 {
        signal("STOP");
        tokio::time::sleep(Duration::from_millis(180)).await;
        signal("CONT");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    world.until_ready("one").await;
    assert_eq!(world.ledger().puts(&world.scope()).len(), 1, "{}", world.ledger());
    world.operator.signal("TERM").unwrap();
    assert_eq!(world.operator.wait_exit(PATIENCE).await.unwrap(), 0);
}

#[tokio::test]
async fn it_writes_no_file_so_that_a_disk_may_be_read_only_or_full() {
    let world = World::new().await;
    world.apply("one", &[("one.example.com", true)]).await;
    world.until_ready("one").await;
    let folder = format!("/proc/{}/fd", world.operator.pid());
    let files: Vec<String> = std::fs::read_dir(&folder)
        .unwrap()
        .filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok())
        .map(|path| path.display().to_string())
        .filter(|path| path.starts_with('/') && !path.starts_with("/dev/"))
        .collect();
    // Standard output and standard error, which the test keeps.
    assert!(files.iter().all(|path| path.ends_with("/log")), "{files:?}");
}
