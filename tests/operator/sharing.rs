//! Many objects on one remote list: one writer, one batch, one owner for each hostname.

use std::collections::BTreeSet;

use harness::{
    cloudflare::{Effect, Fault, LockReach},
    control_plane::ControlPlane,
    fixture::{Fixture, PATIENCE, condition, random_id},
};
use serde_json::Value;

use crate::{
    behaviour::{Behaviour, scenarios},
    world::{TOKEN, World},
};

scenarios! { under_every_behaviour:
    a_crowd_of_objects_costs_three_requests,
    changes_that_come_while_a_write_is_under_way_form_one_next_batch,
    two_zones_of_an_account_share_its_lock_and_both_become_ready,
    the_first_holder_keeps_a_hostname_and_the_next_gets_it_when_it_lets_go,
    an_established_claim_survives_restarts_and_rivals_that_are_older_or_made_anew,
    objects_with_different_credentials_share_no_request_and_one_refusal_harms_nobody_else,
    nobody_keeps_a_hostname_from_others_with_a_credential_that_is_refused,
    one_bad_hostname_among_many_is_found_by_halving_and_holds_up_nobody,
    a_busy_scope_is_probed_by_one_and_not_by_each_credential,
    who_keeps_changing_a_hostname_back_is_reported_and_not_fought_for_ever,
    an_account_and_a_zone_object_that_contradict_each_other_are_told_so_and_stop,
}

async fn a_crowd_of_objects_costs_three_requests(behaviour: Behaviour) {
    // A write that takes its time costs looks until it shows; here the bare requests are counted.
    let mut world = World::under(behaviour.at_once()).await;
    world.stop().await;
    let names: Vec<String> = (0..60).map(|n| format!("crowd-{n}")).collect();
    for name in &names {
        world.apply(name, &[(&format!("{name}.example.com"), true)]).await;
    }
    world.restart().await;
    for name in &names {
        world.until_ready(name).await;
    }
    assert_eq!(world.methods(), ["GET", "PUT", "GET"]);
    assert_eq!(world.ledger().puts(&world.scope())[0].settings().len(), 60);
}

async fn changes_that_come_while_a_write_is_under_way_form_one_next_batch(behaviour: Behaviour) {
    let world = World::under(behaviour.at_once()).await;
    let held = world.cloudflare.inject(Fault::from(Effect::Hold).on("PUT"));
    world.apply("first", &[("first.example.com", true)]).await;
    held.until_met(1, PATIENCE).await.unwrap();
    let names: Vec<String> = (0..20).map(|n| format!("next-{n}")).collect();
    for name in &names {
        world.apply(name, &[(&format!("{name}.example.com"), true)]).await;
    }
    for name in &names {
        world.until_reason(name, "Pending").await;
    }
    held.release();
    for name in &names {
        world.until_ready(name).await;
    }
    let ledger = world.ledger();
    let sizes: Vec<usize> = ledger.accepted_puts(&world.scope()).iter().map(|put| put.settings().len()).collect();
    // Under replace the second write removes what the first one wrote, and the whole list is put back.
    assert_eq!(sizes, if behaviour.replaces() { vec![1, 20, 21] } else { vec![1, 20] });
}

async fn two_zones_of_an_account_share_its_lock_and_both_become_ready(behaviour: Behaviour) {
    let mut world = World::under(behaviour).await;
    let account = random_id();
    world.remote = world.remote.clone().in_account(&account);
    let id = random_id();
    let neighbour = world.cloudflare.add_zone(&id, "example.org").in_account(&account);
    world.token.may_write(neighbour.scope());
    let held = world.cloudflare.inject(Fault::from(Effect::Hold).on("PUT").times(2));
    world.apply("here", &[("www.example.com", true)]).await;
    let there = world.fixture.settings("there").zone(&id).hostname("www.example.org", true);
    world.fixture.apply(&there.build()).await.unwrap();
    held.until_met(2, PATIENCE).await.unwrap();
    held.release();
    world.until_ready("here").await;
    world.until_ready("there").await;

    let ledger = world.cloudflare.ledger();
    let scopes = [world.scope(), neighbour.scope().clone()];
    let refused = ledger.all().iter().filter(|exchange| exchange.status == Some(409)).count();
    let reached = usize::from(behaviour.lock == LockReach::Account);
    assert_eq!(
        refused, reached,
        "the later one is refused where the lock reaches it, and waits long enough:\n{ledger}"
    );
    for scope in &scopes {
        assert_eq!(ledger.accepted_puts(scope).len(), 1, "{ledger}");
    }
    assert_eq!(neighbour.get("www.example.org"), Some((true, false)));
    assert_eq!(world.remote.get("www.example.com"), Some((true, false)));
}

