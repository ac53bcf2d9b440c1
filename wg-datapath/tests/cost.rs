//! What it costs to be attacked, counted: allocations, multiplications on the curve, looks at a tag, and bytes sent.
//!
//! The multiplications of a process have one counter, so the tests here take turns.

#[path = "memory/edges.rs"]
#[allow(dead_code, reason = "for tests of several lanes")]
mod edges;
#[path = "memory/star.rs"]
#[allow(dead_code, reason = "for tests of several lanes")]
mod star;

use core::net::SocketAddr;
use core::time::Duration;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use wg_datapath::proto::aead::{Aead, AeadError, RingAead};
use wg_datapath::proto::noise::create_initiation;
use wg_datapath::proto::wire::CookieReply;
use wg_datapath::proto::{CookieJar, Mac1Key, PublicKey, SessionIndex, Tai64n, multiplications};
use wg_datapath::{BatchAead, DropReason};
use wg_tally::aead::{CountingAead, passes};
use wg_tally::allocator;

use crate::star::{key, now, outer};

type Star = star::Star<Counted>;

/// The counting AEAD, fit for the datapath.
#[derive(Debug)]
struct Counted(CountingAead<RingAead>);

impl Aead for Counted {
    fn new(key: &[u8; 32]) -> Self {
        Self(Aead::new(key))
    }

    fn seal_in_place(&self, counter: u64, buffer: &mut [u8]) -> Result<(), AeadError> {
        self.0.seal_in_place(counter, buffer)
    }

    fn open_in_place(&self, counter: u64, buffer: &mut [u8]) -> Result<(), AeadError> {
        self.0.open_in_place(counter, buffer)
    }

    fn open(&self, counter: u64, ciphertext: &[u8], out: &mut [u8]) -> Result<usize, AeadError> {
        self.0.open(counter, ciphertext, out)
    }
}

impl BatchAead for Counted {}

/// From so many on the device is under load: an eighth of its queue, see `star.rs`.
const THRESHOLD: usize = 8;
/// What the limiter gives a source, at once and a second (C113).
const BURST: usize = 5;
const PER_SECOND: usize = 20;
/// The sources that the limiter knows at a time.
const SOURCES: usize = 4096;

/// The victim is the hub.
const VICTIM: u16 = 0;

/// The cost of what is done while it lives, or of what was done since it was last read.
struct Meter {
    _turn: MutexGuard<'static, ()>,
    before: Cost,
}

/// What was spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cost {
    allocations: u64,
    multiplications: usize,
    passes: u64,
    answers: usize,
    answered_bytes: usize,
}

const NOTHING: Cost = Cost { allocations: 0, multiplications: 0, passes: 0, answers: 0, answered_bytes: 0 };

impl Cost {
    fn total(star: &Star) -> Self {
        let socket = &star.ends[usize::from(VICTIM)].socket;
        Self {
            allocations: allocator::calls(),
            multiplications: multiplications(),
            passes: passes(),
            answers: socket.sent,
            answered_bytes: socket.bytes,
        }
    }
}

impl Meter {
    /// Waits for its turn.
    fn wait() -> MutexGuard<'static, ()> {
        static TURN: Mutex<()> = Mutex::new(());
        TURN.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start(turn: MutexGuard<'static, ()>, star: &Star) -> Self {
        Self { _turn: turn, before: Cost::total(star) }
    }

    fn read(&mut self, star: &Star) -> Cost {
        let (before, now) = (self.before, Cost::total(star));
        self.before = now;
        Cost {
            allocations: now.allocations - before.allocations,
            multiplications: now.multiplications - before.multiplications,
            passes: now.passes - before.passes,
            answers: now.answers - before.answers,
            answered_bytes: now.answered_bytes - before.answered_bytes,
        }
    }
}

/// A hub with two peers, sessions with both, and everything grown that grows.
fn warm() -> Star {
    let mut star = Star::new(2);
    star.warm_up();
    star
}

/// The same after the peers have fallen silent, so that nothing is sent but answers.
fn quiet() -> Star {
    let mut star = warm();
    for _ in 0..60 {
        pass(&mut star, Duration::from_millis(500));
        star.settle();
    }
    star
}

/// A stranger's address: of a prefix of its own, by number.
fn address(number: u32) -> SocketAddr {
    let [_, a, b, c] = number.to_be_bytes();
    ([100, a, b, c], 9).into()
}

/// The initiation of somebody who is nobody's peer, without MACs.
fn initiation(to: &PublicKey) -> [u8; 148] {
    let local = key(9999);
    let secret = local.diffie_hellman(to).unwrap();
    let stamp = Tai64n::from_unix(now().wall);
    create_initiation(&local.public_key(), to, &secret, stamp, key(9998), SessionIndex::new(1)).unwrap().1
}

/// Who knows the victim's public key.
struct Attacker {
    mac1: Mac1Key,
    public: PublicKey,
    message: [u8; 148],
    number: u32,
}

