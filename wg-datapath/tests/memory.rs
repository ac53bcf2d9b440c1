//! What a device allocates, by a counting allocator: nothing for a packet, nothing for whoever is not authentic, and a
//! bounded and measured amount for a peer.
//!
//! `cargo test -p wg-datapath --test memory -- --nocapture` prints the figures.

#[path = "memory/edges.rs"]
#[expect(dead_code, reason = "the edges of another test, which loses datagrams")]
mod edges;
#[path = "memory/lanes.rs"]
mod lanes;
#[path = "memory/star.rs"]
mod star;

use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use std::sync::Arc;

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use wg_datapath::proto::aead::RingAead;
use wg_datapath::proto::noise::create_initiation;
use wg_datapath::proto::wire::CookieReply;
use wg_datapath::proto::{CookieJar, Mac1Key, PrivateKey, PublicKey, SessionIndex, Tai64n};
use wg_datapath::sched::handoff::Doorbell;
use wg_datapath::sched::{Capacity, CoreId, CoreIo as _, Crew, Helper, Homes, Lane, LaneId, Plan};
use wg_datapath::{AllowedIps, Config, Device, DropReason, IpPrefix, LaneIo, Now, PeerSlot, StagedPool};
use wg_tally::allocator;

use crate::edges::{Host, Socket, Wire};
use crate::star::{key, now, outer};

type End = star::End<RingAead>;
type Star = star::Star<RingAead>;

/// Slabs of a lane, each of 64 KiB: 64 to receive into, as many and another 32 on their way in, 64 for frames that wait, three
/// for each batch on its way out, one to read into and one to write from.
const SLABS: usize = 160 + 64 + 51 + 2;

#[test]
fn ten_thousand_packets_each_way_allocate_nothing() {
    let mut star = Star::new(3);
    star.warm_up();
    let (calls, delivered) = (allocator::calls(), star.delivered());
    let mut sent = 0;
    while sent < 10_000 {
        for burst in [1, 2, 63, 64, 65, 200, 500] {
            star.exchange(burst);
            sent += burst;
        }
    }
    assert_eq!(allocator::calls() - calls, 0, "for {sent} packets of four devices");
    assert_eq!(star.delivered() - delivered, sent * 4);
    assert!(star.ends.iter().all(|end| end.device.drops().total() == 0));
    for end in &star.ends {
        assert!(end.lane.slabs_high_water() <= SLABS, "{}", end.lane.slabs_high_water());
    }
}

#[test]
fn timers_allocate_nothing() {
    let mut star = Star::new(3);
    star.warm_up();
    let peers: Vec<_> = star.ends[0].device.peers().map(|status| status.id).collect();
    for peer in peers {
        star.ends[0].device.set_persistent_keepalive(peer, 5, star.now);
    }
    star.settle();
    let (calls, sent) = (allocator::calls(), star.ends[0].socket.sent);
    for _ in 0..200 {
        star.now.instant = star.now.instant.saturating_add(Duration::from_millis(500));
        star.settle();
        star.ends[0].device.poll_timeout();
    }
    assert_eq!(allocator::calls() - calls, 0);
    assert!(star.ends[0].socket.sent - sent >= 3 * 100 / 5 - 3, "keepalives were sent");
}

/// Everything that a stranger can send, some of it with knowledge of our public key and of a live index.
struct Stranger {
    rng: ChaCha20Rng,
    mac1: Mac1Key,
    live: [u8; 4],
    sealed: Vec<u8>,
    sources: Vec<(SocketAddr, CookieJar)>,
}

impl Stranger {
    fn new(star: &mut Star) -> Self {
        // A datagram of the hub's peer: its index is live, and it may be replayed.
        star.exchange(1);
        let sealed = star.ends[1].socket.last().to_vec();
        let live = sealed[4..8].try_into().unwrap();
        let sources = (0..50).map(|last| (([203, 0, 113, last], 9).into(), CookieJar::default())).collect();
        let mac1 = Mac1Key::new(&key(0).public_key());
        Self { rng: ChaCha20Rng::seed_from_u64(5), mac1, live, sealed, sources }
    }

