//! A group while it grows: its first packet, and what the next one must be.

#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::panic)]

use wg_aead::Sum;

use super::packet::{Candidate, Flow, Key, Same, v4_is_right, verifies};
use crate::header::{
    FIN, IPV4_ID, IPV4_LEN, IPV6_LEN, PSH, TCP_CHECKSUM, TCP_FLAGS, TCP_LEN, TCP_SEQUENCE, Transport,
    UDP_CHECKSUM, field, length, word,
};
use crate::ip::IpVersion;

/// The longest frame.
const MAX_FRAME: usize = 65_535;
/// IPv6 and the longest TCP header.
const MAX_HEAD: usize = IPV6_LEN + 60;

/// A group, and what its next packet must be.
#[derive(Clone, Debug)]
pub(super) struct Slot {
    pub(super) first: u8,
    pub(super) last: u8,
    pub(super) count: u8,
    pub(super) is_open: bool,
    pub(super) frame_len: usize,
    /// `None` for a packet that is never merged; what follows is then of no use.
    pub(super) key: Option<Key>,
    same: Same,
    pub(super) start: usize,
    pub(super) header_len: usize,
    pub(super) segment_size: usize,
    identification: u16,
    sequence: u32,
    /// What is added to the sum of a packet that is as long as the first; see [`Flow`].
    sum: u64,
    /// FIN and PSH of the last packet.
    pub(super) last_flags: u8,
    /// The headers of the first packet.
    pub(super) head: [u8; MAX_HEAD],
}

impl Slot {
    #[inline]
    pub(super) const fn alone(number: u8, frame_len: usize) -> Self {
        Self {
            first: number,
            last: number,
            count: 1,
            is_open: false,
            frame_len,
            key: None,
            same: Same::NOTHING,
            start: 0,
            header_len: 0,
            segment_size: 0,
            identification: 0,
            sequence: 0,
            sum: 0,
            last_flags: 0,
            head: [0; MAX_HEAD],
        }
    }

    #[inline]
    pub(super) fn begin(number: u8, packet: &[u8], flow: &Flow, candidate: &Candidate) -> Self {
        let mut slot = Self {
            key: Some(flow.key),
            sum: flow.sum,
            same: candidate.same,
            start: candidate.start,
            header_len: candidate.header_len,
            segment_size: candidate.payload_len,
            ..Self::alone(number, candidate.header_len)
        };
        // All that there is room for, which needs no loop.
        if let Some(head) = packet.first_chunk() {
            slot.head = *head;
        } else if let Some(head) = slot.head.get_mut(..packet.len()) {
            head.copy_from_slice(packet);
        }
        slot.follow(candidate);
        slot
    }

    /// Whether a packet of the flow continues the group.
    #[inline]
    pub(super) fn takes(&self, packet: &[u8], candidate: &Candidate) -> bool {
        self.is_open
            && self.same == candidate.same
            && self.sequence == candidate.sequence
            && self.identification == candidate.identification
            && candidate.payload_len <= self.segment_size
            && self.frame_len.saturating_add(candidate.payload_len) <= MAX_FRAME
            && self.has_options_of(packet)
    }

    /// What a packet brings that is as long as the first and continues the group: the same as by way of [`Class`] and
    /// [`Slot::takes`], and sooner.
    ///
    /// [`Class`]: super::packet::Class
    #[inline]
    pub(super) fn candidate(&self, packet: &[u8], sum: Sum) -> Option<Candidate> {
        let Key { version, transport, .. } = self.key?;
        let is_as_long = packet.len() == self.header_len.saturating_add(self.segment_size);
        let fits = self.frame_len.saturating_add(self.segment_size) <= MAX_FRAME;
        if !(self.is_open && is_as_long && fits && self.has_headers_of(packet)) {
            return None;
        }
        if version == IpVersion::V4 {
            let header: &[u8; IPV4_LEN] = packet.first_chunk()?;
            if word(header, IPV4_ID)? != self.identification || !v4_is_right(header) {
                return None;
            }
        }
        let header = packet.get(self.start..)?;
        let (checksum, last_flags) = match transport {
            Transport::Tcp => {
                let header: &[u8; TCP_LEN] = header.first_chunk()?;
                if field(header, TCP_SEQUENCE).map(u32::from_be_bytes)? != self.sequence {
                    return None;
                }
                let [flags] = field(header, TCP_FLAGS)?;
                (word(header, TCP_CHECKSUM)?, flags & (FIN | PSH))
            }
            Transport::Udp => (word(header, UDP_CHECKSUM)?, 0),
        };
        let all = u64::from(u16::from_be_bytes(sum.to_be_bytes())).wrapping_add(self.sum);
        (checksum != 0 && verifies(all)).then_some(Candidate {
            same: self.same,
            start: self.start,
            header_len: self.header_len,
            payload_len: self.segment_size,
            identification: self.identification,
            sequence: self.sequence,
            last_flags,
        })
    }

