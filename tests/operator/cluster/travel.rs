//! An API server that shows a state that is long past, and then comes back to the present.

use harness::fixture::PATIENCE;

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
