//! One change, from the API server's event to `Ready` in the status: the operator beside the yardstick.

use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::audit::{Audit, Request};
use super::program::{self, Program};
use super::spread::float;
use super::watch::{Seen, Watch, generation};
use super::{Spread, Subject};
use crate::cloudflare::{Cloudflare, Remote};
use crate::control_plane::ControlPlane;
use crate::error::{Error, Result};
use crate::fixture::{CREDENTIAL, Fixture, PATIENCE};

const NAME: &str = "bench";
const HOSTNAME: &str = "bench.example.com";
const TOKEN: &str = "cfut_Rj5Wn8Zt2Kc7Xp4Mb9Vd3Qs6Lf1Hy";
/// Rounds before the first that counts: connections are opened, caches filled.
const WARM_UP: u32 = 5;

/// When the parts of one change were seen to begin, and when the last ended.
#[derive(Clone)]
struct Round {
    /// The watch saw the change, and later the status.
    event: Timestamp,
    ready: Timestamp,
    /// GET, PUT and GET arrived at Cloudflare.
    cloudflare: [Timestamp; 3],
}

/// What one of the two needed, in milliseconds.
pub(super) struct Times {
    pub(super) whole: Spread,
    /// From the event to the request for the Secret, from there to the GET, the PUT, the GET, the status, its event.
    pub(super) parts: [Spread; 6],
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
    watch: Watch,
}

/// Times so many changes of both, one after the other, in turns.
pub(super) async fn measure(control_plane: &ControlPlane, operator: &Subject, rounds: u32) -> Result<Change> {
    let epoch = Timestamp::now();
    let cloudflare = Cloudflare::start().await?;
    // Its own limit would slow the operator down, as it should.
    cloudflare.switch(|switches| switches.ratelimit_headers = false);
    let mut ours = Side::new(control_plane, &cloudflare, "operator").await?;
    let mut theirs = Side::new(control_plane, &cloudflare, "program").await?;
    let mut operator = operator.spawn(control_plane, ours.fixture.namespace(), &cloudflare).await?;
    operator.wait_ready(PATIENCE).await?;
    let client = program::client(operator.kubeconfig()).await?;
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
    let audit = Audit::whole(control_plane);
    let our_requests = audit.requests_in(ours.fixture.namespace())?;
    let their_requests = audit.requests_in(theirs.fixture.namespace())?;
    let pairs = our_rounds.iter().zip(&their_rounds);
    Ok(Change {
        ratio: Spread::of(pairs.map(|(one, other)| one.whole() / other.whole())),
        operator: Times::of(&our_rounds, &our_requests)?,
        program: Times::of(&their_rounds, &their_requests)?,
        cloudflare_requests: per(requests, our_rounds.len()),
        // The first object and the warm-up are changes too.
        kubernetes_requests: per(our_requests.len(), our_rounds.len() + 1 + WARM_UP as usize),
    })
}

fn per(requests: usize, changes: usize) -> Spread {
    Spread::of([float(requests) / float(changes)])
}

impl Round {
    fn whole(&self) -> f64 {
        millis(self.event, self.ready)
    }

    /// The parts one after the other; `requests` are those of the API server's audit log.
    fn parts(&self, requests: &[Request]) -> Result<[f64; 6]> {
        let arrived = |verb: &str, resource: &str| {
            let within =
                |request: &&Request| request.verb == verb && request.resource == resource && request.at <= self.ready;
            let request = requests.iter().rev().find(within);
            request
                .map(|request| request.at)
                .ok_or_else(|| Error::new(format!("{verb} {resource} is not in the audit log")))
        };
        let (secret, status) = (arrived("get", "secrets")?, arrived("patch", "mtlshostnamesettings/status")?);
        let [get, put, proof] = self.cloudflare;
        Ok([
            millis(self.event, secret),
            millis(secret, get),
            millis(get, put),
            millis(put, proof),
            millis(proof, status),
            millis(status, self.ready),
        ])
    }
}

fn millis(from: Timestamp, to: Timestamp) -> f64 {
    (to - from).total(jiff::Unit::Millisecond).unwrap_or_default()
}

impl Times {
    fn of(rounds: &[Round], requests: &[Request]) -> Result<Self> {
        let parts: Result<Vec<[f64; 6]>> = rounds.iter().map(|round| round.parts(requests)).collect();
        let parts = parts?;
        let part = |index: usize| Spread::of(parts.iter().filter_map(|parts| parts.get(index).copied()));
        Ok(Self { whole: Spread::of(rounds.iter().map(Round::whole)), parts: std::array::from_fn(part) })
    }
}

impl Side {
    async fn new(control_plane: &ControlPlane, cloudflare: &Cloudflare, name: &str) -> Result<Self> {
        let fixture = Fixture::new(control_plane).await?;
        let remote = cloudflare.add_zone(fixture.zone_id(), "example.com");
        // Not the name: a piece of a token stands nowhere else.
        let token = format!("{TOKEN}{:016x}", fastrand::u64(..));
        cloudflare.token(&token).named(name).may_write(remote.scope());
        let (secret, key) = CREDENTIAL;
        fixture.apply(&fixture.secret(secret, key, &token)).await?;
        let watch = Watch::start(&fixture);
        Ok(Self { fixture, remote, watch })
    }

    async fn create(&self, forwarding: bool) -> Result<i64> {
        let stored = self.fixture.apply(&self.fixture.settings(NAME).hostname(HOSTNAME, forwarding).build()).await?;
        generation(&stored)
    }

    /// Changes the object and waits until it is served: by the operator, or by `program` once the watch has shown it.
    async fn change(
        &mut self,
        cloudflare: &Cloudflare,
        epoch: Timestamp,
        forwarding: bool,
        program: Option<&Program>,
    ) -> Result<Round> {
        let mark = cloudflare.ledger().mark();
        let entry = json!({"hostname": HOSTNAME, "clientCertificateForwarding": forwarding});
        let stored = self.fixture.patch(NAME, &json!({"spec": {"settings": [entry]}})).await?;
        let wanted = generation(&stored)?;
        let event = self.until(|seen| seen.generation == wanted).await?.at;
        if let Some(program) = program {
            program.serve(wanted, HOSTNAME, forwarding).await?;
        }
        let ready = self.until(|seen| seen.generation == wanted && seen.ready).await?.at;
        let ledger = cloudflare.ledger().since(mark).of(self.remote.scope());
        let [get, put, proof] = ledger.all() else {
            return Err(Error::new(format!("one change was not GET, PUT, GET:\n{ledger}")));
        };
        let cloudflare =
            [get, put, proof].map(|exchange| epoch + SignedDuration::from_micros(exchange.start_us.cast_signed()));
        Ok(Round { event, ready, cloudflare })
    }

    async fn until(&mut self, holds: impl Fn(&Seen) -> bool) -> Result<Seen> {
        self.watch.until(PATIENCE, holds).await
    }
}
