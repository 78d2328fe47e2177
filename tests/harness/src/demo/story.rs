//! The steps of the demo, in the order in which they are shown.

use std::path::PathBuf;
use std::time::Instant;

use tokio::task::JoinHandle;

use super::stage::{DEADLINE, Stage};
use super::{TOKENS, World};
use crate::cloudflare::{Cloudflare, Setting};
use crate::control_plane::{ControlPlane, OPERATOR};
use crate::error::{Context as _, Error, Result};
use crate::fixture::{API_VERSION, PATIENCE};
use crate::operator::Operator;

const ZONE: &str = "023e105f4ecef8ad9ca31a8372d0c353";
const DOMAIN: &str = "example.com";
/// An entry that somebody else made and no object lists.
const FOREIGN: &str = "legacy.example.com";
const LISTED: [&str; 2] = ["admin.example.com", "api.example.com"];

/// Starts everything and installs the custom resource; `dir` becomes the folder that has to be gone at the end.
pub(super) async fn start(
    stage: &mut Stage,
    program: PathBuf,
    starting: &mut JoinHandle<Result<ControlPlane>>,
    dir: &mut PathBuf,
) -> Result<World> {
    stage.line(
        "The operator's main job on real parts: etcd, a Kubernetes API server, kubectl, Helm, and the operator",
    )?;
    stage.line("as a process. Only Cloudflare is emulated. All of it listens on loopback and is gone at the end.")?;

    stage.step("Start the parts", "nothing that this machine has is touched, not even a kubeconfig")?;
    let started = Instant::now();
    let control_plane = starting.await??;
    control_plane.dir().clone_into(dir);
    stage.use_cluster(control_plane.kubeconfig());
    let seconds = started.elapsed().as_secs_f32();
    let cloudflare = Cloudflare::start().await?;
    let remote = cloudflare.add_zone(ZONE, DOMAIN);
    let [token, _] = TOKENS;
    let token = cloudflare.token(token).named("first token");
    token.may_write(remote.scope());
    // As Cloudflare does: a write is answered at once and applied a moment later.
    cloudflare.switch(|switches| switches.apply_delay_ms = 500);
    remote.set(FOREIGN, true, false);
    stage.say(format!(
        "Kubernetes  {}  ({}, ready in {seconds:.1} s)",
        control_plane.url(),
        version(&control_plane).await?
    ))?;
    stage.say(format!("Cloudflare  {}  (emulated, with the zone {DOMAIN})", cloudflare.url()))?;
    show_list(stage, &remote.entries())?;

    stage.step("Install the operator with its chart", "the CRD, the rights that follow, and a Deployment")?;
    install(stage, &control_plane, &cloudflare).await?;

    stage.step("Start the operator", "it runs on what was installed")?;
    stage.say(
        "No node of this cluster would run the pod. Its program runs here as a process instead, with the token of",
    )?;
    stage.say(
        "the installed ServiceAccount and the arguments of the Deployment, but for the address that it listens on:",
    )?;
    let arguments = "jsonpath={.spec.template.spec.containers[0].args}";
    let arguments = stage.kubectl(&["-n", OPERATOR, "get", "deployment", OPERATOR, "-o", arguments]).await?;
    let started = Instant::now();
    let mut operator = Operator::builder(program, &control_plane)
        .deployed_as(serde_json::from_str(&arguments).context("reading the arguments of the Deployment")?)
        .spawn()
        .await?;
    operator.wait_ready(DEADLINE).await?;
    let seconds = started.elapsed().as_secs_f32();
    stage.good(format!("The operator runs as process {}, ready after {seconds:.1} s.", operator.pid()))?;
    Ok(World { operator, control_plane, cloudflare, remote, token })
}

async fn install(stage: &Stage, control_plane: &ControlPlane, cloudflare: &Cloudflare) -> Result<()> {
    let url = format!("cloudflare.apiUrl={}", cloudflare.url());
    let chart = format!("charts/{OPERATOR}");
    let place = ["--namespace", OPERATOR, "--create-namespace", "--hide-notes"];
    // What a real cluster has no use for: the emulator's address, and a shorter wait for a changed Secret.
    let only_here = ["--set", &url, "--set", "extraArgs={--secret-poll=1s}"];
    stage.helm(&[&["install", OPERATOR, &chart][..], &place, &only_here].concat()).await?;
    control_plane.until_installed().await?;
    stage.kubectl(&["describe", "clusterrole", OPERATOR]).await?;
    Ok(())
}

async fn version(control_plane: &ControlPlane) -> Result<String> {
    let versions: serde_json::Value = serde_json::from_str(&control_plane.kubectl(&["version", "-o", "json"]).await?)?;
    let version = versions.pointer("/serverVersion/gitVersion").and_then(serde_json::Value::as_str);
    Ok(version.unwrap_or_default().to_owned())
}

/// The steps between the start and the end.
pub(super) async fn tell(stage: &mut Stage, world: &World) -> Result<()> {
    apply(stage, world).await?;
    repair(stage, world).await?;
    refuse(stage, world).await?;
    heal(stage, world).await
}

async fn apply(stage: &mut Stage, world: &World) -> Result<()> {
    let [token, _] = TOKENS;
    stage.step("Put the API token into a Secret", "that is the only place where the operator looks for it")?;
    stage.apply(&secret("CLOUDFLARE_API_TOKEN"), Some(("CLOUDFLARE_API_TOKEN", token))).await?;

    stage.step("Apply an object that lists two hostnames", "Ready means that a read after the write showed them")?;
    stage.apply(&manifest(), None).await?;
    watch_until_ready(stage).await?;
    stage.requests(&world.cloudflare.ledger())?;
    show_list(stage, &world.remote.entries())?;
    expect("both hostnames are forwarded", LISTED.iter().all(|hostname| forwarded(world, hostname)))
}

