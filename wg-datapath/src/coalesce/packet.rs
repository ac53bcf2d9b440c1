//! A packet as the coalescer sees it: whose flow it is of, and whether and with what it may be merged.

#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::panic)]

use wg_aead::Sum;

use crate::header::{
    ACK, CWR, FIN, FRAGMENT_BITS, IPV4_ADDRESSES, IPV4_CHECKSUM, IPV4_FRAGMENT, IPV4_ID, IPV4_LEN,
    IPV4_TOTAL_LEN, IPV6_ADDRESSES, IPV6_LEN, IPV6_PAYLOAD_LEN, PSH, RST, SYN, TCP, TCP_ACKNOWLEDGMENT,
    TCP_CHECKSUM, TCP_DATA_OFFSET, TCP_LEN, TCP_SEQUENCE, TCP_URGENT, Transport, UDP, UDP_CHECKSUM, UDP_LEN,
    UDP_LENGTH, URG, field, sum, word,
};
use crate::ip::IpVersion;

/// Protocol numbers of ICMP and ICMPv6.
const ICMP: u8 = 1;
const ICMP_V6: u8 = 58;

/// What is known of a packet without its transport header.
#[derive(Clone, Copy, Debug)]
pub(super) enum Class {
    /// TCP or UDP, in one piece, behind an IP header and nothing else.
    Flow(Flow),
    /// It may belong to any flow between these addresses: fragments, options, extension headers, lengths that are not true.
    Unclear(Addresses),
    /// It belongs to no flow of TCP or UDP.
    Other,
}

/// Source and destination; of IPv4 all in the first.
pub(super) type Addresses = [u64; 4];

/// Which packets must keep their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) addresses: Addresses,
    /// Both.
    pub(super) ports: u32,
    pub(super) version: IpVersion,
    pub(super) transport: Transport,
}

/// A packet of a flow.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flow {
    pub(super) key: Key,
    /// Whether the IPv4 header checksum is what the split writes; there is none in IPv6.
    network_is_right: bool,
    /// What of the IP header is equal in all packets of a group: IPv4 TOS, DF and TTL; IPv6 traffic class, flow label and hop
    /// limit.
    network: u64,
    identification: u16,
    /// What is added to the sum of the packet for that of transport header, payload and pseudo header.
    pub(super) sum: u64,
    start: usize,
}

/// A packet that may be merged.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    pub(super) same: Same,
    pub(super) start: usize,
    pub(super) header_len: usize,
    pub(super) payload_len: usize,
    /// 0 in IPv6.
    pub(super) identification: u16,
    /// 0 of UDP.
    pub(super) sequence: u32,
    /// FIN and PSH: those that may differ, and end a group.
    pub(super) last_flags: u8,
}

/// What is equal in all packets of a group, beside the flow and the TCP options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Same {
    network: u64,
    /// The TCP acknowledgment number, and data offset, flags and window.
    acknowledgment: u64,
    urgent: u16,
}

impl Same {
    pub(super) const NOTHING: Self = Self { network: 0, acknowledgment: 0, urgent: 0 };
}

impl Class {
    #[inline]
    pub(super) fn of(packet: &[u8]) -> Self {
        match packet.first().map(|first| first >> 4) {
            Some(4) => packet.first_chunk().map_or(Self::Other, |header| v4(header, packet)),
            Some(6) => packet.first_chunk().map_or(Self::Other, |header| v6(header, packet)),
            _ => Self::Other,
        }
    }
}

#[inline]
fn v4(header: &[u8; IPV4_LEN], packet: &[u8]) -> Class {
    let &[first, tos, _, _, _, _, _, _, ttl, protocol, ..] = header;
    let between = field(header, IPV4_ADDRESSES).map_or(0, u64::from_be_bytes);
    let addresses = [between, 0, 0, 0];
    let fragment = word(header, IPV4_FRAGMENT).unwrap_or(FRAGMENT_BITS);
    let is_whole = word(header, IPV4_TOTAL_LEN).map(usize::from) == Some(packet.len());
    if first != 0x45 || fragment & FRAGMENT_BITS != 0 || !is_whole {
        return Class::Unclear(addresses);
    }
    let (Some(transport), Some(ports)) = (transport(protocol), field(packet, IPV4_LEN)) else {
        return if protocol == ICMP { Class::Other } else { Class::Unclear(addresses) };
    };
    let transport_len = packet.len().saturating_sub(IPV4_LEN);
    Class::Flow(Flow {
        key: Key { addresses, ports: u32::from_be_bytes(ports), version: IpVersion::V4, transport },
        network_is_right: v4_is_right(header),
        network: u64::from(tos) << 24 | u64::from(ttl) << 16 | u64::from(fragment),
        identification: word(header, IPV4_ID).unwrap_or(0),
        // The header, if it is right, sums up to nothing.
        sum: [between >> 32, between & 0xffff_ffff, protocol.into(), transport_len as u64]
            .iter()
            .fold(0, |sum: u64, part| sum.wrapping_add(*part)),
        start: IPV4_LEN,
    })
}

