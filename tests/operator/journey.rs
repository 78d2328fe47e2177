//! The main job: what is written, when it counts as proved, and that nothing else is touched.

use harness::{
    cloudflare::{EmptyResult, Fault, Order},
    fixture::{PATIENCE, random_id},
};
use serde_json::json;

use crate::{
    behaviour::{Behaviour, scenarios},
    world::World,
};

scenarios! { under_every_behaviour:
    a_change_behind_its_back_is_repaired_at_the_next_look,
    observe_reports_a_difference_and_writes_nothing,
    warn_writes_a_change_of_the_spec_and_only_reports_drift,
    another_mode_acts_at_once,
    a_suspended_object_makes_no_request_until_it_is_resumed,
    deleting_an_object_leaves_the_remote_entry_and_a_new_object_takes_over,
    an_object_re_created_under_its_name_is_served_as_a_new_one,
    warn_remembers_across_a_restart_that_its_spec_was_applied,
    an_edit_while_a_write_is_under_way_becomes_one_next_write_and_never_two_at_a_time,
}

#[tokio::test]
async fn an_applied_object_becomes_ready_with_three_requests() {
    let world = World::new().await;
    world.remote.set("foreign.example.com", true, false);
    world.apply("admin", &[("admin.example.com", true)]).await;
    let object = world.until_ready("admin").await;

    assert_eq!(world.methods(), ["GET", "PUT", "GET"]);
    let put = world.ledger().puts(&world.scope())[0].clone();
    let entry = json!({"hostname": "admin.example.com", "client_certificate_forwarding": true, "china_network": false});
    assert_eq!(put.json, Some(json!({"settings": [entry]})));
    assert_eq!(put.user_agent.unwrap(), concat!("cloudflare-mtls-operator/", env!("CARGO_PKG_VERSION")));
    assert_eq!(world.remote.get("foreign.example.com"), Some((true, false)));

    let status = &object["status"];
    assert_eq!(status["observedGeneration"], object["metadata"]["generation"]);
    assert_eq!(status["summary"], "1/1");
    assert_eq!(
        status["hostnames"],
        json!([{
            "hostname": "admin.example.com",
            "state": "InSync",
            "applied": true,
            "remote": {"clientCertificateForwarding": true, "chinaNetwork": false},
        }])
    );
    let types: Vec<_> = status["conditions"].as_array().unwrap().iter().map(|c| c["type"].clone()).collect();
    assert_eq!(types, ["Ready"]);
    assert_eq!(status["lastResponse"]["method"], "GET");
    assert_eq!(status["lastResponse"]["httpStatus"], 200);
    assert_eq!(status["lastResponse"]["success"], true);
    assert!(status["lastResponse"]["rayId"].is_string() && status["lastResponse"]["time"].is_string());
    assert!(status["lastResponse"].get("errors").is_none());
}

#[tokio::test]
async fn an_account_and_a_global_key_work_too_and_the_schemes_are_never_mixed() {
    let world = World::new().await;
    let account = world.cloudflare.add_account(&random_id());
    let key = "0f1e2d3c4b5a69788796a5b4c3d2e1f001234";
    world.cloudflare.api_key("owner@example.com", key).named("owner").may_write(account.scope());
    let secret = world.fixture.secret("global", "api-key", key);
    world.fixture.apply(&secret).await.unwrap();
    let id = account.scope().to_string();
    let id = id.rsplit('/').next().unwrap();
    let global =
        json!({"globalApiKey": {"email": "owner@example.com", "secretKeyRef": {"name": "global", "key": "api-key"}}});
    let manifest = world.fixture.settings("account").account(id).with("credentials", global);
    world.fixture.apply(&manifest.hostname("a.example.com", true).build()).await.unwrap();
    world.apply("zone", &[("z.example.com", true)]).await;
    world.until_ready("account").await;
    world.until_ready("zone").await;

    for exchange in world.cloudflare.ledger().all() {
        let has = |name: &str| exchange.headers.iter().any(|header| header.eq_ignore_ascii_case(name));
        let scheme = (has("authorization"), has("x-auth-email"), has("x-auth-key"));
        let expected = if exchange.path.contains("/accounts/") { (false, true, true) } else { (true, false, false) };
        assert_eq!(scheme, expected, "{exchange}");
    }
}

