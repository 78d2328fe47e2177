//! What the chart renders, without a cluster.

use std::path::PathBuf;

use harness::{
    control_plane::OPERATOR,
    helm::{self, Version, chart},
    manifests::{self, walk},
    tools,
};
use serde_json::Value;

/// A file of `ci/`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Scenario {
    pub(crate) name: String,
    /// The file with the values.
    path: PathBuf,
}

impl Scenario {
    pub(crate) fn every() -> Vec<Self> {
        let entries = std::fs::read_dir(chart().join("ci")).unwrap();
        let mut found: Vec<_> = entries
            .map(|entry| entry.unwrap().path())
            .map(|path| {
                let file = path.file_name().unwrap().to_string_lossy().into_owned();
                let name = file.strip_suffix("-values.yaml").unwrap_or_else(|| panic!("{file}: no scenario"));
                Self { name: name.to_owned(), path }
            })
            .collect();
        found.sort();
        assert!(found.len() >= 8, "{found:?}");
        found
    }

    /// As an argument of Helm.
    pub(crate) fn values(&self) -> String {
        format!("--values={}", self.path.display())
    }
}

/// The documents of a text of manifests.
pub(crate) fn documents(text: &str) -> Vec<Value> {
    manifests::documents(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// The document of this kind.
pub(crate) fn only<'a>(documents: &'a [Value], kind: &str) -> &'a Value {
    let found: Vec<_> = documents.iter().filter(|document| document["kind"] == kind).collect();
    let [found] = found[..] else { panic!("{} of kind {kind}", found.len()) };
    found
}

/// What a Helm makes of the chart with these values, as a release of its usual name in its usual namespace.
pub(crate) async fn render(version: Version, values: &[&str]) -> harness::Result<String> {
    helm::render(version, OPERATOR, values).await
}

#[tokio::test]
async fn both_helms_render_the_same_each_time() {
    for scenario in Scenario::every() {
        let values = [scenario.values()];
        let values = values.each_ref().map(String::as_str);
        let three = render(Version::Three, &values).await.unwrap();
        assert!(documents(&three).len() > 3, "{}", scenario.name);
        for _ in 0..2 {
            let four = render(Version::Four, &values).await.unwrap();
            assert_eq!(documents(&three), documents(&four), "{}", scenario.name);
        }
    }
}

/// A null, an empty map or an empty list is a difference for ever to whoever compares with what the API server stores.
#[tokio::test]
async fn nothing_that_is_rendered_is_empty() {
    for scenario in Scenario::every() {
        for document in documents(&render(Version::Four, &[&scenario.values()]).await.unwrap()) {
            let mut empty = Vec::new();
            walk(&document, "", &mut |path, value| {
                let is_empty = match value {
                    Value::Null => true,
                    Value::Object(map) => map.is_empty(),
                    Value::Array(list) => list.is_empty(),
                    _ => false,
                };
                // The status subresource is switched on by being there; an empty directory is all that its volume is.
                if is_empty && path != "/spec/versions/0/subresources/status" && !path.ends_with("/emptyDir") {
                    empty.push(path.to_owned());
                }
            });
            assert_eq!(empty, [""; 0], "{}: {}", scenario.name, document["kind"]);
        }
    }
}

/// Each of these is what Argo CD or Flux cannot do, or what makes it see a difference where there is none.
#[tokio::test]
async fn templates_ask_no_cluster_and_no_dice() {
    for (file, text) in templates() {
        for word in [
            "lookup",
            ".Capabilities",
            "rand",
            "uuidv4",
            "genCA",
            "genSelf",
            "genSigned",
            "genPrivate",
            "now",
            "helm.sh/hook",
        ] {
            let words = text.split(|character: char| !(character.is_alphanumeric() || "./".contains(character)));
            let found: Vec<_> = words.filter(|found| found.starts_with(word)).collect();
            assert_eq!(found, [""; 0], "{file}");
        }
    }
    for scenario in Scenario::every() {
        let rendered = render(Version::Four, &[&scenario.values()]).await.unwrap();
        assert!(!rendered.contains("helm.sh/hook"), "{}", scenario.name);
    }
}

/// The templates, without NOTES.txt, by file name.
pub(crate) fn templates() -> Vec<(String, String)> {
    let entries = std::fs::read_dir(chart().join("templates")).unwrap().map(|entry| entry.unwrap().path());
    let templates = entries.filter(|path| path.extension().is_some_and(|extension| extension != "txt"));
    let read = |path: PathBuf| (path.display().to_string(), std::fs::read_to_string(&path).unwrap());
    let templates: Vec<_> = templates.map(read).collect();
    assert!(templates.len() > 8, "{templates:?}");
    templates
}

/// What is installed, as a diff that a reviewer sees. `BLESS=1` writes the files anew.
#[tokio::test]
async fn what_is_rendered_is_what_was_reviewed() {
    let folder = tools::workspace().join("tests/install/golden");
    let bless = std::env::var_os("BLESS").is_some();
    let mut expected = Vec::new();
    for scenario in Scenario::every() {
        let rendered = render(Version::Four, &[&scenario.values()]).await.unwrap();
        // What is taken over from files of the repository has tests of its own.
        let is_file = |part: &str| {
            let kinds = ["CustomResourceDefinition", "PrometheusRule"].map(|kind| format!("\nkind: {kind}\n"));
            kinds.iter().any(|kind| part.contains(kind)) || part.contains("grafana_dashboard:")
        };
        let head = |part| ["\nspec:\n", "\ndata:\n"].iter().find_map(|body| str::split_once(part, body)).unwrap().0;
        let parts = rendered.split("\n---\n").map(|part| if is_file(part) { head(part) } else { part });
        let text = parts.collect::<Vec<_>>().join("\n---\n");
        let file = folder.join(format!("{}.yaml", scenario.name));
        if bless {
            std::fs::write(&file, &text).unwrap();
        }
        let reviewed = std::fs::read_to_string(&file).unwrap_or_default();
        let mut lines = text.lines().zip(reviewed.lines()).enumerate();
        let first = lines.find(|(_, (now, then))| now != then);
        assert!(
            text == reviewed,
            "{}: what is rendered has changed. Look at it, and accept it with `BLESS=1 cargo test --test install`. \
             First line, now and then: {first:?}",
            file.display()
        );
        expected.push(file);
    }
    let mut found: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.sort();
    assert_eq!(found, expected, "a file whose scenario is gone");
}
