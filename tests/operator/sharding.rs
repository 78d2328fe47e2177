//! Several releases in one cluster, each for the objects with labels of its own: what holds, and what does not hold between
//! them. `docs/sharding.md` says the same to people.

use std::{collections::BTreeSet, time::Duration};

use harness::{
    cloudflare::{Cloudflare, Effect, Fault, Remote},
    control_plane::{ControlPlane, OPERATOR},
    fixture::{Fixture, PATIENCE, condition, eventually, random_id},
    operator::Operator,
};
use serde_json::{Value, json};

use crate::{
    behaviour::Behaviour,
    chart::Release,
    world::{DOMAIN, TOKEN},
};

/// One of the releases.
struct Shard {
    release: Release,
    operator: Operator,
}

struct Shards {
    control_plane: &'static ControlPlane,
    cloudflare: Cloudflare,
    fixture: Fixture,
    remote: Remote,
    releases: [Shard; 2],
}

impl Shards {
    /// Two releases whose values are those of `ci/sharded-values.yaml`, but for a name and a selector of their own.
    async fn new(behaviour: Behaviour, selectors: [Option<&str>; 2]) -> Self {
        let control_plane = ControlPlane::shared().await.unwrap();
        let fixture = Fixture::new(control_plane).await.unwrap();
        let cloudflare = Cloudflare::start().await.unwrap();
        cloudflare.switch(|switches| behaviour.turn(switches));
        let remote = cloudflare.add_zone(fixture.zone_id(), DOMAIN);
        cloudflare.token(TOKEN).may_write_everything();
        fixture.apply(&fixture.secret("cloudflare", "token", TOKEN)).await.unwrap();
        let [first, second] = selectors;
        let releases =
            [start(control_plane, &cloudflare, first).await, start(control_plane, &cloudflare, second).await];
        Self { control_plane, cloudflare, fixture, remote, releases }
    }

    /// An object with these labels, of the fixture's zone unless it is given another one.
    async fn apply(&self, name: &str, zone: &str, labels: &Value, entries: &[(&str, bool)]) -> Value {
        let manifest = self.fixture.settings(name).zone(zone).with("deletionPolicy", json!("Reset"));
        let manifest =
            entries.iter().fold(manifest, |manifest, (hostname, forwarding)| manifest.hostname(hostname, *forwarding));
        let mut manifest = manifest.build();
        manifest["metadata"]["labels"] = labels.clone();
        self.fixture.apply(&manifest).await.unwrap()
    }

    async fn label(&self, name: &str, labels: Value) {
        self.fixture.patch(name, &json!({"metadata": {"labels": labels}})).await.unwrap();
    }

    async fn until_ready(&self, name: &str) -> Value {
        self.fixture.until_condition(name, "Ready", "True", "InSync").await.unwrap()
    }

    /// Asks for a look at an object and waits until it was done.
    async fn look(&self, name: &str) -> Value {
        let value = random_id();
        let ask = json!({"metadata": {"annotations": {"cloudflare-mtls.dev/reconcile-at": value}}});
        self.fixture.patch(name, &ask).await.unwrap();
        let looked = |object: &Value| object["status"]["lastHandledReconcileAt"] == value;
        self.fixture.until(name, "looked", looked).await.unwrap()
    }

    /// Which of the shards have written an object's status or finalizer since a time, by the audit log.
    fn writers(&self, name: &str, since: &str) -> BTreeSet<usize> {
        let wrote = |shard: &Shard| {
            let requests = self.control_plane.requests_of(&shard.release.user()).unwrap();
            requests.iter().any(|request| {
                request["verb"] == "patch"
                    && request["objectRef"]["resource"] == "mtlshostnamesettings"
                    && request["objectRef"]["namespace"] == self.fixture.namespace()
                    && request["objectRef"]["name"] == name
                    && request["requestReceivedTimestamp"].as_str().unwrap() > since
            })
        };
        (0..2).filter(|index| wrote(&self.releases[*index])).collect()
    }

    /// What a request has changed can be read before the audit log tells of it.
    async fn until_writers(&self, name: &str, since: &str, expected: BTreeSet<usize>) {
        let are_these = async || {
            let writers = self.writers(name, since);
            if writers == expected { Ok(()) } else { Err(format!("{writers:?}")) }
        };
        eventually(PATIENCE, format!("{expected:?} have written {name}"), are_these).await.unwrap();
    }
}

