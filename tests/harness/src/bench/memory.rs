//! Resident memory of the operator that has nothing to do: with no objects, with a hundred and with a thousand.

use std::ops::Range;
use std::time::Duration;

use kube::api::{DynamicObject, ListParams};
use serde_json::json;

use super::{Spread, Subject};
use crate::cloudflare::Cloudflare;
use crate::control_plane::ControlPlane;
use crate::error::{Context as _, Error, Result};
use crate::fixture::{CREDENTIAL, Fixture, PATIENCE, condition, eventually, random_id};
use crate::operator::Operator;

const TOKEN: &str = "cfut_Gx4Fb7Wq2Tn9Kz6Hc3Rv8Pd1Ls5My";
/// Operators that are looked at, each with a namespace of its own.
const OPERATORS: usize = 3;
/// How many objects each operator has when its memory is read.
const OBJECTS: [usize; 3] = [0, 100, 1000];
/// Objects that share a zone.
const IN_ZONE: usize = 10;

/// Resident megabytes (10^6 bytes): all, what the program allocated, and what is mapped from its file and libraries.
pub(super) struct Resident {
    pub(super) all: Spread,
    pub(super) anonymous: Spread,
    pub(super) file: Spread,
}

/// With nothing to do.
pub(super) struct Memory {
    /// By number of objects; the first has none.
    pub(super) resident: Vec<(usize, Resident)>,
    pub(super) threads: Spread,
    pub(super) idle: Duration,
}

struct Watched {
    fixture: Fixture,
    operator: Operator,
}

/// Lets a few operators idle, gives them objects, and lets them idle again.
pub(super) async fn measure(control_plane: &ControlPlane, operator: &Subject, idle: Duration) -> Result<Memory> {
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
    for objects in OBJECTS {
        for Watched { fixture, .. } in &watched {
            fill(fixture, &cloudflare, existing..objects).await?;
        }
        existing = objects;
        tokio::time::sleep(idle).await;
        resident.push((objects, Resident::of(&watched)?));
    }
    let threads: Result<Vec<f64>> = watched.iter().map(|watched| field(watched.operator.pid(), "Threads:")).collect();
    Ok(Memory { resident, threads: Spread::of(threads?), idle })
}

/// Makes objects of these numbers and waits until all that there are now are ready.
async fn fill(fixture: &Fixture, cloudflare: &Cloudflare, numbers: Range<usize>) -> Result<()> {
    let mut zone = String::new();
    for index in numbers.clone() {
        if index % IN_ZONE == 0 {
            zone = random_id();
            let _ = cloudflare.add_zone(&zone, "example.com");
        }
        let name = format!("object-{index}");
        let manifest = fixture.settings(&name).zone(&zone).hostname(&format!("{name}.example.com"), true);
        fixture.apply(&manifest.build()).await?;
    }
    eventually(4 * PATIENCE, format!("{} objects are ready", numbers.end), async || {
        let list = fixture.objects().list(&ListParams::default()).await.map_err(|error| error.to_string())?;
        let ready = |object: &DynamicObject| {
            let object = serde_json::to_value(object).unwrap_or_default();
            condition(&object, "Ready").is_some_and(|ready| ready.get("status") == Some(&json!("True")))
        };
        let count = list.items.iter().filter(|object| ready(object)).count();
        if count == numbers.end { Ok(()) } else { Err(format!("{count} of {} are ready", numbers.end)) }
    })
    .await
}

impl Resident {
    fn of(watched: &[Watched]) -> Result<Self> {
        let all = |name: &str| -> Result<Spread> {
            let values: Result<Vec<f64>> = watched.iter().map(|watched| field(watched.operator.pid(), name)).collect();
            // The kernel counts in KiB.
            Ok(Spread::of(values?.into_iter().map(|kib| kib * 1024.0 / 1e6)))
        };
        Ok(Self { all: all("VmRSS:")?, anonymous: all("RssAnon:")?, file: all("RssFile:")? })
    }
}

/// One number of `/proc/PID/status`.
fn field(pid: u32, name: &str) -> Result<f64> {
    let path = format!("/proc/{pid}/status");
    let text = std::fs::read_to_string(&path).context(&path)?;
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next());
    let value = value.ok_or_else(|| Error::new(format!("{path} has no {name}")))?;
    Ok(value.parse()?)
}
