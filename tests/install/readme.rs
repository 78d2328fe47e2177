//! What the chart says of itself: its README is what helm-docs makes of the values, its versions are the program's.

use std::process::Command;

use harness::{helm::chart, tools};
use serde_json::Value;

#[test]
fn the_readme_is_what_helm_docs_makes_of_the_values() {
    let arguments = ["--chart-search-root=.", "--sort-values-order=file", "--dry-run"];
    let made = Command::new(tools::tool("helm-docs").unwrap()).args(arguments).current_dir(chart()).output().unwrap();
    assert!(made.status.success() && made.stderr.is_empty() || made.stdout.len() > 1000, "{made:?}");
    let made = String::from_utf8(made.stdout).unwrap();
    let file = std::fs::read_to_string(chart().join("README.md")).unwrap();
    let mut lines = made.lines().zip(file.lines()).enumerate();
    let first = lines.find(|(_, (made, file))| made != file);
    assert!(
        made.trim_end() == file.trim_end(),
        "the chart's README.md is stale: run `make chart-docs`. First line, made and in the file: {first:?}"
    );
}

#[test]
fn its_versions_are_those_of_the_program() {
    let chart: Value = serde_saphyr::from_str(&std::fs::read_to_string(chart().join("Chart.yaml")).unwrap()).unwrap();
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!((chart["version"].as_str(), chart["appVersion"].as_str()), (Some(version), Some(version)));
    let images: Vec<Value> =
        serde_saphyr::from_str(chart["annotations"]["artifacthub.io/images"].as_str().unwrap()).unwrap();
    let image = images[0]["image"].as_str().unwrap();
    assert!(image.ends_with(&format!("/cloudflare-mtls-operator:{version}")), "{image}");
    let changes: Vec<Value> =
        serde_saphyr::from_str(chart["annotations"]["artifacthub.io/changes"].as_str().unwrap()).unwrap();
    for change in changes {
        let kinds = ["added", "changed", "deprecated", "removed", "fixed", "security"];
        assert!(kinds.contains(&change["kind"].as_str().unwrap()), "{change}");
    }
}
