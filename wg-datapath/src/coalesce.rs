//! Packets of one flow that follow each other become one frame: the inverse of [`Segmenter`](crate::Segmenter).
//!
//! ```text
//!   packets:  A0  A1  B0  A2  ping  B1  A3(PSH)  A4
//!
//!   groups:   A0 A1 A2 A3 | B0 B1 | ping | A4
//! ```
//!
//! Groups leave in the order of their first packets, and a flow never has two that still grow: so its packets keep their order.
//! What is merged is what the split gives back, byte for byte:
//!
//! * The same flow, TOS or traffic class, TTL or hop limit, flow label, DF; no IPv4 options, extension headers or fragments.
//! * IPv4 identifications that count up by one. Not those that stay the same, which no frame could tell from them.
//! * As much payload as the first has; less ends the group, none stays alone.
//! * TCP: the next sequence number; acknowledgment, window and options (timestamps, too) as the first has them; ACK, and the
//!   same of ECE and the reserved bits. PSH and FIN end the group. SYN, RST, URG and CWR (RFC 3168, 6.1.2) stay alone.
//! * UDP: a length field that is true.
//! * Checksums that are there and right, by the sum of the plaintext that the AEAD made: the payload is not touched. One of 0
//!   in TCP stays alone, as it is written as 0xffff.
//!
//! What stays alone ends the group of its flow; and what may be of a flow without saying so, like a fragment, ends those of all
//! flows between its addresses.
//!
//! A flow is found through a table of buckets with a few places each; a flow that finds none takes that of the oldest,
//! which then begins anew. So whoever chooses flows that meet in a bucket spoils their merging, and costs no time.

#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::panic)]

mod packet;
mod slot;

use alloc::vec::Vec;
use core::num::NonZeroU16;

use wg_aead::{Checksum, Sum};

use self::packet::{Addresses, Candidate, Class, Flow, Key};
use self::slot::Slot;
use crate::header::{
    IPV4_ADDRESSES, IPV4_CHECKSUM, IPV4_TOTAL_LEN, IPV6_ADDRESSES, IPV6_PAYLOAD_LEN, TCP, TCP_CHECKSUM,
    TCP_FLAGS, Transport, UDP, UDP_CHECKSUM, UDP_LENGTH, field, fold, length, put, sum,
};
use crate::ip::IpVersion;
use crate::offload::{Offload, Segmentation, SegmentationKind, TunOffloads};

/// The packets a batch has at most, and so a frame.
pub const MAX_MERGED: usize = 128;

/// Buckets of the table of flows, and places in each.
const BUCKETS: usize = 64;
const WAYS: usize = 4;
/// A place without a group.
const NONE: u8 = u8::MAX;

/// A plan for a batch of packets: which of them become one frame. It is used again and again; only making it allocates.
///
/// # Examples
///
/// ```
/// use wg_datapath::offload::{Offload, TunOffloads};
/// use wg_datapath::{Coalescer, Sum};
///
/// // Two UDP datagrams of four bytes each.
/// let packets = [9, 10].map(|identification| {
///     let mut packet = [&[0x45, 0, 0, 32, 0, identification, 0x40, 0, 64, 17][..], &[0; 22]].concat();
///     packet[12..20].copy_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2]);
///     packet[20..26].copy_from_slice(&[0, 53, 0, 99, 0, 12]);
///     let (header, pseudo) = (Sum::of(&packet[..20]), Sum::of_word(17) + Sum::of_word(12));
///     packet[10..12].copy_from_slice(&header.checksum());
///     let checksum = (pseudo + Sum::of(&packet[12..])).checksum();
///     packet[26..28].copy_from_slice(&checksum);
///     packet
/// });
/// let mut plan = Coalescer::default();
/// plan.clear(TunOffloads { checksum: true, udp4: true, ..TunOffloads::default() });
/// for packet in &packets {
///     // In earnest, the AEAD has the sum already.
///     assert!(plan.push(packet, Sum::of(packet)));
/// }
/// for group in plan.groups() {
///     let mut frame = vec![0; group.frame_len()];
///     assert_eq!(group.write(|at| &packets[at], &mut frame), Some(36));
///     assert_ne!(group.offload(), Offload::default(), "and says how it is split");
/// }
/// assert_eq!(plan.groups().count(), 1);
/// ```
#[derive(Debug)]
pub struct Coalescer {
    offloads: TunOffloads,
    /// How many packets were pushed.
    packets: usize,
    groups: Vec<Slot>,
    /// The group that has grown last.
    last: u8,
    /// The next packet of the same group.
    next: [u8; MAX_MERGED],
    /// Groups by the hash of their flow, the youngest first.
    table: [[u8; WAYS]; BUCKETS],
    /// By the hash of the addresses: groups before this one have ended.
    barriers: [u8; BUCKETS],
    has_barriers: bool,
}

