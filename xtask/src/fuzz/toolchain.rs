//! What fuzzing needs besides the stable toolchain: nightly, cargo-fuzz, and for coverage the tools of LLVM.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::cargo;

/// A `cargo +nightly` command that will run in `fuzz/`.
pub(crate) fn nightly(arguments: &[&str]) -> Command {
    let mut command = Command::new("rustup");
    command.current_dir(super::path(".")).args(["run", "nightly", "cargo"]).args(arguments);
    // What the cargo and the toolchain that run this task say of themselves; build scripts look at it, and would run again.
    let ours = |name: &str| {
        name.starts_with("CARGO_PKG_")
            || name.starts_with("CARGO_MANIFEST_")
            || ["CARGO", "RUSTC", "RUSTUP_TOOLCHAIN", "RUSTFLAGS", "CARGO_TARGET_DIR"].contains(&name)
    };
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(ours) {
            command.env_remove(name);
        }
    }
    command
}

/// What `cargo` is told to build targets with.
///
/// Comparisons are not traced: two thirds of a handshake would be the tracing of the arithmetic's, and the words that the
/// parsers compare with are in the dictionaries.
pub(super) const fn build_arguments(sanitizer: &str) -> [&str; 5] {
    ["fuzz", "build", "--no-trace-compares", "--sanitizer", sanitizer]
}

/// Makes sure that targets can be built; what cannot be installed is an error that says how to get it.
pub(super) fn fuzzer() -> Result<(), String> {
    toolchain()?;
    if !works(&mut nightly(&["fuzz", "--version"])) {
        println!("installing cargo-fuzz");
        let mut install = Command::new("rustup");
        install.args(["run", "stable", "cargo", "install", "--quiet", "--locked", "cargo-fuzz"]);
        cargo::run(&mut install).map_err(|error| {
            format!("cargo-fuzz is missing (`cargo install --locked cargo-fuzz`): {error}")
        })?;
    }
    Ok(())
}

/// Makes sure that there is a nightly toolchain.
pub(crate) fn toolchain() -> Result<(), String> {
    if works(Command::new("rustup").args(["run", "nightly", "rustc", "--version"])) {
        return Ok(());
    }
    println!("installing the nightly toolchain");
    let mut install = Command::new("rustup");
    install.args(["toolchain", "install", "nightly", "--profile", "minimal"]);
    cargo::run(&mut install).map_err(|error| {
        format!(
            "the nightly toolchain is missing (`rustup toolchain install nightly --profile minimal`): {error}"
        )
    })
}

/// Makes sure that nightly can build the standard library.
pub(crate) fn library_source() -> Result<(), String> {
    let mut list = Command::new("rustup");
    let listed = list.args(["component", "list", "--installed", "--toolchain", "nightly"]).output();
    let listed = listed.map_err(|error| error.to_string())?.stdout;
    if String::from_utf8_lossy(&listed).lines().any(|line| line == "rust-src") {
        return Ok(());
    }
    println!("installing the component rust-src");
    let mut install = Command::new("rustup");
    install.args(["component", "add", "rust-src", "--toolchain", "nightly"]);
    cargo::run(&mut install).map_err(|error| {
        format!("rust-src is missing (`rustup component add rust-src --toolchain nightly`): {error}")
    })
}

/// The folder of `llvm-profdata` and `llvm-cov` that belong to nightly.
pub(super) fn llvm_tools() -> Result<PathBuf, String> {
    toolchain()?;
    let output = |arguments: &[&str]| {
        let output = Command::new("rustup").args(["run", "nightly", "rustc"]).args(arguments).output();
        output
            .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
            .map_err(|error| error.to_string())
    };
    let sysroot = output(&["--print", "sysroot"])?;
    let verbose = output(&["-vV"])?;
    let host = verbose.lines().find_map(|line| line.strip_prefix("host: ")).ok_or("rustc names no host")?;
    let folder = PathBuf::from(sysroot.trim()).join("lib/rustlib").join(host).join("bin");
    if !folder.join("llvm-cov").is_file() {
        println!("installing the component llvm-tools");
        let mut install = Command::new("rustup");
        install.args(["component", "add", "llvm-tools", "--toolchain", "nightly"]);
        cargo::run(&mut install).map_err(|error| {
            format!("llvm-tools are missing (`rustup component add llvm-tools --toolchain nightly`): {error}")
        })?;
    }
    Ok(folder)
}

fn works(command: &mut Command) -> bool {
    let command = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
