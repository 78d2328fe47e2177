//! The workflows of GitHub run what `.ci/run` runs, with the compiler of the image, and nobody else's code that can change.

use std::{collections::BTreeSet, process::Command};

use harness::tools;
use serde_json::Value;

use crate::versions;

fn read(path: &str) -> String {
    std::fs::read_to_string(tools::workspace().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The words after `make` in its lines, and in lists of targets.
fn targets(text: &str) -> BTreeSet<String> {
    let lists = text.lines().filter_map(|line| {
        let line = line.trim_start().trim_start_matches("- ").trim_start_matches("run: ").trim_start_matches("sudo ");
        let rest = line.strip_prefix("targets: ").or_else(|| line.rsplit_once("make ").map(|(_, rest)| rest))?;
        (line.starts_with("targets: ") || !line.starts_with('#')).then_some(rest)
    });
    let word = |word: &&str| word.chars().all(|one| one.is_ascii_lowercase() || one.is_ascii_digit() || one == '-');
    lists.flat_map(str::split_whitespace).filter(word).map(str::to_owned).collect()
}

#[test]
fn the_workflow_runs_everything_that_has_to_pass() {
    let wanted = targets(&read(".ci/run"));
    assert!(wanted.contains("test") && wanted.len() > 4, "{wanted:?}");
    let run = targets(&read(".github/workflows/ci.yaml"));
    let missing: Vec<_> = wanted.difference(&run).collect();
    assert!(missing.is_empty(), "not in the workflow: {missing:?}");
}

#[test]
fn the_workflows_make_what_there_is() {
    let makefiles = ["Makefile", "image/image.mk", "tests/conformance/conformance.mk"].map(read).concat();
    for (file, fewest) in [("ci", 9), ("release", 3)] {
        let made = targets(&read(&format!(".github/workflows/{file}.yaml")));
        assert!(made.len() >= fewest, "{file}: {made:?}");
        for target in &made {
            assert!(makefiles.contains(&format!("\n{target}:")), "{file}: there is no target {target}");
        }
    }
}

/// A step's script, as `bash -e -o pipefail`, with a Helm that ends and prints like this in the place of the real one.
fn push_the_chart(printed: &str, status: u8) -> (bool, String) {
    let workflow: Value = serde_saphyr::from_str(&read(".github/workflows/release.yaml")).unwrap();
    assert_eq!(workflow["defaults"]["run"]["shell"], "bash", "without it GitHub sets no pipefail");
    let steps = workflow["jobs"]["publish"]["steps"].as_array().unwrap();
    let script = steps.iter().find(|step| step["id"] == "chart").unwrap()["run"].as_str().unwrap();
    let folder = tempfile::tempdir().unwrap();
    // Written by a process of its own: what this one writes, its other threads' children may still hold open.
    let helm = format!(
        "mkdir -p target/tools target/chart && cd target/tools && cat >helm4 <<'END' && chmod +x helm4\n\
         #!/bin/sh\necho '{printed}'\nexit {status}\nEND\n"
    );
    assert!(Command::new("bash").args(["-c", &helm]).current_dir(folder.path()).status().unwrap().success());
    let outputs = folder.path().join("outputs");
    let ended = Command::new("bash")
        .args(["--noprofile", "--norc", "-eo", "pipefail", "-c", script])
        .current_dir(folder.path())
        .envs([("VERSION", "0.1.0"), ("CHARTS", "registry.example.com/charts")])
        .env("GITHUB_OUTPUT", &outputs)
        .output()
        .unwrap();
    (ended.status.success(), std::fs::read_to_string(outputs).unwrap_or_default())
}

/// What is signed is what was pushed: without a digest the tag would be.
#[test]
fn a_chart_that_was_not_pushed_is_not_signed() {
    let digest = "sha256:6b1f";
    let pushed = (true, format!("digest={digest}\n"));
    assert_eq!(push_the_chart(&format!("Pushed: a\nDigest: {digest}"), 0), pushed);
    for (printed, status) in [(format!("Digest: {digest}"), 1), ("Pushed: a".to_owned(), 0)] {
        assert_eq!(push_the_chart(&printed, status), (false, String::new()), "{printed}");
    }
}

#[test]
fn the_workflows_use_the_compiler_of_the_image() {
    let dockerfile = read("Dockerfile");
    let version = dockerfile.lines().find_map(|line| line.strip_prefix("ARG RUST_VERSION=")).unwrap();
    for file in ["ci", "release"] {
        let text = read(&format!(".github/workflows/{file}.yaml"));
        assert!(text.contains(&format!("RUST_VERSION: \"{version}\"")), "{file}: not {version}");
    }
}

/// What is set up builds with itself alone, and fetches no newer one for a tool that asks for it.
#[test]
fn the_workflows_use_a_go_that_builds_every_tool() {
    let (version, file) = versions::go();
    for workflow in ["ci", "release"] {
        let text = read(&format!(".github/workflows/{workflow}.yaml"));
        let named: BTreeSet<_> =
            text.lines().filter_map(|line| line.trim_start().strip_prefix("go-version-file: ")).collect();
        assert_eq!(named.len(), 1, "{workflow}: {named:?}");
        let named = named.first().unwrap();
        let wanted = format!("\ngo {version}\n");
        assert!(read(named).contains(&wanted), "{workflow}: {named}, but {file} asks for {version}");
    }
}

/// A tag can be moved to other code, a commit cannot.
#[test]
fn the_workflows_take_actions_by_their_commits_and_few_rights() {
    let mut taken = 0;
    for file in ["ci", "release"] {
        let text = read(&format!(".github/workflows/{file}.yaml"));
        assert!(text.contains("\npermissions:\n  contents: read\n"), "{file}");
        for line in text.lines().filter_map(|line| line.trim_start().trim_start_matches("- ").strip_prefix("uses: ")) {
            if line.starts_with("./") {
                continue;
            }
            let (action, version) = line.split_once(" # v").unwrap_or_else(|| panic!("{line}: which version is that?"));
            let commit = action.rsplit_once('@').unwrap().1;
            assert!(commit.len() == 40 && commit.bytes().all(|byte| byte.is_ascii_hexdigit()), "{line}");
            assert!(version.split('.').count() == 3, "{line}");
            taken += 1;
        }
    }
    assert!(taken > 5, "{taken}");
}
