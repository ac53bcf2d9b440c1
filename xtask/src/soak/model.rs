//! `cargo xtask soak model`: the bounded model check of two peers, deeper than the tests go.

use clap::Args;

use crate::cargo::{self, command};

/// How deep, and from where.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Actions in a row, at most.
    #[arg(long, default_value_t = 7)]
    depth: u8,
    /// Begins with this scenario alone.
    #[arg(long, value_name = "NAME")]
    scenario: Option<String>,
    /// Jitter of the two hosts, in thousandths of its maximum.
    #[arg(long, num_args = 2, value_names = ["A", "B"])]
    jitter: Option<Vec<u16>>,
    /// Sees one state in so many recover.
    #[arg(long, default_value_t = 512, value_name = "N")]
    recover_every: u64,
}

/// Runs it.
pub(crate) fn run(options: &Options) -> Result<(), String> {
    let mut check =
        command(&["run", "--release", "--quiet", "--package", "wg-sim", "--example", "model", "--"]);
    check.args(["--depth", &options.depth.to_string()]);
    check.args(["--recover-every", &options.recover_every.to_string()]);
    if let Some(scenario) = &options.scenario {
        check.args(["--scenario", scenario]);
    }
    if let Some(jitter) = &options.jitter {
        check.arg("--jitter").args(jitter.iter().map(u16::to_string));
    }
    cargo::run(&mut check)
}
