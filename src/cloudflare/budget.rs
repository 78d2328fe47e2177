//! How often a credential may be used: Cloudflare's own word first, then a budget of ours. Shared by all scopes, since
//! both count for the credential.

use std::{
    collections::HashMap,
    hash::RandomState,
    num::NonZeroU32,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::credential::Credential;

/// The time to which the budget is fitted, as Cloudflare's own limit is.
/// Source: <https://developers.cloudflare.com/fundamentals/api/reference/limits/>.
const PERIOD: Duration = Duration::from_secs(5 * 60);
/// What routine looks leave of the budget for those that people wait for.
const RESERVE: Duration = Duration::from_secs(60);
/// So few requests left, by Cloudflare's count, that ours slow down.
const LITTLE: u64 = 100;

/// Why somebody wants to make requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A person or a changed object waits for it.
    Wanted,
    /// A look in the course of things, due for this long.
    Routine(Duration),
}

/// Budgets by credential, known by a keyed hash of its bytes: two Secrets may hold one token.
#[derive(Debug)]
pub struct Budget {
    hasher: RandomState,
    /// What one request costs, in time.
    cost: Duration,
    accounts: Mutex<HashMap<u64, Account>>,
}

/// A token bucket, kept as the time at which it will be full again.
#[derive(Clone, Copy, Debug)]
struct Account {
    full_at: Instant,
    blocked_until: Option<Instant>,
}

impl Budget {
    /// So many requests per five minutes for each credential; all of them may be made at once.
    #[must_use]
    pub fn new(requests: NonZeroU32) -> Self {
        Self { hasher: RandomState::new(), cost: PERIOD / requests.get(), accounts: Mutex::default() }
    }

    /// Tells whether two credentials are the same, without keeping either.
    #[must_use]
    pub fn fingerprint(&self, credential: &Credential) -> u64 {
        credential.fingerprint(&self.hasher)
    }

    fn accounts(&self) -> MutexGuard<'_, HashMap<u64, Account>> {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// No request with this credential before `until`.
    pub fn block(&self, fingerprint: u64, until: Instant, now: Instant) {
        let mut accounts = self.accounts();
        let account = accounts.entry(fingerprint).or_insert(Account { full_at: now, blocked_until: None });
        account.blocked_until = account.blocked_until.max(Some(until));
    }

    /// The end of the credential's rest, when Cloudflare ordered one that is not over.
    #[must_use]
    pub fn blocked_until(&self, fingerprint: u64, now: Instant) -> Option<Instant> {
        self.accounts().get(&fingerprint)?.blocked_until.filter(|until| *until > now)
    }

    /// Whether a round may begin. If not, the time at which it is worth asking again.
    ///
    /// A round costs what it turns out to cost ([`Budget::spend`]); here it is only asked whether there is something
    /// left. Routine looks leave a reserve, which a look may draw on the longer it is overdue: so the longest overdue
    /// comes first, and none starves.
    ///
    /// # Errors
    /// When the budget is used up, with the time at which it will not be.
    pub fn begin(&self, fingerprint: u64, purpose: Purpose, now: Instant) -> Result<(), Instant> {
        let mut accounts = self.accounts();
        accounts.retain(|_, account| account.full_at > now || account.blocked_until.is_some_and(|until| until > now));
        let Some(account) = accounts.get(&fingerprint) else { return Ok(()) };
        let allowed = match purpose {
            Purpose::Wanted => PERIOD,
            Purpose::Routine(overdue) => PERIOD.saturating_sub(RESERVE.saturating_sub(overdue)),
        };
        let free_at = account.full_at + self.cost;
        match free_at.checked_sub(allowed) {
            Some(free_at) if free_at > now => Err(free_at),
            _ => Ok(()),
        }
    }