async fn start(control_plane: &ControlPlane, cloudflare: &Cloudflare, selector: Option<&str>) -> Shard {
    let values = harness::helm::chart().join("ci/sharded-values.yaml");
    let values = values.to_string_lossy();
    let name = format!("fullnameOverride=shard-{:08x}", fastrand::u32(..));
    let selector = selector.map(|selector| format!("selector={}", selector.replace(',', "\\,")));
    let mut arguments = vec!["--values", &values];
    if let Some(selector) = &selector {
        arguments.extend(["--set", &name, "--set", selector]);
    }
    let release = Release::render("shard", &arguments).await;
    release.install(control_plane, &[]).await;
    let mut operator = release.operator(control_plane, cloudflare).arg("--secret-poll=1s").spawn().await.unwrap();
    operator.wait_ready(Duration::from_secs(30)).await.unwrap();
    Shard { release, operator }
}

fn now() -> String {
    jiff::Timestamp::now().to_string()
}

#[tokio::test]
async fn two_releases_serve_disjoint_objects_and_an_object_moves_with_its_label() {
    // The one has the very values of `ci/`: `team in (a, b),!legacy`.
    let shards = Shards::new(Behaviour::EVERY[0], [None, Some("team in (c),!legacy")]).await;
    let Shards { fixture, remote, .. } = &shards;
    let other = random_id();
    let other_remote = shards.cloudflare.add_zone(&other, DOMAIN);
    let began = now();
    let nobodys = [
        shards.apply("without", fixture.zone_id(), &json!({}), &[("without.example.com", true)]).await,
        shards
            .apply("legacy", fixture.zone_id(), &json!({"team": "a", "legacy": "x"}), &[("old.example.com", true)])
            .await,
    ];
    shards.apply("mover", fixture.zone_id(), &json!({"team": "a"}), &[("mover.example.com", true)]).await;
    shards.apply("stayer", &other, &json!({"team": "c"}), &[("stayer.example.com", true)]).await;
    let before = shards.until_ready("mover").await;
    shards.until_ready("stayer").await;
    assert_eq!((shards.writers("mover", &began), shards.writers("stayer", &began)), ([0].into(), [1].into()));
    for object in &nobodys {
        let name = object["metadata"]["name"].as_str().unwrap();
        assert_eq!(fixture.get(name).await.unwrap().as_ref(), Some(object), "an object that no selector matches");
    }

    // Both lead, each by a Lease of its own.
    let mut holders = BTreeSet::new();
    for Shard { release, operator } in &shards.releases {
        let lease = release.argument("--lease-name");
        let lease = ["get", "lease", lease, "-n", OPERATOR, "-o", "jsonpath={.spec.holderIdentity}"];
        holders.insert(shards.control_plane.kubectl(&lease).await.unwrap());
        let (_, metrics) = operator.get("/metrics").await.unwrap();
        assert!(metrics.lines().any(|line| line.starts_with("leader_election_master_status{") && line.ends_with(" 1")));
    }
    assert_eq!(holders.len(), 2, "{holders:?}");

    // It moves: what is known of it goes with it, and nothing is written for it.
    let (moved, mark) = (now(), shards.cloudflare.ledger().mark());
    shards.label("mover", json!({"team": "c"})).await;
    let after = shards.look("mover").await;
    shards.until_writers("mover", &moved, [1].into()).await;
    for field in ["conditions", "hostnames", "summary"] {
        assert_eq!(after["status"][field], before["status"][field], "{field}");
    }
    assert_eq!(after["metadata"]["finalizers"], before["metadata"]["finalizers"]);
    let ledger = shards.cloudflare.ledger().since(mark);
    assert!(ledger.puts(remote.scope()).is_empty(), "{ledger}");
    let series_are_gone = async || match shards.releases[0].operator.get("/metrics").await {
        Ok((_, metrics)) if !metrics.contains("name=\"mover\"") => Ok(()),
        other => Err(format!("{other:?}")),
    };
    eventually(PATIENCE, "the series have moved too", series_are_gone).await.unwrap();
    // Drift is repaired once, by the new shard.
    remote.set("mover.example.com", false, false);
    shards.look("mover").await;
    shards.until_ready("mover").await;
    assert_eq!(shards.writers("mover", &moved), [1].into());
    assert_eq!(shards.cloudflare.ledger().since(mark).puts(remote.scope()).len(), 1);

    // Without a shard it stays as it was, even while it is deleted, and goes on where it finds one.
    shards.label("mover", json!({"team": null})).await;
    shards.look("stayer").await;
    let left = fixture.get("mover").await.unwrap().unwrap();
    assert_eq!(condition(&left, "Ready").unwrap()["status"], "True", "nobody takes it back");
    shards.apply("mover", fixture.zone_id(), &json!({}), &[("mover.example.com", false)]).await;
    fixture.delete("mover").await.unwrap();
    shards.look("stayer").await;
    let left = fixture.get("mover").await.unwrap().unwrap();
    assert_ne!(left["status"]["observedGeneration"], left["metadata"]["generation"]);
    assert_eq!(remote.get("mover.example.com"), Some((true, false)));
    shards.label("mover", json!({"team": "b"})).await;
    shards.fixture.until_gone("mover").await.unwrap();
    assert_eq!(remote.get("mover.example.com"), None);
    assert_eq!(other_remote.get("stayer.example.com"), Some((true, false)));
}

