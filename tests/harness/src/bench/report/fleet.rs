//! The section on many objects over many zones: how fast, what it costs in requests, and who used the processors.

use super::super::cpu::Cpu;
use super::super::fleet::{Fleet, Round};
use super::super::objects::{AT_ONCE, IN_ZONE};
use super::super::patches::Pace;
use super::super::spread::float;
use super::{PACE, SCRAPE, Target, count, row};

/// A part of the processor time.
type Share = fn(&Cpu) -> f64;

fn pace(round: &Round) -> f64 {
    round.served.per_second / round.yardstick()
}

fn pace_from_start(round: &Round) -> f64 {
    round.served.per_second_from_start / round.yardstick()
}

pub(super) fn rows(fleet: &Fleet) -> Vec<String> {
    let zones = fleet.objects.div_ceil(IN_ZONE);
    let what = |from: &str| {
        let (objects, zones) = (count(fleet.objects), count(zones));
        format!("pace of {objects} objects over {zones} zones to `Ready`, {from}, as a multiple of bare status patches")
    };
    let line = |from: &str, pace: fn(&Round) -> f64| {
        let ratio = fleet.spread(pace);
        row(&what(from), &format!("{ratio} x"), ratio.median, Target::AtLeast(PACE), " x")
    };
    let scrape = fleet.spread(|round| round.served.scrape);
    let lines = fleet.spread(|round| round.served.samples).median;
    let what = format!("a scrape of the metrics of {} objects, {lines:.0} lines", count(fleet.objects));
    let scrape = row(&what, &format!("{scrape} ms"), scrape.median, Target::AtMost(SCRAPE), " ms");
    vec![line("from the first status", pace), line("from the start", pace_from_start), scrape]
}

pub(super) fn section(fleet: &Fleet) -> String {
    format!(
        "## {} objects over {} zones

All objects exist, with one hostname each, and nobody has served them; then the operator starts. The time runs from the
arrival of its first status at the API server to the answer to the last one, which is the last `Ready`, and once more
from the start of the process. Nothing looks at the objects meanwhile: the times are from the API server's audit log,
and a list afterwards shows that all are ready. Cloudflare answers at once. The yardstick applies a status of the same
size to as many objects of another namespace, {AT_ONCE} at a time, as the operator reconciles, with the operator's rights:
one half of them right before the operator runs, the other half right after it, on the same API server. The operator
also writes an event for each object; the last column is the yardstick when it does that too, for half as many objects.
Rounds: {}.

{}
{}
An operator that starts when all are ready makes {} requests to Cloudflare for each zone and writes {:.0} statuses. While
it idles with all of them it makes {:.1} requests per second to the API server: each zone's Secret is read again every
30 s, to notice that it changed.
",
        count(fleet.objects),
        count(fleet.objects.div_ceil(IN_ZONE)),
        fleet.rounds.len(),
        comparison(fleet),
        shares(fleet),
        fleet.spread(|round| round.restarted.cloudflare),
        fleet.spread(|round| float(round.restarted.statuses)),
        fleet.spread(|round| round.restarted.idle_requests),
    )
}

/// Who kept the processors busy until the last object was ready.
fn shares(fleet: &Fleet) -> String {
    let share = |of: Share| fleet.spread(|round| of(&round.served.cpu) / round.served.cpu.all() * 100.0);
    let busy = fleet.spread(|round| round.served.cpu.all() * round.served.per_second_from_start / float(fleet.objects));
    format!(
        "Of the processor time from the start to the last `Ready`, the API server had {:.0} %, etcd {:.0} %, the operator
{:.0} % and the emulated Cloudflare with what measures {:.0} %. Together they kept {busy:.1} cores busy.
",
        share(|cpu| cpu.api_server),
        share(|cpu| cpu.etcd),
        share(|cpu| cpu.operator),
        share(|cpu| cpu.bench),
    )
}

fn comparison(fleet: &Fleet) -> String {
    let all = |value: fn(&Round) -> f64| fleet.spread(value);
    let mut lines = vec![
        "| | operator | bare patches | patches and events |\n|---|---|---|---|".to_owned(),
        format!(
            "| objects per second, from the first status | {:.0} | {:.0} | {:.0} |",
            all(|round| round.served.per_second),
            all(Round::yardstick),
            all(|round| round.with_event.per_second),
        ),
        format!("| objects per second, from the start | {:.0} | | |", all(|round| round.served.per_second_from_start)),
        format!("| seconds from the start to the first status | {} | | |", all(|round| round.served.first_status)),
        format!(
            "| requests to the API server for each object | {} | 1.00 | 2.00 |",
            all(|round| round.served.statuses + round.served.events + round.served.secrets),
        ),
        format!("| of them statuses | {} | 1.00 | 1.00 |", all(|round| round.served.statuses)),
        format!("| of them events | {} | | 1.00 |", all(|round| round.served.events)),
        format!("| of them reads of a Secret | {} | | |", all(|round| round.served.secrets)),
        format!(
            "| requests to the API server per second | {:.0} | {:.0} | {:.0} |",
            all(|round| round.served.requests_per_second),
            all(Round::yardstick),
            all(|round| round.with_event.requests_per_second),
        ),
        format!(
            "| of them under way at a time | {:.1} | {:.1} | {:.1} |",
            all(|round| round.served.under_way),
            all(|round| f64::midpoint(round.before.under_way, round.after.under_way)),
            all(|round| round.with_event.under_way),
        ),
        format!("| requests to Cloudflare for each zone | {} | | |", all(|round| round.served.cloudflare)),
    ];
    let parts: [(&str, Share); 3] = [
        ("API server", |cpu| cpu.api_server),
        ("etcd", |cpu| cpu.etcd),
        ("the program itself, and the emulated Cloudflare", |cpu| cpu.operator + cpu.bench),
    ];
    let each = |cpu: &Cpu, objects: usize, of: Share| of(cpu) / float(objects) * 1000.0;
    let pace = |pace: &Pace, of| each(&pace.cpu, pace.objects, of);
    for (who, of) in parts {
        lines.push(format!(
            "| processor milliseconds for each object: {who} | {} | {} | {} |",
            fleet.spread(|round| each(&round.served.cpu, fleet.objects, of)),
            fleet.spread(|round| f64::midpoint(pace(&round.before, of), pace(&round.after, of))),
            fleet.spread(|round| pace(&round.with_event, of)),
        ));
    }
    lines.join("\n") + "\n"
}
