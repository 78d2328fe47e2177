//! `run`: from flags to a running controller, and from a signal to an orderly end.

mod lease;

use std::{
    net::SocketAddr,
    num::NonZeroU32,
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use clap::{ArgAction, Args as ClapArgs};
use futures::FutureExt;
use kube::Config;
use tokio::time::timeout_at;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use self::lease::LeaseArgs;
use crate::{
    api::{parse_duration, parse_interval},
    cloudflare::{ApiUrl, Client},
    controller::{self, Clients, Settings, Surroundings, Watch},
    ops::{self, Election, Health, Leadership, LogFormat, Lost, Metrics, Signals, Told},
};

#[derive(ClapArgs, Debug)]
pub(super) struct Args {
    /// Namespace to watch; repeat it for several. Without it, all namespaces are watched.
    #[arg(long, value_name = "NAMESPACE", env = "CFMTLS_WATCH_NAMESPACE", value_delimiter = ',', value_parser = namespace)]
    watch_namespace: Vec<String>,

    /// Serve only objects with these labels, such as team=a.
    #[arg(long, value_name = "LABELS", env = "CFMTLS_SELECTOR", value_parser = selector)]
    selector: Option<String>,

    /// Root of the Cloudflare API: https, or http on loopback only.
    #[arg(
        long,
        value_name = "URL",
        env = "CFMTLS_CLOUDFLARE_API_URL",
        default_value = "https://api.cloudflare.com/client/v4"
    )]
    cloudflare_api_url: ApiUrl,

    /// How often Cloudflare is looked at where an object does not say: from 1m to 24h.
    #[arg(long, value_name = "DURATION", env = "CFMTLS_DEFAULT_INTERVAL", default_value = "10m", value_parser = parse_interval)]
    default_interval: Duration,

    /// Most requests to Cloudflare per five minutes and credential; Cloudflare allows 1200 in all.
    #[arg(long, value_name = "REQUESTS", env = "CFMTLS_REQUESTS_PER_5M", default_value = "600")]
    requests_per_5m: NonZeroU32,

    /// How often a Secret in use is read again, to notice that it changed: from 1s to 1m.
    #[arg(long, value_name = "DURATION", env = "CFMTLS_SECRET_POLL", default_value = "30s", value_parser = poll)]
    secret_poll: Duration,

    /// Address of /healthz, /readyz and /metrics.
    #[arg(long, value_name = "ADDRESS", env = "CFMTLS_HTTP_BIND", default_value = "[::]:8080")]
    http_bind: SocketAddr,

    /// Format of the log on standard error.
    #[arg(long, value_name = "FORMAT", env = "CFMTLS_LOG_FORMAT", default_value = "json")]
    log_format: LogFormat,

    #[arg(
        long,
        value_name = "LEVEL",
        env = "CFMTLS_LOG_LEVEL",
        default_value = "info",
        help = "Log level (error, warn, info, debug, trace) or filter; RUST_LOG, when set, wins"
    )]
    log_level: String,

    /// Whether each object has metrics of its own: conditions, hostnames by state, last success.
    #[arg(
        long,
        env = "CFMTLS_OBJECT_METRICS",
        default_value = "true",
        action = ArgAction::Set,
        num_args = 0..=1,
        default_missing_value = "true",
        require_equals = true,
        value_name = "BOOL"
    )]
    object_metrics: bool,

    /// Act only while holding a Lease, so that one of several replicas acts at a time.
    #[arg(
        long,
        env = "CFMTLS_LEADER_ELECT",
        default_value = "true",
        action = ArgAction::Set,
        num_args = 0..=1,
        default_missing_value = "true",
        require_equals = true,
        value_name = "BOOL"
    )]
    leader_elect: bool,

    #[command(flatten)]
    lease: LeaseArgs,

    /// How long SIGTERM waits for requests and effects of writes, 1s to 10m; the next ends all.
    #[arg(long, value_name = "DURATION", env = "CFMTLS_SHUTDOWN_GRACE", default_value = "70s", value_parser = grace)]
    shutdown_grace: Duration,
}

