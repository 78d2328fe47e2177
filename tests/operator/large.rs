//! What is large stays cheap: a thousand objects are one batch, and a few bad hostnames among a thousand are soon found.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use futures::StreamExt as _;
use harness::fixture::{condition, eventually, random_id};
use kube::api::ListParams;
use serde_json::{Value, json};

use crate::{
    behaviour::{Behaviour, scenarios},
    world::World,
};

scenarios! { under_every_behaviour:
    one_bad_hostname_among_a_thousand_costs_a_few_writes_once,
    ten_bad_hostnames_among_a_thousand_cost_ten_times_that_once,
}

const CROWD: usize = 1000;
/// `2 * log2(1000) + 2`: at each halving one half is refused and the other accepted.
const MOST_WRITES: usize = 21;
/// A thousand statuses, or hundreds of writes with a thousand entries, on a machine that is busy with other tests.
const LONG: Duration = Duration::from_secs(180);

fn name(n: usize) -> String {
    format!("object-{n:03}")
}

/// A manifest for each object that lists one hostname, forwarded or not.
fn crowd(world: &World, forwarding: bool) -> Vec<Value> {
    let manifest =
        |n: usize| world.fixture.settings(&name(n)).hostname(&format!("h{n}.example.com"), forwarding).build();
    (0..CROWD).map(manifest).collect()
}

impl World {
    async fn apply_all(&self, manifests: Vec<Value>) {
        let applied = futures::stream::iter(manifests.iter().map(|manifest| self.fixture.apply(manifest)));
        applied.buffer_unordered(16).for_each(|stored| async { drop(stored.unwrap()) }).await;
    }

    /// A look at an object with so many hostnames, on a machine that is busy with other tests.
    async fn look_at_leisure(&self, name: &str) {
        let value = random_id();
        self.ask_for_a_look(name, &value).await;
        eventually(LONG, "looked", async || {
            let object = self.fixture.get(name).await.map_err(|error| error.to_string())?.unwrap_or_default();
            let seen = object["status"]["lastHandledReconcileAt"].clone();
            if seen == value { Ok(()) } else { Err(seen.to_string()) }
        })
        .await
        .unwrap();
    }

    async fn until_all_ready(&self) {
        let ready = |object: &Value| {
            let condition = condition(object, "Ready");
            condition.is_some_and(|ready| {
                ready["status"] == "True" && ready["observedGeneration"] == object["metadata"]["generation"]
            })
        };
        eventually(LONG, "all are ready", async || {
            let objects =
                self.fixture.objects().list(&ListParams::default()).await.map_err(|error| error.to_string())?;
            let objects = objects.items.iter().map(|object| serde_json::to_value(object).unwrap());
            let count = objects.filter(ready).count();
            if count == CROWD { Ok(()) } else { Err(format!("{count} are ready")) }
        })
        .await
        .unwrap();
    }
}

#[tokio::test]
async fn a_thousand_objects_cost_few_requests_at_a_start_and_when_all_change() {
    let mut world = World::new().await;
    world.stop().await;
    world.apply_all(crowd(&world, true)).await;
    world.restart().await;
    world.until_all_ready().await;
    // A crowd is waited for, though not for ever: on a slow machine some of it comes too late for the first write.
    let ledger = world.ledger();
    let sizes: Vec<usize> = ledger.puts(&world.scope()).iter().map(|put| put.settings().len()).collect();
    assert!(sizes.len() <= 2 && sizes.iter().sum::<usize>() == CROWD, "{sizes:?}");
    assert_eq!(ledger.gets(&world.scope()).len(), sizes.len() + 1, "{ledger}");

    // As far away as the real one may be: while a round lasts, further changes gather for the next one.
    let latency = Duration::from_millis(100);
    world.cloudflare.switch(|switches| switches.latency_ms = 100);
    let mark = world.cloudflare.ledger().mark();
    let started = Instant::now();
    world.apply_all(crowd(&world, false)).await;
    let took = started.elapsed();
    world.until_all_ready().await;
    assert!(world.remote.entries().is_empty());
    let ledger = world.ledger().since(mark);
    let (puts, gets) = (ledger.puts(&world.scope()), ledger.gets(&world.scope()));
    println!("{CROWD} objects changed within {took:?}: {} GET and {} PUT", gets.len(), puts.len());
    assert_eq!(puts.iter().map(|put| put.settings().len()).sum::<usize>(), CROWD, "each change is written once");
    // One round after the other, of three requests each, from the first change to the last; and one that takes in that.
    let rounds = usize::try_from(took.as_millis().div_ceil(3 * latency.as_millis())).unwrap() + 2;
    assert!(puts.len() <= rounds && gets.len() <= 2 * rounds, "{} GET, {} PUT, {took:?}", gets.len(), puts.len());
    let methods: Vec<&str> = ledger.all().iter().map(|exchange| exchange.method.as_str()).collect();
    assert!(methods.windows(2).all(|pair| pair != ["PUT", "PUT"]), "a read comes before each write: {methods:?}");
}

