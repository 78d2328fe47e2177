//! Every block of commands and every manifest of every document: run, applied, or marked with why it is not.
//!
//! Blocks of `console`, `sh` and `bash` run in the order of their document, in a cluster that is new. Manifests (`yaml`) are
//! shown to the API server. A block that cannot be run has one of these comments directly before it:
//!
//! ```text
//! <!-- not run here: why -->          what this machine lacks, or what is no whole manifest
//! <!-- run by: test -->               a test that runs the same, by the name of its function; its file names the document,
//!                                     whose commands it reads (`left_to`), or the file in deploy/ that has the manifest
//! <!-- as in: deploy/a.yaml b.yaml -->  what stands in these files, which other tests use
//! <!-- in a new cluster -->            commands that do not go on from those before, as where another way to install begins
//! <!-- values of the chart -->        YAML for `helm --values`, rendered with the chart
//! ```

mod node;
mod notes;
mod prepared;
mod session;

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use futures::{StreamExt as _, stream};
use harness::{
    control_plane::ControlPlane,
    documents::{Block, Mark, Page},
    helm::{Helm, Version, chart},
    tools,
};
use serde_json::Value;

use crate::render::documents;

/// What is in a document and has to be shown to work.
const COMMANDS: [&str; 3] = ["console", "sh", "bash"];
/// What is only looked at.
const OTHERS: [&str; 9] = ["text", "json", "rust", "lua", "hcl", "promql", "dockerfile", "toml", "diff"];

fn is_run(block: &Block) -> bool {
    COMMANDS.contains(&block.language.as_str()) && block.is_tried()
}

#[test]
fn every_block_says_what_it_is_and_every_mark_says_why() {
    let (sources, pages) = (sources(), Page::all().unwrap());
    assert!(pages.iter().any(|page| page.name == "README.md") && pages.len() > 5);
    for page in pages {
        for block in &page.blocks {
            let (place, language) = (block.place(&page), block.language.as_str());
            let known = COMMANDS.contains(&language) || OTHERS.contains(&language) || language == "yaml";
            assert!(
                known,
                "{place}: a block of {language:?}; commands are `console`, `sh` or `bash`, all else has a language"
            );
            match &block.mark {
                Mark::Unclear(comment) => {
                    panic!("{place}: {comment}: this marks nothing; see tests/install/documents/mod.rs")
                }
                Mark::NotHere(why) => assert!(why.split_whitespace().count() > 2, "{place}: a reason takes a sentence"),
                Mark::RunBy(test) => assert_concerned(test, &page, block, &sources),
                Mark::Values => assert_eq!(language, "yaml", "{place}"),
                Mark::AsIn(files) => assert_same(block, files, &place),
                Mark::RunAfresh => assert!(is_run(block), "{place}"),
                Mark::Run => {
                    let hidden = !is_run(block) && block.text.lines().any(|line| line.starts_with("$ "));
                    assert!(!hidden, "{place}: commands are in blocks of `console`");
                }
            }
        }
    }
}

/// The documents say which test shows what they claim, as `module::name`.
#[test]
fn every_test_that_a_document_names_exists() {
    let (sources, mut named) = (sources_by_path(), 0);
    for page in Page::all().unwrap() {
        for (line, span) in &page.spans {
            let plain = |text: &str| {
                text.chars().all(|one| one.is_ascii_lowercase() || one.is_ascii_digit() || "_:".contains(one))
            };
            if let Some((modules, name)) = span.rsplit_once("::").filter(|_| plain(span)) {
                let declared = [format!("fn {name}("), format!("fn {name}<")];
                let is_in = |path: &Path| {
                    let parts: BTreeSet<_> = path.iter().filter_map(|part| part.to_str()?.split('.').next()).collect();
                    modules.split("::").all(|module| parts.contains(module))
                };
                let exists =
                    sources.iter().any(|(path, text)| is_in(path) && declared.iter().any(|start| text.contains(start)));
                assert!(exists, "{}:{line}: there is no test {span}", page.name);
                named += 1;
            }
        }
    }
    assert!(named > 100, "{named}");
}

/// What a document leaves to this test, in its order, each with where it stands: commands one by one, other blocks whole.
pub(crate) fn left_to(test: &str, document: &str) -> Vec<(String, String)> {
    let page = Page::all().unwrap().into_iter().find(|page| page.name == document).unwrap();
    let mark = Mark::RunBy(test.to_owned());
    let mut found = Vec::new();
    for block in page.blocks.iter().filter(|block| block.mark == mark) {
        if !COMMANDS.contains(&block.language.as_str()) {
            found.push((block.place(&page), block.text.clone()));
            continue;
        }
        let commands = session::commands(block).unwrap_or_else(|error| panic!("{}: {error}", block.place(&page)));
        found.extend(commands.into_iter().map(|command| (block.place(&page), command.text)));
    }
    found
}

/// Manifests are compared by what they say, since a document leaves comments out; all else to the letter.
fn assert_same(block: &Block, files: &str, place: &str) {
    let texts = files.split_whitespace().map(|file| {
        std::fs::read_to_string(tools::workspace().join(file))
            .unwrap_or_else(|error| panic!("{place}: {file}: {error}"))
    });
    if block.language == "yaml" {
        let found: Vec<Value> = texts.flat_map(|text| documents(&text)).collect();
        assert_eq!(documents(&block.text), found, "{place}: this is not what stands in {files}");
    } else {
        assert_eq!(block.text, texts.collect::<String>(), "{place}: this is not what stands in {files}");
    }
}

