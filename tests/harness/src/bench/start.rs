//! From the start of the process to its first reconcile.

use std::time::{Duration, Instant};

use super::{Spread, Subject};
use crate::cloudflare::Cloudflare;
use crate::control_plane::ControlPlane;
use crate::error::Result;
use crate::fixture::{CREDENTIAL, Fixture, PATIENCE};

const TOKEN: &str = "cfut_Uk6Sd9Yv3Ph8Bw5Na2Cz7Gt4Mx1Je";

/// Milliseconds from the start of the process.
pub(super) struct Start {
    /// Until the first request of a reconcile reaches Cloudflare.
    pub(super) first_request: Spread,
    /// Until the last request of that reconcile has been answered: GET, PUT and GET.
    pub(super) served: Spread,
}

/// Starts the operator so many times, each time for an object that waits to be served.
pub(super) async fn measure(control_plane: &ControlPlane, operator: &Subject, starts: u32) -> Result<Start> {
    let (mut first_request, mut served) = (Vec::new(), Vec::new());
    for _ in 0..starts {
        let (first, last) = one(control_plane, operator).await?;
        first_request.push(first);
        served.push(last);
    }
    Ok(Start { first_request: Spread::millis(first_request), served: Spread::millis(served) })
}

async fn one(control_plane: &ControlPlane, operator: &Subject) -> Result<(Duration, Duration)> {
    let fixture = Fixture::new(control_plane).await?;
    let cloudflare = Cloudflare::start().await?;
    // Its own limit would slow the operator down, as it should.
    cloudflare.switch(|switches| switches.ratelimit_headers = false);
    let remote = cloudflare.add_zone(fixture.zone_id(), "example.com");
    cloudflare.token(TOKEN).may_write(remote.scope());
    let (secret, key) = CREDENTIAL;
    fixture.apply(&fixture.secret(secret, key, TOKEN)).await?;
    fixture.apply(&fixture.settings("waiting").hostname("waiting.example.com", true).build()).await?;
    // Until this returns, the harness has also made a token and started the guard: the time counts against the operator.
    let start = Instant::now();
    // It takes part in the election, and finds the lease free.
    let mut operator = operator.builder(control_plane, fixture.namespace(), &cloudflare).leader_elect().spawn().await?;
    cloudflare.until("the first request", PATIENCE, || !cloudflare.ledger().is_empty()).await?;
    let first = start.elapsed();
    let answered =
        || cloudflare.with_ledger(|ledger| ledger.all().iter().filter(|asked| asked.end_us.is_some()).count());
    cloudflare.until("three answers", PATIENCE, || answered() >= 3).await?;
    let served = start.elapsed();
    operator.signal("TERM")?;
    operator.wait_exit(PATIENCE).await?;
    Ok((first, served))
}
