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
        Err((status, line)) => {
            writeln!(std::io::stderr(), "cloudflare-mtls-operator: {line}").ok();
            ExitCode::from(status)
        }
    }
}
