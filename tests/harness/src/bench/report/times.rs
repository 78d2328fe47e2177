//! The sections on single objects: one change, a long list, a start, and the decisions by themselves.

use super::super::Spread;
use super::super::change::Change;
use super::super::decisions::{Decisions, Micros};
use super::super::hostnames::{Cost, Hostnames};
use super::super::start::Start;
use super::{RATIO, count};

/// What bounds the time of a change while it passes through kube-runtime's queue. Found by taking the queue's timer out.
const QUEUE: &str = "
What the operator takes longer lies in the first part and in the fifth: each time the object waits in the queue of
kube-runtime's controller, whose timer counts in whole milliseconds. With that timer taken out, by way of trial, the
ratio was between 1.0 and 1.1.
";

/// The operator's time by the yardstick's.
pub(super) fn ratio(change: &Change) -> f64 {
    change.operator.whole.median / change.program.whole.median
}

pub(super) fn change(change: &Change) -> String {
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

pub(super) fn hostnames(figures: &Hostnames) -> String {
    let line = |Cost { requests, millis }: &Cost| format!("{requests:.0} | {millis:.0}");
    format!(
        "## One object with {} hostnames

An object may list 1,000 at most. It is applied as a whole, and then applied again with one hostname changed; {} times,
each time with a zone of its own. Cloudflare answers at once. The time runs from the request that applies the object to
the moment at which a watch of the bench's own sees it `Ready`, so that it includes what the API server takes for an
object of this size, twice.

| | requests to Cloudflare | milliseconds from apply to `Ready` |
|---|---|---|
| all are new | {} |
| one of them changes | {} |
",
        count(figures.listed),
        figures.create.millis.count,
        line(&figures.create),
        line(&figures.change),
    )
}

pub(super) fn start(start: &Start) -> String {
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

pub(super) fn decisions(decisions: &Decisions) -> String {
    let line = |Micros { p10, median, p90 }: &Micros| format!("{median:.0} ({p10:.0}..{p90:.0})");
    format!(
        "## Decisions

How long the operator computes when one of 10,000 objects of one zone has changed: measured by a program that calls just
these functions, without any request.

| | microseconds |
|---|---|
| who owns which hostname | {} |
| what to send | {} |
| what to say of every object | {} |
",
        line(&decisions.owners),
        line(&decisions.plan),
        line(&decisions.reports),
    )
}
