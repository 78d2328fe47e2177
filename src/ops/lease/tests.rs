use std::{
    cmp::Reverse,
    collections::{BTreeSet, BinaryHeap},
};

use fastrand::Rng;

use super::*;

const TIMING: Timing = Timing {
    duration: Duration::from_secs(15),
    renew_deadline: Duration::from_secs(10),
    retry: Duration::from_secs(2),
};

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn record(version: &str, holder: Option<&str>) -> Record {
    Record { version: version.to_owned(), holder: holder.map(str::to_owned), duration: TIMING.duration }
}

#[test]
fn a_lease_that_nobody_has_made_is_made_and_then_renewed_every_two_seconds() {
    let start = Instant::now();
    let mut candidate = Candidate::new("me".to_owned(), TIMING, start);
    assert_eq!(candidate.step(start), Step::Read);
    candidate.saw(None, start);
    assert_eq!(candidate.step(start), Step::Create);
    assert_eq!(candidate.valid_until(), None);
    candidate.wrote(record("1", Some("me")), start, start + seconds(1));
    assert_eq!(candidate.valid_until(), Some(start + seconds(14)), "counted from before the request was sent");
    assert_eq!(candidate.step(start + seconds(1)), Step::Wait(start + seconds(2)));
    assert_eq!(candidate.step(start + seconds(2)), Step::Replace("1".to_owned()));
}

#[test]
fn a_lease_is_taken_over_only_when_it_was_seen_unchanged_for_its_whole_duration() {
    let start = Instant::now();
    let mut candidate = Candidate::new("me".to_owned(), TIMING, start);
    candidate.saw(Some(record("1", Some("other"))), start);
    candidate.saw(Some(record("2", Some("other"))), start + seconds(10));
    assert_eq!(candidate.step(start + seconds(16)), Step::Read, "what was seen may be old");
    candidate.saw(Some(record("2", Some("other"))), start + seconds(24));
    assert_eq!(candidate.step(start + seconds(24)), Step::Wait(start + Duration::from_millis(24_500)));
    assert_eq!(candidate.step(start + seconds(25)), Step::Read);
    candidate.saw(Some(record("2", Some("other"))), start + seconds(25));
    assert_eq!(candidate.step(start + seconds(25)), Step::Replace("2".to_owned()));
}

#[test]
fn a_lease_that_somebody_deletes_is_not_taken_before_its_holder_has_stopped() {
    let start = Instant::now();
    let mut candidate = Candidate::new("me".to_owned(), TIMING, start);
    candidate.saw(Some(record("1", Some("other"))), start);
    candidate.saw(None, start + seconds(1));
    assert_eq!(candidate.step(start + seconds(14)), Step::Read);
    candidate.saw(None, start + seconds(15));
    assert_eq!(candidate.step(start + seconds(15)), Step::Create);
}

#[test]
fn a_lease_that_was_given_back_is_taken_at_once() {
    let start = Instant::now();
    for holder in [None, Some("")] {
        let mut candidate = Candidate::new("me".to_owned(), TIMING, start);
        candidate.saw(Some(record("7", holder)), start);
        assert_eq!(candidate.step(start), Step::Replace("7".to_owned()));
    }
}

#[test]
fn a_holder_that_cannot_renew_gives_up_and_one_that_sees_another_gives_up_at_once() {
    let start = Instant::now();
    let holder = || {
        let mut candidate = Candidate::new("me".to_owned(), TIMING, start);
        candidate.saw(None, start);
        candidate.wrote(record("1", Some("me")), start, start);
        candidate
    };
    let mut cut_off = holder();
    cut_off.failed(seconds(2), start + seconds(2));
    assert_eq!(cut_off.step(start + seconds(4)), Step::Read);
    assert_eq!(cut_off.step(start + seconds(10)), Step::Lost);
    let mut deposed = holder();
    deposed.failed(Duration::ZERO, start + seconds(2));
    deposed.saw(Some(record("9", Some("other"))), start + seconds(3));
    assert_eq!((deposed.step(start + seconds(3)), deposed.valid_until()), (Step::Lost, None));
    // The answer to a renewal was lost, but it is still ours.
    let mut lucky = holder();
    lucky.failed(Duration::ZERO, start + seconds(2));
    lucky.saw(Some(record("2", Some("me"))), start + seconds(3));
    assert_eq!(lucky.step(start + seconds(3)), Step::Replace("2".to_owned()));
    assert_eq!(lucky.valid_until(), Some(start + seconds(14)), "not longer than was acknowledged");
}