impl Attacker {
    fn new() -> Self {
        let public = key(VICTIM).public_key();
        let mac1 = Mac1Key::new(&public);
        let mut message = initiation(&public);
        mac1.write(&mut message);
        Self { mac1, public, message, number: 0 }
    }

    /// One more initiation with a right MAC1, from somebody else's address.
    fn spoof(&mut self, star: &Star) {
        self.number += 1;
        star.wire.inject(address(self.number), outer(VICTIM), &self.message);
    }
}

/// Somebody who receives at his address, and uses the cookies he gets there.
struct Verified {
    at: SocketAddr,
    jar: CookieJar,
    message: [u8; 148],
}

impl Verified {
    fn new(at: SocketAddr, attacker: &Attacker) -> Self {
        Self { at, jar: CookieJar::default(), message: attacker.message }
    }

    /// Sends a message without a cookie, and takes in the one that comes back.
    fn ask(&mut self, star: &mut Star, attacker: &Attacker) {
        self.jar.write_macs(&attacker.mac1, &mut self.message, star.now.instant);
        let sent = star.ends[usize::from(VICTIM)].socket.sent;
        self.knock(star);
        star.settle();
        let socket = &star.ends[usize::from(VICTIM)].socket;
        assert_eq!(socket.sent, sent + 1, "there is load, so there is a cookie");
        let reply = CookieReply::parse(socket.last()).expect("a cookie reply");
        self.jar.consume_reply(&attacker.public, &reply, star.now.instant).expect("for this message");
        self.jar.write_macs(&attacker.mac1, &mut self.message, star.now.instant);
    }

    fn knock(&self, star: &Star) {
        star.wire.inject(self.at, outer(VICTIM), &self.message);
    }
}

fn pass(star: &mut Star, time: Duration) {
    star.now.instant = star.now.instant.saturating_add(time);
}

fn dropped(star: &Star, reason: DropReason) -> u64 {
    star.ends[usize::from(VICTIM)].device.drops().get(reason)
}

#[test]
fn datagrams_of_those_who_know_nothing_cost_nothing() {
    // C7, C86, C116, A1, S1: random bytes, wrong MAC1, indices of nobody; a lookup or a hash each.
    let turn = Meter::wait();
    let mut star = warm();
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let mut bytes = [0; 1400];
    let mut meter = Meter::start(turn, &star);
    for round in 0..200_usize {
        for number in 0..25_u32 {
            let from = address(number);
            rng.fill_bytes(&mut bytes);
            star.wire.inject(from, outer(VICTIM), &bytes[..round * 7]);
            for (kind, len) in [(1, 148), (2, 92), (3, 64), (4, 32 + round * 5)] {
                bytes[..4].copy_from_slice(&[kind, 0, 0, 0]);
                star.wire.inject(from, outer(VICTIM), &bytes[..len]);
            }
        }
        star.settle();
        pass(&mut star, Duration::from_millis(1));
    }
    assert_eq!(meter.read(&star), NOTHING);
    for reason in [DropReason::InvalidMac1, DropReason::InvalidCookieReply, DropReason::UnknownIndex] {
        assert!(dropped(&star, reason) >= 5000, "{reason}");
    }
    let delivered = star.delivered();
    star.exchange(10);
    assert_eq!(star.delivered() - delivered, 30, "and traffic goes on");
}

#[test]
fn forged_data_costs_one_look_at_a_tag_and_moves_nothing() {
    // C76, C86, H4: whoever knows a live index.
    let turn = Meter::wait();
    let mut star = warm();
    star.exchange(1);
    let genuine = star.ends[1].socket.last().to_vec();
    let mut forged = genuine.clone();
    let mut meter = Meter::start(turn, &star);
    let counter = u64::from_le_bytes(genuine[8..16].try_into().unwrap());
    let ahead = 1..=10_000_u64;
    for distance in ahead.clone() {
        // Near and far ahead; a window that moved would refuse what comes after.
        let claimed = counter + distance * if distance % 2 == 0 { 1 } else { 1 << 40 };
        forged[8..16].copy_from_slice(&claimed.to_le_bytes());
        star.wire.inject(address(1), outer(VICTIM), &forged);
        if distance % 1000 == 0 {
            star.settle();
        }
    }
    let count = *ahead.end();
    let cost = meter.read(&star);
    assert_eq!(cost, Cost { passes: count, ..NOTHING });
    assert_eq!(dropped(&star, DropReason::InvalidTag), count);

    // What has been seen is known before the tag is looked at.
    for _ in 0..1000 {
        star.wire.inject(address(1), outer(VICTIM), &genuine);
    }
    star.settle();
    assert_eq!(meter.read(&star), NOTHING);
    assert_eq!(dropped(&star, DropReason::Replay), 1000);

    let delivered = star.delivered();
    star.exchange(100);
    assert_eq!(star.delivered() - delivered, 300, "the window has not moved");
}

