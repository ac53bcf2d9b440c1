//! R2: the link goes down and up, an address goes, a port changes, during traffic both ways.

use core::net::SocketAddr;
use core::time::Duration;
use std::time::Instant;

use wg_netns::node::PORT;
use wg_netns::udp::{Account, Flow};
use wg_netns::{Family, Pair, Program, uapi, wait};

use super::Choices;
use super::figures::{add, sample, sample_ms};
use crate::soak::progress::Counts;

/// Before the timers of the protocol would help (C125).
const LIMIT: Duration = Duration::from_secs(8);
const RATE: u32 = 500;

/// One fault of each kind, in any order.
pub(super) fn trial(seed: u64, counts: &mut Counts) -> Result<(), String> {
    let mut choices = Choices(seed);
    let pair = Pair::acquainted([Program::Gateway; 2], Family::V4);
    let (mover, other, link) = (&pair.a, &pair.b, &pair.cable.first);
    // Otherwise the kernel takes all addresses of the subnet with the first one.
    mover.namespace.set_sysctl(&format!("ipv4/conf/{link}/promote_secondaries"), "1");
    if !mover.reaches_within(LIMIT, other, Family::V4) {
        return Err("no session".into());
    }
    let there =
        Flow::start(&mover.namespace, &other.namespace, (other.inner(Family::V4), 9000).into(), RATE, 200);
    let back =
        Flow::start(&other.namespace, &mover.namespace, (mover.inner(Family::V4), 9000).into(), RATE, 200);
    if !wait::until(LIMIT, || there.received() > 50 && back.received() > 50) {
        return Err("no traffic".into());
    }
    let (mut expected, mut faults) = (mover.endpoint(Family::V4), vec![0, 1, 2]);
    while !faults.is_empty() {
        let at = usize::try_from(choices.below(faults.len() as u64)).unwrap_or(0);
        let fault = faults.remove(at);
        let name = match fault {
            0 => {
                mover.namespace.ip(&format!("link set {link} down"));
                std::thread::sleep(Duration::from_millis(choices.below(600)));
                mover.namespace.ip(&format!("link set {link} up"));
                "link down and up"
            }
            1 => {
                mover.namespace.ip(&format!("addr del {}/24 dev {link}", mover.outer(Family::V4)));
                expected.set_ip(mover.second_outer(Family::V4));
                "change of address"
            }
            _ => {
                let port = PORT + 1 + u16::try_from(choices.below(1000)).unwrap_or(0);
                let errno = uapi::set(mover.interface(), &format!("listen_port={port}\n"));
                if errno.as_ref().ok() != Some(&0) {
                    return Err(format!("the port does not change: {errno:?}"));
                }
                expected.set_port(port);
                "change of port"
            }
        };
        let (start, before) = (Instant::now(), [&there, &back].map(Flow::received));
        if !wait::until(LIMIT, || there.received() > before[0]) {
            return Err(format!("{name}: the mover is not heard"));
        }
        sample_ms(counts, &format!("ms to {name}, there"), start.elapsed());
        // What was heard after the fault moved the endpoint with it.
        let endpoint = || -> Option<SocketAddr> { other.peer_directly(mover).endpoint };
        if !wait::until(LIMIT, || endpoint() == Some(expected)) {
            return Err(format!("{name}: the endpoint is {:?} and not {expected}", endpoint()));
        }
        let before = back.received().max(before[1]);
        if !wait::until(LIMIT, || back.received() > before) {
            return Err(format!("{name}: the mover is not found"));
        }
        sample_ms(counts, &format!("ms to {name}, back"), start.elapsed());
        add(counts, "faults", 1);
        std::thread::sleep(Duration::from_secs(1));
    }
    for (account, way) in [(there.finish(), "there"), (back.finish(), "back")] {
        take(&account, way, counts)?;
    }
    Ok(())
}

fn take(account: &Account, way: &str, counts: &mut Counts) -> Result<(), String> {
    add(counts, &format!("packets {way}"), account.sent);
    add(counts, &format!("lost {way}"), account.lost());
    // At most one run of losses for each of three faults; more may be the machine's, and are shown.
    add(counts, &format!("gaps beyond the faults, {way}"), (account.gaps.len() as u64).saturating_sub(3));
    for (_, lost) in &account.gaps {
        sample(counts, &format!("ms of a gap, {way}"), lost * 1000 / u64::from(RATE));
    }
    if account.corrupted + account.duplicated > 0 { Err(format!("{way}: {account:?}")) } else { Ok(()) }
}
