//! `iperf3` and its JSON.

use core::net::IpAddr;
use core::time::Duration;
use std::os::unix::process::CommandExt as _;
use std::process::Stdio;

use serde_json::Value;

use crate::command::{self, Failure};
use crate::{Namespace, wait};

/// Who sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The side that connects.
    Forward,
    /// The side that listens.
    Reversed,
}

/// What the streams carried together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Report {
    /// Gigabits a second at the receiver.
    pub gigabits_per_second: f64,
    /// Segments sent again.
    pub retransmits: u64,
}

/// Runs one TCP stream from one namespace to `address` in another.
///
/// # Errors
///
/// A [`Failure`] when `iperf3` does not run, cannot connect, or prints no result.
pub fn tcp(from: &Namespace, to: &Namespace, address: IpAddr, seconds: u64) -> Result<Report, Failure> {
    streams(from, to, address, seconds, 1, Direction::Forward)
}

/// Runs TCP streams between one namespace and `address` in another.
///
/// # Errors
///
/// A [`Failure`] when `iperf3` does not run, cannot connect, or prints no result.
pub fn streams(
    from: &Namespace,
    to: &Namespace,
    address: IpAddr,
    seconds: u64,
    count: u32,
    direction: Direction,
) -> Result<Report, Failure> {
    let mut server = to
        .command("iperf3")
        .args(["--server", "--one-off", "--bind", &address.to_string()])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .map_err(|e| failure(format!("the server: {e}")))?;
    let result = wait::find(Duration::from_secs(5), || {
        let mut client = from.command("iperf3");
        client.args(["--client", &address.to_string(), "--time", &seconds.to_string(), "--json"]);
        client.args(["--connect-timeout", "3000", "--parallel", &count.to_string()]);
        if direction == Direction::Reversed {
            client.arg("--reverse");
        }
        match command::try_run(&mut client) {
            // Which exit status comes with that depends on the version.
            Ok(json) if is_too_early(&json) => None,
            Err(failure) if is_too_early(&failure.output) => None,
            result => Some(result),
        }
    });
    server.kill().ok();
    server.wait().ok();
    let json = result.ok_or_else(|| failure("the server does not answer".into()))??;
    parse(&json).ok_or_else(|| failure(format!("no result in: {json}")))
}

/// Whether the server did not listen yet.
fn is_too_early(output: &str) -> bool {
    output.contains("unable to connect")
}

fn failure(output: String) -> Failure {
    Failure { command: "iperf3".into(), status: "failed".into(), output }
}

fn parse(json: &str) -> Option<Report> {
    let value: Value = serde_json::from_str(json).ok()?;
    let end = value.get("end")?;
    Some(Report {
        gigabits_per_second: end.get("sum_received")?.get("bits_per_second")?.as_f64()? / 1e9,
        retransmits: end.get("sum_sent")?.get("retransmits")?.as_u64()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn result_is_read() {
        let json = r#"{"end":{"sum_sent":{"retransmits":3},"sum_received":{"bits_per_second":2.5e9}}}"#;
        assert_eq!(parse(json), Some(Report { gigabits_per_second: 2.5, retransmits: 3 }));
        assert_eq!(parse(r#"{"error":"unable"}"#), None);
    }
}
