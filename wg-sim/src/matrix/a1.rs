//! A1: floods of forgeries, ten thousand a second, at a device and at a peer. Nothing is allocated, nothing but cookies
//! comes out, and the public-key work is that of the messages that are served until the queue has reached its threshold, and of
//! 20 a second for each source that has proven its address.
//!
//! Here a device is given datagrams in runs of sockets' size, as under load its queue must fill.

mod edge;

use core::net::SocketAddr;
use core::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;

use wg_datapath::sched::{Budget, CoreId, Strategy, StrategyKind};
use wg_datapath::{Config, Device, IpPrefix, Lane, LaneIo, Now};
use wg_proto::aead::RingAead;
use wg_proto::limits::{LIMITER_BURST, LIMITER_PER_SECOND};
use wg_proto::wire::{CookieReply, MessageType, message_type};
use wg_proto::{
    CookieJar, DhError, Instant, Mac1Key, PrivateKey, PublicKey, SharedSecret, StaticIdentity, UnixTime,
};

use super::{Failure, Scale, must};
use crate::draw::{Draw, Entropy, mix};
use crate::report::Counts;
use edge::{Flood, NoTun};

/// Datagrams of a millisecond.
const PER_MILLISECOND: u64 = 10;
/// The queue of the device, and the part of it from which it is under load.
const QUEUE: usize = 1024;
const THRESHOLD: u64 = QUEUE as u64 / 8;
/// What is served before the queue has reached its threshold: one for each socket's worth that comes in meanwhile.
const UNTIL_LOADED: u64 = THRESHOLD / 64 + 1;

/// What an attacker sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Random,
    WrongMac1,
    RightMac1,
    /// From addresses of his own, with the cookies he was given.
    Verified,
}

/// A key that counts the work done with it.
struct Counting {
    key: PrivateKey,
    count: Arc<AtomicU64>,
}

impl StaticIdentity for Counting {
    fn public_key(&self) -> PublicKey {
        self.key.public_key()
    }

    fn diffie_hellman(&self, their: &PublicKey) -> Result<SharedSecret, DhError> {
        self.count.fetch_add(1, Ordering::Relaxed);
        self.key.diffie_hellman(their).map_err(DhError::from)
    }
}

struct Target {
    device: Device<RingAead, Entropy>,
    lane: Lane<RingAead>,
    udp: Flood,
    work: Arc<AtomicU64>,
    public_key: PublicKey,
}

pub(super) fn run(seed: u64, scale: Scale, allocations: Option<fn() -> u64>) -> Result<Counts, Failure> {
    let mut counts = Counts { trials: 1, ..Counts::default() };
    for kind in [Kind::Random, Kind::WrongMac1, Kind::RightMac1, Kind::Verified] {
        flood(seed, kind, scale.of(5, 100), allocations, &mut counts)?;
    }
    Ok(counts)
}

/// When `seconds` have passed since the first.
fn at(millis: u64) -> Now {
    let wall = UnixTime::new(1_800_000_000 + millis / 1000, 0);
    Now { instant: Instant::from_nanos((1_000_000 + millis) * 1_000_000), wall }
}

fn target(seed: u64) -> Target {
    let key = PrivateKey::from_bytes([7; 32]);
    let public_key = key.public_key();
    let work = Arc::new(AtomicU64::new(0));
    let config = Config { max_peers: 4, handshake_queue: QUEUE, ..Config::default() };
    let mut device = match Device::new(config, Entropy::new(seed)) {
        Ok(device) => device,
        Err(error) => unreachable!("{error}"),
    };
    device.set_identity(Box::new(Counting { key, count: Arc::clone(&work) }), at(0));
    device.set_up(true, at(0));
    let peer = device.add_peer(PrivateKey::from_bytes([8; 32]).public_key());
    if let (Ok(peer), Ok(prefix)) = (peer, IpPrefix::new([10, 0, 0, 2].into(), 32)) {
        // A peer that was just added takes an address.
        let allowed = device.add_allowed_ip(peer, prefix);
        debug_assert!(allowed.is_ok());
    }
    Target { device, lane: Lane::new(), udp: Flood::new(), work, public_key }
}

