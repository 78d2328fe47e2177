//! Cloudflare's lock: whoever writes while another change is being applied is refused, and knocks again with patience.

use std::time::Duration;

use harness::{
    cloudflare::{LockReach, Semantics},
    fixture::{PATIENCE, condition, random_id},
};

use crate::{
    behaviour::{Behaviour, scenarios},
    world::World,
};

scenarios! { under_every_behaviour:
    a_busy_remote_is_waited_for,
}

async fn a_busy_remote_is_waited_for(behaviour: Behaviour) {
    let world = World::under(behaviour).await;
    world.remote.lock_for(Duration::from_secs(600));
    world.apply("busy", &[("busy.example.com", true)]).await;
    let object = world.until_reason("busy", "RemoteBusy").await;
    assert!(condition(&object, "Reconciling").is_some() && condition(&object, "Stalled").is_none());
    assert_eq!(object["status"]["lastResponse"]["errors"][0]["code"], 12132);
    assert_eq!(object["status"]["lastResponse"]["method"], "PUT");
    let knocks = || world.ledger().puts(&world.scope()).len();
    world.cloudflare.until("a second try", PATIENCE, || knocks() >= 2).await.unwrap();
    world.remote.unlock();
    world.until_ready("busy").await;
    let ledger = world.ledger();
    let puts = ledger.puts(&world.scope());
    let gap = puts[1].start_us - puts[0].start_us;
    assert!(gap >= 1_000_000, "the second try came after {gap} us");
}

const THREE_MINUTES: Duration = Duration::from_secs(180);
/// Seconds that must lie between a refusal and the next try: half of 2 s doubling to 60 s.
const FEWEST_SECONDS: [u64; 11] = [1, 2, 4, 8, 16, 30, 30, 30, 30, 30, 30];
const MOST_SECONDS: u64 = 60;

#[tokio::test]
async fn a_lock_of_three_minutes_costs_at_most_twelve_writes_and_ends_ready() {
    let of_the_zone = Behaviour::new(Semantics::Merge, LockReach::Scope);
    let of_the_account = Behaviour::new(Semantics::Replace, LockReach::Account);
    tokio::join!(a_lock_of_three_minutes(of_the_zone), a_lock_of_three_minutes(of_the_account));
}

async fn a_lock_of_three_minutes(behaviour: Behaviour) {
    let mut world = World::under(behaviour).await;
    let account = random_id();
    world.remote = world.remote.clone().in_account(&account);
    let neighbour = world.cloudflare.add_zone(&random_id(), "example.org").in_account(&account);
    // Where it reaches over the account, it is somebody's change elsewhere that holds it.
    let holder = if behaviour.lock == LockReach::Account { &neighbour } else { &world.remote };
    holder.lock_for(THREE_MINUTES);
    world.apply("patient", &[("patient.example.com", true)]).await;
    let object = world.until_reason("patient", "RemoteBusy").await;
    assert!(condition(&object, "Reconciling").is_some() && condition(&object, "Stalled").is_none());
    let longest = THREE_MINUTES + Duration::from_secs(MOST_SECONDS) + PATIENCE;
    let accepted = || !world.ledger().accepted_puts(&world.scope()).is_empty();
    world.cloudflare.until("an accepted write", longest, accepted).await.unwrap();
    world.until_ready("patient").await;

    let ledger = world.ledger();
    let puts = ledger.puts(&world.scope());
    println!("a lock of three minutes under {behaviour:?}: {} PUT", puts.len());
    assert!(puts.len() <= 12, "{ledger}");
    for (pair, fewest) in puts.windows(2).zip(FEWEST_SECONDS) {
        assert_eq!(pair[0].codes, [12132], "{ledger}");
        let waited = Duration::from_micros(pair[1].start_us - pair[0].end_us.unwrap());
        assert!(waited >= Duration::from_secs(fewest), "only {waited:?} before {}\n{ledger}", pair[1]);
        assert!(waited <= Duration::from_secs(MOST_SECONDS) + PATIENCE, "{waited:?} before {}\n{ledger}", pair[1]);
    }
}
