//! Runs programs and keeps what they said, so that a failed step explains itself.

use core::fmt;
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

/// Why a command did not do its work.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The command line.
    pub command: String,
    /// Its exit status, or why it could not be started.
    pub status: String,
    /// What it printed on standard error and standard output.
    pub output: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`: {}: {}", self.command, self.status, self.output.trim())
    }
}

impl core::error::Error for Failure {}

/// Runs `command` to its end and returns its standard output.
///
/// The child gets a process group of its own, so that Ctrl-C reaches us first and the child through [`crate::cleanup`].
///
/// # Errors
///
/// A [`Failure`] when the command cannot be started or does not exit with 0.
pub fn try_run(command: &mut Command) -> Result<String, Failure> {
    try_run_with_input(command, b"")
}

/// Runs `command` with `input` on its standard input and returns its standard output.
///
/// # Errors
///
/// A [`Failure`] when the command cannot be started or does not exit with 0.
pub fn try_run_with_input(command: &mut Command, input: &[u8]) -> Result<String, Failure> {
    let line = line_of(command);
    let failed = |status: String, output: String| Failure { command: line.clone(), status, output };
    command.process_group(0).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.stdin(if input.is_empty() { Stdio::null() } else { Stdio::piped() });
    let mut child = command.spawn().map_err(|e| failed("cannot be started".into(), e.to_string()))?;
    // The writer is a thread, so that a child that answers before it has read everything cannot block us.
    let feeder = child.stdin.take().map(|mut stdin| {
        let input = input.to_vec();
        std::thread::spawn(move || {
            // A child may end without reading its input; its exit status tells.
            stdin.write_all(&input).ok();
        })
    });
    let output = child.wait_with_output().map_err(|e| failed("cannot be awaited".into(), e.to_string()))?;
    if let Some(feeder) = feeder {
        feeder.join().ok();
    }
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(stdout);
    }
    Err(failed(output.status.to_string(), String::from_utf8_lossy(&output.stderr).into_owned() + &stdout))
}

/// Runs `command` to its end and returns its standard output.
///
/// # Panics
///
/// When the command fails; the message holds the command line and what it printed.
#[track_caller]
pub fn run(command: &mut Command) -> String {
    match try_run(command) {
        Ok(stdout) => stdout,
        Err(failure) => panic!("{failure}"),
    }
}

fn line_of(command: &Command) -> String {
    let mut line = command.get_program().to_string_lossy().into_owned();
    for argument in command.get_args() {
        line.push(' ');
        line.push_str(&argument.to_string_lossy());
    }
    line
}
