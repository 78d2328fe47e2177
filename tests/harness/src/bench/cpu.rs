//! Who used the processors: operator, API server, etcd, and the bench with the emulated Cloudflare in it.

use super::process::{cpu_seconds, find};
use crate::control_plane::ControlPlane;
use crate::error::Result;

/// Processor seconds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cpu {
    pub(super) operator: f64,
    pub(super) api_server: f64,
    pub(super) etcd: f64,
    pub(super) bench: f64,
}

/// The processes that last as long as the bench.
pub(super) struct Meter {
    api_server: u32,
    etcd: u32,
}

impl Meter {
    pub(super) fn of(control_plane: &ControlPlane) -> Result<Self> {
        let find = |name: &str| find(name, control_plane.dir());
        Ok(Self { api_server: find("kube-apiserver")?, etcd: find("etcd")? })
    }

    /// What was used so far; `operator` is its process id.
    pub(super) fn read(&self, operator: Option<u32>) -> Result<Cpu> {
        Ok(Cpu {
            operator: operator.map(cpu_seconds).transpose()?.unwrap_or_default(),
            api_server: cpu_seconds(self.api_server)?,
            etcd: cpu_seconds(self.etcd)?,
            bench: cpu_seconds(std::process::id())?,
        })
    }
}

impl Cpu {
    pub(super) fn all(&self) -> f64 {
        self.operator + self.api_server + self.etcd + self.bench
    }

    pub(super) fn since(&self, before: &Self) -> Self {
        Self {
            operator: self.operator - before.operator,
            api_server: self.api_server - before.api_server,
            etcd: self.etcd - before.etcd,
            bench: self.bench - before.bench,
        }
    }
}