    /// One burst of everything.
    fn flood(&mut self, star: &mut Star) {
        let wire = star.wire.clone();
        let from = SocketAddr::from(([198, 51, 100, 1], 7));
        let mut bytes = [0; 1400];
        for round in 0..40_usize {
            self.rng.fill_bytes(&mut bytes);
            wire.inject(from, outer(0), &bytes[..round * 31]);
            bytes[..4].copy_from_slice(&[4, 0, 0, 0]);
            wire.inject(from, outer(0), &bytes[..32 + round]);
            bytes[4..8].copy_from_slice(&self.live);
            bytes[12..16].fill(0);
            wire.inject(from, outer(0), &bytes[..32 + round * 30]);
            bytes[..4].copy_from_slice(&[3, 0, 0, 0]);
            wire.inject(from, outer(0), &bytes[..64]);
            wire.inject(from, outer(0), &self.sealed);
            for (kind, len) in [(1, 148), (2, 92)] {
                bytes[..4].copy_from_slice(&[kind, 0, 0, 0]);
                bytes[len - 16..len].fill(0);
                wire.inject(from, outer(0), &bytes[..len]);
                self.mac1.write(&mut bytes[..len]);
                // So many that they fill the queue.
                (0..4).for_each(|_| wire.inject(from, outer(0), &bytes[..len]));
            }
        }
        star.settle();
    }

    /// A message at a time, so that each is worked on.
    fn knock(&mut self, star: &mut Star) {
        star.now.instant = star.now.instant.saturating_add(Duration::from_secs(2));
        let mut bytes = [0xa5; 148];
        for (kind, len) in [(1, 148), (2, 92)] {
            bytes[..4].copy_from_slice(&[kind, 0, 0, 0]);
            bytes[len - 16..len].fill(0);
            self.mac1.write(&mut bytes[..len]);
            star.wire.inject(self.sources[0].0, outer(0), &bytes[..len]);
            star.settle();
        }
    }

    /// Each source asks for a cookie, and comes back with it as often as it likes, in the name of nobody.
    fn verified(&mut self, star: &mut Star) {
        let local = key(9999);
        let to = key(0).public_key();
        let static_static = local.diffie_hellman(&to).unwrap();
        for (number, (source, jar)) in (0..).zip(&mut self.sources) {
            let stamp = Tai64n::from_unix(star.now.wall);
            let (_, mut message) = create_initiation(
                &local.public_key(),
                &to,
                &static_static,
                stamp,
                PrivateKey::from_bytes([number; 32]),
                SessionIndex::new(number.into()),
            )
            .unwrap();
            for _ in 0..3 {
                jar.write_macs(&self.mac1, &mut message, star.now.instant);
                let sent = star.ends[0].socket.sent;
                star.wire.inject(*source, outer(0), &message);
                star.settle();
                if star.ends[0].socket.sent > sent {
                    let reply = CookieReply::parse(star.ends[0].socket.last()).expect("a cookie reply");
                    jar.consume_reply(&to, &reply, star.now.instant).unwrap();
                }
            }
        }
    }
}

#[test]
fn floods_of_strangers_allocate_nothing() {
    // C116
    let mut star = Star::new(2);
    star.warm_up();
    let mut stranger = Stranger::new(&mut star);
    let (calls, live) = (allocator::calls(), allocator::live());
    for _ in 0..20 {
        stranger.flood(&mut star);
    }
    stranger.verified(&mut star);
    stranger.flood(&mut star);
    stranger.knock(&mut star);
    assert_eq!((allocator::calls() - calls, allocator::live() - live), (0, 0));
    let drops = star.ends[0].device.drops();
    for reason in [
        DropReason::MessageTooShort,
        DropReason::UnknownMessageType,
        DropReason::UnknownIndex,
        DropReason::InvalidTag,
        DropReason::Replay,
        DropReason::InvalidCookieReply,
        DropReason::InvalidMac1,
        DropReason::HandshakeDecrypt,
        DropReason::UnexpectedResponse,
        DropReason::CookieSent,
        DropReason::UnknownPeer,
        DropReason::HandshakeQueueFull,
    ] {
        assert!(drops.get(reason) > 0, "{reason}: {drops:?}");
    }
    assert!(star.ends[0].lane.slabs_high_water() <= SLABS);
    let delivered = star.delivered();
    star.exchange(10);
    assert_eq!(star.delivered() - delivered, 30, "and traffic goes on");
}

