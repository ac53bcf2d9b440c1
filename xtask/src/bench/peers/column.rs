//! What is compared: the columns of the table, each a program with its arguments, or the cable without a tunnel.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use wg_netns::requirements::find_program;
use wg_netns::{Launch, Program};

use crate::cargo::{self, Profile};
use crate::install;

/// The name of the column for the cable alone.
pub(super) const BARE: &str = "no tunnel";

/// One column.
#[derive(Clone, Debug)]
pub(super) struct Column {
    /// What stands above it.
    pub(super) name: String,
    /// What runs; none is the cable alone.
    pub(super) launch: Option<Launch>,
    /// What the program says of its version.
    pub(super) version: String,
}

impl Column {
    /// Whether this is the gateway of this workspace, with whatever arguments.
    pub(super) fn is_ours(&self) -> bool {
        self.launch.as_ref().is_some_and(|launch| launch.program == Program::Gateway)
    }

    /// Whether this is a program of others.
    pub(super) fn is_peer(&self) -> bool {
        self.launch.is_some() && !self.is_ours()
    }
}

/// The gateway once more, with something different.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Variant {
    /// What stands above it.
    pub(super) name: String,
    /// Its arguments.
    pub(super) arguments: String,
    /// The feature that it is built with; none if it is the gateway as it is.
    pub(super) feature: Option<&'static str>,
}

impl Variant {
    /// What is different; nothing if it is the same.
    pub(super) fn difference(&self) -> Option<String> {
        match self.feature {
            Some(feature) => Some(format!("built with the feature `{feature}`")),
            None if self.arguments.is_empty() => None,
            None => Some(format!("`{}`", self.arguments)),
        }
    }
}

/// The programs that are asked for by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Name {
    /// The cable, with nothing in its way.
    NoTunnel,
    /// The gateway of this workspace.
    #[value(alias = "wg-gateway")]
    Ours,
    /// Debian's package.
    WireguardGo,
    /// `boringtun-cli` of the crates registry.
    Boringtun,
    /// `gotatun-cli` of the crates registry.
    Gotatun,
}

impl Name {
    pub(super) const ALL: [Self; 5] =
        [Self::NoTunnel, Self::Ours, Self::WireguardGo, Self::Boringtun, Self::Gotatun];
}

/// Makes the columns, the variants of the gateway behind the gateway; builds and installs what they need. What cannot be had is
/// told, and left out.
pub(super) fn columns(names: &[Name], variants: &[Variant]) -> Result<Vec<Column>, String> {
    let mut columns = Vec::new();
    for name in names {
        match name {
            Name::NoTunnel => {
                columns.push(Column { name: BARE.into(), launch: None, version: String::new() })
            }
            Name::Ours => columns.extend(ours(variants)?),
            Name::WireguardGo => columns.extend(have(Program::WireguardGo, debian("wireguard-go"))),
            Name::Boringtun => {
                columns.extend(have(Program::Boringtun, install::peer("boringtun-cli", "boringtun-cli")))
            }
            Name::Gotatun => columns.extend(have(Program::Gotatun, install::peer("gotatun-cli", "gotatun"))),
        }
    }
    Ok(columns)
}

fn ours(variants: &[Variant]) -> Result<Vec<Column>, String> {
    // A gateway that is built already, as the tests take it.
    let path = match std::env::var_os(wg_netns::program::GATEWAY_VARIABLE) {
        Some(path) => path.into(),
        None => cargo::build_gateway(Profile::Release)?,
    };
    let plain = column(Program::Gateway, path);
    let mut columns = vec![plain.clone()];
    for Variant { name, arguments, feature } in variants {
        let mut column = Column { name: name.clone(), version: String::new(), ..plain.clone() };
        if let Some(launch) = &mut column.launch {
            launch.arguments = arguments.split_whitespace().map(str::to_owned).collect();
            if let Some(feature) = feature {
                launch.path = Some(cargo::build_gateway_with(feature, Profile::Release)?);
            }
        }
        columns.push(column);
    }
    Ok(columns)
}

fn column(program: Program, path: PathBuf) -> Column {
    let output = Command::new(&path).arg("--version").stdin(Stdio::null()).output();
    let text = output.map(|output| output.stdout).unwrap_or_default();
    let version = String::from_utf8_lossy(&text).lines().next().unwrap_or_default().trim().to_owned();
    // What is logged for people to read is not what is compared.
    let launch = Launch { log_level: Some("error"), path: Some(path), ..program.into() };
    Column { name: program.name().into(), launch: Some(launch), version }
}

fn have(program: Program, path: Result<PathBuf, String>) -> Option<Column> {
    match path {
        Ok(path) => Some(column(program, path)),
        Err(reason) => {
            println!("{} is left out: {reason}", program.name());
            None
        }
    }
}

fn debian(program: &str) -> Result<PathBuf, String> {
    find_program(program).ok_or_else(|| format!("not there; `apt-get install {program}`"))
}
