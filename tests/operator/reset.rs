//! Letting go under `deletionPolicy: Reset`: entries are turned off, handed over, or said to be stuck.

use harness::{
    cloudflare::{Effect, Fault},
    fixture::{PATIENCE, Settings, condition},
};
use serde_json::{Value, json};

use crate::{
    behaviour::{Behaviour, scenarios},
    world::World,
};

scenarios! { under_every_behaviour:
    deleting_turns_the_entries_off_proves_it_and_then_lets_the_object_go,
    an_entry_that_leaves_the_list_is_turned_off_and_then_forgotten,
    a_reset_survives_a_crash_in_the_middle_of_it,
    an_object_that_is_deleted_while_its_first_write_is_under_way_leaves_nothing_behind,
    a_hostname_that_another_object_waits_for_is_handed_over_and_not_turned_off,
    a_refused_credential_blocks_the_reset_and_says_the_way_out,
    an_object_that_waits_to_go_lets_go_no_more_after_a_restart,
    a_zone_or_a_secret_that_is_gone_holds_up_nothing,
    what_was_never_applied_is_let_go_and_an_outage_is_waited_for,
    the_policy_may_be_switched_both_ways_and_retain_has_no_finalizer,
    a_foreign_finalizer_is_left_where_it_is,
}

pub(crate) fn resetting(world: &World, name: &str) -> Settings {
    world.fixture.settings(name).with("deletionPolicy", json!("Reset"))
}

impl World {
    pub(crate) async fn until_gone(&self, name: &str) {
        self.fixture.until_gone(name).await.unwrap();
    }
}

async fn deleting_turns_the_entries_off_proves_it_and_then_lets_the_object_go(behaviour: Behaviour) {
    let world = World::under(behaviour).await;
    world.remote.set("foreign.example.com", true, false);
    world.remote.set_china_network(true);
    let manifest = resetting(&world, "one").hostname("a.example.com", true).hostname_with("b.example.com", false, true);
    world.fixture.apply(&manifest.build()).await.unwrap();
    let object = world.until_ready("one").await;
    assert_eq!(object["metadata"]["finalizers"], json!(["cloudflare-mtls.dev/reset"]));
    let mark = world.cloudflare.ledger().mark();
    world.fixture.delete("one").await.unwrap();
    world.until_gone("one").await;
    let ledger = world.ledger().since(mark);
    let puts = ledger.puts(&world.scope());
    assert_eq!(puts.len(), 1, "all entries are turned off by one write");
    let mut sent = puts[0].settings();
    // Under replace the body carries the whole list, the foreign entry too.
    sent.retain(|entry| !behaviour.replaces() || entry.0 != "foreign.example.com");
    assert_eq!(sent, ["a.example.com", "b.example.com"].map(|name| (name.to_owned(), false, false)));
    assert_eq!(world.methods().last().unwrap(), "GET", "and that was proved");
    assert_eq!(world.remote.entries().len(), 1, "the foreign entry stays:\n{}", world.ledger());
}

async fn an_entry_that_leaves_the_list_is_turned_off_and_then_forgotten(behaviour: Behaviour) {
    let world = World::under(behaviour).await;
    let manifest = resetting(&world, "edit").hostname("kept.example.com", true);
    world.fixture.apply(&manifest.clone().hostname("gone.example.com", true).build()).await.unwrap();
    world.until_ready("edit").await;
    world.fixture.apply(&manifest.build()).await.unwrap();
    let object = world.until_ready("edit").await;
    assert_eq!(world.remote.get("gone.example.com"), None);
    assert_eq!(object["status"]["hostnames"].as_array().unwrap().len(), 1);
    // Who turns it on again is somebody else.
    world.remote.set("gone.example.com", true, false);
    world.look("edit").await;
    assert_eq!(world.remote.get("gone.example.com"), Some((true, false)));
}

async fn a_reset_survives_a_crash_in_the_middle_of_it(behaviour: Behaviour) {
    let mut world = World::under(behaviour).await;
    world.fixture.apply(&resetting(&world, "crash").hostname("crash.example.com", true).build()).await.unwrap();
    world.until_ready("crash").await;
    let held = world.cloudflare.inject(Fault::from(Effect::Hold).on("PUT"));
    world.fixture.delete("crash").await.unwrap();
    held.until_met(1, PATIENCE).await.unwrap();
    world.stop().await;
    held.clear();
    assert_eq!(world.remote.get("crash.example.com"), Some((true, false)));
    world.restart().await;
    world.until_gone("crash").await;
    assert_eq!(world.remote.get("crash.example.com"), None);
}

