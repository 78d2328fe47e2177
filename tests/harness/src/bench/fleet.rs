//! A fleet of objects over a thousand zones, from the operator's start until all are ready, beside bare status patches.

use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::audit::{Audit, Request};
use super::cpu::{Cpu, Meter};
use super::lists::seconds;
use super::memory::Resident;
use super::patches::{Effort, Pace, Yardstick, span, under_way};
use super::spread::float;
use super::{Spread, Subject, objects, process, program, stage};
use crate::cloudflare::{Cloudflare, Ledger};
use crate::control_plane::ControlPlane;
use crate::error::{Error, Result};
use crate::fixture::Fixture;
use crate::operator::Operator;

/// Longest that all objects may take to become ready.
const DEADLINE: Duration = Duration::from_secs(300);
/// So long without another status means that the last was written.
const QUIET: Duration = Duration::from_secs(4);
/// Between two looks at what was written.
const LOOK: Duration = Duration::from_millis(250);

/// What was measured with so many objects; ten share a zone.
pub(super) struct Fleet {
    pub(super) objects: usize,
    pub(super) rounds: Vec<Round>,
}

/// The operator between two measurements of the yardstick.
pub(super) struct Round {
    pub(super) before: Pace,
    pub(super) served: Served,
    pub(super) after: Pace,
    /// The yardstick when it also writes the event that the operator writes.
    pub(super) with_event: Pace,
    pub(super) restarted: Restarted,
}

/// An operator that found objects which nobody had served yet.
pub(super) struct Served {
    /// Objects by the seconds from the first status to the last `Ready`.
    pub(super) per_second: f64,
    /// Objects by the seconds from the process's start to the last `Ready`.
    pub(super) per_second_from_start: f64,
    /// Seconds from the start to the first status.
    pub(super) first_status: f64,
    /// Requests to the API server per object.
    pub(super) statuses: f64,
    pub(super) events: f64,
    pub(super) secrets: f64,
    /// Requests to Cloudflare per zone.
    pub(super) cloudflare: f64,
    /// Requests to the API server that were under way at a time, on average.
    pub(super) under_way: f64,
    pub(super) requests_per_second: f64,
    /// From the start to the last `Ready`.
    pub(super) cpu: Cpu,
    /// Megabytes once it idled, and the most that there were.
    pub(super) resident: Megabytes,
    /// Milliseconds that a scrape of its metrics takes, and lines that it has. Read after the memory, which it adds to.
    pub(super) scrape: f64,
    pub(super) samples: f64,
}

/// An operator that was started with all objects ready.
pub(super) struct Restarted {
    /// Requests to Cloudflare per zone, and statuses that were written.
    pub(super) cloudflare: f64,
    pub(super) statuses: usize,
    pub(super) resident: Megabytes,
    /// Requests to the API server per second while it idled.
    pub(super) idle_requests: f64,
}

/// Resident memory of one process.
pub(super) struct Megabytes {
    pub(super) all: f64,
    pub(super) anonymous: f64,
    pub(super) file: f64,
    pub(super) peak: f64,
}

impl Megabytes {
    fn of(pid: u32) -> Result<Self> {
        let read = |name: &str| process::megabytes(pid, name);
        let (all, anonymous) = (read("VmRSS:")?, read("RssAnon:")?);
        Ok(Self { all, anonymous, file: read("RssFile:")?, peak: read("VmHWM:")? })
    }
}

impl Fleet {
    /// Something of every round.
    pub(super) fn spread(&self, value: impl Fn(&Round) -> f64) -> Spread {
        Spread::of(self.rounds.iter().map(value))
    }

    /// The memory of some of its operators.
    pub(super) fn resident(&self, of: impl Fn(&Round) -> &Megabytes) -> Resident {
        Resident {
            all: self.spread(|round| of(round).all),
            anonymous: self.spread(|round| of(round).anonymous),
            file: self.spread(|round| of(round).file),
        }
    }
}

impl Round {
    /// Bare patches per second, before and after together.
    pub(super) fn yardstick(&self) -> f64 {
        // Each half has as many objects, so that this is the harmonic mean.
        2.0 / (1.0 / self.before.per_second + 1.0 / self.after.per_second)
    }
}

/// What every step of a round needs.
struct Scene<'a> {
    control_plane: &'a ControlPlane,
    operator: &'a Subject,
    meter: &'a Meter,
    cloudflare: Cloudflare,
    fixture: Fixture,
    objects: usize,
    idle: Duration,
}

/// Measures so many objects, as many rounds as are asked for.
pub(super) async fn measure(
    control_plane: &ControlPlane,
    operator: &Subject,
    objects: usize,
    rounds: usize,
    idle: Duration,
) -> Result<Fleet> {
    let meter = &Meter::of(control_plane)?;
    let mut done = Vec::new();
    for _ in 0..rounds {
        let cloudflare = stage::cloudflare().await?;
        let fixture = stage::namespace(control_plane).await?;
        done.push(Scene { control_plane, operator, meter, cloudflare, fixture, objects, idle }.play().await?);
    }
    Ok(Fleet { objects, rounds: done })
}