    /// Notes a request that is about to be made.
    pub fn spend(&self, fingerprint: u64, now: Instant) {
        let mut accounts = self.accounts();
        let account = accounts.entry(fingerprint).or_insert(Account { full_at: now, blocked_until: None });
        account.full_at = account.full_at.max(now) + self.cost;
    }

    /// Takes in what Cloudflare says is left: others use the same limit. When it is little, ours is used up in
    /// proportion until the limit is renewed.
    pub fn left(&self, fingerprint: u64, remaining: u64, renewed_in: Duration, now: Instant) {
        if remaining >= LITTLE {
            return;
        }
        let wait =
            renewed_in.min(PERIOD).mul_f64(1.0 - f64::from(u32::try_from(remaining).unwrap_or(u32::MAX)) / 100.0);
        let mut accounts = self.accounts();
        let account = accounts.entry(fingerprint).or_insert(Account { full_at: now, blocked_until: None });
        account.full_at = account.full_at.max(now + PERIOD - RESERVE + wait);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUTINE: Purpose = Purpose::Routine(Duration::ZERO);

    fn budget(requests: u32) -> Budget {
        Budget::new(NonZeroU32::new(requests).unwrap())
    }

    #[test]
    fn all_of_it_may_be_used_at_once_and_comes_back_in_five_minutes() {
        let (budget, now) = (budget(600), Instant::now());
        for _ in 0..600 {
            assert_eq!(budget.begin(1, Purpose::Wanted, now), Ok(()));
            budget.spend(1, now);
        }
        assert_eq!(budget.begin(1, Purpose::Wanted, now), Err(now + Duration::from_millis(500)));
        assert_eq!(budget.begin(1, Purpose::Wanted, now + Duration::from_millis(500)), Ok(()));
        assert_eq!(budget.begin(2, Purpose::Wanted, now), Ok(()), "another credential has its own");
    }

    #[test]
    fn over_any_time_no_more_is_made_than_the_bucket_and_its_refill() {
        let (budget, start) = (budget(600), Instant::now());
        let (mut now, mut made) = (start, 0);
        while now < start + PERIOD * 2 {
            match budget.begin(1, Purpose::Wanted, now) {
                Ok(()) => {
                    budget.spend(1, now);
                    made += 1;
                }
                Err(later) => now = later,
            }
        }
        assert!((1790..=1800).contains(&made), "{made}");
    }

    #[test]
    fn routine_leaves_a_reserve_for_what_people_wait_for_and_draws_on_it_when_overdue() {
        let (budget, now) = (budget(600), Instant::now());
        let mut made = 0;
        while budget.begin(1, ROUTINE, now).is_ok() {
            budget.spend(1, now);
            made += 1;
        }
        assert_eq!(made, 480);
        assert_eq!(budget.begin(1, Purpose::Wanted, now), Ok(()));
        assert_eq!(budget.begin(1, Purpose::Routine(Duration::from_secs(30)), now), Ok(()));
    }

    #[test]
    fn cloudflares_own_count_slows_routine_down_until_the_limit_is_renewed() {
        let (budget, now) = (budget(600), Instant::now());
        let minute = Duration::from_secs(60);
        budget.left(1, 500, minute, now);
        assert_eq!(budget.begin(1, ROUTINE, now), Ok(()));
        budget.left(1, 0, minute, now);
        let later = budget.begin(1, ROUTINE, now).unwrap_err();
        assert!((now + minute..now + minute + Duration::from_secs(1)).contains(&later));
    }

    #[test]
    fn a_rest_that_was_ordered_is_kept_whole_and_forgotten_after_it() {
        let (budget, now) = (budget(600), Instant::now());
        budget.block(1, now + Duration::from_secs(30), now);
        budget.block(1, now + Duration::from_secs(10), now);
        assert_eq!(budget.blocked_until(1, now), Some(now + Duration::from_secs(30)));
        assert_eq!(budget.blocked_until(1, now + Duration::from_secs(30)), None);
        assert_eq!(budget.blocked_until(2, now), None);
    }
}
