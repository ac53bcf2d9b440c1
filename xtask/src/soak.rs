//! `cargo xtask soak`: what takes minutes to hours.

mod decrypt;

use clap::{Args, Subcommand};

/// What to run.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Has tshark decrypt 100 rekeys and 200,000 packets, on a virtual wire and on a real one (K4).
    Decrypt(decrypt::Options),
}

/// Runs it.
pub(crate) fn run(options: &Options) -> Result<(), String> {
    match &options.what {
        What::Decrypt(options) => decrypt::run(options),
    }
}
