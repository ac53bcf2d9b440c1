//! `cargo xtask fuzz`: runs every target of `fuzz/`, and tells what came of it.
//!
//! The targets run with libFuzzer on the nightly toolchain, two at a time on two cores. The time that is given is that of all
//! of them together. What they find of new ways goes to `fuzz/corpus`, which git does not see; `--keep` puts the least set
//! that goes the same ways to `fuzz/seeds`, which it does. Without a sanitizer by default: the code under test is safe Rust,
//! and runs three times as fast.

mod coverage;
mod planted;
mod run;
pub(crate) mod toolchain;

use core::time::Duration;
use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::cargo;

/// What to fuzz.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Options {
    #[command(subcommand)]
    task: Option<Task>,
    /// The time for all targets together, in minutes.
    #[arg(long, default_value_t = 10.0, value_name = "N")]
    minutes: f64,
    /// Runs this target alone; may be given several times.
    #[arg(long = "target", value_name = "TARGET")]
    targets: Vec<String>,
    /// Adds what was found to the seeds, minimised.
    #[arg(long)]
    keep: bool,
    /// The sanitizer: none, address, and what else cargo-fuzz knows.
    #[arg(long, default_value = "none", value_name = "NAME")]
    sanitizer: String,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Writes the inputs that the code generates to the seeds.
    Seeds,
    /// Shows which lines and functions the seeds and the corpus reach, target by target.
    Coverage(Only),
    /// Plants a bug for each target in a copy of the tree, and expects it to be found.
    Planted(Bounded),
}

#[derive(Debug, Args)]
struct Only {
    /// This target alone; may be given several times.
    #[arg(long = "target", value_name = "TARGET")]
    targets: Vec<String>,
}

#[derive(Debug, Args)]
struct Bounded {
    /// This target alone; may be given several times.
    #[arg(long = "target", value_name = "TARGET")]
    targets: Vec<String>,
    /// The time for each target, in seconds.
    #[arg(long, default_value_t = 60, value_name = "N")]
    seconds: u64,
}

/// A target, as the bodies list it.
#[derive(Clone, Debug)]
struct Target {
    name: String,
    dictionary: Option<String>,
    max_len: String,
    /// The files it is there to reach.
    reaches: Vec<String>,
}

/// Runs the task.
pub(crate) fn run(options: &Options) -> Result<(), String> {
    match &options.task {
        None => {
            if !(options.minutes > 0.0 && options.minutes.is_finite()) {
                return Err("--minutes: more than none".into());
            }
            let targets = targets(&options.targets)?;
            toolchain::fuzzer()?;
            let time = Duration::from_secs_f64(options.minutes * 60.0);
            run::run(&targets, time, options.keep, &options.sanitizer)
        }
        Some(Task::Seeds) => bodies(&["seeds", &path("seeds").to_string_lossy()]).map(drop),
        Some(Task::Coverage(only)) => coverage::run(&targets(&only.targets)?),
        Some(Task::Planted(bounded)) => {
            let targets = targets(&bounded.targets)?;
            toolchain::fuzzer()?;
            planted::run(&targets, Duration::from_secs(bounded.seconds))
        }
    }
}

/// A place in `fuzz/`.
fn path(below: &str) -> PathBuf {
    let fuzz = cargo::root().join("fuzz");
    // Without the way round by the manifest of this program.
    fuzz.canonicalize().unwrap_or(fuzz).join(below)
}

/// Runs the program of the bodies and returns what it prints.
fn bodies(arguments: &[&str]) -> Result<String, String> {
    let mut run = cargo::command(&["run", "--quiet", "--package", "wg-fuzz", "--"]);
    let output = run.args(arguments).stderr(std::process::Stdio::inherit()).output();
    match output {
        Ok(output) if output.status.success() => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        Ok(output) => Err(format!("wg-fuzz: {}", output.status)),
        Err(error) => Err(format!("cargo: {error}")),
    }
}

/// All targets, or those named.
fn targets(named: &[String]) -> Result<Vec<Target>, String> {
    let all: Vec<Target> = bodies(&["list"])?
        .lines()
        .filter_map(|line| {
            let mut columns = line.split('\t').map(str::to_owned);
            let (name, dictionary) = (columns.next()?, columns.next()?);
            Some(Target {
                name,
                dictionary: (dictionary != "-").then_some(dictionary),
                max_len: columns.next()?,
                reaches: columns.next()?.split(' ').map(str::to_owned).collect(),
            })
        })
        .collect();
    if let Some(unknown) = named.iter().find(|name| all.iter().all(|target| target.name != **name)) {
        let names: Vec<&str> = all.iter().map(|target| &*target.name).collect();
        return Err(format!("there is no target {unknown}; there are {}", names.join(", ")));
    }
    Ok(all.into_iter().filter(|target| named.is_empty() || named.contains(&target.name)).collect())
}
