//! Where two things meet that seldom do: a write that is not visible yet and somebody else's look at it, a deletion or an
//! end of the program at the wrong moment, a change that comes just before what it would have prevented.

use std::time::Duration;

use harness::{
    cloudflare::{Effect, Fault},
    fixture::{PATIENCE, condition, eventually, random_id},
};
use serde_json::{Value, json};

use crate::{
    behaviour::{Behaviour, scenarios},
    guard::{FOREIGN, with_foreign_entries},
    reset::resetting,
    world::World,
};

scenarios! { under_every_behaviour:
    what_an_object_that_goes_did_not_hold_stays_when_its_holder_goes_too,
    an_object_that_was_always_suspended_resets_nothing,
    a_flag_edit_that_a_restart_interrupts_does_not_cost_the_claim,
    a_hostname_that_was_let_go_is_turned_off_though_the_first_look_after_a_restart_fails,
    a_living_object_says_which_answer_blocks_the_reset_of_what_it_let_go,
    a_change_of_mind_before_the_reset_is_sent_prevents_it,
    a_rival_whose_credential_is_refused_does_not_prevent_a_reset,
    a_look_answers_only_who_asked_before_it_began,
    a_write_that_is_under_way_through_another_credential_is_waited_for,
    more_refusals_in_a_row_than_a_round_takes_hold_up_no_good_neighbour,
}

scenarios! { under_replace:
    a_look_by_another_credential_does_not_hide_what_a_slow_write_removes,
    a_look_by_another_credential_shows_what_a_slow_write_has_removed,
    who_deletes_the_only_object_during_its_first_write_leaves_the_foreign_entries_whole,
    a_reset_that_is_the_first_write_ever_spares_the_foreign_entries,
    the_program_mends_what_its_write_removed_before_it_ends,
    the_program_waits_for_the_effect_of_a_slow_write_before_it_ends,
}

impl World {
    /// A second credential for the zone, with its Secret.
    async fn second_credential(&self) -> &'static str {
        let (secret, token) = ("other", "cfut_5Ty8Gh3Jk6Lz1Xc4Vb7Nm0Qw9Er2Ui");
        self.cloudflare.token(token).named(secret).may_write(self.remote.scope());
        self.fixture.apply(&self.fixture.secret(secret, "token", token)).await.unwrap();
        secret
    }

    /// The operator has seen everything that was changed so far: an object that was made later has been answered, without
    /// a request to Cloudflare.
    async fn until_caught_up(&self) {
        let name = format!("mark-{}", random_id());
        let mark = self.fixture.settings(&name).with("suspend", json!(true));
        self.fixture.apply(&mark.hostname(&format!("{name}.example.com"), true).build()).await.unwrap();
        self.until_reason(&name, "Suspended").await;
    }

    async fn until_accepted(&self, writes: usize) {
        let accepted = || self.ledger().accepted_puts(&self.scope()).len() >= writes;
        self.cloudflare.until(&format!("{writes} writes"), PATIENCE, accepted).await.unwrap();
    }

    /// A write has removed the foreign entries, and the next one has put them back.
    async fn until_mended(&self) {
        self.until_accepted(2).await;
        let there = || FOREIGN.iter().all(|hostname| self.remote.get(hostname).is_some());
        self.cloudflare.until("the foreign entries again", PATIENCE, there).await.unwrap();
        let ledger = self.ledger();
        let first = ledger.accepted_puts(&self.scope())[0].settings();
        assert!(first.iter().all(|entry| !FOREIGN.contains(&entry.0.as_str())), "nothing was removed:\n{ledger}");
    }

    async fn until_draining(&self) {
        let draining = || async {
            let (status, body) = self.operator.get("/readyz").await.map_err(|error| error.to_string())?;
            if status == 503 && body.contains("draining") { Ok(()) } else { Err(format!("{status} {body}")) }
        };
        eventually(PATIENCE, "draining", draining).await.unwrap();
    }
}

/// Long enough for a lot to happen before a write has its effect.
const SLOW: Duration = Duration::from_secs(8);

/// Writes are slow, and another credential serves an object that is ready.
async fn served_by_two(behaviour: Behaviour) -> World {
    let world = with_foreign_entries(Behaviour { delay: SLOW, ..behaviour }).await;
    let other = world.second_credential().await;
    world.remote.set("second.example.com", true, false);
    let second = world.fixture.settings("second").credential(other, "token").hostname("second.example.com", true);
    world.fixture.apply(&second.build()).await.unwrap();
    world.until_ready("second").await;
    world
}

