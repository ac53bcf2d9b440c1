//! The Rust that Debian packages, beside rustup's: it comes with the source of the standard library, so that the library
//! can be built for targets that rustup has not installed. `RUSTC_BOOTSTRAP` lets that stable compiler do so.

use std::process::Command;

use wg_netns::requirements::find_program;

use crate::cargo::{root, target_directory};
use crate::install::Program;

const CARGO: &str = "/usr/bin/cargo";
const RUSTC: &str = "/usr/bin/rustc";
const RUSTDOC: &str = "/usr/bin/rustdoc";
const SOURCE: &str = "/usr/lib/rustlib/src/rust/library/Cargo.lock";

/// Compiler, `cargo` and the source of the standard library.
pub(crate) const RUST: [Program; 3] = [(RUSTC, "rustc-web"), (CARGO, "cargo-web"), (SOURCE, "rust-web-src")];

/// A target, and what is needed to build and run programs for it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    /// Its name.
    pub(crate) triple: &'static str,
    /// What links for it.
    pub(crate) linker: &'static str,
    /// What runs its programs, with arguments; empty if nothing does.
    pub(crate) runner: &'static str,
}

/// A command of Debian's `cargo` for targets, building these crates of the standard library. What it builds goes to a
/// folder of its own, since it is of another compiler.
pub(crate) fn command(subcommand: &str, targets: &[Target], library: &str) -> Result<Command, String> {
    let mut command = Command::new(CARGO);
    command.current_dir(root()).arg(subcommand);
    command.arg(format!("-Zbuild-std={library}")).arg("--target-dir").arg(target_directory()?.join("debian"));
    // What rustup's `cargo`, which runs us, has set for itself is not for this one.
    for name in ["CARGO", "CARGO_ENCODED_RUSTFLAGS", "LD_LIBRARY_PATH", "RUSTFLAGS", "RUSTUP_TOOLCHAIN"] {
        command.env_remove(name);
    }
    command.env("RUSTC", RUSTC).env("RUSTDOC", RUSTDOC).env("RUSTC_BOOTSTRAP", "1");
    for target in targets {
        let name = target.triple.replace('-', "_").to_uppercase();
        command.args(["--target", target.triple]);
        command.env(format!("CARGO_TARGET_{name}_LINKER"), target.linker);
        if !target.runner.is_empty() {
            command.env(format!("CARGO_TARGET_{name}_RUNNER"), target.runner);
        }
    }
    Ok(command)
}

/// The packages that hold those programs which are still missing.
pub(crate) fn missing(programs: &[&[Program]]) -> Vec<&'static str> {
    let all = programs.iter().flat_map(|group| group.iter());
    all.filter(|(program, _)| find_program(program).is_none()).map(|(_, package)| *package).collect()
}
