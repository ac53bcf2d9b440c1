//! `cargo xtask test`: every check of the workspace, in stages, each with its time.
//!
//! A stage that cannot run says so and counts as skipped; with `CI` in the environment the namespace tests may not be
//! skipped. The last line is the account of the stages.

mod bare_metal;
mod citations;
mod disassembly;
mod features;
pub(crate) mod namespaces;
mod no_std;
mod package;
pub(crate) mod portable;
mod secrets;

use std::time::Instant;

use clap::Args;

use crate::cargo::{self, command};
use crate::install;

/// Which stages to run.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Runs this stage alone; may be given several times.
    #[arg(long = "only", value_name = "STAGE", value_parser = names())]
    only: Vec<String>,
}

/// What came of a stage that did not fail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It ran, and all was well.
    Passed,
    /// It could not run here, for this reason.
    Skipped(String),
}

type Stage = (&'static str, fn() -> Result<Outcome, String>);

/// The stages in their order: the quick ones first.
const STAGES: [Stage; 20] = [
    ("fmt", fmt),
    ("clippy", clippy),
    ("doc", doc),
    ("citations", citations::run),
    ("test", test),
    ("loom", loom),
    ("doctest", doctest),
    ("benches", benches),
    ("features", features::run),
    ("no-std", no_std::run),
    ("portable", portable::run),
    ("bare-metal", bare_metal::run),
    ("package", package::run),
    ("oldest", package::oldest),
    ("deny", deny),
    ("decrypt", secrets::decrypt),
    ("memory", secrets::memory),
    ("constant-time", secrets::constant_time),
    ("instructions", secrets::instructions),
    ("netns", namespaces::run),
];

/// The package whose tests are the stage `netns`.
const NAMESPACE_PACKAGE: &str = "wg-netns";

fn names() -> Vec<&'static str> {
    STAGES.iter().map(|(name, _)| *name).collect()
}

/// Runs the stages and prints their account.
pub(crate) fn run(options: &Options) -> Result<(), String> {
    let wanted = |name: &str| options.only.is_empty() || options.only.iter().any(|only| only == name);
    install::components();
    if wanted("netns") {
        install::programs(&[&install::NAMESPACES, &install::WIREGUARD, &install::TRAFFIC]);
    }
    if wanted("netns") || wanted("decrypt") {
        install::programs(&[&install::DECRYPTION]);
    }
    if wanted("constant-time") {
        install::programs(&[&install::CONSTANT_TIME]);
    }
    let mut account = Vec::new();
    for (name, stage) in STAGES.into_iter().filter(|(name, _)| wanted(name)) {
        println!("\n=== {name}");
        let start = Instant::now();
        let result = stage();
        let line = match &result {
            Ok(Outcome::Passed) => "passed".to_owned(),
            Ok(Outcome::Skipped(reason)) => format!("skipped: {reason}"),
            Err(error) => format!("FAILED: {error}"),
        };
        let line = format!("{name:<13} {:>6.1} s  {line}", start.elapsed().as_secs_f64());
        println!("--- {line}");
        account.push((line, result));
    }
    println!("\n=== account");
    for (line, _) in &account {
        println!("{line}");
    }
    let count = |fits: fn(&Result<Outcome, String>) -> bool| account.iter().filter(|(_, r)| fits(r)).count();
    let (failed, skipped) = (count(Result::is_err), count(|r| matches!(r, Ok(Outcome::Skipped(_)))));
    let passed = account.len() - failed - skipped;
    let skipped = if skipped == 0 { String::new() } else { format!(", {skipped} skipped") };
    println!("\n{passed} passed, {failed} failed{skipped}");
    if failed == 0 { Ok(()) } else { Err("Not every stage passed.".into()) }
}

/// Whether this runs for a verdict, and not for somebody who sees what was skipped.
pub(crate) fn is_ci() -> bool {
    std::env::var_os("CI").is_some_and(|value| !value.is_empty() && value != "false")
}

fn passed(arguments: &[&str]) -> Result<Outcome, String> {
    cargo::run(&mut command(arguments)).map(|()| Outcome::Passed)
}

fn fmt() -> Result<Outcome, String> {
    passed(&["fmt", "--all", "--check"])
}

fn clippy() -> Result<Outcome, String> {
    passed(&["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"])
}

fn doc() -> Result<Outcome, String> {
    let mut doc = command(&["doc", "--quiet", "--workspace", "--no-deps"]);
    cargo::run(doc.env("RUSTDOCFLAGS", "-D warnings")).map(|()| Outcome::Passed)
}

/// Unit, property and vector tests: all but those in namespaces, whose harness has unit tests of its own.
fn test() -> Result<Outcome, String> {
    passed(&[
        "test",
        "--workspace",
        "--exclude",
        NAMESPACE_PACKAGE,
        "--lib",
        "--bins",
        "--tests",
        "--examples",
    ])?;
    passed(&["test", "--package", NAMESPACE_PACKAGE, "--lib"])
}

fn doctest() -> Result<Outcome, String> {
    passed(&["test", "--workspace", "--doc"])
}

/// The parts that cores share, in every interleaving, with assertions. All crates are built with the flag, so in a directory of
/// their own.
fn loom() -> Result<Outcome, String> {
    let mut test =
        command(&["test", "--package", "wg-sched", "--profile", "soak", "--lib", "--", "interleavings"]);
    test.env("RUSTFLAGS", "--cfg loom")
        .env("CARGO_TARGET_DIR", cargo::root().join("target/loom"))
        .envs([("CARGO_PROFILE_SOAK_LTO", "off"), ("CARGO_PROFILE_SOAK_DEBUG", "0")]);
    cargo::run(&mut test).map(|()| Outcome::Passed)
}

/// Each bench is built and runs once, without measuring.
fn benches() -> Result<Outcome, String> {
    passed(&["test", "--package", "wg-benches", "--benches"])
}

fn deny() -> Result<Outcome, String> {
    let installed = command(&["deny", "--version"]).output().is_ok_and(|output| output.status.success());
    if !installed {
        return Ok(Outcome::Skipped("cargo-deny is not installed (`cargo install cargo-deny`)".into()));
    }
    // The advisories come over the network; the rest is ours to keep.
    passed(&["deny", "--workspace", "check", "bans", "licenses", "sources"])
}
