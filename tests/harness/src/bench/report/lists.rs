//! The section on many objects of one zone, with the yardstick measured as far as it goes and extrapolated from there.

use super::super::lists::{APPLY, Cost, LATENCY, Row};
use super::super::naive::{FIRST_WAIT, LONGEST_WAIT, POLL, WORKERS};
use super::super::spread::float;
use super::{count, plain};

/// The largest number of objects, created and changed.
pub(super) fn rows(operator: &[Row], naive: &[Row]) -> Vec<String> {
    let Some(most) = operator.iter().max_by_key(|row| row.objects) else { return Vec::new() };
    let beside = |cost: fn(&Row) -> &Cost| {
        let other = extrapolated(naive, most.objects, cost);
        other.map(|(seconds, _)| format!("; one PUT each: about {}", rounded(seconds))).unwrap_or_default()
    };
    let row = |what: &str, cost: fn(&Row) -> &Cost| {
        plain(
            &format!("{} objects of one zone {what}, until the last is ready", count(most.objects)),
            &format!("{:.1} s{}", cost(most).seconds, beside(cost)),
        )
    };
    vec![row("created", |row| &row.create), row("changed", |row| &row.change)]
}

pub(super) fn section(operator: &[Row], naive: &[Row]) -> String {
    let most = naive.iter().map(|row| row.objects).max().unwrap_or_default();
    let rounds: Vec<String> =
        operator.iter().map(|row| format!("{} of {}", row.create.seconds.count, count(row.objects))).collect();
    format!(
        "## Many objects of one zone

Objects with one hostname each are created, {} requests at a time, and all are changed in the same way once the last is
`Ready`. Each answer of Cloudflare takes {} ms, and a write takes {} s to have its effect, during which the zone refuses
other writes with 409. Beside it stands what clients do that write each object by itself, as Terraform's provider does
with a resource for each: {WORKERS} at a time, each object PUTs its entry, waits after a 409 ({} s, doubling up to {} s,
less up to a half at random) and PUTs again, and then GETs every {} s until the entry shows. That yardstick has no
Kubernetes around it. It was measured with up to {most} objects, its runs side by side, each on a list of its own; what
follows `about` is extrapolated from {most}, at as much time and as many requests for each object.

Rounds: {}.

### Created

{}
### Changed

{}",
        super::super::objects::AT_ONCE,
        LATENCY.as_millis(),
        APPLY.as_secs(),
        FIRST_WAIT.as_secs(),
        LONGEST_WAIT.as_secs(),
        POLL.as_secs(),
        rounds.join(", "),
        table(operator, naive, |row| &row.create),
        table(operator, naive, |row| &row.change),
    )
}

fn table(operator: &[Row], naive: &[Row], cost: fn(&Row) -> &Cost) -> String {
    let mut lines = vec![
        "| objects | by | seconds until the last is served | GET | PUT | of them refused | statuses for each object |\n\
         |---|---|---|---|---|---|---|"
            .to_owned(),
    ];
    for row in operator {
        let statuses = cost(row).statuses;
        lines.push(format!("| {} | operator | {} | {statuses:.1} |", count(row.objects), measured(cost(row))));
        let same = naive.iter().find(|other| other.objects == row.objects);
        let text = match same {
            Some(same) => Some(measured(cost(same))),
            None => extrapolated(naive, row.objects, cost).map(|(seconds, [gets, puts, refused])| {
                let [gets, puts, refused] = [gets, puts, refused].map(rounded_count);
                format!("about {} | about {gets} | about {puts} | about {refused}", rounded(seconds))
            }),
        };
        lines.extend(text.map(|text| format!("| | one PUT each | {text} | |")));
    }
    lines.join("\n") + "\n"
}

fn measured(cost: &Cost) -> String {
    let Cost { gets, puts, refused, seconds, .. } = cost;
    format!("{seconds:.1} | {gets:.0} | {puts:.0} | {refused:.0}")
}

/// Seconds, GETs, PUTs and refused ones of so many objects at the rate of the most that were measured.
fn extrapolated(naive: &[Row], objects: usize, cost: fn(&Row) -> &Cost) -> Option<(f64, [f64; 3])> {
    let most = naive.iter().max_by_key(|row| row.objects)?;
    let times = float(objects) / float(most.objects);
    let Cost { gets, puts, refused, seconds, .. } = cost(most);
    Some((seconds.median * times, [gets, puts, refused].map(|spread| spread.median * times)))
}

/// An extrapolated time, no more exact than it is.
fn rounded(seconds: f64) -> String {
    match seconds {
        ..60.0 => format!("{seconds:.0} s"),
        ..600.0 => format!("{:.0} s", (seconds / 10.0).round() * 10.0),
        _ => format!("{:.0} min", seconds / 60.0),
    }
}

/// The same of a number of requests.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count of requests")]
fn rounded_count(requests: f64) -> String {
    let step = if requests < 100.0 { 1.0 } else { 10.0 };
    count(((requests / step).round() * step) as usize)
}
