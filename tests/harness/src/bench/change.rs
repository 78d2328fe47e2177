//! One change, from the API server's event to `Ready` in the status: the operator beside the yardstick.

use std::path::Path;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::{WatchStreamExt as _, watcher};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::Spread;
use super::program::Program;
use crate::cloudflare::{Cloudflare, Remote};
use crate::control_plane::{ControlPlane, OPERATOR};
use crate::error::{Context as _, Error, Result};
use crate::fixture::{CREDENTIAL, Fixture, PATIENCE, condition};
use crate::operator::Operator;

const NAME: &str = "bench";
const HOSTNAME: &str = "bench.example.com";
const TOKEN: &str = "cfut_Rj5Wn8Zt2Kc7Xp4Mb9Vd3Qs6Lf1Hy";
/// Rounds before the first that counts: connections are opened, caches filled.
const WARM_UP: u32 = 5;

/// How long one change took, and where the time went.
#[derive(Clone, Copy)]
struct Round {
    whole: Duration,
    /// Up to the first GET, the PUT, the second GET (as they arrive at Cloudflare), and the status.
    parts: [Duration; 4],
}

/// What one of the two needed, in milliseconds.
pub(super) struct Times {
    pub(super) whole: Spread,
    pub(super) parts: [Spread; 4],
}

/// The operator beside the yardstick.
pub(super) struct Change {
    pub(super) operator: Times,
    pub(super) program: Times,
    /// Round by round: the operator's time by the yardstick's.
    pub(super) ratio: Spread,
    /// Requests of the operator per change, to Cloudflare and to the API server.
    pub(super) cloudflare_requests: Spread,
    pub(super) kubernetes_requests: Spread,
}

/// A namespace with an object, and what a watch of the bench's own sees of it.
struct Side {
    fixture: Fixture,
    remote: Remote,
    seen: mpsc::UnboundedReceiver<Seen>,
    watch: AbortHandle,
}

/// One event of the watch.
struct Seen {
    at: Instant,
    generation: i64,
    ready: bool,
}

impl Drop for Side {
    fn drop(&mut self) {
        self.watch.abort();
    }
}

/// Times so many changes of both, one after the other, in turns.
pub(super) async fn measure(control_plane: &ControlPlane, operator: &Path, rounds: u32) -> Result<Change> {
    let epoch = Instant::now();
    let cloudflare = Cloudflare::start().await?;
    let mut ours = Side::new(control_plane, &cloudflare, "operator").await?;
    let mut theirs = Side::new(control_plane, &cloudflare, "program").await?;
    let mut operator = Operator::builder(operator, control_plane)
        .watch_namespace(ours.fixture.namespace())
        .cloudflare(cloudflare.url())
        .spawn()
        .await?;
    operator.wait_ready(PATIENCE).await?;
    let client = client(operator.kubeconfig()).await?;
    let program = Program::new(&client, &theirs.fixture, &cloudflare.url(), NAME)?;
    ours.create(true).await?;
    ours.until(|seen| seen.ready).await?;
    let created = theirs.create(true).await?;
    program.serve(created, HOSTNAME, true).await?;
    theirs.until(|seen| seen.ready).await?;

    let (mut our_rounds, mut their_rounds) = (Vec::new(), Vec::new());
    let mut first = 0;
    for round in 0..WARM_UP + rounds {
        if round == WARM_UP {
            first = cloudflare.ledger().mark();
        }
        let forwarding = round % 2 == 1;
        // Whoever goes second could gain from the first: they take turns at that too.
        let (one, other) = if round % 4 < 2 {
            let one = ours.change(&cloudflare, epoch, forwarding, None).await?;
            (one, theirs.change(&cloudflare, epoch, forwarding, Some(&program)).await?)
        } else {
            let other = theirs.change(&cloudflare, epoch, forwarding, Some(&program)).await?;
            (ours.change(&cloudflare, epoch, forwarding, None).await?, other)
        };
        if round >= WARM_UP {
            our_rounds.push(one);
            their_rounds.push(other);
        }
    }
    let requests = cloudflare.ledger().since(first).of(ours.remote.scope()).len();
    let asked = kubernetes_requests(control_plane, ours.fixture.namespace())?;
    let pairs = our_rounds.iter().zip(&their_rounds);
    Ok(Change {
        operator: Times::of(&our_rounds),
        program: Times::of(&their_rounds),
        ratio: Spread::of(pairs.map(|(one, other)| one.whole.as_secs_f64() / other.whole.as_secs_f64())),
        cloudflare_requests: per(requests, our_rounds.len()),
        // The first object and the warm-up are changes too.
        kubernetes_requests: per(asked, our_rounds.len() + 1 + WARM_UP as usize),
    })
}

#[allow(clippy::cast_precision_loss, reason = "both are small counts")]
fn per(requests: usize, changes: usize) -> Spread {
    Spread::of([requests as f64 / changes as f64])
}

