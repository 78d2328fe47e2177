//! Resident memory of the operator that has nothing to do: with no objects, and with a hundred.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::Spread;
use crate::cloudflare::Cloudflare;
use crate::control_plane::ControlPlane;
use crate::error::{Context as _, Error, Result};
use crate::fixture::{API_VERSION, CREDENTIAL, Fixture, PATIENCE, condition, eventually, random_id};
use crate::operator::Operator;

const TOKEN: &str = "cfut_Gx4Fb7Wq2Tn9Kz6Hc3Rv8Pd1Ls5My";
/// Operators that are looked at, each with a namespace of its own.
const OPERATORS: usize = 3;
/// Objects of each operator, and the zones over which they are spread.
const OBJECTS: usize = 100;
const ZONES: usize = 10;

/// Resident megabytes (10^6 bytes): all, what the program allocated, and what is mapped from its file and libraries.
pub(super) struct Resident {
    pub(super) all: Spread,
    pub(super) anonymous: Spread,
    pub(super) file: Spread,
}

/// With nothing to do.
pub(super) struct Memory {
    pub(super) empty: Resident,
    pub(super) hundred: Resident,
    pub(super) threads: Spread,
    pub(super) idle: Duration,
}

struct Watched {
    fixture: Fixture,
    operator: Operator,
}

/// Lets a few operators idle, gives them objects, and lets them idle again.
pub(super) async fn measure(control_plane: &ControlPlane, operator: &Path, idle: Duration) -> Result<Memory> {
    let cloudflare = Cloudflare::start().await?;
    cloudflare.token(TOKEN).may_write_everything();
    let mut watched = Vec::new();
    for _ in 0..OPERATORS {
        let fixture = Fixture::new(control_plane).await?;
        let (secret, key) = CREDENTIAL;
        fixture.apply(&fixture.secret(secret, key, TOKEN)).await?;
        let mut operator = Operator::builder(operator, control_plane)
            .watch_namespace(fixture.namespace())
            .cloudflare(cloudflare.url())
            .spawn()
            .await?;
        operator.wait_ready(PATIENCE).await?;
        watched.push(Watched { fixture, operator });
    }
    tokio::time::sleep(idle).await;
    let empty = resident(&watched)?;
    for Watched { fixture, .. } in &watched {
        fill(fixture, &cloudflare).await?;
    }
    tokio::time::sleep(idle).await;
    let threads: Result<Vec<f64>> = watched.iter().map(|watched| field(watched.operator.pid(), "Threads:")).collect();
    Ok(Memory { empty, hundred: resident(&watched)?, threads: Spread::of(threads?), idle })
}

/// Makes the objects and waits until all of them are ready.
async fn fill(fixture: &Fixture, cloudflare: &Cloudflare) -> Result<()> {
    let zones: Vec<String> = (0..ZONES).map(|_| random_id()).collect();
    for zone in &zones {
        let _ = cloudflare.add_zone(zone, "example.com");
    }
    for (index, zone) in zones.iter().cycle().take(OBJECTS).enumerate() {
        let name = format!("object-{index}");
        let manifest = fixture.settings(&name).zone(zone).hostname(&format!("{name}.example.com"), true);
        fixture.apply(&manifest.build()).await?;
    }
    eventually(PATIENCE, format!("{OBJECTS} objects are ready"), async || {
        let list =
            fixture.objects().list(&kube::api::ListParams::default()).await.map_err(|error| error.to_string())?;
        let ready = |object: &kube::api::DynamicObject| {
            let object =
                json!({"apiVersion": API_VERSION, "status": object.data.get("status").unwrap_or(&Value::Null)});
            condition(&object, "Ready").is_some_and(|ready| ready.get("status") == Some(&json!("True")))
        };
        let count = list.items.iter().filter(|object| ready(object)).count();
        if count == OBJECTS { Ok(()) } else { Err(format!("{count} of {OBJECTS} are ready")) }
    })
    .await
}

fn resident(watched: &[Watched]) -> Result<Resident> {
    let all = |name: &str| -> Result<Spread> {
        let values: Result<Vec<f64>> = watched.iter().map(|watched| field(watched.operator.pid(), name)).collect();
        // The kernel counts in KiB.
        Ok(Spread::of(values?.into_iter().map(|kib| kib * 1024.0 / 1e6)))
    };
    Ok(Resident { all: all("VmRSS:")?, anonymous: all("RssAnon:")?, file: all("RssFile:")? })
}

/// One number of `/proc/PID/status`.
fn field(pid: u32, name: &str) -> Result<f64> {
    let path = format!("/proc/{pid}/status");
    let text = std::fs::read_to_string(&path).context(&path)?;
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next());
    let value = value.ok_or_else(|| Error::new(format!("{path} has no {name}")))?;
    Ok(value.parse()?)
}
