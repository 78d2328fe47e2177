//! Many objects of one zone, all made and then all changed, while Cloudflare takes seconds to apply a write.

use std::ops::Range;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;

use super::audit::Audit;
use super::spread::float;
use super::watch::Watch;
use super::{Spread, Subject, objects, stage};
use crate::cloudflare::{Cloudflare, Ledger, Scope};
use crate::control_plane::ControlPlane;
use crate::error::Result;
use crate::fixture::{Fixture, PATIENCE};

/// How long each answer takes.
pub(super) const LATENCY: Duration = Duration::from_millis(200);
/// How long a write takes to have its effect; until then the zone refuses others.
pub(super) const APPLY: Duration = Duration::from_secs(3);
/// Longest that all objects may take to become ready.
const DEADLINE: Duration = Duration::from_secs(240);

/// What one number of objects costs.
pub(super) struct Row {
    pub(super) objects: usize,
    pub(super) create: Cost,
    pub(super) change: Cost,
}

/// Requests to Cloudflare, statuses, and seconds until the last object is served.
pub(super) struct Cost {
    pub(super) gets: Spread,
    /// All of them, the refused ones too.
    pub(super) puts: Spread,
    pub(super) refused: Spread,
    /// Statuses for each object; none where there is no Kubernetes.
    pub(super) statuses: Spread,
    pub(super) seconds: Spread,
}

/// The same of one round.
pub(super) struct Round {
    gets: usize,
    puts: usize,
    refused: usize,
    statuses: usize,
    seconds: f64,
}

impl Round {
    /// Of the requests to one zone, and of as many statuses.
    pub(super) fn of(ledger: &Ledger, zone: &Scope, statuses: usize, seconds: f64) -> Self {
        let puts = ledger.puts(zone);
        let refused = puts.iter().filter(|put| put.status == Some(409)).count();
        Self { gets: ledger.gets(zone).len(), puts: puts.len(), refused, statuses, seconds }
    }
}

impl Row {
    /// Of rounds of creating and changing.
    pub(super) fn of(objects: usize, rounds: &[(Round, Round)]) -> Self {
        let cost = |round: fn(&(Round, Round)) -> &Round| {
            let spread = |value: fn(&Round) -> f64| Spread::of(rounds.iter().map(|both| value(round(both))));
            Cost {
                gets: spread(|round| float(round.gets)),
                puts: spread(|round| float(round.puts)),
                refused: spread(|round| float(round.refused)),
                statuses: Spread::of(rounds.iter().map(|both| float(round(both).statuses) / float(objects))),
                seconds: spread(|round| round.seconds),
            }
        };
        Self { objects, create: cost(|(create, _)| create), change: cost(|(_, change)| change) }
    }
}

/// How often a number of objects is measured: the more there are, the longer it takes and the less it varies.
pub(super) fn rounds(objects: usize, most: usize) -> Range<usize> {
    0..match objects {
        0..=10 => most,
        11..=100 => most.min(3),
        _ => most.min(2),
    }
}

/// Turns a Cloudflare into one that is as slow as the real one.
pub(super) fn slow(cloudflare: &Cloudflare) {
    cloudflare.switch(|switches| {
        switches.latency_ms = u64::try_from(LATENCY.as_millis()).unwrap_or_default();
        switches.apply_delay_ms = u64::try_from(APPLY.as_millis()).unwrap_or_default();
    });
}

/// Measures the operator with so many objects, some rounds of each.
pub(super) async fn measure(
    control_plane: &ControlPlane,
    operator: &Subject,
    sizes: &[usize],
    most: usize,
) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for size in sizes {
        let mut done = Vec::new();
        for _ in rounds(*size, most) {
            done.push(round(control_plane, operator, *size).await?);
        }
        rows.push(Row::of(*size, &done));
    }
    Ok(rows)
}

async fn round(control_plane: &ControlPlane, operator: &Subject, size: usize) -> Result<(Round, Round)> {
    let cloudflare = stage::cloudflare().await?;
    slow(&cloudflare);
    let fixture = stage::namespace(control_plane).await?;
    let zone = cloudflare.add_zone(fixture.zone_id(), "example.com").scope().clone();
    let mut operator = operator.spawn(control_plane, fixture.namespace(), &cloudflare).await?;
    operator.wait_ready(PATIENCE).await?;
    let mut watch = Watch::start(&fixture);
    let create = async |number: usize| {
        let manifest = fixture.settings(&objects::name(number)).hostname(&objects::hostname(number), true);
        fixture.apply(&manifest.build()).await.map(drop)
    };
    let mut audit = Audit::from_now(control_plane)?;
    let start = Timestamp::now();
    objects::each(0..size, objects::AT_ONCE, create).await?;
    let ready = watch.all_ready(size, 1, DEADLINE).await?;
    let created = Round::of(&cloudflare.ledger(), &zone, audit.statuses()?, seconds(start, ready));

    let mark = cloudflare.ledger().mark();
    let mut audit = Audit::from_now(control_plane)?;
    let start = Timestamp::now();
    objects::each(0..size, objects::AT_ONCE, async |number| change(&fixture, number).await).await?;
    let ready = watch.all_ready(size, 2, DEADLINE).await?;
    let ledger = cloudflare.ledger().since(mark);
    let changed = Round::of(&ledger, &zone, audit.statuses()?, seconds(start, ready));
    Ok((created, changed))
}

async fn change(fixture: &Fixture, number: usize) -> Result<()> {
    let entry = json!({"hostname": objects::hostname(number), "clientCertificateForwarding": false});
    fixture.patch(&objects::name(number), &json!({"spec": {"settings": [entry]}})).await.map(drop)
}

/// From one time to another.
pub(super) fn seconds(from: Timestamp, to: Timestamp) -> f64 {
    (to - from).total(jiff::Unit::Second).unwrap_or_default()
}