#[tokio::test]
async fn what_is_there_already_is_not_written_however_it_is_listed() {
    let world = World::new().await;
    world.remote.set("a.example.com", true, false);
    world.remote.set("b.example.com", true, true);
    world.cloudflare.switch(|switches| {
        switches.order = Order::Shuffled;
        switches.uppercase_hostnames = true;
        switches.extra_members = true;
        switches.omit_messages = true;
        switches.empty_result = EmptyResult::Null;
    });
    let off = world.fixture.settings("same").hostname("a.example.com", true).hostname_with("b.example.com", true, true);
    world.fixture.apply(&off.hostname("absent.example.com", false).build()).await.unwrap();
    let object = world.until_ready("same").await;
    assert_eq!(object["status"]["summary"], "3/3");
    assert_eq!(world.methods(), ["GET"]);
}

#[tokio::test]
async fn an_all_false_entry_equals_an_absent_one_even_when_the_remote_lists_it() {
    let world = World::new().await;
    world.cloudflare.switch(|switches| switches.keep_all_false = true);
    world.remote.set("off.example.com", false, false);
    world.apply("off", &[("off.example.com", false), ("never.example.com", false)]).await;
    world.until_ready("off").await;
    assert_eq!(world.methods(), ["GET"]);
}

#[tokio::test]
async fn a_put_names_only_the_entries_that_must_change() {
    let world = World::new().await;
    world.remote.set("kept.example.com", true, false);
    world.remote.set("wrong.example.com", false, true);
    let wanted = [("kept.example.com", true), ("new.example.com", true), ("wrong.example.com", true)];
    world.apply("three", &wanted).await;
    world.until_ready("three").await;
    let sent = world.ledger().puts(&world.scope())[0].settings();
    assert_eq!(sent, [("new.example.com".to_owned(), true, false), ("wrong.example.com".to_owned(), true, false)]);

    // The next change sends just that change.
    world.apply("three", &[("kept.example.com", true), ("new.example.com", false), ("wrong.example.com", true)]).await;
    world.until_ready("three").await;
    let puts = world.ledger();
    let puts = puts.puts(&world.scope());
    assert_eq!(puts.len(), 2);
    assert_eq!(puts[1].settings(), [("new.example.com".to_owned(), false, false)]);
}

#[tokio::test]
async fn an_accepted_write_is_ready_only_once_a_read_shows_it() {
    let world = World::new().await;
    world.cloudflare.switch(|switches| switches.apply_delay_ms = 8000);
    world.apply("slow", &[("slow.example.com", true)]).await;
    let object = world.until_reason("slow", "Propagating").await;
    assert_eq!(object["status"]["hostnames"][0]["state"], "Pending");
    assert!(world.remote.get("slow.example.com").is_none());
    world.until_ready("slow").await;

    let ledger = world.ledger();
    assert_eq!(ledger.puts(&world.scope()).len(), 1, "an accepted write is not sent again");
    // GET, PUT, GET, then looks after 1, 2, 4, 8 s: at most one too many on a slow machine.
    let gaps: Vec<u64> =
        ledger.gets(&world.scope()).windows(2).map(|pair| pair[1].start_us - pair[0].start_us).collect();
    assert!((4..=6).contains(&gaps.len()), "{gaps:?}");
    assert!(gaps[1] >= 1_000_000 && gaps[2] >= 2_000_000, "{gaps:?}");
}

