//! What a device allocates, by a counting allocator: nothing for a packet, nothing for whoever is not authentic, and a
//! bounded and measured amount for a peer.
//!
//! `cargo test -p wg-datapath --test memory -- --nocapture` prints the figures.

#[path = "memory/edges.rs"]
mod edges;
#[path = "memory/lanes.rs"]
mod lanes;
#[path = "memory/star.rs"]
mod star;

use core::net::SocketAddr;
use core::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use wg_datapath::proto::aead::RingAead;
use wg_datapath::proto::noise::create_initiation;
use wg_datapath::proto::wire::CookieReply;
use wg_datapath::proto::{CookieJar, Mac1Key, PrivateKey, PublicKey, SessionIndex, Tai64n};
use wg_datapath::{Config, Device, DropReason};
use wg_tally::allocator;

use crate::edges::Wire;
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
        assert!(each <= 2048, "{each} bytes a peer, of {peers}");
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
fn a_device_and_a_lane_take_what_their_bounds_say() {
    let before = allocator::live();
    let device = Device::<RingAead, _>::new(Config::default(), ChaCha20Rng::seed_from_u64(1)).unwrap();
    let alone = usize::try_from(allocator::live() - before).unwrap();
    println!("a device without peers: {alone} bytes");
    assert!(alone <= 1 << 20);
    drop(device);

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
