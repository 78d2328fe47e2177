//! What the figures were measured on and with: without it they say nothing. Names of machines stay out.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::control_plane::ControlPlane;
use crate::error::{Context as _, Result};
use crate::tools;

/// The machine and the versions.
pub(super) struct Machine {
    pub(super) date: String,
    pub(super) cores: usize,
    pub(super) processor: String,
    pub(super) memory: String,
    pub(super) kernel: String,
    pub(super) load: String,
    pub(super) operator: String,
    pub(super) commit: String,
    pub(super) kubernetes: String,
    pub(super) etcd: String,
    pub(super) rust: String,
}

impl Machine {
    /// Looks at the machine, before the measurements put a load on it.
    pub(super) async fn look(control_plane: &ControlPlane, operator: &Path) -> Result<Self> {
        let versions: Value = serde_json::from_str(&control_plane.kubectl(&["version", "-o", "json"]).await?)?;
        let kubernetes = versions.pointer("/serverVersion/gitVersion").and_then(Value::as_str).unwrap_or("unknown");
        let file = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let line = |text: &str, name: &str| {
            let line = text.lines().find(|line| line.starts_with(name)).and_then(|line| line.split_once(':'));
            line.map_or("unknown".to_owned(), |(_, value)| value.trim().to_owned())
        };
        let release = file("/proc/sys/kernel/osrelease");
        // What follows the numbers names a build, and sometimes a place.
        let kernel = release.split(['-', '\n']).next().unwrap_or_default();
        let kib: f64 = line(&file("/proc/meminfo"), "MemTotal").trim_end_matches(" kB").parse().unwrap_or_default();
        Ok(Self {
            date: jiff::Timestamp::now().strftime("%Y-%m-%d").to_string(),
            cores: std::thread::available_parallelism()?.get(),
            processor: line(&file("/proc/cpuinfo"), "model name"),
            memory: format!("{:.0} GiB", kib / 1024.0 / 1024.0),
            kernel: format!("Linux {kernel} {}", std::env::consts::ARCH),
            load: file("/proc/loadavg").split_whitespace().next().unwrap_or_default().to_owned(),
            operator: first_line(operator, &["--version"])?,
            commit: first_line("git", &["describe", "--always", "--dirty"]).unwrap_or_else(|_| "unknown".to_owned()),
            kubernetes: kubernetes.to_owned(),
            etcd: first_line(tools::tool("etcd")?, &["--version"])?.replace("etcd Version: ", ""),
            rust: first_line("rustc", &["--version"])?,
        })
    }
}

fn first_line(program: impl AsRef<Path>, arguments: &[&str]) -> Result<String> {
    let program = program.as_ref();
    let output = Command::new(program).args(arguments).current_dir(tools::workspace()).output();
    let output = output.context(program.display())?;
    Ok(String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or_default().to_owned())
}
