//! When two states are one: 128 bits that say what can come after a state, and nothing else.
//!
//! An index is the number of the message it was drawn for. What matters of it is which others of the same side are older,
//! so the name of an index is its place among those of its side that anything still refers to. Of timestamps it only
//! matters which initiations under way are later than the greatest that came: every later one will be. What is under way
//! has no order, as anything may arrive next. No host is under load here, so no cookie reply asks for MAC1.

use core::hash::Hasher;
use core::time::Duration;

use blake2::Blake2s;
use blake2::Digest;
use blake2::digest::consts::U16;
use wg_proto::limits::{REJECT_AFTER_TIME, REKEY_TIMEOUT};
use wg_proto::{Fingerprint, Named};

use crate::model::host::{Host, serial_of};
use crate::model::side::Side;
use crate::model::wire::{Flying, Kind};
use crate::model::world::World;

/// Keeps what is written, to be hashed at once.
#[derive(Debug, Default)]
pub(super) struct Sink(Vec<u8>);

impl Sink {
    /// 128 bits of all that was written.
    pub(super) fn digest(&self) -> u128 {
        u128::from_le_bytes(Blake2s::<U16>::digest(&self.0).into())
    }
}

impl Hasher for Sink {
    fn write(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    fn finish(&self) -> u64 {
        0
    }
}

/// The numbers that are referred to, of each side, in order.
#[derive(Default)]
struct Names {
    indices: [Vec<u32>; 2],
    packets: [Vec<u32>; 2],
}

impl Names {
    fn of(world: &World) -> Self {
        let mut names = Self::default();
        for side in Side::BOTH {
            let host = world.host(side);
            for host in [Some(host), host.snapshot.as_deref()].into_iter().flatten() {
                names.note_host(side, host);
            }
        }
        for flying in &world.wire {
            let (from, to) = (flying.from.index(), flying.from.other().index());
            match flying.kind {
                Kind::Initiation { sender } => names.indices[from].push(sender),
                Kind::Response { sender, receiver } => {
                    names.indices[from].push(sender);
                    names.indices[to].push(receiver);
                }
                Kind::Data { receiver, packet, .. } => {
                    names.indices[to].push(receiver);
                    names.packets[from].extend(packet);
                }
                Kind::CookieReply => {}
            }
        }
        for numbers in names.indices.iter_mut().chain(&mut names.packets) {
            numbers.sort_unstable();
            numbers.dedup();
        }
        names
    }

    fn note_host(&mut self, side: Side, host: &Host) {
        let (own, other) = (side.index(), side.other().index());
        self.indices[own].extend(host.peer.control().pending_index().map(|index| index.get()));
        for key in &host.ledger.keys {
            self.indices[own].push(key.local);
            self.indices[other].push(key.remote);
        }
        self.packets[own].extend(&host.staged);
    }

    fn index(&self, side: Side, number: u32) -> u64 {
        place(&self.indices[side.index()], number)
    }

    fn packet(&self, side: Side, number: u32) -> u64 {
        place(&self.packets[side.index()], number)
    }
}

fn place(numbers: &[u32], number: u32) -> u64 {
    numbers.binary_search(&number).map_or(u64::MAX, |place| place as u64)
}

impl World {
    /// What this state is known by.
    pub(super) fn digest(&self) -> u128 {
        let names = Names::of(self);
        let mut sink = Sink(Vec::with_capacity(1024));
        for side in Side::BOTH {
            let host = self.host(side);
            self.write_host(side, host, &names, &mut sink);
            sink.write_u8(host.snapshot.is_some().into());
            if let Some(snapshot) = &host.snapshot {
                self.write_host(side, snapshot, &names, &mut sink);
            }
        }
        let mut wire: Vec<_> =
            self.wire.iter().map(|flying| flying.entry(&names, self.was_delivered(flying))).collect();
        wire.sort_unstable();
        for entry in &wire {
            sink.write(&entry.map(u64::to_be_bytes).concat());
        }
        sink.write_u8(self.restarts);
        sink.digest()
    }

    fn was_delivered(&self, flying: &Flying) -> bool {
        matches!(flying.kind, Kind::Data { packet: Some(packet), .. } if self.delivered.contains(&packet))
    }

    fn write_host(&self, side: Side, host: &Host, names: &Names, sink: &mut Sink) {
        let mut name = |named: Named<'_>| match named {
            Named::LocalIndex(index) => names.index(side, index.get()),
            Named::RemoteIndex(index) => names.index(side.other(), index.get()),
            Named::GreatestStamp(stamp) => self.initiations_not_after(side.other(), serial_of(stamp)),
            Named::StampSent(_) | Named::Mac1(_) => 0,
        };
        host.peer.fingerprint(&mut Fingerprint::new(host.instant(self.now), &mut name, sink));
        sink.write_u64(host.staged.len() as u64);
        for packet in &host.staged {
            sink.write_u64(names.packet(side, *packet));
        }
        sink.write_u128(host.behind.as_nanos());
        let handshake = host.ledger.handshake_sent.map(|at| self.now - at);
        write_age(handshake.filter(|age| *age < REKEY_TIMEOUT), sink);
        let mut keys: Vec<_> = host.ledger.keys.iter().collect();
        keys.sort_unstable_by_key(|key| (key.local, key.remote));
        sink.write_u64(keys.len() as u64);
        for key in keys {
            sink.write_u64(names.index(side, key.local));
            sink.write_u64(names.index(side.other(), key.remote));
            sink.write_u8(key.initiated.into());
            sink.write_u8(key.heard.into());
            write_age(Some((self.now - key.born).min(REJECT_AFTER_TIME)), sink);
            sink.write_u64(key.used.len() as u64);
            for counter in &key.used {
                sink.write_u64(*counter);
            }
        }
    }

    /// How many initiations of a side that are under way are not later than the one of that number.
    fn initiations_not_after(&self, from: Side, serial: u64) -> u64 {
        let old = |flying: &&Flying| {
            flying.from == from
                && matches!(flying.kind, Kind::Initiation { sender } if u64::from(sender) <= serial)
        };
        self.wire.iter().filter(old).count() as u64
    }
}

fn write_age(age: Option<Duration>, sink: &mut Sink) {
    sink.write_u128(age.map_or(u128::MAX, |age| age.as_nanos()));
}

impl Flying {
    /// All that matters of it: from whom, what, which indices, which counter, which packet, whether it came, how often.
    fn entry(&self, names: &Names, delivered: bool) -> [u64; 8] {
        let (from, to) = (self.from, self.from.other());
        let [kind, sender, receiver, counter, packet] = match self.kind {
            Kind::Initiation { sender } => [1, names.index(from, sender), 0, 0, 0],
            Kind::Response { sender, receiver } => {
                [2, names.index(from, sender), names.index(to, receiver), 0, 0]
            }
            Kind::CookieReply => [3, 0, 0, 0, 0],
            Kind::Data { receiver, counter, packet } => {
                let packet = packet.map_or(0, |packet| 1 + names.packet(from, packet));
                [4, 0, names.index(to, receiver), counter, packet]
            }
        };
        [from as u64, kind, sender, receiver, counter, packet, delivered.into(), self.copies.into()]
    }
}
