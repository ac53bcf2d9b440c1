//! How many system calls a program makes, as `perf` counts them.

use core::time::Duration;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::wait;

/// The event that each system call is.
const EVENT: &str = "raw_syscalls:sys_enter";
/// How long `perf` may take to attach itself.
const ATTACHES_WITHIN: Duration = Duration::from_secs(5);

/// Counts until it is asked.
#[derive(Debug)]
pub struct Counter {
    perf: Option<Child>,
}

impl Counter {
    /// Begins to count those of all threads that `pid` has now.
    ///
    /// # Errors
    ///
    /// `perf` is not there, or may not count them; what it says.
    pub fn start(pid: u32) -> Result<Self, String> {
        let mut perf = Command::new("perf");
        // What it counts it prints when it is interrupted; by then it has as many descriptors as threads to watch.
        perf.args(["stat", "-x", ",", "-e", EVENT, "-p", &pid.to_string()]);
        perf.env("LC_ALL", "C").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let child = perf.spawn().map_err(|error| format!("`perf`: {error}"))?;
        let mut counter = Self { perf: Some(child) };
        let attached = wait::find(ATTACHES_WITHIN, || counter.is_attached_or_ended());
        match attached {
            Some(true) => Ok(counter),
            _ => Err(counter.stop().err().unwrap_or_else(|| "`perf` does not attach itself".into())),
        }
    }

    /// Whether it watches, which it does once it has opened its events.
    fn is_attached_or_ended(&mut self) -> Option<bool> {
        let child = self.perf.as_mut()?;
        if child.try_wait().ok()?.is_some() {
            return Some(false);
        }
        let open = std::fs::read_dir(format!("/proc/{}/fd", child.id())).ok()?.flatten();
        let mut links = open.filter_map(|entry| std::fs::read_link(entry.path()).ok());
        links.any(|link| link.to_string_lossy().contains("[perf_event]")).then_some(true)
    }

    /// Ends, and returns how many there were.
    ///
    /// # Errors
    ///
    /// What `perf` says in the place of a count.
    pub fn stop(mut self) -> Result<u64, String> {
        let child = self.perf.take().ok_or("ended")?;
        interrupt(&child);
        let output = child.wait_with_output().map_err(|error| format!("`perf`: {error}"))?;
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        count(&text).ok_or_else(|| format!("`perf` counts no system calls: {}", text.trim()))
    }
}

impl Drop for Counter {
    fn drop(&mut self) {
        if let Some(child) = &mut self.perf {
            // It may have ended by itself.
            child.kill().ok();
            child.wait().ok();
        }
    }
}

fn interrupt(child: &Child) {
    if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        // It may have ended by itself, and says why.
        kill_process(pid, Signal::INT).ok();
    }
}

/// The number in the line of the event.
fn count(text: &str) -> Option<u64> {
    text.lines().find(|line| line.contains(EVENT))?.split(',').next()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn count_is_read_and_what_is_none_is_none() {
        assert_eq!(count("\n48211,,raw_syscalls:sys_enter,1000000,100.00,,\n"), Some(48_211));
        assert_eq!(count("<not supported>,,raw_syscalls:sys_enter,0,100.00,,\n"), None);
        assert_eq!(count("Error: no permission\n"), None);
    }
}
