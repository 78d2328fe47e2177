//! The real kubectl, for what users do with it and for what it does best: applying whatever a file says.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::command;
use crate::error::Result;
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
        // kubectl remembers per host and port what an API server offers. Ports are used again by later control planes,
        // so that memory is kept beside the kubeconfig instead of in the home folder.
        let cache = self.kubeconfig.parent().unwrap_or(Path::new(".")).join("kubectl-cache");
        let environment = [
            ("KUBECONFIG", self.kubeconfig.clone()),
            ("KUBECACHEDIR", cache),
            // No preferences of the person who runs the tests.
            ("KUBERC", "off".into()),
        ];
        command::run(&tools::tool("kubectl")?, arguments, &environment, input, self.deadline).await
    }
}
