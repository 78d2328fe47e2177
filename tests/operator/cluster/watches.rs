//! Watches that show what is long past, leave things out, end all the time, or have to begin anew.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};
use std::time::Duration;

use harness::{
    api_proxy::{Effect, Fault, status},
    cloudflare::{Effect as Remote, Fault as RemoteFault},
    fixture::{PATIENCE, condition},
};
use serde_json::{Value, json};

use super::{Cluster, OBJECTS, event};
use crate::world::TOKEN;

impl Cluster {
    /// The operator has taken in everything that its watch has shown so far: an object that was made later is answered.
    async fn until_caught_up(&self) {
        let name = format!("mark-{}", harness::fixture::random_id());
        let mark = self.fixture.settings(&name).with("suspend", json!(true));
        self.fixture.apply(&mark.hostname(&format!("{name}.example.com"), true).build()).await.unwrap();
        self.until_reason(&name, "Suspended").await;
    }

    /// The watch says that what came after its last event is not known any more.
    pub(crate) fn expire_watch(&self) {
        self.proxy.insert_line(&event("ERROR", &status(410, "Expired")));
    }

    /// Waits until objects were listed again since a mark of the proxy's ledger, and a watch has begun.
    pub(crate) async fn until_listed(&self, mark: u64) {
        let listed = || {
            let lists = self.proxy.ledger().since(mark).of("list", OBJECTS);
            lists.all().iter().any(|list| list.status == Some(200) && list.end.is_some()) && self.is_watching()
        };
        self.proxy.until("a new list", PATIENCE, listed).await.unwrap();
    }
}

#[tokio::test]
async fn an_event_that_is_replayed_takes_nothing_back() {
    let cluster = Cluster::new().await;
    cluster.apply("one", &[("one.example.com", true)]).await;
    let older = cluster.until_ready("one").await;
    cluster.apply("one", &[("one.example.com", false), ("two.example.com", true)]).await;
    cluster.settles(&["one"], &[]).await;
    let puts = cluster.puts();
    cluster.proxy.insert_line(&event("MODIFIED", &older));
    cluster.until_caught_up().await;
    cluster.settles(&["one"], &[]).await;
    assert_eq!(cluster.puts(), puts, "{}", cluster.ledger());
    assert_eq!(cluster.remote.get("one.example.com"), None);
}

#[tokio::test]
async fn an_event_of_a_former_object_of_the_name_is_not_about_the_new_one() {
    let cluster = Cluster::new().await;
    cluster.apply_resetting("twice", "twice.example.com").await;
    let mut former = cluster.until_ready("twice").await;
    cluster.fixture.delete("twice").await.unwrap();
    cluster.until_gone("twice").await;
    cluster.apply_resetting("twice", "twice.example.com").await;
    cluster.settles(&["twice"], &[]).await;
    let puts = cluster.puts();

    former["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    for kind in ["MODIFIED", "DELETED"] {
        cluster.proxy.insert_line(&event(kind, &former));
        cluster.until_caught_up().await;
        cluster.look("twice").await;
        cluster.settles(&["twice"], &[]).await;
    }
    assert_eq!(cluster.puts(), puts, "{}", cluster.ledger());
    cluster.apply_resetting("twice", "other.example.com").await;
    cluster.settles(&["twice"], &[]).await;
    assert_eq!(cluster.remote.get("twice.example.com"), None);
}

/// A cluster whose watches leave everything out while the switch is on.
async fn forgetful() -> (Cluster, Arc<AtomicBool>) {
    let forgets = Arc::new(AtomicBool::new(false));
    let switch = forgets.clone();
    let leave_out = move |event| if switch.load(Ordering::SeqCst) { vec![] } else { vec![event] };
    let faults = vec![Fault::rewrite(leave_out).on("watch").of(OBJECTS).for_ever()];
    (Cluster::starting(|operator| operator.arg("--secret-poll=1s"), faults).await, forgets)
}

/// Does something that the watch does not show.
async fn unseen(cluster: &Cluster, forgets: &AtomicBool, change: impl AsyncFn()) {
    forgets.store(true, Ordering::SeqCst);
    change().await;
    // Events come in order: once that of a last object has come to the proxy, all have.
    let name = format!("unseen-{}", harness::fixture::random_id());
    let last = cluster.fixture.settings(&name).with("suspend", json!(true)).hostname("unseen.example.com", true);
    let last = cluster.fixture.apply(&last.build()).await.unwrap();
    let uid = last["metadata"]["uid"].as_str().unwrap();
    cluster.proxy.until("all events have come", PATIENCE, || cluster.proxy.spec(uid, 1).is_some()).await.unwrap();
    forgets.store(false, Ordering::SeqCst);
}

