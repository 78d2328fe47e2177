//! Somebody else writes the same list through the API, more often than not between a read of the operator and its write.

use std::{collections::BTreeMap, time::Duration};

use fastrand::Rng;
use harness::{
    cloudflare::{Effect, Exchange, Fault, Ledger, Remote},
    fixture::{PATIENCE, condition, eventually, random_id},
};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{
    behaviour::{Behaviour, scenarios},
    world::World,
};

scenarios! { under_merge:
    nothing_that_a_rival_wrote_is_ever_lost,
}

scenarios! { under_replace:
    a_rival_loses_only_what_took_effect_between_a_read_and_a_write,
    without_a_lock_a_rival_loses_what_it_wrote_between_a_read_and_a_write,
}

/// The names of the two credentials in the ledger.
const OPERATOR: &str = "team";
const RIVAL: &str = "rival";
/// Writes of the operator that are accepted before a contest ends.
const WRITES: usize = 40;

type Flags = (bool, bool);

/// A program that changes single entries of its own, as Terraform does: it reads the list and writes; when it is refused it
/// waits for a moment and begins anew.
struct Rival {
    http: reqwest::Client,
    url: String,
    behaviour: Behaviour,
    remote: Remote,
    /// When its last write has taken effect: a list that was read before would undo that write with the next one.
    settled: Instant,
    /// Its entries as its last accepted writes left them; what it removed has both flags off.
    wrote: BTreeMap<String, Flags>,
    accepted: usize,
}

impl Rival {
    const TOKEN: &str = "cfut_3Wg8Nb2Kx7Fc5Jq1Rz9Dt4Yh6Vp0Ls";

    fn beside(world: &World, behaviour: Behaviour) -> Self {
        world.cloudflare.token(Self::TOKEN).named(RIVAL).may_write(world.remote.scope());
        world.remote.set_china_network(true);
        Self {
            http: reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().unwrap(),
            url: format!("{}/{}/access/certificates/settings", world.cloudflare.url(), world.scope()),
            behaviour,
            remote: world.remote.clone(),
            settled: Instant::now(),
            wrote: BTreeMap::new(),
            accepted: 0,
        }
    }

    async fn ask(&self, method: Method, body: String) -> (u16, Value) {
        let request = self.http.request(method, &self.url).bearer_auth(Self::TOKEN).body(body);
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), serde_json::from_str(&answer.text().await.unwrap()).unwrap())
    }

    /// Adds, edits or removes one of its entries, and returns when that was accepted.
    async fn change_one(&mut self, rng: &mut Rng) {
        let hostname = format!("theirs-{}.example.com", rng.u8(..6));
        let mut choices = vec![(true, false), (false, true), (true, true), (false, false)];
        choices.retain(|flags| *flags != self.wrote.get(&hostname).copied().unwrap_or_default());
        let flags = rng.choice(choices).unwrap();
        tokio::time::sleep_until(self.settled).await;
        let written = async {
            while self.write(&hostname, flags).await != 202 {
                tokio::time::sleep(Duration::from_millis(rng.u64(20..120))).await;
            }
        };
        tokio::time::timeout(PATIENCE, written).await.expect("the rival's write is accepted");
        // With room for the clock of the other side.
        self.settled = Instant::now() + self.behaviour.delay + Duration::from_millis(10);
        self.wrote.insert(hostname, flags);
        self.accepted += 1;
    }

    async fn write(&self, hostname: &str, (forwarding, china): Flags) -> u16 {
        let (_, list) = self.ask(Method::GET, String::new()).await;
        let mut body = list["result"].as_array().cloned().unwrap_or_default();
        // Where writes merge, its own entry is all that it has to name.
        body.retain(|entry| self.behaviour.replaces() && entry["hostname"] != hostname);
        body.push(json!({"hostname": hostname, "client_certificate_forwarding": forwarding, "china_network": china}));
        self.ask(Method::PUT, json!({"settings": body}).to_string()).await.0
    }

    /// Its entries that are not as it left them, with what they are instead. Each is told once.
    fn lost(&mut self) -> Vec<String> {
        let mut lost = Vec::new();
        for (hostname, wrote) in &mut self.wrote {
            let found = self.remote.get(hostname).unwrap_or_default();
            if found != *wrote {
                lost.push(format!("{hostname} was left as {wrote:?} and is {found:?}"));
                *wrote = found;
            }
        }
        lost
    }
}

/// The operator and a rival on one list, with choices that follow from a seed.
struct Contest {
    seed: u64,
    rng: Rng,
    world: World,
    rival: Rival,
    /// What the operator's object lists.
    ours: BTreeMap<String, bool>,
    /// What the rival lost, with the requests of the turn in which it did.
    lost: Vec<(String, Ledger)>,
}

impl Contest {
    /// Lets both write until the operator has written often enough. Its own entries are in sync after each turn.
    async fn under(behaviour: Behaviour) -> Self {
        let seed = fastrand::u64(..);
        let world = World::with(|operator| operator.arg("--requests-per-5m=100000")).await;
        world.cloudflare.switch(|switches| behaviour.turn(switches));
        let rival = Rival::beside(&world, behaviour);
        let ours = (0..5).map(|n| (format!("ours-{n}.example.com"), false)).collect();
        let mut contest = Self { seed, rng: Rng::with_seed(seed), world, rival, ours, lost: Vec::new() };
        for _ in 0..4 {
            contest.rival.change_one(&mut contest.rng).await;
        }
        while contest.writes() < WRITES {
            contest.turn().await;
        }
        contest.end(behaviour).await;
        contest
    }

