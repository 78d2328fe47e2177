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

mod audit;
mod change;
mod cpu;
mod decisions;
mod fleet;
mod hostnames;
mod idle;
mod lists;
mod machine;
mod memory;
mod naive;
mod objects;
mod patches;
mod process;
mod program;
mod report;
pub mod soak;
mod spread;
mod stage;
mod start;
mod watch;

use spread::Spread;

/// How often an object with many hostnames is made.
const HOSTNAME_ROUNDS: usize = 10;

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
    /// How many objects it has when its memory is read
    #[arg(long, value_delimiter = ',', default_value = "0,100,1000")]
    memory: Vec<usize>,
    /// How long its processor time is counted while it idles, in seconds
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..))]
    idle_cpu: u64,
    /// How many objects share one list; repeat it or separate by commas
    #[arg(long, value_delimiter = ',', default_value = "1,10,30,100,1000")]
    lists: Vec<usize>,
    /// How often each of them is measured; at most 3 times from 11 objects on, and twice from 101
    #[arg(long, default_value_t = 5)]
    list_rounds: usize,
    /// Up to so many of them the yardstick is measured, which takes 3 seconds for each object; beyond it is extrapolated
    #[arg(long, default_value_t = 30)]
    naive: usize,
    /// How many hostnames the longest object has
    #[arg(long, default_value_t = 1000)]
    hostnames: usize,
    /// How many objects there are over many zones
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(10..))]
    objects: u32,
    /// How often these are served
    #[arg(long, default_value_t = 3)]
    fleets: usize,
    /// A file with the microseconds of the decisions, to be printed with the rest
    #[arg(long)]
    decisions: Option<PathBuf>,
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
        self.spawn_with(control_plane, namespace, cloudflare, &[]).await
    }

    /// The same, with more arguments.
    async fn spawn_with(
        &self,
        control_plane: &ControlPlane,
        namespace: &str,
        cloudflare: &Cloudflare,
        arguments: &[String],
    ) -> Result<Operator> {
        let builder = self.builder(control_plane, namespace, cloudflare);
        arguments.iter().fold(builder, super::operator::Builder::arg).spawn().await
    }

    /// How one is started that serves the objects of a namespace.
    fn builder<'a>(
        &self,
        control_plane: &'a ControlPlane,
        namespace: &str,
        cloudflare: &Cloudflare,
    ) -> super::operator::Builder<'a> {
        // The budget of requests is a promise to Cloudflare; here it would be all that is measured.
        let builder = Operator::builder(&self.program, control_plane)
            .watch_namespace(namespace)
            .cloudflare(cloudflare.url())
            .arg("--requests-per-5m=4000000");
        self.environment.iter().fold(builder, |builder, (name, value)| builder.env(name, value))
    }
}

/// Everything that was measured.
struct Figures {
    change: change::Change,
    memory: memory::Memory,
    start: start::Start,
    idle: idle::Idle,
    hostnames: hostnames::Hostnames,
    lists: Vec<lists::Row>,
    naive: Vec<lists::Row>,
    fleet: fleet::Fleet,
    decisions: Option<decisions::Decisions>,
    /// Bytes of the operator's program.
    size: u64,
}

/// Measures everything and writes the report.
///
/// # Errors
/// When the operator does not do what is timed, or the report cannot be written.
pub async fn run(args: Args) -> Result<()> {
    let program = args.operator.canonicalize().context(args.operator.display())?;
    // First, so that a slip in the file does not cost the time of all measurements.
    let decisions = args.decisions.as_deref().map(decisions::read).transpose()?;
    say("starting a control plane ...")?;
    let control_plane = ControlPlane::start().await?;
    control_plane.install().await?;
    let mut machine = machine::Machine::look(&control_plane, &program).await?;
    let told: Vec<String> = args.environment.iter().map(|(name, value)| format!(" with {name}={value}")).collect();
    machine.operator.push_str(&told.concat());
    let operator = Subject { program, environment: args.environment.clone() };
    let figures = measure(&control_plane, &operator, &args, decisions).await?;
    let text = report::text(&machine, &figures);
    std::fs::write(&args.report, &text).context(args.report.display())?;
    say(&format!("\n{text}\nwritten to {}", args.report.display()))
}

async fn measure(
    control_plane: &ControlPlane,
    operator: &Subject,
    args: &Args,
    decisions: Option<decisions::Decisions>,
) -> Result<Figures> {
    let idle = Duration::from_secs(args.idle);
    say(&format!("timing {} changes ...", args.rounds))?;
    let change = change::measure(control_plane, operator, args.rounds).await?;
    say(&format!("timing {} starts ...", args.starts))?;
    let start = start::measure(control_plane, operator, args.starts).await?;
    say(&format!("timing an object with {} hostnames ...", args.hostnames))?;
    let hostnames = hostnames::measure(control_plane, operator, args.hostnames, HOSTNAME_ROUNDS).await?;
    say(&format!("timing {:?} objects on one list ...", args.lists))?;
    let lists = lists::measure(control_plane, operator, &args.lists, args.list_rounds).await?;
    let few: Vec<usize> = args.lists.iter().copied().filter(|size| *size <= args.naive).collect();
    say(&format!(
        "counting the processor time of {} s of idling; one PUT for each of {few:?} objects ...",
        args.idle_cpu
    ))?;
    // Side by side: either does hardly more than wait, for minutes.
    let idling = idle::measure(control_plane, operator, Duration::from_secs(args.idle_cpu));
    let (naive, idling) = tokio::try_join!(naive::measure(&few, args.list_rounds), idling)?;
    say(&format!("reading the memory after {} s of idling, {} times ...", args.idle, args.memory.len()))?;
    let memory = memory::measure(control_plane, operator, &args.memory, idle).await?;
    // Last, since what it leaves behind would slow down the others.
    let objects = usize::try_from(args.objects)?;
    say(&format!("timing {objects} objects over many zones, {} times ...", args.fleets))?;
    let fleet = fleet::measure(control_plane, operator, objects, args.fleets, idle).await?;
    let size = std::fs::metadata(&operator.program)?.len();
    Ok(Figures { change, memory, start, idle: idling, hostnames, lists, naive, fleet, decisions, size })
}
