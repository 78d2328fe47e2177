//! The flags of the leader election.

use std::time::Duration;

use clap::Args;

use crate::{
    api::parse_duration,
    ops::{Place, Timing},
};

#[derive(Args, Debug)]
#[allow(clippy::struct_field_names, reason = "they are the names of the flags")]
pub(super) struct LeaseArgs {
    /// Name of the Lease; installations that serve different objects need different ones.
    #[arg(long, value_name = "NAME", env = "CFMTLS_LEASE_NAME", default_value = env!("CARGO_PKG_NAME"))]
    lease_name: String,

    /// Namespace of the Lease; the operator's own if it is not said.
    #[arg(long, value_name = "NAMESPACE", env = "CFMTLS_LEASE_NAMESPACE", value_parser = super::namespace)]
    lease_namespace: Option<String>,

    /// How long a replica that is not heard of keeps the Lease, from 10s to 10m.
    #[arg(long, value_name = "DURATION", env = "CFMTLS_LEASE_DURATION", default_value = "15s", value_parser = duration)]
    lease_duration: Duration,

    /// How long the leader tries to renew the Lease before it gives up and ends.
    #[arg(long, value_name = "DURATION", env = "CFMTLS_LEASE_RENEW_DEADLINE", default_value = "10s", value_parser = step)]
    lease_renew_deadline: Duration,

    /// How often the leader renews the Lease.
    #[arg(long, value_name = "DURATION", env = "CFMTLS_LEASE_RETRY_PERIOD", default_value = "2s", value_parser = step)]
    lease_retry_period: Duration,
}

fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text, Duration::from_secs(10), Duration::from_secs(600))
}

fn step(text: &str) -> Result<Duration, String> {
    parse_duration(text, Duration::from_secs(1), Duration::from_secs(600))
}

impl LeaseArgs {
    /// The three durations, if they fit together.
    pub(super) fn timing(&self) -> Result<Timing, String> {
        let Self { lease_duration, lease_renew_deadline, lease_retry_period, .. } = self;
        if lease_renew_deadline.as_secs() + 2 > lease_duration.as_secs() {
            return Err("--lease-renew-deadline has to be at least 2s shorter than --lease-duration".to_owned());
        }
        if *lease_retry_period * 2 > *lease_renew_deadline {
            return Err("--lease-retry-period has to be at most half of --lease-renew-deadline".to_owned());
        }
        Ok(Timing { duration: *lease_duration, renew_deadline: *lease_renew_deadline, retry: *lease_retry_period })
    }

    /// Which Lease, and the name of this pod. `home` is the namespace of the configuration.
    pub(super) fn place(&self, home: String) -> Place {
        let host = || hostname::get().ok().and_then(|name| name.into_string().ok());
        let pod = std::env::var("POD_NAME").ok().filter(|name| !name.is_empty()).or_else(host);
        Place {
            namespace: self.lease_namespace.clone().unwrap_or(home),
            name: self.lease_name.clone(),
            pod: pod.unwrap_or_else(|| env!("CARGO_PKG_NAME").to_owned()),
        }
    }
}
