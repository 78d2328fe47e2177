//! What the chart renders, without a cluster.

use std::path::PathBuf;

use harness::helm::{Helm, Version, chart};
use serde_json::Value;

/// The scenarios of `ci/`, by name.
pub(crate) fn scenarios() -> Vec<(String, PathBuf)> {
    let entries = std::fs::read_dir(chart().join("ci")).unwrap();
    let mut found: Vec<_> = entries
        .map(|entry| entry.unwrap().path())
        .map(|path| {
            let file = path.file_name().unwrap().to_string_lossy().into_owned();
            (file.strip_suffix("-values.yaml").unwrap_or_else(|| panic!("{file}: no scenario")).to_owned(), path)
        })
        .collect();
    found.sort();
    assert!(found.len() >= 7, "{found:?}");
    found
}

/// The documents of a text of manifests.
pub(crate) fn documents(manifests: &str) -> Vec<Value> {
    let parts = manifests.split("\n---\n").map(|part| part.trim_start_matches("---\n"));
    let parsed =
        parts.map(|part| serde_saphyr::from_str::<Value>(part).unwrap_or_else(|error| panic!("{error}\n{part}")));
    parsed.filter(|document| !document.is_null()).collect()
}

/// What a Helm makes of the chart with these values.
pub(crate) async fn render(version: Version, values: &[&str]) -> harness::Result<String> {
    let chart = chart();
    let fixed = ["template", "mtls", &chart.to_string_lossy(), "--namespace", "mtls-system"];
    Helm::offline(version).run(&[&fixed[..], values].concat()).await
}

#[tokio::test]
async fn both_helms_render_the_same_each_time() {
    for (name, path) in scenarios() {
        let values = ["--values", &path.to_string_lossy()];
        let three = render(Version::Three, &values).await.unwrap();
        assert!(!documents(&three).is_empty(), "{name}");
        for _ in 0..2 {
            let four = render(Version::Four, &values).await.unwrap();
            assert_eq!(documents(&three), documents(&four), "{name}");
        }
    }
}