    /// Changes the operator's object. The rival writes while the operator's own write is held back, three times of four;
    /// else just before it, so that the operator begins while what the rival wrote is still being applied. Never over a
    /// write of the operator: what that costs is the operator's, and no loss of the rival.
    async fn turn(&mut self) {
        let mark = self.world.cloudflare.ledger().mark();
        let fault = Fault::from(Effect::Hold).on("PUT").by(OPERATOR);
        let held = (self.rng.u8(..4) > 0).then(|| self.world.cloudflare.inject(fault));
        if let Some(held) = &held {
            self.change_ours().await;
            held.until_met(1, PATIENCE).await.unwrap();
        }
        for _ in 0..self.rng.u8(1..=2) {
            self.rival.change_one(&mut self.rng).await;
        }
        match held {
            Some(held) => held.release(),
            None => self.change_ours().await,
        }
        self.until_ready_with_nudges().await;
        let settled = || self.world.remote.is_settled();
        self.world.cloudflare.until("all is applied", PATIENCE, settled).await.unwrap();
        let ledger = self.world.ledger().since(mark);
        self.lost.extend(self.rival.lost().into_iter().map(|what| (what, ledger.clone())));
    }

    async fn change_ours(&mut self) {
        let changed = self.rng.usize(..self.ours.len());
        for (n, forwarding) in self.ours.values_mut().enumerate() {
            *forwarding ^= n == changed || self.rng.u8(..4) == 0;
        }
        let wish: Vec<(&str, bool)> = self.ours.iter().map(|(hostname, flag)| (hostname.as_str(), *flag)).collect();
        self.world.apply("ours", &wish).await;
    }

    /// Waits until the object is ready, and asks for a look every now and then: so that reads and writes fall into every
    /// moment of the lock, and a contest does not take minutes.
    async fn until_ready_with_nudges(&mut self) {
        let (world, rng) = (&self.world, &mut self.rng);
        eventually(PATIENCE, format!("seed {}: ours is ready", self.seed), async || {
            let object = world.fixture.get("ours").await.map_err(|error| error.to_string())?.unwrap_or_default();
            let ready = condition(&object, "Ready").is_some_and(|ready| {
                ready["status"] == "True" && ready["observedGeneration"] == object["metadata"]["generation"]
            });
            if ready {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(rng.u64(..300))).await;
            world.ask_for_a_look("ours", &random_id()).await;
            Err(format!("{:#}\n{}", object["status"], world.ledger()))
        })
        .await
        .unwrap();
    }

    async fn end(&mut self, behaviour: Behaviour) {
        self.world.look("ours").await;
        self.world.until_ready("ours").await;
        assert_eq!(self.rival.lost(), [""; 0], "seed {}: a look that finds all in order changes nothing", self.seed);
        let ledger = self.world.ledger().by(OPERATOR);
        let methods: Vec<&str> = ledger.all().iter().map(|exchange| exchange.method.as_str()).collect();
        let read_afresh = methods.windows(2).all(|pair| pair != ["PUT", "PUT"]);
        assert!(read_afresh, "seed {}: a read comes before each write:\n{ledger}", self.seed);
        for put in ledger.puts(&self.world.scope()).iter().filter(|_| !behaviour.replaces()) {
            let ours = put.settings().iter().all(|entry| self.ours.contains_key(&entry.0));
            assert!(ours, "seed {}: where writes merge, no entry of the rival is named: {put}", self.seed);
        }
        println!(
            "a rival under {behaviour:?}, seed {}: {} of its {} writes lost; the operator wrote {} times and was refused \
             {} times",
            self.seed,
            self.lost.len(),
            self.rival.accepted,
            self.writes(),
            ledger.all().iter().filter(|exchange| exchange.status == Some(409)).count(),
        );
    }

    fn writes(&self) -> usize {
        self.world.ledger().by(OPERATOR).accepted_puts(&self.world.scope()).len()
    }

    fn assert_lost_at_most(&self, excused: impl Fn(&Ledger) -> bool) {
        for (what, ledger) in &self.lost {
            assert!(excused(ledger), "seed {}: {what}\n{ledger}", self.seed);
        }
    }
}

/// Whether something that the rival wrote took effect between a read of the operator and the write that followed it, so
/// that the write carried a list which was true no more and was not refused either. Nobody can tell that beforehand.
fn was_overtaken(ledger: &Ledger, behaviour: Behaviour) -> bool {
    let accepted = |exchange: &&Exchange| exchange.accepted_us.is_some();
    let effects: Vec<u64> = ledger
        .by(RIVAL)
        .all()
        .iter()
        .filter_map(|write| Some(write.accepted_us? + u64::try_from(behaviour.delay.as_micros()).unwrap()))
        .collect();
    let ours = ledger.by(OPERATOR);
    ours.all().iter().filter(accepted).any(|write| {
        let read = ours.all().iter().rev().find(|read| read.seq < write.seq && read.method == "GET");
        // The ledger's times are taken a moment after the fact.
        let moment = 5_000;
        let between =
            |at: &u64| read.is_some_and(|read| read.start_us < *at) && Some(*at - moment) <= write.accepted_us;
        effects.iter().any(between)
    })
}

async fn nothing_that_a_rival_wrote_is_ever_lost(behaviour: Behaviour) {
    Contest::under(behaviour).await.assert_lost_at_most(|_| false);
}

async fn a_rival_loses_only_what_took_effect_between_a_read_and_a_write(behaviour: Behaviour) {
    Contest::under(behaviour).await.assert_lost_at_most(|ledger| was_overtaken(ledger, behaviour));
}

async fn without_a_lock_a_rival_loses_what_it_wrote_between_a_read_and_a_write(behaviour: Behaviour) {
    let behaviour = behaviour.at_once();
    Contest::under(behaviour).await.assert_lost_at_most(|ledger| was_overtaken(ledger, behaviour));
}