async fn a_look_by_another_credential_does_not_hide_what_a_slow_write_removes(behaviour: Behaviour) {
    let world = served_by_two(behaviour).await;
    world.apply("first", &[("first.example.com", true)]).await;
    world.until_accepted(1).await;
    let mark = world.cloudflare.ledger().mark();
    world.ask_for_a_look("second", "now").await;
    let looked = || world.ledger().since(mark).by("other").gets(&world.scope()).iter().any(|get| get.end_us.is_some());
    world.cloudflare.until("a look", PATIENCE, looked).await.unwrap();
    assert!(world.remote.get(FOREIGN[0]).is_some(), "the look was to come before the effect:\n{}", world.ledger());
    world.until_mended().await;
    world.until_ready("first").await;
    world.until_ready("second").await;
    world.assert_foreign_entries_are_there();
    assert_eq!(world.remote.get("first.example.com"), Some((true, false)));
    assert_eq!(world.remote.get("second.example.com"), Some((true, false)));
}

async fn a_look_by_another_credential_shows_what_a_slow_write_has_removed(behaviour: Behaviour) {
    let world = served_by_two(behaviour).await;
    world.apply("first", &[("first.example.com", true)]).await;
    let is_there = || world.remote.get("first.example.com").is_some();
    world.cloudflare.until("the effect", PATIENCE, is_there).await.unwrap();
    // Before whoever wrote looks again.
    world.ask_for_a_look("second", "now").await;
    world.until_accepted(2).await;
    let ledger = world.ledger();
    let mending = ledger.accepted_puts(&world.scope())[1].settings();
    let named: Vec<&str> = mending.iter().map(|entry| entry.0.as_str()).collect();
    for hostname in FOREIGN.iter().chain(&["first.example.com", "second.example.com"]) {
        assert!(named.contains(hostname), "{hostname}:\n{ledger}");
    }
    world.until_ready("first").await;
    world.until_ready("second").await;
    world.assert_foreign_entries_are_there();
}

async fn who_deletes_the_only_object_during_its_first_write_leaves_the_foreign_entries_whole(behaviour: Behaviour) {
    // Before the write is answered.
    let world = with_foreign_entries(behaviour).await;
    let held = world.cloudflare.inject(Fault::from(Effect::Hold).on("PUT"));
    world.apply("only", &[("only.example.com", true)]).await;
    held.until_met(1, PATIENCE).await.unwrap();
    world.fixture.delete("only").await.unwrap();
    world.until_gone("only").await;
    world.until_caught_up().await;
    held.release();
    world.until_mended().await;

    // Before it has its effect.
    let world = with_foreign_entries(Behaviour { delay: SLOW, ..behaviour }).await;
    world.apply("only", &[("only.example.com", true)]).await;
    world.until_accepted(1).await;
    world.fixture.delete("only").await.unwrap();
    world.until_gone("only").await;
    world.until_mended().await;
}

async fn a_reset_that_is_the_first_write_ever_spares_the_foreign_entries(behaviour: Behaviour) {
    let world = with_foreign_entries(behaviour).await;
    world.remote.set("only.example.com", true, false);
    world.fixture.apply(&resetting(&world, "only").hostname("only.example.com", true).build()).await.unwrap();
    world.until_ready("only").await;
    assert!(world.ledger().puts(&world.scope()).is_empty(), "all was as wanted");
    world.fixture.delete("only").await.unwrap();
    world.until_gone("only").await;
    world.until_mended().await;
    world.assert_foreign_entries_are_there();
    assert_eq!(world.remote.get("only.example.com"), None, "{}", world.ledger());
}

