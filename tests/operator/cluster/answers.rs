//! Single requests that get no answer, a late one, or one that is not the API server's: each is made again, and what it was
//! for comes to its end.

use std::time::Duration;

use futures::future::join_all;
use harness::{
    api_proxy::{Effect, Fault, status},
    fixture::PATIENCE,
};
use serde_json::json;

use super::{Cluster, FOREIGN, OBJECTS, STATUS};
use crate::world::TOKEN;

const HTML: &str = "<!DOCTYPE html><html><body>Sign in to the wireless network</body></html>";

/// What comes instead of an answer, by a name for the object that it meets.
fn instead_of_an_answer() -> Vec<(&'static str, Fault)> {
    let html = Fault::raw(200, &[("content-type", "text/html")], HTML);
    let limited = |after| Fault::refusal_with(429, "TooManyRequests", &[("retry-after", after)]);
    let away = |after| Fault::refusal_with(503, "ServiceUnavailable", &[("retry-after", after)]);
    vec![
        ("truncated", Fault::from(Effect::Truncate { after: 40 })),
        ("html", html.clone()),
        ("html-once-applied", html.once_applied()),
        ("other-object", Fault::raw(200, &[], status(200, "OK").to_string())),
        ("reset", Effect::Reset.into()),
        ("reset-once-applied", Fault::from(Effect::Reset).once_applied()),
        ("closed", Effect::Close.into()),
        ("late", Fault::from(Effect::Pass).once_applied().delayed(Duration::from_secs(2))),
        ("internal-error", Fault::refusal(500, "InternalError")),
        ("timeout-once-applied", Fault::refusal(504, "Timeout").once_applied()),
        ("limited-1-s", limited("1")),
        ("limited-1-h", limited("3600")),
        ("limited-until", limited("Fri, 31 Dec 2100 23:59:59 GMT")),
        ("away-1-h", away("3600")),
        ("away-garbage", away("soon")),
    ]
}

#[tokio::test]
async fn whatever_comes_instead_of_an_answer_the_request_is_made_again() {
    let cluster = Cluster::new().await;
    let kinds = instead_of_an_answer();
    let hostname = |name: &str| format!("{name}.example.com");
    for (name, fault) in &kinds {
        for (verb, resource) in [("patch", OBJECTS), ("get", "secrets"), ("patch", STATUS)] {
            cluster.proxy.inject(fault.clone().on(verb).of(resource).named(name));
        }
        cluster.fixture.apply(&cluster.fixture.secret(name, "token", TOKEN)).await.unwrap();
        let manifest = cluster.fixture.settings(name).credential(name, "token");
        let manifest = manifest.with("deletionPolicy", json!("Reset")).hostname(&hostname(name), true);
        cluster.fixture.apply(&manifest.build()).await.unwrap();
    }
    let names: Vec<&str> = kinds.iter().map(|(name, _)| *name).collect();
    let complaints = ["trying again"];
    cluster.settles(&names, &complaints).await;

    for (name, fault) in &kinds {
        // The first read asks whether the reset is still wanted, the second one comes before the object is let go.
        cluster.proxy.inject(fault.clone().on("get").of(OBJECTS).named(name).after_passing(1));
        cluster.proxy.inject(fault.clone().on("patch").of(OBJECTS).named(name));
        cluster.fixture.delete(name).await.unwrap();
    }
    join_all(names.iter().map(|name| cluster.until_gone(name))).await;
    for name in names {
        assert_eq!(cluster.remote.get(&hostname(name)), None, "{name}:\n{}", cluster.ledger());
    }
    cluster.assert_sound(&complaints);
}

/// One object whose first requests of this kind disappear.
async fn a_black_hole(verb: &str, resource: &str) {
    let cluster = Cluster::new().await;
    let hole = cluster.proxy.inject(Fault::from(Effect::Silence).on(verb).of(resource));
    cluster.apply_resetting("lost", "lost.example.com").await;
    hole.until_met(1, PATIENCE).await.unwrap();
    cluster.settles(&["lost"], &["trying again"]).await;
}

#[tokio::test]
async fn a_request_that_disappears_is_given_up_after_ten_seconds() {
    tokio::join!(a_black_hole("get", "secrets"), a_black_hole("patch", OBJECTS), a_black_hole("patch", STATUS));
}

#[tokio::test]
async fn a_reset_is_not_decided_by_a_read_that_failed() {
    let cluster = Cluster::new().await;
    cluster.apply_resetting("kept", "kept.example.com").await;
    cluster.until_ready("kept").await;
    let puts = cluster.puts();
    let unread = cluster.proxy.inject(Fault::refusal(500, "InternalError").on("get").of(OBJECTS).for_ever());
    cluster.fixture.delete("kept").await.unwrap();
    unread.until_met(3, PATIENCE).await.unwrap();
    assert_eq!(cluster.puts(), puts, "turned off without knowing that it may be:\n{}", cluster.ledger());
    unread.clear();
    cluster.until_gone("kept").await;
    assert_eq!(cluster.remote.get("kept.example.com"), None);
    assert_eq!(cluster.remote.get(FOREIGN), Some((true, false)));
    cluster.is_quiet().await;
    cluster.assert_sound(&["trying again"]);
}

#[tokio::test]
async fn what_somebody_turns_on_again_while_the_object_cannot_be_let_go_stays_on() {
    let cluster = Cluster::new().await;
    cluster.apply_resetting("going", "going.example.com").await;
    cluster.until_ready("going").await;
    let kept = cluster.proxy.inject(Fault::refusal(500, "InternalError").on("patch").of(OBJECTS).for_ever());
    cluster.fixture.delete("going").await.unwrap();
    kept.until_met(1, PATIENCE).await.unwrap();
    assert_eq!(cluster.remote.get("going.example.com"), None);
    cluster.remote.set("going.example.com", true, false);
    let puts = cluster.puts();
    kept.until_met(3, PATIENCE).await.unwrap();
    kept.clear();
    cluster.until_gone("going").await;
    assert_eq!(cluster.remote.get("going.example.com"), Some((true, false)), "{}", cluster.ledger());
    assert_eq!(cluster.puts(), puts, "{}", cluster.ledger());
    cluster.assert_sound(&["trying again"]);
}
