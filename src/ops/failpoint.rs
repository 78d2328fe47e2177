//! Places where a test makes a part of the program fail. They exist in debug builds only.

use std::time::Duration;

/// Does what the variable `CFMTLS_FAILPOINTS` says about this place: `lease=hang,reconcile of NAME=panic`.
#[cfg(debug_assertions)]
#[allow(clippy::panic, reason = "what a test asks for")]
pub(crate) async fn reach(place: &str, name: &str) {
    let Ok(points) = std::env::var("CFMTLS_FAILPOINTS") else { return };
    match points.split(',').find_map(|point| point.strip_prefix(place)?.strip_prefix(name)?.strip_prefix('=')) {
        Some("hang") => std::future::pending().await,
        Some("panic") => panic!("a test wants {place}{name} to panic"),
        _ => {}
    }
}

#[cfg(not(debug_assertions))]
pub(crate) async fn reach(_: &str, _: &str) {}

/// How long a silent task is taken to be alive, where a test cannot wait for long: `CFMTLS_PATIENCE` in seconds.
pub(crate) fn patience() -> Option<Duration> {
    let seconds = cfg!(debug_assertions).then(|| std::env::var("CFMTLS_PATIENCE").ok()).flatten()?;
    seconds.parse().ok().map(Duration::from_secs)
}