async fn repair(stage: &mut Stage, world: &World) -> Result<()> {
    let [admin, _] = LISTED;
    stage.step("Change the list behind the operator's back", "drift is found at the next look and repaired")?;
    stage.meanwhile(&format!(
        "Somebody switches {admin} off in Cloudflare's dashboard; off is the same as not listed."
    ))?;
    world.remote.set(admin, false, false);
    show_list(stage, &world.remote.entries())?;
    let mark = world.cloudflare.ledger().mark();
    stage.say("The operator looks every 10 minutes by itself. An annotation asks for a look now:")?;
    look_now(stage).await?;
    watch_until_ready(stage).await?;
    stage.requests(&world.cloudflare.ledger().since(mark))?;
    show_list(stage, &world.remote.entries())?;
    expect("the hostname is forwarded again", forwarded(world, admin))
}

async fn refuse(stage: &mut Stage, world: &World) -> Result<()> {
    stage.step("Revoke the API token", "what Cloudflare refuses stands in the status, with its code")?;
    stage.meanwhile("Somebody revokes the token in Cloudflare's dashboard.")?;
    world.token.revoke();
    let mark = world.cloudflare.ledger().mark();
    look_now(stage).await?;
    let shown = stage.kubectl(&["get", "mhs"]).await?;
    stage.kubectl(&["get", "mhs", "admin", "-o", "jsonpath={.status.lastResponse}"]).await?;
    stage.kubectl(&["events", "--for=mhs/admin", "--types=Warning"]).await?;
    stage.requests(&world.cloudflare.ledger().since(mark))?;
    let told = ["False", "AuthenticationFailed", "9109"].iter().all(|word| shown.contains(word));
    expect("kubectl shows the reason AuthenticationFailed and the code 9109", told)
}

async fn heal(stage: &mut Stage, world: &World) -> Result<()> {
    let [_, token] = TOKENS;
    stage.step("Put a new token into the Secret", "the operator notices without a restart or an annotation")?;
    world.cloudflare.token(token).named("second token").may_write(world.remote.scope());
    stage.apply(&secret("NEW_CLOUDFLARE_API_TOKEN"), Some(("NEW_CLOUDFLARE_API_TOKEN", token))).await?;
    stage.say("A Secret in use is read again every 30 seconds, in this demo every second:")?;
    watch_until_ready(stage).await?;
    show_list(stage, &world.remote.entries())?;
    let foreign = world.remote.get(FOREIGN);
    let named = world.cloudflare.ledger().all().iter().any(|exchange| exchange.body.contains(FOREIGN));
    expect(&format!("{FOREIGN} is as it was"), foreign == Some((true, false)) && !named)?;
    stage.good(format!("{FOREIGN} is in no object: it stands as it stood, and no write ever named it."))
}

/// Ends the operator as a pod is ended, and uninstalls it. The rest ends by being dropped.
pub(super) async fn stop(stage: &mut Stage, world: &mut World) -> Result<()> {
    stage.step("Uninstall", "the operator ends in order on SIGTERM; what it was told and what it did stay")?;
    world.operator.signal("TERM")?;
    match world.operator.wait_exit(PATIENCE).await? {
        0 => stage.good("The operator ended with status 0.")?,
        code => return Err(Error::new(format!("the operator ended with status {code}"))),
    }
    stage.helm(&["uninstall", OPERATOR, "--namespace", OPERATOR]).await?;
    let left = stage.kubectl(&["get", "mhs"]).await?;
    let kept = left.contains("admin") && LISTED.iter().all(|hostname| forwarded(world, hostname));
    expect("the object and Cloudflare's entries outlive the operator", kept)
}

/// Sets the annotation that asks for a look, and waits until the status acknowledges it.
async fn look_now(stage: &Stage) -> Result<()> {
    let now = format!("{:.3}", jiff::Timestamp::now());
    let annotation = format!("cloudflare-mtls.dev/reconcile-at={now}");
    stage.kubectl(&["annotate", "mhs", "admin", "--overwrite", &annotation]).await?;
    let acknowledged = format!("--for=jsonpath={{.status.lastHandledReconcileAt}}={now}");
    stage.kubectl(&["wait", "mhs/admin", &acknowledged, "--timeout=30s"]).await?;
    Ok(())
}

async fn watch_until_ready(stage: &Stage) -> Result<()> {
    stage.watch_until(&["get", "mhs", "--watch"], |line| line.split_whitespace().nth(1) == Some("True")).await
}

fn expect(what: &str, holds: bool) -> Result<()> {
    if holds { Ok(()) } else { Err(Error::new(format!("this did not come true: {what}"))) }
}

fn forwarded(world: &World, hostname: &str) -> bool {
    world.remote.get(hostname) == Some((true, false))
}

fn show_list(stage: &Stage, entries: &[Setting]) -> Result<()> {
    stage.remote_list(entries, |entry| if entry.hostname == FOREIGN { "somebody else's" } else { "" })
}

fn secret(variable: &str) -> String {
    format!(
        "apiVersion: v1
kind: Secret
metadata:
  name: cloudflare
stringData:
  token: ${variable}
"
    )
}

fn manifest() -> String {
    let [admin, api] = LISTED;
    format!(
        "apiVersion: {API_VERSION}
kind: MtlsHostnameSettings
metadata:
  name: admin
spec:
  zoneId: {ZONE}
  credentials:
    apiToken:
      secretKeyRef:
        name: cloudflare
        key: token
  settings:
  - hostname: {admin}
    clientCertificateForwarding: true
  - hostname: {api}
    clientCertificateForwarding: true
"
    )
}