#[tokio::test]
async fn what_happens_between_two_events_that_are_seen_does_not_matter() {
    let (cluster, forgets) = forgetful().await;
    let was = [("edit.example.com", true)];
    cluster.apply("edit", &was).await;
    cluster.apply_resetting("again", "again.example.com").await;
    cluster.apply("kept", &[("kept.example.com", true)]).await;
    cluster.settles(&["edit", "again", "kept"], &[]).await;
    let puts = cluster.puts();

    // Edited and reverted: the generation is another one, the wish is not.
    unseen(&cluster, &forgets, async || {
        cluster.apply("edit", &[("edit.example.com", false)]).await;
    })
    .await;
    cluster.apply("edit", &was).await;
    cluster.settles(&["edit"], &[]).await;
    assert_eq!(cluster.puts(), puts, "{}", cluster.ledger());

    // Deleted and made anew, twice, without the policy whose finalizer would have held it.
    unseen(&cluster, &forgets, async || {
        for hostname in ["kept.example.com", "other.example.com"] {
            cluster.fixture.delete("kept").await.unwrap();
            cluster.until_gone("kept").await;
            cluster.apply("kept", &[(hostname, true)]).await;
        }
        cluster.fixture.delete("kept").await.unwrap();
        cluster.until_gone("kept").await;
    })
    .await;
    cluster.apply("kept", &[("kept.example.com", true), ("new.example.com", true)]).await;
    cluster.settles(&["edit", "kept"], &[]).await;
    assert_eq!(cluster.remote.get("other.example.com"), None, "it was never seen:\n{}", cluster.ledger());

    // The Secret is not watched but read: only what it holds at the end counts.
    for token in ["first", "second", TOKEN] {
        cluster.fixture.apply(&cluster.fixture.secret("cloudflare", "token", token)).await.unwrap();
    }
    cluster.look("edit").await;
    cluster.settles(&["edit", "again", "kept"], &["no success"]).await;
}

#[tokio::test]
async fn who_asks_to_be_left_alone_is_heard_before_a_reset_though_the_watch_is_silent() {
    let (cluster, forgets) = forgetful().await;
    let requests = [("suspend", json!(true), "Suspended"), ("syncMode", json!("Observe"), "Observed")];
    for (field, value, reason) in requests {
        let name = field.to_lowercase();
        let gone = format!("gone-{name}.example.com");
        let kept = cluster.fixture.settings(&name).with("deletionPolicy", json!("Reset"));
        let kept = kept.hostname(&format!("kept-{name}.example.com"), true);
        cluster.fixture.apply(&kept.clone().hostname(&gone, true).build()).await.unwrap();
        cluster.until_ready(&name).await;
        let puts = cluster.puts();
        let held = cluster.cloudflare.inject(RemoteFault::from(Remote::Hold).on("GET"));
        cluster.fixture.apply(&kept.build()).await.unwrap();
        held.until_met(1, PATIENCE).await.unwrap();
        unseen(&cluster, &forgets, async || {
            cluster.fixture.patch(&name, &json!({"spec": {(field): value}})).await.unwrap();
        })
        .await;
        let asked = || cluster.proxy.ledger().of("get", OBJECTS).len();
        let before = asked();
        held.release();
        cluster.proxy.until("the object is read", PATIENCE, || asked() > before).await.unwrap();
        cluster.ask_for_a_look(&name, "now").await;
        let heard = |object: &Value| condition(object, "Ready").is_some_and(|ready| ready["reason"] == reason);
        cluster.fixture.until(&name, reason, heard).await.unwrap();
        assert_eq!(cluster.remote.get(&gone), Some((true, false)), "{field}:\n{}", cluster.ledger());
        assert_eq!(cluster.puts(), puts, "{field}:\n{}", cluster.ledger());
    }
}

#[tokio::test]
async fn a_watch_that_has_to_begin_anew_learns_of_everything() {
    let cluster = Cluster::new().await;
    for name in ["edited", "deleted", "still"] {
        cluster.apply_resetting(name, &format!("{name}.example.com")).await;
        cluster.until_ready(name).await;
    }
    // In the stream.
    let mark = cluster.proxy.ledger().mark();
    cluster.expire_watch();
    cluster.until_listed(mark).await;
    // As the answer to the request for a watch; all happens before a list is shown again.
    let mark = cluster.proxy.ledger().mark();
    let gone = cluster.proxy.inject(Fault::refusal(410, "Expired").on("watch").of(OBJECTS));
    let held = cluster.proxy.inject(Fault::from(Effect::Hold).on("list").of(OBJECTS));
    cluster.proxy.drop_connections();
    gone.until_met(1, PATIENCE).await.unwrap();
    cluster.apply_resetting("edited", "other.example.com").await;
    cluster.fixture.delete("deleted").await.unwrap();
    cluster.apply_resetting("made", "made.example.com").await;
    held.until_met(1, PATIENCE).await.unwrap();
    held.release();
    cluster.until_listed(mark).await;
    cluster.until_gone("deleted").await;
    cluster.settles(&["edited", "made", "still"], &["trying again"]).await;
    for hostname in ["edited.example.com", "deleted.example.com"] {
        assert_eq!(cluster.remote.get(hostname), None, "{hostname}:\n{}", cluster.ledger());
    }
}

#[tokio::test]
async fn watches_that_end_every_second_and_show_no_bookmark_miss_nothing() {
    let short = Fault::from(Effect::End { after: Duration::from_secs(1) }).on("watch").of(OBJECTS).for_ever();
    let bare = |event: Value| if event["type"] == "BOOKMARK" { vec![] } else { vec![event] };
    let bare = Fault::rewrite(bare).on("watch").of(OBJECTS);
    let cluster = Cluster::starting(|operator| operator, vec![bare, short]).await;
    cluster.apply("one", &[("first.example.com", true)]).await;
    cluster.until_ready("one").await;
    cluster.proxy.drop_connections();
    let watches = || cluster.proxy.ledger().of("watch", OBJECTS).len();
    for round in 0..4 {
        let before = watches();
        cluster.apply("one", &[("first.example.com", true), (&format!("n{round}.example.com"), true)]).await;
        cluster.until_ready("one").await;
        cluster.proxy.until("another watch", PATIENCE, || watches() > before).await.unwrap();
    }
    // The connections may have been dropped under an event.
    cluster.settles(&["one"], &["trying again", "the event could not be written"]).await;
    assert!(watches() <= 30, "{} watches", watches());
    assert_eq!(cluster.proxy.ledger().of("list", OBJECTS).len(), 1, "what ends is resumed and not begun anew");
}
