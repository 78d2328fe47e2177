//! The command line: what the program can be told, and how it answers wrong values.

mod run;

use clap::{Parser, Subcommand};

/// Kubernetes operator for Cloudflare Access mTLS hostname settings.
#[derive(Debug, Parser)]
#[command(version, about)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the operator.
    Run(Box<run::Args>),
    /// Print the CRD, to be applied with kubectl before the operator starts.
    Crd,
}

impl Cli {
    /// Does what the arguments say; the error is one line for a person, with the exit status to end with.
    ///
    /// # Errors
    /// When the command fails.
    pub fn execute(self) -> Result<(), (u8, String)> {
        match self.command {
            Command::Run(args) => run::run(*args),
            Command::Crd => print_crd().map_err(|error| (1, error.to_string())),
        }
    }
}

fn print_crd() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    use std::io::Write;
    Ok(std::io::stdout().write_all(crate::api::crd_yaml()?.as_bytes())?)
}