async fn an_object_that_is_deleted_while_its_first_write_is_under_way_leaves_nothing_behind(behaviour: Behaviour) {
    let world = World::under(behaviour).await;
    let held = world.cloudflare.inject(Fault::from(Effect::Hold).on("PUT"));
    world.fixture.apply(&resetting(&world, "early").hostname("early.example.com", true).build()).await.unwrap();
    held.until_met(1, PATIENCE).await.unwrap();
    world.fixture.delete("early").await.unwrap();
    world.until_deleting("early").await;
    held.release();
    world.until_gone("early").await;
    assert_eq!(world.remote.get("early.example.com"), None);
}

async fn a_hostname_that_another_object_waits_for_is_handed_over_and_not_turned_off(behaviour: Behaviour) {
    let world = World::under(behaviour).await;
    world.fixture.apply(&resetting(&world, "holder").hostname("shared.example.com", true).build()).await.unwrap();
    world.until_ready("holder").await;
    world.apply("waiter", &[("shared.example.com", true)]).await;
    world.until_reason("waiter", "HostnameConflict").await;
    let mark = world.cloudflare.ledger().mark();
    world.fixture.delete("holder").await.unwrap();
    world.until_gone("holder").await;
    world.until_ready("waiter").await;
    assert_eq!(world.remote.get("shared.example.com"), Some((true, false)));
    assert!(world.ledger().since(mark).puts(&world.scope()).is_empty(), "no reset in between");
}

async fn blocked(world: &World, name: &str) -> Value {
    world.fixture.until_condition(name, "Ready", "False", "ResetBlocked").await.unwrap()
}

async fn a_refused_credential_blocks_the_reset_and_says_the_way_out(behaviour: Behaviour) {
    let world = World::under(behaviour).await;
    world.fixture.apply(&resetting(&world, "stuck").hostname("stuck.example.com", true).build()).await.unwrap();
    world.until_ready("stuck").await;
    world.token.revoke();
    world.fixture.delete("stuck").await.unwrap();
    let object = blocked(&world, "stuck").await;
    assert!(condition(&object, "Stalled").is_some());
    let message = condition(&object, "Ready").unwrap()["message"].as_str().unwrap().to_owned();
    assert!(message.contains("kubectl patch mhs stuck") && message.contains("Retain"), "{message}");
    world.fixture.patch("stuck", &json!({"spec": {"deletionPolicy": "Retain"}})).await.unwrap();
    world.until_gone("stuck").await;
    assert_eq!(world.remote.get("stuck.example.com"), Some((true, false)), "it stays as it was");
}

async fn an_object_that_waits_to_go_lets_go_no_more_after_a_restart(behaviour: Behaviour) {
    let mut world = World::under(behaviour).await;
    world.apply("holder", &[("shared.example.com", true)]).await;
    world.until_ready("holder").await;
    let rival = resetting(&world, "rival").hostname("own.example.com", true).hostname("shared.example.com", true);
    world.fixture.apply(&rival.build()).await.unwrap();
    world.until_reason("rival", "HostnameConflict").await;
    let both = ["own.example.com", "shared.example.com"];
    let are_on = || both.iter().all(|hostname| world.remote.get(hostname) == Some((true, false)));
    world.cloudflare.until("both are on", PATIENCE, are_on).await.unwrap();
    world.token.revoke();
    world.fixture.delete("rival").await.unwrap();
    world.until_reason("rival", "ResetBlocked").await;
    // All that another process has is the status of an object that lists nothing any more.
    world.stop().await;
    world.fixture.delete("holder").await.unwrap();
    world.token.restore();
    world.restart().await;
    world.until_gone("rival").await;
    assert_eq!(both.map(|hostname| world.remote.get(hostname)), [None, Some((true, false))], "{}", world.ledger());
}

