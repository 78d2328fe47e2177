//! The real kubectl, for what users do with it and for what it does best: applying whatever a file says.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::error::{Context as _, Error, Result};
use crate::tools;

/// kubectl with one identity.
#[derive(Clone, Debug)]
pub struct Kubectl {
    kubeconfig: PathBuf,
    deadline: Duration,
}

impl Kubectl {
    /// kubectl as the user of this kubeconfig; a call may take a minute.
    pub fn new(kubeconfig: impl Into<PathBuf>) -> Self {
        Self { kubeconfig: kubeconfig.into(), deadline: Duration::from_secs(60) }
    }

    /// Changes how long a call may take.
    #[must_use]
    pub fn deadline(self, deadline: Duration) -> Self {
        Self { deadline, ..self }
    }

    /// Runs kubectl and returns what it printed.
    ///
    /// # Errors
    /// When kubectl is missing, fails (its standard error is in the message) or takes too long.
    pub async fn run(&self, arguments: &[&str]) -> Result<String> {
        self.run_with_input(arguments, "").await
    }

    /// Applies manifests (YAML or JSON) server-side.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub async fn apply(&self, manifests: &str) -> Result<String> {
        self.run_with_input(&["apply", "--server-side", "-f", "-"], manifests).await
    }

    /// Runs kubectl with a text on its standard input.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub async fn run_with_input(&self, arguments: &[&str], input: &str) -> Result<String> {
        let what = format!("kubectl {}", arguments.join(" "));
        let finished = tokio::time::timeout(self.deadline, self.finish(arguments, input)).await;
        let output = finished
            .map_err(|_| Error::new(format!("{what}: no end after {} s", self.deadline.as_secs())))?
            .context(&what)?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        Err(Error::new(format!("{what}: {}\n{stdout}{stderr}", output.status)))
    }

    async fn finish(&self, arguments: &[&str], input: &str) -> Result<std::process::Output> {
        // kubectl remembers per host and port what an API server offers. Ports are used again by later control planes,
        // so that memory is kept beside the kubeconfig instead of in the home folder.
        let cache = self.kubeconfig.parent().unwrap_or(Path::new(".")).join("kubectl-cache");
        let mut child = Command::new(tools::tool("kubectl")?)
            .args(arguments)
            .env("KUBECONFIG", &self.kubeconfig)
            .env("KUBECACHEDIR", cache)
            // No preferences of the person who runs the tests.
            .env("KUBERC", "off")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            // A command that doesn't read its input closes it, which is no failure.
            let _ = stdin.write_all(input.as_bytes()).await;
        }
        Ok(child.wait_with_output().await?)
    }
}