#[tokio::test]
async fn a_read_that_lags_behind_the_write_does_not_make_it_write_again() {
    let world = World::new().await;
    world.cloudflare.switch(|switches| switches.get_lag_reads = 2);
    world.apply("lag", &[("lag.example.com", true)]).await;
    world.until_ready("lag").await;
    assert_eq!(world.ledger().puts(&world.scope()).len(), 1);
    assert!(world.ledger().gets(&world.scope()).len() >= 4);
}

#[tokio::test]
async fn a_write_whose_answer_was_lost_is_looked_for_and_not_repeated() {
    for fault in [Fault::from(harness::cloudflare::Effect::Reset), Fault::answer(502, "<html>bad gateway</html>")] {
        let world = World::new().await;
        world.cloudflare.inject(fault.on("PUT").once_applied());
        world.apply("lost", &[("lost.example.com", true)]).await;
        world.until_ready("lost").await;
        assert_eq!(world.ledger().puts(&world.scope()).len(), 1);
        assert_eq!(world.methods(), ["GET", "PUT", "GET"]);
    }
}

#[tokio::test]
async fn a_write_whose_answer_was_lost_is_not_repeated_while_it_is_being_applied() {
    let world = World::new().await;
    world.cloudflare.switch(|switches| switches.apply_delay_ms = 3000);
    world.cloudflare.inject(Fault::from(harness::cloudflare::Effect::Reset).on("PUT").once_applied());
    world.apply("late", &[("late.example.com", true)]).await;
    world.until_ready("late").await;
    assert_eq!(world.ledger().puts(&world.scope()).len(), 1);
}

#[tokio::test]
async fn a_revert_is_not_ready_while_the_revoked_write_may_still_arrive() {
    let world = World::new().await;
    world.cloudflare.switch(|switches| switches.apply_delay_ms = 8000);
    world.apply("revert", &[("revert.example.com", true)]).await;
    world.until_reason("revert", "Propagating").await;
    // The remote still shows what this wants, but the first write is on its way.
    world.apply("revert", &[("revert.example.com", false)]).await;
    world.until_ready("revert").await;
    assert_eq!(world.ledger().accepted_puts(&world.scope()).len(), 2);
    assert!(world.remote.is_settled());
    assert_eq!(world.remote.get("revert.example.com"), None);
}

#[tokio::test]
async fn a_write_that_never_arrived_is_sent_again_after_a_look() {
    let world = World::new().await;
    world.cloudflare.inject(Fault::from(harness::cloudflare::Effect::Reset).on("PUT"));
    world.apply("again", &[("again.example.com", true)]).await;
    world.until_ready("again").await;
    let methods = world.methods();
    assert_eq!(methods.iter().filter(|method| *method == "PUT").count(), 2);
    assert_eq!(methods[..3], ["GET", "PUT", "GET"], "a look comes before the second write");
}

async fn a_change_behind_its_back_is_repaired_at_the_next_look(behaviour: Behaviour) {
    let world = World::under(behaviour).await;
    world.apply("drift", &[("drift.example.com", true)]).await;
    world.until_ready("drift").await;
    let mark = world.cloudflare.ledger().mark();
    world.remote.set_china_network(true);
    world.remote.set("drift.example.com", false, true);
    world.remote.set("foreign.example.com", true, true);

    world.look("drift").await;
    world.until_ready("drift").await;
    assert_eq!(world.remote.get("drift.example.com"), Some((true, false)));
    assert_eq!(world.remote.get("foreign.example.com"), Some((true, true)), "foreign entries stay");
    let ledger = world.ledger().since(mark);
    // Under replace the repair removes the foreign entry, which takes a second write to put back.
    assert_eq!(ledger.puts(&world.scope()).len(), if behaviour.replaces() { 2 } else { 1 }, "{ledger}");
    assert_eq!(ledger.all()[0].method, "GET", "a look comes before the repair");
    assert_eq!(ledger.all().last().unwrap().method, "GET", "and another one after it");
}

