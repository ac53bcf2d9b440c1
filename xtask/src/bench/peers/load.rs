//! Runs `wg-load`, the generator of `wg-benches`, in the namespaces.

use core::fmt::Write as _;
use core::net::{IpAddr, SocketAddr};
use core::sync::atomic::{AtomicU32, Ordering};
use core::time::Duration;
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use wg_netns::command::try_run_with_input;
use wg_netns::key::KeyPair;
use wg_netns::{Family, Namespace, Pair, newcomers, process, uapi};

use super::route::Route;
use crate::cargo;

const PORT: u16 = 4000;
/// IPv4 and UDP.
const HEADERS: usize = 28;
/// So many that none of them shakes hands more often than a responder lets one peer.
const INITIATORS: u16 = 900;
static RUN: AtomicU32 = AtomicU32::new(1);

/// How packets leave the generator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// One by one.
    Plain,
    /// In bursts that the kernel carries as one.
    Bursts,
}

impl Mode {
    pub(super) const BOTH: [Self; 2] = [Self::Plain, Self::Bursts];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Bursts => "bursts",
        }
    }
}

/// What became of the packets of one run.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Outcome {
    pub(super) sent: f64,
    /// Packets that the generator was too slow for.
    pub(super) missed: f64,
    pub(super) received: f64,
    pub(super) reordered: f64,
    pub(super) seconds: f64,
}

impl Outcome {
    /// The share of what was sent that did not arrive.
    pub(super) fn loss(&self) -> f64 {
        1.0 - self.received / self.sent.max(1.0)
    }

    /// Packets a second that arrived.
    pub(super) fn arrived(&self) -> f64 {
        self.received / self.seconds.max(1e-9)
    }

    /// Whether the generator sent at the rate it was asked for.
    pub(super) fn kept_up(&self) -> bool {
        self.missed <= 0.05 * (self.sent + self.missed)
    }
}

/// What came of the handshakes with one responder, a second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Handshakes {
    pub(super) completed: f64,
    pub(super) failed: f64,
    pub(super) cookies: f64,
    /// Processor time of the responder for each that was completed, in microseconds.
    pub(super) cost: f64,
    /// The share of a processor that the initiators, which are one thread, were busy.
    pub(super) initiators: f64,
}

/// The generator, built.
#[derive(Debug)]
pub(super) struct Load(PathBuf);

impl Load {
    /// Builds it.
    pub(super) fn build() -> Result<Self, String> {
        let mut build =
            cargo::command(&["build", "--release", "--package", "wg-benches", "--bin", "wg-load"]);
        let (_, path) = cargo::executables(&mut build)?.pop().ok_or("cargo built no wg-load")?;
        Ok(Self(path))
    }

    /// Sends packets of `size` bytes, inner headers included, at `rate` for a time.
    pub(super) fn packets(
        &self,
        route: &Route,
        mode: Mode,
        size: usize,
        rate: u32,
        time: Duration,
    ) -> Result<Outcome, String> {
        let run = RUN.fetch_add(1, Ordering::Relaxed).to_string();
        let size = (size - HEADERS).to_string();
        let address = SocketAddr::new(route.address(), PORT).to_string();
        let mut receiver = Receiver::start(route.to(), &self.0, &address, &size, &run)?;
        let mut send = route.from().command(&self.0);
        send.args(["send", "--to", &address, "--size", &size, "--run", &run, "--mode", mode.name()]);
        send.args(["--rate", &rate.to_string(), "--seconds", &time.as_secs_f64().to_string()]);
        let sent = run_json(&mut send, "")?;
        let received = receiver.finish()?;
        Ok(Outcome {
            sent: number(&sent, "sent")?,
            missed: number(&sent, "missed")?,
            seconds: number(&sent, "seconds")?,
            received: number(&received, "received")?,
            reordered: number(&received, "reordered")?,
        })
    }

    /// Lets the second gateway of `pair` be the responder of peers that it gets for that.
    pub(super) fn handshakes(&self, pair: &Pair, time: Duration) -> Result<Handshakes, String> {
        let keys: Vec<KeyPair> = (0..INITIATORS).map(|_| KeyPair::generate()).collect();
        let (mut peers, mut private) = (String::new(), String::new());
        for (number, key) in (0..INITIATORS).zip(&keys) {
            let [high, low] = number.to_be_bytes();
            write!(peers, "public_key={}\nallowed_ip=10.79.{high}.{low}/32\n", key.public.hex()).ok();
            writeln!(private, "{}", key.private.hex()).ok();
        }
        match uapi::set(pair.b.interface(), &peers) {
            Ok(0) => {}
            other => return Err(format!("it does not take {INITIATORS} peers: {other:?}")),
        }
        newcomers::prepare(&pair.a.namespace);
        let IpAddr::V4(outer) = pair.a.outer(Family::V4) else { return Err("not of IPv4".into()) };
        pair.b.namespace.ip(&format!("route replace {} via {outer}", newcomers::ADDRESSES));
        let mut command = pair.a.namespace.command(&self.0);
        command.args(["handshakes", "--to", &pair.b.endpoint(Family::V4).to_string(), "--from", "10.78.0.1"]);
        command.args(["--responder", &pair.b.keys.public.hex()]);
        command.args(["--seconds", &time.as_secs_f64().to_string()]);
        let used = || process::cpu_time(pair.b.tunnel.pid()).unwrap_or_default();
        let before = used();
        let account = run_json(&mut command, &private)?;
        let cost = used().saturating_sub(before).as_secs_f64() * 1e6;
        let seconds = number(&account, "seconds")?.max(1e-9);
        Ok(Handshakes {
            completed: number(&account, "completed")? / seconds,
            failed: number(&account, "failed")? / seconds,
            cookies: number(&account, "cookies")? / seconds,
            cost: cost / number(&account, "completed")?.max(1.0),
            initiators: number(&account, "processor")? / seconds,
        })
    }
}

/// A receiver that runs; it is ended when this is dropped.
struct Receiver {
    child: Child,
    output: BufReader<std::process::ChildStdout>,
}

impl Receiver {
    fn start(
        namespace: &Namespace,
        program: &Path,
        address: &str,
        size: &str,
        run: &str,
    ) -> Result<Self, String> {
        let mut command = namespace.command(program);
        command.args(["receive", "--at", address, "--size", size, "--run", run]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit()).process_group(0);
        let mut child = command.spawn().map_err(|error| format!("wg-load: {error}"))?;
        let output = BufReader::new(child.stdout.take().ok_or("no output")?);
        let mut receiver = Self { child, output };
        if receiver.line()?.trim() != "ready" {
            return Err("wg-load does not receive".into());
        }
        Ok(receiver)
    }

    /// Ends it and takes its account.
    fn finish(&mut self) -> Result<Value, String> {
        drop(self.child.stdin.take());
        let line = self.line()?;
        serde_json::from_str(&line).map_err(|error| format!("wg-load: {error}: {line}"))
    }

    fn line(&mut self) -> Result<String, String> {
        let mut line = String::new();
        self.output.read_line(&mut line).map_err(|error| format!("wg-load: {error}"))?;
        Ok(line)
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn run_json(command: &mut Command, input: &str) -> Result<Value, String> {
    let text = try_run_with_input(command, input.as_bytes()).map_err(|failure| failure.output)?;
    serde_json::from_str(&text).map_err(|error| format!("wg-load: {error}: {text}"))
}

fn number(value: &Value, name: &str) -> Result<f64, String> {
    value[name].as_f64().ok_or_else(|| format!("wg-load says no `{name}`"))
}
