//! R1: one side is killed at any time during UDP or TCP traffic, and starts again under its old name.

use core::time::Duration;
use std::time::Instant;

use wg_netns::stream::Stream;
use wg_netns::udp::Flow;
use wg_netns::{Family, Node, Pair, Program, process, wait};

use super::Choices;
use super::figures::{add, sample_ms};
use crate::soak::progress::Counts;

/// A peer that heard nothing begins a handshake after 15 s and at most 333 ms of jitter (C125), and repeats it after 5 s and as
/// much; the last second is the machine's.
const LIMIT: Duration = Duration::from_millis(15_400 + 5_400 + 1_000);
/// TCP waits longer with each retransmission, up to as long as it was interrupted.
const TCP_LIMIT: Duration = Duration::from_secs(60);
const KILLS: u32 = 3;
const PORT: u16 = 4000;

enum Traffic {
    Udp(Flow),
    Tcp(Stream),
}

impl Traffic {
    fn start(kind: u64, from: &Node, to: &Node) -> Result<Self, String> {
        let address = (to.inner(Family::V4), PORT).into();
        Ok(if kind == 0 {
            Self::Udp(Flow::start(&from.namespace, &to.namespace, address, 200, 300))
        } else {
            let stream = Stream::start(&from.namespace, &to.namespace, address, [None; 2]);
            Self::Tcp(stream.map_err(|error| format!("no TCP connection: {error}"))?)
        })
    }

    fn arrived(&self) -> u64 {
        match self {
            Self::Udp(flow) => flow.received(),
            Self::Tcp(stream) => stream.arrived(),
        }
    }
}

/// Kills a few times.
pub(super) fn trial(seed: u64, counts: &mut Counts) -> Result<(), String> {
    let mut choices = Choices(seed);
    let mut pair = Pair::acquainted([Program::Gateway; 2], Family::V4);
    let mut files = None;
    for _ in 0..KILLS {
        // Who speaks is who began: a restarted side with an endpoint, or the one that lives on.
        let speaks = choices.below(2) == 0;
        let kind = choices.below(2);
        if choices.below(2) == 0 {
            core::mem::swap(&mut pair.a, &mut pair.b);
        }
        let Pair { a: killed, b: survivor, .. } = &mut pair;
        if !survivor.reaches_within(LIMIT, killed, Family::V4) {
            return Err("no session before the kill".into());
        }
        let traffic = if speaks {
            Traffic::start(kind, killed, survivor)
        } else {
            Traffic::start(kind, survivor, killed)
        }?;
        if !wait::until(LIMIT, || traffic.arrived() > 0) {
            return Err("no traffic before the kill".into());
        }
        std::thread::sleep(Duration::from_millis(choices.below(1500)));
        killed.kill();
        std::thread::sleep(Duration::from_millis(choices.below(1000)));
        killed.start_again();
        let endpoint = speaks.then(|| survivor.endpoint(Family::V4));
        let before = traffic.arrived();
        killed.add_peer(survivor, endpoint);
        let start = Instant::now();
        let tcp = matches!(traffic, Traffic::Tcp(_));
        let limit = if tcp { TCP_LIMIT } else { LIMIT };
        let back = wait::until(limit, || traffic.arrived() > before);
        let name = match (tcp, speaks) {
            (false, true) => "ms to UDP, restarted side sends",
            (false, false) => "ms to UDP, survivor sends",
            (true, true) => "ms to TCP, restarted side sends",
            (true, false) => "ms to TCP, survivor sends",
        };
        if !back {
            return Err(format!("{name}: nothing after {limit:?}"));
        }
        sample_ms(counts, name, start.elapsed());
        add(counts, "kills", 1);
        if !killed.tunnel.socket().exists() {
            return Err("no socket after the restart".into());
        }
        // The same program in the same state has as many files open.
        let open = process::open_files(killed.tunnel.pid());
        if *files.get_or_insert(open) != open {
            return Err(format!("{files:?} files open before, {open:?} now"));
        }
        if let Traffic::Udp(flow) = traffic {
            let account = flow.finish();
            if account.corrupted + account.duplicated > 0 {
                return Err(format!("{account:?}"));
            }
        }
    }
    Ok(())
}
