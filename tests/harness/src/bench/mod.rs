//! `harness bench`: speed, size and memory of the operator, measured on a control plane of its own and written to a report.
//!
//! Everything that is compared runs interleaved in one go, on the same API server and the same emulated Cloudflare.
//! No test asserts a time: a figure is only worth something beside the machine and the load that it was measured under.

use std::path::PathBuf;
use std::time::Duration;

use crate::cloudflare::Cloudflare;
use crate::control_plane::ControlPlane;
use crate::error::{Context as _, Result};
use crate::guard::say;
use crate::operator::Operator;

mod change;
mod machine;
mod memory;
mod program;
mod report;
mod spread;
mod start;

use spread::Spread;

/// Arguments of `harness bench`.
#[derive(clap::Args)]
pub struct Args {
    /// The operator's program, as it is shipped
    #[arg(long)]
    operator: PathBuf,
    /// The file to write
    #[arg(long)]
    report: PathBuf,
    /// How many changes are timed
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(30..))]
    rounds: u32,
    /// How many times the operator is started
    #[arg(long, default_value_t = 10)]
    starts: u32,
    /// An environment variable for the operator, to try what one changes; repeat it for more
    #[arg(long = "env", value_name = "NAME=VALUE", value_parser = variable)]
    environment: Vec<(String, String)>,
    /// How long it idles before its memory is read, in seconds
    #[arg(long, default_value_t = 30)]
    idle: u64,
}

fn variable(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// The operator that is measured.
struct Subject {
    program: PathBuf,
    environment: Vec<(String, String)>,
}

impl Subject {
    /// One that serves the objects of a namespace.
    async fn spawn(&self, control_plane: &ControlPlane, namespace: &str, cloudflare: &Cloudflare) -> Result<Operator> {
        // The budget of requests is a promise to Cloudflare; here it would be all that is measured.
        let builder = Operator::builder(&self.program, control_plane)
            .watch_namespace(namespace)
            .cloudflare(cloudflare.url())
            .arg("--requests-per-5m=4000000");
        self.environment.iter().fold(builder, |builder, (name, value)| builder.env(name, value)).spawn().await
    }
}

/// Everything that was measured.
struct Figures {
    change: change::Change,
    memory: memory::Memory,
    start: start::Start,
    /// Bytes of the operator's program.
    size: u64,
}

/// Measures everything and writes the report.
///
/// # Errors
/// When the operator does not do what is timed, or the report cannot be written.
pub async fn run(args: Args) -> Result<()> {
    let program = args.operator.canonicalize().context(args.operator.display())?;
    let size = std::fs::metadata(&program)?.len();
    say("starting a control plane ...")?;
    let control_plane = ControlPlane::start().await?;
    control_plane.install().await?;
    let mut machine = machine::Machine::look(&control_plane, &program).await?;
    let told: Vec<String> = args.environment.iter().map(|(name, value)| format!(" with {name}={value}")).collect();
    machine.operator.push_str(&told.concat());
    let operator = Subject { program, environment: args.environment };
    say(&format!("timing {} changes ...", args.rounds))?;
    let change = change::measure(&control_plane, &operator, args.rounds).await?;
    say(&format!("timing {} starts ...", args.starts))?;
    let start = start::measure(&control_plane, &operator, args.starts).await?;
    say(&format!("reading the memory after {} s of idling, three times ...", args.idle))?;
    let memory = memory::measure(&control_plane, &operator, Duration::from_secs(args.idle)).await?;
    let text = report::text(&machine, &Figures { change, memory, start, size });
    std::fs::write(&args.report, &text).context(args.report.display())?;
    say(&format!("\n{text}\nwritten to {}", args.report.display()))
}
