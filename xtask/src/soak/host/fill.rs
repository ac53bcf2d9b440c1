//! R5: 1,000 peers, or 10,000 in every second trial; one of a hundred has a session, ten changes a second.

use core::fmt::Write as _;
use core::net::IpAddr;
use core::time::Duration;
use std::time::Instant;

use wg_netns::key::Key;
use wg_netns::newcomers::{self, Newcomers};
use wg_netns::{Family, Pair, Program, echo, process, uapi};

use super::Choices;
use super::figures::{add, sample};
use crate::soak::progress::Counts;

const PEERS: [u32; 2] = [1000, 10_000];
const INTERVAL: Duration = Duration::from_millis(100);
const CHANGES: u32 = 80;
const PATIENCE: Duration = Duration::from_secs(10);

/// Fills a gateway, and looks at its memory and at its one busy peer.
pub(super) fn trial(seed: u64, counts: &mut Counts) -> Result<(), String> {
    let mut choices = Choices(seed);
    let peers = PEERS[usize::from(seed.is_multiple_of(2))];
    let pair = Pair::acquainted([Program::Gateway; 2], Family::V4);
    let (node, other) = (&pair.a, &pair.b);
    newcomers::prepare(&other.namespace);
    let way = format!("{} via {}", newcomers::ADDRESSES, other.outer(Family::V4));
    node.namespace.ip(&format!("route add {way}"));
    if !other.reaches_within(PATIENCE, node, Family::V4) {
        return Err("no session".into());
    }
    let resident = || process::resident_kib(node.tunnel.pid()).unwrap_or(0);
    let empty = resident();
    let mut keys: Vec<Key> = Vec::new();
    let mut took = Duration::ZERO;
    for first in (0..peers).step_by(500) {
        let mut body = String::new();
        for number in first..peers.min(first + 500) {
            keys.push(Key::random());
            write_peer(&mut body, keys.last().expect("one was pushed"), number);
        }
        took += set(node.interface(), &body)?;
    }
    let name = |what: &str| format!("{what}, {peers} peers");
    sample(
        counts,
        &name("us to add a peer"),
        u64::try_from(took.as_micros()).unwrap_or(0) / u64::from(peers),
    );
    let grown = resident().saturating_sub(empty) * 1024;
    sample(counts, &name("bytes of memory of an idle peer"), grown / u64::from(peers));

    let active = u16::try_from(peers / 100).unwrap_or(u16::MAX);
    let before = resident();
    let window = Duration::from_secs(2);
    let newcomers = Newcomers::start(&other.namespace, node, node.endpoint(Family::V4), active, window, None);
    let IpAddr::V4(inside) = node.inner(Family::V4) else { return Err("no IPv4".into()) };
    let report = std::thread::scope(|scope| {
        let time = INTERVAL * CHANGES;
        let echo =
            scope.spawn(move || echo::run(&other.namespace, inside, Duration::from_millis(10), time, None));
        let start = Instant::now();
        for number in 0..CHANGES {
            let at = usize::try_from(choices.below(keys.len() as u64)).unwrap_or(0);
            let mut body = format!("public_key={}\nremove=true\n", keys[at].hex());
            keys[at] = Key::random();
            write_peer(&mut body, &keys[at], u32::try_from(at).unwrap_or(0));
            std::thread::sleep((INTERVAL * number).saturating_sub(start.elapsed()));
            let took = set(node.interface(), &body)?;
            sample(counts, &name("us of a change"), u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
            add(counts, "changes", 1);
        }
        echo.join().map_err(|_| "the echo requests ended with a panic".to_owned())
    })?;
    add(counts, &name("memory grown with the active ones, KiB"), resident().saturating_sub(before));
    for (_, trip) in &report.requests {
        match trip {
            Some(trip) => {
                let trip = u64::try_from(trip.as_micros()).unwrap_or(u64::MAX);
                sample(counts, &name("us of an echo"), trip);
            }
            None => add(counts, &name("echoes lost"), 1),
        }
    }
    let times = newcomers.finish();
    if times.iter().any(Option::is_none) {
        return Err(format!("{:?} of the active peers have a session", times.iter().flatten().count()));
    }
    let status = uapi::get(node.interface()).map_err(|error| format!("no state: {error}"))?;
    if status.peers.len() != keys.len() + 1 {
        return Err(format!("{} peers where there should be {}", status.peers.len(), keys.len() + 1));
    }
    Ok(())
}

fn write_peer(body: &mut String, key: &Key, number: u32) {
    let [_, high, middle, low] = number.to_be_bytes();
    writeln!(body, "public_key={}\nallowed_ip=10.{}.{middle}.{low}/32", key.hex(), 100 + high)
        .expect("writing to a string");
}

/// Applies it, and tells how long that took.
fn set(interface: &str, body: &str) -> Result<Duration, String> {
    let start = Instant::now();
    match uapi::set(interface, body) {
        Ok(0) => Ok(start.elapsed()),
        answer => Err(format!("{answer:?} to\n{body}")),
    }
}