impl Default for Coalescer {
    fn default() -> Self {
        Self {
            offloads: TunOffloads::default(),
            packets: 0,
            groups: Vec::with_capacity(MAX_MERGED),
            last: NONE,
            next: [NONE; MAX_MERGED],
            table: [[NONE; WAYS]; BUCKETS],
            barriers: [0; BUCKETS],
            has_barriers: false,
        }
    }
}

impl Coalescer {
    /// Forgets all packets. Of the next ones those may be merged whose frames can be written.
    #[inline]
    pub fn clear(&mut self, offloads: TunOffloads) {
        self.offloads = offloads;
        self.packets = 0;
        self.groups.clear();
        self.last = NONE;
        self.table = [[NONE; WAYS]; BUCKETS];
        if core::mem::take(&mut self.has_barriers) {
            self.barriers = [0; BUCKETS];
        }
    }

    /// Adds the next packet, trimmed to its own length, with the sum of its plaintext (padding of zeros does not count).
    ///
    /// False if there are [`MAX_MERGED`] already: it was not added.
    #[inline]
    #[must_use]
    pub fn push(&mut self, packet: &[u8], sum: Sum) -> bool {
        let Ok(number) = u8::try_from(self.packets) else { return false };
        if self.packets >= MAX_MERGED {
            return false;
        }
        self.packets = self.packets.saturating_add(1);
        // Most packets continue what the one before began, which is seen without looking for their flow.
        if let Some(slot) = self.groups.get_mut(usize::from(self.last))
            && let Some(candidate) = slot.candidate(packet, sum)
        {
            append(slot, &mut self.next, number, &candidate);
            return true;
        }
        match Class::of(packet) {
            Class::Flow(flow) if self.may_merge(&flow.key) => {
                self.push_of_flow(number, packet, &flow, flow.candidate(packet, sum));
            }
            Class::Unclear(addresses) => {
                self.end_all_between(&addresses);
                self.groups.push(Slot::alone(number, packet.len()));
            }
            Class::Flow(_) | Class::Other => self.groups.push(Slot::alone(number, packet.len())),
        }
        true
    }

    /// The memory it holds, itself included.
    #[must_use]
    pub const fn memory_bytes(&self) -> usize {
        size_of::<Self>().saturating_add(self.groups.capacity().saturating_mul(size_of::<Slot>()))
    }

