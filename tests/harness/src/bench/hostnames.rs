//! One object with a long list of hostnames: applied as a whole, then with one of them changed.

use jiff::Timestamp;
use serde_json::Value;

use super::lists::seconds;
use super::spread::float;
use super::watch::{Watch, generation};
use super::{Spread, Subject, stage};
use crate::cloudflare::Cloudflare;
use crate::control_plane::ControlPlane;
use crate::error::Result;
use crate::fixture::{Fixture, PATIENCE, random_id};

/// Requests to Cloudflare, and milliseconds from the apply to `Ready`.
pub(super) struct Hostnames {
    pub(super) listed: usize,
    pub(super) create: Cost,
    pub(super) change: Cost,
}

pub(super) struct Cost {
    pub(super) requests: Spread,
    pub(super) millis: Spread,
}

/// Measures so many rounds, each with an object and a zone of its own.
pub(super) async fn measure(
    control_plane: &ControlPlane,
    operator: &Subject,
    hostnames: usize,
    rounds: usize,
) -> Result<Hostnames> {
    let cloudflare = stage::cloudflare().await?;
    let fixture = stage::namespace(control_plane).await?;
    let mut operator = operator.spawn(control_plane, fixture.namespace(), &cloudflare).await?;
    operator.wait_ready(PATIENCE).await?;
    let mut bench = Bench { watch: Watch::start(&fixture), fixture, cloudflare };
    let (mut create, mut change) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        let zone = random_id();
        let _ = bench.cloudflare.add_zone(&zone, "example.com");
        let manifest = |changed: Option<usize>| {
            let settings = bench.fixture.settings(&format!("long-{round}")).zone(&zone);
            let list = (0..hostnames).map(|number| (format!("host-{number}.example.com"), Some(number) != changed));
            list.fold(settings, |settings, (hostname, wanted)| settings.hostname(&hostname, wanted)).build()
        };
        let (whole, changed) = (manifest(None), manifest(Some(hostnames / 2)));
        create.push(bench.apply(&whole).await?);
        change.push(bench.apply(&changed).await?);
    }
    let cost = |rounds: &[(usize, f64)]| Cost {
        requests: Spread::of(rounds.iter().map(|(requests, _)| float(*requests))),
        millis: Spread::of(rounds.iter().map(|(_, millis)| *millis)),
    };
    Ok(Hostnames { listed: hostnames, create: cost(&create), change: cost(&change) })
}

struct Bench {
    fixture: Fixture,
    cloudflare: Cloudflare,
    watch: Watch,
}

impl Bench {
    /// Applies an object and waits until it is ready: requests and milliseconds.
    async fn apply(&mut self, manifest: &Value) -> Result<(usize, f64)> {
        let mark = self.cloudflare.ledger().mark();
        let start = Timestamp::now();
        let stored = self.fixture.apply(manifest).await?;
        let (name, wanted) = (stored.pointer("/metadata/name").and_then(Value::as_str), generation(&stored)?);
        let served = |name: Option<&str>| {
            let name = name.unwrap_or_default().to_owned();
            move |seen: &super::watch::Seen| seen.name == name && seen.generation == wanted && seen.ready
        };
        let seen = self.watch.until(2 * PATIENCE, served(name)).await?;
        Ok((self.cloudflare.ledger().since(mark).len(), seconds(start, seen.at) * 1000.0))
    }
}
