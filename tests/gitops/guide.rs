//! The guides in `docs`: their manifests are those in `deploy`, and tests type the very commands that stand there.

use std::path::Path;

use harness::{
    documents::{Block, Page},
    tools,
};
use serde_json::Value;

const GUIDES: [&str; 4] = ["gitops-flux.md", "gitops-argocd.md", "secrets.md", "troubleshooting.md"];

fn read(guide: &str) -> Page {
    Page::read(&format!("docs/{guide}")).unwrap()
}

/// The commands of a guide that name this test, block by block.
pub(crate) fn commands(guide: &str, test: &str) -> Vec<String> {
    let found = read(guide).commands(test);
    assert!(!found.is_empty(), "{guide} has no block of commands that names {test}");
    found
}

/// Whether these lines stand in the file one after the other, each of them whole.
fn shows(file: &str, block: &Block) -> bool {
    let (file, lines): (Vec<_>, Vec<_>) = (file.lines().collect(), block.text.lines().collect());
    file.windows(lines.len()).any(|window| window == lines)
}

/// What each of its documents says. A part of a manifest is further to the right than a whole one.
fn parsed(block: &Block) -> Result<Vec<Value>, String> {
    let parts = block.text.split("\n---\n");
    parts.map(|part| serde_saphyr::from_str(part).map_err(|error| format!("{error}\n{part}"))).collect()
}

#[test]
fn the_guides_show_what_is_in_deploy() {
    let mut files = Vec::new();
    collect(&tools::workspace().join("deploy"), &mut files);
    let mut shown = 0;
    for page in GUIDES.map(read) {
        for block in page.blocks.iter().filter(|block| block.language == "yaml") {
            let place = block.place(&page);
            let shown_by = files.iter().any(|file| shows(file, block));
            assert!(shown_by, "{place}: no file in deploy has these lines:\n{}", block.text);
            for value in parsed(block).unwrap_or_else(|error| panic!("{place}: {error}")) {
                assert!(value.is_object(), "{place}: {value}");
            }
            shown += 1;
        }
    }
    assert!(shown >= 12, "{shown}");
}

#[test]
fn a_block_is_of_whole_lines_and_can_be_read() {
    let block = |text: &str| Block {
        line: 1,
        language: "yaml".to_owned(),
        text: text.to_owned(),
        mark: harness::documents::Mark::Run,
    };
    let file = "kind: ConfigMap\nmetadata:\n  name: argocd-cm\ndata:\n  a: b\n";
    assert!(shows(file, &block("data:\n  a: b\n")));
    for text in ["data:\n  name: argocd-cm\ndata:\n  a: b\n", "a: b\n", "ConfigMap\nmetadata:\n", "data:\n  a:\n"] {
        assert!(!shows(file, &block(text)), "{text}");
    }
    parsed(&block("data:\n  name: argocd-cm\ndata:\n  a: b\n")).unwrap_err();
}

fn collect(folder: &Path, files: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            collect(&entry, files);
        } else {
            files.push(std::fs::read_to_string(entry).unwrap());
        }
    }
}
