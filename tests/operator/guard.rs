//! Entries that no object lists survive, whichever way the API behaves.

use harness::{
    cloudflare::{Effect, Fault},
    fixture::{PATIENCE, condition},
};

use crate::{
    behaviour::{Behaviour, scenarios},
    world::World,
};

scenarios! { under_every_behaviour:
    it_is_put_back_also_when_writes_take_their_time_and_answers_are_lost,
    one_bad_hostname_does_not_cost_foreign_entries,
    entries_of_other_zones_that_a_zone_shows_are_never_named,
    a_listed_hostname_of_a_neighbour_zone_costs_no_foreign_entry,
}

scenarios! { under_replace:
    what_a_replacing_write_removed_is_put_back_at_once_and_never_removed_again,
    a_restart_does_not_forget_that_writes_replace_the_list,
}

scenarios! { under_merge:
    a_foreign_removal_beside_a_merging_write_is_left_alone,
}

pub(crate) const FOREIGN: [&str; 2] = ["foreign-1.example.com", "foreign-2.example.com"];

pub(crate) async fn with_foreign_entries(behaviour: Behaviour) -> World {
    let world = World::under(behaviour).await;
    for hostname in FOREIGN {
        world.remote.set(hostname, true, false);
    }
    world
}

impl World {
    pub(crate) fn assert_foreign_entries_are_there(&self) {
        for hostname in FOREIGN {
            assert_eq!(self.remote.get(hostname), Some((true, false)), "{hostname}\n{}", self.ledger());
        }
    }
}

async fn what_a_replacing_write_removed_is_put_back_at_once_and_never_removed_again(behaviour: Behaviour) {
    let world = with_foreign_entries(behaviour).await;
    let mending = world.cloudflare.inject(Fault::from(Effect::Hold).on("PUT").after_passing(1));
    world.apply("first", &[("first.example.com", true)]).await;
    world.until_reason("first", "UnexpectedRemoteChange").await;
    mending.release();
    world.cloudflare.until("put back", PATIENCE, || world.remote.get(FOREIGN[0]).is_some()).await.unwrap();
    world.until_ready("first").await;
    world.assert_foreign_entries_are_there();
    assert_eq!(world.steps()[..5], ["GET", "PUT", "GET", "PUT", "GET"]);

    // From now on each body carries the whole list.
    let mark = world.cloudflare.ledger().mark();
    world.apply("second", &[("second.example.com", true)]).await;
    world.until_ready("second").await;
    world.apply("first", &[("first.example.com", false)]).await;
    world.until_ready("first").await;
    world.assert_foreign_entries_are_there();
    assert_eq!(world.remote.get("second.example.com"), Some((true, false)));
    let ledger = world.ledger().since(mark);
    for put in ledger.puts(&world.scope()) {
        let named: Vec<String> = put.settings().into_iter().map(|entry| entry.0).collect();
        assert!(FOREIGN.iter().all(|foreign| named.iter().any(|name| name == foreign)), "{put}");
    }
}

async fn a_restart_does_not_forget_that_writes_replace_the_list(behaviour: Behaviour) {
    let mut world = with_foreign_entries(behaviour).await;
    world.apply("first", &[("first.example.com", true)]).await;
    let object = world.until_ready("first").await;
    let message = condition(&object, "WholeList").unwrap()["message"].as_str().unwrap();
    assert!(message.contains("every write carries all of it"), "{message}");
    world.restart().await;
    let mark = world.cloudflare.ledger().mark();
    // Neither does another object, nor a generation that is only looked at.
    world.apply("second", &[("second.example.com", true)]).await;
    world.until_ready("second").await;
    world.apply("first", &[("first.example.com", false)]).await;
    let object = world.until_ready("first").await;
    assert!(condition(&object, "WholeList").is_some());
    world.assert_foreign_entries_are_there();
    for put in world.ledger().since(mark).puts(&world.scope()) {
        assert!(FOREIGN.iter().all(|foreign| put.body.contains(foreign)), "{put}");
    }
}

