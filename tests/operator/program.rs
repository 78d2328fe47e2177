//! The program: its flags, its logs, its health, and how it ends.

use std::{
    process::{Command, Output},
    time::Duration,
};

use harness::{
    cloudflare::{Cloudflare, Effect, Fault},
    control_plane::ControlPlane,
    fixture::{Fixture, PATIENCE, condition, eventually},
    operator::Operator,
};
use serde_json::{Value, json};

use crate::world::World;

const PROGRAM: &str = env!("CARGO_BIN_EXE_cloudflare-mtls-operator");

/// Runs the program to its end, without anything of the environment.
fn program(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    Command::new(PROGRAM).args(arguments).env_clear().envs(environment.iter().copied()).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn a_wrong_value_is_one_clear_line_and_status_2() {
    for (flag, value, says) in [
        ("--cloudflare-api-url", "http://api.cloudflare.com/client/v4", "use https"),
        ("--cloudflare-api-url", "ftp://api.cloudflare.com", "not an https URL"),
        ("--cloudflare-api-url", "https://user:pass@example.com/", "more than a host and a path"),
        ("--cloudflare-api-url", "nonsense", "not a URL"),
        ("--default-interval", "10s", "from 1m to 24h"),
        ("--secret-poll", "5m", "from 1s to 1m"),
        ("--shutdown-grace", "forever", "from 1s to 10m"),
        ("--http-bind", "8080", "invalid socket address"),
        ("--log-format", "xml", "json, text"),
        ("--requests-per-5m", "0", "number would be zero"),
        ("--leader-elect", "perhaps", "true, false"),
        ("--object-metrics", "some", "true, false"),
        ("--lease-duration", "5s", "from 10s to 10m"),
        ("--lease-namespace", "Not_A_Namespace", "namespace"),
        ("--selector", "a=b=c", "label selector"),
        ("--watch-namespace", "Not_A_Namespace", "namespace"),
    ] {
        let output = program(&["run", &format!("{flag}={value}")], &[]);
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{flag}={value}: {error}");
        assert!(error.contains(says) && error.contains(flag), "{flag}={value}: {error}");
        assert_eq!(error.lines().filter(|line| line.starts_with("error:")).count(), 1, "{error}");
    }
    for (flag, says) in [
        ("--lease-renew-deadline=14s", "--lease-renew-deadline has to be at least 2s shorter than --lease-duration"),
        ("--lease-retry-period=6s", "--lease-retry-period has to be at most half of --lease-renew-deadline"),
    ] {
        let output = program(&["run", flag], &[]);
        assert_eq!((output.status.code(), text(&output.stderr).contains(says)), (Some(2), true), "{flag}: {output:?}");
    }
    let output = program(&["run"], &[("CFMTLS_LOG_LEVEL", "a=b=c")]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("neither a level"), "{}", text(&output.stderr));
    let output = program(&["run"], &[]);
    assert_eq!(output.status.code(), Some(2));
    let line = text(&output.stderr);
    assert!(line.lines().count() == 1 && line.contains("set KUBECONFIG"), "{line}");
    let output = program(&["run"], &[("CFMTLS_CLOUDFLARE_API_URL", "http://example.com")]);
    assert_eq!(output.status.code(), Some(2), "each flag has an environment variable");
}

#[test]
fn help_reads_well_and_every_flag_has_an_environment_variable() {
    let help = text(&program(&["run", "--help"], &[]).stdout);
    let flags: Vec<&str> = help.lines().filter(|line| line.trim_start().starts_with("--")).collect();
    assert!(flags.len() >= 10, "{help}");
    assert_eq!(help.matches("[env: ").count(), flags.len(), "{help}");
    assert!(help.lines().all(|line| line.chars().count() <= 100), "{help}");
    let commands = text(&program(&["--help"], &[]).stdout);
    assert!(commands.contains("run ") && commands.contains("crd "), "{commands}");
    assert!(text(&program(&["--version"], &[]).stdout).contains(env!("CARGO_PKG_VERSION")));
}

#[tokio::test]
async fn json_logs_parse_and_text_logs_are_for_people() {
    let world = World::new().await;
    world.apply("log", &[("log.example.com", true)]).await;
    world.until_ready("log").await;
    let logs = world.operator.logs().unwrap();
    for line in logs.lines() {
        let parsed: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(parsed["timestamp"].is_string() && parsed["level"].is_string(), "{line}");
    }
    let put = logs.lines().find(|line| line.contains("\"method\":\"PUT\"")).expect(&logs);
    let put: Value = serde_json::from_str(put).unwrap();
    assert_eq!(put["status"], 202);
    assert!(put["scope"].as_str().unwrap().starts_with("zones/") && put["ray"].is_string() && put["took_ms"].is_u64());

    let world = World::with(|operator| operator.env("CFMTLS_LOG_FORMAT", "text")).await;
    let logs = world.operator.logs().unwrap();
    assert!(logs.contains("INFO") && !logs.contains('{') && !logs.contains('\u{1b}'), "{logs}");
}

#[tokio::test]
async fn sigterm_lets_the_write_under_way_end_and_starts_nothing_new() {
    let mut world = World::new().await;
    let held = world.cloudflare.inject(Fault::from(Effect::Hold).on("PUT"));
    world.apply("last", &[("last.example.com", true)]).await;
    held.until_met(1, PATIENCE).await.unwrap();
    world.operator.signal("TERM").unwrap();
    let draining = || async {
        let (status, body) = world.operator.get("/readyz").await.map_err(|error| error.to_string())?;
        if status == 503 && body.contains("draining") { Ok(()) } else { Err(format!("{status} {body}")) }
    };
    eventually(PATIENCE, "draining", draining).await.unwrap();
    world.apply("late", &[("late.example.com", true)]).await;
    assert_eq!(world.operator.get("/metrics").await.unwrap().0, 200, "what is measured is told to the end");
    assert_eq!(world.operator.get("/healthz").await.unwrap().0, 200);
    held.release();
    let status = world.operator.wait_exit(PATIENCE).await.unwrap();
    assert_eq!(status, 0, "{}", world.operator.logs().unwrap());
    assert_eq!(world.methods(), ["GET", "PUT", "GET"]);
    assert_eq!(world.remote.get("last.example.com"), Some((true, false)));
    world.until_ready("last").await;
}

#[tokio::test]
async fn a_second_signal_ends_at_once_and_the_grace_is_kept() {
    let mut world = World::new().await;
    let held = world.cloudflare.inject(Fault::from(Effect::Hold).on("PUT"));
    world.apply("stuck", &[("stuck.example.com", true)]).await;
    held.until_met(1, PATIENCE).await.unwrap();
    world.operator.signal("TERM").unwrap();
    let draining = || async {
        let ready = world.operator.get("/readyz").await.map_err(|error| error.to_string())?;
        if ready.0 == 503 { Ok(()) } else { Err("ready") }.map_err(str::to_owned)
    };
    eventually(PATIENCE, "draining", draining).await.unwrap();
    world.operator.signal("INT").unwrap();
    assert_eq!(world.operator.wait_exit(Duration::from_secs(5)).await.unwrap(), 1);

    let mut world = World::with(|operator| operator.arg("--shutdown-grace=2s")).await;
    let held = world.cloudflare.inject(Fault::from(Effect::Hold).on("PUT"));
    world.apply("stuck", &[("stuck.example.com", true)]).await;
    held.until_met(1, PATIENCE).await.unwrap();
    world.operator.signal("TERM").unwrap();
    assert_eq!(world.operator.wait_exit(Duration::from_secs(15)).await.unwrap(), 1);
    assert!(world.operator.logs().unwrap().contains("grace"));
}

#[tokio::test]
async fn without_a_crd_it_says_so_keeps_trying_and_starts_when_it_comes() {
    let control_plane = ControlPlane::start().await.unwrap();
    control_plane.install_without_crd().await.unwrap();
    let cloudflare = Cloudflare::start().await.unwrap();
    let mut operator = Operator::builder(PROGRAM, &control_plane).cloudflare(cloudflare.url()).spawn().await.unwrap();
    until_logged(&operator, "kubectl apply -k crds/").await;
    let (status, body) = operator.get("/readyz").await.unwrap();
    assert_eq!(status, 503, "{body}");
    assert!(body.contains("not listed yet"), "{body}");
    assert_eq!(operator.get("/healthz").await.unwrap().0, 200);
    control_plane.install().await.unwrap();
    operator.wait_ready(PATIENCE).await.unwrap();

    // An object that was stored under a laxer schema and does not decode, and its neighbour.
    let fixture = Fixture::new(&control_plane).await.unwrap();
    let remote = cloudflare.add_zone(fixture.zone_id(), "example.com");
    cloudflare.token("token").may_write(remote.scope());
    fixture.apply(&fixture.secret("cloudflare", "token", "token")).await.unwrap();
    relax(&control_plane).await;
    let mut poison = fixture.settings("poison").build();
    poison["spec"]["settings"] = json!("admin.example.com");
    let object = eventually(PATIENCE, "the laxer schema is served", || fixture.apply(&poison)).await.unwrap();
    assert_eq!(object["spec"]["settings"], "admin.example.com");
    fixture
        .apply(&fixture.settings("odd").with("interval", json!("soon")).hostname("o.example.com", true).build())
        .await
        .unwrap();
    fixture.apply(&fixture.settings("good").hostname("good.example.com", true).build()).await.unwrap();
    fixture.until_condition("good", "Ready", "True", "InSync").await.unwrap();
    for (name, field) in [("poison", "spec.settings"), ("odd", "spec.interval")] {
        let object = fixture.until_condition(name, "Ready", "False", "SpecInvalid").await.unwrap();
        assert!(condition(&object, "Stalled").is_some());
        let message = condition(&object, "Ready").unwrap()["message"].as_str().unwrap().to_owned();
        assert!(message.contains(field), "{message}");
    }
    // It heals when it is mended.
    fixture.apply(&fixture.settings("poison").hostname("poison.example.com", true).build()).await.unwrap();
    fixture.until_condition("poison", "Ready", "True", "InSync").await.unwrap();
}

/// Opens the schema so that anything is stored, as an older or foreign CRD would.
pub(crate) async fn relax(control_plane: &ControlPlane) {
    let schema = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let patch = json!([
        {"op": "replace", "path": "/spec/versions/0/schema/openAPIV3Schema/properties/spec", "value": schema},
        {"op": "remove", "path": "/spec/versions/0/selectableFields"},
    ]);
    let name = "mtlshostnamesettings.cloudflare-mtls.dev";
    control_plane.kubectl(&["patch", "crd", name, "--type=json", "-p", &patch.to_string()]).await.unwrap();
}

#[tokio::test]
async fn without_a_cluster_it_says_so_and_keeps_trying() {
    let dir = tempfile::tempdir().unwrap();
    let kubeconfig = dir.path().join("kubeconfig");
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:1"}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
    });
    std::fs::write(&kubeconfig, config.to_string()).unwrap();
    let control_plane = ControlPlane::shared().await.unwrap();
    let mut operator = Operator::builder(PROGRAM, control_plane)
        .env("KUBECONFIG", kubeconfig.display().to_string())
        .spawn()
        .await
        .unwrap();
    let line = "the Kubernetes API server does not answer";
    let tried_again = || async {
        let tries = operator.logs().unwrap().matches(line).count();
        if tries >= 3 { Ok(()) } else { Err(format!("{tries} tries")) }
    };
    eventually(PATIENCE, "it keeps trying", tried_again).await.unwrap();
    assert_eq!(operator.get("/readyz").await.unwrap().0, 503);
    // Nothing was asked of anybody: there is no outcome to wait for, as long as the grace is.
    operator.signal("TERM").unwrap();
    assert_eq!(operator.wait_exit(Duration::from_secs(30)).await.unwrap(), 0, "{}", operator.logs().unwrap());
}

