//! BENCHMARKS.md: each figure with its spread, its target and how it was come by.

use super::change::Change;
use super::machine::Machine;
use super::memory::{Memory, Resident};
use super::{Figures, Spread};

const RATIO: f64 = 1.5;
const REQUESTS: f64 = 3.0;
const SIZE: f64 = 9.0;
const MEMORY: f64 = 10.0;
const MANY: f64 = 10_000.0;
const MEMORY_OF_MANY: f64 = 60.0;
const START: f64 = 1000.0;

/// What bounds the time of a change while it passes through kube-runtime's queue. Found by taking the queue's timer out.
const QUEUE: &str = "
What the operator takes longer lies in the first part and in the fifth: each time the object waits in the queue of
kube-runtime's controller, whose timer counts in whole milliseconds. With that timer taken out, by way of trial, the
ratio was between 1.0 and 1.1.
";

/// The whole file.
pub(super) fn text(machine: &Machine, figures: &Figures) -> String {
    [head(machine), table(figures), change(figures), memory(figures), start(figures)].join("\n")
}

fn head(machine: &Machine) -> String {
    format!(
        "# Benchmarks

Written by `make bench`, which measures on this machine: run it to get yours. Figures are medians; in brackets the
10th and the 90th percentile. Everything runs on one machine and shares its cores: API server, etcd, emulated
Cloudflare, operator and what measures. MB are 10^6 bytes.

| | |
|---|---|
| date | {} |
| machine | {} cores ({}), {} of memory, {}; load {} when it began |
| operator | {} at commit {}, release build as it is shipped, one replica without leader election |
| around it | Kubernetes API server {}, etcd {}, {} |
",
        machine.date,
        machine.cores,
        machine.processor,
        machine.memory,
        machine.kernel,
        machine.load,
        machine.operator,
        machine.commit,
        machine.kubernetes,
        machine.etcd,
        machine.rust,
    )
}

fn table(figures: &Figures) -> String {
    let Figures { change, memory, start, size } = figures;
    #[allow(clippy::cast_precision_loss, reason = "a program has less than 2^52 bytes")]
    let size = *size as f64 / 1e6;
    let ratio = ratio(change);
    let requests = change.cloudflare_requests.median;
    let mut rows = vec![
        row("requests to Cloudflare for one change", &format!("{requests:.2}"), requests, REQUESTS, ""),
        row("time of one change, as a multiple of the bare calls", &format!("{ratio:.2} x"), ratio, RATIO, " x"),
        row("release binary", &format!("{size:.2} MB"), size, SIZE, " MB"),
        row("start to first reconcile", &ms(start.first_request), start.first_request.median, START, " ms"),
    ];
    rows.extend(memory.resident.iter().map(|(objects, Resident { all, .. })| match objects {
        0 => row("resident memory, idle, no objects", &format!("{all} MB"), all.median, MEMORY, " MB"),
        _ => format!("| resident memory, idle, {objects} objects | {all} MB | | |"),
    }));
    format!("## Figures\n\n| what | measured | target | |\n|---|---|---|---|\n{}\n", rows.join("\n"))
}

fn ratio(change: &Change) -> f64 {
    change.operator.whole.median / change.program.whole.median
}

fn row(what: &str, shown: &str, value: f64, target: f64, unit: &str) -> String {
    let verdict = if value <= target {
        "met".to_owned()
    } else {
        format!("**missed by {:.0} %**", (value / target - 1.0) * 100.0)
    };
    format!("| {what} | {shown} | <= {target}{unit} | {verdict} |")
}

fn change(figures: &Figures) -> String {
    let change = &figures.change;
    let part = |index: usize| {
        let of = |parts: &[Spread; 6]| parts.get(index).copied().unwrap_or_default().to_string();
        format!("{} | {}", of(&change.operator.parts), of(&change.program.parts))
    };
    format!(
        "## One change

`spec.settings` of an object with one hostname is patched. The time runs from the moment at which a watch of the bench's
own sees the new generation to the moment at which it sees `Ready=True` for it. The yardstick is a program in the bench
that does five things in a row as soon as that watch sees the change: it gets the Secret, GETs, PUTs and GETs the
settings, and applies a status of the same size. Both use the same API server, the same rights and the same emulated
Cloudflare, which answers at once. {} rounds, in turns, {} of them first for each; the ratio of the table is that of the
medians, and round by round it is {}.

| milliseconds | operator | program |
|---|---|---|
| event to `Ready` | {} | {} |
| event to the request for the Secret | {} |
| from there to the first GET | {} |
| from there to the PUT | {} |
| from there to the second GET | {} |
| from there to the status | {} |
| from there to the event with `Ready` | {} |

The parts end when a request arrives, by the emulator's record and the API server's audit log.

One change costs {:.2} requests to Cloudflare (GET, PUT and the GET that proves it) and {:.2} to the API server (the
Secret, the status).
{}",
        change.ratio.count,
        change.ratio.count / 2,
        change.ratio,
        change.operator.whole,
        change.program.whole,
        part(0),
        part(1),
        part(2),
        part(3),
        part(4),
        part(5),
        change.cloudflare_requests.median,
        change.kubernetes_requests.median,
        if ratio(change) > RATIO { QUEUE } else { "" },
    )
}

fn memory(figures: &Figures) -> String {
    let memory = &figures.memory;
    let line = |(objects, resident): &(usize, Resident)| {
        format!("| {objects} | {} | {} | {} |", resident.all, resident.anonymous, resident.file)
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
#[allow(clippy::cast_precision_loss, reason = "thousands of objects")]
fn growth(memory: &Memory) -> String {
    let [.., (fewer, before), (more, after)] = memory.resident.as_slice() else { return String::new() };
    let each = (after.all.median - before.all.median) / (*more as f64 - *fewer as f64);
    let many = after.all.median + each * (MANY - *more as f64);
    let verdict = if many <= MEMORY_OF_MANY { "within" } else { "above" };
    format!(
        "
From {fewer} to {more} objects each takes {:.1} kB. At that rate {MANY} objects would take {many:.0} MB, {verdict} the
{MEMORY_OF_MANY} MB that are aimed at; that many were not measured.
",
        each * 1000.0
    )
}

fn start(figures: &Figures) -> String {
    let start = &figures.start;
    format!(
        "## Start

{} starts, each with an object that waits. The time runs from when the harness is asked for an operator, so it includes
making a ServiceAccount token and starting a process that guards the operator.

| milliseconds | |
|---|---|
| first request of a reconcile arrives at Cloudflare | {} |
| its last request, the third, is answered | {} |
",
        start.served.count, start.first_request, start.served,
    )
}

fn ms(spread: Spread) -> String {
    format!("{:.0} ({:.0}..{:.0}) ms", spread.median, spread.p10, spread.p90)
}
