//! `harness dashboard`: a real Prometheus scrapes two real operators in trouble, answers every query of the dashboard and of the
//! alerts, and what it answers is drawn.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use crate::cloudflare::Cloudflare;
use crate::control_plane::ControlPlane;
use crate::error::{Context as _, Error, Result};
use crate::fixture::{Fixture, PATIENCE, eventually};
use crate::guard::say;
use crate::operator::Operator;
use crate::prometheus::Prometheus;

mod alerts;
mod panels;
mod picture;
mod selectors;
mod trouble;

use alerts::Alerts;
use trouble::Trouble;

/// Arguments of `harness dashboard`.
#[derive(clap::Args)]
pub struct Args {
    /// The operator's program
    #[arg(long)]
    operator: PathBuf,
    /// The dashboard, as Grafana reads it
    #[arg(long, default_value = "charts/cloudflare-mtls-operator/files/dashboard.json")]
    dashboard: PathBuf,
    /// The alerts, as Prometheus reads them
    #[arg(long, default_value = "charts/cloudflare-mtls-operator/files/alerts.yaml")]
    alerts: PathBuf,
    /// The picture to write
    #[arg(long)]
    picture: PathBuf,
    /// How long objects change, after everything went wrong once
    #[arg(long, default_value_t = 240)]
    seconds: u64,
}

/// Runs it and writes the picture.
///
/// # Errors
/// When a query gives nothing, names what is not scraped, or an alert keeps silent about its trouble or cries without one.
pub async fn run(args: Args) -> Result<()> {
    let dashboard: Value = serde_json::from_str(&std::fs::read_to_string(&args.dashboard).context("the dashboard")?)?;
    let mut panels = panels::read(&dashboard)?;
    say("starting a control plane, two operators and a Prometheus ...")?;
    let control_plane = ControlPlane::start().await?;
    control_plane.install().await?;
    let cloudflare = Cloudflare::start().await?;
    let fixture = Fixture::new(&control_plane).await?;
    let replica = async || {
        let program = args.operator.canonicalize().context(args.operator.display())?;
        let builder = Operator::builder(program, &control_plane).watch_namespace(fixture.namespace());
        let mut operator = builder.cloudflare(cloudflare.url()).leader_elect_here().spawn().await?;
        operator.wait_ready(PATIENCE).await?;
        Ok::<_, Error>(operator)
    };
    let (first, mut second) = (replica().await?, replica().await?);
    let pods = [("cloudflare-mtls-operator-6c9d5-x2x7k", &first), ("cloudflare-mtls-operator-6c9d5-zq4tn", &second)];
    let prometheus = Prometheus::start(&pods, &args.alerts).await?;
    let alerts = Alerts::of(&prometheus).await?;
    let begin = now();

    let mut trouble = Trouble::new(&fixture, &cloudflare);
    say("Cloudflare fails ...")?;
    trouble.outage().await?;
    alerts.until(&["CloudflareMtlsCloudflareFailing"]).await?;
    say("Cloudflare works; every object but one is well ...")?;
    trouble.over().await?;
    alerts.until_silent_but(&["CloudflareMtlsCloudflareFailing"]).await?;
    alerts.would_come_true("CloudflareMtlsNoSuccessfulSync", Duration::from_secs(200)).await?;
    say("every other trouble at once ...")?;
    trouble.everything().await?;
    alerts
        .until(&[
            "CloudflareMtlsObjectNotReady",
            "CloudflareMtlsObjectStalled",
            "CloudflareMtlsRateLimited",
            "CloudflareMtlsCredentialsRefused",
            "CloudflareMtlsHostnameConflict",
            "CloudflareMtlsForeignWriter",
            "CloudflareMtlsUnexpectedRemoteChange",
        ])
        .await?;
    say(&format!("{} seconds of changes ...", args.seconds))?;
    let half = Duration::from_secs(args.seconds / 2);
    trouble.churn(half).await?;
    say("the leader dies ...")?;
    drop(first);
    alerts.until(&["CloudflareMtlsOperatorNoLeader"]).await?;
    alerts.until_over("CloudflareMtlsOperatorNoLeader").await?;
    trouble.churn(half).await?;
    let end = now();

    panels::ask(&prometheus, &mut panels, (begin, end)).await?;
    let queries = panels.iter().flat_map(|panel| &panel.queries).map(|query| query.text.as_str());
    let asked = queries.clone().count();
    let metrics = selectors::check(&prometheus, queries.chain(alerts.queries())).await?;
    std::fs::write(&args.picture, picture::draw(&panels, (begin, end))?).context(args.picture.display())?;

    say("nobody is left ...")?;
    second.signal("KILL")?;
    alerts.until(&["CloudflareMtlsOperatorAbsent"]).await?;
    alerts.all_came_true()?;
    say(&format!(
        "{} panels with {asked} queries and {} alerts name {metrics} metrics, all of which are scraped; every alert came true, and \
         none without its trouble\nwritten to {}",
        panels.iter().filter(|panel| panel.kind != panels::Kind::Row).count(),
        alerts.queries().count(),
        args.picture.display()
    ))
}

/// Seconds since 1970, as Prometheus counts them.
fn now() -> f64 {
    let now = jiff::Timestamp::now();
    now.as_duration().as_secs_f64()
}

/// Waits until a probe that gives complaints gives none.
async fn until_none(what: String, probe: impl AsyncFn() -> Result<Vec<String>>) -> Result<()> {
    eventually(2 * PATIENCE, what, async || {
        let complaints = probe().await?;
        if complaints.is_empty() { Ok(()) } else { Err(Error::new(complaints.join("\n"))) }
    })
    .await
}
