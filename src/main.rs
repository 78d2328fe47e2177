//! Arguments, then hand over.

use std::{io::Write, process::ExitCode};

use clap::Parser;
use cloudflare_mtls_operator::cli::Cli;

fn main() -> ExitCode {
    // One crypto provider for both HTTP stacks, chosen before either of them starts.
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        return ExitCode::FAILURE;
    }
    match Cli::parse().execute() {
        Ok(()) => ExitCode::SUCCESS,
        // Once there is a log, it has everything: who reads JSON can read this too.
        Err((status, line)) if tracing::dispatcher::has_been_set() => {
            tracing::error!("{line}");
            ExitCode::from(status)
        }
        Err((status, line)) => {
            writeln!(std::io::stderr(), "cloudflare-mtls-operator: {line}").ok();
            ExitCode::from(status)
        }
    }
}
