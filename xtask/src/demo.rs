//! `cargo xtask demo`: two namespaces, a cable, a gateway in each, and traffic through the tunnel between them.
//!
//! Needs root, `/dev/net/tun`, `ip` and `ping`; uses `iperf3` where it is installed and its own TCP stream otherwise, and
//! configures the gateways through their sockets, so that no `wg` is needed. Everything it makes is gone afterwards, also
//! after Ctrl-C or a failure.

use core::net::SocketAddr;
use core::time::Duration;
use std::time::Instant;

use clap::{Args, ValueEnum};
use wg_netns::ping::{self, Ping};
use wg_netns::requirements::find_program;
use wg_netns::tcp::{self, Limit};
use wg_netns::{Family, Pair, Program, Requirements, cleanup, iperf, process};

use crate::cargo::{self, Profile};
use crate::install;
use crate::report::{self, bytes, figure};

const PINGS: u32 = 20;

/// What the demo shows.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The program on the other side.
    #[arg(long, value_enum, default_value_t = Peer::WgGateway)]
    peer: Peer,
    /// How long to send TCP.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Peer {
    /// The gateway of this workspace.
    WgGateway,
    /// wireguard-go as the distribution packages it.
    WireguardGo,
}

/// What the TCP stream came to.
struct Stream {
    source: &'static str,
    gigabits_per_second: f64,
    /// The most memory that the first gateway ever had.
    memory_kib: u64,
}

/// Runs the demo.
pub(crate) fn run(options: &Options) -> Result<(), String> {
    install::programs(&[&install::NAMESPACES]);
    let mut requirements = Requirements::check().and_program("ping", "iputils-ping");
    if options.peer == Peer::WireguardGo {
        install::programs(&[&install::WIREGUARD[1..]]);
        requirements = requirements.and_program("wireguard-go", "wireguard-go");
    }
    if !requirements.missing().is_empty() {
        return Err(format!("The demo needs:\n  {}", requirements.missing().join("\n  ")));
    }
    say("building wg-gateway (release); the first time takes a minute or two");
    let start = Instant::now();
    Program::gateway_is_at(cargo::build_gateway(Profile::Release)?);
    say(&format!("built in {} s", figure(start.elapsed().as_secs_f64())));
    // What the harness cannot set up is a panic that says why; here it is the last line of the demo.
    std::panic::set_hook(Box::new(|info| {
        cleanup::stop_if_ending();
        let message = info.payload_as_str().unwrap_or("for an unknown reason");
        eprintln!("The demo failed: {message}");
    }));
    let shown = std::panic::catch_unwind(|| show(options));
    cleanup::stop_if_ending();
    match shown {
        Ok(result) => result,
        Err(_) => Err("Everything it had made is removed.".into()),
    }
}

fn show(options: &Options) -> Result<(), String> {
    let other = match options.peer {
        Peer::WgGateway => Program::Gateway,
        Peer::WireguardGo => Program::WireguardGo,
    };
    let pair = Pair::new([Program::Gateway, other]);
    for (node, at) in [(&pair.a, &pair.cable.first), (&pair.b, &pair.cable.second)] {
        say(&format!(
            "node {}, namespace {}: {} on {at}; {} serves {} with {}",
            node.number,
            node.namespace.name(),
            node.outer(Family::V4),
            node.tunnel.program().name(),
            node.interface(),
            node.inner(Family::V4),
        ));
    }
    pair.acquaint_directly(Family::V4);
    say("each knows the key and the endpoint of the other; the first packet starts the handshake");

    let first = Ping::to(pair.b.inner(Family::V4)).run(&pair.a.namespace);
    let Some([first, ..]) = first.round_trip_ms else {
        return Err("The first ping was not answered.".into());
    };
    say(&format!("answered after {} ms, the handshake included", figure(first)));

    say(&format!("{PINGS} pings through the tunnel with IPv4, {PINGS} with IPv6"));
    let pings = Family::BOTH.map(|family| Ping::to(pair.b.inner(family)).count(PINGS).run(&pair.a.namespace));
    let stream = send(&pair, options.seconds)?;
    print_result(&pair, first, pings, &stream);
    Ok(())
}