async fn observe_reports_a_difference_and_writes_nothing(behaviour: Behaviour) {
    let world = World::under(behaviour).await;
    world.remote.set("seen.example.com", true, true);
    let manifest = world.fixture.settings("observe").with("syncMode", json!("Observe"));
    world.fixture.apply(&manifest.clone().hostname("seen.example.com", true).build()).await.unwrap();
    let object = world.until_reason("observe", "DriftDetected").await;
    assert_eq!(object["status"]["hostnames"][0]["state"], "Drifted");
    assert_eq!(object["status"]["hostnames"][0]["remote"]["chinaNetwork"], true);
    world.fixture.apply(&manifest.hostname_with("seen.example.com", true, true).build()).await.unwrap();
    world.fixture.until_condition("observe", "Ready", "True", "Observed").await.unwrap();
    assert!(world.ledger().puts(&world.scope()).is_empty());
}

async fn warn_writes_a_change_of_the_spec_and_only_reports_drift(behaviour: Behaviour) {
    let world = World::under(behaviour).await;
    let manifest = world.fixture.settings("warn").with("syncMode", json!("Warn")).hostname("warn.example.com", true);
    world.fixture.apply(&manifest.build()).await.unwrap();
    world.until_ready("warn").await;
    assert_eq!(world.ledger().puts(&world.scope()).len(), 1);
    world.remote.set("warn.example.com", false, false);
    world.ask_for_a_look("warn", "1").await;
    let object = world.until_reason("warn", "DriftDetected").await;
    assert!(harness::fixture::condition(&object, "Drifted").is_some());
    assert_eq!(world.ledger().puts(&world.scope()).len(), 1);
}

async fn another_mode_acts_at_once(behaviour: Behaviour) {
    let world = World::under(behaviour).await;
    let hostname = "mode.example.com";
    let switch = async |mode: &str| {
        let manifest = world.fixture.settings("mode").with("syncMode", json!(mode)).hostname(hostname, true);
        let writes = world.ledger().accepted_puts(&world.scope()).len();
        world.fixture.apply(&manifest.build()).await.unwrap();
        writes
    };
    switch("Observe").await;
    world.until_reason("mode", "DriftDetected").await;
    assert_eq!(switch("Warn").await, 0);
    world.until_ready("mode").await;
    assert_eq!(world.remote.get(hostname), Some((true, false)), "a change of the spec is written");

    world.remote.set(hostname, false, false);
    let writes = switch("Observe").await;
    world.until_reason("mode", "DriftDetected").await;
    assert_eq!(switch("Enforce").await, writes, "what is observed is not repaired");
    world.until_ready("mode").await;
    assert_eq!(world.remote.get(hostname), Some((true, false)));
}

async fn a_suspended_object_makes_no_request_until_it_is_resumed(behaviour: Behaviour) {
    let world = World::under(behaviour).await;
    let manifest = world.fixture.settings("quiet").hostname("quiet.example.com", true);
    world.fixture.apply(&manifest.clone().with("suspend", json!(true)).build()).await.unwrap();
    let object = world.until_reason("quiet", "Suspended").await;
    assert!(harness::fixture::condition(&object, "Suspended").is_some());
    assert!(world.ledger().is_empty());
    // Nor is it served along with another one.
    world.apply("awake", &[("awake.example.com", true)]).await;
    world.until_ready("awake").await;
    let named = |entry: &(String, bool, bool)| entry.0 == "quiet.example.com";
    assert!(!world.ledger().puts(&world.scope()).iter().any(|put| put.settings().iter().any(named)));
    world.fixture.apply(&manifest.build()).await.unwrap();
    world.until_ready("quiet").await;
    world.until_ready("awake").await;
}

