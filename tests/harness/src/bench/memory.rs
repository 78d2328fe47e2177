//! Resident memory of the operator that has nothing to do: with no objects, and with more and more.

use std::time::Duration;

use super::{Spread, Subject, objects, process};
use crate::cloudflare::Cloudflare;
use crate::control_plane::ControlPlane;
use crate::error::Result;
use crate::fixture::{CREDENTIAL, Fixture, PATIENCE};
use crate::operator::Operator;

const TOKEN: &str = "cfut_Gx4Fb7Wq2Tn9Kz6Hc3Rv8Pd1Ls5My";
/// Operators that are looked at, each with a namespace of its own.
const OPERATORS: usize = 3;

/// Resident megabytes (10^6 bytes): all, what the program allocated, and what is mapped from its file and libraries.
pub(super) struct Resident {
    pub(super) all: Spread,
    pub(super) anonymous: Spread,
    pub(super) file: Spread,
}

/// With nothing to do.
pub(super) struct Memory {
    /// By number of objects.
    pub(super) resident: Vec<(usize, Resident)>,
    pub(super) threads: Spread,
    pub(super) idle: Duration,
}

struct Watched {
    fixture: Fixture,
    operator: Operator,
}

/// Lets a few operators idle, gives them objects, and lets them idle again.
pub(super) async fn measure(
    control_plane: &ControlPlane,
    operator: &Subject,
    objects: &[usize],
    idle: Duration,
) -> Result<Memory> {
    let cloudflare = Cloudflare::start().await?;
    // Its own limit would slow the operator down, as it should.
    cloudflare.switch(|switches| switches.ratelimit_headers = false);
    cloudflare.token(TOKEN).may_write_everything();
    let mut watched = Vec::new();
    for _ in 0..OPERATORS {
        let fixture = Fixture::new(control_plane).await?;
        let (secret, key) = CREDENTIAL;
        fixture.apply(&fixture.secret(secret, key, TOKEN)).await?;
        let mut operator = operator.spawn(control_plane, fixture.namespace(), &cloudflare).await?;
        operator.wait_ready(PATIENCE).await?;
        watched.push(Watched { fixture, operator });
    }
    let mut resident = Vec::new();
    let mut existing = 0;
    for &number in objects {
        for Watched { fixture, .. } in &watched {
            // One after the other, as people and pipelines make them.
            objects::create(fixture, &cloudflare, existing..number, 1).await?;
            objects::until_ready(fixture, number, 4 * PATIENCE).await?;
        }
        existing = number;
        tokio::time::sleep(idle).await;
        let pids: Vec<u32> = watched.iter().map(|watched| watched.operator.pid()).collect();
        resident.push((number, Resident::of(&pids)?));
    }
    let threads = |watched: &Watched| process::status(watched.operator.pid(), "Threads:");
    let threads: Result<Vec<f64>> = watched.iter().map(threads).collect();
    Ok(Memory { resident, threads: Spread::of(threads?), idle })
}

impl Resident {
    /// Of some processes, as they are now.
    pub(super) fn of(pids: &[u32]) -> Result<Self> {
        let all = |name: &str| -> Result<Spread> {
            let values: Result<Vec<f64>> = pids.iter().map(|pid| process::megabytes(*pid, name)).collect();
            Ok(Spread::of(values?))
        };
        Ok(Self { all: all("VmRSS:")?, anonymous: all("RssAnon:")?, file: all("RssFile:")? })
    }
}
