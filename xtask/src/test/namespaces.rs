//! The tests in namespaces. They mostly wait, so several of their programs run at once, the longest first.

use core::fmt;
use core::time::Duration;
use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};
use wg_netns::requirements::{REQUIRED_VARIABLE, Requirements};
use wg_netns::{cleanup, program, wait};

use crate::cargo::{self, Profile, command};
use crate::test::{NAMESPACE_PACKAGE, Outcome, is_ci};

/// Programs that take longest, in the order in which they are started.
const LONGEST_FIRST: [&str; 5] = ["rekey", "decrypt", "keepalive", "restart", "reconfig"];
/// Programs at once, and tests at once in each.
const PROGRAMS: usize = 3;
const THREADS: &str = "2";
/// A program that runs longer than this is stuck.
const PATIENCE: Duration = Duration::from_secs(480);

/// Runs the stage.
pub(super) fn run() -> Result<Outcome, String> {
    let missing = missing();
    if !missing.is_empty() {
        // Nobody looks at what was skipped there.
        return if is_ci() { Err(missing) } else { Ok(Outcome::Skipped(missing)) };
    }
    let tell = |ended: &Ended<'_>| println!("\n{ended}");
    Suite::build()?.run(&|_, _| {}, &|_| true, &tell).map(|()| Outcome::Passed)
}

/// What the suite needs and this machine lacks; nothing if it can run.
pub(crate) fn missing() -> String {
    let requirements = Requirements::check()
        .and_program("wg", "wireguard-tools")
        .and_program("ping", "iputils-ping")
        .and_program("wireguard-go", "wireguard-go")
        .and_program("tshark", wg_netns::tshark::PACKAGE);
    requirements.missing().join("; ")
}

/// A program that has ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ended<'a> {
    pub(crate) name: &'a str,
    /// Its output.
    pub(crate) said: &'a str,
    pub(crate) time: Duration,
    /// Why it failed, if it did.
    pub(crate) failure: Option<&'a str>,
}

impl fmt::Display for Ended<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {:.1} s{}", self.name, self.time.as_secs_f64(), self.said)
    }
}

/// The programs of the tests, and the gateways that they start.
#[derive(Debug)]
pub(crate) struct Suite {
    tests: Vec<(String, PathBuf)>,
    gateways: [(&'static str, PathBuf); 2],
}

impl Suite {
    /// Builds everything.
    pub(crate) fn build() -> Result<Self, String> {
        // Debug assertions and overflow checks are what hostile input is for.
        let key_log_gateway = cargo::build_key_log_gateway(Profile::Dev)?;
        let gateway = cargo::build_gateway(Profile::Dev)?;
        let gateways =
            [(program::GATEWAY_VARIABLE, gateway), (program::KEY_LOG_GATEWAY_VARIABLE, key_log_gateway)];
        let mut build = command(&["test", "--no-run", "--package", NAMESPACE_PACKAGE, "--tests"]);
        let mut tests = cargo::executables(&mut build)?;
        tests.retain(|(name, _)| name.replace('_', "-") != NAMESPACE_PACKAGE);
        if tests.is_empty() {
            return Err("no namespace tests were built".into());
        }
        tests.sort_by_key(|(name, _)| {
            LONGEST_FIRST.iter().position(|long| long == name).unwrap_or(usize::MAX)
        });
        Ok(Self { tests, gateways })
    }

    /// The names of the programs.
    pub(crate) fn programs(&self) -> impl Iterator<Item = &str> {
        self.tests.iter().map(|(name, _)| name.as_str())
    }

    /// Runs the programs that are wanted when it is their turn, prepared by name, and tells of each that has ended.
    pub(crate) fn run(
        &self,
        prepare: &(dyn Fn(&str, &mut Command) + Sync),
        is_wanted: &(dyn Fn(&str) -> bool + Sync),
        tell: &(dyn Fn(&Ended<'_>) + Sync),
    ) -> Result<(), String> {
        let queue = Mutex::new(VecDeque::from_iter(&self.tests));
        let failed = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for _ in 0..PROGRAMS {
                scope.spawn(|| {
                    loop {
                        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                        let Some((name, path)) = next else { return };
                        if !is_wanted(name) {
                            continue;
                        }
                        let start = Instant::now();
                        let (verdict, said) = self.run_one(path, &|test| prepare(name, test));
                        let failure = verdict.as_ref().err().map(String::as_str);
                        tell(&Ended { name, said: &said, time: start.elapsed(), failure });
                        if let Err(error) = verdict {
                            let mut failed = failed.lock().unwrap_or_else(PoisonError::into_inner);
                            failed.push(format!("{name}: {error}"));
                        }
                    }
                });
            }
        });
        let failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
        if failed.is_empty() { Ok(()) } else { Err(failed.join("; ")) }
    }

    /// Runs one program to its end, and returns what it said.
    fn run_one(&self, path: &PathBuf, prepare: &dyn Fn(&mut Command)) -> (Result<(), String>, String) {
        let directory = cleanup::unique_directory();
        let log = directory.join("log");
        let mut test = Command::new(path);
        test.env(REQUIRED_VARIABLE, "1").envs(self.gateways.iter().cloned());
        test.env("RUST_TEST_THREADS", THREADS);
        prepare(&mut test);
        let verdict = run_logged(test, &log);
        let said = std::fs::read_to_string(&log).unwrap_or_default();
        std::fs::remove_dir_all(directory).ok();
        (verdict, said)
    }
}

/// Runs a program to its end with a file in the place of its output.
fn run_logged(mut test: Command, log: &Path) -> Result<(), String> {
    let text = |error: io::Error| error.to_string();
    let output = File::create(log).map_err(text)?;
    test.stdin(Stdio::null()).stdout(output.try_clone().map_err(text)?).stderr(output).process_group(0);
    // A process group of its own, but it cleans up after itself on a signal of ours.
    let mut child = test.spawn().map_err(text)?;
    match wait::find(PATIENCE, || child.try_wait().ok().flatten()) {
        Some(status) if status.success() => Ok(()),
        Some(status) => Err(status.to_string()),
        None => {
            if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
                kill_process(pid, Signal::TERM).ok();
            }
            child.wait().ok();
            Err(format!("stuck for {} s", PATIENCE.as_secs()))
        }
    }
}
