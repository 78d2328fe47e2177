//! Objects as `kubectl get -o yaml` shows them, without what is another one each time.

use crate::world::World;

/// What stands in place of the test's own namespace and zone.
const NAMESPACE: &str = "team-a";
const ZONE: &str = "023e105f4ecef8ad9ca31a8372d0c353";

const TIME: &str = "2026-01-01T00:00:00Z";
/// Fields that differ from run to run, and what they are shown as.
const VARYING: [(&str, &str); 7] = [
    ("creationTimestamp", TIME),
    ("deletionTimestamp", TIME),
    ("lastTransitionTime", TIME),
    ("time", TIME),
    ("rayId", "8f0000000000000a-FRA"),
    ("resourceVersion", "1000"),
    ("uid", "00000000-0000-4000-8000-000000000001"),
];

/// The object as kubectl shows it, always the same for the same state.
pub(super) async fn shown(world: &World, name: &str) -> String {
    let text = world.kubectl(&["get", "mhs", name, "-o", "yaml"]).await.unwrap();
    let text = text.replace(world.fixture.namespace(), NAMESPACE).replace(world.fixture.zone_id(), ZONE);
    let mut settled = String::new();
    for line in text.lines() {
        settled.push_str(&settle(line));
        settled.push('\n');
    }
    settled
}

fn settle(line: &str) -> String {
    let Some((key, value)) = line.split_once(": ") else {
        return line.to_owned();
    };
    let field = key.trim_start_matches([' ', '-']);
    match VARYING.iter().find(|(name, _)| *name == field && !value.is_empty()) {
        // kubectl quotes what would else be another type.
        Some((_, fixed)) if value.starts_with('"') => format!("{key}: \"{fixed}\""),
        Some((_, fixed)) => format!("{key}: {fixed}"),
        None => line.to_owned(),
    }
}
