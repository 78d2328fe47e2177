//! Many objects on one remote list: one writer, one batch, one owner for each hostname.

use std::collections::BTreeSet;

use harness::{
    cloudflare::{Effect, Fault, LockReach, Semantics},
    fixture::{PATIENCE, condition},
};
use serde_json::json;

use crate::world::{TOKEN, World};

/// Each scenario runs under both readings of the API, with the lock on the zone under one and on the account under the
/// other. How many writes it takes is told only for the first: under the second, some have to be mended.
const BOTH: [Semantics; 2] = [Semantics::Merge, Semantics::Replace];

async fn under(semantics: Semantics) -> World {
    let world = World::new().await;
    world.cloudflare.switch(|switches| {
        switches.semantics = semantics;
        switches.lock = if semantics == Semantics::Merge { LockReach::Scope } else { LockReach::Account };
    });
    world
}

#[tokio::test]
async fn a_crowd_of_objects_costs_three_requests() {
    for semantics in BOTH {
        let mut world = under(semantics).await;
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
}

#[tokio::test]
async fn changes_that_come_while_a_write_is_under_way_form_one_next_batch() {
    for semantics in BOTH {
        let world = under(semantics).await;
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
        let sizes: Vec<usize> = ledger.puts(&world.scope()).iter().map(|put| put.settings().len()).collect();
        assert_eq!(sizes[..2], [1, 20]);
        assert!(semantics == Semantics::Replace || sizes.len() == 2, "{sizes:?}");
        assert!(world.cloudflare.ledger().overlapping_puts().is_empty());
    }
}

#[tokio::test]
async fn the_first_holder_keeps_a_hostname_and_the_next_gets_it_when_it_lets_go() {
    for semantics in BOTH {
        let world = under(semantics).await;
        world.apply("holder", &[("shared.example.com", true)]).await;
        world.until_ready("holder").await;
        world.apply("waiter", &[("shared.example.com", false), ("own.example.com", true)]).await;
        let object = world.until_reason("waiter", "HostnameConflict").await;
        assert_eq!(object["status"]["summary"], "1/2", "its other hostname is served");
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
}

#[tokio::test]
async fn objects_with_different_credentials_share_no_request_and_one_refusal_harms_nobody_else() {
    for semantics in BOTH {
        let world = under(semantics).await;
        let other = "cfut_1111111111111111111111111111111";
        world.cloudflare.token(other).named("other").may_read(world.remote.scope());
        world.fixture.apply(&world.fixture.secret("other", "token", other)).await.unwrap();
        world.fixture.apply(&world.fixture.secret("same", "token", TOKEN)).await.unwrap();
        for (object, secret) in [("one", "cloudflare"), ("two", "same"), ("three", "other")] {
            let manifest = world.fixture.settings(object).credential(secret, "token");
            world.fixture.apply(&manifest.hostname(&format!("{object}.example.com"), true).build()).await.unwrap();
        }
        world.until_ready("one").await;
        world.until_ready("two").await;
        let refused = |object: &serde_json::Value| {
            condition(object, "Stalled").is_some_and(|stalled| stalled["reason"] != "HostnameConflict")
        };
        world.fixture.until("three", "refused", refused).await.unwrap();
        for put in world.ledger().puts(&world.scope()) {
            assert!(semantics == Semantics::Replace || put.settings().len() == 1, "{put}");
        }
        assert!(world.cloudflare.ledger().overlapping_puts().is_empty());
        world.until_ready("one").await;
        world.until_ready("two").await;
    }
}

#[tokio::test]
async fn nobody_keeps_a_hostname_from_others_with_a_credential_that_is_refused() {
    for semantics in BOTH {
        let world = under(semantics).await;
        world.fixture.apply(&world.fixture.secret("bad", "token", "cfut_222222222222222222222222222")).await.unwrap();
        let squatter = world.fixture.settings("a-squatter").credential("bad", "token");
        world.fixture.apply(&squatter.hostname("mine.example.com", false).build()).await.unwrap();
        world.until_reason("a-squatter", "AuthenticationFailed").await;
        world.apply("owner", &[("mine.example.com", true)]).await;
        world.until_ready("owner").await;
    }
}

#[tokio::test]
async fn one_bad_hostname_among_many_is_found_by_halving_and_holds_up_nobody() {
    for semantics in BOTH {
        let world = under(semantics).await;
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
        assert!(semantics == Semantics::Replace || puts <= 2 * 8 + 2, "{puts} writes for 200 entries");
        let rejected: BTreeSet<_> = object["status"]["hostnames"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|hostname| hostname["state"] == "Rejected")
            .map(|hostname| hostname["hostname"].as_str().unwrap())
            .collect();
        assert_eq!(rejected, BTreeSet::from(["bad.elsewhere.org"]));
    }
}

#[tokio::test]
async fn a_busy_scope_is_probed_by_one_and_not_by_each_credential() {
    for semantics in BOTH {
        let world = under(semantics).await;
        world.fixture.apply(&world.fixture.secret("same", "token", TOKEN)).await.unwrap();
        world.remote.lock_for(std::time::Duration::from_secs(4));
        for (object, secret) in [("one", "cloudflare"), ("two", "same")] {
            let manifest = world.fixture.settings(object).credential(secret, "token");
            world.fixture.apply(&manifest.hostname(&format!("{object}.example.com"), true).build()).await.unwrap();
            world.until_reason(object, "RemoteBusy").await;
        }
        world.until_ready("one").await;
        world.until_ready("two").await;
        let ledger = world.ledger();
        let refused = ledger.puts(&world.scope()).iter().filter(|put| put.status == Some(409)).count();
        // The second object is tried at once when it comes; from then on one of them knocks for both.
        assert!(refused <= 3, "{refused} knocks in four seconds");
    }
}

#[tokio::test]
async fn who_keeps_changing_a_hostname_back_is_reported_and_not_fought_for_ever() {
    for semantics in BOTH {
        let world = under(semantics).await;
        world.apply("fought", &[("fought.example.com", true)]).await;
        world.until_ready("fought").await;
        let stalled = async || {
            let object = world.fixture.get("fought").await.unwrap().unwrap();
            condition(&object, "Ready").is_some_and(|ready| ready["reason"] == "ForeignWriter")
        };
        // Somebody changes it back as soon as it is repaired.
        let mut changes = 0;
        while !stalled().await {
            if world.remote.get("fought.example.com").is_some() {
                world.remote.set("fought.example.com", false, false);
                changes += 1;
                world.look_without_asking().await;
            }
            assert!(changes <= 5, "changed back {changes} times and still repaired");
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        let ledger = world.ledger();
        let named =
            |put: &&&harness::cloudflare::Exchange| put.settings().iter().any(|entry| entry.0 == "fought.example.com");
        let writes = ledger.puts(&world.scope()).iter().filter(named).count();
        assert!(semantics == Semantics::Replace || writes == 1 + 3, "{writes}");
        let object = world.until_reason("fought", "ForeignWriter").await;
        assert!(condition(&object, "Stalled").is_some() && condition(&object, "Drifted").is_some());
        assert_eq!(world.remote.get("fought.example.com"), None, "it is left alone");
        let again = json!({"metadata": {"annotations": {"cloudflare-mtls.dev/reconcile-at": "again"}}});
        world.fixture.patch("fought", &again).await.unwrap();
        world.until_ready("fought").await;
    }
}