/// `DOCUMENT=docs/upgrades.md` in the environment runs that one alone.
#[tokio::test(flavor = "multi_thread")]
async fn the_commands_of_every_document_do_what_it_says() {
    let only = std::env::var("DOCUMENT").ok();
    let wanted = |page: &Page| only.as_ref().is_none_or(|only| *only == page.name) && page.blocks.iter().any(is_run);
    let pages: Vec<_> = Page::all().unwrap().into_iter().filter(wanted).collect();
    assert!(!pages.is_empty());
    // Each of them has an API server of its own: a few at a time.
    let runs = stream::iter(pages).map(|page| async move { session::read(&page).await });
    let failed: Vec<String> =
        runs.buffer_unordered(3).collect::<Vec<_>>().await.into_iter().filter_map(Result::err).collect();
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
}

#[tokio::test]
async fn every_manifest_of_the_documents_is_one_that_the_api_server_takes() {
    let control_plane = ControlPlane::shared().await.unwrap();
    let served = control_plane.kubectl(&["api-resources", "--no-headers"]).await.unwrap();
    let served: BTreeSet<_> = served.lines().filter_map(|line| line.split_whitespace().last()).collect();
    let mut taken = 0;
    for page in Page::all().unwrap() {
        for block in page.blocks.iter().filter(|block| block.language == "yaml" && block.is_tried()) {
            let place = block.place(&page);
            for manifest in documents(&block.text) {
                let text = |pointer: &str| manifest.pointer(pointer).and_then(Value::as_str);
                let kind = text("/apiVersion").and(text("/kind"));
                let kind = kind.unwrap_or_else(|| panic!("{place}: no whole manifest: mark it, or complete it"));
                assert!(served.contains(kind), "{place}: this API server has no {kind}: mark it");
                if let Some(namespace) = text("/metadata/namespace") {
                    let namespace =
                        serde_json::json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
                    control_plane.apply(&namespace.to_string()).await.unwrap();
                }
                let kubectl = harness::kubectl::Kubectl::new(control_plane.kubeconfig());
                let arguments = ["apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", "-"];
                let outcome = kubectl.run_with_input(&arguments, &manifest.to_string()).await;
                outcome.unwrap_or_else(|error| panic!("{place}: {error}"));
                taken += 1;
            }
        }
    }
    assert!(taken > 1, "{taken}");
}

#[tokio::test]
async fn the_values_in_the_documents_are_values_of_the_chart() {
    let folder = tempfile::tempdir().unwrap();
    for page in Page::all().unwrap() {
        for block in page.blocks.iter().filter(|block| block.mark == Mark::Values) {
            let (file, chart) = (folder.path().join("values.yaml"), chart());
            std::fs::write(&file, &block.text).unwrap();
            let arguments = ["template", "a", &chart.to_string_lossy(), "--values", &file.to_string_lossy()];
            let rendered = Helm::offline(Version::Four).run(&arguments).await;
            rendered.unwrap_or_else(|error| panic!("{}: {error}", block.place(&page)));
        }
    }
}

/// That the file of a test has to do with a block: it names the document, to read the commands there, or a file in `deploy`
/// that has the manifest.
fn assert_concerned(test: &str, page: &Page, block: &Block, sources: &[String]) {
    let place = block.place(page);
    let start = format!("fn {test}(");
    let source = sources.iter().find(|source| source.contains(&start));
    let source = source.unwrap_or_else(|| panic!("{place}: there is no test {test}"));
    let document = page.name.strip_prefix("docs/").unwrap_or(&page.name);
    let deployed = |path: &Path| source.contains(path.file_name().unwrap().to_str().unwrap()) && has(path, &block.text);
    let manifest = || block.language == "yaml" && files("deploy").iter().any(|path| deployed(path));
    assert!(
        source.contains(document) || manifest(),
        "{place}: {test} stands in a file that mentions neither {document} nor a file in deploy that has this"
    );
}

fn has(path: &Path, text: &str) -> bool {
    std::fs::read_to_string(path).is_ok_and(|file| file.contains(text.trim_end()))
}

/// All Rust of the tests and of the program, file by file.
fn sources() -> Vec<String> {
    sources_by_path().into_iter().map(|(_, text)| text).collect()
}

fn sources_by_path() -> Vec<(PathBuf, String)> {
    let paths = ["tests", "src"].into_iter().flat_map(files);
    let rust = paths.filter(|path| path.extension().is_some_and(|extension| extension == "rs"));
    rust.map(|path| (path.clone(), std::fs::read_to_string(path).unwrap())).collect()
}

/// All files below a folder of this repository.
fn files(folder: &str) -> Vec<PathBuf> {
    fn search(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap()) {
            if entry.file_type().unwrap().is_dir() {
                search(&entry.path(), found);
            } else {
                found.push(entry.path());
            }
        }
    }
    let mut found = Vec::new();
    search(&tools::workspace().join(folder), &mut found);
    found
}