#[tokio::test]
async fn any_value_asks_for_a_look_and_is_acknowledged_even_by_an_object_that_is_suspended() {
    let world = World::new().await;
    let manifest = world.fixture.settings("asked").hostname("asked.example.com", true);
    let mut looks = 0;
    for suspended in [false, true] {
        world.fixture.apply(&manifest.clone().with("suspend", json!(suspended)).build()).await.unwrap();
        if suspended {
            world.until_reason("asked", "Suspended").await;
        } else {
            world.until_ready("asked").await;
        }
        for value in ["0", "", "yesterday, or so", "\u{1f914}\n\"'{}", &"long ".repeat(2000)] {
            world.ask_for_a_look("asked", value).await;
            let acknowledged = |object: &serde_json::Value| object["status"]["lastHandledReconcileAt"] == value;
            world.fixture.until("asked", &format!("{value:.20} is acknowledged"), acknowledged).await.unwrap();
        }
        let so_far = world.ledger().gets(&world.scope()).len();
        assert!(if suspended { so_far == looks } else { so_far >= 2 + 5 }, "{}", world.ledger());
        looks = so_far;
    }
}

async fn deleting_an_object_leaves_the_remote_entry_and_a_new_object_takes_over(behaviour: Behaviour) {
    let world = World::under(behaviour).await;
    world.apply("one", &[("kept.example.com", true)]).await;
    world.until_ready("one").await;
    world.fixture.delete("one").await.unwrap();
    assert_eq!(world.remote.get("kept.example.com"), Some((true, false)));
    world.apply("two", &[("kept.example.com", false)]).await;
    world.until_ready("two").await;
    assert_eq!(world.remote.get("kept.example.com"), None);
}

async fn an_object_re_created_under_its_name_is_served_as_a_new_one(behaviour: Behaviour) {
    let world = World::under(behaviour).await;
    for round in 0..5 {
        world.apply("again", &[("again.example.com", round % 2 == 0), ("other.example.com", true)]).await;
        world.until_ready("again").await;
        world.fixture.delete("again").await.unwrap();
    }
    assert_eq!(world.remote.get("again.example.com"), Some((true, false)));
}

async fn warn_remembers_across_a_restart_that_its_spec_was_applied(behaviour: Behaviour) {
    let mut world = World::under(behaviour).await;
    let manifest = world.fixture.settings("warn").with("syncMode", json!("Warn")).hostname("warn.example.com", true);
    world.fixture.apply(&manifest.build()).await.unwrap();
    world.until_ready("warn").await;
    world.remote.set("warn.example.com", false, false);
    // The last thing that the status says before the restart is a trouble that has nothing to do with drift.
    let failing = world.cloudflare.inject(Fault::from(harness::cloudflare::Effect::Html520).on("GET").for_ever());
    world.ask_for_a_look("warn", "1").await;
    world.until_reason("warn", "CloudflareUnavailable").await;
    world.stop().await;
    failing.clear();
    world.restart().await;
    world.until_reason("warn", "DriftDetected").await;
    assert_eq!(world.ledger().puts(&world.scope()).len(), 1);
}

async fn an_edit_while_a_write_is_under_way_becomes_one_next_write_and_never_two_at_a_time(behaviour: Behaviour) {
    let world = World::under(behaviour).await;
    let held = world.cloudflare.inject(Fault::from(harness::cloudflare::Effect::Hold).on("PUT"));
    world.apply("busy", &[("busy.example.com", true)]).await;
    held.until_met(1, PATIENCE).await.unwrap();
    world.apply("busy", &[("busy.example.com", true), ("more.example.com", true)]).await;
    world.apply("busy", &[("busy.example.com", false), ("more.example.com", true), ("last.example.com", true)]).await;
    // Its status says so when it has seen the last edit: no first answer for this generation yet.
    world.until_reason("busy", "Pending").await;
    held.release();
    let object = world.until_ready("busy").await;
    assert_eq!(object["status"]["observedGeneration"], 3);
    assert_eq!(world.ledger().accepted_puts(&world.scope()).len(), 2, "both edits became one write");
    assert_eq!(world.remote.get("busy.example.com"), None);
    assert_eq!(world.remote.get("last.example.com"), Some((true, false)));
}
