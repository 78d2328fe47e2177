//! Processor time of an operator whose objects are all ready, and the proof that it writes nothing meanwhile.

use std::time::{Duration, Instant};

use super::audit::{Audit, Request};
use super::{Subject, objects, process, stage};
use crate::control_plane::ControlPlane;
use crate::error::{Error, Result};
use crate::fixture::PATIENCE;

/// How many objects it has; ten share a zone.
pub(super) const OBJECTS: usize = 100;
/// The shortest interval that the operator accepts.
const SHORTEST: u64 = 60;

/// What was used while nothing was to do.
pub(super) struct Idle {
    pub(super) lasted: Duration,
    /// How often each zone was looked at.
    pub(super) interval: Duration,
    pub(super) cpu_seconds: f64,
    /// Reads of Cloudflare.
    pub(super) reads: usize,
    /// Requests to the API server; each was a look at a Secret.
    pub(super) secrets: usize,
}

impl Idle {
    /// What it would be in an hour.
    pub(super) fn per_hour(&self) -> f64 {
        self.cpu_seconds * 3600.0 / self.lasted.as_secs_f64()
    }
}

/// Lets the operator idle for so long.
pub(super) async fn measure(control_plane: &ControlPlane, operator: &Subject, lasting: Duration) -> Result<Idle> {
    let cloudflare = stage::cloudflare().await?;
    let fixture = stage::namespace(control_plane).await?;
    // More often than the default, so that there are looks that could write.
    let interval = Duration::from_secs((lasting.as_secs() / 2).max(SHORTEST));
    let argument = format!("--default-interval={}s", interval.as_secs());
    let mut operator = operator.spawn_with(control_plane, fixture.namespace(), &cloudflare, &[argument]).await?;
    operator.wait_ready(PATIENCE).await?;
    objects::create(&fixture, &cloudflare, 0..OBJECTS, 1).await?;
    objects::until_ready(&fixture, OBJECTS, PATIENCE).await?;
    // What is still to be said about the last change has been said by then.
    tokio::time::sleep(Duration::from_secs(3)).await;

    let audit = Audit::from_now(control_plane)?;
    let mark = cloudflare.ledger().mark();
    let (start, before) = (Instant::now(), process::cpu_seconds(operator.pid())?);
    tokio::time::sleep(lasting).await;
    let (lasted, after) = (start.elapsed(), process::cpu_seconds(operator.pid())?);

    let ledger = cloudflare.ledger().since(mark);
    let puts = ledger.all().iter().filter(|exchange| exchange.method == "PUT").count();
    let requests = audit.requests_in(fixture.namespace())?;
    let reads_secret = |request: &&Request| request.verb == "get" && request.resource == "secrets";
    let secrets = requests.iter().filter(reads_secret).count();
    if puts > 0 || secrets != requests.len() {
        let others: Vec<String> = requests
            .iter()
            .filter(|request| !reads_secret(request))
            .map(|request| format!("{} {} {}", request.verb, request.resource, request.name))
            .collect();
        return Err(Error::new(format!("{puts} PUTs and {} while nothing was to do:\n{ledger}", others.join(", "))));
    }
    Ok(Idle { lasted, interval, cpu_seconds: after - before, reads: ledger.len(), secrets })
}