async fn it_is_put_back_also_when_writes_take_their_time_and_answers_are_lost(behaviour: Behaviour) {
    let world = with_foreign_entries(behaviour).await;
    world.cloudflare.switch(|switches| switches.apply_delay_ms = 1500);
    world.cloudflare.inject(Fault::from(Effect::Reset).on("PUT").once_applied());
    world.apply("slow", &[("slow.example.com", true)]).await;
    world.until_ready("slow").await;
    world.assert_foreign_entries_are_there();
}

async fn one_bad_hostname_does_not_cost_foreign_entries(behaviour: Behaviour) {
    let world = with_foreign_entries(behaviour).await;
    let wanted =
        [("a.example.com", true), ("b.example.com", true), ("bad.elsewhere.org", true), ("c.example.com", true)];
    world.apply("mixed", &wanted).await;
    world.fixture.until("mixed", "three in sync", |object| object["status"]["summary"] == "3/4").await.unwrap();
    world.until_reason("mixed", "HostnameNotInScope").await;
    world.assert_foreign_entries_are_there();
}

async fn a_foreign_removal_beside_a_merging_write_is_left_alone(behaviour: Behaviour) {
    let world = with_foreign_entries(behaviour).await;
    let held = world.cloudflare.inject(Fault::from(Effect::Hold).on("PUT"));
    world.apply("merge", &[("merge.example.com", true)]).await;
    held.until_met(1, PATIENCE).await.unwrap();
    world.remote.remove(FOREIGN[0]);
    held.release();
    world.until_ready("merge").await;
    assert_eq!(world.remote.get(FOREIGN[0]), None, "it was removed by its owner");
    assert_eq!(world.remote.get(FOREIGN[1]), Some((true, false)));
    assert_eq!(world.steps(), ["GET", "PUT", "GET"]);
}

async fn entries_of_other_zones_that_a_zone_shows_are_never_named(behaviour: Behaviour) {
    let mut world = World::under(behaviour).await;
    world.cloudflare.switch(|switches| switches.foreign_visible = true);
    let account = harness::fixture::random_id();
    world.cloudflare.add_account(&account);
    world.remote = world.remote.clone().in_account(&account);
    let neighbour = world.cloudflare.add_zone(&harness::fixture::random_id(), "example.org").in_account(&account);
    neighbour.set("www.example.org", true, true);
    for hostname in FOREIGN {
        world.remote.set(hostname, true, false);
    }
    world.apply("zone", &[("zone.example.com", true)]).await;
    world.until_ready("zone").await;
    world.assert_foreign_entries_are_there();
    assert_eq!(neighbour.get("www.example.org"), Some((true, true)));
    for put in world.ledger().puts(&world.scope()) {
        assert!(!put.body.contains("example.org"), "{put}");
        assert_eq!(put.status, Some(202), "{put}");
    }
}

async fn a_listed_hostname_of_a_neighbour_zone_costs_no_foreign_entry(behaviour: Behaviour) {
    let mut world = World::under(behaviour).await;
    world.cloudflare.switch(|switches| switches.foreign_visible = true);
    let account = harness::fixture::random_id();
    world.cloudflare.add_account(&account);
    world.remote = world.remote.clone().in_account(&account);
    let neighbour = world.cloudflare.add_zone(&harness::fixture::random_id(), "example.org").in_account(&account);
    neighbour.set("www.example.org", true, false);
    for hostname in FOREIGN {
        world.remote.set(hostname, true, false);
    }
    // Listed by mistake. That it is refused must not make the neighbour's entries count as some of this zone.
    world.apply("mixed", &[("good.example.com", true), ("wrong.example.org", true)]).await;
    world.fixture.until("mixed", "one in sync", |object| object["status"]["summary"] == "1/2").await.unwrap();
    world.until_reason("mixed", "HostnameNotInScope").await;
    world.assert_foreign_entries_are_there();
    assert_eq!(neighbour.get("www.example.org"), Some((true, false)));
    world.apply("mixed", &[("good.example.com", false), ("wrong.example.org", true)]).await;
    world.fixture.until("mixed", "off", |_| world.remote.get("good.example.com").is_none()).await.unwrap();
    world.until_reason("mixed", "HostnameNotInScope").await;
    world.assert_foreign_entries_are_there();
}
