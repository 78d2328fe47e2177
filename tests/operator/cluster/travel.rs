//! An API server that shows a state that is long past, and then comes back to the present.

use harness::{
    cloudflare::{Effect, Fault},
    fixture::PATIENCE,
};
use kube::api::{Patch, PatchParams};
use serde_json::json;

use super::Cluster;

impl Cluster {
    /// The operator lists anew, so that the proxy has what there is now.
    async fn list_anew(&self) {
        let mark = self.proxy.ledger().mark();
        self.expire_watch();
        self.until_listed(mark).await;
    }
}

#[tokio::test]
async fn a_state_of_the_past_that_is_shown_for_a_while_does_not_last() {
    let cluster = Cluster::new().await;
    cluster.apply("one", &[("one.example.com", true)]).await;
    cluster.until_ready("one").await;
    cluster.list_anew().await;
    let past = cluster.proxy.snapshot();
    cluster.apply("one", &[("one.example.com", false), ("two.example.com", true)]).await;
    cluster.apply_resetting("new", "new.example.com").await;
    cluster.settles(&["one", "new"], &["trying again"]).await;

    // Now `one` is what it was, and `new` was never there.
    cluster.proxy.freeze_at(&past);
    cluster.list_anew().await;
    assert_eq!(cluster.remote.get("new.example.com"), Some((true, false)), "what is not listed is not turned off");
    cluster.apply("one", &[("one.example.com", false), ("three.example.com", true)]).await;
    cluster.proxy.thaw();
    cluster.settles(&["one", "new"], &["trying again"]).await;
    let gone = || cluster.remote.get("one.example.com").is_none();
    cluster.cloudflare.until("the past is over", PATIENCE, gone).await.unwrap();
}

/// What was found of a generation before its past was shown does not count when it is shown again.
#[tokio::test]
async fn a_generation_that_comes_again_is_not_ready_for_what_was_found_before() {
    let cluster = Cluster::new().await;
    cluster.apply("one", &[("one.example.com", true)]).await;
    cluster.until_ready("one").await;
    cluster.list_anew().await;
    let past = cluster.proxy.snapshot();
    cluster.apply("one", &[("one.example.com", false)]).await;
    cluster.settles(&["one"], &["trying again"]).await;

    // Somebody has touched its status, so that the same one would be written again.
    let touched = Patch::Merge(json!({"status": {"summary": "touched"}}));
    cluster.fixture.objects().patch_status("one", &PatchParams::default(), &touched).await.unwrap();

    // What the first generation wants is written again, and the answer of that write is long in coming.
    let held = cluster.cloudflare.inject(Fault::from(Effect::Hold).on("PUT").once_applied());
    cluster.proxy.freeze_at(&past);
    cluster.list_anew().await;
    held.until_met(1, PATIENCE).await.unwrap();
    assert_eq!(cluster.remote.get("one.example.com"), Some((true, false)));
    cluster.proxy.thaw();
    // The watch shows it after the second generation of the other one.
    cluster.apply("late", &[("late.example.com", true)]).await;
    cluster.until_reason("late", "Pending").await;
    held.release();
    let gone = || cluster.remote.get("one.example.com").is_none();
    cluster.cloudflare.until("the past is over", PATIENCE, gone).await.unwrap();
    cluster.settles(&["one", "late"], &["trying again"]).await;
}
