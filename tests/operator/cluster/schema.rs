//! The kind itself goes and comes back.

use std::sync::Arc;

use harness::{
    control_plane::ControlPlane,
    fixture::{PATIENCE, eventually},
};

use super::Cluster;

const CRD: &str = "mtlshostnamesettings.cloudflare-mtls.dev";

#[tokio::test]
async fn a_crd_that_is_deleted_and_made_anew_ends_nothing() {
    let control_plane = Arc::new(ControlPlane::start().await.unwrap());
    control_plane.install().await.unwrap();
    let cluster = Cluster::on(&control_plane).await;
    cluster.apply("kept", &[("kept.example.com", true)]).await;
    cluster.apply_resetting("reset", "reset.example.com").await;
    cluster.settles(&["kept", "reset"], &[]).await;

    // Deleted with all its objects, which end in order: first what they listed is turned off, if that was asked for.
    control_plane.kubectl(&["delete", "crd", CRD, "--timeout=60s"]).await.unwrap();
    assert_eq!(cluster.remote.get("reset.example.com"), None, "{}", cluster.ledger());
    assert_eq!(cluster.remote.get("kept.example.com"), Some((true, false)));
    cluster.until_logged("kubectl apply -k crds/").await;

    control_plane.install().await.unwrap();
    let manifest = cluster.fixture.settings("kept").hostname("kept.example.com", false);
    let manifest = manifest.hostname("new.example.com", true).build();
    let apply = || cluster.fixture.apply(&manifest);
    eventually(PATIENCE, "the kind is served again", apply).await.unwrap();
    cluster.settles(&["kept"], &["trying again"]).await;
    assert_eq!(cluster.remote.get("reset.example.com"), None);
}