#[test]
fn traffic_and_floods_together_allocate_nothing() {
    let mut star = Star::new(2);
    star.warm_up();
    let mut stranger = Stranger::new(&mut star);
    stranger.flood(&mut star);
    star.exchange(300);
    let calls = allocator::calls();
    for burst in [1, 64, 300, 7] {
        for end in &mut star.ends {
            end.host.waiting = burst;
        }
        stranger.flood(&mut star);
        star.exchange(burst);
    }
    assert_eq!(allocator::calls() - calls, 0);
}

/// What an idle peer takes at most.
const IDLE_PEER: usize = 1536;
/// What the lanes of other homes know of a peer's keys while counters are split, at most.
const FOREIGN_PEER: usize = 320;

/// What the bound of a device has for each peer.
fn bound_of_a_peer() -> usize {
    let bound = |max_peers| Config { max_peers, ..Config::default() }.max_memory::<RingAead>();
    bound(1) - bound(0)
}

/// The memory that `peers` peers take, each with one allowed IP and an endpoint.
fn idle(peers: u16) -> usize {
    let wire = Wire::default();
    let mut hub = End::new(0, &wire);
    hub.host.to.reserve(peers.into());
    let public_keys: Vec<PublicKey> = (1..=peers)
        .map(|number| {
            // Any 32 bytes are a public key.
            let mut bytes = [3; 32];
            bytes[..2].copy_from_slice(&number.to_le_bytes());
            PublicKey::from_bytes(bytes)
        })
        .collect();
    let before = allocator::live();
    for (number, public_key) in (1..).zip(public_keys) {
        hub.add(number, public_key);
    }
    usize::try_from(allocator::live() - before).unwrap()
}

#[test]
fn an_idle_peer_takes_two_kilobytes_at_most() {
    // R5, C138
    let peers = [1000, 1024, 1025, 4000];
    // The last costs an emulated machine half a minute.
    let most = if std::env::var_os("WG_FEWER_CASES").is_some() { 1025 } else { 4000 };
    for peers in peers.into_iter().filter(|peers| *peers <= most) {
        let each = idle(peers) / usize::from(peers);
        println!("{peers} idle peers: {each} bytes each");
        assert!(each <= IDLE_PEER, "{each} bytes a peer, of {peers}");
    }
}

#[test]
fn a_live_session_adds_its_window_and_two_keys() {
    // R5: 1 KiB of window for each keypair, and the keys of the backend.
    const PEERS: u16 = 16;
    let mut star = Star::new(PEERS);
    // One session first, so that the lane has what it needs.
    star.ends[1].host.waiting = 1;
    star.settle();
    let before = allocator::live();
    let first = 2;
    let mut hub_only = 0;
    for peer in first..=PEERS {
        star.ends[usize::from(peer)].host.waiting = 1;
        star.ends[usize::from(peer)].step(star.now);
        let before = allocator::live();
        star.ends[0].step(star.now);
        hub_only += allocator::live() - before;
        star.settle();
    }
    assert!(allocator::live() > before);
    println!("a key: {} bytes", size_of::<RingAead>());
    let each = usize::try_from(hub_only).unwrap() / usize::from(PEERS - first + 1);
    println!("a keypair: {each} bytes");
    assert!(each <= 1024 + 1536, "{each} bytes a keypair");
    // And that is what the bound of a device has for it, beside an idle peer.
    let keypair = (bound_of_a_peer() - IDLE_PEER) / 3;
    let most = each + 64 + FOREIGN_PEER / 3;
    assert!(each <= keypair && keypair <= most, "{each} of {keypair} bytes a keypair");
}

/// What `work` leaves allocated.
fn grown<T>(work: impl FnOnce() -> T) -> (usize, T) {
    let before = allocator::live();
    let result = work();
    (usize::try_from(allocator::live() - before).unwrap_or(0), result)
}

fn io(end: &mut End, now: Now) -> LaneIo<'_, RingAead, ChaCha20Rng, Host, Socket> {
    let star::End { device, lane, host, socket, .. } = end;
    LaneIo { device, lane, tun: host, udp: socket, now }
}