    /// The groups, in the order of their first packets; every packet is in one.
    #[inline]
    pub fn groups(&self) -> impl ExactSizeIterator<Item = Group<'_>> {
        self.groups.iter().map(|slot| Group { slot, next: &self.next })
    }

    #[inline]
    const fn may_merge(&self, key: &Key) -> bool {
        self.offloads.checksum
            && match (key.version, key.transport) {
                (IpVersion::V4, Transport::Tcp) => self.offloads.tcp4,
                (IpVersion::V6, Transport::Tcp) => self.offloads.tcp6,
                (IpVersion::V4, Transport::Udp) => self.offloads.udp4,
                (IpVersion::V6, Transport::Udp) => self.offloads.udp6,
            }
    }

    #[inline]
    fn push_of_flow(&mut self, number: u8, packet: &[u8], flow: &Flow, candidate: Option<Candidate>) {
        let key = &flow.key;
        let oldest =
            if self.has_barriers { self.barrier(&key.addresses).map_or(0, |barrier| *barrier) } else { 0 };
        // There are fewer groups than `NONE`.
        let new = u8::try_from(self.groups.len()).unwrap_or(NONE);
        let Some(ways) = self.table.get_mut(bucket(key)) else { return };
        let is_own =
            |way: &&mut u8| self.groups.get(usize::from(**way)).is_some_and(|slot| slot.key == Some(*key));
        let own = ways.iter_mut().find(is_own);
        let slot =
            own.as_ref().and_then(|way| self.groups.get_mut(usize::from(**way)).filter(|_| **way >= oldest));
        let Some(candidate) = candidate else {
            if let Some(slot) = slot {
                slot.is_open = false;
            }
            self.groups.push(Slot::alone(number, packet.len()));
            return;
        };
        if let Some(slot) = slot.filter(|slot| slot.takes(packet, &candidate)) {
            append(slot, &mut self.next, number, &candidate);
            self.last = own.map_or(NONE, |way| *way);
            return;
        }
        if let Some(way) = own {
            *way = new;
        } else {
            ways.rotate_right(1);
            if let Some(youngest) = ways.first_mut() {
                *youngest = new;
            }
        }
        self.last = new;
        self.groups.push(Slot::begin(number, packet, flow, &candidate));
    }

    fn end_all_between(&mut self, addresses: &Addresses) {
        self.has_barriers = true;
        self.last = NONE;
        let groups = u8::try_from(self.groups.len()).unwrap_or(NONE);
        if let Some(barrier) = self.barrier(addresses) {
            *barrier = groups;
        }
    }

    fn barrier(&mut self, addresses: &Addresses) -> Option<&mut u8> {
        self.barriers.get_mut(hash(addresses, 0))
    }
}

#[inline]
fn append(slot: &mut Slot, next: &mut [u8; MAX_MERGED], number: u8, candidate: &Candidate) {
    if let Some(next) = next.get_mut(usize::from(slot.last)) {
        *next = number;
    }
    slot.append(number, candidate);
}

/// Packets that become one frame, or one that stays as it is.
#[derive(Clone, Copy, Debug)]
pub struct Group<'a> {
    slot: &'a Slot,
    next: &'a [u8; MAX_MERGED],
}

