//! A network namespace, removed with everything in it when the value is dropped.

use std::fs::File;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::Command;

use rustix::process::Pid;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::command::{self, Failure};
use crate::{autopsy, cleanup};

/// A network namespace with `lo` up and no automatic IPv6 traffic.
#[derive(Debug)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// Makes a namespace.
    ///
    /// # Panics
    ///
    /// When the kernel refuses, for example without root.
    #[track_caller]
    pub fn new() -> Self {
        let namespace = Self { name: cleanup::unique_name() };
        command::run(Command::new("ip").args(["netns", "add", &namespace.name]));
        // No link-local addresses and no router solicitations: the tests count packets.
        for (key, value) in
            [("addr_gen_mode", "1"), ("router_solicitations", "0"), ("accept_ra", "0"), ("accept_dad", "0")]
        {
            for which in ["all", "default"] {
                namespace.set_sysctl(&format!("ipv6/conf/{which}/{key}"), value);
            }
        }
        namespace.ip("link set lo up");
        namespace
    }

    /// Its name for `ip netns`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A command that will run `program` in this namespace.
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(program.as_ref());
        command
    }

    /// Runs `ip` on this namespace; the arguments are separated by spaces.
    ///
    /// # Panics
    ///
    /// When `ip` fails.
    #[track_caller]
    pub fn ip(&self, arguments: &str) -> String {
        match self.try_ip(arguments) {
            Ok(stdout) => stdout,
            Err(failure) => panic!("{failure}"),
        }
    }

    /// Runs `ip` on this namespace; the arguments are separated by spaces.
    ///
    /// # Errors
    ///
    /// A [`Failure`] when `ip` fails.
    pub fn try_ip(&self, arguments: &str) -> Result<String, Failure> {
        command::try_run(Command::new("ip").args(["-n", &self.name]).args(arguments.split_whitespace()))
    }

    /// Runs `work` on a thread of ours that is in this namespace. A socket made there stays there.
    ///
    /// # Panics
    ///
    /// When the thread cannot enter, or `work` panics.
    #[track_caller]
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let path = Path::new("/run/netns").join(&self.name);
        let result = std::thread::scope(|scope| {
            let entered = scope.spawn(move || {
                let file = File::open(&path).expect("the namespace");
                move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
                    .expect("entering the namespace");
                work()
            });
            entered.join()
        });
        match result {
            Ok(value) => value,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    /// Sets `/proc/sys/net/<key>`. A key that the kernel lacks (IPv6 switched off) is left alone.
    pub fn set_sysctl(&self, key: &str, value: &str) {
        let path = Path::new("/proc/sys/net").join(key);
        self.enter(|| {
            if path.exists() {
                std::fs::write(&path, value).ok();
            }
        });
    }

    /// Whether an interface of that name is here.
    pub fn has_interface(&self, interface: &str) -> bool {
        self.enter(|| {
            let table = std::fs::read_to_string("/proc/thread-self/net/dev").unwrap_or_default();
            table.lines().any(|line| line.trim_start().starts_with(&format!("{interface}:")))
        })
    }

    /// The processes that live here.
    pub fn processes(&self) -> Vec<Pid> {
        cleanup::inhabitants(&self.name)
    }
}

impl Default for Namespace {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // Those that no `Tunnel` holds: a daemon, a client that hangs.
            for pid in self.processes() {
                let state = autopsy::report(pid.as_raw_nonzero().get().unsigned_abs());
                eprintln!("--- process {pid:?} was left in {}:\n{state}---", self.name);
            }
        }
        cleanup::remove_namespace(&self.name);
    }
}