/// What happens next in a simulated cluster.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// A process does what is due.
    Wake(usize),
    /// A request reaches the API server; false when its answer gets lost.
    Arrive(Request, bool),
    /// The answer to a request reaches its process: the Lease as it is after it, unless it was refused.
    Answer(Request, Result<Option<(u64, String)>, ()>),
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Request {
    /// By which of the two, and under which name.
    by: usize,
    name: String,
    /// Counts over all requests.
    id: u64,
    asked: Asked,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Asked {
    Read,
    Create,
    Replace(u64),
    /// A replace that leaves nobody as the holder.
    GiveBack(u64),
}

/// A process with a clock of its own, which is an hour off and a little too fast or too slow.
struct Process {
    candidate: Candidate,
    name: String,
    /// The request that it waits for, and when it was sent by its own clock.
    waits: Option<(u64, Instant)>,
    rate: f64,
    offset: Duration,
    /// Stopped until then.
    stopped: u64,
    /// It was told to end: it starts no write, and gives the lease back after the last one.
    leaves: bool,
    /// When its last write ends.
    busy_until: u64,
    lives: u64,
}

/// Times are microseconds of true time.
struct Cluster {
    rng: Rng,
    base: Instant,
    now: u64,
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    count: u64,
    processes: Vec<Process>,
    lease: Option<(u64, String)>,
    version: u64,
    /// PUTs to Cloudflare: from when to when, and by whom.
    writes: Vec<(u64, u64, String)>,
}

/// How long a PUT to Cloudflare may take at most.
const WRITE: Duration = Duration::from_secs(8);
const SECOND: u64 = 1_000_000;

impl Cluster {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let base = Instant::now() + seconds(10_000);
        let processes = (0..2).map(|n| {
            let offset = seconds(rng.u64(0..7200));
            let name = format!("p{n}-0");
            Process {
                candidate: Candidate::new(name.clone(), TIMING, base + offset),
                name,
                waits: None,
                rate: 1.0 + (rng.f64() - 0.5) / 100.0,
                offset,
                stopped: 0,
                leaves: false,
                busy_until: 0,
                lives: 0,
            }
        });
        let processes = processes.collect();
        let mut cluster = Self {
            rng,
            base,
            now: 0,
            events: BinaryHeap::new(),
            count: 0,
            processes,
            lease: None,
            version: 0,
            writes: Vec::new(),
        };
        cluster.at(0, Event::Wake(0));
        let later = cluster.rng.u64(0..5 * SECOND);
        cluster.at(later, Event::Wake(1));
        cluster
    }

    fn at(&mut self, time: u64, event: Event) {
        self.count += 1;
        self.events.push(Reverse((time, self.count, event)));
    }

    #[allow(clippy::cast_precision_loss, reason = "minutes in microseconds are exact")]
    fn local(&self, process: &Process) -> Instant {
        self.base + process.offset + Duration::from_micros(self.now).mul_f64(process.rate)
    }

    /// Mostly a few milliseconds, at times seconds, rarely longer than any deadline.
    fn delay(&mut self) -> u64 {
        match self.rng.u8(..20) {
            0 => self.rng.u64(0..20 * SECOND),
            1..=3 => self.rng.u64(0..3 * SECOND),
            _ => self.rng.u64(500..20_000),
        }
    }

    fn run(&mut self, until: u64) {
        while let Some(Reverse((time, _, event))) = self.events.pop() {
            if time > until {
                return;
            }
            self.now = time;
            match event {
                Event::Wake(n) => self.wake(n),
                Event::Arrive(request, answered) => self.arrive(request, answered),
                Event::Answer(request, lease) => self.answer(request, lease),
            }
        }
    }

    fn wake(&mut self, n: usize) {
        let (stops, leaves) = (self.rng.u16(..600) == 0, self.rng.u16(..300) == 0);
        let process = &mut self.processes[n];
        if self.now >= process.stopped && stops {
            // With whatever it has in hand, for up to a minute.
            process.stopped = self.now + self.rng.u64(0..60 * SECOND);
        }
        if self.now < process.stopped {
            let stopped = process.stopped;
            return self.at(stopped, Event::Wake(n));
        }
        process.leaves |= leaves;
        let local = self.local(&self.processes[n]);
        let process = &mut self.processes[n];
        // A PUT starts only when the lease outlives its deadline.
        let may_write = process.candidate.valid_until().is_some_and(|end| local + WRITE <= end);
        if may_write && !process.leaves && self.now >= process.busy_until {
            let longest = u64::try_from(WRITE.div_f64(process.rate).as_micros()).unwrap();
            process.busy_until = self.now + self.rng.u64(0..=longest);
            self.writes.push((self.now, process.busy_until, process.name.clone()));
        }
        match process.candidate.step(local) {
            Step::Lost => self.begin_anew(n),
            Step::Wait(_) if process.leaves && process.waits.is_none() && self.now >= process.busy_until => {
                match process.candidate.valid_until().and(self.lease_of(n)) {
                    Some(version) => self.send(n, local, Asked::GiveBack(version)),
                    None => self.begin_anew(n),
                }
            }
            Step::Wait(_) => {}
            Step::Read => self.send(n, local, Asked::Read),
            Step::Create => self.send(n, local, Asked::Create),
            Step::Replace(version) => self.send(n, local, Asked::Replace(version.parse().unwrap())),
        }
        let again = self.now + self.rng.u64(1_000..800_000);
        self.at(again, Event::Wake(n));
    }

    /// The version that the process would name to give the lease back.
    fn lease_of(&self, n: usize) -> Option<u64> {
        let seen = self.processes[n].candidate.seen.as_ref()?;
        seen.version.parse().ok()
    }

    /// The process has ended, and a new one comes in its place.
    fn begin_anew(&mut self, n: usize) {
        let local = self.local(&self.processes[n]);
        let process = &mut self.processes[n];
        process.lives += 1;
        process.name = format!("p{n}-{}", process.lives);
        (process.waits, process.leaves) = (None, false);
        process.candidate = Candidate::new(process.name.clone(), TIMING, local);
    }

    fn send(&mut self, n: usize, local: Instant, asked: Asked) {
        if self.processes[n].waits.is_some() {
            return;
        }
        let id = self.count;
        self.processes[n].waits = Some((id, local));
        let request = Request { by: n, name: self.processes[n].name.clone(), id, asked };
        let (there, lost, late) = (self.delay(), self.rng.u8(..12) == 0, self.rng.u8(..12) == 0);
        // After its own deadline the process gives up, while the request may still be on its way.
        let deadline = self.now + 2 * SECOND;
        self.at(deadline, Event::Answer(request.clone(), Err(())));
        if !lost {
            let arrival = self.now + there;
            self.at(arrival, Event::Arrive(request, !late));
        }
    }

    fn arrive(&mut self, request: Request, answered: bool) {
        let current = self.lease.as_ref().map(|(version, _)| *version);
        let (done, holder) = match request.asked {
            Asked::Read => (true, None),
            Asked::Create => (current.is_none(), Some(request.name.clone())),
            Asked::Replace(version) => (current == Some(version), Some(request.name.clone())),
            Asked::GiveBack(version) => (current == Some(version), Some(String::new())),
        };
        if let Some(holder) = holder.filter(|_| done) {
            self.version += 1;
            self.lease = Some((self.version, holder));
        }
        if answered {
            let back = self.now + self.delay();
            let lease = if done { Ok(self.lease.clone()) } else { Err(()) };
            self.at(back, Event::Answer(request, lease));
        }
    }

    fn answer(&mut self, request: Request, lease: Result<Option<(u64, String)>, ()>) {
        let n = request.by;
        let stopped = self.processes[n].stopped;
        if self.now < stopped {
            return self.at(stopped, Event::Answer(request, lease));
        }
        let local = self.local(&self.processes[n]);
        let process = &mut self.processes[n];
        let Some((_, sent)) = process.waits.take_if(|(id, _)| *id == request.id) else { return };
        let lease = lease.map(|lease| lease.map(|(version, holder)| record(&version.to_string(), Some(&holder))));
        match (request.asked, lease) {
            // Whatever became of it, the process ends.
            (Asked::GiveBack(_), _) => self.begin_anew(n),
            (Asked::Read, Ok(record)) => process.candidate.saw(record, local),
            (_, Ok(Some(record))) => process.candidate.wrote(record, sent, local),
            (_, _) => process.candidate.failed(Duration::from_millis(200), local),
        }
    }

    /// Two writes by different processes that were under way at the same time.
    fn overlap(&mut self) -> Option<[(u64, u64, String); 2]> {
        self.writes.sort_unstable();
        let mut last: Option<(u64, u64, String)> = None;
        for write in std::mem::take(&mut self.writes) {
            if let Some(other) = last.take().filter(|other| other.1 > write.0 && other.2 != write.2) {
                return Some([other, write]);
            }
            last = Some(write);
        }
        None
    }

    fn leaders(&self) -> usize {
        self.writes.iter().map(|write| &write.2).collect::<BTreeSet<_>>().len()
    }
}

