//! `harness soak`: half an hour of churn with faults, to see whether memory, file descriptors and tasks stay flat.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use fastrand::Rng;

use super::{Subject, objects, process, stage};
use crate::api_proxy::{self, ApiProxy};
use crate::cloudflare::{Cloudflare, Effect, Fault};
use crate::control_plane::ControlPlane;
use crate::error::{Context as _, Error, Result};
use crate::fixture::{Fixture, PATIENCE, random_id};
use crate::guard::say;
use crate::operator::Operator;

mod graph;

/// Objects that come and go, and the zones that they are spread over.
const OBJECTS: usize = 300;
const ZONES: usize = 60;
/// Changes per second.
const CHANGES: u64 = 10;
/// Between two faults, and between two samples.
const FAULTS: Duration = Duration::from_secs(7);
const SAMPLES: Duration = Duration::from_secs(5);
/// What the end may have more than the beginning, when the first three tenths of the time, in which the allocator's and
/// other caches fill, are left out.
const GROWTH: f64 = 0.10;

/// Arguments of `harness soak`.
#[derive(clap::Args)]
pub struct Args {
    /// The operator's program, as it is shipped
    #[arg(long)]
    operator: PathBuf,
    /// The graph to write
    #[arg(long)]
    graph: PathBuf,
    /// How long it lasts
    #[arg(long, default_value_t = 30)]
    minutes: u64,
}

/// One of the values of a sample.
type Value = fn(&Sample) -> f64;

/// What the operator had at one moment.
struct Sample {
    minutes: f64,
    megabytes: f64,
    descriptors: f64,
    tasks: f64,
}

/// The churn, and what it works on.
struct Churn {
    rng: Rng,
    fixture: Fixture,
    cloudflare: Cloudflare,
    proxy: ApiProxy,
    zones: Vec<String>,
    /// Which objects exist now.
    alive: Vec<bool>,
    changes: u64,
    faults: u64,
}

/// Runs it, writes the graph, and says whether everything stayed flat.
///
/// # Errors
/// When something grew, or the objects are not all ready in the end.
pub async fn run(args: Args) -> Result<()> {
    let program = args.operator.canonicalize().context(args.operator.display())?;
    let subject = Subject { program, environment: Vec::new() };
    say("starting a control plane ...")?;
    let control_plane = ControlPlane::start().await?;
    control_plane.install().await?;
    let cloudflare = stage::cloudflare().await?;
    let fixture = stage::namespace(&control_plane).await?;
    let seed = fastrand::u64(..);
    let zones: Vec<String> = (0..ZONES).map(|_| random_id()).collect();
    for zone in &zones {
        let _ = cloudflare.add_zone(zone, "example.com");
    }
    let proxy = ApiProxy::start(&control_plane).await?;
    let operator = subject.builder(&control_plane, fixture.namespace(), &cloudflare).through(&proxy);
    let mut operator = operator.spawn().await?;
    operator.wait_ready(PATIENCE).await?;
    say(&format!("{} minutes of churn with faults, seed {seed} ...", args.minutes))?;
    let rng = Rng::with_seed(seed);
    let mut churn =
        Churn { rng, fixture, cloudflare, proxy, zones, alive: vec![false; OBJECTS], changes: 0, faults: 0 };
    let samples = churn.last(Duration::from_secs(args.minutes * 60), &operator).await?;
    churn.settle().await?;
    let svg = graph::draw(&samples)?;
    std::fs::write(&args.graph, svg).context(args.graph.display())?;
    let said = verdict(&samples)?;
    say(&format!(
        "{} changes and {} faults in {} minutes\n{said}\nwritten to {}",
        churn.changes,
        churn.faults,
        args.minutes,
        args.graph.display()
    ))
}

impl Churn {
    /// Changes and faults until the time is over; what the operator had meanwhile.
    async fn last(&mut self, time: Duration, operator: &Operator) -> Result<Vec<Sample>> {
        let started = Instant::now();
        let (mut samples, mut next_fault, mut next_sample) = (Vec::new(), Duration::ZERO, Duration::ZERO);
        while started.elapsed() < time {
            self.change().await?;
            if started.elapsed() >= next_fault {
                self.break_something();
                next_fault = started.elapsed() + FAULTS;
            }
            if started.elapsed() >= next_sample {
                samples.push(Sample::of(operator, started.elapsed()).await?);
                next_sample = started.elapsed() + SAMPLES;
            }
            tokio::time::sleep(Duration::from_millis(1000 / CHANGES)).await;
        }
        Ok(samples)
    }