/// An object with a thousand hostnames, these of them outside the zone. Returns how many writes it took.
async fn writes_with_bad(behaviour: Behaviour, bad: &[usize]) -> usize {
    // Every write is counted, and none refused because another one is still being applied.
    let world = World::under(behaviour.at_once()).await;
    let hostname = |n: usize| {
        let domain = if bad.contains(&n) { "elsewhere.org" } else { "example.com" };
        format!("h{n:03}.{domain}")
    };
    let manifest = world.fixture.settings("many");
    let manifest = (0..CROWD).fold(manifest, |manifest, n| manifest.hostname(&hostname(n), true));
    world.fixture.apply(&manifest.build()).await.unwrap();
    let good = CROWD - bad.len();
    let expected = (json!("HostnameNotInScope"), json!(format!("{good}/{CROWD}")));
    let object = eventually(LONG, "the good ones are in sync", async || {
        let object = world.fixture.get("many").await.map_err(|error| error.to_string())?.unwrap_or_default();
        let reason = condition(&object, "Ready").map(|ready| ready["reason"].clone()).unwrap_or_default();
        let seen = (reason, object["status"]["summary"].clone());
        if seen == expected { Ok(object) } else { Err(format!("{seen:?}")) }
    })
    .await
    .unwrap();
    let rejected = |hostname: &&Value| hostname["state"] == "Rejected";
    let hostnames = object["status"]["hostnames"].as_array().unwrap();
    let rejected: BTreeSet<&str> = hostnames.iter().filter(rejected).filter_map(|h| h["hostname"].as_str()).collect();
    let bad: Vec<String> = bad.iter().copied().map(hostname).collect();
    assert_eq!(rejected, bad.iter().map(String::as_str).collect());
    assert_eq!(world.remote.entries().len(), good);

    let writes = world.ledger().puts(&world.scope()).len();
    world.look_at_leisure("many").await;
    assert_eq!(world.ledger().puts(&world.scope()).len(), writes, "what was refused costs nothing at a later look");
    assert_eq!(
        object["status"]["conditions"],
        world.fixture.get("many").await.unwrap().unwrap()["status"]["conditions"]
    );
    writes
}

async fn one_bad_hostname_among_a_thousand_costs_a_few_writes_once(behaviour: Behaviour) {
    let writes = writes_with_bad(behaviour, &[637]).await;
    println!("1 bad hostname among {CROWD} under {behaviour:?}: {writes} PUT");
    // Where writes replace the list, one more puts back what the first ones of them removed.
    assert!(writes <= MOST_WRITES + usize::from(behaviour.replaces()), "{writes}");
}

async fn ten_bad_hostnames_among_a_thousand_cost_ten_times_that_once(behaviour: Behaviour) {
    let spread: Vec<usize> = (0..10).map(|n| 37 + 100 * n).collect();
    let writes = writes_with_bad(behaviour, &spread).await;
    println!("10 bad hostnames among {CROWD} under {behaviour:?}: {writes} PUT");
    assert!(writes <= spread.len() * MOST_WRITES, "{writes}");
}
