//! `harness demo`: the operator's main job before the reader's eyes, on parts of its own that are gone at the end.

use std::cell::Cell;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use tokio::task::JoinHandle;

use crate::cloudflare::{Cloudflare, Credential, Remote};
use crate::control_plane::ControlPlane;
use crate::error::{Context as _, Error, Result};
use crate::guard;
use crate::operator::Operator;
use crate::tools;

mod picture;
mod stage;
mod story;

use stage::Stage;

/// The API tokens of the demo: the first is revoked on the way, the second replaces it. Neither is ever printed.
pub const TOKENS: [&str; 2] = ["cfut_Wk3Tz9Qm1Lx6Rb8Hd4Vy7Nc2Jp5Sg", "cfut_Eu7Ya2Xo9Kf4Mi6Zq1Ct8Bw3Lr5Dh"];

/// Arguments of `harness demo`.
#[derive(clap::Args)]
pub struct Args {
    /// The operator's program
    #[arg(long)]
    operator: PathBuf,
    /// Leave everything running after the steps, until Ctrl-C
    #[arg(long)]
    keep: bool,
    /// Draw the steps in which drift is repaired and a token is refused into this file, as SVG
    #[arg(long)]
    picture: Option<PathBuf>,
}

/// Plays the demo and takes everything down again, however it went.
///
/// # Errors
/// When a step does not come true within its deadline.
pub async fn run(args: Args) -> Result<ExitCode> {
    let operator = args.operator.canonicalize().context(args.operator.display())?;
    // The commands that are shown name files of this repository.
    std::env::set_current_dir(tools::workspace())?;
    let mut stage = Stage::new();
    let mut dir = PathBuf::new();
    // A start that is under way cannot be given up half-way: it is waited for and then undone.
    let mut starting = tokio::spawn(ControlPlane::start());
    let kept = Cell::new(false);
    let interrupted = async {
        guard::asked_to_stop().await?;
        // Once the steps are over, Ctrl-C is how the reader ends the demo.
        if kept.get() {
            std::future::pending::<()>().await;
        }
        Ok::<(), Error>(())
    };
    let played = tokio::select! {
        played = play(&mut stage, operator, args.keep.then_some(&kept), &mut starting, &mut dir) => Some(played),
        outcome = interrupted => outcome.map(|()| None)?,
    };
    // Everything else that was started was a value in `play`, so it has ended by now.
    if !starting.is_finished() {
        drop(starting.await?);
    }
    if dir.exists() {
        return Err(Error::new(format!("{} was left behind", dir.display())));
    }
    match played {
        Some(Ok(summary)) => {
            if let Some(file) = args.picture {
                let picture = picture::draw(&stage.shown(), "Change the list behind", "Put a new token");
                std::fs::write(&file, picture).context(file.display())?;
            }
            stage.line(format!("\nDone: {summary}. Nothing is left behind."))?;
            Ok(ExitCode::SUCCESS)
        }
        Some(Err(error)) => Err(Error::new(format!("the demo failed at {}: {error}", stage.where_it_is()))),
        None => {
            stage.line("\nInterrupted. Nothing is left behind.")?;
            Ok(ExitCode::from(130))
        }
    }
}

/// What the demo runs on. Fields are dropped in order: the operator ends before what it talks to.
struct World {
    operator: Operator,
    control_plane: ControlPlane,
    cloudflare: Cloudflare,
    remote: Remote,
    token: Credential,
}

/// Plays all steps and returns what the last line says of them.
async fn play(
    stage: &mut Stage,
    operator: PathBuf,
    keep: Option<&Cell<bool>>,
    starting: &mut JoinHandle<Result<ControlPlane>>,
    dir: &mut PathBuf,
) -> Result<String> {
    let started = Instant::now();
    let mut world = story::start(stage, operator, starting, dir).await?;
    if let Err(error) = story::tell(stage, &world).await {
        let log = world.operator.logs().unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        let tail = lines.get(lines.len().saturating_sub(10)..).unwrap_or_default().join("\n");
        return Err(Error::new(format!("{error}\nThe end of the operator's log:\n{tail}")));
    }
    let ledger = world.cloudflare.ledger();
    let count = |method: &str| ledger.filtered(|exchange| exchange.method == method).len();
    let summary = format!(
        "all of it came true in {:.1} s, with {} GETs and {} PUTs to Cloudflare",
        started.elapsed().as_secs_f32(),
        count("GET"),
        count("PUT"),
    );
    if let Some(kept) = keep {
        kept.set(true);
        leave_running(stage, &world).await?;
    }
    story::stop(stage, &mut world).await?;
    Ok(summary)
}

/// Tells how to go on by hand, and waits for Ctrl-C.
async fn leave_running(stage: &Stage, world: &World) -> Result<()> {
    let tools = tools::folder();
    let emulator = world.cloudflare.address();
    stage.line("\nEverything is left running. In another terminal:\n")?;
    stage.line(format!("   export KUBECONFIG={}", world.control_plane.kubeconfig().display()))?;
    stage.line(format!("   export PATH={}:$PATH     # where this kubectl is", tools.display()))?;
    stage.line("   kubectl get mhs --watch")?;
    stage.line("   kubectl edit mhs admin")?;
    stage.line(format!("   curl http://{emulator}/_emulator/ledger        # what Cloudflare was asked"))?;
    stage.line(format!("   curl http://{emulator}/_emulator               # what can be turned"))?;
    stage.line("\nCtrl-C here ends all of it and removes it.")?;
    guard::asked_to_stop().await
}
