//! `cargo xtask soak black-hole`: whether homes that begin on one core are level soon and stay so, for millions of events.

use clap::Args;

use crate::cargo::{self, command};

/// For how long, and how often.
#[derive(Debug, Args)]
#[group(id = "black-hole")]
pub(crate) struct Options {
    /// Events of a run.
    #[arg(long, default_value_t = 10_000_000)]
    events: u64,
    /// Runs of each strategy.
    #[arg(long, default_value_t = 8)]
    seeds: u64,
    /// The first seed.
    #[arg(long = "seed", default_value_t = 1)]
    first: u64,
}

/// Runs it.
pub(crate) fn run(options: &Options) -> Result<(), String> {
    let mut check = command(&[
        "run",
        "--profile",
        "soak",
        "--quiet",
        "--package",
        "wg-sim",
        "--example",
        "black_hole",
        "--",
    ]);
    for (name, value) in [("--events", options.events), ("--seeds", options.seeds), ("--seed", options.first)]
    {
        check.args([name, &value.to_string()]);
    }
    cargo::run(&mut check)
}
