//! A share of the machine's processor time that a group of processes may use together: a control group, of version 2 or 1.

use core::time::Duration;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{cleanup, wait};

/// Where the hierarchy of version 2 is, and that of the processor in version 1.
const UNIFIED: [&str; 2] = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];
const PROCESSOR: [&str; 2] = ["/sys/fs/cgroup/cpu", "/sys/fs/cgroup/cpu,cpuacct"];
/// Short, so that no queue fills up in the pauses; the kernel takes no quota below a millisecond.
const PERIOD: Duration = Duration::from_millis(5);

/// A group, removed when dropped: its processes go back to where all are.
#[derive(Debug)]
pub struct Quota {
    group: PathBuf,
    root: PathBuf,
}

impl Quota {
    /// Makes a group that may use `share` of one processor; above 1 it is more than one.
    ///
    /// # Errors
    ///
    /// There is no hierarchy with a processor controller that this process may write to; the message says which were tried.
    pub fn new(share: f64) -> io::Result<Self> {
        let mut reasons = Vec::new();
        let roots = PROCESSOR.iter().chain(&UNIFIED).map(Path::new);
        for root in roots.filter(|root| root.join("cgroup.procs").exists()) {
            match Self::make(root, share) {
                Ok(quota) => return Ok(quota),
                Err(error) => reasons.push(format!("{}: {error}", root.display())),
            }
        }
        if reasons.is_empty() {
            reasons.push("no control groups are mounted".into());
        }
        Err(io::Error::other(reasons.join("; ")))
    }

    fn make(root: &Path, share: f64) -> io::Result<Self> {
        let period = PERIOD.as_micros();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "microseconds of a period"
        )]
        let quota = (share * period as f64).max(1000.0) as u64;
        let has_controllers = root.join("cgroup.controllers").exists();
        if has_controllers {
            // In force already where a service manager is; if it cannot be had, `cpu.max` is not there below.
            fs::write(root.join("cgroup.subtree_control"), "+cpu").ok();
        }
        let group = root.join(cleanup::unique_name());
        fs::create_dir(&group)?;
        // From here on it is removed, whatever fails.
        let made = Self { group, root: root.to_path_buf() };
        if has_controllers {
            // Opened without being made: what is missing is not to be had.
            write(&made.group.join("cpu.max"), &format!("{quota} {period}"))?;
        } else {
            write(&made.group.join("cpu.cfs_period_us"), &period.to_string())?;
            write(&made.group.join("cpu.cfs_quota_us"), &quota.to_string())?;
        }
        Ok(made)
    }

    /// Takes a process in, with all its threads. Those that are real-time become ordinary ones, as a quota holds for no others.
    ///
    /// # Errors
    ///
    /// The process is gone, or may not be moved.
    pub fn add(&self, pid: u32) -> io::Result<()> {
        let made =
            Command::new("chrt").args(["--all-tasks", "--other", "--pid", "0", &pid.to_string()]).output()?;
        if !made.status.success() {
            return Err(io::Error::other(String::from_utf8_lossy(&made.stderr).trim().to_owned()));
        }
        write(&self.group.join("cgroup.procs"), &pid.to_string())
    }
}

impl Drop for Quota {
    fn drop(&mut self) {
        let left = fs::read_to_string(self.group.join("cgroup.procs")).unwrap_or_default();
        for pid in left.lines() {
            // It may have ended meanwhile.
            write(&self.root.join("cgroup.procs"), pid).ok();
        }
        remove(&self.group);
    }
}

/// Groups that this harness has made, by `chosen`; see [`cleanup`].
pub(crate) fn sweep(chosen: impl Fn(&str) -> bool) {
    for root in PROCESSOR.iter().chain(&UNIFIED) {
        for entry in fs::read_dir(root).into_iter().flatten().flatten() {
            if entry.file_name().to_str().is_some_and(&chosen) {
                remove(&entry.path());
            }
        }
    }
}

/// A group is busy until the kernel has buried its last process.
fn remove(group: &Path) {
    wait::until(Duration::from_secs(2), || fs::remove_dir(group).is_ok() || !group.exists());
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    use std::io::Write as _;

    let mut file = fs::OpenOptions::new().write(true).open(path)?;
    file.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_takes_processes_and_goes_away() {
        // Who may make none, has the reason.
        let quota = match Quota::new(0.5) {
            Ok(quota) => quota,
            Err(error) => return assert!(!error.to_string().is_empty()),
        };
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        quota.add(child.id()).unwrap();
        let inside = fs::read_to_string(quota.group.join("cgroup.procs")).unwrap();
        assert_eq!(inside.trim(), child.id().to_string());
        let group = quota.group.clone();
        drop(quota);
        assert!(!group.exists());
        assert!(child.try_wait().unwrap().is_none(), "the process lives on");
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
