//! `cargo xtask soak`: what takes minutes to hours. By itself the fault matrix of the simulator; what needs a kernel or
//! another program by name.

mod address;
mod black_hole;
mod decrypt;
mod flood;
mod host;
mod interop;
mod matrix;
mod model;
mod offloads;
mod progress;
mod thread_sanitizer;
mod timing;

use clap::{Args, Subcommand};

use crate::test::{Outcome, portable};

/// What to run.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Options {
    #[command(subcommand)]
    what: Option<What>,
    #[command(flatten)]
    matrix: matrix::Options,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Floods a gateway, and wireguard-go by turns, and shows what traffic, newcomers and memory come to (H1-H5).
    Flood(flood::Options),
    /// Kills, moves, reconfigures and fills gateways on a real kernel, resumable (R1-R5, L1).
    Host(host::Options),
    /// Runs the suite in namespaces without each offload, on one lane, two and four, resumable.
    Offloads(offloads::Options),
    /// Runs the tests of pairs in namespaces with boringtun and gotatun in place of wireguard-go.
    Interop(interop::Options),
    /// Has tshark decrypt 100 rekeys and 200,000 packets, on a virtual wire and on a real one (K4).
    Decrypt(decrypt::Options),
    /// Runs the tests of wg-aead and its fuzz inputs with AddressSanitizer, on nightly.
    Address,
    /// Runs what has threads that share memory with ThreadSanitizer, on nightly: `wg-sched`, shared homes, gateways.
    ThreadSanitizer,
    /// Runs the tests of `wg-proto` and `wg-datapath` on an emulated aarch64.
    Arm,
    /// Measures whether the time that wg-aead takes tells of its secrets, and asks a t-test.
    Timing(timing::Options),
    /// Explores every interleaving of two peers to a depth.
    Model(model::Options),
    /// Has homes begin on one core of the virtual machine, and looks for 10,000,000 events and more whether they go back there.
    BlackHole(black_hole::Options),
}

/// Runs it.
pub(crate) fn run(options: &Options) -> Result<(), String> {
    match &options.what {
        None => matrix::run(&options.matrix),
        Some(What::Flood(options)) => flood::run(options),
        Some(What::Host(options)) => host::run(options),
        Some(What::Offloads(options)) => offloads::run(options),
        Some(What::Interop(options)) => interop::run(options),
        Some(What::Decrypt(options)) => decrypt::run(options),
        Some(What::Address) => address::run(),
        Some(What::ThreadSanitizer) => thread_sanitizer::run(),
        Some(What::Timing(options)) => timing::run(options),
        Some(What::Model(options)) => model::run(options),
        Some(What::BlackHole(options)) => black_hole::run(options),
        Some(What::Arm) => match portable::arm()? {
            Outcome::Passed => Ok(()),
            Outcome::Skipped(reason) => Err(reason),
        },
    }
}
