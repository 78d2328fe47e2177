//! An API server that is killed and comes back, and one whose own store stands still.

use std::sync::Arc;

use harness::{
    cloudflare,
    control_plane::ControlPlane,
    fixture::{PATIENCE, eventually},
};

use super::Cluster;

#[tokio::test]
async fn an_api_server_that_is_killed_in_the_middle_of_a_write_is_waited_for() {
    let control_plane = Arc::new(ControlPlane::start_restarting().await.unwrap());
    control_plane.install().await.unwrap();
    let cluster = Cluster::on(&control_plane).await;
    cluster.apply("one", &[("one.example.com", true)]).await;
    cluster.apply_resetting("two", "two.example.com").await;
    cluster.settles(&["one", "two"], &[]).await;

    let held = cluster.cloudflare.inject(cloudflare::Fault::from(cloudflare::Effect::Hold).on("PUT"));
    cluster.apply("one", &[("one.example.com", true), ("more.example.com", true)]).await;
    held.until_met(1, PATIENCE).await.unwrap();
    control_plane.kill_api_server().unwrap();
    held.release();
    let applied = || cluster.remote.get("more.example.com").is_some();
    cluster.cloudflare.until("the write that was under way", PATIENCE, applied).await.unwrap();
    let edit = async || cluster.fixture.delete("two").await;
    eventually(PATIENCE, "the API server is back", edit).await.unwrap();
    cluster.until_gone("two").await;
    cluster.settles(&["one"], &["trying again"]).await;
    assert_eq!(cluster.remote.get("two.example.com"), None);
    let puts = cluster.puts();
    assert!(puts <= 4, "{puts} writes for two objects, an edit and a reset:\n{}", cluster.ledger());
}
