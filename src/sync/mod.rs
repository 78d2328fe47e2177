//! The decisions, pure: no async, no client, no clock, no log. `controller` gathers the facts, asks here, and acts.

mod backoff;
mod guard;
mod index;
mod outcome;
mod plan;

pub use backoff::{delay, propagation_delay};
pub use guard::{Guard, registered_domain};
pub use index::{Owner, Owners, Uid, Wish, is_free, owners};
pub use outcome::{Problem, Report, internal_error, pending, report, same_but_times, spec_invalid, status, suspended};
pub use plan::{Rejection, Sent, View, plan};
