//! A hub of several lanes, over edges that allocate nothing: everything that one lane does for another is done in memory
//! that was made ahead.

use core::time::Duration;
use std::sync::Arc;

use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use wg_datapath::proto::aead::RingAead;
use wg_datapath::sched::StrategyKind;
use wg_datapath::sched::handoff::Doorbell;
use wg_datapath::{Config, Device, DropReason, Exchange, HomeId, IpPrefix, Lane, Ways, begin_split};
use wg_tally::allocator;

use crate::edges::{Host, Wire, member_of};
use crate::star::{End, inner, key, now, outer};

const LANES: usize = 3;
const PEERS: u16 = 6;

/// The lanes of the hub, and then its peers.
fn ends(wire: &Wire) -> Vec<End<RingAead>> {
    let bells: Vec<_> = (0..LANES).map(|_| Arc::new(Doorbell::new(|| {}))).collect();
    let ways = Ways::between(&bells);
    let parts = Exchange::between(bells).into_iter().zip(ways);
    let lanes = parts.enumerate().map(|(home, (exchange, ways))| {
        let rng = ChaCha20Rng::seed_from_u64(home as u64);
        let mut device = Device::new(Config::default(), rng).unwrap();
        device.set_home(exchange.home(), LANES, move |index| member_of(index.get(), LANES) == home);
        device.set_private_key(Some(key(0)), now());
        device.set_up(true, now());
        let host = Host { from: inner(0), ..Host::default() };
        let mut lane = Lane::among(exchange);
        lane.join_ways(ways);
        End::with(device, lane, host, wire.member(outer(0), home, LANES))
    });
    let mut ends: Vec<_> = lanes.collect();
    for number in 1..=PEERS {
        // Each is at home in the lane whose turn it is, and there it is added first.
        let home = ends[0].device.next_home().index();
        ends[home].add(number, key(number).public_key());
        for other in (0..LANES).filter(|other| *other != home) {
            let id = ends[other].device.add_peer(key(number).public_key()).unwrap();
            let prefix = IpPrefix::new(inner(number).into(), 32).unwrap();
            ends[other].device.add_allowed_ip(id, prefix).unwrap();
            ends[other].host.to.push(inner(number));
        }
    }
    for number in 1..=PEERS {
        let mut peer = End::new(number, wire);
        peer.add(0, key(0).public_key());
        ends.push(peer);
    }
    ends
}

#[test]
fn packets_initiations_and_slabs_between_lanes_allocate_nothing() {
    let wire = Wire::default();
    let mut ends = ends(&wire);
    let mut now = now();
    let second = LANES + 1;
    ends[second].host.waiting = 1;
    ends[second].step(now);
    let initiation = ends[second].socket.last().to_vec();
    assert_eq!(initiation.len(), 148);

    let mut run = |ends: &mut Vec<End<RingAead>>, burst: usize| {
        // Peers first: the sessions are begun by them, and their initiations come to the first lane.
        ends[LANES..].iter_mut().for_each(|end| end.host.waiting = 1);
        while ends.iter_mut().map(|end| end.step(now)).fold(false, |any, worked| any | worked) {}
        ends.iter_mut().for_each(|end| end.host.waiting = burst);
        while ends.iter_mut().map(|end| end.step(now)).fold(false, |any, worked| any | worked) {}
        now.instant = now.instant.saturating_add(Duration::from_millis(12));
        LANES * burst + usize::from(PEERS) * (1 + burst)
    };
    for burst in [700, 1, 2, 63, 65, 200, 480, 700, 1, 2, 63, 65, 200, 480, 500] {
        run(&mut ends, burst);
    }
    let count = |ends: &[End<RingAead>]| ends.iter().map(|end| end.host.delivered).sum::<usize>();
    let (calls, delivered, mut sent) = (allocator::calls(), count(&ends), 0);
    while sent < 20_000 {
        for burst in [1, 2, 63, 65, 200, 480] {
            sent += run(&mut ends, burst);
        }
    }
    assert_eq!(allocator::calls() - calls, 0, "for {sent} packets");
    assert_eq!(count(&ends) - delivered, sent);
    assert!(ends.iter().all(|end| end.device.drops().total() == 0));

    // An initiation that is seen again goes to the home of its peer, and is no good there.
    let before = ends[1].device.drops().get(DropReason::OldTimestamp);
    for _ in 0..300 {
        wire.inject(outer(2), outer(0), &initiation);
        run(&mut ends, 1);
    }
    assert_eq!(allocator::calls() - calls, 0);
    assert_eq!(ends[1].device.drops().get(DropReason::OldTimestamp) - before, 300);
}

#[test]
fn batches_that_other_lanes_open_allocate_nothing_and_take_no_more_than_was_said() {
    let wire = Wire::default();
    let mut ends = ends(&wire);
    let mut now = now();
    let mut run = |ends: &mut Vec<End<RingAead>>, burst: usize| {
        ends[LANES..].iter_mut().for_each(|end| end.host.waiting = burst);
        while ends.iter_mut().map(|end| end.step(now)).fold(false, |any, worked| any | worked) {}
        now.instant = now.instant.saturating_add(Duration::from_millis(12));
        usize::from(PEERS) * burst
    };
    run(&mut ends, 1);
    wire.split(true);
    let before = allocator::live();
    let mut lanes: Vec<_> = ends[..LANES].iter_mut().map(|end| end.io(Default::default())).collect();
    begin_split(
        &mut lanes,
        |_, _| true,
        |index| HomeId::new(u8::try_from(member_of(index.get(), LANES)).unwrap()),
    );
    drop(lanes);
    let taken = usize::try_from(allocator::live() - before).unwrap();
    let bound = ends[0].lane.max_memory() - Lane::<RingAead>::new().max_memory();
    assert!(taken < LANES * bound, "{taken}");
    ends[..LANES].iter_mut().for_each(|end| end.follow(StrategyKind::CounterSplit));
    for burst in [400, 1, 2, 63, 65, 200, 400, 400] {
        run(&mut ends, burst);
    }
    let count = |ends: &[End<RingAead>]| ends.iter().map(|end| end.host.delivered).sum::<usize>();
    let (calls, delivered, mut sent) = (allocator::calls(), count(&ends), 0);
    while sent < 20_000 {
        for burst in [1, 2, 63, 65, 200, 400] {
            sent += run(&mut ends, burst);
        }
    }
    assert_eq!(allocator::calls() - calls, 0, "for {sent} packets");
    assert_eq!(count(&ends) - delivered, sent);
    assert!(ends.iter().all(|end| end.device.drops().total() == 0));
}
