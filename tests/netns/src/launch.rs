//! A program with the arguments that it is to get besides the usual ones.

use std::path::PathBuf;
use std::process::Command;

use crate::{Namespace, Program};

/// Arguments for every gateway whose test says nothing of arguments, separated by spaces: so the whole suite can be run with a
/// number of lanes, or without offloads.
pub const GATEWAY_ARGUMENTS_VARIABLE: &str = "WG_GATEWAY_ARGUMENTS";

/// How a program is started. A [`Program`] alone is started as usual.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launch {
    /// Which one.
    pub program: Program,
    /// Arguments in front of the name of the interface.
    pub arguments: Vec<String>,
    /// What it logs, in the words of `LOG_LEVEL`, `error` being one of all programs; if nothing is said here or in the environment of this process, much.
    pub log_level: Option<&'static str>,
    /// Where another build of it is.
    pub path: Option<PathBuf>,
}

impl Launch {
    /// The command that runs it in the foreground, in `namespace`, for `interface`.
    ///
    /// # Panics
    ///
    /// When the program is not there, see [`Program::path`].
    #[track_caller]
    pub(crate) fn command(&self, namespace: &Namespace, interface: &str) -> Command {
        let mut command = namespace.command(self.path());
        command.args(self.program.arguments()).args(&self.arguments);
        if self.program == Program::Gateway && self.arguments.is_empty() {
            let arguments = std::env::var(GATEWAY_ARGUMENTS_VARIABLE).unwrap_or_default();
            command.args(arguments.split_whitespace());
        }
        command.arg(interface);
        if let Some(level) = self.log_level {
            // The name that `wireguard-go` gave it, and that of boringtun and gotatun.
            command.env("LOG_LEVEL", level).env("WG_LOG_LEVEL", level);
        }
        command
    }

    /// How often its start may fail for reasons that are not its tests' matter. The packaged `wireguard-go` sometimes
    /// loses a race against the kernel while it makes its interface.
    pub(crate) fn start_attempts(&self) -> u32 {
        // By path: to prove the tests themselves, `wireguard-go` is put in the place of the gateway.
        if self.path().ends_with("wireguard-go") { 5 } else { 1 }
    }

    #[track_caller]
    fn path(&self) -> PathBuf {
        self.path.clone().unwrap_or_else(|| self.program.path())
    }
}

impl From<Program> for Launch {
    fn from(program: Program) -> Self {
        Self { program, arguments: Vec::new(), log_level: None, path: None }
    }
}