async fn the_first_holder_keeps_a_hostname_and_the_next_gets_it_when_it_lets_go(behaviour: Behaviour) {
    let world = World::under(behaviour).await;
    world.apply("holder", &[("shared.example.com", true)]).await;
    world.until_ready("holder").await;
    world.apply("waiter", &[("shared.example.com", false), ("own.example.com", true)]).await;
    let served = |object: &Value| {
        let ready = condition(object, "Ready");
        ready.is_some_and(|ready| ready["reason"] == "HostnameConflict") && object["status"]["summary"] == "1/2"
    };
    let object = world.fixture.until("waiter", "its other hostname is served", served).await.unwrap();
    assert!(condition(&object, "Conflicted").is_some() && condition(&object, "Stalled").is_some());
    let message = condition(&object, "Ready").unwrap()["message"].as_str().unwrap().to_owned();
    assert!(message.contains("shared.example.com belongs to holder"), "{message}");
    assert_eq!(world.remote.get("shared.example.com"), Some((true, false)));

    // Let go by an edit, and taken back by another.
    world.apply("holder", &[("else.example.com", true)]).await;
    world.until_ready("waiter").await;
    assert_eq!(world.remote.get("shared.example.com"), None);
    world.apply("holder", &[("shared.example.com", true)]).await;
    world.until_reason("holder", "HostnameConflict").await;
    // Let go by deletion.
    world.fixture.delete("waiter").await.unwrap();
    world.until_ready("holder").await;
    assert_eq!(world.remote.get("shared.example.com"), Some((true, false)));
}

async fn an_established_claim_survives_restarts_and_rivals_that_are_older_or_made_anew(behaviour: Behaviour) {
    let mut world = World::under(behaviour).await;
    // Older than the holder and first by name: among claims that were never applied it would win.
    world.apply("a-rival", &[("own.example.com", true)]).await;
    world.until_ready("a-rival").await;
    world.apply("holder", &[("shared.example.com", true)]).await;
    world.until_ready("holder").await;
    let wanted = [("own.example.com", true), ("shared.example.com", false)];
    world.apply("a-rival", &wanted).await;
    world.until_reason("a-rival", "HostnameConflict").await;
    world.restart().await;
    world.look("a-rival").await;
    world.until_reason("a-rival", "HostnameConflict").await;
    world.fixture.delete("a-rival").await.unwrap();
    for name in ["a-rival", "b-rival"] {
        world.apply(name, &wanted).await;
        world.until_reason(name, "HostnameConflict").await;
    }
    world.look("holder").await;
    world.until_ready("holder").await;
    assert_eq!(world.remote.get("shared.example.com"), Some((true, false)));
}

#[tokio::test]
async fn a_holder_in_another_namespace_is_not_named() {
    let other = Fixture::new(ControlPlane::shared().await.unwrap()).await.unwrap();
    let namespace = other.namespace().to_owned();
    let world = World::with(move |operator| operator.watch_namespace(&namespace)).await;
    other.apply(&other.secret("cloudflare", "token", TOKEN)).await.unwrap();
    let holder = other.settings("their-holder").zone(world.fixture.zone_id()).hostname("shared.example.com", true);
    other.apply(&holder.build()).await.unwrap();
    other.until_condition("their-holder", "Ready", "True", "InSync").await.unwrap();
    world.apply("waiter", &[("shared.example.com", false)]).await;
    let object = world.until_reason("waiter", "HostnameConflict").await;
    let said = object["status"].to_string();
    assert!(said.contains("shared.example.com belongs to an object in another namespace"), "{said}");
    assert!(!said.contains("their-holder") && !said.contains(other.namespace()), "{said}");
    other.delete("their-holder").await.unwrap();
    world.until_ready("waiter").await;
}

