//! `cargo xtask bench NAME`: measures, prints a table and takes `--json FILE`.

mod peers;
mod quick;
mod strategies;

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use wg_netns::{Program, Requirements};

use crate::cargo::{self, Profile};
use crate::install;
use crate::report::{self, Row};

/// What to measure.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The bench.
    #[arg(value_enum)]
    name: Name,
    /// Also writes the rows to this file, as a JSON array.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// How many rounds; the subjects take turns in each. `quick` takes 3 if nothing is said, `peers` and `strategies` 5.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: Option<u32>,
    /// `aead` for these lengths only, as `64,1420`.
    #[arg(long, value_name = "BYTES")]
    lengths: Option<String>,
    /// `aead` for batches of these sizes only, as `1,64`.
    #[arg(long, value_name = "PACKETS")]
    batches: Option<String>,
    /// `aead` by these backends and libraries only, by parts of their names, as `avx512,rustcrypto`; and by `ring`.
    #[arg(long, value_name = "NAMES")]
    backends: Option<String>,
    #[command(flatten)]
    peers: peers::Choice,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Name {
    /// A TCP stream and small packets through two gateways in namespaces, beside wireguard-go.
    Quick,
    /// The gateway beside wireguard-go, boringtun and gotatun: TCP, UDP, overload, echo requests, handshakes.
    Peers,
    /// What the kernel and the memory of this machine cost: system calls with and without offloads, copies, other cores.
    Io,
    /// The datapath from memory to memory, without the kernel, on one core: nanoseconds per packet by stage, allocations.
    Stages,
    /// All strategies of `wg-sched`: from memory to memory, what a hand-off costs, and TCP through two gateways.
    Strategies,
    /// ChaCha20-Poly1305 by every backend of `wg-aead`, `ring`, `aws-lc-rs` and RustCrypto, by length and batch.
    Aead,
    /// Sealing and opening packets.
    Crypto,
    /// The handshake.
    Handshake,
    /// Looking up allowed IPs.
    AllowedIps,
}

/// Runs a bench.
pub(crate) fn run(options: &Options) -> Result<(), String> {
    match options.name {
        Name::Quick | Name::Peers | Name::Strategies if cfg!(debug_assertions) => {
            return cargo::again_in_release();
        }
        Name::Peers => return peers::run(&options.peers, options.rounds, options.json.as_deref()),
        Name::Strategies => {
            let choice = &options.peers;
            let files = [options.json.as_deref(), choice.markdown.as_deref()];
            return strategies::run(options.rounds, choice.seconds, files, choice.record);
        }
        Name::Quick => {}
        _ => return micro(options),
    }
    install::programs(&[&install::NAMESPACES, &install::WIREGUARD, &install::TRAFFIC]);
    let requirements =
        Requirements::check().and_program("ping", "iputils-ping").and_program("wireguard-go", "wireguard-go");
    if !requirements.missing().is_empty() {
        return Err(format!("The bench needs:\n  {}", requirements.missing().join("\n  ")));
    }
    Program::gateway_is_at(cargo::build_gateway(Profile::Release)?);
    let rows = quick::run(options.rounds.unwrap_or(3))?;
    finish(&rows, options)
}

fn finish(rows: &[Row], options: &Options) -> Result<(), String> {
    quick::print(rows);
    match &options.json {
        Some(path) => report::write_json(path, rows),
        None => Ok(()),
    }
}

/// The micro benches are a program of their own, which knows the crates from inside.
fn micro(options: &Options) -> Result<(), String> {
    let name = options.name.to_possible_value().ok_or("no name")?;
    let program = match options.name {
        Name::Io => "wg-io",
        Name::Stages => "wg-stages",
        _ => "wg-micro",
    };
    let mut run =
        cargo::command(&["run", "--quiet", "--release", "--package", "wg-benches", "--bin", program, "--"]);
    if program == "wg-micro" {
        run.arg(name.get_name());
    }
    if let Some(rounds) = options.rounds {
        run.arg("--rounds").arg(rounds.to_string());
    }
    for (option, value) in
        [("--lengths", &options.lengths), ("--batches", &options.batches), ("--backends", &options.backends)]
    {
        if let Some(value) = value {
            run.args([option, value]);
        }
    }
    if let Some(path) = &options.json {
        run.arg("--json").arg(std::path::absolute(path).map_err(|error| error.to_string())?);
    }
    cargo::run(&mut run)
}