async fn the_program_mends_what_its_write_removed_before_it_ends(behaviour: Behaviour) {
    // The look that is to show the damage, and the write that is to mend it.
    for held in
        [Fault::from(Effect::Hold).on("GET").after_passing(1), Fault::from(Effect::Hold).on("PUT").after_passing(1)]
    {
        let mut world = with_foreign_entries(behaviour.at_once()).await;
        let held = world.cloudflare.inject(held);
        world.apply("last", &[("last.example.com", true)]).await;
        held.until_met(1, PATIENCE).await.unwrap();
        assert_eq!(world.remote.get(FOREIGN[0]), None, "the damage is done:\n{}", world.ledger());
        world.operator.signal("TERM").unwrap();
        world.until_draining().await;
        held.release();
        let status = world.operator.wait_exit(PATIENCE).await.unwrap();
        assert_eq!(status, 0, "{}", world.operator.logs().unwrap());
        world.assert_foreign_entries_are_there();
        assert_eq!(world.remote.get("last.example.com"), Some((true, false)));
    }
}

async fn the_program_waits_for_the_effect_of_a_slow_write_before_it_ends(behaviour: Behaviour) {
    let mut world = with_foreign_entries(Behaviour { delay: SLOW, ..behaviour }).await;
    world.apply("last", &[("last.example.com", true)]).await;
    world.until_accepted(1).await;
    world.operator.signal("TERM").unwrap();
    world.until_draining().await;
    // What comes later is for the next process.
    world.apply("late", &[("late.example.com", true)]).await;
    assert!(world.remote.get(FOREIGN[0]).is_some(), "the end was to begin before the effect:\n{}", world.ledger());
    let status = world.operator.wait_exit(PATIENCE).await.unwrap();
    assert_eq!(status, 0, "{}", world.operator.logs().unwrap());
    let settled = || world.remote.is_settled();
    world.cloudflare.until("all is applied", PATIENCE, settled).await.unwrap();
    world.assert_foreign_entries_are_there();
    assert_eq!(world.remote.get("last.example.com"), Some((true, false)));
    assert_eq!(world.remote.get("late.example.com"), None, "{}", world.ledger());
}

async fn what_an_object_that_goes_did_not_hold_stays_when_its_holder_goes_too(behaviour: Behaviour) {
    let mut world = World::under(behaviour).await;
    world.apply("holder", &[("shared.example.com", true)]).await;
    world.until_ready("holder").await;
    world.fixture.apply(&resetting(&world, "rival").hostname("shared.example.com", true).build()).await.unwrap();
    world.until_reason("rival", "HostnameConflict").await;
    // Both at once, as nobody sees one of them go before the other.
    world.stop().await;
    let mark = world.cloudflare.ledger().mark();
    world.fixture.delete("holder").await.unwrap();
    world.fixture.delete("rival").await.unwrap();
    world.restart().await;
    world.until_gone("holder").await;
    world.until_gone("rival").await;
    assert_eq!(world.remote.get("shared.example.com"), Some((true, false)));
    assert!(world.ledger().since(mark).puts(&world.scope()).is_empty(), "{}", world.ledger());
}

async fn an_object_that_was_always_suspended_resets_nothing(behaviour: Behaviour) {
    let mut world = World::under(behaviour).await;
    world.remote.set("theirs.example.com", true, false);
    for is_restarted in [false, true] {
        let manifest = resetting(&world, "asleep").hostname("theirs.example.com", true).with("suspend", json!(true));
        world.fixture.apply(&manifest.build()).await.unwrap();
        world.until_reason("asleep", "Suspended").await;
        if is_restarted {
            world.stop().await;
        }
        world.fixture.delete("asleep").await.unwrap();
        if is_restarted {
            world.restart().await;
        }
        world.until_gone("asleep").await;
        assert_eq!(world.remote.get("theirs.example.com"), Some((true, false)));
        assert!(world.ledger().puts(&world.scope()).is_empty(), "{}", world.ledger());
    }
}

async fn a_flag_edit_that_a_restart_interrupts_does_not_cost_the_claim(behaviour: Behaviour) {
    let mut world = World::under(behaviour).await;
    world.remote.set_china_network(true);
    // Older than the holder and first by name: among claims that were never applied it would win.
    world.apply("a-rival", &[("own.example.com", true)]).await;
    world.until_ready("a-rival").await;
    world.apply("holder", &[("shared.example.com", true)]).await;
    world.until_ready("holder").await;
    world.apply("a-rival", &[("own.example.com", true), ("shared.example.com", false)]).await;
    world.until_reason("a-rival", "HostnameConflict").await;
    world.remote.lock_for(Duration::from_secs(600));
    let edited = world.fixture.settings("holder").hostname_with("shared.example.com", true, true);
    world.fixture.apply(&edited.build()).await.unwrap();
    world.until_reason("holder", "RemoteBusy").await;
    world.restart().await;
    world.until_reason("holder", "RemoteBusy").await;
    world.remote.unlock();
    world.look("holder").await;
    world.until_ready("holder").await;
    world.look("a-rival").await;
    world.until_reason("a-rival", "HostnameConflict").await;
    assert_eq!(world.remote.get("shared.example.com"), Some((true, true)));
    let by_rival = [("shared.example.com".to_owned(), false, false)];
    for put in world.ledger().puts(&world.scope()) {
        assert!(!put.settings().contains(&by_rival[0]), "{put}");
    }
}

