//! Keeps the lease: reads and writes the Lease object as `lease` decides, and tells who leads.
//!
//! Every call has a deadline of its own, and every write names the version that it replaces.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use kube::{Api, Client, api::PostParams};
use thiserror::Error;
use tokio::{
    sync::watch,
    time::{sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{
    failpoint,
    health::{Health, Task},
    lease::{Candidate, Record, Step, Timing},
    metrics::Metrics,
};
use crate::api::FIELD_MANAGER;

/// Longest that one call may take.
const CALL: Duration = Duration::from_secs(5);
/// The term of the only replica: longer than any deadline.
const UNLIMITED: Duration = Duration::from_secs(24 * 60 * 60);
/// Longest that a wait goes on without a sign of life.
const BEAT: Duration = Duration::from_secs(20);
/// Longest that giving the lease back may take; then it ends by itself.
const FAREWELL: Duration = Duration::from_secs(2);

/// What this replica is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Standing {
    /// The state of the lease is not known yet.
    Unknown,
    /// It waits for the lease of somebody else, or for its turn.
    Following,
    /// It leads, until then at least.
    Leading(Instant),
    /// It has lost the lease. What is under way may end until then.
    Ending(Instant),
}

/// Whether this replica may act.
#[derive(Clone, Debug)]
pub struct Leadership(Option<watch::Receiver<Standing>>);

impl Leadership {
    /// Of the only replica, which needs no lease.
    #[must_use]
    pub fn alone() -> Self {
        Self(None)
    }

    /// Whether this replica may act now: its clock has the last word, in case that it was stopped for a while.
    #[must_use]
    pub fn is_leading(&self) -> bool {
        let Some(standing) = &self.0 else { return true };
        match *standing.borrow() {
            Standing::Leading(until) | Standing::Ending(until) => Instant::now() < until,
            Standing::Unknown | Standing::Following => false,
        }
    }

    /// Waits until this replica leads, for ever if it never does.
    pub async fn begun(&self) {
        let Some(mut standing) = self.0.clone() else { return };
        if standing.wait_for(|standing| matches!(standing, Standing::Leading(_))).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Until when this replica may act, as soon as that is at least so far away; `None` once it does not lead any more.
    /// What begins and ends before then meets nothing of another replica.
    pub async fn term(&self, least: Duration) -> Option<Instant> {
        let Some(mut standing) = self.0.clone() else { return Some(Instant::now() + UNLIMITED) };
        loop {
            let until = match *standing.borrow_and_update() {
                Standing::Leading(until) => until,
                Standing::Unknown | Standing::Following | Standing::Ending(_) => return None,
            };
            if until.saturating_duration_since(Instant::now()) >= least {
                return Some(until);
            }
            standing.changed().await.ok()?;
        }
    }
}

/// What a conflict means: the Lease is no longer what this replica has read.
const FASTER: &str = "somebody else has written it meanwhile";

/// What the API server says is for people; the error's own text has the whole answer besides.
fn words(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if !status.message.is_empty() => status.message.clone(),
        other => other.to_string(),
    }
}

/// The lease is lost: another replica may act.
#[derive(Debug, Error)]
#[error("the lease {name} is lost: {why}")]
pub struct Lost {
    name: String,
    why: String,
    /// Until when what is under way may still end.
    pub until: Option<Instant>,
}

/// One replica's part in the election.
pub struct Election {
    api: Api<Lease>,
    name: String,
    me: String,
    timing: Timing,
    candidate: Candidate,
    /// The Lease as last seen, of the version that the candidate knows.
    lease: Option<Lease>,
    /// What was said last about a call that failed.
    trouble: Option<String>,
    /// Whom this replica follows, as it was said last.
    followed: Option<String>,
    standing: watch::Sender<Standing>,
    health: Arc<Health>,
    metrics: Arc<Metrics>,
}

/// Which Lease, and who this process is.
#[derive(Clone, Debug)]
pub struct Place {
    /// Namespace of the Lease.
    pub namespace: String,
    /// Name of the Lease.
    pub name: String,
    /// First part of the name under which this process holds it: its pod's.
    pub pod: String,
}

impl Election {
    /// A candidate for this Lease, and what the rest of the program asks whether it leads.
    #[must_use]
    pub fn new(
        client: Client,
        place: Place,
        timing: Timing,
        health: Arc<Health>,
        metrics: Arc<Metrics>,
    ) -> (Self, Leadership) {
        let (standing, leadership) = watch::channel(Standing::Unknown);
        // No two processes share a name, even if a pod's container was restarted.
        let me = format!("{}_{:08x}", place.pod, fastrand::u32(..));
        let candidate = Candidate::new(me.clone(), timing, Instant::now());
        let api = Api::namespaced(client, &place.namespace);
        health.expect_lease();
        metrics.leads(&place.name, false);
        let election = Self {
            api,
            name: place.name,
            me,
            timing,
            candidate,
            lease: None,
            trouble: None,
            followed: None,
            standing,
            health,
            metrics,
        };
        (election, Leadership(Some(leadership)))
    }

    /// Takes part until `release` is cancelled, and gives the lease back then.
    ///
    /// # Errors
    /// When the lease is lost.
    pub async fn run(mut self, release: CancellationToken) -> Result<(), Lost> {
        loop {
            self.health.beat(&Task::Lease);
            failpoint::reach("lease", "").await;
            match self.candidate.step(Instant::now()) {
                Step::Wait(until) => {
                    let until = until.min(Instant::now() + BEAT);
                    tokio::select! {
                        () = sleep_until(until.into()) => {}
                        () = release.cancelled() => {
                            self.give_back().await;
                            return Ok(());
                        }
                    }
                }
                Step::Read => self.read().await,
                Step::Create | Step::Replace(_) => self.write().await,
                Step::Lost => return Err(self.lost()),
            }
        }
    }

    async fn read(&mut self) {
        match self.call(self.api.get_opt(&self.name)).await {
            Ok(lease) => {
                self.candidate.saw(lease.as_ref().map(|lease| self.record(lease)), Instant::now());
                self.lease = lease;
                self.publish();
            }
            Err(why) => self.failed(&why),
        }
    }

    /// Makes the Lease ours, or renews it.
    async fn write(&mut self) {
        let sent = Instant::now();
        let wanted = self.ours(Timestamp::now());
        let done = match &self.lease {
            None => self.call(self.api.create(&params(), &wanted)).await,
            Some(_) => self.call(self.api.replace(&self.name, &params(), &wanted)).await,
        };
        match done {
            // Whatever stands before the API server may answer 200 with anything else, and much of that decodes.
            Ok(lease) if !self.is_ours(&lease) => self.failed("the answer is not the Lease that was written"),
            Ok(lease) => {
                if self.candidate.valid_until().is_none() {
                    info!(lease = self.name, me = self.me, "leading");
                }
                self.candidate.wrote(self.record(&lease), sent, Instant::now());
                self.lease = Some(lease);
                self.publish();
            }
            Err(why) => self.failed(&why),
        }
    }

    /// Cut short when this replica has to give up in between.
    async fn call<T>(&self, call: impl Future<Output = Result<T, kube::Error>>) -> Result<T, String> {
        let left = self.candidate.gives_up_at().map(|end| end.saturating_duration_since(Instant::now()));
        let deadline = left.map_or(CALL, |left| left.min(CALL));
        match timeout(deadline, call).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(kube::Error::Api(status))) if status.code == 403 => {
                Err("its role needs the verbs create, get and update on leases".to_owned())
            }
            Ok(Err(kube::Error::Api(status))) if status.code == 409 => Err(FASTER.to_owned()),
            Ok(Err(error)) => Err(words(&error)),
            Err(_) => Err("no answer".to_owned()),
        }
    }

    fn failed(&mut self, why: &str) {
        // Two that start together both try to take what is free, and one of them is refused: that is no trouble.
        let is_race = why == FASTER && self.candidate.valid_until().is_none();
        // Once for each trouble, however long it lasts.
        if !is_race && self.trouble.as_deref() != Some(why) {
            warn!(lease = self.name, me = self.me, error = why, "the lease could not be read or written; trying again");
            self.trouble = Some(why.to_owned());
        }
        // Who leads has little time; who waits has much.
        let longest = if self.candidate.valid_until().is_some() { 0.4 } else { 1.0 };
        let pause = self.timing.retry.mul_f64(longest * (0.5 + 0.5 * fastrand::f64()));
        self.candidate.failed(pause, Instant::now());
    }

    fn is_ours(&self, lease: &Lease) -> bool {
        let record = self.record(lease);
        record.holder.as_deref() == Some(&self.me) && !record.version.is_empty()
    }

    fn publish(&mut self) {
        let leads = self.candidate.valid_until();
        self.metrics.leads(&self.name, leads.is_some());
        // A lease that is free and that nobody can take is no reason to be ready.
        let is_known = leads.is_some() || self.candidate.holder().is_some_and(|holder| !holder.is_empty());
        if is_known {
            self.trouble = None;
            self.health.lease_known();
        }
        self.standing.send_replace(leads.map_or(Standing::Following, Standing::Leading));
        let followed = self.candidate.holder().filter(|holder| leads.is_none() && !holder.is_empty());
        if let Some(holder) = followed.filter(|holder| self.followed.as_deref() != Some(*holder)) {
            info!(lease = self.name, holder, "following: another replica leads");
        }
        self.followed = followed.map(str::to_owned);
    }

    fn lost(&mut self) -> Lost {
        let until = self.candidate.valid_until();
        self.metrics.leads(&self.name, false);
        self.standing.send_replace(until.map_or(Standing::Following, Standing::Ending));
        let why = match (until, self.candidate.holder()) {
            (Some(_), _) => format!("it could not be renewed within {} s", self.timing.renew_deadline.as_secs()),
            (None, Some(other)) => format!("{other} holds it"),
            (None, None) => "somebody has deleted it".to_owned(),
        };
        Lost { name: self.name.clone(), why, until }
    }

    async fn give_back(self) {
        if self.candidate.valid_until().is_none() {
            return;
        }
        let given_back = async {
            // The answer to the last renewal may have been lost, and with it the version.
            match self.release(self.lease.clone()).await {
                Ok(()) => Ok(()),
                Err(_) => self.release(self.api.get_opt(&self.name).await?).await,
            }
        };
        match timeout(FAREWELL, given_back).await {
            Ok(Ok(())) => info!(lease = self.name, "the lease is given back"),
            Ok(Err(error)) => warn!(lease = self.name, error = words(&error), "the lease could not be given back"),
            Err(_) => warn!(lease = self.name, "the lease could not be given back: no answer"),
        }
    }

    async fn release(&self, lease: Option<Lease>) -> Result<(), kube::Error> {
        let Some(mut lease) = lease.filter(|lease| self.is_ours(lease)) else { return Ok(()) };
        lease.spec.get_or_insert_default().holder_identity = None;
        self.api.replace(&self.name, &params(), &lease).await.map(drop)
    }

    /// What the decisions need of a Lease. One without a duration is worth as long as ours.
    fn record(&self, lease: &Lease) -> Record {
        record(lease, self.timing.duration)
    }

    /// The Lease as it is to be when we hold it. Its times are for people: nobody decides by them.
    fn ours(&self, now: Timestamp) -> Lease {
        let mut lease = self.lease.clone().unwrap_or_default();
        lease.metadata.name = Some(self.name.clone());
        let former = lease.spec.take().unwrap_or_default();
        let was_ours = former.holder_identity.as_deref() == Some(&self.me);
        let changes_hands = !was_ours && self.lease.is_some();
        let transitions = former.lease_transitions.unwrap_or_default().saturating_add(changes_hands.into());
        lease.spec = Some(LeaseSpec {
            holder_identity: Some(self.me.clone()),
            lease_duration_seconds: i32::try_from(self.timing.duration.as_secs()).ok(),
            acquire_time: former.acquire_time.filter(|_| was_ours).or(Some(MicroTime(now))),
            renew_time: Some(MicroTime(now)),
            lease_transitions: Some(transitions),
            ..former
        });
        lease
    }
}

fn params() -> PostParams {
    PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() }
}

/// What the decisions need of a Lease, whatever somebody has put into it.
#[must_use]
pub fn record(lease: &Lease, default: Duration) -> Record {
    let spec = lease.spec.as_ref();
    let seconds = spec.and_then(|spec| spec.lease_duration_seconds).and_then(|seconds| u64::try_from(seconds).ok());
    Record {
        version: lease.metadata.resource_version.clone().unwrap_or_default(),
        holder: spec.and_then(|spec| spec.holder_identity.clone()),
        duration: seconds.filter(|seconds| *seconds > 0).map_or(default, Duration::from_secs),
    }
}

#[cfg(test)]
mod tests;