    /// Makes, edits or deletes one object.
    async fn change(&mut self) -> Result<()> {
        let number = self.rng.usize(..OBJECTS);
        let name = objects::name(number);
        let is_alive = self.alive.get_mut(number).ok_or_else(|| Error::new("no such object"))?;
        self.changes += 1;
        if *is_alive && self.rng.u8(..4) == 0 {
            *is_alive = false;
            return self.fixture.delete(&name).await;
        }
        *is_alive = true;
        let zone = self.zones.get(number % ZONES).ok_or_else(|| Error::new("no such zone"))?;
        let manifest = self.fixture.settings(&name).zone(zone).hostname(&objects::hostname(number), self.rng.bool());
        self.fixture.apply(&manifest.build()).await.map(drop)
    }

    /// At Cloudflare, or on the way to the API server.
    fn break_something(&mut self) {
        let times = self.rng.u32(1..=20);
        self.faults += u64::from(times);
        if self.rng.bool() {
            self.break_kubernetes(times);
            return;
        }
        let fault = match self.rng.u8(..7) {
            0 => Fault::from(Effect::Reset),
            1 => Fault::from(Effect::Reset).once_applied(),
            2 => Fault::from(Effect::Html520),
            3 => Fault::rate_limited(Some("1")),
            4 => Fault::code(12132),
            5 => Fault::answer(200, "<html>no JSON</html>"),
            _ => Fault::answer(503, ""),
        };
        let _ = self.cloudflare.inject(fault.times(times));
    }

    fn break_kubernetes(&mut self, times: u32) {
        let fault = match self.rng.u8(..7) {
            0 => return self.proxy.drop_connections(),
            1 => api_proxy::Fault::from(api_proxy::Effect::Reset).on("patch"),
            2 => api_proxy::Fault::from(api_proxy::Effect::Reset).on("patch").once_applied(),
            3 => api_proxy::Fault::refusal(500, "InternalError").of("secrets"),
            4 => api_proxy::Fault::refusal_with(429, "TooManyRequests", &[("retry-after", "1")]),
            5 => api_proxy::Fault::refusal(410, "Expired").on("watch"),
            _ => api_proxy::Fault::refusal(409, "Conflict").on("patch"),
        };
        let _ = self.proxy.inject(fault.times(times));
    }

    /// All objects that are left become ready once nothing disturbs them any more.
    async fn settle(&self) -> Result<()> {
        self.cloudflare.clear_faults();
        self.proxy.clear_faults();
        let alive = self.alive.iter().filter(|alive| **alive).count();
        objects::until_ready(&self.fixture, alive, 10 * PATIENCE).await
    }
}

impl Sample {
    async fn of(operator: &Operator, at: Duration) -> Result<Self> {
        let descriptors = std::fs::read_dir(format!("/proc/{}/fd", operator.pid())).context("descriptors")?.count();
        let (_, metrics) = operator.get("/metrics").await?;
        let tasks = metrics.lines().find_map(|line| line.strip_prefix("cfmtls_runtime_tasks "));
        Ok(Self {
            minutes: at.as_secs_f64() / 60.0,
            megabytes: process::megabytes(operator.pid(), "VmRSS:")?,
            descriptors: f64::from(u32::try_from(descriptors)?),
            tasks: tasks.ok_or_else(|| Error::new("no metric of the tasks"))?.parse()?,
        })
    }
}

/// Compares the fourth tenth of the time with the last one.
fn verdict(samples: &[Sample]) -> Result<String> {
    let tenth = samples.len() / 10;
    let (begin, end) = match (samples.get(3 * tenth..4 * tenth), samples.get(samples.len() - tenth..)) {
        (Some(begin), Some(end)) if tenth > 0 => (begin, end),
        _ => return Err(Error::new("too few samples")),
    };
    let mut lines = Vec::new();
    let mut grown = Vec::new();
    let values: [(&str, Value); 3] = [
        ("resident megabytes", |sample| sample.megabytes),
        ("file descriptors", |sample| sample.descriptors),
        ("tasks", |sample| sample.tasks),
    ];
    for (what, value) in values {
        let (before, after) = (median(begin, value), median(end, value));
        lines.push(format!("{what}: {before:.1} in the fourth tenth of the time, {after:.1} in the last"));
        if after > before * (1.0 + GROWTH) {
            grown.push(what);
        }
    }
    if grown.is_empty() {
        Ok(lines.join("\n"))
    } else {
        Err(Error::new(format!("{grown:?} grew:\n{}", lines.join("\n"))))
    }
}

fn median(samples: &[Sample], value: impl Fn(&Sample) -> f64) -> f64 {
    let mut values: Vec<f64> = samples.iter().map(value).collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}
