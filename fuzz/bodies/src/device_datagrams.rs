//! A device is fed any datagrams: noise, messages of a peer with a session that seals what it likes, the same again, altered,
//! later, from elsewhere, in bursts.
//!
//! Every datagram is delivered, is a message of the protocol, or is one drop with one reason; what is delivered is the
//! packet that the length field of a true header cuts out, from a source of that very peer (C75-C82); nothing else moves
//! endpoint or window; the index table holds what the peers hold (C43).

use core::net::SocketAddr;
use core::time::Duration;
use std::collections::HashSet;

use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;
use wg_datapath::memory::{Datagram, MemoryNetwork, MemoryTun, MemoryUdp};
use wg_datapath::{Config, Device, DropReason, IpPrefix, Lane, LaneIo, Now, PeerId};
use wg_proto::aead::RustCryptoAead;
use wg_proto::{Instant, PrivateKey, PublicKey, UnixTime};
use wg_sched::{AnyStrategy, Budget, CoreId, Strategy, StrategyKind};

use crate::input::{Input, mutate};
use crate::ip_header::{naive, naive_len};
use crate::paper::{self, InitiationParts, Initiator, Keys};
use crate::side::{ALICE, BOB, address};

/// Where the device is.
fn here() -> SocketAddr {
    ([198, 51, 100, 1], 51820).into()
}

/// A session of the one peer, who is not to be trusted.
struct Session {
    keys: Keys,
    index: u32,
    counter: u64,
    newest: Option<u64>,
    seen: HashSet<u64>,
    born: Instant,
    /// The window when the last burst came in: its newest and what it has seen.
    at_begin: (Option<u64>, HashSet<u64>),
}

struct Scene {
    device: Device<RustCryptoAead, ChaCha8Rng>,
    lane: Lane<RustCryptoAead>,
    tun: MemoryTun,
    udp: MemoryUdp,
    network: MemoryNetwork,
    strategy: AnyStrategy,
    now: Now,
    alice: PeerId,
    session: Option<Session>,
    stamp: u32,
    endpoint: Option<SocketAddr>,
    /// Of all sessions there were.
    indices: Vec<u32>,
}

/// Feeds up to forty things to a device.
///
/// # Panics
///
/// If a datagram comes to what it must not come to.
pub fn device_datagrams(data: &[u8]) {
    let mut input = Input::new(data);
    let mut scene = Scene::new(input.byte());
    for _ in 0..40 {
        if input.is_empty() {
            return;
        }
        match input.below(8) {
            0 => scene.noise(&mut input),
            1 => scene.wait(Duration::from_millis((input.u32() % 200_000).into())),
            2 => scene.handshake(&mut input),
            _ => scene.packet(&mut input),
        }
    }
}

