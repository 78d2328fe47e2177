//! The yardstick for many objects on one list: one PUT for each, as clients make them that know of no list.

use std::ops::Range;
use std::time::{Duration, Instant};

use futures::future::try_join_all;
use serde_json::{Value, json};

use super::lists::{Round, Row, rounds, slow};
use super::{objects, stage};
use crate::cloudflare::Cloudflare;
use crate::error::{Error, Result};
use crate::fixture::random_id;

/// Objects that are served at a time; Terraform's default.
pub(super) const WORKERS: usize = 10;
/// The first wait after a refusal. It doubles with each, up to the longest, less up to a half of it at random.
pub(super) const FIRST_WAIT: Duration = Duration::from_secs(1);
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// Between two looks for a write that is not to be seen yet.
pub(super) const POLL: Duration = Duration::from_secs(1);

/// Measures so many objects, some rounds of each; side by side, each on a list of its own, since all they do is wait.
pub(super) async fn measure(sizes: &[usize], most: usize) -> Result<Vec<Row>> {
    let cloudflare = stage::cloudflare().await?;
    slow(&cloudflare);
    let cloudflare = &cloudflare;
    let row = async |size: usize| {
        let done = try_join_all(rounds(size, most).map(|_| round(cloudflare, size))).await?;
        Ok(Row::of(size, &done))
    };
    try_join_all(sizes.iter().map(|size| row(*size))).await
}

async fn round(cloudflare: &Cloudflare, size: usize) -> Result<(Round, Round)> {
    let zone = random_id();
    let scope = cloudflare.add_zone(&zone, "example.com").scope().clone();
    let naive = Naive {
        http: reqwest::Client::builder().no_proxy().build()?,
        url: format!("{}/zones/{zone}/access/certificates/settings", cloudflare.url()),
    };
    let phase = async |wanted: bool| {
        let mark = cloudflare.ledger().mark();
        let start = Instant::now();
        naive.serve(0..size, wanted).await?;
        let seconds = start.elapsed().as_secs_f64();
        Ok::<_, Error>(Round::of(&cloudflare.ledger().since(mark), &scope, 0, seconds))
    };
    Ok((phase(true).await?, phase(false).await?))
}

struct Naive {
    http: reqwest::Client,
    url: String,
}

impl Naive {
    async fn serve(&self, numbers: Range<usize>, wanted: bool) -> Result<()> {
        objects::each(numbers, WORKERS, async |number| {
            let hostname = objects::hostname(number);
            self.put(&hostname, wanted).await?;
            while self.shows(&hostname).await? != wanted {
                tokio::time::sleep(POLL).await;
            }
            Ok(())
        })
        .await
    }

    /// Sends one entry until it is accepted.
    async fn put(&self, hostname: &str, wanted: bool) -> Result<()> {
        let entry = json!({"hostname": hostname, "client_certificate_forwarding": wanted, "china_network": false});
        let body = json!({"settings": [entry]});
        let mut wait = FIRST_WAIT;
        loop {
            let answer = self.http.put(&self.url).bearer_auth(stage::TOKEN).json(&body).send().await?;
            if answer.status().as_u16() != 409 {
                answer.error_for_status()?;
                return Ok(());
            }
            tokio::time::sleep(wait.mul_f64(0.5 + 0.5 * fastrand::f64())).await;
            wait = (2 * wait).min(LONGEST_WAIT);
        }
    }

    async fn shows(&self, hostname: &str) -> Result<bool> {
        let answer = self.http.get(&self.url).bearer_auth(stage::TOKEN).send().await?.error_for_status()?;
        let list: Value = answer.json().await?;
        let listed = list.pointer("/result").and_then(Value::as_array).into_iter().flatten();
        Ok(listed.into_iter().any(|entry| {
            entry.get("hostname").and_then(Value::as_str) == Some(hostname)
                && entry.get("client_certificate_forwarding") == Some(&json!(true))
        }))
    }
}