pub(crate) async fn until_logged(operator: &Operator, line: &str) {
    let logged = || async {
        let logs = operator.logs().map_err(|error| error.to_string())?;
        if logs.contains(line) { Ok(()) } else { Err(logs) }
    };
    eventually(PATIENCE, line, logged).await.unwrap();
}

#[tokio::test]
async fn a_restart_takes_nothing_back_that_is_known_of_the_same_generation() {
    let mut world = World::new().await;
    world.apply("known", &[("known.example.com", true)]).await;
    let before = world.until_ready("known").await;
    world.stop().await;
    let held = world.cloudflare.inject(Fault::from(Effect::Hold).on("GET").for_ever());
    world.restart().await;
    held.until_met(1, PATIENCE).await.unwrap();
    // A new object says after a while that it waits; the other one, which waits no less, still says what it knew.
    world.apply("new", &[("new.example.com", true)]).await;
    world.until_reason("new", "Pending").await;
    let object = world.fixture.get("known").await.unwrap().unwrap();
    assert_eq!(object["metadata"]["resourceVersion"], before["metadata"]["resourceVersion"]);
    held.clear();
    world.until_ready("new").await;
    world.until_ready("known").await;
}

#[tokio::test]
async fn sigterm_ends_a_crowd_of_scopes_without_a_request_for_those_that_wait_for_their_turn() {
    let mut world = World::new().await;
    world.token.may_write_everything();
    let at_once = 16;
    let held = world.cloudflare.inject(Fault::from(Effect::Hold).on("GET").for_ever());
    for n in 0..at_once + 8 {
        let zone = harness::fixture::random_id();
        let _ = world.cloudflare.add_zone(&zone, "example.com");
        let manifest = world.fixture.settings(&format!("zone-{n}")).zone(&zone);
        world.fixture.apply(&manifest.hostname("www.example.com", true).build()).await.unwrap();
    }
    held.until_met(at_once, PATIENCE).await.unwrap();
    // All are known to the operator, those that wait too: they have said so.
    world.until_reason(&format!("zone-{}", at_once + 7), "Pending").await;
    world.operator.signal("TERM").unwrap();
    until_logged(&world.operator, "stopping").await;
    held.clear();
    assert_eq!(world.operator.wait_exit(Duration::from_secs(10)).await.unwrap(), 0);
    assert_eq!(world.cloudflare.ledger().len(), at_once as usize);
}
