//! The section on memory of an operator that has nothing to do.

use super::super::memory::{Memory, Resident};
use super::super::spread::float;
use super::{MANY, MEMORY, MEMORY_OF_MANY, count, plain, row};

pub(super) fn rows(memory: &Memory) -> Vec<String> {
    let line = |(objects, Resident { all, .. }): &(usize, Resident)| {
        let shown = format!("{all} MB");
        match objects {
            0 => row("resident memory, idle, no objects", &shown, all.median, MEMORY, " MB"),
            _ => plain(&format!("resident memory, idle, {} objects", count(*objects)), &shown),
        }
    };
    memory.resident.iter().map(line).collect()
}

pub(super) fn memory(memory: &Memory) -> String {
    let line = |(objects, resident): &(usize, Resident)| {
        let Resident { all, anonymous, file } = resident;
        format!("| {} | {all} | {anonymous} | {file} |", count(*objects))
    };
    let lines: Vec<String> = memory.resident.iter().map(line).collect();
    format!(
        "## Memory

`VmRSS`, `RssAnon` and `RssFile` of `/proc/PID/status`, {} operators side by side, after {} s without anything to do.
`RssFile` is the program itself and its libraries, as far as they are in memory. {:.0} threads. Each object has one
hostname; ten share a zone.

| objects | resident MB | allocated | mapped from files |
|---|---|---|---|
{}
{}",
        memory.threads.count,
        memory.idle.as_secs(),
        memory.threads.median,
        lines.join("\n"),
        growth(memory),
    )
}

/// What one more object costs, and where that leads.
fn growth(memory: &Memory) -> String {
    let [.., (fewer, before), (more, after)] = memory.resident.as_slice() else { return String::new() };
    let each = (after.all.median - before.all.median) / float(more - fewer);
    let many = after.all.median + each * (MANY - float(*more));
    let verdict = if many <= MEMORY_OF_MANY { "within" } else { "above" };
    format!(
        "
From {fewer} to {more} objects each takes {:.1} kB. At that rate {MANY} objects would take {many:.0} MB, {verdict} the
{MEMORY_OF_MANY} MB that are aimed at; that many were not measured.
",
        each * 1000.0
    )
}
