//! The harness as a program: each part that the tests use can also be started by hand.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "harness", about = "The parts that the tests and the demo run against", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measure the operator's speed, size and memory, and write a report
    Bench(harness::bench::Args),
    /// Serve an emulated Cloudflare API
    Cloudflare(harness::cloudflare::program::Args),
    /// Run etcd and a Kubernetes API server; prints where they are when they are ready
    ControlPlane(harness::control_plane::Args),
    /// Have a real Prometheus answer every query of the dashboard and the alerts, and draw the dashboard
    Dashboard(harness::dashboard::Args),
    /// Show the operator's main job on a control plane and an emulated Cloudflare of its own
    Demo(harness::demo::Args),
    /// Churn objects for half an hour with faults, and see whether memory, descriptors and tasks stay flat
    Soak(harness::bench::soak::Args),
    /// Run a command that ends when standard input ends
    #[command(hide = true)]
    Guard(harness::guard::Args),
}

#[tokio::main]
async fn main() -> ExitCode {
    let outcome: Result<ExitCode, Box<dyn std::error::Error>> = match Arguments::parse().command {
        Command::Bench(args) => harness::bench::run(args).await.map(|()| ExitCode::SUCCESS).map_err(Into::into),
        Command::Cloudflare(args) => {
            harness::cloudflare::program::run(args).await.map(|()| ExitCode::SUCCESS).map_err(Into::into)
        }
        Command::ControlPlane(args) => {
            harness::control_plane::run(args).await.map(|()| ExitCode::SUCCESS).map_err(Into::into)
        }
        Command::Dashboard(args) => harness::dashboard::run(args).await.map(|()| ExitCode::SUCCESS).map_err(Into::into),
        Command::Demo(args) => harness::demo::run(args).await.map_err(Into::into),
        Command::Soak(args) => harness::bench::soak::run(args).await.map(|()| ExitCode::SUCCESS).map_err(Into::into),
        Command::Guard(args) => harness::guard::run(args).await.map_err(Into::into),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            report(error.as_ref());
            ExitCode::FAILURE
        }
    }
}

#[allow(clippy::print_stderr, reason = "the one line that tells a person why the program ended")]
fn report(error: &dyn std::error::Error) {
    eprintln!("harness: {error}");
}