async fn objects_with_different_credentials_share_no_request_and_one_refusal_harms_nobody_else(behaviour: Behaviour) {
    let world = World::under(behaviour).await;
    let other = "cfut_2Jd7Xr5Bf9Tk1Wq4Pz8Hn3Vc6Ml0Gs";
    world.cloudflare.token(other).named("other").may_read(world.remote.scope());
    world.fixture.apply(&world.fixture.secret("other", "token", other)).await.unwrap();
    world.fixture.apply(&world.fixture.secret("same", "token", TOKEN)).await.unwrap();
    for (object, secret) in [("one", "cloudflare"), ("two", "same"), ("three", "other")] {
        let manifest = world.fixture.settings(object).credential(secret, "token");
        world.fixture.apply(&manifest.hostname(&format!("{object}.example.com"), true).build()).await.unwrap();
    }
    world.until_ready("one").await;
    world.until_ready("two").await;
    let refused =
        |object: &Value| condition(object, "Stalled").is_some_and(|stalled| stalled["reason"] != "HostnameConflict");
    world.fixture.until("three", "refused", refused).await.unwrap();
    let ledger = world.ledger();
    let puts = ledger.puts(&world.scope());
    let refused = puts.iter().filter(|put| put.status == Some(403)).count();
    assert!(refused > 0, "the credential that may only read was tried:\n{ledger}");
    let mut listed = BTreeSet::new();
    for put in &puts {
        // Under replace a body also carries what is listed already.
        let new: Vec<String> = put.settings().into_iter().map(|(hostname, ..)| hostname).collect();
        let new: Vec<String> = new.into_iter().filter(|hostname| !listed.contains(hostname)).collect();
        assert!(new.len() <= 1, "{new:?} in one write:\n{ledger}");
        assert_eq!(
            new.contains(&"three.example.com".to_owned()),
            put.credential.as_deref() == Some("other"),
            "{ledger}"
        );
        if put.status != Some(403) {
            listed.extend(new);
        }
    }
    world.until_ready("one").await;
    world.until_ready("two").await;
}

async fn nobody_keeps_a_hostname_from_others_with_a_credential_that_is_refused(behaviour: Behaviour) {
    let world = World::under(behaviour).await;
    world.fixture.apply(&world.fixture.secret("bad", "token", "cfut_4Lp8Dz1Gy6Kw3Xn9Sb2Fv7Mh5Qc")).await.unwrap();
    let squatter = world.fixture.settings("a-squatter").credential("bad", "token");
    world.fixture.apply(&squatter.hostname("mine.example.com", false).build()).await.unwrap();
    world.until_reason("a-squatter", "AuthenticationFailed").await;
    world.apply("owner", &[("mine.example.com", true)]).await;
    world.until_ready("owner").await;
}

async fn one_bad_hostname_among_many_is_found_by_halving_and_holds_up_nobody(behaviour: Behaviour) {
    let world = World::under(behaviour).await;
    let mut manifest = world.fixture.settings("many").hostname("bad.elsewhere.org", true);
    for n in 0..199 {
        manifest = manifest.hostname(&format!("h{n}.example.com"), true);
    }
    world.fixture.apply(&manifest.build()).await.unwrap();
    let object = world.until_reason("many", "HostnameNotInScope").await;
    let object = if object["status"]["summary"] == "199/200" {
        object
    } else {
        world.fixture.until("many", "199 in sync", |object| object["status"]["summary"] == "199/200").await.unwrap()
    };
    let message = condition(&object, "Ready").unwrap()["message"].as_str().unwrap().to_owned();
    assert!(message.starts_with("bad.elsewhere.org: "), "{message}");
    let puts = world.ledger().puts(&world.scope()).len();
    assert!(behaviour.replaces() || puts <= 2 * 8 + 2, "{puts} writes for 200 entries");
    let rejected: BTreeSet<_> = object["status"]["hostnames"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|hostname| hostname["state"] == "Rejected")
        .map(|hostname| hostname["hostname"].as_str().unwrap())
        .collect();
    assert_eq!(rejected, BTreeSet::from(["bad.elsewhere.org"]));
}

async fn a_busy_scope_is_probed_by_one_and_not_by_each_credential(behaviour: Behaviour) {
    let world = World::under(behaviour).await;
    world.fixture.apply(&world.fixture.secret("same", "token", TOKEN)).await.unwrap();
    world.remote.lock_for(std::time::Duration::from_secs(600));
    for (object, secret) in [("one", "cloudflare"), ("two", "same")] {
        let manifest = world.fixture.settings(object).credential(secret, "token");
        world.fixture.apply(&manifest.hostname(&format!("{object}.example.com"), true).build()).await.unwrap();
        world.until_reason(object, "RemoteBusy").await;
    }
    // The second object is tried at once when it comes; from then on one of them knocks for both.
    let mark = world.cloudflare.ledger().mark();
    let knocks = || {
        let since = world.ledger().since(mark);
        since.puts(&world.scope()).iter().map(|put| put.start_us).collect::<Vec<_>>()
    };
    world.cloudflare.until("two more knocks", PATIENCE, || knocks().len() >= 2).await.unwrap();
    world.remote.unlock();
    let knocks = knocks();
    // After three refusals the wait is 4 to 8 s, for each alone it would be half of that and twice as often.
    assert!(knocks[1] - knocks[0] >= 4_000_000, "{knocks:?}\n{}", world.ledger());
    world.look("one").await;
    world.until_ready("one").await;
    world.until_ready("two").await;
}

