//! That the harness gives tests what it promises: a real API server, an operator with its own identity, and nothing left.

use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use harness::control_plane::ControlPlane;
use harness::fixture::{Fixture, PATIENCE, condition, eventually};
use harness::guard::Guarded;
use harness::kubectl::Kubectl;
use harness::operator::Operator;
use harness::{Error, Result, tools};
use serde_json::{Value, json};

#[tokio::test]
async fn the_server_and_kubectl_say_which_version_they_are() -> Result<()> {
    let control_plane = ControlPlane::shared().await?;
    let versions: Value = serde_json::from_str(&control_plane.kubectl(&["version", "-o", "json"]).await?)?;
    if std::env::var_os("KUBEBUILDER_ASSETS").is_none() {
        let module = std::fs::read_to_string(tools::workspace().join("tests/tools/kubernetes/go.mod"))?;
        let pinned = module.lines().find_map(|line| line.strip_prefix("require k8s.io/kubernetes "));
        for program in ["clientVersion", "serverVersion"] {
            assert_eq!(
                versions.pointer(&format!("/{program}/gitVersion")).and_then(Value::as_str),
                pinned,
                "{program}"
            );
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_fixture_stores_manifests_in_its_own_namespace() -> Result<()> {
    let fixture = Fixture::new(ControlPlane::shared().await?).await?;
    fixture.apply(&fixture.secret("cloudflare", "token", "s3cret")).await?;
    let manifest = fixture.settings("admin").hostname("admin.example.com", true).with("syncMode", json!("Warn"));
    fixture.apply(&manifest.build()).await?;
    let stored = fixture.until("admin", "is stored", |object| object.get("spec").is_some()).await?;
    assert_eq!(stored.pointer("/spec/zoneId"), Some(&json!(fixture.zone_id())));
    assert_eq!(stored.pointer("/spec/settings/0/hostname"), Some(&json!("admin.example.com")));
    assert_eq!(condition(&stored, "Ready"), None);
    let patched = fixture.patch("admin", &json!({"spec": {"suspend": true}})).await?;
    assert_eq!(patched.pointer("/metadata/generation"), Some(&json!(2)));
    fixture.delete("admin").await?;
    assert_eq!(fixture.get("admin").await?, None);
    Ok(())
}

#[tokio::test]
async fn an_operator_runs_under_its_own_identity_until_it_is_told_to_stop() -> Result<()> {
    let control_plane = ControlPlane::shared().await?;
    let program =
        script(control_plane, r#"echo "arguments: $*"; echo "environment: $GREETING/$HOME"; exec sleep 600"#)?;
    let mut operator = Operator::builder(program, control_plane)
        .watch_namespace("team-a")
        .cloudflare("http://127.0.0.1:1")
        .env("GREETING", "hello")
        .arg("--selector=a=b")
        .spawn()
        .await?;

    let logs = eventually(PATIENCE, "the operator's output", async || {
        let logs = operator.logs().map_err(|error| error.to_string())?;
        if logs.contains("environment") { Ok(logs) } else { Err(logs) }
    })
    .await?;
    let port = operator.http_url().trim_start_matches("http://");
    assert_eq!(
        logs,
        format!(
            "arguments: run --http-bind={port} --leader-elect=false --cloudflare-api-url=http://127.0.0.1:1 \
             --watch-namespace=team-a --selector=a=b\nenvironment: hello/\n"
        )
    );

    let name = "system:serviceaccount:cloudflare-mtls-operator:cloudflare-mtls-operator";
    let listed = Kubectl::new(operator.kubeconfig()).run(&["get", "secrets", "-A"]).await;
    assert!(listed.as_ref().is_err_and(|error| error.to_string().contains("Forbidden")), "{listed:?}");
    eventually(PATIENCE, "the refused request in the audit log", async || {
        let requests = control_plane.requests_of(name)?;
        let refused = |entry: &&Value| entry.pointer("/responseStatus/code") == Some(&json!(403));
        requests.iter().find(refused).cloned().ok_or_else(|| Error::new(format!("{requests:?}")))
    })
    .await?;

    operator.signal("TERM")?;
    assert_eq!(operator.wait_exit(PATIENCE).await?, 128 + 15);
    assert!(operator.signal("TERM").is_err(), "nobody is left to receive a signal");
    Ok(())
}

#[tokio::test]
async fn a_dropped_operator_is_gone() -> Result<()> {
    let control_plane = ControlPlane::shared().await?;
    let operator = Operator::builder(script(control_plane, "exec sleep 600")?, control_plane).spawn().await?;
    let pid = operator.pid();
    assert!(is_running(pid));
    drop(operator);
    assert!(!is_running(pid));
    Ok(())
}

#[tokio::test]
async fn a_program_that_does_not_exist_is_reported() -> Result<()> {
    let control_plane = ControlPlane::shared().await?;
    let outcome = Operator::builder("/no/such/program", control_plane).spawn().await;
    assert!(outcome.as_ref().is_err_and(|error| error.to_string().contains("/no/such/program")), "{outcome:?}");
    Ok(())
}

/// What the next test kills: run by itself it would wait until somebody does.
#[tokio::test]
#[ignore = "the victim of `nothing_is_left_of_a_test_that_is_killed`"]
async fn victim() -> Result<()> {
    let control_plane = ControlPlane::start_with_controllers().await?;
    let _command = Guarded::spawn(&control_plane.dir().join("sleep.log"), |command| {
        command.args(["sleep", "600"]);
    })?;
    announce(control_plane.dir());
    std::future::pending().await
}

#[allow(clippy::print_stdout, reason = "the parent reads it")]
fn announce(dir: &Path) {
    println!("\ndir={}", dir.display());
}

#[tokio::test]
async fn nothing_is_left_of_a_test_that_is_killed() -> Result<()> {
    let mut victim = Command::new(std::env::current_exe()?)
        .args(["--exact", "victim", "--ignored", "--nocapture"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let output = victim.stdout.take().ok_or_else(|| Error::new("no standard output"))?;
    let mut lines = BufReader::new(output).lines().map_while(Result::ok);
    let dir = lines.find_map(|line| line.strip_prefix("dir=").map(PathBuf::from));
    let family = descendants(victim.id())?;
    victim.kill()?;
    victim.wait()?;

    let dir = dir.ok_or_else(|| Error::new("the victim did not start"))?;
    // The control plane's program, a guard and its command for each of etcd, kube-apiserver, kube-controller-manager and sleep.
    assert_eq!(family.len(), 9, "{family:?}");
    eventually(PATIENCE, "the end of all processes", async || {
        let left: Vec<_> = family.iter().filter(|pid| is_running(**pid)).collect();
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    })
    .await?;
    assert!(!dir.exists(), "{} is still there", dir.display());
    Ok(())
}

#[tokio::test]
async fn a_signal_ends_a_control_plane_in_order() -> Result<()> {
    let mut program =
        Command::new(tools::harness()?).arg("control-plane").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    // Taken, since waiting for a child closes its input first, and the signal alone shall end it.
    let _stdin = program.stdin.take();
    let output = program.stdout.take().ok_or_else(|| Error::new("no standard output"))?;
    let mut line = String::new();
    BufReader::new(output).read_line(&mut line)?;
    let ready: Value = serde_json::from_str(&line)?;
    let dir = PathBuf::from(ready.get("dir").and_then(Value::as_str).unwrap_or_default());
    assert!(dir.is_dir());
    let family = descendants(program.id())?;
    assert_eq!(family.len(), 4, "{family:?}");

    Command::new("sh").args(["-c", r#"kill -s INT "$0""#, &program.id().to_string()]).status()?;
    let started = Instant::now();
    assert!(program.wait()?.success());
    assert!(started.elapsed() < PATIENCE);
    assert!(!dir.exists());
    assert!(!family.iter().any(|pid| is_running(*pid)));
    Ok(())
}

fn script(control_plane: &ControlPlane, text: &str) -> Result<PathBuf> {
    let path = control_plane.dir().join(format!("script-{:08x}", fastrand::u32(..)));
    std::fs::write(&path, format!("#!/bin/sh\n{text}\n"))?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))?;
    Ok(path)
}

/// All processes below this one.
fn descendants(pid: u32) -> Result<Vec<u32>> {
    let listed = Command::new("ps").args(["-A", "-o", "pid=,ppid="]).output()?;
    let listed = String::from_utf8_lossy(&listed.stdout);
    let pairs: Vec<(u32, u32)> = listed
        .lines()
        .filter_map(|line| {
            let mut columns = line.split_whitespace().map(str::parse);
            Some((columns.next()?.ok()?, columns.next()?.ok()?))
        })
        .collect();
    let mut family = vec![pid];
    let mut next = 0;
    while let Some(parent) = family.get(next).copied() {
        family.extend(pairs.iter().filter(|(_, of)| *of == parent).map(|(child, _)| *child));
        next += 1;
    }
    family.remove(0);
    Ok(family)
}

/// Whether a process runs: it exists and is no zombie.
fn is_running(pid: u32) -> bool {
    let listed = Command::new("ps").args(["-o", "stat=", "-p", &pid.to_string()]).output();
    listed.is_ok_and(|listed| {
        let state = String::from_utf8_lossy(&listed.stdout);
        !state.trim().is_empty() && !state.trim_start().starts_with('Z')
    })
}
