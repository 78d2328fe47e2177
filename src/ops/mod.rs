//! What keeps the program running and lets people see how it does: health, logs, shutdown.

mod health;
mod logs;
mod shutdown;

pub use health::{Health, serve};
pub use logs::{LogFormat, init as init_logs};
pub use shutdown::Signals;
