//! Two peers of `wg-proto`, and what one sends carried to the other.

use core::net::SocketAddr;
use core::time::Duration;

use rand_core::TryRng as _;
use wg_proto::aead::Aead;
use wg_proto::{Config, Endpoint, Instant, Load, Peer, PresharedKey, PrivateKey, UnixTime};

use super::{Entropy, PORT, Record, Scenario, Stage, address};

/// The two sides; none when they were dropped.
#[derive(Debug)]
pub struct Peers<A> {
    sides: Option<[Side<A>; 2]>,
    time: Duration,
    record: Option<Record>,
    generation: u64,
}

#[derive(Debug)]
struct Side<A> {
    peer: Peer<PrivateKey, A>,
    entropy: Entropy,
    load: Load,
    delivered: u32,
}

/// The keys that both sides are configured with, each in the place that it is taken from.
struct Keys {
    statics: [PrivateKey; 2],
    psk: PresharedKey,
}

impl<A: Aead + core::fmt::Debug> Scenario for Peers<A> {
    fn make(record: bool) -> Box<Self> {
        let record = record.then(Record::default);
        let mut peers =
            Box::new(Self { sides: None, time: Duration::from_secs(1_000_000), record, generation: 0 });
        callers_part(|| peers.configure());
        peers
    }

    fn go(&mut self, stage: Stage) {
        match stage {
            Stage::Configured => {}
            Stage::Initiated => self.initiate_and_lose(),
            Stage::Session => {
                self.pass(6);
                self.talk();
            }
            Stage::Rekeyed => {
                self.pass(121);
                self.talk();
            }
            Stage::Cookie => {
                self.pass(125);
                self.load(Load::UnderLoad);
                self.send(0);
                self.pass(6);
                self.load(Load::Normal);
                self.talk();
            }
            Stage::Expired => self.pass(600),
            Stage::Preshared => {
                wg_proto::with_wiped_stack(|| self.change_psk());
                self.talk();
            }
            Stage::KeyChanged => callers_part(|| self.configure()),
            Stage::Again => self.talk(),
            Stage::Dropped => self.sides = None,
        }
    }

    fn record(&mut self) -> Record {
        self.record.take().unwrap_or_default()
    }
}

impl<A: Aead + core::fmt::Debug> Peers<A> {
    /// Makes both sides anew, with new keys.
    fn configure(&mut self) {
        let draws = self.record.as_ref().map(|record| &record.draws);
        self.generation += 1;
        let mut entropies = [0, 1].map(|side| Entropy::new(self.generation * 1000 + side, draws.cloned()));
        let mut keys = Box::new(Keys {
            statics: entropies.each_mut().map(|entropy| {
                let Ok(key) = PrivateKey::generate(entropy);
                key
            }),
            psk: PresharedKey::default(),
        });
        keys.psk = drawn_psk(&mut entropies[0]);
        if let Some(record) = &mut self.record {
            record.statics.extend(keys.statics.iter().enumerate().map(|(side, key)| (side, *key.as_bytes())));
            record.psks.push(*keys.psk.as_bytes());
        }
        let publics = keys.statics.each_ref().map(PrivateKey::public_key);
        // Both at once where they stay, before the keys they were made of go.
        let mut number = 0;
        self.sides = Some(entropies.map(|mut entropy| {
            let mut config = Config::new(publics[1 - number]);
            config.preshared_key = keys.psk.duplicate();
            config.endpoint = Some(socket(1 - number));
            let peer = match Peer::new(keys.statics[number].duplicate(), config, &mut entropy) {
                Ok(peer) => peer,
                Err(error) => unreachable!("a key in memory answers: {error}"),
            };
            number += 1;
            Side { peer, entropy, load: Load::Normal, delivered: 0 }
        }));
    }

    fn change_psk(&mut self) {
        let Some([a, b]) = &mut self.sides else { return };
        let psk = drawn_psk(&mut a.entropy);
        if let Some(record) = &mut self.record {
            record.psks.push(*psk.as_bytes());
        }
        a.peer.set_preshared_key(psk.duplicate());
        b.peer.set_preshared_key(psk);
    }

    fn load(&mut self, load: Load) {
        if let Some([_, b]) = &mut self.sides {
            b.load = load;
        }
    }

    fn now(&self) -> (Instant, UnixTime) {
        let nanos = u64::try_from(self.time.as_nanos()).unwrap_or(u64::MAX);
        (
            Instant::from_nanos(nanos),
            UnixTime::new(1_700_000_000 + self.time.as_secs(), self.time.subsec_nanos()),
        )
    }