async fn a_hostname_that_was_let_go_is_turned_off_though_the_first_look_after_a_restart_fails(behaviour: Behaviour) {
    let mut world = World::under(behaviour).await;
    let manifest = resetting(&world, "edit").hostname("kept.example.com", true);
    world.fixture.apply(&manifest.clone().hostname("gone.example.com", true).build()).await.unwrap();
    world.until_ready("edit").await;
    world.stop().await;
    world.fixture.apply(&manifest.build()).await.unwrap();
    let failing = world.cloudflare.inject(Fault::from(Effect::Html520).on("GET").for_ever());
    world.restart().await;
    let said = world.until_reason("edit", "CloudflareUnavailable").await;
    assert!(said["status"]["hostnames"].to_string().contains("gone.example.com"), "{said:#}");
    // What its status says is all that another process has.
    world.restart().await;
    failing.clear();
    world.look("edit").await;
    world.until_ready("edit").await;
    assert_eq!(world.remote.get("gone.example.com"), None);
    assert_eq!(world.remote.get("kept.example.com"), Some((true, false)));
}

async fn a_living_object_says_which_answer_blocks_the_reset_of_what_it_let_go(behaviour: Behaviour) {
    let world = World::under(behaviour).await;
    let manifest = resetting(&world, "edit").hostname("kept.example.com", true);
    world.fixture.apply(&manifest.clone().hostname("gone.example.com", true).build()).await.unwrap();
    world.until_ready("edit").await;
    world.cloudflare.inject(Fault::code(12036).on("PUT").for_ever());
    world.fixture.apply(&manifest.build()).await.unwrap();
    let object = world.until_reason("edit", "ResetBlocked").await;
    assert!(condition(&object, "Stalled").is_some(), "{object:#}");
    let message = condition(&object, "Ready").unwrap()["message"].as_str().unwrap();
    assert!(message.starts_with("gone.example.com, which is not listed any more, is not turned off"), "{message}");
    assert_eq!(object["status"]["lastResponse"]["method"], "PUT", "{object:#}");
    assert_eq!(object["status"]["lastResponse"]["errors"][0]["code"], 12036, "{object:#}");
    assert_eq!(world.remote.get("gone.example.com"), Some((true, false)));
}

async fn a_change_of_mind_before_the_reset_is_sent_prevents_it(behaviour: Behaviour) {
    let world = World::under(behaviour).await;
    let manifest = resetting(&world, "edit").hostname("kept.example.com", true);
    let both = manifest.clone().hostname("gone.example.com", true);
    for regretted in [both.clone().build(), manifest.clone().with("deletionPolicy", json!("Retain")).build()] {
        world.fixture.apply(&both.clone().build()).await.unwrap();
        world.until_ready("edit").await;
        let mark = world.cloudflare.ledger().mark();
        let held = world.cloudflare.inject(Fault::from(Effect::Hold).on("GET"));
        world.fixture.apply(&manifest.clone().build()).await.unwrap();
        held.until_met(1, PATIENCE).await.unwrap();
        // At once: that the watch has shown it yet is nowhere said.
        world.fixture.apply(&regretted).await.unwrap();
        held.release();
        world.until_ready("edit").await;
        world.look("edit").await;
        world.until_ready("edit").await;
        assert_eq!(world.remote.get("gone.example.com"), Some((true, false)), "{}", world.ledger());
        assert!(world.ledger().since(mark).puts(&world.scope()).is_empty(), "{}", world.ledger());
    }
}

