//! `cargo xtask soak`: what takes minutes to hours.

mod decrypt;
mod flood;

use clap::{Args, Subcommand};

/// What to run.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Floods a gateway, and wireguard-go by turns, and shows what traffic, newcomers and memory come to (H1-H5).
    Flood(flood::Options),
    /// Has tshark decrypt 100 rekeys and 200,000 packets, on a virtual wire and on a real one (K4).
    Decrypt(decrypt::Options),
}

/// Runs it.
pub(crate) fn run(options: &Options) -> Result<(), String> {
    match &options.what {
        What::Flood(options) => flood::run(options),
        What::Decrypt(options) => decrypt::run(options),
    }
}
