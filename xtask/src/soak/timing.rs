//! `cargo xtask soak timing`: two classes of secrets by turns through each kernel of `wg-aead`, and a t-test of what they took.
//!
//! By hand and on a quiet machine: a verdict by clocks is none for every day.

use clap::Args;

use crate::cargo;

/// How much to measure.
#[derive(Debug, Args)]
pub(super) struct Options {
    /// How many measurements each comparison takes.
    #[arg(long, default_value_t = 100_000, value_name = "N")]
    measurements: usize,
}

/// Runs it.
pub(super) fn run(options: &Options) -> Result<(), String> {
    let mut run =
        cargo::command(&["run", "--quiet", "--release", "--package", "wg-secrets", "--bin", "wg-timing"]);
    cargo::run(run.arg("--").arg(options.measurements.to_string()))
}
