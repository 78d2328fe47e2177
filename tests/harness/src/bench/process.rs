//! What the kernel says of a process.

use crate::error::{Context as _, Error, Result};

/// One number of `/proc/PID/status`.
pub(super) fn status(pid: u32, name: &str) -> Result<f64> {
    let path = format!("/proc/{pid}/status");
    let text = std::fs::read_to_string(&path).context(&path)?;
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next());
    let value = value.ok_or_else(|| Error::new(format!("{path} has no {name}")))?;
    Ok(value.parse()?)
}

/// Megabytes (10^6 bytes) of one of its lines; the kernel counts in KiB.
pub(super) fn megabytes(pid: u32, name: &str) -> Result<f64> {
    Ok(status(pid, name)? * 1024.0 / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_knows_its_own_memory() {
        let pid = std::process::id();
        assert!(megabytes(pid, "VmRSS:").unwrap() > 0.1);
        assert!(status(pid, "Threads:").unwrap() >= 1.0);
        assert!(status(pid, "Nonsense:").is_err());
    }
}