/// A DNS label, as the API server wants it.
fn namespace(text: &str) -> Result<String, String> {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let label = (1..=63).contains(&text.len())
        && text.bytes().all(|b| plain(b) || b == b'-')
        && text.bytes().next().is_some_and(plain)
        && text.bytes().last().is_some_and(plain);
    if label {
        Ok(text.to_owned())
    } else {
        Err("not the name of a namespace: lower-case letters, digits, hyphens".into())
    }
}

/// Checks the form, so that a slip is one line at the start and not an endless row of refused watches.
fn selector(text: &str) -> Result<String, String> {
    let key = |key: &str| !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_./".contains(&b));
    let value = |value: &str| value.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    let set = |rest: &str| {
        let values = rest.trim().strip_prefix('(').and_then(|rest| rest.strip_suffix(')'));
        values.is_some_and(|values| values.split(',').all(|one| value(one.trim())))
    };
    let requirement = |part: &str| {
        let pair = ["!=", "==", "="].iter().find_map(|operator| part.split_once(operator));
        let among = [" in ", " notin "].iter().find_map(|operator| part.split_once(operator));
        match (pair, among) {
            (_, Some((name, rest))) => key(name.trim()) && set(rest),
            (Some((name, one)), _) => key(name.trim()) && value(one.trim()),
            _ => key(part.strip_prefix('!').unwrap_or(part).trim()),
        }
    };
    let mut inside = false;
    let parts = text.split(|character| {
        inside = (inside || character == '(') && character != ')';
        character == ',' && !inside
    });
    if parts.map(str::trim).all(requirement) {
        Ok(text.to_owned())
    } else {
        Err("not a label selector such as team=a,tier!=test or 'team in (a,b)'".into())
    }
}

fn poll(text: &str) -> Result<Duration, String> {
    parse_duration(text, Duration::from_secs(1), Duration::from_secs(60))
}

fn grace(text: &str) -> Result<Duration, String> {
    parse_duration(text, Duration::from_secs(1), Duration::from_secs(600))
}

pub(super) fn run(args: Args) -> Result<(), (u8, String)> {
    let directives = std::env::var("RUST_LOG").ok().filter(|filter| !filter.is_empty());
    ops::init_logs(args.log_format, directives.as_deref().unwrap_or(&args.log_level)).map_err(|error| (2, error))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(|error| (1, format!("the runtime could not be started: {error}")))?;
    let ended = runtime.block_on(serve(args));
    // Whatever is still under way past the grace must not hold up the end.
    runtime.shutdown_background();
    ended
}

