//! Uninstalled while objects are there: they stay as they are, and so does Cloudflare, until an operator is back.

use harness::fixture::eventually;
use serde_json::{Value, json};

use crate::stage::{NAME, PATIENCE, Stage};

#[tokio::test]
#[ignore = "needs a node of its own: make e2e"]
async fn objects_outlive_the_release_and_are_served_again_by_the_next_one() {
    Stage::play(async |stage| {
        let node = &stage.node;
        stage.install(&json!({})).await;
        stage.apply("kept", &[("kept.example.com", true)]).await;
        stage.apply("edited", &[("edited.example.com", true)]).await;
        let reset = stage.fixture.settings("reset").hostname("reset.example.com", true);
        stage.fixture.apply(&reset.with("deletionPolicy", json!("Reset")).build()).await.unwrap();
        for name in ["kept", "edited", "reset"] {
            stage.until_ready(name).await;
        }
        let (entries, before) = (stage.remote.entries(), stage.fixture.get("kept").await.unwrap());

        node.helm(&format!("uninstall {NAME} -n {NAME} --wait")).await;
        // Helm waits for the Deployment alone.
        node.kubectl(&format!("wait --for=delete pods -n {NAME} --all --timeout=60s")).await;
        node.kubectl("wait --for=condition=Established crd/mtlshostnamesettings.cloudflare-mtls.dev --timeout=30s")
            .await;
        assert_eq!(stage.fixture.get("kept").await.unwrap(), before, "an object that nobody touches is as it was");
        let mark = stage.cloudflare.ledger().mark();
        stage.apply("edited", &[("edited.example.com", false)]).await;
        stage.fixture.delete("reset").await.unwrap();
        let waiting = stage.fixture.get("reset").await.unwrap().expect("it waits for an operator");
        assert!(waiting["metadata"]["deletionTimestamp"].is_string(), "{waiting:#}");
        assert_eq!(stage.remote.entries(), entries);
        assert_eq!(stage.cloudflare.ledger().mark(), mark, "nobody is there who could ask anything");

        stage.install(&json!({})).await;
        let ready = |object: &Value| object["status"]["observedGeneration"] == object["metadata"]["generation"];
        stage.fixture.until("edited", "served again", ready).await.unwrap();
        stage.until_ready("edited").await;
        assert_eq!(stage.remote.get("edited.example.com"), None, "both flags are off");
        eventually(PATIENCE, "the end of the object that is reset", async || {
            match stage.fixture.get("reset").await? {
                None => Ok(()),
                Some(object) => Err(harness::Error::new(format!("{object:#}"))),
            }
        })
        .await
        .unwrap();
        assert_eq!(stage.remote.get("reset.example.com"), None);
        assert_eq!(stage.remote.get("kept.example.com"), Some((true, false)));
        let ledger = stage.ledger();
        let again = ledger.since(mark).puts(stage.remote.scope()).iter().any(|put| put.body.contains("kept"));
        assert!(!again, "what has not changed is not written again:\n{ledger}");
    })
    .await;
}
