//! `cargo xtask soak`: the fault matrix of the simulator for hours, on every core, until its full volume is reached.
//!
//! Each unit, a row and a seed, is a process of its own, so that one that dies takes nothing with it. What was done is
//! written down after each: a second run goes on with the seeds that are left.

use core::time::Duration;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use clap::Args;

use crate::cargo::{self, command};
use crate::report::print_table;
use crate::soak::progress::{Counts, Progress};

/// How long, and what.
#[derive(Debug, Args)]
#[group(id = "matrix")]
pub(crate) struct Options {
    /// Ends after this time, or when the full volume is reached.
    #[arg(long, default_value_t = 1.0)]
    hours: f64,
    /// Where to keep what was done; a second run goes on from there.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// The seed of the first unit.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Runs these rows alone, as in `S1,S2`.
    #[arg(long, value_name = "ROWS", value_delimiter = ',')]
    rows: Vec<String>,
    /// Units at the same time; as many as there are cores if it is not given.
    #[arg(long)]
    jobs: Option<usize>,
}

/// A row: its name, its full volume, and the counters that it is measured by together.
type Row = (&'static str, u64, &'static [&'static str]);

/// The rows of conformance 5.3 that are simulated.
const ROWS: [Row; 10] = [
    ("S1", 100_000_000, &["packets"]),
    ("S2", 100_000_000, &["packets"]),
    ("S3", 50_000_000, &["faults_corrupt", "faults_mangle"]),
    ("S4", 20_000_000, &["faults_replay"]),
    ("S5", 20_000_000, &["handshakes"]),
    ("S6", 10_000, &["trials"]),
    ("S7", 100_000, &["trials"]),
    ("S8", 1_000_000_000, &["steps", "ops"]),
    ("S9", 1_000, &["trials"]),
    ("A1", 30_000_000, &["faults_forge"]),
];

/// What the units share.
struct Shared {
    progress: Progress,
    /// The row that is next.
    turn: usize,
    failures: Vec<String>,
}

/// Runs units until the time is over, the volume is reached, or something was broken.
pub(crate) fn run(options: &Options) -> Result<(), String> {
    if let Some(unknown) = options.rows.iter().find(|name| ROWS.iter().all(|(row, ..)| row != name)) {
        return Err(format!("{unknown}: no such row"));
    }
    let rows: Vec<Row> = ROWS
        .into_iter()
        .filter(|(name, ..)| options.rows.is_empty() || options.rows.iter().any(|only| only == name))
        .collect();
    let worker = build()?;
    let dir = options
        .dir
        .clone()
        .map_or_else(|| cargo::target_directory().map(|dir| dir.join("soak-progress")), Ok)?;
    let file = dir.join("progress.json");
    let shared = Mutex::new(Shared { progress: Progress::load(&file)?, turn: 0, failures: Vec::new() });
    let jobs = match options.jobs {
        Some(jobs) => jobs.max(1),
        None => std::thread::available_parallelism().map_or(1, usize::from),
    };
    let end =
        Instant::now() + Duration::try_from_secs_f64(options.hours * 3600.0).map_err(|e| e.to_string())?;
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                while Instant::now() < end {
                    let Some((row, seed)) = next_unit(&mut lock(&shared), &rows, options.seed) else {
                        return;
                    };
                    let result = unit(&worker, row, seed);
                    let shared = &mut *lock(&shared);
                    let kept = match result {
                        Ok(counts) => shared.progress.done(row, seed, &counts, &file),
                        Err(failure) => Err(failure),
                    };
                    if let Err(failure) = kept {
                        shared.failures.push(failure);
                    }
                }
            });
        }
    });
    let shared = shared.into_inner().unwrap_or_else(PoisonError::into_inner);
    print_account(&rows, &shared.progress);
    println!("\nkept in {}", file.display());
    if shared.failures.is_empty() {
        return Ok(());
    }
    Err(shared.failures.join("\n\n"))
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

fn build() -> Result<PathBuf, String> {
    let mut build = command(&["build", "--profile", "soak", "--package", "wg-sim", "--example", "soak"]);
    cargo::executables(&mut build)?.pop().map(|(_, path)| path).ok_or_else(|| "cargo built no worker".into())
}

/// The next unit: rows take turns, each until its volume is reached.
fn next_unit(shared: &mut Shared, rows: &[Row], first: u64) -> Option<(&'static str, u64)> {
    if !shared.failures.is_empty() {
        return None;
    }
    for _ in rows {
        let (name, volume, counters) = rows[shared.turn % rows.len()];
        shared.turn += 1;
        if shared.progress.volume(name, counters) < volume {
            return Some((name, shared.progress.take(name, first)));
        }
    }
    None
}

/// Runs a unit and returns its counters.
fn unit(worker: &Path, row: &str, seed: u64) -> Result<Counts, String> {
    let mut unit = Command::new(worker);
    unit.args([row, &seed.to_string()]).stdin(Stdio::null());
    let output = unit.output().map_err(|error| format!("{}: {error}", worker.display()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    if output.status.success() {
        let counts: Option<Counts> = text.lines().map(read_counter).collect();
        return counts.ok_or_else(|| format!("{row} with seed {seed}: not as expected: {text}"));
    }
    let (what, script) = text.split_once("script\n").unwrap_or((&text, ""));
    let mut failure = format!("{row} with seed {seed}: {}\n{}\n{script}", output.status, what.trim_end());
    if what.is_empty() {
        failure += &String::from_utf8_lossy(&output.stderr);
    }
    if !script.is_empty() {
        let kept = cargo::root().join(format!("wg-sim/tests/regressions/{row}-{seed}.script").to_lowercase());
        std::fs::write(&kept, script).map_err(|error| format!("{}: {error}", kept.display()))?;
        failure += &format!("kept as {}", kept.display());
    }
    Err(failure)
}

fn read_counter(line: &str) -> Option<(String, u64)> {
    let (name, count) = line.split_once(' ')?;
    Some((name.to_owned(), count.parse().ok()?))
}

/// Prints what was done, row by row.
fn print_account(rows: &[Row], progress: &Progress) {
    let columns = ["packets", "delivered", "datagrams", "handshakes", "unexplained"];
    let faults = [
        "loss",
        "duplicate",
        "reorder",
        "corrupt",
        "replay",
        "mangle",
        "forge",
        "configuration",
        "clock",
        "rebind",
    ];
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let mut first = vec![[names(&["row", "runs"]), names(&columns), names(&["volume", "of"])].concat()];
    let mut second = vec![[names(&["faults"]), names(&faults)].concat()];
    for (name, volume, counters) in rows {
        let count = |counter: &str| progress.count(name, counter).to_string();
        let mut line = vec![(*name).to_owned(), progress.runs(name).to_string()];
        line.extend(columns.iter().map(|counter| count(counter)));
        let reached = progress.volume(name, counters);
        line.extend([format!("{:.2} %", reached as f64 * 100.0 / *volume as f64), volume.to_string()]);
        first.push(line);
        let mut line = vec![(*name).to_owned()];
        line.extend(faults.iter().map(|fault| count(&format!("faults_{fault}"))));
        second.push(line);
    }
    println!();
    print_table(&first);
    println!();
    print_table(&second);
}
