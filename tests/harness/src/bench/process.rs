//! What the kernel says of a process: its memory, and the time for which it had a processor.

use std::path::Path;

use crate::error::{Context as _, Error, Result};

/// The kernel counts processor time for users in hundredths of a second, on every machine.
const TICKS: f64 = 100.0;

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

/// Seconds of processor time so far, its own and the kernel's for it: `utime` and `stime` of `/proc/PID/stat`.
pub(super) fn cpu_seconds(pid: u32) -> Result<f64> {
    let path = format!("/proc/{pid}/stat");
    let text = std::fs::read_to_string(&path).context(&path)?;
    // The second field is the program's name in brackets, which may hold anything; the two are the 14th and the 15th.
    let fields = text.rsplit_once(')').map(|(_, rest)| rest).unwrap_or_default();
    let ticks: Result<Vec<f64>, _> = fields.split_whitespace().skip(11).take(2).map(str::parse).collect();
    match ticks?.as_slice() {
        [user, system] => Ok((user + system) / TICKS),
        _ => Err(Error::new(format!("{path} is too short"))),
    }
}

/// The process of this name whose command line names a folder.
pub(super) fn find(name: &str, folder: &Path) -> Result<u32> {
    let folder = folder.to_string_lossy();
    for process in std::fs::read_dir("/proc").context("/proc")? {
        let path = process?.path();
        let Some(pid) = path.file_name().and_then(|pid| pid.to_str()?.parse::<u32>().ok()) else { continue };
        let read = |file: &str| std::fs::read_to_string(path.join(file)).unwrap_or_default();
        if read("comm").trim_end() == name && read("cmdline").contains(&*folder) {
            return Ok(pid);
        }
    }
    Err(Error::new(format!("{name} is not to be found in /proc")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_knows_its_own_memory_and_time() {
        let pid = std::process::id();
        assert!(megabytes(pid, "VmRSS:").unwrap() > 0.1);
        assert!(status(pid, "Threads:").unwrap() >= 1.0);
        assert!(cpu_seconds(pid).unwrap() >= 0.0);
        assert!(status(pid, "Nonsense:").is_err());
    }
}
