//! `cargo xtask test`: everything that must hold, stage by stage. `.ci/run` calls exactly this.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use clap::ValueEnum;
use wg_netns::requirements::{REQUIRED_VARIABLE, find_program};

use crate::install;

/// The published crates.
const LIBRARIES: [&str; 4] = ["wg-proto", "wg-sched", "wg-datapath", "wg-sys-linux"];

/// One stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Stage {
    /// Formatting.
    Fmt,
    /// Lints of every target, as errors.
    Clippy,
    /// The feature combinations of the libraries.
    Features,
    /// Documentation, with every warning an error.
    Doc,
    /// Unit, property, vector and documentation tests.
    Unit,
    /// The libraries as they would be published.
    Package,
    /// Licences, duplicates and sources of the dependencies, where cargo-deny is installed.
    Deny,
    /// Tests in network namespaces.
    Netns,
}

/// How a stage ended.
enum Verdict {
    Passed,
    Failed,
    Skipped(String),
}

/// Runs the stages, or only those named, and tells whether all passed.
pub(crate) fn run(only: &[Stage]) -> bool {
    println!("== prepare");
    install::prepare(&["wireguard-tools", "wireguard-go", "iproute2", "iputils-ping", "iperf3", "tcpdump"]);
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    for stage in Stage::value_variants() {
        if !only.is_empty() && !only.contains(stage) {
            continue;
        }
        let name = stage.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned());
        println!("== {name}");
        let began = Instant::now();
        let verdict = stage.run();
        let seconds = began.elapsed().as_secs();
        match verdict {
            Verdict::Passed => {
                passed += 1;
                println!("== {name}: passed in {seconds} s");
            }
            Verdict::Failed => {
                failed += 1;
                println!("== {name}: FAILED after {seconds} s");
            }
            Verdict::Skipped(why) => {
                skipped += 1;
                println!("== {name}: skipped, {why}");
            }
        }
    }
    println!("{passed} passed, {failed} failed, {skipped} skipped");
    failed == 0
}

impl Stage {
    fn run(self) -> Verdict {
        match self {
            Self::Fmt => all([cargo(["fmt", "--all", "--", "--check"])]),
            Self::Clippy => {
                all([cargo(["clippy", "--workspace", "--all-targets", "--", "--deny", "warnings"])])
            }
            Self::Features => features(),
            Self::Doc => {
                let mut doc = cargo(["doc", "--workspace", "--no-deps", "--quiet"]);
                doc.env("RUSTDOCFLAGS", "--deny warnings");
                all([doc])
            }
            Self::Unit => all([cargo(["test", "--workspace", "--exclude", "wg-netns"])]),
            Self::Package => {
                let mut package = cargo(["package", "--quiet", "--allow-dirty"]);
                package.args(LIBRARIES.iter().flat_map(|library| ["--package", library]));
                all([package])
            }
            Self::Deny => {
                if find_program("cargo-deny").is_none() && !home_has("cargo-deny") {
                    return Verdict::Skipped("cargo-deny is not installed".into());
                }
                all([cargo(["deny", "check", "bans", "licenses", "sources"])])
            }
            Self::Netns => netns(),
        }
    }
}

/// Every combination of the features that a user can choose.
fn features() -> Verdict {
    let combinations = [
        ("wg-proto", ""),
        ("wg-proto", "rustcrypto"),
        ("wg-proto", "ring"),
        ("wg-proto", "rustcrypto,ring,test-util"),
        ("wg-datapath", ""),
        ("wg-datapath", "rustcrypto"),
        ("wg-datapath", "ring"),
        ("wg-datapath", "rustcrypto,ring,test-util"),
        ("wg-gateway", ""),
    ];
    all(combinations.map(|(package, features)| {
        let mut check = cargo(["check", "--quiet", "--no-default-features", "--package", package]);
        check.args(["--features", features]);
        check
    }))
}

/// The namespace tests, with the gateway built as users get it.
fn netns() -> Verdict {
    let ci = std::env::var_os("CI").is_some();
    let requirements = wg_netns::Requirements::check()
        .and_program("wg", "wireguard-tools")
        .and_program("ping", "iputils-ping")
        .and_program("wireguard-go", "wireguard-go");
    if !requirements.missing().is_empty() {
        let missing = requirements.missing().join("; ");
        if !ci {
            return Verdict::Skipped(format!("missing: {missing}"));
        }
        println!("missing: {missing}");
        return Verdict::Failed;
    }
    let build = cargo(["build", "--release", "--package", "wg-gateway"]);
    let mut test = cargo(["test", "--release", "--package", "wg-netns"]);
    test.env(REQUIRED_VARIABLE, "1");
    all([build, test])
}

/// Runs commands until one fails.
fn all(commands: impl IntoIterator<Item = Command>) -> Verdict {
    for mut command in commands {
        println!("$ {}", show(&command));
        match command.status() {
            Ok(status) if status.success() => {}
            Ok(status) => {
                println!("{status}");
                return Verdict::Failed;
            }
            Err(error) => {
                println!("{error}");
                return Verdict::Failed;
            }
        }
    }
    Verdict::Passed
}

/// A cargo command in the workspace.
pub(crate) fn cargo<const N: usize>(arguments: [&str; N]) -> Command {
    let mut command = Command::new(env!("CARGO"));
    command.current_dir(crate::workspace()).args(arguments);
    command
}

fn show(command: &Command) -> String {
    let arguments = command.get_args().map(|argument| argument.to_string_lossy().into_owned());
    let program = Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy();
    core::iter::once(program.into_owned()).chain(arguments).collect::<Vec<_>>().join(" ")
}

fn home_has(program: &str) -> bool {
    std::env::var_os("HOME").is_some_and(|home| Path::new(&home).join(".cargo/bin").join(program).is_file())
}