async fn who_keeps_changing_a_hostname_back_is_reported_and_not_fought_for_ever(behaviour: Behaviour) {
    let world = World::under(behaviour).await;
    // First, so that under replace no write of the operator itself removes the other one later.
    world.look_without_asking().await;
    world.until_ready("bystander").await;
    world.apply("fought", &[("fought.example.com", true)]).await;
    world.until_ready("fought").await;
    world.until_ready("bystander").await;
    let mark = world.cloudflare.ledger().mark();
    for repairs in 1..=3 {
        world.remote.set("fought.example.com", false, false);
        world.look_without_asking().await;
        let repaired = || world.remote.get("fought.example.com").is_some();
        world.cloudflare.until(&format!("repair {repairs}"), PATIENCE, repaired).await.unwrap();
        // Changed back as soon as the operator may have seen the repair.
        world.until_seen().await;
    }
    world.remote.set("fought.example.com", false, false);
    world.look_without_asking().await;
    let object = world.until_reason("fought", "ForeignWriter").await;
    assert!(condition(&object, "Stalled").is_some() && condition(&object, "Drifted").is_some());
    assert_eq!(world.remote.get("fought.example.com"), None, "it is left alone");
    let ledger = world.ledger().since(mark);
    assert_eq!(ledger.accepted_puts(&world.scope()).len(), 3, "{ledger}");
    world.ask_for_a_look("fought", "again").await;
    world.until_ready("fought").await;
}

/// That they write the same entry cannot be seen from the objects: which account a zone is in is not in them.
async fn an_account_and_a_zone_object_that_contradict_each_other_are_told_so_and_stop(behaviour: Behaviour) {
    // Each sees the other's write as what it is, and not as its own that is still to come.
    let mut world = World::under(behaviour.at_once()).await;
    let account = random_id();
    let in_account = world.cloudflare.add_account(&account);
    world.remote = world.remote.clone().in_account(&account);
    world.token.may_write(in_account.scope());
    let by_zone = |name: &str| world.fixture.settings(name);
    let by_account = |name: &str| world.fixture.settings(name).account(&account);
    // One after the other: under replace, what one of them writes between a read and a write of the other would be gone, which
    // looks like a write that is slow to show.
    for (name, manifest) in [
        ("zone-bystander", by_zone("zone-bystander").hostname("zone-bystander.example.com", true)),
        ("account-bystander", by_account("account-bystander").hostname("account-bystander.example.com", true)),
        ("by-zone", by_zone("by-zone").hostname("shared.example.com", true)),
    ] {
        world.fixture.apply(&manifest.build()).await.unwrap();
        world.until_ready(name).await;
    }
    world.fixture.apply(&by_account("by-account").hostname("shared.example.com", false).build()).await.unwrap();
    world.until_ready("by-account").await;
    let mark = world.cloudflare.ledger().mark();
    let loser = loop {
        world.look("zone-bystander").await;
        world.look("account-bystander").await;
        let mut stalled = None;
        for name in ["by-zone", "by-account"] {
            let object = world.fixture.get(name).await.unwrap().unwrap();
            if condition(&object, "Ready").unwrap()["reason"] == "ForeignWriter" {
                stalled = Some(object);
            }
        }
        if let Some(object) = stalled {
            break object;
        }
        let ledger = world.cloudflare.ledger().since(mark);
        let writes = ledger.accepted_puts(&world.scope()).len() + ledger.accepted_puts(in_account.scope()).len();
        assert!(writes <= 12, "they still fight after {writes} writes");
    };
    let message = condition(&loser, "Stalled").unwrap()["message"].as_str().unwrap();
    assert!(message.contains("shared.example.com") && message.contains("an object for its account"), "{message}");
    // Nobody writes any more, however often they look.
    world.look("account-bystander").await;
    world.look("zone-bystander").await;
    let mark = world.cloudflare.ledger().mark();
    for _ in 0..3 {
        world.look("zone-bystander").await;
        world.look("account-bystander").await;
    }
    let ledger = world.cloudflare.ledger().since(mark);
    let writes = ledger.all().iter().filter(|exchange| exchange.method == "PUT").count();
    assert_eq!(writes, 0, "{ledger}");
}