impl Scene<'_> {
    async fn spawn(&self) -> Result<Operator> {
        self.operator.spawn(self.control_plane, self.fixture.namespace(), &self.cloudflare).await
    }

    /// How many requests Cloudflare has got.
    fn asked(&self) -> usize {
        self.cloudflare.with_ledger(Ledger::len)
    }

    fn zones(&self) -> usize {
        self.objects.div_ceil(objects::IN_ZONE)
    }

    async fn play(self) -> Result<Round> {
        let (all, half) = (self.objects, self.objects / 2);
        // Started once for its kubeconfig: the yardstick uses the operator's own rights.
        let client = program::client(self.spawn().await?.kubeconfig()).await?;
        let fixture = stage::namespace(self.control_plane).await?;
        objects::create(&self.fixture, &self.cloudflare, 0..all, objects::AT_ONCE).await?;
        // Of a Cloudflare that nobody asks.
        objects::create(&fixture, &stage::cloudflare().await?, 0..all + half, objects::AT_ONCE).await?;

        let yardstick = Yardstick { control_plane: self.control_plane, meter: self.meter, client, fixture };
        let before = yardstick.measure(0..half, Effort::Status).await?;
        let served = self.serve().await?;
        let after = yardstick.measure(half..all, Effort::Status).await?;
        let with_event = yardstick.measure(all..all + half, Effort::StatusAndEvent).await?;
        let restarted = self.restart().await?;
        Ok(Round { before, served, after, with_event, restarted })
    }

    /// Starts the operator, waits until all is done, lets it idle and ends it.
    async fn serve(&self) -> Result<Served> {
        let mut audit = Audit::from_now(self.control_plane)?;
        let before = self.meter.read(None)?;
        let start = Timestamp::now();
        let operator = self.spawn().await?;
        let cpu = self.until_quiet(&mut audit, &operator).await?.since(&before);
        let (all, ready) = objects::count(&self.fixture).await?;
        if (all, ready) != (self.objects, self.objects) {
            return Err(Error::new(format!("{ready} of {all} objects were ready when nothing was written any more")));
        }
        let requests = audit.requests_in(self.fixture.namespace())?;
        let is_status = |request: &&Request| request.resource.ends_with("/status");
        let (first, end) = span(requests.iter().filter(is_status)).ok_or_else(|| Error::new("no status in the log"))?;
        let per_object = |resource: &str| {
            let count = requests.iter().filter(|request| request.resource == resource && request.at <= end).count();
            float(count) / float(self.objects)
        };
        let within = || requests.iter().filter(|request| request.at >= first && request.at <= end);
        tokio::time::sleep(self.idle).await;
        let resident = Megabytes::of(operator.pid())?;
        let (scrape, samples) = scrape(&operator).await?;
        Ok(Served {
            per_second: float(self.objects) / seconds(first, end),
            per_second_from_start: float(self.objects) / seconds(start, end),
            first_status: seconds(start, first),
            statuses: float(requests.iter().filter(is_status).count()) / float(self.objects),
            events: per_object("events"),
            secrets: per_object("secrets"),
            cloudflare: float(self.asked()) / float(self.zones()),
            under_way: under_way(within(), first, end),
            requests_per_second: float(within().count()) / seconds(first, end),
            cpu,
            resident,
            scrape,
            samples,
        })
    }

    /// Waits until every object has a status and no more are written; what was used until the last one.
    async fn until_quiet(&self, audit: &mut Audit, operator: &Operator) -> Result<Cpu> {
        let started = Instant::now();
        let (mut written, mut since, mut used) = (0, Instant::now(), Cpu::default());
        while written < self.objects || since.elapsed() < QUIET {
            if started.elapsed() > DEADLINE {
                let message = format!("{written} statuses of {} objects in {} s", self.objects, DEADLINE.as_secs());
                return Err(Error::new(message));
            }
            tokio::time::sleep(LOOK).await;
            let count = audit.statuses()?;
            if count > written {
                (written, since, used) = (count, Instant::now(), self.meter.read(Some(operator.pid()))?);
            }
        }
        Ok(used)
    }

    /// Starts the operator anew, waits until it has looked at every zone, and lets it idle.
    async fn restart(&self) -> Result<Restarted> {
        let asked = self.asked();
        let mut audit = Audit::from_now(self.control_plane)?;
        let operator = self.spawn().await?;
        let started = Instant::now();
        while self.asked() < asked + self.zones() {
            if started.elapsed() > DEADLINE {
                return Err(Error::new("a restarted operator did not look at every zone"));
            }
            tokio::time::sleep(LOOK).await;
        }
        tokio::time::sleep(QUIET).await;
        let idling = Audit::from_now(self.control_plane)?;
        tokio::time::sleep(self.idle).await;
        Ok(Restarted {
            cloudflare: float(self.asked() - asked) / float(self.zones()),
            statuses: audit.statuses()?,
            resident: Megabytes::of(operator.pid())?,
            idle_requests: float(idling.requests_in(self.fixture.namespace())?.len()) / self.idle.as_secs_f64(),
        })
    }
}

/// The median of some scrapes, in milliseconds, and how many lines each has.
async fn scrape(operator: &Operator) -> Result<(f64, f64)> {
    let (mut times, mut lines) = (Vec::new(), 0);
    for _ in 0..5 {
        let started = Instant::now();
        let (_, body) = operator.get("/metrics").await?;
        times.push(started.elapsed().as_secs_f64() * 1e3);
        lines = body.lines().count();
    }
    Ok((Spread::of(times).median, float(lines)))
}
