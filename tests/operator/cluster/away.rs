//! Outages so long that their end must be noticed by the operator itself: nobody restarts it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use harness::{
    account::Account,
    api_proxy::{Effect, Fault},
    control_plane::ControlPlane,
    fixture::{PATIENCE, eventually},
};

use super::{Cluster, OBJECTS};

const THREE_MINUTES: Duration = Duration::from_secs(180);
/// How soon after the return of the API server an edit from the time of its absence must be applied and reported: within
/// 15 s, and as much again for a machine that is busy with other tests. What it took is printed.
const PROMPT: Duration = Duration::from_secs(30);
/// Where requests are under way at its return that will never be answered, they have to be given up first.
const PROMPT_AFTER_A_DEADLINE: Duration = Duration::from_secs(30);
/// The operator takes a watch for dead when it was silent for so long; bookmarks come every minute.
const SILENCE: Duration = Duration::from_secs(100);
/// A token is read again from its file at least so often.
const TOKEN_AGE: Duration = Duration::from_secs(60);

const EDITED: [(&str, bool); 2] = [("one.example.com", false), ("two.example.com", true)];

/// An object in sync, and the operator that has seen it.
async fn at_work(cluster: &Cluster) {
    cluster.apply("one", &[("one.example.com", true)]).await;
    cluster.settles(&["one"], &[]).await;
}

impl Cluster {
    /// Waits until the edit is applied and reported, and says how long that took.
    async fn catches_up(&self, within: Duration) -> Duration {
        let started = Instant::now();
        let limit = within + PATIENCE;
        let applied = || self.remote.get("two.example.com").is_some() && self.remote.get("one.example.com").is_none();
        self.cloudflare.until("the edit is applied", limit, applied).await.unwrap();
        self.until_ready("one").await;
        let took = started.elapsed();
        assert!(took <= within, "{took:?}:\n{}", self.proxy.ledger());
        took
    }

    /// The outage lasts three minutes; meanwhile the object is edited and nothing is written.
    async fn is_left_alone(&self) {
        let started = Instant::now();
        let puts = self.puts();
        self.apply("one", &EDITED).await;
        while started.elapsed() < THREE_MINUTES {
            // It lives, and knows what it has listed: that somebody else does not answer is not its failure.
            for endpoint in ["/healthz", "/readyz"] {
                let (status, body) = self.operator.get(endpoint).await.unwrap();
                assert_eq!(status, 200, "{endpoint}: {body}");
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        assert_eq!(self.puts(), puts, "{}", self.ledger());
    }
}

/// The port takes connections and nobody ever says a word; those that were open are dead and nobody says so.
async fn a_silent_port() {
    let cluster = Cluster::new().await;
    at_work(&cluster).await;
    cluster.proxy.fall_silent();
    cluster.is_left_alone().await;
    cluster.proxy.open_port();
    let took = cluster.catches_up(PROMPT).await;
    println!("a silent port: caught up in {took:?}");
    cluster.settles(&["one"], &["trying again"]).await;
}

/// Connections come about and requests are taken, but none is ever answered.
async fn a_silent_server() {
    let cluster = Cluster::new().await;
    at_work(&cluster).await;
    let silence = cluster.proxy.inject(Fault::from(Effect::Silence).for_ever());
    cluster.proxy.drop_connections();
    cluster.is_left_alone().await;
    silence.clear();
    let took = cluster.catches_up(PROMPT_AFTER_A_DEADLINE).await;
    println!("a silent server: caught up in {took:?}");
    cluster.settles(&["one"], &["trying again"]).await;
}

/// The connection of the watch is dead and nobody says so; all others work.
async fn a_half_open_watch() {
    let cluster = Cluster::new().await;
    at_work(&cluster).await;
    let mute = cluster.proxy.inject(Fault::from(Effect::Mute).on("watch").of(OBJECTS));
    cluster.proxy.drop_connections();
    mute.until_met(1, PATIENCE).await.unwrap();
    cluster.apply("one", &EDITED).await;
    let took = cluster.catches_up(SILENCE + PROMPT).await;
    println!("a half-open watch: noticed after {took:?}");
    cluster.settles(&["one"], &["trying again"]).await;
}

/// The old token is void from one moment to the next, and the new one is in the file.
async fn a_rotated_token() {
    let account = Account::new(ControlPlane::shared().await.unwrap()).await.unwrap();
    let own = account.clone();
    let cluster = Cluster::with(move |operator| operator.account(&own)).await;
    at_work(&cluster).await;
    account.renew().await.unwrap();
    // The API server remembers for some seconds that it was good: watches that are short ask until it knows better.
    let short = Fault::from(Effect::End { after: Duration::from_millis(500) });
    let short = cluster.proxy.inject(short.on("watch").of(OBJECTS).for_ever());
    cluster.proxy.drop_connections();
    let refused = || cluster.proxy.ledger().all().iter().any(|exchange| exchange.status == Some(401));
    cluster.proxy.until("the old token is refused", PATIENCE, refused).await.unwrap();
    short.clear();
    std::fs::write(cluster.operator.token_file(), account.token().await.unwrap()).unwrap();
    cluster.apply("one", &EDITED).await;
    let took = cluster.catches_up(TOKEN_AGE + PROMPT).await;
    println!("a rotated token: caught up in {took:?}");
    cluster.settles(&["one"], &["trying again"]).await;
}

/// The store behind the API server stands still: it answers from its memory, late or with errors.
async fn a_paused_store() {
    let control_plane = Arc::new(ControlPlane::start().await.unwrap());
    control_plane.install().await.unwrap();
    let cluster = Cluster::on(&control_plane).await;
    at_work(&cluster).await;
    let held = cluster.cloudflare.inject(harness::cloudflare::Fault::from(harness::cloudflare::Effect::Hold).on("PUT"));
    cluster.apply("one", &EDITED).await;
    held.until_met(1, PATIENCE).await.unwrap();
    control_plane.pause_etcd().unwrap();
    held.release();
    let started = Instant::now();
    let over = || started.elapsed() >= PATIENCE;
    cluster.cloudflare.until("half a minute", 2 * PATIENCE, over).await.unwrap();
    control_plane.resume_etcd().unwrap();
    let back = async || cluster.fixture.get("one").await;
    eventually(PATIENCE, "the store is back", back).await.unwrap();
    cluster.catches_up(PROMPT_AFTER_A_DEADLINE).await;
    cluster.settles(&["one"], &["trying again"]).await;
}

#[tokio::test]
async fn after_three_minutes_without_an_api_server_all_goes_on_within_seconds() {
    tokio::join!(a_silent_port(), a_silent_server(), a_half_open_watch(), a_rotated_token(), a_paused_store());
}