async fn a_rival_whose_credential_is_refused_does_not_prevent_a_reset(behaviour: Behaviour) {
    let world = World::under(behaviour).await;
    world.fixture.apply(&resetting(&world, "victim").hostname("mine.example.com", true).build()).await.unwrap();
    world.until_ready("victim").await;
    world.fixture.apply(&world.fixture.secret("bad", "token", "cfut_7Hx2Vm9Ck4Bq1Zs6Nt3Wd8Lf5Rj")).await.unwrap();
    let squatter = world.fixture.settings("a-squatter").credential("bad", "token");
    world.fixture.apply(&squatter.hostname("mine.example.com", true).build()).await.unwrap();
    world.until_reason("a-squatter", "AuthenticationFailed").await;
    world.fixture.delete("victim").await.unwrap();
    world.until_gone("victim").await;
    assert_eq!(world.remote.get("mine.example.com"), None, "{}", world.ledger());
}

async fn a_look_answers_only_who_asked_before_it_began(behaviour: Behaviour) {
    let world = World::under(behaviour).await;
    world.apply("one", &[("one.example.com", true)]).await;
    world.until_ready("one").await;
    let hold = || world.cloudflare.inject(Fault::from(Effect::Hold).on("GET"));
    let (first, second) = (hold(), hold());
    world.ask_for_a_look("one", "first").await;
    first.until_met(1, PATIENCE).await.unwrap();
    world.ask_for_a_look("one", "second").await;
    world.until_caught_up().await;
    first.release();
    second.until_met(1, PATIENCE).await.unwrap();
    let answered = |value: &'static str| move |object: &Value| object["status"]["lastHandledReconcileAt"] == value;
    world.fixture.until("one", "the first is answered", answered("first")).await.unwrap();
    second.release();
    world.fixture.until("one", "the second is answered", answered("second")).await.unwrap();
}

async fn a_write_that_is_under_way_through_another_credential_is_waited_for(behaviour: Behaviour) {
    let world = World::under(Behaviour { delay: Duration::from_millis(2500), ..behaviour }).await;
    let other = world.second_credential().await;
    let by_other = |name: &str| world.fixture.settings(name).credential(other, "token");
    world.remote.set("second.example.com", true, false);
    world.fixture.apply(&by_other("second").hostname("second.example.com", true).build()).await.unwrap();
    world.until_ready("second").await;
    world.apply("first", &[("kept.example.com", true), ("moved.example.com", true)]).await;
    world.until_accepted(1).await;
    // The list has the hostname off still, as its next owner wants it.
    world.apply("first", &[("kept.example.com", true)]).await;
    world.fixture.apply(&by_other("next").hostname("moved.example.com", false).build()).await.unwrap();
    world.until_ready("next").await;
    world.until_ready("first").await;
    let settled = || world.remote.is_settled();
    world.cloudflare.until("all is applied", PATIENCE, settled).await.unwrap();
    assert_eq!(world.remote.get("moved.example.com"), None, "{}", world.ledger());
    assert_eq!(world.remote.get("kept.example.com"), Some((true, false)), "{}", world.ledger());
}

async fn more_refusals_in_a_row_than_a_round_takes_hold_up_no_good_neighbour(behaviour: Behaviour) {
    let world = World::under(behaviour).await;
    let mut manifest = world.fixture.settings("many").hostname("a.example.com", true);
    for n in 0..80 {
        manifest = manifest.hostname(&format!("b{n:02}.elsewhere.org"), true);
    }
    let manifest = manifest.hostname("c.example.com", true);
    world.fixture.apply(&manifest.clone().build()).await.unwrap();
    let summary = |text: &'static str| move |object: &Value| object["status"]["summary"] == text;
    world.fixture.until("many", "both good ones in sync", summary("2/82")).await.unwrap();
    let object = world.until_reason("many", "HostnameNotInScope").await;
    assert!(condition(&object, "Stalled").is_some(), "{object:#}");
    // Nor one that comes later.
    world.fixture.apply(&manifest.hostname("b40.example.com", true).build()).await.unwrap();
    world.fixture.until("many", "all good ones in sync", summary("3/83")).await.unwrap();
    world.until_reason("many", "HostnameNotInScope").await;
    let all_told = |object: &Value| {
        let hostnames = object["status"]["hostnames"].as_array().unwrap();
        hostnames.iter().filter(|hostname| hostname["state"] == "Rejected").count() == 80
    };
    world.fixture.until("many", "every bad one is told", all_told).await.unwrap();
}
