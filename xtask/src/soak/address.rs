//! `cargo xtask soak address`: the crate whose kernels are not safe Rust, with AddressSanitizer.
//!
//! What runs are the tests of `wg-aead` (agreement, properties, vectors, edges), whose buffers end where their allocations do, and
//! the replay of what the fuzz target `aead` keeps. `cargo xtask fuzz --target aead --sanitizer address` goes on from there. The
//! standard library is not instrumented, nor is what `ring` has of C and assembly.

use crate::cargo;
use crate::fuzz::toolchain;

/// What is built and run: the package, and what its tests are told.
const RUNS: [&[&str]; 2] = [
    &["--package", "wg-aead", "--lib", "--tests"],
    &["--package", "wg-fuzz", "--test", "replay", "--", "--exact", "aead"],
];

/// Runs it.
pub(super) fn run() -> Result<(), String> {
    toolchain::toolchain()?;
    let triple = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let built = cargo::target_directory()?.join("address");
    for arguments in RUNS {
        // With a triple, so that build scripts and procedural macros are built without.
        let mut test = toolchain::nightly(&["test", "--target", &triple]);
        test.current_dir(cargo::root()).args(arguments);
        test.env("RUSTFLAGS", "-Z sanitizer=address").env("CARGO_TARGET_DIR", &built);
        // A stack that a call has left is seen, too; its use is what is asked for, and not whether all was given back.
        test.env("ASAN_OPTIONS", "detect_leaks=0:detect_stack_use_after_return=1");
        cargo::run(&mut test)?;
    }
    Ok(())
}
