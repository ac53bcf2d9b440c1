//! The firmware: it is built, weighed, searched for ways to panic, and run in an emulator against a gateway.

mod binutils;
mod board;
mod flash;
mod panics;

use std::path::{Path, PathBuf};

use crate::cargo::{self, Profile};
use crate::debian::{self, Target};
use crate::install::{self, Program};
use crate::test::{Outcome, is_ci};

/// The workspace of the firmware.
const FOLDER: &str = "examples/bare-metal";
/// Its manifest.
const MANIFEST: &str = "examples/bare-metal/Cargo.toml";

/// What runs the firmware.
const EMULATOR: Program = ("qemu-system-arm", "qemu-system-arm");

const TARGET: Target = Target { triple: "thumbv7em-none-eabihf", linker: binutils::LINKER.0, runner: "" };

/// What the firmware may take at most, in bytes.
mod budget {
    /// Flash for the protocol: code and constants. Aim of the design: 64 KiB.
    pub(super) const PROTOCOL_FLASH: usize = 36 * 1024;
    /// Flash for the whole firmware.
    pub(super) const FIRMWARE_FLASH: usize = 48 * 1024;
    /// RAM for a peer, the queue of its answers included. Aim of the design: 4 KiB without buffers.
    pub(super) const PEER_RAM: usize = 3072;
    /// Static RAM of the firmware: the peer, a datagram in, a datagram out, and the ring of the serial line.
    pub(super) const STATIC_RAM: usize = 8 * 1024 + 512;
    /// The deepest stack from the first session on.
    pub(super) const STACK: usize = 6 * 1024;
    /// The deepest stack before, while the peer is made and moved to its place.
    pub(super) const START_STACK: usize = 10 * 1024;
}

/// Runs the stage.
pub(super) fn run() -> Result<Outcome, String> {
    let needed = [&debian::RUST[..], &binutils::ALL, &[EMULATOR], &install::NAMESPACES];
    install::programs(&needed);
    let missing = debian::missing(&needed);
    if !missing.is_empty() {
        let missing = format!("missing packages: {}", missing.join(" "));
        return if is_ci() { Err(missing) } else { Ok(Outcome::Skipped(missing)) };
    }
    on_this_machine()?;
    build_aead()?;
    let firmware = build("release", &["wg-bare-metal", "probe"])?;
    let proven = build("prove", &["probe"])?;
    let mut rows = flash::weigh(&firmware[0], &firmware[1])?;
    panics::check(&proven[0])?;
    rows.extend(board::run(&firmware[0])?);
    tell(&rows)
}

/// A figure and what it may be at most; nothing, if it is only to be told.
struct Row {
    name: String,
    bytes: usize,
    budget: Option<usize>,
}

fn tell(rows: &[Row]) -> Result<Outcome, String> {
    println!("\n{:<58}{:>8}{:>10}", "", "bytes", "budget");
    let mut over = Vec::new();
    for row in rows {
        let budget = row.budget.map(|budget| budget.to_string()).unwrap_or_default();
        println!("{:<58}{:>8}{budget:>10}", row.name, row.bytes);
        if row.budget.is_some_and(|budget| row.bytes > budget) {
            over.push(row.name.trim());
        }
    }
    if over.is_empty() { Ok(Outcome::Passed) } else { Err(format!("over budget: {}", over.join(", "))) }
}

/// What can be checked without the board: the form of all of it, and the tests of what is the same on every machine.
fn on_this_machine() -> Result<(), String> {
    let target = cargo::target_directory()?.join("bare-metal");
    cargo::run(&mut cargo::command(&["fmt", "--check", "--manifest-path", MANIFEST]))?;
    let mut clippy = cargo::command(&["clippy", "--quiet", "--locked", "--lib", "--tests"]);
    clippy.args(["--manifest-path", MANIFEST, "--target-dir"]).arg(&target);
    cargo::run(clippy.args(["--", "-D", "warnings"]))?;
    let mut test = cargo::command(&["test", "--quiet", "--locked", "--lib"]);
    cargo::run(test.args(["--manifest-path", MANIFEST, "--target-dir"]).arg(&target))
}

/// Builds programs of the firmware and returns where they are.
fn build(profile: &str, programs: &[&str]) -> Result<Vec<PathBuf>, String> {
    let mut build = debian::command("build", &[TARGET], "core")?;
    build.current_dir(cargo::root().join(FOLDER)).args(["--quiet", "--locked", "--profile", profile]);
    // Of its own code no warning may pass; no other check sees the files of the board.
    build.arg("-Zwarnings").env("CARGO_BUILD_WARNINGS", "deny");
    for program in programs {
        build.args(["--bin", program]);
    }
    cargo::run(&mut build)?;
    let folder = cargo::target_directory()?.join("debian").join(TARGET.triple).join(profile);
    Ok(programs.iter().map(|program| folder.join(program)).collect())
}

/// Builds the AEAD for batches, which the firmware does not use, for the processor of the board.
fn build_aead() -> Result<(), String> {
    let mut build = debian::command("build", &[TARGET], "core")?;
    build.args(["--quiet", "--locked", "--package", "wg-aead", "--no-default-features"]);
    cargo::run(build.arg("-Zwarnings").env("CARGO_BUILD_WARNINGS", "deny"))
}

/// Builds the program that puts the datagrams of the board on the network.
fn build_bridge() -> Result<PathBuf, String> {
    let mut build = cargo::command(&["build", "--package", "wg-serial-bridge"]);
    let built = cargo::executables(&mut build)?.pop();
    built.map(|(_, path)| path).ok_or_else(|| "cargo built no bridge".into())
}

/// Builds the gateway that the board talks to.
fn build_gateway() -> Result<PathBuf, String> {
    cargo::build_gateway(Profile::Dev)
}

/// Reads a file of the workspace.
fn read(path: &str) -> Result<String, String> {
    std::fs::read_to_string(cargo::root().join(Path::new(path))).map_err(|error| format!("{path}: {error}"))
}