/// Sends TCP for a while and tells each second what the receiving gateway has counted.
fn send(pair: &Pair, seconds: u64) -> Result<Stream, String> {
    let has_iperf = find_program("iperf3").is_some();
    let source = if has_iperf { "iperf3, one stream" } else { "one stream, every byte checked" };
    say(&format!("TCP for {seconds} s ({source})"));
    let gigabits_per_second = std::thread::scope(|scope| {
        let transfer = scope.spawn(|| {
            let (from, to, address) = (&pair.a.namespace, &pair.b.namespace, pair.b.inner(Family::V4));
            if has_iperf {
                let report = iperf::tcp(from, to, address, seconds).map_err(|failure| failure.to_string())?;
                return Ok(report.gigabits_per_second);
            }
            let limit = Limit::Time(Duration::from_secs(seconds));
            match tcp::transfer(from, to, SocketAddr::new(address, 5201), limit, |_, _| {}) {
                Ok(report) if report.intact => Ok(report.gigabits_per_second()),
                Ok(_) => Err("TCP arrived damaged.".to_owned()),
                Err(error) => Err(format!("TCP: {error}")),
            }
        });
        let mut last = (Instant::now(), pair.b.peer_directly(&pair.a).rx_bytes);
        while !transfer.is_finished() {
            std::thread::sleep(Duration::from_millis(50));
            if last.0.elapsed() >= Duration::from_secs(1) {
                let now = (Instant::now(), pair.b.peer_directly(&pair.a).rx_bytes);
                let rate = (now.1 - last.1) as f64 * 8e-9 / (now.0 - last.0).as_secs_f64();
                say(&format!("  {} Gbit/s arrive at node 2", figure(rate)));
                last = now;
            }
        }
        transfer.join().map_err(|_| "TCP: the sender panicked".to_owned())?
    })?;
    let memory_kib = process::peak_resident_kib(pair.a.tunnel.pid()).unwrap_or(0);
    Ok(Stream { source, gigabits_per_second, memory_kib })
}

fn print_result(pair: &Pair, first: f64, pings: [ping::Report; 2], stream: &Stream) {
    let (one, other) = (pair.a.tunnel.program().name(), pair.b.tunnel.program().name());
    println!("\n{one} <-> {other}, everything on this machine\n");
    let line = |name: &str, value: f64, unit: &str, remark: &str| {
        println!("{name:<18}{:>8} {unit:<8}{remark}", figure(value));
    };
    let usual = pings[0].round_trip_ms.map_or(0.0, |[_, average, _]| average);
    line("handshake", (first - usual).max(0.0), "ms", "the first ping, less a usual round trip");
    for (report, family) in pings.iter().zip(["IPv4", "IPv6"]) {
        let [shortest, average, longest] = report.round_trip_ms.unwrap_or([f64::NAN; 3]);
        let range = format!("{} to {} ms", figure(shortest), figure(longest));
        let answered = format!("{range}, {} of {} answered", report.received, report.sent);
        line(&format!("round trip {family}"), average, "ms", &answered);
    }
    line("TCP", stream.gigabits_per_second, "Gbit/s", stream.source);
    line("memory of node 1", stream.memory_kib as f64 / 1024.0, "MiB", "resident, at most");
    println!();
    let mut lines = vec![["node", "program", "received", "sent"].map(str::to_owned).to_vec()];
    for (node, other) in [(&pair.a, &pair.b), (&pair.b, &pair.a)] {
        let peer = node.peer_directly(other);
        lines.push(vec![
            node.number.to_string(),
            node.tunnel.program().name().to_owned(),
            bytes(peer.rx_bytes),
            bytes(peer.tx_bytes),
        ]);
    }
    report::print_table(&lines);
}

fn say(line: &str) {
    println!("- {line}");
}
