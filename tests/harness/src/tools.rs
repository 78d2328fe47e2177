//! Where the programs are that the tests start: the pinned tools, and the harness itself.

use std::path::{Path, PathBuf};

use crate::error::{Context as _, Error, Result};

/// The root of this repository.
#[must_use]
pub fn workspace() -> PathBuf {
    let harness = Path::new(env!("CARGO_MANIFEST_DIR"));
    harness.ancestors().nth(2).unwrap_or(harness).to_path_buf()
}

/// The folder with etcd, kube-apiserver and kubectl: `KUBEBUILDER_ASSETS` when set, else `target/tools`.
#[must_use]
pub fn folder() -> PathBuf {
    match std::env::var_os("KUBEBUILDER_ASSETS") {
        Some(folder) if !folder.is_empty() => folder.into(),
        _ => built(),
    }
}

/// Where `make tools` puts what it builds.
pub(crate) fn built() -> PathBuf {
    workspace().join("target/tools")
}

/// The path of one of the tools. What the folder named in `KUBEBUILDER_ASSETS` lacks was built, if it was.
///
/// # Errors
/// When it isn't there; the message says how to get it.
pub fn tool(name: &str) -> Result<PathBuf> {
    let path = folder().join(name);
    if let Some(found) = [path.clone(), built().join(name)].into_iter().find(|path| path.is_file()) {
        return Ok(found);
    }
    Err(Error::new(format!(
        "{} is missing: run `make tools`, or set KUBEBUILDER_ASSETS to a folder that has etcd, kube-apiserver and kubectl",
        path.display()
    )))
}

/// The path of the harness program, which cargo puts beside the folder of the test executables.
///
/// # Errors
/// When it isn't there; the message says how to build it.
pub fn harness() -> Result<PathBuf> {
    let current = std::env::current_exe().context("finding the path of this program")?;
    let folder = current.parent().unwrap_or(Path::new("."));
    let folder = if folder.ends_with("deps") { folder.parent().unwrap_or(folder) } else { folder };
    let program = folder.join("harness");
    if program.is_file() {
        return Ok(program);
    }
    Err(Error::new(format!(
        "{} is missing: run `cargo build -p harness` with the profile of the tests",
        program.display()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_workspace_is_the_folder_of_the_lock_file() {
        assert!(workspace().join("Cargo.lock").is_file());
    }

    #[test]
    fn a_missing_tool_is_reported_with_the_way_to_get_it() {
        let error = tool("no-such-tool").err().map(|error| error.to_string()).unwrap_or_default();
        assert!(error.contains("make tools"), "{error}");
    }
}
