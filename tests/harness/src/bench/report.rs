//! BENCHMARKS.md: each figure with its spread, its target and how it was come by.

use super::Figures;
use super::machine::Machine;

mod fleet;
mod lists;
mod resources;
mod times;

const RATIO: f64 = 1.5;
const REQUESTS: f64 = 3.0;
const SIZE: f64 = 9.0;
const MEMORY: f64 = 10.0;
const MEMORY_OF_MANY: f64 = 60.0;
const START: f64 = 1000.0;
const PACE: f64 = 0.8;
/// Longest that a scrape may take, in milliseconds.
const SCRAPE: f64 = 100.0;

/// The whole file.
pub(super) fn text(machine: &Machine, figures: &Figures) -> String {
    let sections = [
        head(machine),
        table(figures),
        times::change(&figures.change),
        lists::section(&figures.lists, &figures.naive),
        fleet::section(&figures.fleet),
        times::hostnames(&figures.hostnames),
        resources::memory(&figures.memory, &figures.fleet),
        resources::idle(&figures.idle),
        times::start(&figures.start),
    ];
    let decisions = figures.decisions.as_ref().map(times::decisions);
    sections.into_iter().chain(decisions).collect::<Vec<String>>().join("\n")
}

fn head(machine: &Machine) -> String {
    format!(
        "# Benchmarks

Written by `make bench`, which measures on this machine: run it to get yours. Figures are medians; in brackets the
10th and the 90th percentile, where they differ from it. Everything runs on one machine and shares its cores: API
server, etcd, emulated Cloudflare, operator and what measures. MB are 10^6 bytes.

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
    let Figures { change, memory, start, fleet, .. } = figures;
    #[allow(clippy::cast_precision_loss, reason = "a program has less than 2^52 bytes")]
    let size = figures.size as f64 / 1e6;
    let ratio = times::ratio(change);
    let requests = change.cloudflare_requests.median;
    let mut rows = vec![
        row("requests to Cloudflare for one change", &format!("{requests:.2}"), requests, Target::AtMost(REQUESTS), ""),
        row(
            "time of one change, as a multiple of the bare calls",
            &format!("{ratio:.2} x"),
            ratio,
            Target::AtMost(RATIO),
            " x",
        ),
    ];
    rows.extend(lists::rows(&figures.lists, &figures.naive));
    rows.extend(fleet::rows(fleet));
    rows.push(row("release binary", &format!("{size:.2} MB"), size, Target::AtMost(SIZE), " MB"));
    rows.push(row(
        "start to first reconcile",
        &format!("{:.0} ms", start.first_request),
        start.first_request.median,
        Target::AtMost(START),
        " ms",
    ));
    rows.extend(resources::rows(memory, fleet, &figures.idle));
    format!("## Figures\n\n| what | measured | target | |\n|---|---|---|---|\n{}\n", rows.join("\n"))
}

/// What a figure is held against.
#[derive(Clone, Copy)]
enum Target {
    AtMost(f64),
    AtLeast(f64),
}

fn row(what: &str, shown: &str, value: f64, target: Target, unit: &str) -> String {
    let (sign, target, met) = match target {
        Target::AtMost(target) => ("<=", target, value <= target),
        Target::AtLeast(target) => (">=", target, value >= target),
    };
    let verdict =
        if met { "met".to_owned() } else { format!("**missed by {:.0} %**", (value / target - 1.0).abs() * 100.0) };
    format!("| {what} | {shown} | {sign} {target}{unit} | {verdict} |")
}

/// A row without a target.
fn plain(what: &str, shown: &str) -> String {
    format!("| {what} | {shown} | | |")
}

/// A count with its thousands apart.
fn count(number: usize) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().map(|group| std::str::from_utf8(group).unwrap_or_default()).collect();
    groups.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_set_apart() {
        assert_eq!([0, 999, 1000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn a_target_is_met_or_missed_by_so_much() {
        assert!(row("x", "9 MB", 9.0, Target::AtMost(9.0), " MB").ends_with("| <= 9 MB | met |"));
        assert!(row("x", "15", 15.0, Target::AtMost(10.0), "").ends_with("**missed by 50 %** |"));
        assert!(row("x", "0.4", 0.4, Target::AtLeast(0.8), "").ends_with("| >= 0.8 | **missed by 50 %** |"));
    }
}