fn flood(
    seed: u64,
    kind: Kind,
    seconds: u64,
    allocations: Option<fn() -> u64>,
    counts: &mut Counts,
) -> Result<(), Failure> {
    let mut target = target(seed);
    let mut draw = Draw::new(mix(seed, kind as u64));
    let mac1 = Mac1Key::new(&target.public_key);
    let mut sources: Vec<Source> = (0..4).map(Source::new).collect();
    let mut strategy = StrategyKind::default().build();
    let mut allocated = 0;
    target.work.store(0, Ordering::Relaxed);
    for millis in 0..seconds * 1000 {
        // Now and then as many at once as a socket holds, so that the queue fills, and before the load would end.
        let burst = if millis % 500 == 0 { 2000 } else { PER_MILLISECOND };
        for number in 0..burst {
            let source = usize::try_from(number % 4).unwrap_or(0);
            let (message, from) = message(kind, &mac1, &mut sources[source], millis, &mut draw);
            target.udp.push(&message, from);
            counts.faults_forge += 1;
        }
        let before = allocations.map(|count| count());
        let mut io = LaneIo {
            device: &mut target.device,
            lane: &mut target.lane,
            tun: &mut NoTun,
            udp: &mut target.udp,
            now: at(millis),
        };
        io.lane.readable(true, true);
        while !strategy.step(CoreId(0), Budget::default(), &mut io).idle() {
            counts.steps += 1;
        }
        if let (Some(count), Some(before)) = (allocations, before) {
            // Slabs and batches are made with the first packets.
            allocated += if millis > 0 { count() - before } else { 0 };
        }
        for (bytes, to) in target.udp.take_sent() {
            counts.datagrams += 1;
            let cookie = message_type(&bytes) == Ok(MessageType::CookieReply);
            must(cookie, seed, || format!("{kind:?}: a message of type {} came out", bytes[0]))?;
            counts.cookie_replies += 1;
            if kind == Kind::Verified {
                answered(&mut sources, &target.public_key, &bytes, to, at(millis).instant);
            }
        }
    }
    let work = target.work.load(Ordering::Relaxed);
    counts.arrivals += target.udp.received;
    counts.refusals += target.device.drops().total();
    must(allocated == 0, seed, || format!("{kind:?}: {allocated} allocations"))?;
    // While it is under load the queue does not grow, so that after a second it is not, and finds out again.
    let unverified = seconds * UNTIL_LOADED;
    let verified = u64::from(LIMITER_BURST) + seconds * u64::from(LIMITER_PER_SECOND);
    let bound = match kind {
        Kind::Random | Kind::WrongMac1 => 0,
        Kind::RightMac1 => unverified,
        Kind::Verified => unverified + verified * sources.len() as u64,
    };
    must(work <= bound, seed, || format!("{kind:?}: {work} Diffie-Hellman, where {bound} may be"))?;
    let wanted = matches!(kind, Kind::RightMac1 | Kind::Verified);
    must(!wanted || target.udp.sent > 0, seed, || format!("{kind:?}: no cookie came out"))
}

/// An address of the attacker, and what he was given there.
struct Source {
    address: SocketAddr,
    jar: CookieJar,
    last: [u8; 148],
}

impl Source {
    fn new(number: u8) -> Self {
        Self { address: ([198, 51, 100, number], 9).into(), jar: CookieJar::default(), last: [0; 148] }
    }
}

fn message(
    kind: Kind,
    mac1: &Mac1Key,
    source: &mut Source,
    millis: u64,
    draw: &mut Draw,
) -> ([u8; 148], SocketAddr) {
    let mut message = [0; 148];
    draw.fill(&mut message);
    let any = draw.any().to_le_bytes();
    let spoofed = SocketAddr::from(([any[0], any[1], any[2], any[3]], u16::from_le_bytes([any[4], any[5]])));
    if kind == Kind::Random {
        return (message, spoofed);
    }
    message[..4].copy_from_slice(&[1, 0, 0, 0]);
    message[132..].fill(0);
    match kind {
        Kind::Random | Kind::WrongMac1 => {}
        Kind::RightMac1 => {
            mac1.write(&mut message);
        }
        Kind::Verified => {
            source.jar.write_macs(mac1, &mut message, at(millis).instant);
            source.last = message;
            return (message, source.address);
        }
    }
    (message, spoofed)
}

/// The attacker takes a cookie to heart.
fn answered(sources: &mut [Source], issuer: &PublicKey, bytes: &[u8], to: SocketAddr, now: Instant) {
    let Some(source) = sources.iter_mut().find(|source| source.address == to) else { return };
    if let Ok(reply) = CookieReply::parse(bytes)
        && bytes.get(4..8) == source.last.get(4..8)
    {
        // One for a message before the last is of no use to him.
        let _taken = source.jar.consume_reply(issuer, &reply, now).is_ok();
    }
}
