//! The guides in `docs`: their manifests are those in `deploy`, and tests type the very commands that stand there.

use std::{path::Path, process::Stdio, time::Duration};

use harness::{control_plane::ControlPlane, tools};

const GUIDES: [&str; 4] = ["gitops-flux.md", "gitops-argocd.md", "secrets.md", "troubleshooting.md"];

/// A fenced block with the test that is named before it.
struct Block {
    language: String,
    run_by: Option<String>,
    text: String,
}

fn blocks(guide: &str) -> Vec<Block> {
    let text = std::fs::read_to_string(tools::workspace().join("docs").join(guide)).unwrap();
    let mut found = Vec::new();
    let mut before = "";
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(language) = line.strip_prefix("```") {
            let inside: Vec<_> = lines.by_ref().take_while(|line| *line != "```").collect();
            let run_by = before.strip_prefix("<!-- run by: ").and_then(|rest| rest.strip_suffix(" -->"));
            found.push(Block {
                language: language.to_owned(),
                run_by: run_by.map(str::to_owned),
                text: inside.join("\n"),
            });
        }
        before = line;
    }
    found
}

/// The commands of a guide that name this test, block by block.
pub(crate) fn commands(guide: &str, test: &str) -> Vec<String> {
    let console = |block: &Block| block.language == "console" && block.run_by.as_deref() == Some(test);
    let found: Vec<_> = blocks(guide).into_iter().filter(console).map(|block| block.text).collect();
    assert!(!found.is_empty(), "{guide} has no block of commands that names {test}");
    found.iter().map(|text| text.replace("\n$ ", "\n").trim_start_matches("$ ").to_owned()).collect()
}

/// Types a block of commands in a folder, as an administrator who has these variables, and returns what it printed.
pub(crate) async fn type_in(
    control_plane: &ControlPlane,
    folder: &Path,
    variables: &[(&str, &str)],
    commands: &str,
) -> String {
    let path = std::env::join_paths([
        tools::folder(),
        tools::workspace().join("target/tools"),
        "/usr/bin".into(),
        "/bin".into(),
    ]);
    let typed = tokio::process::Command::new("bash")
        .args(["-euo", "pipefail", "-c", commands])
        .current_dir(folder)
        .env_clear()
        .env("PATH", path.unwrap())
        .env("HOME", control_plane.dir())
        .env("KUBECONFIG", control_plane.kubeconfig())
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(Duration::from_secs(120), typed).await.expect(commands).unwrap();
    let printed = [output.stdout, output.stderr].concat();
    let printed = String::from_utf8_lossy(&printed).into_owned();
    assert!(output.status.success(), "{commands}\n{printed}");
    printed
}

#[test]
fn the_guides_show_what_is_in_deploy() {
    let mut files = Vec::new();
    collect(&tools::workspace().join("deploy"), &mut files);
    let mut shown = 0;
    for guide in GUIDES {
        for block in blocks(guide).iter().filter(|block| block.language == "yaml") {
            assert!(
                files.iter().any(|file| file.contains(&block.text)),
                "{guide}: no file in deploy has this:\n{}",
                block.text
            );
            shown += 1;
        }
    }
    assert!(shown >= 11, "{shown}");
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
