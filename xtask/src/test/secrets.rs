//! What becomes of secrets: tshark decrypts what they should, no memory keeps them, no branch depends on them.

use wg_netns::requirements::{REQUIRED_VARIABLE, Requirements};

use crate::cargo::{self, command};
use crate::test::{Outcome, disassembly, is_ci};

/// The package that holds these checks.
const PACKAGE: &str = "wg-secrets";
const MEMORY_SCAN: &str = "wg-memory-scan";
const CONSTANT_TIME: &str = "wg-constant-time";

/// Builds without vector code, as on a processor that has none, so that this is looked at too.
const PORTABLE: &str = "--cfg chacha20_backend=\"soft\" --cfg poly1305_backend=\"soft\" \
                        --cfg curve25519_dalek_backend=\"serial\"";

/// The stage `decrypt`: a virtual wire, and what a program built with the key log holds. The real wire is in `netns`.
pub(super) fn decrypt() -> Result<Outcome, String> {
    if let Some(skipped) = without("tshark", wg_netns::tshark::PACKAGE)? {
        return Ok(skipped);
    }
    let mut test = command(&["test", "--package", PACKAGE, "--features", "key-log", "--test", "decrypt"]);
    cargo::run(test.env(REQUIRED_VARIABLE, "1"))?;
    let mut gateway = command(&["test", "--package", "wg-gateway", "--features", "key-log"]);
    cargo::run(gateway.args(["--lib", "--test", "program", "key_log"]))?;
    let lints = ["clippy", "--quiet", "--package", PACKAGE, "--features", "key-log", "--all-targets"];
    cargo::run(command(&lints).args(["--", "-D", "warnings"]))?;
    Ok(Outcome::Passed)
}

/// The stage `memory`: a release build is looked through, as the compiler decides what is left where.
pub(super) fn memory() -> Result<Outcome, String> {
    cargo::run(
        command(&["run", "--quiet", "--release", "--package", PACKAGE, "--bin", MEMORY_SCAN]).args(["--"]),
    )?;
    Ok(Outcome::Passed)
}

/// The stage `constant-time`: with the vector code that this processor has, and without.
pub(super) fn constant_time() -> Result<Outcome, String> {
    if !cfg!(target_arch = "x86_64") {
        return Ok(Outcome::Skipped("the marks for valgrind are instructions of x86-64".into()));
    }
    if let Some(skipped) = without("valgrind", "valgrind libc6-dbg")? {
        return Ok(skipped);
    }
    let run = ["run", "--quiet", "--release", "--package", PACKAGE, "--bin", CONSTANT_TIME];
    println!("with what this processor has");
    cargo::run(&mut command(&run))?;
    println!("without vector code");
    let target = cargo::target_directory()?.join("portable");
    let mut portable = command(&run);
    portable
        .env("RUSTFLAGS", PORTABLE)
        .env("CARGO_PROFILE_RELEASE_LTO", "false")
        .env("WG_WITHOUT_BATCHES", "1");
    cargo::run(portable.arg("--target-dir").arg(target))?;
    Ok(Outcome::Passed)
}

/// The stage `instructions`: the kernel for AVX-512, which valgrind does not know.
pub(super) fn instructions() -> Result<Outcome, String> {
    if !cfg!(target_arch = "x86_64") {
        return Ok(Outcome::Skipped("the kernel is of x86-64".into()));
    }
    if let Some(skipped) = without("objdump", "binutils")? {
        return Ok(skipped);
    }
    let mut build = command(&["build", "--release", "--package", PACKAGE, "--bin", CONSTANT_TIME]);
    let (_, program) = cargo::executables(&mut build)?.pop().ok_or("cargo built nothing")?;
    let report = disassembly::check(&program)?;
    let listing = cargo::target_directory()?.join("avx512-jumps.txt");
    std::fs::write(&listing, report.listing()).map_err(|error| format!("{}: {error}", listing.display()))?;
    println!("{report}; the jumps are listed in {}", listing.display());
    report.verdict().map(|()| Outcome::Passed)
}

/// The stage is skipped for want of a program, or fails where nobody looks at what was skipped.
fn without(program: &str, package: &str) -> Result<Option<Outcome>, String> {
    let requirements = Requirements::default().and_program(program, package);
    match requirements.missing().first() {
        None => Ok(None),
        Some(missing) if is_ci() => Err(missing.clone()),
        Some(missing) => Ok(Some(Outcome::Skipped(missing.clone()))),
    }
}