async fn serve(args: Args) -> Result<(), (u8, String)> {
    let fail = |what: &str, error: &dyn std::fmt::Display| (1, format!("{what}: {error}"));
    let timing = args.lease.timing().map_err(|why| (2, why))?;
    let mut signals = Signals::listen().map_err(|error| fail("signals cannot be received", &error))?;
    let config = Config::infer().await.map_err(|error| {
        (
            2,
            format!(
                "no Kubernetes cluster is configured: set KUBECONFIG or run in a pod with a service account: {error}"
            ),
        )
    })?;
    let (cluster, home) = (config.cluster_url.clone(), config.default_namespace.clone());
    let clients = Clients::new(config).map_err(|error| fail("the Kubernetes configuration cannot be used", &error))?;
    let cloudflare = Client::new(&args.cloudflare_api_url)
        .map_err(|error| fail("the TLS roots of this system cannot be loaded", &error))?;
    let (health, metrics) = (Arc::new(Health::default()), Arc::new(Metrics::default()));
    let server = ops::serve(args.http_bind, Told { health: health.clone(), metrics: metrics.clone() })
        .await
        .map_err(|error| fail(&format!("--http-bind {} cannot be opened", args.http_bind), &error))?;
    info!(version = env!("CARGO_PKG_VERSION"), %cluster, "starting");

    let (stop, release) = (CancellationToken::new(), CancellationToken::new());
    let (election, leadership) = if args.leader_elect {
        let place = args.lease.place(home);
        let (election, leadership) = Election::new(clients.requests(), place, timing, health.clone(), metrics.clone());
        (election.run(release.clone()).boxed(), leadership)
    } else {
        (release.clone().cancelled_owned().map(Ok).boxed(), Leadership::alone())
    };
    let mut election = tokio::spawn(election);
    let watch = Watch { namespaces: args.watch_namespace, selector: args.selector };
    let settings = Settings {
        default_interval: args.default_interval,
        secret_poll: args.secret_poll,
        requests_per_5m: args.requests_per_5m,
        object_metrics: args.object_metrics,
    };
    let surroundings = Surroundings {
        settings,
        health: health.clone(),
        metrics,
        leadership,
        stop: stop.clone(),
        // The next leader begins when nothing of this one is under way any more.
        drained: release,
    };
    let controller = controller::run(clients, cloudflare, watch, surroundings);
    let mut controller = tokio::spawn(controller);
    let mut server = tokio::spawn(server);

    let defeat = tokio::select! {
        () = signals.next() => None,
        ended = &mut controller => return Err(ended_early(ended)),
        Err(error) = &mut server => return Err(fail("the server of --http-bind ended", &error)),
        ended = &mut election => Some(lost(ended)),
    };
    health.draining();
    stop.cancel();
    if let Some(defeat) = defeat {
        return Err(drain(defeat, &mut controller).await);
    }
    info!(grace_s = args.shutdown_grace.as_secs(), "stopping: what is under way comes to its end");
    let mut grace = pin!(tokio::time::sleep(args.shutdown_grace));
    let mut is_given_back = false;
    let mut is_done = false;
    while !(is_done && is_given_back) {
        tokio::select! {
            ended = &mut controller, if !is_done => match ended {
                Ok(Ok(())) => is_done = true,
                other => return Err(ended_early(other)),
            },
            ended = &mut election, if !is_given_back => match ended {
                Ok(Ok(())) => is_given_back = true,
                other => return Err(drain(lost(other), &mut controller).await),
            },
            () = &mut grace => {
                return Err((1, "the grace ended before the outcome of the last requests was known".to_owned()));
            }
            () = signals.next() => return Err((1, "a second signal: ended at once".to_owned())),
        }
    }
    info!("stopped");
    Ok(())
}

type Controlling = tokio::task::JoinHandle<Result<(), controller::Ended>>;

/// The lease is lost: what is under way may end as long as nobody else may begin.
async fn drain((why, until): (String, Instant), controller: &mut Controlling) -> (u8, String) {
    warn!("{why}: nothing new begins, and the program ends");
    timeout_at(until.into(), controller).await.ok();
    (1, why)
}

/// Why the election ended before it was asked to, and until when what is under way may still end.
fn lost(ended: Result<Result<(), Lost>, tokio::task::JoinError>) -> (String, Instant) {
    match ended {
        Ok(Err(lost)) => (lost.to_string(), lost.until.unwrap_or_else(Instant::now)),
        Ok(Ok(())) => ("the election ended without being asked to".to_owned(), Instant::now()),
        Err(error) => (format!("the election panicked: {error}"), Instant::now()),
    }
}

fn ended_early(ended: Result<Result<(), controller::Ended>, tokio::task::JoinError>) -> (u8, String) {
    let why = match ended {
        Ok(Ok(())) => "the controller ended without being asked to".to_owned(),
        Ok(Err(ended)) => ended.to_string(),
        Err(error) => format!("the controller panicked: {error}"),
    };
    (1, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_are_accepted_as_kubectl_accepts_them() {
        for text in ["a=b", "a==b", "a!=b", "a", "!a", "a=", "team in (a, b),tier notin (x)", "x.io/a=b , c"] {
            assert!(selector(text).is_ok(), "{text}");
        }
        for text in ["", "a=b=c", "a in b", "a in (b", "=b", "a=b,", "a b", "a=b c", "ä=b"] {
            assert!(selector(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations_are_bounded() {
        assert_eq!(poll("60s"), Ok(Duration::from_secs(60)));
        assert_eq!(grace("10m"), Ok(Duration::from_secs(600)));
        for text in ["0s", "61s", "2m", "1", "", "s", "-1s", "99999999999999999999s"] {
            assert!(poll(text).is_err(), "{text}");
        }
    }
}
