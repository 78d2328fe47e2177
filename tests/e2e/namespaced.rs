//! Installed for some namespaces only: nothing that belongs to the whole cluster, and no eye for anybody else's objects.

use harness::fixture::Fixture;
use serde_json::json;

use crate::stage::{NAME, Stage, TOKEN};

#[tokio::test]
#[ignore = "needs a node of its own: make e2e"]
async fn for_one_namespace_nothing_of_the_cluster_is_touched_and_others_are_not_served() {
    Stage::play(async |stage| {
        let node = &stage.node;
        // The CRD comes from somebody else: here from a release that is gone.
        stage.install(&json!({})).await;
        node.helm(&format!("uninstall {NAME} -n {NAME} --wait")).await;

        stage.install(&json!({"watchNamespaces": [stage.fixture.namespace()]})).await;
        let manifest = node.helm(&format!("get manifest {NAME} -n {NAME}")).await;
        let kinds: Vec<_> = manifest.lines().filter_map(|line| line.strip_prefix("kind: ")).collect();
        println!("installed: {}", kinds.join(", "));
        let namespaced = node.kubectl("api-resources --namespaced=true --no-headers").await;
        let is_namespaced = |kind: &&str| namespaced.lines().any(|line| line.ends_with(&format!(" {kind}")));
        assert!(kinds.contains(&"Deployment"), "{manifest}");
        let wide: Vec<_> = kinds.iter().filter(|kind| !is_namespaced(kind)).collect();
        assert!(wide.is_empty(), "{wide:?} belong to the whole cluster:\n{manifest}");

        // First the object elsewhere, so that it would have been seen by the time that the other one is ready.
        let elsewhere = Fixture::of(node.client().await).await.unwrap();
        let zone = stage.cloudflare.add_zone(elsewhere.zone_id(), "example.com");
        stage.token.may_write(zone.scope());
        elsewhere.apply(&elsewhere.secret("cloudflare", "token", TOKEN)).await.unwrap();
        elsewhere.apply(&elsewhere.settings("unseen").hostname("unseen.example.com", true).build()).await.unwrap();
        stage.apply("seen", &[("seen.example.com", true)]).await;
        stage.until_ready("seen").await;
        stage.apply("seen", &[("seen.example.com", false)]).await;
        stage.until_ready("seen").await;
        let unseen = elsewhere.get("unseen").await.unwrap().unwrap();
        assert_eq!(unseen["status"], json!({"observedGeneration": -1}), "nobody has looked at it");
        let ledger = stage.cloudflare.ledger();
        assert!(ledger.of(zone.scope()).is_empty(), "{ledger}");
        let account = format!("system:serviceaccount:{NAME}:{NAME}");
        let may = format!("auth can-i get secrets -n {} --as {account}", elsewhere.namespace());
        let answer =
            node.try_kubectl(&may).await.expect_err("it may read Secrets of a namespace that it does not serve");
        assert!(answer.to_string().lines().any(|line| line == "no" || line.starts_with("no - ")), "{answer}");
        elsewhere.delete("unseen").await.unwrap();
    })
    .await;
}
