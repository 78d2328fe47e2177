//! When to try again: the one place with the delays, in proportion to what went wrong.

use std::time::Duration;

use crate::api::{Class, Reason};

const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// How long to wait after the given number of failures in a row (1 for the first), with `jitter` in `0.0..1.0`.
///
/// What gets better by itself doubles up to a cap and is spread over the upper half of its delay: the floor bounds how
/// often a busy remote is knocked at. What needs a person is looked at slowly, since the cure usually announces itself
/// through a changed Secret or spec. `wait` is what Cloudflare told us to wait: it is obeyed to the second, with the
/// jitter on top, so that credentials do not come back all at once.
#[must_use]
pub fn delay(reason: Reason, failures: u32, wait: Option<Duration>, jitter: f64) -> Duration {
    let jitter = if jitter.is_nan() { 0.0 } else { jitter.clamp(0.0, 1.0) };
    if let Some(wait) = wait {
        return wait + seconds(1).mul_f64(jitter);
    }
    let (first, cap) = match reason {
        Reason::RemoteBusy => (seconds(2), seconds(60)),
        Reason::CloudflareUnavailable | Reason::ConnectionFailed => (seconds(1), seconds(5 * 60)),
        Reason::SecretNotFound => (seconds(5), seconds(30)),
        _ if reason.class() == Class::Stalled => (seconds(5 * 60), seconds(60 * 60)),
        _ => (seconds(1), seconds(60)),
    };
    let full = doubled(first, failures, cap);
    full / 2 + (full / 2).mul_f64(jitter)
}

/// How long until the next look at an accepted write that is not visible yet: 1 s doubling to 30 s, by looks so far
/// (1 for the first).
#[must_use]
pub fn propagation_delay(looks: u32) -> Duration {
    doubled(seconds(1), looks, seconds(30))
}

fn doubled(first: Duration, count: u32, cap: Duration) -> Duration {
    first.saturating_mul(2_u32.saturating_pow(count.saturating_sub(1))).min(cap)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_remote_is_asked_after_2_s_doubling_to_60_s_and_never_sooner_than_half_of_it() {
        let window = |failures| {
            let bound = |jitter| delay(Reason::RemoteBusy, failures, None, jitter).as_secs_f64();
            (bound(0.0), bound(1.0))
        };
        assert_eq!(
            [1, 2, 3, 4, 5, 6, 7, 400].map(window),
            [(1.0, 2.0), (2.0, 4.0), (4.0, 8.0), (8.0, 16.0), (16.0, 32.0), (30.0, 60.0), (30.0, 60.0), (30.0, 60.0)]
        );
    }

    #[test]
    fn a_lock_of_three_minutes_costs_at_most_twelve_writes_whatever_the_jitter() {
        let (mut waited, mut writes) = (Duration::ZERO, 1);
        while waited < Duration::from_secs(180) {
            waited += delay(Reason::RemoteBusy, writes, None, 0.0);
            writes += 1;
        }
        assert!(writes <= 12, "{writes}");
    }

    #[test]
    fn what_cloudflare_told_us_to_wait_is_never_cut_short() {
        for jitter in [0.0, 0.5, 1.0, 7.0] {
            let waited = delay(Reason::RateLimited, 1, Some(seconds(300)), jitter);
            assert!((seconds(300)..=seconds(301)).contains(&waited), "{waited:?}");
        }
    }

    #[test]
    fn an_outage_is_asked_after_1_s_doubling_to_5_min_and_a_stall_slowly() {
        assert_eq!(delay(Reason::ConnectionFailed, 1, None, 1.0), seconds(1));
        assert_eq!(delay(Reason::CloudflareUnavailable, 30, None, 1.0), seconds(300));
        assert_eq!(delay(Reason::AuthenticationFailed, 1, None, 1.0), seconds(300));
        assert_eq!(delay(Reason::PermissionDenied, 9, None, 1.0), seconds(3600));
        assert_eq!([1, 2, 3, 6, 60].map(|looks| propagation_delay(looks).as_secs()), [1, 2, 4, 30, 30]);
    }
}