#[test]
fn a_device_and_a_lane_that_are_full_stay_under_their_bound() {
    const PEERS: u16 = 8;
    const SILENT: u16 = 192;
    const BATCHES: usize = 17;
    let peers = usize::from(PEERS + SILENT);
    let config = Config { max_peers: peers, max_allowed_ips: peers, ..Config::default() };
    let wire = Wire::default();
    let mut others: Vec<End> = (1..=PEERS).map(|number| End::new(number, &wire)).collect();
    others.iter_mut().for_each(|other| other.add(0, key(0).public_key()));
    let (mailbox, _) = grown(|| wire.socket(outer(9999)));
    let (both, mut hub) = grown(|| End::with_config(0, &wire, config));
    let mut total = both.saturating_sub(mailbox);
    // A helper, whose own part is not the lane's.
    let (crew, helper) = grown(|| {
        let plan = Plan {
            lanes: vec![Lane { id: LaneId(0), core: CoreId(0) }],
            helpers: vec![Helper { core: CoreId(1), lanes: vec![LaneId(0)] }],
        };
        let bell = Arc::new(Doorbell::new(|| {}));
        let mut crew = Crew::new(&plan, Homes::OfLanes, Capacity::default(), |_| Arc::clone(&bell));
        hub.lane.join(crew.take(CoreId(0)).unwrap());
        crew.take(CoreId(1)).unwrap()
    });
    total += crew - helper.memory_bytes();
    hub.host.to.reserve(peers);
    // All the peers there may be.
    total += grown(|| (1..=PEERS + SILENT).for_each(|number| hub.add(number, key(number).public_key()))).0;
    // As many keypairs as a peer may have: two that were used, and one that waits for its first packet.
    let mut now = now();
    for session in 0..3 {
        if session > 0 {
            now.instant = now.instant.saturating_add(Duration::from_secs(121));
        }
        for other in &mut others {
            other.host.waiting = 1;
            other.step(now);
            total += grown(|| hub.step(now)).0;
            if session < 2 {
                other.step(now);
                total += grown(|| hub.step(now)).0;
            }
        }
    }
    // The others do not answer: what is sent to them is staged, as much as there is room for.
    hub.host.to.drain(..usize::from(PEERS));
    hub.host.waiting = 40_000;
    total += grown(|| while hub.step(now) {}).0;
    assert!(hub.device.drops().get(DropReason::StagedOverflow) > 0);
    // All that a lane may have under way: of small packets, and then of large ones.
    hub.host.to = (1..=PEERS).map(star::inner).collect();
    for len in [400, 60_000] {
        (hub.host.waiting, hub.host.len) = (1 << 20, Some(len));
        let mut held = core::array::from_fn::<_, BATCHES, _>(|_| None);
        hub.lane.readable(true, false);
        total += grown(|| held.iter_mut().for_each(|place| *place = io(&mut hub, now).poll_tun())).0;
        assert!(held.iter().all(Option::is_some));
        // What is taken on from now makes room for itself. It is not sealed, and so goes nowhere.
        total += grown(|| {
            while hub.lane.wants_readable()
                && let Some(batch) = io(&mut hub, now).poll_tun()
            {
                io(&mut hub, now).send_udp(batch);
            }
            held.into_iter().flatten().for_each(|batch| io(&mut hub, now).send_udp(batch));
        })
        .0;
        hub.host.waiting = 0;
        while let Some(batch) = io(&mut hub, now).poll_tun() {
            io(&mut hub, now).send_udp(batch);
        }
    }
    let bound = config.max_memory::<RingAead>() + hub.lane.max_memory();
    println!("a device and a lane, full: {total} bytes of {bound}");
    assert!(total <= bound && bound <= 2 * total, "{total} of {bound}");
}

#[test]
fn peers_that_come_and_go_leave_nothing_behind() {
    // C137
    let wire = Wire::default();
    let mut hub = End::new(0, &wire);
    hub.host.to.reserve(10_000);
    let mut held = Vec::with_capacity(4);
    for _ in 0..4 {
        let ids: Vec<_> = (1..=500)
            .map(|number| {
                hub.add(number, key(number).public_key());
                hub.device.peer(&key(number).public_key()).unwrap()
            })
            .collect();
        for id in ids {
            hub.device.remove_peer(id);
        }
        held.push(allocator::live());
    }
    assert!(held[1..].iter().all(|live| live <= &held[0]), "{held:?}");
}