impl<'a> Group<'a> {
    /// The numbers of its packets, in their order, as they were pushed, from 0; at least one.
    #[inline]
    #[must_use]
    pub const fn packets(&self) -> Packets<'a> {
        Packets { next: self.next, at: self.slot.first, left: self.slot.count }
    }

    /// The length of the frame.
    #[inline]
    #[must_use]
    pub const fn frame_len(&self) -> usize {
        self.slot.frame_len
    }

    /// How the frame is to be split again; nothing is to be done with a single packet, which is written as it is.
    #[inline]
    #[must_use]
    pub fn offload(&self) -> Offload {
        let (Some(key), 2..) = (self.slot.key, self.slot.count) else { return Offload::default() };
        let (kind, offset) = match (key.transport, key.version) {
            (Transport::Tcp, IpVersion::V4) => (SegmentationKind::Tcp4, TCP_CHECKSUM),
            (Transport::Tcp, IpVersion::V6) => (SegmentationKind::Tcp6, TCP_CHECKSUM),
            (Transport::Udp, _) => (SegmentationKind::Udp, UDP_CHECKSUM),
        };
        Offload {
            checksum: Some(Checksum { start: self.slot.start, offset }),
            segmentation: NonZeroU16::new(length(self.slot.segment_size)).map(|segment_size| Segmentation {
                kind,
                segment_size,
                ecn: false,
            }),
        }
    }

    /// How many bytes [`Group::write_header`] writes, and how many of each packet do not go into the frame; 0 for a single packet.
    #[inline]
    #[must_use]
    pub const fn header_len(&self) -> usize {
        if self.slot.count > 1 { self.slot.header_len } else { 0 }
    }

    /// Writes the headers of the frame to the start of `out`; the payloads of all packets belong behind them.
    ///
    /// The transport checksum is the sum of the pseudo header. False if there is no room.
    #[inline]
    #[must_use]
    pub fn write_header(&self, out: &mut [u8]) -> bool {
        self.slot.key.is_none_or(|key| self.header_len() == 0 || self.rewrite(&key, out).is_some())
    }

    /// Writes the frame to the start of `out` and returns its length; `packet` gives the bytes that were pushed.
    ///
    /// `None`, and `out` is of no use, if there is no room, or the packets are not those that were pushed.
    #[inline]
    #[must_use]
    pub fn write<'p>(&self, packet: impl Fn(usize) -> &'p [u8], out: &mut [u8]) -> Option<usize> {
        let out = out.get_mut(..self.slot.frame_len)?;
        if !self.write_header(out) {
            return None;
        }
        let mut room = out.get_mut(self.header_len()..)?;
        for number in self.packets() {
            let payload = packet(number).get(self.header_len()..)?;
            let (own, rest) = room.split_at_mut_checked(payload.len())?;
            own.copy_from_slice(payload);
            room = rest;
        }
        room.is_empty().then_some(self.slot.frame_len)
    }

    fn rewrite(&self, key: &Key, out: &mut [u8]) -> Option<()> {
        let &Slot { start, header_len, frame_len, last_flags, .. } = self.slot;
        let out = out.get_mut(..header_len)?;
        out.copy_from_slice(self.slot.head.get(..header_len)?);
        let (network, transport) = out.split_at_mut_checked(start)?;
        let transport_len = length(frame_len.saturating_sub(start));
        let addresses = match key.version {
            IpVersion::V4 => {
                put(network, IPV4_TOTAL_LEN, length(frame_len).to_be_bytes())?;
                put(network, IPV4_CHECKSUM, [0; 2])?;
                let checksum = !fold(sum(network));
                put(network, IPV4_CHECKSUM, checksum.to_be_bytes())?;
                IPV4_ADDRESSES
            }
            IpVersion::V6 => {
                put(network, IPV6_PAYLOAD_LEN, transport_len.to_be_bytes())?;
                IPV6_ADDRESSES
            }
        };
        let (protocol, offset) = match key.transport {
            Transport::Tcp => {
                let [flags] = field(transport, TCP_FLAGS)?;
                put(transport, TCP_FLAGS, [flags | last_flags])?;
                (TCP, TCP_CHECKSUM)
            }
            Transport::Udp => {
                put(transport, UDP_LENGTH, transport_len.to_be_bytes())?;
                (UDP, UDP_CHECKSUM)
            }
        };
        let pseudo =
            sum(network.get(addresses..)?).wrapping_add(protocol.into()).wrapping_add(transport_len.into());
        put(transport, offset, fold(pseudo).to_be_bytes())
    }
}

/// The numbers of the packets of a group.
#[derive(Clone, Debug)]
pub struct Packets<'a> {
    next: &'a [u8; MAX_MERGED],
    at: u8,
    left: u8,
}

impl Iterator for Packets<'_> {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        self.left = self.left.checked_sub(1)?;
        let at = usize::from(self.at);
        self.at = self.next.get(at).map_or(NONE, |next| *next);
        Some(at)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left.into(), Some(self.left.into()))
    }
}

impl ExactSizeIterator for Packets<'_> {}

#[inline]
fn bucket(key: &Key) -> usize {
    hash(&key.addresses, key.ports)
}

/// A number below [`BUCKETS`].
#[inline]
fn hash([a, b, c, d]: &Addresses, ports: u32) -> usize {
    /// Odd, and without a pattern: the fraction of the golden ratio.
    const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;
    const SHIFT: u32 = u64::BITS - BUCKETS.ilog2();
    let mixed =
        a ^ b.rotate_left(13) ^ c.rotate_left(29) ^ d.rotate_left(43) ^ u64::from(ports).rotate_left(20);
    let product = (mixed ^ mixed >> 32).wrapping_mul(MULTIPLIER);
    usize::try_from(product >> SHIFT).unwrap_or(0)
}