#[inline]
fn v6(header: &[u8; IPV6_LEN], packet: &[u8]) -> Class {
    let &[_, _, _, _, _, _, next, hop_limit, ..] = header;
    let (Some(head), Some(a), Some(b), Some(c), Some(d)) = (
        field(header, 0).map(u32::from_be_bytes),
        field(header, IPV6_ADDRESSES).map(u64::from_be_bytes),
        field(header, 16).map(u64::from_be_bytes),
        field(header, 24).map(u64::from_be_bytes),
        field(header, 32).map(u64::from_be_bytes),
    ) else {
        return Class::Other;
    };
    let addresses = [a, b, c, d];
    let transport_len = packet.len().saturating_sub(IPV6_LEN);
    let is_whole = word(header, IPV6_PAYLOAD_LEN).map(usize::from) == Some(transport_len);
    let (Some(transport), Some(ports), true) = (transport(next), field(packet, IPV6_LEN), is_whole) else {
        return if next == ICMP_V6 && is_whole { Class::Other } else { Class::Unclear(addresses) };
    };
    let rest = field(header, IPV6_PAYLOAD_LEN).map_or(0, u32::from_be_bytes);
    Class::Flow(Flow {
        key: Key { addresses, ports: u32::from_be_bytes(ports), version: IpVersion::V6, transport },
        network_is_right: true,
        network: u64::from(head) << 8 | u64::from(hop_limit),
        identification: 0,
        // The addresses are in the pseudo header, too; the rest of the header is taken out.
        sum: [u64::from(!head), u64::from(!rest), next.into(), transport_len as u64]
            .iter()
            .fold(0, |sum: u64, part| sum.wrapping_add(*part)),
        start: IPV6_LEN,
    })
}

/// Whether the header checksum is what the split writes, which is never 0xffff for 0.
#[inline]
pub(super) fn v4_is_right(header: &[u8; IPV4_LEN]) -> bool {
    verifies(sum(header)) && word(header, IPV4_CHECKSUM) != Some(0xffff)
}

/// Whether a sum over anything but zeros is that of bytes that include their checksum.
#[inline]
pub(super) const fn verifies(sum: u64) -> bool {
    sum.is_multiple_of(0xffff)
}

#[inline]
const fn transport(protocol: u8) -> Option<Transport> {
    match protocol {
        TCP => Some(Transport::Tcp),
        UDP => Some(Transport::Udp),
        _ => None,
    }
}

impl Flow {
    /// What a packet brings to a group, if it may be merged; `sum` is that of all of it.
    #[inline]
    pub(super) fn candidate(&self, packet: &[u8], sum: Sum) -> Option<Candidate> {
        let all = u64::from(u16::from_be_bytes(sum.to_be_bytes())).wrapping_add(self.sum);
        if !self.network_is_right || !verifies(all) {
            return None;
        }
        match self.key.transport {
            Transport::Tcp => self.tcp(packet),
            Transport::Udp => self.udp(packet),
        }
    }

    #[inline]
    fn tcp(&self, packet: &[u8]) -> Option<Candidate> {
        const ANY: u8 = FIN | PSH;
        let header: &[u8; TCP_LEN] = packet.get(self.start..)?.first_chunk()?;
        let control = field(header, TCP_DATA_OFFSET).map(u32::from_be_bytes)?;
        let [offset, flags, ..] = control.to_be_bytes();
        let len = usize::from(offset >> 4).saturating_mul(4);
        let header_len = self.start.saturating_add(len);
        let payload_len = packet.len().checked_sub(header_len)?;
        let plain = flags & (ACK | SYN | RST | URG | CWR) == ACK;
        // A checksum of 0 is written as 0xffff by the split.
        if len < TCP_LEN || payload_len == 0 || !plain || word(header, TCP_CHECKSUM)? == 0 {
            return None;
        }
        let acknowledgment = field(header, TCP_ACKNOWLEDGMENT).map(u32::from_be_bytes)?;
        let control = control & !u32::from_be_bytes([0, ANY, 0, 0]);
        Some(Candidate {
            same: Same {
                network: self.network,
                acknowledgment: u64::from(acknowledgment) << 32 | u64::from(control),
                urgent: word(header, TCP_URGENT)?,
            },
            start: self.start,
            header_len,
            payload_len,
            identification: self.identification,
            sequence: field(header, TCP_SEQUENCE).map(u32::from_be_bytes)?,
            last_flags: flags & ANY,
        })
    }

    #[inline]
    fn udp(&self, packet: &[u8]) -> Option<Candidate> {
        let datagram = packet.get(self.start..)?;
        let header: &[u8; UDP_LEN] = datagram.first_chunk()?;
        let header_len = self.start.saturating_add(UDP_LEN);
        let payload_len = packet.len().checked_sub(header_len)?;
        let is_whole = word(header, UDP_LENGTH).map(usize::from) == Some(datagram.len());
        if !is_whole || payload_len == 0 || word(header, UDP_CHECKSUM)? == 0 {
            return None;
        }
        Some(Candidate {
            same: Same { network: self.network, acknowledgment: 0, urgent: 0 },
            start: self.start,
            header_len,
            payload_len,
            identification: self.identification,
            sequence: 0,
            last_flags: 0,
        })
    }
}