/// Selectors that overlap are a mistake. It costs requests and the promise of one write at a time; it ends well all the same.
#[tokio::test]
async fn an_object_that_two_releases_match_is_written_by_both_at_a_time_and_comes_to_rest() {
    let label = format!("x{}", random_id());
    let both = format!("shard={label}");
    let shards = Shards::new(Behaviour::EVERY[0], [Some(&both), Some(&both)]).await;
    let began = now();
    let held = shards.cloudflare.inject(Fault::from(Effect::Hold).on("PUT").times(2));
    let zone = shards.fixture.zone_id();
    shards.apply("both", zone, &json!({"shard": label}), &[("both.example.com", true)]).await;
    held.until_met(2, PATIENCE).await.unwrap();
    held.release();
    shards.until_ready("both").await;
    let ledger = shards.cloudflare.ledger();
    assert!(!ledger.overlapping_puts().is_empty(), "no order holds between releases:\n{ledger}");
    // At rest: every further look is a read of each of them.
    shards.look("both").await;
    let (mark, version) = (shards.cloudflare.ledger().mark(), shards.look("both").await);
    for _ in 0..3 {
        shards.look("both").await;
    }
    let ledger = shards.cloudflare.ledger().since(mark);
    assert!(ledger.puts(shards.remote.scope()).is_empty(), "{ledger}");
    let object = shards.until_ready("both").await;
    assert_eq!(object["status"]["conditions"], version["status"]["conditions"], "neither contradicts the other");
    // Deleted, it goes, whoever comes first.
    shards.fixture.delete("both").await.unwrap();
    shards.fixture.until_gone("both").await.unwrap();
    assert_eq!(shards.remote.get("both.example.com"), None);
    assert_eq!(shards.writers("both", &began), [0, 1].into());
}

#[tokio::test]
async fn a_zone_whose_objects_are_in_two_shards_is_served_and_nobody_decides_between_them() {
    let [merging, _, replacing, _] = Behaviour::EVERY;
    tokio::join!(in_two_shards(merging), in_two_shards(replacing));
}

