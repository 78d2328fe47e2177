//! The real Helm, 3 or 4, with a home of its own: neither reads nor writes anything of the person who runs it.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use crate::error::{Context as _, Error, Result};
use crate::tools;

/// The chart of this repository.
#[must_use]
pub fn chart() -> PathBuf {
    tools::workspace().join("charts/cloudflare-mtls-operator")
}

/// Helm of one major version with one identity.
#[derive(Clone, Debug)]
pub struct Helm {
    program: &'static str,
    kubeconfig: PathBuf,
}

impl Helm {
    /// Helm 3 as the user of this kubeconfig.
    pub fn three(kubeconfig: impl Into<PathBuf>) -> Self {
        Self { program: "helm3", kubeconfig: kubeconfig.into() }
    }

    /// Helm 4 as the user of this kubeconfig.
    pub fn four(kubeconfig: impl Into<PathBuf>) -> Self {
        Self { program: "helm4", kubeconfig: kubeconfig.into() }
    }

    /// Runs Helm and returns what it printed.
    ///
    /// # Errors
    /// When Helm is missing, fails (its standard error is in the message) or takes more than two minutes.
    pub async fn run(&self, arguments: &[&str]) -> Result<String> {
        let what = format!("{} {}", self.program, arguments.join(" "));
        let home = self.kubeconfig.parent().unwrap_or(Path::new(".")).join(self.program);
        let output = Command::new(tools::tool(self.program)?)
            .args(arguments)
            .current_dir(tools::workspace())
            .env("KUBECONFIG", &self.kubeconfig)
            .env("HELM_CACHE_HOME", home.join("cache"))
            .env("HELM_CONFIG_HOME", home.join("config"))
            .env("HELM_DATA_HOME", home.join("data"))
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let output = tokio::time::timeout(Duration::from_secs(120), output).await.context(&what)?.context(&what)?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        Err(Error::new(format!("{what}: {}\n{stdout}{stderr}", output.status)))
    }
}
