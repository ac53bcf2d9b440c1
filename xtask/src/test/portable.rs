//! The tests of `wg-proto`, `wg-datapath` and `wg-aead` on a 32-bit machine and on a big-endian one; on request also on aarch64.
//!
//! Debian's Rust builds the standard library for each, its cross compilers link, and an emulator of user programs runs what
//! comes out; 32-bit x86 programs run by themselves where the kernel lets them. Every test runs, the random ones with fewer
//! cases: they look for what depends on the machine, and have been through all cases on this one. Where there is little time,
//! those that drive whole devices are left out: what bytes mean is decided in the others; and so is the 32-bit machine, as the
//! stage `bare-metal` runs on one.

use std::process::{Command, Stdio};

use crate::cargo;
use crate::debian::{self, Target};
use crate::install::{self, Program};
use crate::test::{Outcome, is_ci};

/// What is tested.
const PACKAGES: [&str; 3] = ["wg-proto", "wg-datapath", "wg-aead"];
/// What they need of the standard library.
const LIBRARY: &str = "std,panic_abort,panic_unwind,test";

const PROGRAMS: [Program; 6] = [
    ("i686-linux-gnu-gcc", "gcc-i686-linux-gnu"),
    ("/usr/i686-linux-gnu/lib/crt1.o", "libc6-dev-i386-cross"),
    ("s390x-linux-gnu-gcc", "gcc-s390x-linux-gnu"),
    ("/usr/s390x-linux-gnu/lib/crt1.o", "libc6-dev-s390x-cross"),
    ("qemu-s390x", "qemu-user"),
    ("qemu-i386", "qemu-user"),
];

/// The loader of 32-bit programs, told where its libraries are.
const LOADER: &str = "/usr/i686-linux-gnu/lib/ld-linux.so.2";

const ARM: [Program; 3] = [
    ("aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu"),
    ("/usr/aarch64-linux-gnu/lib/crt1.o", "libc6-dev-arm64-cross"),
    ("qemu-aarch64", "qemu-user"),
];

const BIG_ENDIAN: Target = Target {
    triple: "s390x-unknown-linux-gnu",
    linker: "s390x-linux-gnu-gcc",
    runner: "qemu-s390x -L /usr/s390x-linux-gnu",
};

const AARCH64: Target = Target {
    triple: "aarch64-unknown-linux-gnu",
    linker: "aarch64-linux-gnu-gcc",
    runner: "qemu-aarch64 -L /usr/aarch64-linux-gnu",
};

/// Tests of bytes and their order.
const OF_BYTES: &[&str] =
    &["--lib", "--test", "segment", "--test", "allowed_ips_oracle", "--test", "vectors"];
/// All tests but those of examples in documentation.
const ALL: &[&str] = &["--lib", "--tests"];

/// Runs the stage.
pub(super) fn run() -> Result<Outcome, String> {
    test(&[&debian::RUST, &PROGRAMS], || {
        let part = if is_ci() { (vec![BIG_ENDIAN], OF_BYTES) } else { (vec![bits_32(), BIG_ENDIAN], ALL) };
        vec![part]
    })
}

/// The same on a 64-bit machine that orders memory differently and has other vector instructions: what a router has.
pub(crate) fn arm() -> Result<Outcome, String> {
    test(&[&debian::RUST, &ARM], || vec![(vec![AARCH64], ALL)])
}

/// Targets, and which tests run on them.
type Part = (Vec<Target>, &'static [&'static str]);

fn test(needed: &[&[Program]], parts: impl FnOnce() -> Vec<Part>) -> Result<Outcome, String> {
    install::programs(needed);
    let missing = debian::missing(needed);
    if !missing.is_empty() {
        let missing = format!("missing packages: {}", missing.join(" "));
        return if is_ci() { Err(missing) } else { Ok(Outcome::Skipped(missing)) };
    }
    for (targets, selected) in parts() {
        for target in &targets {
            println!("{}, by {}: {}", target.triple, target.runner, selected.join(" "));
        }
        run_on(&targets, selected)?;
    }
    Ok(Outcome::Passed)
}

fn run_on(targets: &[Target], selected: &[&str]) -> Result<(), String> {
    // All at once, as one core would have little to do while the other builds the standard library for one target.
    let mut test = debian::command("test", targets, LIBRARY)?;
    test.args(selected).args(["--locked", "--no-fail-fast"]);
    // Without backtraces, whose parsers are a good part of the library.
    test.arg("-Zbuild-std-features=panic-unwind");
    for package in PACKAGES {
        test.args(["--package", package]);
    }
    // Most of the time goes to the compiler. Overflow checks and assertions stay.
    test.env("CARGO_PROFILE_DEV_OPT_LEVEL", "0")
        .env("CARGO_PROFILE_DEV_DEBUG", "0")
        .env("CARGO_INCREMENTAL", "0");
    test.env("PROPTEST_CASES", "32").env("WG_FEWER_CASES", "1");
    cargo::run(&mut test)
}

fn bits_32() -> Target {
    Target {
        triple: "i686-unknown-linux-gnu",
        linker: "i686-linux-gnu-gcc",
        runner: if runs_32_bits() {
            "/usr/i686-linux-gnu/lib/ld-linux.so.2 --library-path /usr/i686-linux-gnu/lib"
        } else {
            "qemu-i386 -L /usr/i686-linux-gnu"
        },
    }
}

/// Whether the kernel runs 32-bit programs.
fn runs_32_bits() -> bool {
    let mut loader = Command::new(LOADER);
    loader.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
    loader.status().is_ok_and(|status| status.success())
}