#[test]
fn two_replicas_never_write_at_the_same_time_whatever_happens_to_clocks_answers_and_processes() {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let leaders: Vec<usize> = std::thread::scope(|scope| {
        let parts: Vec<_> = (0..threads)
            .map(|part| {
                scope.spawn(move || {
                    let seeds = (0..100_000).skip(part).step_by(threads);
                    seeds.map(leaders_of_a_schedule).collect::<Vec<usize>>()
                })
            })
            .collect();
        parts.into_iter().flat_map(|part| part.join().unwrap()).collect()
    });
    assert_eq!(leaders.len(), 100_000);
    let handed_over = leaders.iter().filter(|leaders| **leaders > 1).count();
    let idle = leaders.iter().filter(|leaders| **leaders == 0).count();
    assert!(handed_over > 10_000, "{handed_over} schedules in which the lease changed hands");
    assert!(idle < 1_000, "{idle} schedules in which nobody led for two minutes");
}

/// Plays two minutes; how many processes wrote, never two of them at a time.
fn leaders_of_a_schedule(seed: u64) -> usize {
    let mut cluster = Cluster::new(seed);
    cluster.run(120 * SECOND);
    let leaders = cluster.leaders();
    if let Some(writes) = cluster.overlap() {
        panic!("seed {seed}: {writes:?}");
    }
    leaders
}