async fn in_two_shards(behaviour: Behaviour) {
    let labels = [random_id(), random_id()].map(|id| format!("x{id}"));
    let [one, two] = labels.clone().map(|label| format!("shard={label}"));
    let shards = Shards::new(behaviour.at_once(), [Some(&one), Some(&two)]).await;
    let Shards { fixture, remote, cloudflare, .. } = &shards;
    let [one, two] = labels.map(|label| json!({"shard": label}));
    let zone = fixture.zone_id();
    let names = ["one", "beside-one", "two", "beside-two"];
    // Hostnames of their own, one after the other: both are served. (A write of the one between a read and a write of the
    // other is a rival's, and lost where writes replace the list.)
    for (name, labels) in names.into_iter().zip([&one, &one, &two, &two]) {
        shards.apply(name, zone, labels, &[(&format!("{name}.example.com"), true)]).await;
        shards.until_ready(name).await;
    }
    // A look that nobody asks of an object itself, which would make it try again what it has given up.
    let look = async |name: &str| shards.look(&format!("beside-{name}")).await;
    look("one").await;
    look("two").await;
    for name in names {
        shards.until_ready(name).await;
        assert_eq!(remote.get(&format!("{name}.example.com")), Some((true, false)), "{}", cloudflare.ledger());
    }
    // The same hostname with the same wish: neither learns of the other.
    for (name, labels) in [("one", &one), ("two", &two)] {
        let own = format!("{name}.example.com");
        shards.apply(name, zone, labels, &[(&own, true), ("shared.example.com", true)]).await;
        let object = shards.until_ready(name).await;
        assert!(condition(&object, "Conflicted").is_none(), "{object:#}");
    }
    // Let go under `Reset`, it is turned off and not handed over, until the other one looks.
    shards.apply("one", zone, &one, &[("one.example.com", true)]).await;
    let is_off = || remote.get("shared.example.com").is_none();
    cloudflare.until("it is turned off", PATIENCE, is_off).await.unwrap();
    shards.until_ready("one").await;
    look("two").await;
    shards.until_ready("two").await;
    assert_eq!(remote.get("shared.example.com"), Some((true, false)), "{}", cloudflare.ledger());
    shards.apply("one", zone, &one, &[("one.example.com", true), ("shared.example.com", true)]).await;
    shards.until_ready("one").await;
    // With another wish: each repairs what it takes for drift, until one of them stops.
    let mark = cloudflare.ledger().mark();
    shards.apply("two", zone, &two, &[("two.example.com", true), ("shared.example.com", false)]).await;
    let writes = || cloudflare.ledger().since(mark).accepted_puts(remote.scope()).len();
    let (loser, winner) = 'fight: loop {
        for (name, other) in [("one", "two"), ("two", "one")] {
            look(name).await;
            let object = fixture.get(name).await.unwrap().unwrap();
            if condition(&object, "Ready").unwrap()["reason"] == "ForeignWriter" {
                break 'fight (name, other);
            }
        }
        assert!(writes() <= 12, "they still fight after {} writes:\n{}", writes(), cloudflare.ledger());
    };
    println!("{:?}: {loser} gave up after {} writes of both", behaviour.semantics, writes());
    look(winner).await;
    shards.until_ready(winner).await;
    let fought = writes();
    for _ in 0..3 {
        look(loser).await;
        look(winner).await;
    }
    assert_eq!(writes(), fought, "{}", cloudflare.ledger());
    assert_eq!(remote.get("shared.example.com").is_some(), winner == "one");
    // Who wins keeps it only as long as it lists it: then the other one may write again.
    let own = format!("{winner}.example.com");
    let labels = if winner == "one" { &one } else { &two };
    shards.apply(winner, zone, labels, &[(&own, true)]).await;
    shards.until_ready(winner).await;
    shards.look(loser).await;
    shards.until_ready(loser).await;
}

/// The policy that `docs/sharding.md` shows, as it stands there.
#[tokio::test]
async fn the_policy_of_the_guide_keeps_an_object_in_the_shard_of_its_namespace() {
    let control_plane = ControlPlane::shared().await.unwrap();
    let guide = std::fs::read_to_string(harness::tools::workspace().join("docs/sharding.md")).unwrap();
    let policy = guide.split("```yaml\n").find(|block| block.contains("kind: ValidatingAdmissionPolicy")).unwrap();
    control_plane.apply(policy.split("```").next().unwrap()).await.unwrap();
    let fixture = Fixture::new(control_plane).await.unwrap();
    control_plane.kubectl(&["label", "namespace", fixture.namespace(), "team=a"]).await.unwrap();
    let labelled = |labels: Value| {
        let mut manifest = fixture.settings("one").hostname("one.example.com", true).build();
        manifest["metadata"]["labels"] = labels;
        manifest
    };
    // It takes the API server a moment until it decides by a policy.
    let refused = async || match fixture.apply(&labelled(json!({"team": "b"}))).await {
        Err(error) if error.to_string().contains("set the label team to a, as its namespace has it") => Ok(()),
        other => Err(format!("{other:?}")),
    };
    eventually(PATIENCE, "the policy is in force", refused).await.unwrap();
    assert!(fixture.apply(&labelled(json!({}))).await.is_err(), "an object without a label is in no shard");
    fixture.apply(&labelled(json!({"team": "a"}))).await.unwrap();
    assert!(fixture.patch("one", &json!({"metadata": {"labels": {"team": "b"}}})).await.is_err());
    assert!(fixture.patch("one", &json!({"metadata": {"labels": {"team": null}}})).await.is_err());
    // Others are left alone.
    let other = Fixture::new(control_plane).await.unwrap();
    other.apply(&other.settings("one").hostname("one.example.com", true).build()).await.unwrap();
}
