//! Processes that cannot outlive the test that started them, not even when it is killed with SIGKILL.
//!
//! Rust never drops statics, and nothing is dropped in a process that is killed. What the kernel does in every case is to
//! close the process's pipes. So tests start each command through `harness guard`, which holds the other end of such a pipe
//! as its standard input and kills the command when that input ends.

use std::ffi::OsString;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitCode, ExitStatus, Stdio};

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use crate::error::{Context as _, Error, Result};
use crate::tools;

/// Arguments of `harness guard`.
#[derive(clap::Args)]
pub struct Args {
    /// File to which the command's standard output and standard error are appended
    #[arg(long)]
    output: PathBuf,
    /// The command and its arguments
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

/// Runs the command until it ends, standard input ends, or a signal asks to stop; prints the command's process id first.
///
/// Returns the command's exit status as a shell does: its code, or 128 plus the signal that ended it.
///
/// # Errors
/// When the command cannot be started.
pub async fn run(args: Args) -> Result<ExitCode> {
    let output = File::options().create(true).append(true).open(&args.output).context(args.output.display())?;
    let [program, arguments @ ..] = args.command.as_slice() else {
        return Err(Error::new("no command was given"));
    };
    let mut child = tokio::process::Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output)
        .kill_on_drop(true)
        .spawn()
        .context(program.display())?;
    let pid = child.id().ok_or_else(|| Error::new("the command has no process id"))?;
    say(&pid.to_string())?;
    tokio::select! {
        status = child.wait() => Ok(ExitCode::from(shell_code(status?))),
        outcome = abandoned() => {
            child.kill().await?;
            outcome.map(|()| ExitCode::FAILURE)
        }
    }
}

/// Prints a line for the parent, at once. An absent reader is no error: the end of standard input tells of it.
pub(crate) fn say(line: &str) -> Result<()> {
    let mut stdout = std::io::stdout();
    writeln!(stdout, "{line}").and_then(|()| stdout.flush()).context("writing to standard output")
}

/// Waits until this process should end: its parent is gone, or a signal says so.
pub(crate) async fn abandoned() -> Result<()> {
    // Not tokio's stdin: its pending read would keep the runtime from shutting down when the command ends first.
    let (held, closed) = oneshot::channel::<()>();
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        drop(held);
    });
    tokio::select! {
        _ = closed => Ok(()),
        outcome = asked_to_stop() => outcome,
    }
}

/// Waits for SIGINT, SIGTERM or SIGHUP.
pub(crate) async fn asked_to_stop() -> Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hangup.recv() => {}
    }
    Ok(())
}

fn shell_code(status: ExitStatus) -> u8 {
    let code = status.code().or(status.signal().map(|signal| 128 + signal)).unwrap_or(255);
    u8::try_from(code).unwrap_or(255)
}

/// A harness program that ends when this value is dropped or this process dies.
#[derive(Debug)]
pub(crate) struct Held {
    child: Child,
    stdin: Option<ChildStdin>,
}

impl Held {
    /// Starts the program and waits for the first line that it prints.
    pub(crate) fn spawn(mut command: Command) -> Result<(Self, String)> {
        // In a process group of its own, so that Ctrl-C or a kill of the test's group leaves it to clean up in order.
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .context(command.get_program().display())?;
        let stdin = child.stdin.take();
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let held = Self { child, stdin };
        let mut line = String::new();
        if let Some(stdout) = stdout {
            BufReader::new(stdout).read_line(&mut line)?;
        }
        if !line.is_empty() {
            return Ok((held, line.trim_end().to_owned()));
        }
        let mut complaint = String::new();
        if let Some(mut stderr) = stderr {
            stderr.read_to_string(&mut complaint)?;
        }
        Err(Error::new(format!("{command:?} did not start: {}", complaint.trim_end())))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        drop(self.stdin.take());
        let _ = self.child.wait();
    }
}

/// A command that ends when this value is dropped or this process dies.
#[derive(Debug)]
pub struct Guarded {
    guard: Held,
    pid: u32,
    output: PathBuf,
}

impl Guarded {
    /// Starts a command whose output goes to the end of the file `output`; `describe` adds the program, its arguments
    /// and its environment.
    ///
    /// # Errors
    /// When the harness program is missing or the command cannot be started.
    pub fn spawn(output: &Path, describe: impl FnOnce(&mut Command)) -> Result<Self> {
        let mut command = Command::new(tools::harness()?);
        command.arg("guard").arg("--output").arg(output).arg("--");
        describe(&mut command);
        let (guard, line) = Held::spawn(command)?;
        let pid = line.parse().context(format!("reading a process id from {line:?}"))?;
        Ok(Self { guard, pid, output: output.to_path_buf() })
    }

    /// The command's own process id (not the guard's).
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The file to which the command prints.
    pub(crate) fn file(&self) -> &Path {
        &self.output
    }

    /// What the command has printed so far, both streams together.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn output(&self) -> Result<String> {
        Ok(String::from_utf8_lossy(&self.bytes()?).into_owned())
    }

    /// The same as it stands in the file.
    pub(crate) fn bytes(&self) -> Result<Vec<u8>> {
        std::fs::read(&self.output).context(self.output.display())
    }

    /// The last lines that the command has printed: enough to see why it ended.
    pub(crate) fn tail(&self) -> String {
        let output = self.output().unwrap_or_default();
        let lines: Vec<_> = output.lines().collect();
        lines.get(lines.len().saturating_sub(15)..).unwrap_or_default().join("\n")
    }

    /// The exit status once the command has ended: its code, or 128 plus the signal that ended it.
    ///
    /// # Errors
    /// When the operating system cannot tell.
    pub fn exit_code(&mut self) -> Result<Option<i32>> {
        Ok(self.guard.child.try_wait()?.map(|status| status.code().unwrap_or(255)))
    }

    /// Sends a signal to the command, named as `kill -s` names it: `TERM`, `KILL`, `STOP`.
    ///
    /// # Errors
    /// When the command has ended.
    pub fn signal(&mut self, name: &str) -> Result<()> {
        if let Some(code) = self.exit_code()? {
            return Err(Error::new(format!("the command has already ended with status {code}")));
        }
        send(name, &self.pid.to_string())
    }
}

/// Sends a signal to a process.
pub(crate) fn send(name: &str, pid: &str) -> Result<()> {
    // The shell's own `kill`: the program of that name is not installed everywhere.
    let sent = Command::new("sh").args(["-c", r#"kill -s "$0" "$1""#, name, pid]).output()?;
    if sent.status.success() {
        return Ok(());
    }
    Err(Error::new(format!("kill -s {name} {pid}: {}", String::from_utf8_lossy(&sent.stderr).trim_end())))
}
