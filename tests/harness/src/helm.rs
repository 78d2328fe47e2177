//! The real Helm, 3 and 4, for whatever is done with a chart.

use std::fmt::{self, Display, Formatter};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::command;
use crate::control_plane::OPERATOR;
use crate::error::Result;
use crate::tools;

/// A Helm that people use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// Helm 3, which applies by patches of its own.
    Three,
    /// Helm 4, which applies server-side and waits for custom resources too.
    Four,
}

impl Version {
    /// Both of them.
    pub const EVERY: [Self; 2] = [Self::Three, Self::Four];

    /// Its name among the tools.
    #[must_use]
    pub fn program(self) -> &'static str {
        match self {
            Self::Three => "helm3",
            Self::Four => "helm4",
        }
    }
}

impl Display for Version {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.program())
    }
}

/// The chart of this repository.
#[must_use]
pub fn chart() -> PathBuf {
    tools::workspace().join("charts/cloudflare-mtls-operator")
}

/// The oldest Kubernetes that the chart takes: a Helm that is asked for no cluster believes in one of its own.
pub const KUBERNETES: &str = "--kube-version=1.30.0";

/// What a Helm makes of the chart with these values, as a release of this name in the operator's usual namespace.
///
/// # Errors
/// When Helm refuses them.
pub async fn render(version: Version, name: &str, values: &[&str]) -> Result<String> {
    let chart = chart();
    let fixed = ["template", name, &chart.to_string_lossy(), "--namespace", OPERATOR, KUBERNETES];
    Helm::offline(version).run(&[&fixed[..], values].concat()).await
}

/// Helm with one identity, or with none for what needs no cluster.
#[derive(Clone, Debug)]
pub struct Helm {
    version: Version,
    kubeconfig: PathBuf,
    deadline: Duration,
}

impl Helm {
    /// Helm as the user of this kubeconfig; a call may take a minute.
    pub fn new(version: Version, kubeconfig: impl Into<PathBuf>) -> Self {
        Self { version, kubeconfig: kubeconfig.into(), deadline: Duration::from_secs(60) }
    }

    /// Changes how long a call may take.
    #[must_use]
    pub fn deadline(self, deadline: Duration) -> Self {
        Self { deadline, ..self }
    }

    /// Helm without a cluster: it renders, checks and packages.
    #[must_use]
    pub fn offline(version: Version) -> Self {
        Self::new(version, tools::workspace().join("target/tmp/no-cluster"))
    }

    /// Which one it is.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// Runs Helm and returns what it printed.
    ///
    /// # Errors
    /// When Helm is missing, fails (its standard error is in the message) or takes too long.
    pub async fn run(&self, arguments: &[&str]) -> Result<String> {
        // Nothing of the person who runs the tests: no plugins, no repositories, no cache of another API server.
        let home = self.kubeconfig.parent().unwrap_or(Path::new("."));
        let environment = [
            ("KUBECONFIG", self.kubeconfig.clone()),
            ("KUBECACHEDIR", home.join("helm-kube-cache")),
            ("HELM_CACHE_HOME", home.join("helm-cache")),
            ("HELM_CONFIG_HOME", home.join("helm-config")),
            ("HELM_DATA_HOME", home.join("helm-data")),
        ];
        let program = tools::tool(self.version.program())?;
        command::run(&program, arguments, &environment, "", self.deadline).await
    }
}