#[test]
fn staged_packets_stay_under_their_bound() {
    // Peers that never answer, each with more than it may stage.
    let wire = Wire::default();
    let mut hub = End::new(0, &wire);
    for number in 1..=200 {
        hub.add(number, key(number).public_key());
    }
    hub.host.waiting = 700;
    hub.step(now());
    let before = allocator::live();
    hub.host.waiting = 40_000;
    while hub.step(now()) {}
    let grown = usize::try_from((allocator::live() - before).max(0)).unwrap();
    let bound = Config::default().staged_bytes;
    println!("staged packets of 200 silent peers: at most {bound} bytes, here {grown}");
    assert!(grown <= bound + (1 << 20), "{grown}");
    assert!(hub.device.drops().get(DropReason::StagedOverflow) > 10_000);
    let peers: Vec<_> = hub.device.peers().map(|status| status.id).collect();
    peers.into_iter().for_each(|peer| hub.device.remove_peer(peer));
    let calls = allocator::calls();
    assert_eq!(hub.device.poll_timeout(), None);
    assert_eq!(allocator::calls(), calls);
}

#[test]
fn a_pool_of_small_packets_takes_what_its_bound_says() {
    let max_bytes = Config::default().staged_bytes;
    let mut pool = StagedPool::new(0);
    let (taken, ()) = grown(|| {
        pool = StagedPool::new(max_bytes);
        for number in 0..max_bytes / 256 {
            let peer = PeerSlot::new(u32::try_from(number / 128).unwrap());
            assert_eq!(pool.push(peer, &[1; 60]).dropped, 0);
        }
    });
    let bound = StagedPool::max_memory(max_bytes);
    println!("staged packets of 60 bytes: {taken} bytes of {bound}");
    // The table of peers is theirs, and here of 128.
    assert!(taken <= bound + 128 * 64 && bound <= 2 * taken, "{taken} of {bound}");
}

#[test]
fn allowed_ips_take_what_the_bound_of_a_device_has_for_them() {
    let bound = |max_allowed_ips| Config { max_allowed_ips, ..Config::default() }.max_memory::<RingAead>();
    let each = bound(1) - bound(0);
    let mut rng = ChaCha20Rng::seed_from_u64(3);
    let mut most = 0;
    for count in [100, 1000, 1025, 4000, 4100, 20_000_u32] {
        for kind in 0..3 {
            let mut prefix = |number: u32| match kind {
                0 => IpPrefix::new(IpAddr::from(rng.next_u32().to_be_bytes()), 32).unwrap(),
                1 => IpPrefix::new(IpAddr::from((u128::from(rng.next_u64()) << 64 | 1).to_be_bytes()), 128)
                    .unwrap(),
                _ => IpPrefix::new(IpAddr::from((0xfd << 120 | u128::from(number) << 64).to_be_bytes()), 64)
                    .unwrap(),
            };
            let (taken, _ips) = grown(|| {
                let mut ips = AllowedIps::new();
                for number in 0..count {
                    ips.insert(prefix(number), PeerSlot::new(number)).unwrap();
                }
                ips
            });
            most = most.max(taken / count as usize);
            assert!(
                taken <= bound(0).min(64 << 10) + count as usize * each,
                "{taken} bytes for {count} of kind {kind}"
            );
        }
    }
    println!("an allowed IP: {most} bytes at most, of {each}");
    assert!(each <= 2 * most, "{most} of {each}");
}

#[test]
fn a_device_and_a_lane_take_what_their_bounds_say() {
    let before = allocator::live();
    let device = Device::<RingAead, _>::new(Config::default(), ChaCha20Rng::seed_from_u64(1)).unwrap();
    let alone = usize::try_from(allocator::live() - before).unwrap();
    println!("a device without peers: {alone} bytes");
    assert!(alone <= 1 << 20);
    drop(device);
    let config = Config { max_peers: 0, max_allowed_ips: 0, staged_bytes: 0, ..Config::default() };
    let (alone, _device) =
        grown(|| Device::<RingAead, _>::new(config, ChaCha20Rng::seed_from_u64(1)).unwrap());
    let bound = config.max_memory::<RingAead>();
    assert!(alone <= bound && bound <= 2 * alone, "{alone} of {bound}");

    let mut star = Star::new(2);
    let before = allocator::live();
    star.warm_up();
    let grown = usize::try_from(allocator::live() - before).unwrap() / star.ends.len();
    println!(
        "a lane with a session, after traffic: {grown} bytes, {} slabs",
        star.ends[0].lane.slabs_high_water()
    );
    assert!(grown <= SLABS * 66_000);
    assert!(star.ends.iter().all(|end| end.lane.slabs_high_water() <= SLABS));
}
