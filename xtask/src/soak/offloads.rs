//! `cargo xtask soak offloads`: the whole suite in namespaces with all offloads, with none, and without each of them, on one
//! lane, two and four; resumable.
//!
//! A combination takes some minutes. Each test program that has passed is written down, and a second run goes on with what is
//! left, of a combination that was begun as well; what failed is named at the end with the file that holds what its tests said,
//! and is tried again then.

use core::time::Duration;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use clap::Args;
use wg_netns::cleanup;
use wg_netns::launch::GATEWAY_ARGUMENTS_VARIABLE;

use crate::cargo;
use crate::install;
use crate::report::print_table;
use crate::soak::progress::{Counts, Progress};
use crate::test::namespaces::{Ended, Suite, missing};

/// Each as the gateway's `--offload` takes it.
const OFFLOADS: [&str; 7] =
    ["all=on", "all=off", "tun-csum=off", "tun-tso=off", "tun-uso=off", "udp-gso=off", "udp-gro=off"];
const THREADS: [u8; 3] = [1, 2, 4];
/// A program has passed once; there is nothing to draw.
const SEED: u64 = 1;
const SECONDS: &str = "seconds";

/// Which combinations.
#[derive(Debug, Args)]
#[group(id = "combinations")]
pub(crate) struct Options {
    /// The offloads that are off, as `udp-gso=off`; all of them in turn unless said otherwise.
    #[arg(long, value_delimiter = ',', value_parser = OFFLOADS)]
    offloads: Vec<String>,
    /// The numbers of lanes.
    #[arg(long, value_delimiter = ',', default_values_t = THREADS)]
    threads: Vec<u8>,
    /// Begins no more test programs after so many minutes; what is left is for the next run.
    #[arg(long, value_name = "N")]
    minutes: Option<f64>,
    /// Where to keep what was done; a second run goes on from there.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Runs it.
pub(super) fn run(options: &Options) -> Result<(), String> {
    install::programs(&[&install::NAMESPACES, &install::WIREGUARD, &install::DECRYPTION]);
    let missing = missing();
    if !missing.is_empty() {
        return Err(missing);
    }
    let dir = match &options.dir {
        Some(dir) => dir.clone(),
        None => cargo::target_directory()?.join("soak-progress"),
    };
    let file = dir.join("offloads.json");
    let progress = Mutex::new(Progress::load(&file)?);
    let suite = Suite::build()?;
    let all = OFFLOADS.map(str::to_owned);
    let offloads = if options.offloads.is_empty() { &all[..] } else { &options.offloads };
    let limit = options.minutes.map(|minutes| Duration::try_from_secs_f64(minutes * 60.0));
    let limit = limit.transpose().map_err(|error| error.to_string())?;
    let start = Instant::now();
    let in_time = || limit.is_none_or(|limit| start.elapsed() < limit);
    let mut account = vec![["combination", "outcome", "programs", "s"].map(str::to_owned).to_vec()];
    let mut failed = Vec::new();
    for arguments in combinations(offloads, &options.threads) {
        let row = Row { arguments: &arguments, suite: &suite, progress: &progress, file: &file };
        let mut outcome = row.state();
        if outcome != PASSED && in_time() {
            println!("{arguments}");
            let log = dir.join(format!("{}.log", arguments.replace("--", "").replace(' ', "_")));
            let verdict = row.go_on(&log, &in_time);
            cleanup::stop_if_ending();
            outcome = row.state();
            if let Err(error) = verdict {
                failed.push(format!("{arguments}: {error}, see {}", log.display()));
                outcome = "FAILED";
            }
        }
        let (passed, seconds) = row.volume();
        let programs = format!("{passed} of {}", suite.programs().count());
        account.push(vec![arguments.clone(), outcome.to_owned(), programs, seconds.to_string()]);
    }
    println!();
    print_table(&account);
    println!("\nkept in {}", file.display());
    if failed.is_empty() { Ok(()) } else { Err(failed.join("\n")) }
}

const PASSED: &str = "passed";

/// A combination, and how far it is.
#[derive(Clone, Copy)]
struct Row<'a> {
    arguments: &'a str,
    suite: &'a Suite,
    progress: &'a Mutex<Progress>,
    file: &'a Path,
}

impl Row<'_> {
    /// What is written down of a program.
    fn unit(&self, program: &str) -> String {
        format!("{}: {program}", self.arguments)
    }

    fn has_passed(&self, program: &str) -> bool {
        let progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        progress.runs(&self.unit(program)) > 0
    }

    fn state(&self) -> &'static str {
        match self.suite.programs().filter(|program| self.has_passed(program)).count() {
            passed if passed == self.suite.programs().count() => PASSED,
            0 => "not begun",
            _ => "begun",
        }
    }

    /// How many programs have passed, and how long they took.
    fn volume(&self) -> (usize, u64) {
        let progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        let units: Vec<_> = self.suite.programs().map(|program| self.unit(program)).collect();
        let passed = units.iter().filter(|unit| progress.runs(unit) > 0).count();
        (passed, units.iter().map(|unit| progress.count(unit, SECONDS)).sum())
    }

    /// Runs what has not passed yet as long as there is time, and keeps what the tests said.
    fn go_on(&self, log: &Path, in_time: &(dyn Fn() -> bool + Sync)) -> Result<(), String> {
        let text = |error: std::io::Error| format!("{}: {error}", log.display());
        if let Some(folder) = log.parent() {
            fs::create_dir_all(folder).map_err(text)?;
        }
        let file = OpenOptions::new().create(true).append(true).open(log).map_err(text)?;
        let is_wanted = |program: &str| in_time() && !self.has_passed(program);
        let tell = |ended: &Ended<'_>| {
            let seconds = ended.time.as_secs();
            println!("  {}, {seconds} s: {}", ended.name, ended.failure.unwrap_or(PASSED));
            // The verdict does not need it.
            drop((&file).write_all(format!("{ended}\n").as_bytes()));
            if ended.failure.is_none() {
                let counts = Counts::from([(SECONDS.to_owned(), seconds)]);
                let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
                if let Err(error) = progress.done(&self.unit(ended.name), SEED, &counts, self.file) {
                    eprintln!("{error}");
                }
            }
        };
        let prepare = |_: &str, test: &mut Command| {
            test.env(GATEWAY_ARGUMENTS_VARIABLE, self.arguments);
        };
        self.suite.run(&prepare, &is_wanted, &tell)
    }
}

/// The arguments of the gateways, in the order in which they take their turn.
fn combinations(offloads: &[String], threads: &[u8]) -> Vec<String> {
    let with = |threads| offloads.iter().map(move |off| format!("--offload {off} --threads {threads}"));
    threads.iter().flat_map(with).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_offload_is_off_alone_with_each_number_of_lanes() {
        let all = combinations(&OFFLOADS.map(str::to_owned), &THREADS);
        assert_eq!(all.len(), 21);
        assert_eq!(all[0], "--offload all=on --threads 1");
        assert!(all.contains(&"--offload udp-gso=off --threads 4".to_owned()));
    }
}
