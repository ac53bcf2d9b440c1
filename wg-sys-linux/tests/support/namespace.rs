//! A network namespace for one test, removed when the test ends however it ends.

use core::fmt;
use core::sync::atomic::{AtomicU32, Ordering};
use core::time::Duration;
use std::fs;
use std::os::fd::AsFd;
use std::process::Command;
use std::thread;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Far longer than anything takes; only a failing test waits so long.
const PATIENCE: Duration = Duration::from_secs(20);

/// A named network namespace with loopback up and IPv6 autoconfiguration noise off.
#[derive(Debug)]
pub(crate) struct Namespace {
    name: String,
}

impl Namespace {
    /// Makes one, or says why the test is skipped and returns `None`.
    pub(crate) fn new(test: &str) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            println!("SKIPPED {test}: it needs root, for network namespaces");
            return None;
        }
        if !Command::new("ip").arg("-V").output().is_ok_and(|output| output.status.success()) {
            println!("SKIPPED {test}: it needs the program `ip` (package iproute2)");
            return None;
        }
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("wgsys{}-{number}", std::process::id());
        ip(&["netns", "add", &name]);
        let namespace = Self { name };
        namespace.ip(&["link", "set", "lo", "up"]);
        Some(namespace)
    }

    /// Runs `ip` inside.
    pub(crate) fn ip(&self, arguments: &[&str]) {
        ip(&[&["-n", &self.name], arguments].concat());
    }

    /// Runs `body` on a thread inside.
    pub(crate) fn run<T: Send>(&self, body: impl FnOnce() -> T + Send) -> T {
        let file = fs::File::open(format!("/run/netns/{}", self.name)).unwrap();
        thread::scope(|scope| {
            let inside = scope.spawn(|| {
                move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
                drop(file);
                body()
            });
            inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

/// The name, for `ip link set .. netns NAME`.
impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.name]).output();
    }
}

fn ip(arguments: &[&str]) {
    let output = Command::new("ip").args(arguments).output().unwrap();
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {}: {words}", arguments.join(" "));
}

/// Waits until `fd` is ready; panics instead of hanging for ever.
pub(crate) fn wait_for(fd: impl AsFd, what: PollFlags) {
    let patience = Timespec::try_from(PATIENCE).unwrap();
    let ready = poll(&mut [PollFd::new(&fd, what)], Some(&patience)).unwrap();
    assert_eq!(ready, 1, "nothing came");
}