    /// The headers are those of the first packet but for identification, sequence number, FIN, PSH and checksums.
    #[inline]
    fn has_headers_of(&self, packet: &[u8]) -> bool {
        const ALL: u64 = u64::MAX;
        const IDENTIFICATION: u64 = !0xffff_0000;
        const CHECKSUM: u64 = !(0xffff << 32);
        const LAST_FLAGS: u64 = !0x0009_0000;
        let Some(Key { version, transport, .. }) = self.key else { return false };
        let is_same = match (version, transport) {
            (IpVersion::V4, Transport::Tcp) => self.is_same_in(
                packet,
                [IDENTIFICATION, CHECKSUM, ALL, 0xffff_ffff, LAST_FLAGS << 32 | 0xffff],
                None,
            ),
            (IpVersion::V4, Transport::Udp) => {
                self.is_same_in(packet, [IDENTIFICATION, CHECKSUM, ALL], Some(0xffff_0000))
            }
            (IpVersion::V6, Transport::Tcp) => self.is_same_in(
                packet,
                [ALL, ALL, ALL, ALL, ALL, 0xffff_ffff << 32, LAST_FLAGS],
                Some(0xffff),
            ),
            (IpVersion::V6, Transport::Udp) => {
                self.is_same_in(packet, [ALL, ALL, ALL, ALL, ALL, !0xffff], None)
            }
        };
        is_same && self.has_options_of(packet)
    }

    /// Whether the bits of these masks are those of the first packet, eight bytes at a time, and four at the end.
    #[inline]
    fn is_same_in<const N: usize>(&self, packet: &[u8], masks: [u64; N], end: Option<u32>) -> bool {
        let (own, others) = (self.head.as_chunks().0, packet.as_chunks().0);
        let (Some(own), Some(others)): (Option<&[_; N]>, Option<&[_; N]>) =
            (own.first_chunk(), others.first_chunk())
        else {
            return false;
        };
        let mut differs = 0;
        for ((own, others), mask) in own.iter().zip(others).zip(masks) {
            differs |= (u64::from_ne_bytes(*own) ^ u64::from_ne_bytes(*others)) & mask.to_be();
        }
        if let Some(mask) = end {
            let at = N.saturating_mul(8);
            let (Some(own), Some(others)) = (field(&self.head, at), field(packet, at)) else { return false };
            differs |= u64::from((u32::from_ne_bytes(own) ^ u32::from_ne_bytes(others)) & mask.to_be());
        }
        differs == 0
    }

    /// The TCP options are equal; that they are as long is in `same`.
    #[inline]
    fn has_options_of(&self, packet: &[u8]) -> bool {
        let from = self.start.saturating_add(TCP_LEN);
        let (Some(own), Some(others)) =
            (self.head.get(from..self.header_len), packet.get(from..self.header_len))
        else {
            return true;
        };
        // Whole words, which is sooner than a call for a few bytes.
        own.as_chunks::<4>().0 == others.as_chunks::<4>().0
    }

    #[inline]
    pub(super) fn append(&mut self, number: u8, candidate: &Candidate) {
        self.last = number;
        self.count = self.count.saturating_add(1);
        self.follow(candidate);
    }

    /// What the next packet must be behind this one.
    #[inline]
    fn follow(&mut self, candidate: &Candidate) {
        self.frame_len = self.frame_len.saturating_add(candidate.payload_len);
        self.last_flags = candidate.last_flags;
        self.is_open = candidate.last_flags == 0 && candidate.payload_len == self.segment_size;
        if let Some(Key { version, transport, .. }) = self.key {
            if version == IpVersion::V4 {
                self.identification = candidate.identification.wrapping_add(1);
            }
            if transport == Transport::Tcp {
                self.sequence = candidate.sequence.wrapping_add(u32::from(length(candidate.payload_len)));
            }
        }
    }
}
