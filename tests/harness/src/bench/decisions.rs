//! How long the decisions take by themselves: measured by another program, which hands them in as a file.

use std::path::Path;

use serde::Deserialize;

use crate::error::{Context as _, Result};

/// Microseconds of each step with 10,000 objects of one zone after one of them has changed.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Decisions {
    /// Who owns which hostname.
    pub(super) owners: Micros,
    /// What to send.
    pub(super) plan: Micros,
    /// What to say of every object.
    pub(super) reports: Micros,
}

/// One spread.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Micros {
    pub(super) p10: f64,
    pub(super) median: f64,
    pub(super) p90: f64,
}

/// Reads the file.
pub(super) fn read(path: &Path) -> Result<Decisions> {
    let text = std::fs::read_to_string(path).context(path.display())?;
    serde_json::from_str(&text).context(path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_has_three_spreads() {
        let one = r#"{"p10": 1, "median": 2.5, "p90": 3}"#;
        let text = format!(r#"{{"owners": {one}, "plan": {one}, "reports": {one}}}"#);
        let read: Decisions = serde_json::from_str(&text).unwrap();
        assert!((read.plan.median - 2.5).abs() < f64::EPSILON);
        assert!(serde_json::from_str::<Decisions>(r#"{"owners": {}}"#).is_err());
    }
}