    fn initiate_and_lose(&mut self) {
        let (now, wall) = self.now();
        let Some([a, _]) = &mut self.sides else { return };
        a.peer.initiate(now);
        let mut out = [0; 148];
        let sent = a.peer.poll_transmit(&mut out, now, wall, &mut a.entropy);
        assert!(matches!(sent, Ok(Some(_))), "an initiation");
        if let Some(record) = &mut self.record {
            record.wire.push((0, out.to_vec()));
        }
    }

    /// Packets each way, after the handshake that they may need.
    fn talk(&mut self) {
        let before = self.sides.as_ref().map(|sides| sides.each_ref().map(|side| side.delivered));
        for from in [0, 1, 0, 1, 0] {
            for _ in 0..3 {
                if self.send(from) {
                    break;
                }
                self.pass(6);
            }
        }
        let after = self.sides.as_ref().map(|sides| sides.each_ref().map(|side| side.delivered));
        let expected = before.map(|[a, b]| [a + 2, b + 3]);
        assert_eq!(after, expected, "packets each way");
    }

    fn send(&mut self, from: usize) -> bool {
        let (now, _) = self.now();
        let Some(sides) = &mut self.sides else { return false };
        let mut out = vec![0; 512];
        let sealed = sides[from].peer.seal(&[0x55; 100], &mut out, now);
        let Ok(length) = sealed else {
            sides[from].peer.initiate(now);
            self.settle();
            return false;
        };
        out.truncate(length);
        self.carry(from, out);
        self.settle();
        true
    }

    /// Lets the time pass from deadline to deadline.
    fn pass(&mut self, seconds: u64) {
        self.settle();
        let end = self.time + Duration::from_secs(seconds);
        loop {
            let Some(sides) = &mut self.sides else { return };
            let next = sides.iter().filter_map(|side| side.peer.poll_timeout()).min();
            let next = next.map_or(end, |next| Duration::from_nanos(next.as_nanos()));
            self.time = self.time.max(next.min(end));
            let now = Instant::from_nanos(u64::try_from(self.time.as_nanos()).unwrap_or(u64::MAX));
            for side in sides {
                side.peer.handle_timeout(now);
            }
            self.settle();
            if next >= end {
                return;
            }
        }
    }

    fn settle(&mut self) {
        let (now, wall) = self.now();
        let mut quiet = 0;
        for from in [0, 1].into_iter().cycle() {
            let Some(sides) = &mut self.sides else { return };
            let mut out = vec![0; 256];
            match sides[from].peer.poll_transmit(&mut out, now, wall, &mut sides[from].entropy) {
                Ok(Some(transmit)) => {
                    quiet = 0;
                    out.truncate(transmit.len);
                    self.carry(from, out);
                }
                _ => quiet += 1,
            }
            if quiet == 2 {
                return;
            }
        }
    }

    fn carry(&mut self, from: usize, mut datagram: Vec<u8>) {
        if let Some(record) = self.record.as_mut().filter(|_| datagram[0] < 4) {
            record.wire.push((from, datagram.clone()));
        }
        let (now, wall) = self.now();
        let Some(sides) = &mut self.sides else { return };
        let side = &mut sides[1 - from];
        let handled = side.peer.handle(
            &mut datagram,
            Endpoint::new(socket(from)),
            side.load,
            now,
            wall,
            &mut side.entropy,
        );
        if matches!(handled, Ok(wg_proto::Handled::Packet(_))) {
            side.delivered += 1;
        }
    }
}

/// A caller who moves a peer about has frames of his own to wipe, here rather deep ones.
fn callers_part(configure: impl FnOnce()) {
    wg_proto::with_wiped_stack(configure);
    wipe_deeper();
}

#[inline(never)]
fn wipe_deeper() {
    let mut area = [0_u8; 128 << 10];
    zeroize::Zeroize::zeroize(area.as_mut_slice());
    core::hint::black_box(&mut area);
}

fn socket(side: usize) -> SocketAddr {
    (address(side), PORT).into()
}

fn drawn_psk(entropy: &mut Entropy) -> PresharedKey {
    let mut bytes = zeroize::Zeroizing::new([0; 32]);
    let Ok(()) = entropy.try_fill_bytes(&mut *bytes);
    PresharedKey::from_bytes(*bytes)
}
