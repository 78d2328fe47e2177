//! The ways in which the remote API may behave, since nobody promises one of them. Scenarios run under each.

use std::time::Duration;

use harness::cloudflare::{LockReach, Semantics, Switches};

/// What a PUT does to entries that it does not name, whom it locks out until it has its effect, and when that is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Behaviour {
    pub(crate) semantics: Semantics,
    pub(crate) lock: LockReach,
    pub(crate) delay: Duration,
}

impl Behaviour {
    /// For who tries all of them at the same time.
    pub(crate) const EVERY: [Self; 4] = [
        Self::new(Semantics::Merge, LockReach::Scope),
        Self::new(Semantics::Merge, LockReach::Account),
        Self::new(Semantics::Replace, LockReach::Scope),
        Self::new(Semantics::Replace, LockReach::Account),
    ];

    pub(crate) const fn new(semantics: Semantics, lock: LockReach) -> Self {
        // Long enough for a write that comes too early to be refused, short enough to be over at the first look after it.
        Self { semantics, lock, delay: Duration::from_millis(200) }
    }

    /// Writes have their effect before they are answered, so that no lock holds: for who counts every single request.
    pub(crate) fn at_once(self) -> Self {
        Self { delay: Duration::ZERO, ..self }
    }

    /// Whether the first write removes what it does not name, which takes another one to mend.
    pub(crate) fn replaces(self) -> bool {
        self.semantics == Semantics::Replace
    }

    pub(crate) fn turn(self, switches: &mut Switches) {
        switches.semantics = self.semantics;
        switches.lock = self.lock;
        switches.apply_delay_ms = u64::try_from(self.delay.as_millis()).unwrap();
    }
}

/// Makes tests of scenarios, which are an `async fn` of a [`Behaviour`] each; a test is called `scenario::behaviour`.
macro_rules! scenarios {
    ($behaviours:ident: $($scenario:ident),+ $(,)?) => {$(
        mod $scenario {
            $crate::behaviour::tests!($scenario, $behaviours);
        }
    )+};
}

macro_rules! tests {
    ($scenario:ident, under_every_behaviour) => {
        $crate::behaviour::tests!($scenario, under_merge);
        $crate::behaviour::tests!($scenario, under_replace);
    };
    ($scenario:ident, under_merge) => {
        $crate::behaviour::tests!($scenario, merging_and_locking_the_zone, Merge, Scope);
        $crate::behaviour::tests!($scenario, merging_and_locking_the_account, Merge, Account);
    };
    ($scenario:ident, under_replace) => {
        $crate::behaviour::tests!($scenario, replacing_and_locking_the_zone, Replace, Scope);
        $crate::behaviour::tests!($scenario, replacing_and_locking_the_account, Replace, Account);
    };
    ($scenario:ident, $test:ident, $semantics:ident, $lock:ident) => {
        #[tokio::test]
        async fn $test() {
            use harness::cloudflare::{LockReach, Semantics};
            super::$scenario($crate::behaviour::Behaviour::new(Semantics::$semantics, LockReach::$lock)).await;
        }
    };
}

pub(crate) use {scenarios, tests};