async fn a_zone_or_a_secret_that_is_gone_holds_up_nothing(behaviour: Behaviour) {
    let world = World::under(behaviour).await;
    world.fixture.apply(&resetting(&world, "zone").hostname("zone.example.com", true).build()).await.unwrap();
    world.until_ready("zone").await;
    world.cloudflare.inject(Fault::code(7003).for_ever());
    world.fixture.delete("zone").await.unwrap();
    world.until_gone("zone").await;
    world.cloudflare.clear_faults();

    world.fixture.apply(&resetting(&world, "secret").hostname("zone.example.com", true).build()).await.unwrap();
    world.until_ready("secret").await;
    world.fixture.secrets().delete("cloudflare", &kube::api::DeleteParams::default()).await.unwrap();
    world.fixture.delete("secret").await.unwrap();
    world.until_gone("secret").await;
}

async fn what_was_never_applied_is_let_go_and_an_outage_is_waited_for(behaviour: Behaviour) {
    let world = World::under(behaviour).await;
    world.cloudflare.inject(Fault::code(12036).on("PUT").for_ever());
    world.fixture.apply(&resetting(&world, "never").hostname("never.example.com", true).build()).await.unwrap();
    world.until_reason("never", "HostnameNotInScope").await;
    world.fixture.delete("never").await.unwrap();
    world.until_gone("never").await;
    world.cloudflare.clear_faults();

    world.fixture.apply(&resetting(&world, "down").hostname("down.example.com", true).build()).await.unwrap();
    world.until_ready("down").await;
    world.cloudflare.inject(Fault::from(Effect::Html520).for_ever());
    world.fixture.delete("down").await.unwrap();
    world.fixture.until_condition("down", "Ready", "False", "Resetting").await.unwrap();
    world.cloudflare.clear_faults();
    world.until_gone("down").await;
    assert_eq!(world.remote.get("down.example.com"), None);
}

async fn the_policy_may_be_switched_both_ways_and_retain_has_no_finalizer(behaviour: Behaviour) {
    let world = World::under(behaviour).await;
    world.apply("switch", &[("switch.example.com", true)]).await;
    let object = world.until_ready("switch").await;
    assert!(object["metadata"].get("finalizers").is_none());
    let policy = |policy: &str| json!({"spec": {"deletionPolicy": policy}});
    let finalizers = |object: &Value| object["metadata"]["finalizers"].as_array().map_or(0, Vec::len);
    world.fixture.patch("switch", &policy("Reset")).await.unwrap();
    world.fixture.until("switch", "finalizer set", |object| finalizers(object) == 1).await.unwrap();
    world.fixture.patch("switch", &policy("Retain")).await.unwrap();
    world.fixture.until("switch", "finalizer removed", |object| finalizers(object) == 0).await.unwrap();
    world.until_ready("switch").await;
    world.fixture.patch("switch", &policy("Reset")).await.unwrap();
    world.fixture.until("switch", "finalizer set", |object| finalizers(object) == 1).await.unwrap();
    world.until_ready("switch").await;
    // Deletion is honoured even while the object is suspended.
    world.fixture.patch("switch", &json!({"spec": {"suspend": true}})).await.unwrap();
    world.until_reason("switch", "Suspended").await;
    world.fixture.delete("switch").await.unwrap();
    world.until_gone("switch").await;
    assert_eq!(world.remote.get("switch.example.com"), None);
}

async fn a_foreign_finalizer_is_left_where_it_is(behaviour: Behaviour) {
    let world = World::under(behaviour).await;
    world.fixture.apply(&resetting(&world, "held").hostname("held.example.com", true).build()).await.unwrap();
    world.until_ready("held").await;
    let both = json!({"metadata": {"finalizers": ["example.org/hold", "cloudflare-mtls.dev/reset"]}});
    world.fixture.patch("held", &both).await.unwrap();
    world.fixture.delete("held").await.unwrap();
    let only_theirs = |object: &Value| object["metadata"]["finalizers"] == json!(["example.org/hold"]);
    world.fixture.until("held", "ours is gone", only_theirs).await.unwrap();
    assert_eq!(world.remote.get("held.example.com"), None);
    world.fixture.patch("held", &json!({"metadata": {"finalizers": null}})).await.unwrap();
    world.until_gone("held").await;
}
