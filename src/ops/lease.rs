//! Who may act among several replicas: the decisions about the lease, without a clock or a request. `election` acts on them.
//!
//! A lease ends for everybody else when its record has not changed for its duration, by their own monotonic clocks: no wall
//! clock is compared with another. Its holder counts the same duration from before it sent the request that renewed it, so
//! that it always stops before anybody else may begin (after client-go's `leaderelection`).

use std::time::{Duration, Instant};

/// For clocks that do not run at quite the same speed: the holder stops that much earlier.
pub const MARGIN: Duration = Duration::from_secs(1);

/// How long a lease is worth, and how it is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// How long it is worth when it is not renewed.
    pub duration: Duration,
    /// How long its holder tries to renew it before it gives up; shorter than the duration.
    pub renew_deadline: Duration,
    /// How often it is renewed, and looked at by those who wait.
    pub retry: Duration,
}

/// The Lease object, as far as the decisions need it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its resource version: a write that names it fails when somebody else has written since.
    pub version: String,
    /// Who holds it; nobody after a release.
    pub holder: Option<String>,
    /// How long its holder may count on it.
    pub duration: Duration,
}

/// What to do now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing before this moment.
    Wait(Instant),
    /// Read the Lease.
    Read,
    /// Make the Lease, held by us.
    Create,
    /// Replace the Lease of this version by one that we hold.
    Replace(String),
    /// The lease is lost: nothing new may start, and the process ends.
    Lost,
}

/// One replica, and what it knows of the lease.
#[derive(Debug)]
pub struct Candidate {
    me: String,
    timing: Timing,
    /// The record as last seen, if there was one.
    seen: Option<Record>,
    /// Until when somebody else may count on the lease.
    taken_until: Option<Instant>,
    /// When the request was sent that made it ours, or renewed it last.
    held: Option<Instant>,
    lost: bool,
    /// When to act next.
    next: Instant,
    /// What is known is out of date.
    stale: bool,
}

impl Candidate {
    /// A replica under a name that no other process ever has.
    #[must_use]
    pub fn new(me: String, timing: Timing, now: Instant) -> Self {
        Self { me, timing, seen: None, taken_until: None, held: None, lost: false, next: now, stale: true }
    }

    /// Until when this replica may act; `None` while it may not.
    #[must_use]
    pub fn valid_until(&self) -> Option<Instant> {
        let held = self.held.filter(|_| !self.lost)?;
        Some(held + self.timing.duration.saturating_sub(MARGIN))
    }

    /// When this replica gives up, unless it renews before.
    #[must_use]
    pub fn gives_up_at(&self) -> Option<Instant> {
        self.held.map(|sent| sent + self.timing.renew_deadline)
    }

    /// Who holds the lease, as far as this replica knows.
    #[must_use]
    pub fn holder(&self) -> Option<&str> {
        self.seen.as_ref()?.holder.as_deref()
    }

    /// What to do now.
    #[must_use]
    pub fn step(&self, now: Instant) -> Step {
        if self.lost || self.gives_up_at().is_some_and(|end| now >= end) {
            return Step::Lost;
        }
        if now < self.next {
            return Step::Wait(self.next);
        }
        if self.stale || !self.is_free(now) {
            return Step::Read;
        }
        self.seen.as_ref().map_or(Step::Create, |record| Step::Replace(record.version.clone()))
    }

    fn is_free(&self, now: Instant) -> bool {
        self.taken_until.is_none_or(|end| now >= end)
    }

    /// The Lease was read; `None` when there is none. Its holder counts on it from this moment at the latest.
    pub fn saw(&mut self, record: Option<Record>, now: Instant) {
        let holder = record.as_ref().map(|record| record.holder.as_deref().unwrap_or_default());
        self.lost |= self.held.is_some() && holder != Some(&self.me);
        match (&record, holder) {
            // A Lease that somebody deletes does not stop its holder.
            (None, _) => {}
            (Some(record), Some(holder)) if !holder.is_empty() && holder != self.me => {
                if self.seen.as_ref() != Some(record) {
                    self.taken_until = Some(now + record.duration);
                }
            }
            _ => self.taken_until = None,
        }
        self.seen = record;
        // Who waits looks four times as often as it would renew, and reads again each time.
        self.stale = !self.is_free(now);
        let look = now + self.timing.retry / 4;
        self.next = if self.stale { self.taken_until.map_or(look, |end| end.min(look)) } else { now };
    }

    /// The write that was sent then has made the lease ours, or renewed it.
    pub fn wrote(&mut self, record: Record, sent: Instant, now: Instant) {
        self.held = Some(sent);
        self.seen = Some(record);
        self.taken_until = None;
        self.stale = false;
        self.next = now.max(sent + self.timing.retry);
    }

    /// A request was refused or not answered: whatever it was, the Lease has to be read again, after a pause.
    pub fn failed(&mut self, pause: Duration, now: Instant) {
        self.stale = true;
        self.next = now + pause;
    }
}

#[cfg(test)]
mod tests;
