//! A program that is run to its end for what it prints.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::error::{Context as _, Error, Result};

/// Runs a program with these environment variables besides the test's own, and a text on its standard input. What it printed
/// to standard error is in the error when it fails.
pub(crate) async fn run(
    program: &Path,
    arguments: &[&str],
    environment: &[(&str, PathBuf)],
    input: &str,
    deadline: Duration,
) -> Result<String> {
    let name = program.file_name().unwrap_or_default().to_string_lossy();
    let what = format!("{name} {}", arguments.join(" "));
    let mut command = Command::new(program);
    command.args(arguments).envs(environment.iter().map(|(name, value)| (name, value)));
    let finished = tokio::time::timeout(deadline, finish(command, input)).await;
    let output =
        finished.map_err(|_| Error::new(format!("{what}: no end after {} s", deadline.as_secs())))?.context(&what)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    Err(Error::new(format!("{what}: {}\n{stdout}{stderr}", output.status)))
}

async fn finish(mut command: Command, input: &str) -> Result<Output> {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true).spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // A command that doesn't read its input closes it, which is no failure.
        let _ = stdin.write_all(input.as_bytes()).await;
    }
    Ok(child.wait_with_output().await?)
}