#[test]
fn a_flood_of_any_pattern_costs_as_many_multiplications_as_the_queue_may_hold() {
    // C7, C104, C106, C116, A1: one at a time, worked on as fast as they come; and in bursts, small and beyond the queue.
    let turn = Meter::wait();
    let mut star = quiet();
    let mut attacker = Attacker::new();
    let mut meter = Meter::start(turn, &star);
    for (burst, pause, messages) in
        [(1, 1, 20_000), (7, 10, 10_000), (9, 500, 2_000), (300, 20, 30_000), (3000, 900, 30_000)]
    {
        for _ in 0..messages / burst {
            for _ in 0..burst {
                attacker.spoof(&star);
            }
            star.settle();
            pass(&mut star, Duration::from_millis(pause));
        }
        let cost = meter.read(&star);
        println!("{messages} messages, {burst} at once: {cost:?}");
        assert!(cost.multiplications <= THRESHOLD, "bursts of {burst}: {cost:?}");
        assert_eq!((cost.allocations, cost.passes), (0, 0), "bursts of {burst}: {cost:?}");
        assert_eq!(cost.answered_bytes, cost.answers * 64, "nothing but cookies");
        assert!(cost.answers <= messages, "and no more of them than messages, each of 148 bytes");
        assert_eq!(
            CookieReply::parse(star.ends[usize::from(VICTIM)].socket.last()).is_ok(),
            cost.answers > 0
        );
        // The attacker goes away, and the load with him. What is printed here allocates.
        pass(&mut star, Duration::from_secs(2));
        meter.read(&star);
    }
}

#[test]
fn a_verified_source_costs_twenty_multiplications_a_second() {
    // C106, C113, A1, H5
    let turn = Meter::wait();
    let mut star = quiet();
    let mut attacker = Attacker::new();
    let (sources, seconds) = (20, 15);
    let mut meter = Meter::start(turn, &star);
    (0..THRESHOLD).for_each(|_| attacker.spoof(&star));
    star.settle();
    let mut verified: Vec<Verified> =
        (0..sources).map(|number| Verified::new(address(1 << 20 | number), &attacker)).collect();
    for one in &mut verified {
        one.ask(&mut star, &attacker);
    }
    let asked = meter.read(&star);
    assert!(asked.multiplications <= THRESHOLD, "{asked:?}");
    for _ in 0..seconds * 100 {
        // Each a hundred a second, and a flood from elsewhere beside it.
        for one in &verified {
            one.knock(&star);
            attacker.spoof(&star);
        }
        star.settle();
        pass(&mut star, Duration::from_millis(10));
    }
    let cost = meter.read(&star);
    let each = BURST + PER_SECOND * seconds;
    println!("{sources} sources for {seconds} s: {cost:?}");
    // Of nobody's peer, so each costs the one that tells who it is from.
    let all = each * usize::try_from(sources).unwrap();
    assert!(cost.multiplications <= all, "{cost:?}, and the limit is {all}");
    assert!(
        cost.multiplications >= all - usize::try_from(sources).unwrap(),
        "and each has his share: {cost:?}"
    );
    assert_eq!((cost.allocations, cost.passes), (0, 0));
    assert_eq!(cost.answered_bytes, cost.answers * 64, "nothing but cookies");
    assert!(dropped(&star, DropReason::RateLimited) >= (100 - 25) * 20 * 15);
}

#[test]
fn more_sources_than_the_limiter_knows_are_refused_until_others_fall_silent() {
    // C113, C116: 4,096 in sixteen parts, so a few less may fill one of them.
    let turn = Meter::wait();
    let mut star = quiet();
    let mut attacker = Attacker::new();
    let mut meter = Meter::start(turn, &star);
    let count = 6000;
    let mut verified: Vec<Verified> =
        (0..count).map(|number| Verified::new(address(1 << 20 | number), &attacker)).collect();
    for one in &mut verified {
        // The load has to last, and the secret of the cookies too.
        (0..THRESHOLD).for_each(|_| attacker.spoof(&star));
        star.settle();
        one.ask(&mut star, &attacker);
    }
    let refused = dropped(&star, DropReason::RateLimited);
    meter.read(&star);
    for one in &verified {
        one.knock(&star);
        star.settle();
    }
    let cost = meter.read(&star);
    let refused = dropped(&star, DropReason::RateLimited) - refused;
    println!("{count} sources: {cost:?}, {refused} refused");
    assert_eq!((cost.allocations, cost.answers), (0, 0));
    assert!(cost.multiplications <= SOURCES, "{cost:?}");
    assert!(cost.multiplications >= SOURCES * 8 / 10, "{cost:?}");
    assert_eq!(cost.multiplications as u64 + refused, u64::from(count));

    // Idle for more than a second, they make room; the load is kept up meanwhile.
    for _ in 0..11 {
        (0..THRESHOLD).for_each(|_| attacker.spoof(&star));
        star.settle();
        pass(&mut star, Duration::from_millis(100));
    }
    meter.read(&star);
    let last = &verified[verified.len() - 100..];
    for one in last {
        one.knock(&star);
        star.settle();
    }
    assert_eq!(meter.read(&star), Cost { multiplications: last.len(), ..NOTHING });
}
