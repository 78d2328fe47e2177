//! Rights that are taken away while the operator runs, and given back.

use harness::{
    account::Account,
    control_plane::ControlPlane,
    fixture::{PATIENCE, condition},
};

use super::{Cluster, OBJECTS, STATUS};

/// A cluster whose operator has an identity of its own, with an object that is in sync.
async fn entitled() -> (Cluster, Account) {
    let account = Account::new(ControlPlane::shared().await.unwrap()).await.unwrap();
    let own = account.clone();
    let cluster = Cluster::with(move |operator| operator.account(&own).arg("--secret-poll=1s")).await;
    cluster.apply("one", &[("one.example.com", true)]).await;
    cluster.settles(&["one"], &[]).await;
    (cluster, account)
}

async fn without_secrets() {
    let (cluster, account) = entitled().await;
    account.take("secrets").await.unwrap();
    let object = cluster.until_reason("one", "SecretNotFound").await;
    let message = condition(&object, "Ready").unwrap()["message"].as_str().unwrap().to_owned();
    assert!(message.contains("the verb get on secrets"), "{message}");
    assert_eq!(cluster.remote.get("one.example.com"), Some((true, false)));
    account.give_back().await.unwrap();
    cluster.settles(&["one"], &[]).await;
    assert_eq!(cluster.puts(), 1, "{}", cluster.ledger());
}

async fn without_the_status() {
    let (cluster, account) = entitled().await;
    account.take(STATUS).await.unwrap();
    let mark = cluster.proxy.ledger().mark();
    cluster.apply("one", &[("one.example.com", true), ("two.example.com", true)]).await;
    let refused = || cluster.status_writes("one", mark).filtered(|write| write.status == Some(403)).len();
    cluster.proxy.until("two refusals", PATIENCE, || refused() >= 2).await.unwrap();
    assert_eq!(cluster.remote.get("two.example.com"), Some((true, false)), "the work itself is done");
    account.give_back().await.unwrap();
    cluster.settles(&["one"], &["trying again"]).await;
    assert_eq!(cluster.puts(), 2, "{}", cluster.ledger());
}

async fn without_the_objects() {
    let (cluster, account) = entitled().await;
    account.take(OBJECTS).await.unwrap();
    // A right that is taken away does not end a watch that has begun.
    cluster.proxy.drop_connections();
    cluster.until_logged("check its role").await;
    cluster.apply("one", &[("one.example.com", true), ("two.example.com", true)]).await;
    account.give_back().await.unwrap();
    cluster.settles(&["one"], &["check its role", "trying again", "403"]).await;
    assert_eq!(cluster.puts(), 2, "{}", cluster.ledger());
}

async fn without_events() {
    let (cluster, account) = entitled().await;
    account.take("events").await.unwrap();
    cluster.apply("bad", &[("bad.elsewhere.org", true)]).await;
    cluster.until_reason("bad", "HostnameNotInScope").await;
    cluster.until_logged("the event could not be written").await;
    account.give_back().await.unwrap();
    cluster.apply("bad", &[("good.example.com", true)]).await;
    cluster.settles(&["one", "bad"], &["the event could not be written", "no success"]).await;
}

#[tokio::test]
async fn a_right_that_is_taken_away_is_named_and_all_goes_on_when_it_is_given_back() {
    tokio::join!(without_secrets(), without_the_status(), without_the_objects(), without_events());
}
