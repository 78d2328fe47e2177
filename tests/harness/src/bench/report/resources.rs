//! The sections on memory and processor time of an operator that has nothing to do.

use super::super::fleet::Fleet;
use super::super::idle::{self, Idle};
use super::super::memory::{Memory, Resident};
use super::super::spread::float;
use super::{MEMORY, MEMORY_OF_MANY, Target, count, plain, row};

pub(super) fn rows(memory: &Memory, fleet: &Fleet, idle: &Idle) -> Vec<String> {
    let mut rows: Vec<String> = Vec::new();
    for (objects, Resident { all, .. }) in &memory.resident {
        let shown = format!("{all} MB");
        rows.push(match objects {
            0 => row("resident memory, idle, no objects", &shown, all.median, Target::AtMost(MEMORY), " MB"),
            _ => plain(&format!("resident memory, idle, {} objects", count(*objects)), &shown),
        });
    }
    for (how, Resident { all, .. }) in of_fleet(fleet) {
        let what = format!("resident memory, idle, {} objects, {how}", count(fleet.objects));
        rows.push(row(&what, &format!("{all} MB"), all.median, Target::AtMost(MEMORY_OF_MANY), " MB"));
    }
    let what = format!("processor time in an hour, idle, {} objects", idle::OBJECTS);
    rows.push(plain(&what, &format!("{:.1} s", idle.per_hour())));
    rows
}

/// The memory of those that did the work, and of those that found it done.
fn of_fleet(fleet: &Fleet) -> [(&'static str, Resident); 2] {
    [
        ("after it served them", fleet.resident(|round| &round.served.resident)),
        ("started when all were ready", fleet.resident(|round| &round.restarted.resident)),
    ]
}

pub(super) fn memory(memory: &Memory, fleet: &Fleet) -> String {
    let line = |objects: &str, Resident { all, anonymous, file }: &Resident| {
        format!("| {objects} | {all} | {anonymous} | {file} |")
    };
    let mut lines: Vec<String> =
        memory.resident.iter().map(|(objects, resident)| line(&count(*objects), resident)).collect();
    for (how, resident) in of_fleet(fleet) {
        lines.push(line(&format!("{}, {how}", count(fleet.objects)), &resident));
    }
    format!(
        "## Memory

`VmRSS`, `RssAnon` and `RssFile` of `/proc/PID/status`, after {} s without anything to do; of {} operators side by side,
and with {} objects of one at a time, {} times. `RssFile` is the program itself and its libraries, as far as they
are in memory. {:.0} threads. Each object has one hostname; ten share a zone.

| objects | resident MB | allocated | mapped from files |
|---|---|---|---|
{}
{}",
        memory.idle.as_secs(),
        memory.threads.count,
        count(fleet.objects),
        fleet.rounds.len(),
        memory.threads.median,
        lines.join("\n"),
        growth(memory, fleet),
    )
}

/// What one more object costs.
fn growth(memory: &Memory, fleet: &Fleet) -> String {
    let Some((fewer, before)) = memory.resident.last() else { return String::new() };
    if fleet.objects <= *fewer {
        return String::new();
    }
    let [(_, served), (_, restarted)] = of_fleet(fleet);
    let each = |after: &Resident| (after.all.median - before.all.median) / float(fleet.objects - fewer) * 1000.0;
    format!(
        "
From {} to {} objects each takes {:.1} kB, and {:.1} kB of an operator that found all of them ready. The most that was
resident at any time is {:.1} MB of those that did the work and {:.1} MB of those that found it done (`VmHWM`).
",
        count(*fewer),
        count(fleet.objects),
        each(&served),
        each(&restarted),
        fleet.spread(|round| round.served.resident.peak),
        fleet.spread(|round| round.restarted.resident.peak),
    )
}

pub(super) fn idle(idle: &Idle) -> String {
    format!(
        "## Idle

{} objects over {} zones, all ready, for {:.0} s: `utime` and `stime` of `/proc/PID/stat`, {:.2} s together, which is
{:.1} s in an hour. Beside it ran the yardstick for many objects of one zone, which hardly does more than wait. Each zone
is looked at every {} s instead of every 10 minutes, so that there are looks that could write. There were {} of them,
and {} reads of a Secret; no PUT, no status and no other request: if there were any, there would be no report.
",
        idle::OBJECTS,
        idle::OBJECTS / super::super::objects::IN_ZONE,
        idle.lasted.as_secs_f64(),
        idle.cpu_seconds,
        idle.per_hour(),
        idle.interval.as_secs(),
        idle.reads,
        idle.secrets,
    )
}
