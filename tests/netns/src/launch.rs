//! A program with the arguments that it is to get besides the usual ones.

use std::path::PathBuf;
use std::process::Command;

use crate::{Namespace, Program};

/// Arguments for every gateway, separated by spaces: so the whole suite can be run with a number of lanes, or without offloads.
/// Where a test gives the same option, its value is the one that counts, see [`with_environment`].
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
        command.args(self.program.arguments());
        if self.program == Program::Gateway {
            command.args(with_environment(&self.arguments));
        } else {
            command.args(&self.arguments);
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

/// The arguments of the environment and those of a test, for a gateway.
///
/// Options that both give are the test's. Of offloads it is the single ones: those that it does not name are as the environment
/// has them.
pub fn with_environment(own: &[String]) -> Vec<String> {
    merged(&std::env::var(GATEWAY_ARGUMENTS_VARIABLE).unwrap_or_default(), own)
}

/// The option whose values add up; later ones override earlier ones.
const OFFLOAD: &str = "--offload";

fn merged(environment: &str, own: &[String]) -> Vec<String> {
    let (environment, own) =
        (options(environment.split_whitespace()), options(own.iter().map(String::as_str)));
    let mut arguments = Vec::new();
    for (name, values) in &environment {
        match own.iter().find(|(other, _)| other == name) {
            Some((_, switched)) if *name == OFFLOAD => {
                arguments.push((*name).to_owned());
                arguments.push([values.as_slice(), switched].concat().join(","));
            }
            Some(_) => {}
            None => push(&mut arguments, name, values),
        }
    }
    for (name, values) in &own {
        if *name != OFFLOAD || environment.iter().all(|(other, _)| other != name) {
            push(&mut arguments, name, values);
        }
    }
    arguments
}

fn push(arguments: &mut Vec<String>, name: &str, values: &[&str]) {
    arguments.push(name.to_owned());
    arguments.extend(values.iter().map(|value| (*value).to_owned()));
}

/// Each option with what stands behind it.
fn options<'a>(words: impl Iterator<Item = &'a str>) -> Vec<(&'a str, Vec<&'a str>)> {
    let mut options: Vec<(&str, Vec<&str>)> = Vec::new();
    for word in words {
        match options.last_mut() {
            // A value may begin with one dash: a niceness does.
            Some((_, values)) if !word.starts_with("--") => values.push(word),
            _ => match word.split_once('=') {
                Some((name, value)) if word.starts_with("--") => options.push((name, vec![value])),
                _ => options.push((word, Vec::new())),
            },
        }
    }
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    fn together(environment: &str, own: &str) -> String {
        let own: Vec<String> = own.split_whitespace().map(str::to_owned).collect();
        merged(environment, &own).join(" ")
    }

    #[test]
    fn arguments_of_both_are_there_and_those_of_the_test_count() {
        assert_eq!(together("", ""), "");
        assert_eq!(together("--threads 4", ""), "--threads 4");
        assert_eq!(together("", "--threads 2 --pin"), "--threads 2 --pin");
        assert_eq!(together("--threads 4 --nice -5", "--threads 2 --pin"), "--nice -5 --threads 2 --pin");
        assert_eq!(together("--threads=4 --pin", "--threads 2 --pin"), "--threads 2 --pin");
        assert_eq!(together("--strategy adaptive", "--lanes 1"), "--strategy adaptive --lanes 1");
    }

    #[test]
    fn offloads_of_both_are_off_and_the_test_has_the_last_word() {
        assert_eq!(together("--offload udp-gso=off", "--offload tun=off"), "--offload udp-gso=off,tun=off");
        assert_eq!(
            together("--offload all=off --threads 2", "--offload all=on"),
            "--offload all=off,all=on --threads 2"
        );
        assert_eq!(together("--threads 2", "--offload tun=off"), "--threads 2 --offload tun=off");
    }
}
