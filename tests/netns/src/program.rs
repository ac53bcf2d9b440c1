//! The programs under test and where they are.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::command::{self, Failure};
use crate::requirements::find_program;

/// Names a ready built gateway; without it the gateway is built when it is first needed.
pub const GATEWAY_VARIABLE: &str = "WG_GATEWAY";

/// Names a ready built gateway that writes its keys to a file (feature `key-log`); without it one is built.
pub const KEY_LOG_GATEWAY_VARIABLE: &str = "WG_KEY_LOG_GATEWAY";

static GATEWAY: OnceLock<Result<PathBuf, Failure>> = OnceLock::new();

/// Names the implementation that takes the place of `wireguard-go` in tests of pairs, as [`Program::name`] does.
pub const PEER_VARIABLE: &str = "WG_NETNS_PEER";

/// A program that serves one WireGuard interface, with a socket to configure it as `wireguard-go` has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Program {
    /// The gateway of this workspace.
    Gateway,
    /// `wireguard-go` as the distribution packages it.
    WireguardGo,
    /// `boringtun-cli` of the crates registry.
    Boringtun,
    /// `gotatun-cli` of the crates registry.
    Gotatun,
}

impl Program {
    /// Its name as people know it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gateway => "wg-gateway",
            Self::WireguardGo => "wireguard-go",
            Self::Boringtun => "boringtun",
            Self::Gotatun => "gotatun",
        }
    }

    /// The other implementation of tests of pairs: `wireguard-go`, or what [`PEER_VARIABLE`] names.
    ///
    /// # Panics
    ///
    /// When that is the name of no program.
    #[track_caller]
    pub fn peer() -> Self {
        let Ok(name) = std::env::var(PEER_VARIABLE) else { return Self::WireguardGo };
        let found =
            [Self::WireguardGo, Self::Boringtun, Self::Gotatun].into_iter().find(|p| p.name() == name);
        found.unwrap_or_else(|| panic!("{PEER_VARIABLE}={name}: no program has that name"))
    }

    /// Its path.
    ///
    /// # Panics
    ///
    /// When the gateway does not build, or the program is not installed.
    #[track_caller]
    pub fn path(self) -> PathBuf {
        match self {
            Self::Gateway => match GATEWAY.get_or_init(gateway) {
                Ok(path) => path.clone(),
                Err(failure) => panic!("{failure}"),
            },
            Self::WireguardGo => {
                find_program("wireguard-go").expect("wireguard-go: `apt-get install wireguard-go`")
            }
            Self::Boringtun => {
                find_program("boringtun-cli").expect("boringtun-cli: `cargo install boringtun-cli`")
            }
            Self::Gotatun => find_program("gotatun").expect("gotatun: `cargo install gotatun-cli`"),
        }
    }

    /// What keeps it in the foreground, and the rights of the user who starts it.
    pub(crate) const fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Gateway | Self::WireguardGo => &["-f"],
            Self::Boringtun | Self::Gotatun => &["--foreground", "--disable-drop-privileges"],
        }
    }

    /// Says where the gateway is. Of no effect once it has been looked for.
    pub fn gateway_is_at(path: PathBuf) {
        GATEWAY.set(Ok(path)).ok();
    }

    /// Lets this whole process use a gateway that gives its keys away, see [`crate::Tunnel::key_log`]. To be called before
    /// anything is started.
    ///
    /// # Panics
    ///
    /// When it does not build.
    #[track_caller]
    pub fn gateway_logs_keys() {
        let path = match std::env::var_os(KEY_LOG_GATEWAY_VARIABLE) {
            Some(path) => path.into(),
            // In a directory of its own: the other one must not be replaced by a program that gives keys away.
            None => match build(&profile().join("key-log"), &["--features", "key-log"]) {
                Ok(path) => path,
                Err(failure) => panic!("{failure}"),
            },
        };
        Self::gateway_is_at(path);
    }
}

/// Builds the gateway into the directory that this program was built into, with the same profile.
fn gateway() -> Result<PathBuf, Failure> {
    if let Some(path) = std::env::var_os(GATEWAY_VARIABLE) {
        return Ok(path.into());
    }
    let profile = profile();
    build(profile.parent().expect("a target directory"), &[])
}

/// The directory that this program was built into: `<target>/<profile>`.
fn profile() -> PathBuf {
    let own = std::env::current_exe().expect("the path of this program");
    // <target>/<profile>/program or <target>/<profile>/deps/program
    own.ancestors()
        .skip(1)
        .find(|directory| !directory.ends_with("deps"))
        .expect("a profile directory")
        .to_path_buf()
}

/// Builds the gateway with the profile of this program.
fn build(target: &Path, features: &[&str]) -> Result<PathBuf, Failure> {
    let release = profile().ends_with("release");
    let mut build = Command::new(env!("CARGO"));
    build.args([
        "build",
        "--quiet",
        "--manifest-path",
        concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.toml"),
    ]);
    build.args(["--package", "wg-gateway", "--target-dir"]).arg(target).args(features);
    if release {
        build.arg("--release");
    }
    command::try_run(&mut build)?;
    Ok(target.join(if release { "release" } else { "debug" }).join("wg-gateway"))
}