impl Scene {
    fn new(seed: u8) -> Self {
        let now =
            Now { instant: Instant::from_nanos(1_000_000_000_000), wall: UnixTime::new(1_700_000_000, 0) };
        let config = Config { max_peers: 4, staged_bytes: 4096, handshake_queue: 16, ..Config::default() };
        let mut device = Device::new(config, ChaCha8Rng::seed_from_u64(seed.into())).expect("it has entropy");
        device.set_private_key(Some(PrivateKey::from_bytes(BOB.private)), now);
        device.set_up(true, now);
        let alice = device.add_peer(PublicKey::from_bytes(ALICE.public)).expect("there is room");
        let other = device.add_peer(PublicKey::from_bytes([0x77; 32])).expect("there is room");
        let prefix = |addr: [u8; 4], len| IpPrefix::new(addr.into(), len).expect("a prefix");
        let v6 = |len, last: u16| {
            IpPrefix::new(core::net::IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, last]), len).expect("a prefix")
        };
        // Alice may be anybody in 10/8 but the one address that is another's (C81).
        for (peer, prefix) in [
            (alice, prefix([10, 0, 0, 0], 8)),
            (other, prefix([10, 0, 0, 9], 32)),
            (alice, v6(64, 0)),
            (other, v6(128, 9)),
        ] {
            device.add_allowed_ip(peer, prefix).expect("there is room");
        }
        let network = MemoryNetwork::default();
        let udp = network.socket(here());
        Self {
            device,
            lane: Lane::new(),
            tun: MemoryTun::default(),
            udp,
            network,
            strategy: StrategyKind::default().build(),
            now,
            alice,
            session: None,
            stamp: 0,
            endpoint: None,
            indices: Vec::new(),
        }
    }

    fn run(&mut self) {
        for _ in 0..1000 {
            self.lane.readable(true, true);
            let mut io = LaneIo {
                device: &mut self.device,
                lane: &mut self.lane,
                tun: &mut self.tun,
                udp: &mut self.udp,
                now: self.now,
            };
            let outcome = self.strategy.step(CoreId(0), Budget::default(), &mut io);
            self.device.check_invariants();
            if outcome.idle() {
                let next = self.device.poll_timeout();
                assert!(next.is_none_or(|next| next > self.now.instant), "what was due is done (C131)");
                return;
            }
        }
        panic!("never comes to rest");
    }

    fn wait(&mut self, by: Duration) {
        let end = self.now.instant.saturating_add(by);
        while let Some(next) = self.device.poll_timeout().filter(|next| *next <= end) {
            self.now.instant = self.now.instant.max(next);
            self.run();
        }
        self.now.instant = end;
        self.run();
        self.network.take_record().clear();
    }

    fn inject(&self, from: SocketAddr, bytes: &[u8]) {
        self.network.inject(Datagram { from, to: here(), tos: 0, bytes: bytes.to_vec() });
    }

    fn endpoint_is_as_known(&self) {
        let status = self.device.peers().find(|status| status.id == self.alice).expect("a peer");
        assert_eq!(status.endpoint, self.endpoint);
    }

    /// Bytes that mean nothing: one drop, and no answer.
    fn noise(&mut self, input: &mut Input<'_>) {
        let mut bytes = input.counted().to_vec();
        if bytes.len() >= 92 && input.below(2) == 0 {
            paper::fix_mac1(&mut bytes, &BOB.public);
        }
        let before = self.device.drops().total();
        self.inject(address(5), &bytes);
        self.run();
        assert_eq!(self.device.drops().total(), before + 1, "a datagram of nobody is one drop");
        assert!(self.tun.delivered.is_empty());
        assert!(self.network.take_record().is_empty(), "silence");
        self.endpoint_is_as_known();
    }

    /// Alice begins anew, from some address, and confirms with a keepalive or not.
    fn handshake(&mut self, input: &mut Input<'_>) {
        self.now.instant = self.now.instant.saturating_add(Duration::from_millis(20));
        self.stamp += 1;
        let mut timestamp = [0; 12];
        timestamp[8..].copy_from_slice(&self.stamp.to_be_bytes());
        timestamp[0] = 0x40;
        let ephemeral = paper::Pair::new([input.byte(); 32]);
        let initiator = Initiator::new(&InitiationParts {
            local: &ALICE,
            responder: &BOB.public,
            ephemeral: (ephemeral.private, ephemeral.public),
            es: paper::dh(&ephemeral.private, &BOB.public),
            ss: paper::dh(&ALICE.private, &BOB.public),
            timestamp,
            sender: self.stamp,
        });
        let from = address(input.below(4));
        self.run();
        self.network.take_record().clear();
        let before = self.device.drops().total();
        self.inject(from, &initiator.message);
        self.run();
        assert_eq!(self.device.drops().total(), before);
        let sent = self.network.take_record();
        let response = sent.iter().find(|sent| sent.bytes.len() == 92).expect("a response");
        assert_eq!(response.to, from);
        let (keys, index) = initiator.finish(&response.bytes, &[0; 32]).expect("the response is for us");
        self.endpoint = Some(from);
        self.endpoint_is_as_known();
        let born = self.now.instant;
        self.indices.push(index);
        self.session = Some(Session {
            keys,
            index,
            counter: 0,
            newest: None,
            seen: HashSet::new(),
            born,
            at_begin: (None, HashSet::new()),
        });
    }

    /// Alice sends what she likes: honest or altered, new or again, alone or several at once.
    fn packet(&mut self, input: &mut Input<'_>) {
        let Some(session) = &mut self.session else { return self.handshake(input) };
        session.at_begin = (session.newest, session.seen.clone());
        let mut expected = Vec::new();
        let mut drops: Vec<DropReason> = Vec::new();
        let before: Vec<u64> =
            DropReason::ALL.iter().map(|reason| self.device.drops().get(*reason)).collect();
        for _ in 0..=input.below(4) {
            let content = content(input);
            let ahead = match input.below(6) {
                0 => u64::from(input.u16()),
                _ => 0,
            };
            let again = input.below(8) == 0;
            let from = address(input.below(4));
            let Some(session) = &mut self.session else { return };
            let counter = if again { session.counter.saturating_sub(1) } else { session.counter + ahead };
            session.counter = session.counter.max(counter + 1);
            let honest = paper::data(&session.keys.initiator, session.index, counter, &content);
            let mut bytes = honest.clone();
            if input.below(4) == 0 {
                mutate(&mut bytes, input);
                let index = bytes.get(4..8).map(|index| index.try_into().expect("four bytes"));
                let index = index.map_or(session.index, u32::from_le_bytes);
                if index != session.index && self.indices.contains(&index) {
                    bytes.clone_from(&honest);
                }
            }
            self.inject(from, &bytes);
            match self.comes_to(&honest, &bytes, counter, &content) {
                Ok(packet) => {
                    self.endpoint = Some(from);
                    expected.extend(packet);
                }
                Err((reason, authentic)) => {
                    if authentic {
                        self.endpoint = Some(from);
                    }
                    drops.push(reason);
                }
            }
        }
        self.run();
        let delivered = core::mem::take(&mut self.tun.delivered);
        assert_eq!(delivered, expected, "{drops:?}");
        for (reason, before) in DropReason::ALL.iter().zip(before) {
            let expected = drops.iter().filter(|drop| *drop == reason).count() as u64;
            assert_eq!(self.device.drops().get(*reason) - before, expected, "{reason:?}");
        }
        self.endpoint_is_as_known();
        self.network.take_record().clear();
    }

    /// By the rules: the packet that is delivered, if any; or why it dies, and whether it was authentic.
    fn comes_to(
        &mut self,
        honest: &[u8],
        bytes: &[u8],
        counter: u64,
        content: &[u8],
    ) -> Result<Option<Vec<u8>>, (DropReason, bool)> {
        let now = self.now.instant;
        let session = self.session.as_mut().expect("it was looked at");
        if bytes.len() < 4 {
            return Err((DropReason::MessageTooShort, false));
        }
        if bytes[1..4] != [0; 3] || !(1..=4).contains(&bytes[0]) {
            return Err((DropReason::UnknownMessageType, false));
        }
        if bytes[0] != 4 {
            let lengths = [148, 92, 64];
            if bytes.len() != lengths[usize::from(bytes[0]) - 1] {
                return Err((DropReason::WrongMessageLength, false));
            }
            let reason = if bytes[0] == 3 { DropReason::InvalidCookieReply } else { DropReason::InvalidMac1 };
            return Err((reason, false));
        }
        if bytes.len() < 32 {
            return Err((DropReason::WrongMessageLength, false));
        }
        let index = u32::from_le_bytes(bytes[4..8].try_into().expect("four bytes"));
        if index != session.index {
            return Err((DropReason::UnknownIndex, false));
        }
        let age = now.saturating_duration_since(session.born);
        if age >= Duration::from_secs(180) {
            // Of no use from then on, and wiped later (C56, C60).
            let wiped = age >= Duration::from_secs(540);
            return Err((if wiped { DropReason::UnknownIndex } else { DropReason::KeyExpired }, false));
        }
        let claimed = u64::from_le_bytes(bytes[8..16].try_into().expect("eight bytes"));
        if claimed >= u64::MAX - (1 << 13) {
            return Err((DropReason::CounterLimit, false));
        }
        let old = |newest: Option<u64>, counter: u64| {
            newest.is_some_and(|newest| newest > counter && newest - counter > 8128)
        };
        if bytes != honest {
            // The look before the tag is one at the window as it was when the burst came in.
            let (newest, seen) = &session.at_begin;
            let replay = old(*newest, claimed) || seen.contains(&claimed);
            return Err((if replay { DropReason::Replay } else { DropReason::InvalidTag }, false));
        }
        if old(session.newest, counter) || !session.seen.insert(counter) {
            return Err((DropReason::Replay, false));
        }
        session.newest = session.newest.max(Some(counter));
        if content.is_empty() {
            return Ok(None);
        }
        let len = naive_len(content).map_err(|error| (incoming(error), true))?;
        let header = naive(content).expect("it has a length");
        let hers = match header.src {
            core::net::IpAddr::V4(addr) => addr.octets()[0] == 10 && addr.octets() != [10, 0, 0, 9],
            core::net::IpAddr::V6(addr) => {
                addr.to_bits() >> 64 == 0xfd00_0000_0000_0000 && addr.to_bits() & u128::from(u64::MAX) != 9
            }
        };
        if hers { Ok(Some(content[..len].to_vec())) } else { Err((DropReason::BadSource, true)) }
    }
}

fn incoming(error: wg_datapath::ip::IpError) -> DropReason {
    use wg_datapath::ip::IpError;
    match error {
        IpError::NotIp => DropReason::InNotIp,
        IpError::TooShort => DropReason::InTooShort,
        _ => DropReason::InBadLength,
    }
}

/// A packet, often one with a header that is right.
fn content(input: &mut Input<'_>) -> Vec<u8> {
    let mut content = input.counted().to_vec();
    match input.below(4) {
        0 => {}
        1 if content.len() >= 40 => {
            content[0] = 0x60 | content[0] & 15;
            let len = u16::try_from(content.len() - 40).expect("short");
            content[4..6].copy_from_slice(&len.saturating_sub(input.below(18).into()).to_be_bytes());
            content[8..24].fill(0);
            (content[8], content[23]) = (0xfd, input.byte());
        }
        _ if content.len() >= 20 => {
            content[0] = 0x45;
            let len = u16::try_from(content.len()).expect("short");
            content[2..4].copy_from_slice(&len.saturating_sub(input.below(18).into()).to_be_bytes());
            let host = input.byte();
            content[12..16].copy_from_slice(&[10, 0, 0, host]);
        }
        _ => {}
    }
    content
}
