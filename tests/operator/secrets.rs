//! Credentials: how they are read, what is wrong with them, and that they stay inside.

use std::time::Duration;

use harness::fixture::{self, condition};
use serde_json::json;

use crate::world::{TOKEN, World};

async fn impatient() -> World {
    World::with(|operator| operator.arg("--secret-poll=1s")).await
}

#[tokio::test]
async fn a_secret_that_appears_changes_or_is_repaired_is_noticed_without_a_restart() {
    let world = impatient().await;
    let manifest = world.fixture.settings("late").credential("late", "token").hostname("late.example.com", true);
    world.fixture.apply(&manifest.build()).await.unwrap();
    let object = world.until_reason("late", "SecretNotFound").await;
    assert!(condition(&object, "Reconciling").is_some());
    assert!(condition(&object, "Ready").unwrap()["message"].as_str().unwrap().contains("Secret late"));
    assert!(world.cloudflare.ledger().is_empty(), "no request without a credential");

    let secret = |key: &str, value: &str| world.fixture.secret("late", key, value);
    for (key, value, text) in [
        ("other", TOKEN, "has no key token"),
        ("token", "  \n ", "is empty"),
        ("token", "two words", "printable ASCII"),
        ("token", "cfk_4Tq9Lx2Rm7Zc5Nw8Jd3Vh6Ks1", "global API key"),
    ] {
        world.fixture.secrets().delete("late", &kube::api::DeleteParams::default()).await.ok();
        world.fixture.apply(&secret(key, value)).await.unwrap();
        let says = |object: &serde_json::Value| {
            condition(object, "Ready").is_some_and(|ready| {
                ready["reason"] == "SecretInvalid" && ready["message"].as_str().unwrap().contains(text)
            })
        };
        let object = world.fixture.until("late", text, says).await.unwrap();
        assert!(condition(&object, "Stalled").is_some());
    }
    assert!(world.cloudflare.ledger().is_empty(), "no request without a credential");

    world.fixture.apply(&secret("token", &format!("\n {TOKEN} \n"))).await.unwrap();
    world.until_ready("late").await;
    let requests = world.cloudflare.ledger().len();
    let stranger = "cfut_6Mn1Qz8Wv4Ys0Rk3Lj7Hc2Xb9Td5Pf";
    world.fixture.apply(&secret("token", stranger)).await.unwrap();
    world.until_reason("late", "AuthenticationFailed").await;
    assert_eq!(world.cloudflare.ledger().len(), requests + 1, "one look shows that the new token is no good");
    world.fixture.apply(&secret("token", TOKEN)).await.unwrap();
    world.until_ready("late").await;
}

#[tokio::test]
async fn an_email_may_come_from_a_secret_and_a_token_in_the_place_of_a_key_is_told_apart() {
    let world = impatient().await;
    let key = "0f1e2d3c4b5a69788796a5b4c3d2e1f001234";
    world.cloudflare.api_key("owner@example.com", key).may_write(world.remote.scope());
    let mut secret = world.fixture.secret("global", "api-key", TOKEN);
    secret["stringData"]["email"] = json!("owner@example.com");
    world.fixture.apply(&secret).await.unwrap();
    let reference = |key: &str| json!({"name": "global", "key": key});
    let global =
        json!({"globalApiKey": {"emailSecretKeyRef": reference("email"), "secretKeyRef": reference("api-key")}});
    let manifest = world.fixture.settings("global").with("credentials", global).hostname("key.example.com", true);
    world.fixture.apply(&manifest.build()).await.unwrap();
    let object = world.until_reason("global", "SecretInvalid").await;
    let message = condition(&object, "Ready").unwrap()["message"].to_string();
    assert!(message.contains("use credentials.apiToken"), "{message}");
    secret["stringData"]["api-key"] = json!(key);
    world.fixture.apply(&secret).await.unwrap();
    world.until_ready("global").await;
}

#[tokio::test]
async fn a_token_of_another_namespace_cannot_be_used() {
    let victim = World::new().await;
    let thief = impatient().await;
    let (name, _) = fixture::CREDENTIAL;
    thief.fixture.secrets().delete(name, &kube::api::DeleteParams::default()).await.unwrap();
    // The same zone and the same name of a Secret, but not the same namespace.
    let manifest = thief.fixture.settings("thief").zone(victim.fixture.zone_id()).hostname("t.example.com", true);
    thief.fixture.apply(&manifest.build()).await.unwrap();
    thief.until_reason("thief", "SecretNotFound").await;
    let elsewhere = format!("../{}/secrets/{name}", victim.fixture.namespace());
    let manifest = thief.fixture.settings("path").credential(&elsewhere, "token").hostname("t.example.com", true);
    assert!(thief.fixture.apply(&manifest.build()).await.is_err());
    assert!(victim.secret_reads().is_empty() && thief.cloudflare.ledger().is_empty());
}

#[tokio::test]
async fn secrets_are_read_by_name_and_no_more_often_than_they_must() {
    let world = World::with(|operator| operator.arg("--secret-poll=2s")).await;
    world.apply("poll", &[("poll.example.com", true)]).await;
    world.until_ready("poll").await;
    tokio::time::timeout(Duration::from_secs(30), async {
        while world.secret_reads().len() < 3 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
    .await
    .expect("a Secret in use is read again");
    let reads = world.secret_reads();
    assert!(reads.iter().all(|(verb, _)| verb == "get"), "{reads:?}");
    let gaps: Vec<_> = reads.windows(2).map(|pair| pair[1].1.duration_since(pair[0].1).as_secs_f64()).collect();
    assert!(gaps.iter().all(|gap| *gap >= 1.9), "{gaps:?}");
    assert_eq!(world.ledger().len(), 3, "reading the Secret asks nothing of Cloudflare");
}
