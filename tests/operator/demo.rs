//! The demo, run as a reader runs it: it ends well, says what it should, and leaves nothing behind.

use std::{
    io::{BufRead, BufReader, Read},
    path::Path,
    process::{Child, Command, Stdio},
};

use harness::{demo::TOKENS, tools};

/// The demo with its temporary files in `folder`, the output to be read from pipes.
fn demo(folder: &Path, more: &[&str]) -> Child {
    Command::new(tools::harness().unwrap())
        .args(["demo", "--operator", env!("CARGO_BIN_EXE_cloudflare-mtls-operator")])
        .args(more)
        .env("TMPDIR", folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Every process of the demo names its folder, in its arguments or in its environment.
fn assert_nothing_is_left(folder: &Path) {
    let name = folder.to_str().unwrap().as_bytes();
    let names_it =
        |file: &Path| std::fs::read(file).is_ok_and(|bytes| bytes.windows(name.len()).any(|part| part == name));
    let left: Vec<String> = std::fs::read_dir("/proc")
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|process| process.file_name().unwrap().to_str().unwrap().parse::<u32>().is_ok())
        .filter(|process| names_it(&process.join("cmdline")) || names_it(&process.join("environ")))
        .map(|process| {
            String::from_utf8_lossy(&std::fs::read(process.join("cmdline")).unwrap_or_default()).into_owned()
        })
        .collect();
    assert!(left.is_empty(), "{left:#?}");
    assert_eq!(std::fs::read_dir(folder).unwrap().count(), 0, "files are left in {}", folder.display());
}

/// What `make` does is what is run here.
#[test]
fn what_the_readme_has_typed_is_made() {
    let read = |name: &str| std::fs::read_to_string(tools::workspace().join(name)).unwrap();
    let (readme, makefile) = (read("README.md"), read("Makefile"));
    let mark = "<!-- run by: it_shows_the_main_job_and_leaves_nothing_behind -->\n```console\n";
    let block = readme.split_once(mark).unwrap().1.split("```").next().unwrap();
    let targets: Vec<&str> = block.lines().filter_map(|line| line.strip_prefix("$ make ")?.split(' ').next()).collect();
    assert!(targets.contains(&"demo"), "{targets:?}");
    for target in targets {
        assert!(makefile.contains(&format!("\n{target}: ")), "there is no target {target}");
    }
    let program = "target/debug/cloudflare-mtls-operator";
    assert!(makefile.contains(&format!("\n\t@target/debug/harness demo --operator {program} ")), "of `make demo`");
}

#[test]
fn it_shows_the_main_job_and_leaves_nothing_behind() {
    let (folder, pictures) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let picture = pictures.path().join("demo.svg");
    let output = demo(folder.path(), &["--picture", &picture.to_string_lossy()]).wait_with_output().unwrap();
    let shown = String::from_utf8(output.stdout).unwrap();
    let complaint = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{}\n{shown}\n{complaint}", output.status);
    assert_eq!(complaint, "");
    for line in [
        "$ helm install cloudflare-mtls-operator charts/cloudflare-mtls-operator --namespace cloudflare-mtls-operator",
        "STATUS: deployed",
        r#"["run","--http-bind=[::]:8080""#,
        "serverside-applied",
        "token: $CLOUDFLARE_API_TOKEN",
        "kind: MtlsHostnameSettings",
        "$ kubectl get mhs --watch",
        "InSync",
        "PUT /client/v4/zones/023e105f4ecef8ad9ca31a8372d0c353/access/certificates/settings -> 202",
        r#"{"hostname":"admin.example.com","#,
        "legacy.example.com",
        "$ kubectl annotate mhs admin --overwrite cloudflare-mtls.dev/reconcile-at=",
        "AuthenticationFailed",
        "9109",
        "Invalid access token",
        "no write ever named it",
        "The operator ended with status 0",
        r#"release "cloudflare-mtls-operator" uninstalled"#,
        "Done: all of it came true in",
    ] {
        assert!(shown.contains(line), "not shown: {line}\n{shown}");
    }
    assert!(!shown.contains('\x1b'), "colours are for terminals");
    assert!(TOKENS.iter().all(|token| !shown.contains(token)), "a token was printed");
    assert_nothing_is_left(folder.path());
    let picture = std::fs::read_to_string(picture).unwrap();
    for line in ["Change the list behind", "AuthenticationFailed", "9109"] {
        assert!(picture.contains(line), "not drawn: {line}\n{picture}");
    }
    assert!(TOKENS.iter().all(|token| !picture.contains(token)) && !picture.contains('\x1b'), "{picture}");
}

#[test]
fn interrupted_it_leaves_nothing_behind_either() {
    let folder = tempfile::tempdir().unwrap();
    let mut demo = demo(folder.path(), &[]);
    let mut lines = BufReader::new(demo.stdout.take().unwrap()).lines();
    let started = lines.find(|line| line.as_ref().is_ok_and(|line| line.contains("The operator runs as process")));
    assert!(started.is_some(), "{}", complaint(&mut demo));
    let sent = Command::new("sh").args(["-c", r#"kill -s INT "$0""#, &demo.id().to_string()]).status().unwrap();
    assert!(sent.success());
    let last = lines.map_while(Result::ok).last();
    assert_eq!(demo.wait().unwrap().code(), Some(130), "{}", complaint(&mut demo));
    assert_eq!(last.as_deref(), Some("Interrupted. Nothing is left behind."));
    assert_nothing_is_left(folder.path());
}

#[test]
fn an_operator_that_does_not_start_fails_it_with_a_clear_line() {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(tools::harness().unwrap())
        .args(["demo", "--operator", "/bin/false"])
        .env("TMPDIR", folder.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let complaint = String::from_utf8(output.stderr).unwrap();
    assert!(complaint.contains("the demo failed at step 3") && complaint.contains("status 1"), "{complaint}");
    assert_nothing_is_left(folder.path());
}

fn complaint(demo: &mut Child) -> String {
    let mut text = String::new();
    demo.stderr.take().unwrap().read_to_string(&mut text).unwrap();
    text
}
