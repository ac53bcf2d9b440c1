//! Sends and receives numbered packets, or shakes hands, and prints what came of it as one line of JSON.
//!
//! A receiver says `ready` when it listens, and ends when its standard input does. Between two machines:
//!
//! ```text
//! there$ wg-load receive --at 10.1.0.2:4000 --size 36
//! here$  wg-load send --to 10.1.0.2:4000 --size 36 --rate 100000 --seconds 5
//! ```

use core::net::{Ipv4Addr, SocketAddr};
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use std::io::{self, Read as _, Write as _};
use std::process::ExitCode;
use std::thread;

use clap::{Parser, Subcommand};
use serde::Serialize;
use wg_benches::traffic::{self, Mode, Receiver, handshakes};

/// Load for gateways, and the account of it.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Sends packets at a rate.
    Send {
        /// To this address.
        #[arg(long)]
        to: SocketAddr,
        /// Packets a second.
        #[arg(long)]
        rate: u32,
        /// Bytes of UDP payload in each: 28 less than the packet has, over IPv4.
        #[arg(long)]
        size: usize,
        /// How long.
        #[arg(long)]
        seconds: f64,
        /// From how many ports.
        #[arg(long, default_value_t = 1)]
        flows: u32,
        /// How they leave.
        #[arg(long, value_enum, default_value = "plain")]
        mode: Mode,
        /// Distinguishes one run from another.
        #[arg(long, default_value_t = 0)]
        run: u32,
    },
    /// Receives them.
    Receive {
        /// At this address.
        #[arg(long)]
        at: SocketAddr,
        /// As the sender has it.
        #[arg(long)]
        size: usize,
        /// As the sender has it.
        #[arg(long, default_value_t = 0)]
        run: u32,
    },
    /// Shakes hands as peers whose private keys stand on standard input, 64 digits a line.
    Handshakes {
        /// Where the responder is.
        #[arg(long)]
        to: SocketAddr,
        /// Its public key, 64 digits.
        #[arg(long)]
        responder: String,
        /// The address of the first peer.
        #[arg(long)]
        from: Ipv4Addr,
        /// How many at a time.
        #[arg(long, default_value_t = 16)]
        in_flight: usize,
        /// How long.
        #[arg(long)]
        seconds: f64,
    },
}

fn main() -> ExitCode {
    match run(Cli::parse().what) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("wg-load: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(what: What) -> io::Result<()> {
    match what {
        What::Send { to, rate, size, seconds, flows, mode, run } => {
            let time = time(seconds)?;
            print(&traffic::send(&traffic::Plan { to, rate, size, time, flows, mode, run })?)
        }
        What::Receive { at, size, run } => {
            let receiver = Receiver::bind(at, size, run)?;
            println!("ready");
            io::stdout().flush()?;
            let end = AtomicBool::new(false);
            let received = thread::scope(|scope| {
                scope.spawn(|| {
                    // Closed or broken, it is the end.
                    io::stdin().read_to_end(&mut Vec::new()).ok();
                    end.store(true, Ordering::Relaxed);
                });
                receiver.run(&end)
            })?;
            print(&received)
        }
        What::Handshakes { to, responder, from, in_flight, seconds } => {
            let mut text = String::new();
            io::stdin().read_to_string(&mut text)?;
            let keys = text.lines().map(key).collect::<io::Result<_>>()?;
            let responder = key(&responder)?;
            let plan = handshakes::Plan { to, responder, keys, from, in_flight, time: time(seconds)? };
            print(&handshakes::run(&plan)?)
        }
    }
}

fn time(seconds: f64) -> io::Result<Duration> {
    Duration::try_from_secs_f64(seconds).map_err(io::Error::other)
}

fn key(digits: &str) -> io::Result<[u8; 32]> {
    let mut key = [0; 32];
    if digits.len() != 64 || !digits.is_ascii() {
        return Err(io::Error::other("a key has 64 digits"));
    }
    for (byte, at) in key.iter_mut().zip((0..).step_by(2)) {
        *byte = u8::from_str_radix(&digits[at..at + 2], 16).map_err(io::Error::other)?;
    }
    Ok(key)
}

fn print(account: &impl Serialize) -> io::Result<()> {
    println!("{}", serde_json::to_string(account)?);
    Ok(())
}
