//! What keeps the program running and lets people see how it does: health, metrics, logs, election, shutdown.

mod election;
pub(crate) mod failpoint;
mod health;
mod lease;
mod logs;
mod metrics;
mod server;
mod shutdown;

pub use election::{Election, Leadership, Lost, Place, record as lease_record};
pub use health::{Check, Health, Task};
pub use lease::{Candidate, Record, Step, Timing};
pub use logs::{LogFormat, init as init_logs};
pub use metrics::{Metrics, ReconcileResult};
pub use server::{Told, serve};
pub use shutdown::Signals;
