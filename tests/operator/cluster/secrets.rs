//! Secrets that change at a bad moment, or hold what nobody would expect.

use harness::{
    cloudflare,
    fixture::{PATIENCE, condition},
};
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};

use super::Cluster;
use crate::world::TOKEN;

const NEXT: &str = "cfut_3Rf6Tg9Yh2Uj5Ik8Ol1Qa4Ws7Ed0Zx";

#[tokio::test]
async fn a_token_that_is_rotated_between_a_read_and_a_write_is_replaced() {
    let cluster = Cluster::with(|operator| operator.arg("--secret-poll=1s")).await;
    cluster.apply("one", &[("one.example.com", true)]).await;
    cluster.until_ready("one").await;
    let held = cluster.cloudflare.inject(cloudflare::Fault::from(cloudflare::Effect::Hold).on("PUT"));
    cluster.apply("one", &[("one.example.com", true), ("two.example.com", true)]).await;
    held.until_met(1, PATIENCE).await.unwrap();
    cluster.cloudflare.token(NEXT).named("next").may_write(cluster.remote.scope());
    cluster.fixture.apply(&cluster.fixture.secret("cloudflare", "token", NEXT)).await.unwrap();
    cluster.token.revoke();
    held.release();
    cluster.settles(&["one"], &["no success"]).await;
    let ledger = cluster.ledger();
    let accepted = ledger.accepted_puts(&cluster.scope());
    assert_eq!(accepted.last().unwrap().credential.as_deref(), Some("next"), "{ledger}");
    assert_eq!(accepted.len(), 2, "{ledger}");
}

#[tokio::test]
async fn a_secret_may_hold_anything_and_vanish_and_heals() {
    let cluster = Cluster::with(|operator| operator.arg("--secret-poll=1s")).await;
    cluster.apply("odd", &[("odd.example.com", true)]).await;
    cluster.settles(&["odd"], &[]).await;
    let requests = cluster.ledger().len();
    let hold = async |data: Value| {
        let patch = json!({"data": data});
        let secrets = cluster.fixture.secrets();
        secrets.patch("cloudflare", &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    };
    let says = async |reason: &str, text: &str| {
        let said = |object: &Value| {
            condition(object, "Ready")
                .is_some_and(|ready| ready["reason"] == reason && ready["message"].as_str().unwrap().contains(text))
        };
        cluster.fixture.until("odd", text, said).await.unwrap();
    };
    // Base64 of bytes that are no text, and of the longest value that a Secret may nearly have.
    for (value, text) in [("gIGC/w==".to_owned(), "printable ASCII"), ("QUFB".repeat(330_000), "is longer than")] {
        hold(json!({"token": value})).await;
        says("SecretInvalid", text).await;
    }
    hold(json!({"token": null, "renamed": "QUFB"})).await;
    says("SecretInvalid", "has no key token").await;
    cluster.fixture.secrets().delete("cloudflare", &DeleteParams::default()).await.unwrap();
    says("SecretNotFound", "does not exist").await;
    assert_eq!(cluster.ledger().len(), requests, "no request without a credential:\n{}", cluster.ledger());
    assert_eq!(cluster.remote.get("odd.example.com"), Some((true, false)));
    cluster.fixture.apply(&cluster.fixture.secret("cloudflare", "token", TOKEN)).await.unwrap();
    cluster.settles(&["odd"], &[]).await;
    assert_eq!(cluster.puts(), 1, "{}", cluster.ledger());
}

#[tokio::test]
async fn an_entry_that_is_gone_already_holds_up_no_deletion() {
    let cluster = Cluster::new().await;
    cluster.apply_resetting("late", "late.example.com").await;
    cluster.settles(&["late"], &[]).await;
    cluster.remote.set("late.example.com", false, false);
    let puts = cluster.puts();
    cluster.fixture.delete("late").await.unwrap();
    cluster.until_gone("late").await;
    assert_eq!(cluster.puts(), puts, "what is off is not turned off:\n{}", cluster.ledger());
    cluster.is_quiet().await;
    cluster.assert_sound(&[]);
}