impl Times {
    fn of(rounds: &[Round]) -> Self {
        let part = |index: usize| Spread::millis(rounds.iter().filter_map(|round| round.parts.get(index).copied()));
        let whole = Spread::millis(rounds.iter().map(|round| round.whole));
        Self { whole, parts: [part(0), part(1), part(2), part(3)] }
    }
}

impl Side {
    async fn new(control_plane: &ControlPlane, cloudflare: &Cloudflare, name: &str) -> Result<Self> {
        let fixture = Fixture::new(control_plane).await?;
        let remote = cloudflare.add_zone(fixture.zone_id(), "example.com");
        let token = format!("{TOKEN}{name}");
        cloudflare.token(&token).named(name).may_write(remote.scope());
        let (secret, key) = CREDENTIAL;
        fixture.apply(&fixture.secret(secret, key, &token)).await?;
        let (sender, seen) = mpsc::unbounded_channel();
        let mut events =
            Box::pin(watcher(fixture.objects(), watcher::Config::default()).default_backoff().applied_objects());
        let watch = tokio::spawn(async move {
            while let Some(event) = events.next().await {
                let Ok(object) = event else { continue };
                let at = Instant::now();
                let Ok(object) = serde_json::to_value(object) else { continue };
                if sender.send(Seen::of(&object, at)).is_err() {
                    return;
                }
            }
        });
        Ok(Self { fixture, remote, seen, watch: watch.abort_handle() })
    }

    async fn create(&self, forwarding: bool) -> Result<i64> {
        let stored = self.fixture.apply(&self.fixture.settings(NAME).hostname(HOSTNAME, forwarding).build()).await?;
        generation(&stored)
    }

    /// Changes the object and waits until it is served: by the operator, or by `program` once the watch has shown it.
    async fn change(
        &mut self,
        cloudflare: &Cloudflare,
        epoch: Instant,
        forwarding: bool,
        program: Option<&Program>,
    ) -> Result<Round> {
        let mark = cloudflare.ledger().mark();
        let entry = json!({"hostname": HOSTNAME, "clientCertificateForwarding": forwarding});
        let stored = self.fixture.patch(NAME, &json!({"spec": {"settings": [entry]}})).await?;
        let wanted = generation(&stored)?;
        let start = self.until(|seen| seen.generation == wanted).await?.at;
        if let Some(program) = program {
            program.serve(wanted, HOSTNAME, forwarding).await?;
        }
        let end = self.until(|seen| seen.generation == wanted && seen.ready).await?.at;
        let ledger = cloudflare.ledger().since(mark).of(self.remote.scope());
        let [get, put, proof] = ledger.all() else {
            return Err(Error::new(format!("one change was not GET, PUT, GET:\n{ledger}")));
        };
        let arrived = [get, put, proof].map(|exchange| epoch + Duration::from_micros(exchange.start_us));
        let [get, put, proof] = arrived;
        // The operator may hear of the change before the bench does: a saturating difference.
        let parts = [get - start.min(get), put - get, proof - put, end - proof];
        Ok(Round { whole: end - start, parts })
    }

    async fn until(&mut self, holds: impl Fn(&Seen) -> bool) -> Result<Seen> {
        let wait = async {
            loop {
                match self.seen.recv().await {
                    Some(seen) if holds(&seen) => return Ok(seen),
                    Some(_) => {}
                    None => return Err(Error::new("the watch ended")),
                }
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.context("waiting for a change to be served")?
    }
}

impl Seen {
    fn of(object: &Value, at: Instant) -> Self {
        let generation = generation(object).unwrap_or_default();
        let ready = condition(object, "Ready").is_some_and(|ready| {
            ready.get("status") == Some(&json!("True")) && ready.get("observedGeneration") == Some(&json!(generation))
        });
        Self { at, generation, ready }
    }
}

fn generation(object: &Value) -> Result<i64> {
    let generation = object.pointer("/metadata/generation").and_then(Value::as_i64);
    generation.ok_or_else(|| Error::new("the object has no generation"))
}

async fn client(kubeconfig: &Path) -> Result<kube::Client> {
    let kubeconfig = Kubeconfig::read_from(kubeconfig)?;
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    Ok(kube::Client::try_from(config)?)
}

/// The operator's requests in this namespace, watches aside.
fn kubernetes_requests(control_plane: &ControlPlane, namespace: &str) -> Result<usize> {
    let all = control_plane.requests_of(&format!("system:serviceaccount:{OPERATOR}:{OPERATOR}"))?;
    let text =
        |entry: &Value, pointer: &str| entry.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let counts = |entry: &&Value| {
        text(entry, "/objectRef/namespace") == namespace
            && ["get", "patch", "create", "update"].contains(&text(entry, "/verb").as_str())
    };
    Ok(all.iter().filter(counts).count())
}
