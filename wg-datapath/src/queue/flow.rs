//! Which flow a packet belongs to: a keyed hash over addresses, protocol and ports.
//!
//! Senders choose ports; without the key they do not get two flows to share a number, or all their packets to have different
//! ones by anything but different ports. Fragments go without ports, first ones too, so that those of a datagram stay together
//! (RFC 791, RFC 8200 4.5). An IPv6 flow label is not looked at: what it would add, the ports have.

#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::panic)]

use core::fmt;

/// Protocols whose header begins with the two ports: TCP, UDP, SCTP (RFC 9260), UDP-Lite (RFC 3828).
const WITH_PORTS: [u8; 4] = [6, 17, 132, 136];

/// IPv6 extension headers that may stand before the transport header: hop-by-hop and destination options, routing (RFC 8200).
const OPTIONS: [u8; 3] = [0, 60, 43];
/// How many extension headers are looked behind.
const MAX_OPTIONS: usize = 4;

/// More fragments, and the offset: zero for a packet that is whole.
const IPV4_FRAGMENT: u16 = 0x3fff;

/// Hashes packets to flows, by a secret of this process.
///
/// # Examples
///
/// ```
/// use wg_datapath::FlowHash;
///
/// let hash = FlowHash::new(0x5ec2_e7a1_77d0_913b);
/// let mut packet = [0; 28];
/// (packet[0], packet[9]) = (0x45, 17); // IPv4, UDP
/// let flow = hash.flow(&packet);
/// packet[21] = 53; // a port
/// assert_ne!(hash.flow(&packet), flow);
/// ```
#[derive(Clone)]
pub struct FlowHash {
    secret: u64,
}

impl FlowHash {
    /// Takes the secret, which is to be random.
    #[must_use]
    pub const fn new(secret: u64) -> Self {
        Self { secret }
    }

    /// The flow of a packet, or of a train of packets by the headers at its front; of any bytes without panic.
    #[inline]
    #[must_use]
    pub fn flow(&self, packet: &[u8]) -> u32 {
        match packet.first().map(|first| first >> 4) {
            Some(4) => self.v4(packet),
            Some(6) => self.v6(packet),
            _ => None,
        }
        .unwrap_or_default()
    }

    fn v4(&self, packet: &[u8]) -> Option<u32> {
        let header: &[u8; 20] = packet.first_chunk()?;
        let &[first, _, _, _, _, _, fragment @ .., _, protocol, _, _, a, b, c, d, e, f, g, h] = header;
        let is_whole = u16::from_be_bytes(fragment) & IPV4_FRAGMENT == 0;
        let transport = usize::from(first & 15) << 2;
        let ports = if is_whole { ports(protocol, packet.get(transport..)) } else { 0 };
        let addresses = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
        Some(self.finish(self.mix(self.secret, addresses), protocol, ports))
    }

    fn v6(&self, packet: &[u8]) -> Option<u32> {
        let (header, mut rest) = packet.split_first_chunk::<40>()?;
        let &[_, _, _, _, _, _, mut next, _, ref addresses @ ..] = header;
        let mut state = self.secret;
        for word in addresses.as_chunks().0 {
            state = self.mix(state, u64::from_le_bytes(*word));
        }
        for _ in 0..MAX_OPTIONS {
            let (true, &[after, units, ..]) = (OPTIONS.contains(&next), rest) else { break };
            let Some(behind) = rest.get(usize::from(units).saturating_add(1) << 3..) else { break };
            (next, rest) = (after, behind);
        }
        // A fragment header is none of those with ports.
        Some(self.finish(state, next, ports(next, Some(rest))))
    }

    fn finish(&self, state: u64, protocol: u8, ports: u32) -> u32 {
        let hash = self.mix(self.mix(state, u64::from(protocol) << 32 | u64::from(ports)), 0);
        (hash >> 32) as u32
    }

    /// Both halves of a product, so that every bit of either factor matters; the secret keeps a sender from making one of them zero.
    #[inline]
    fn mix(&self, state: u64, word: u64) -> u64 {
        let factor = state ^ 0x9e37_79b9_7f4a_7c15;
        let other = word ^ self.secret.rotate_left(32) ^ 0xc2b2_ae3d_27d4_eb4f;
        let product = u128::from(factor).wrapping_mul(u128::from(other));
        #[expect(clippy::cast_possible_truncation, reason = "the low half")]
        let low = product as u64;
        low ^ (product >> 64) as u64
    }
}

impl fmt::Debug for FlowHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FlowHash")
    }
}

/// Source and destination port, or zero where there are none.
fn ports(protocol: u8, transport: Option<&[u8]>) -> u32 {
    match transport.and_then(<[u8]>::first_chunk) {
        Some(&ports) if WITH_PORTS.contains(&protocol) => u32::from_be_bytes(ports),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::collections::BTreeSet;
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    fn flow(packet: &[u8]) -> u32 {
        FlowHash::new(7).flow(packet)
    }

    /// From 10.0.0.1 to 10.0.0.2, ports 1000 and 53.
    fn v4(protocol: u8) -> Vec<u8> {
        let mut packet = std::vec![0; 40];
        (packet[0], packet[9]) = (0x45, protocol);
        packet[12..24].copy_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2, 3, 232, 0, 53]);
        packet
    }

    /// The same from fd00::1 to fd00::2, with these extension headers, whose first has the number `next`.
    fn v6(next: u8, extensions: &[&[u8]]) -> Vec<u8> {
        let mut packet = std::vec![0; 40];
        (packet[0], packet[6], packet[8], packet[23], packet[24], packet[39]) =
            (0x60, next, 0xfd, 1, 0xfd, 2);
        extensions.iter().for_each(|extension| packet.extend_from_slice(extension));
        packet.extend([3, 232, 0, 53, 0, 0, 0, 0, 0, 0]);
        packet
    }

    fn changed(packet: &[u8], at: usize) -> Vec<u8> {
        let mut packet = packet.to_vec();
        packet[at] ^= 0x10;
        packet
    }

    #[test]
    fn addresses_protocol_and_ports_make_a_flow_and_nothing_else() {
        for (packet, header, fields) in
            [(v4(6), 20, std::vec![9..10, 12..24]), (v6(17, &[]), 40, std::vec![6..7, 8..44])]
        {
            // The protocol becomes one without ports; the version and the length of the header are not changed.
            for at in (1..packet.len()).filter(|&at| header == 40 || !(6..8).contains(&at)) {
                let matters = fields.iter().any(|field| field.contains(&at));
                assert_eq!(flow(&changed(&packet, at)) != flow(&packet), matters, "byte {at} of {header}");
            }
        }
    }

    #[test]
    fn four_protocols_have_ports() {
        for protocol in 0..=255 {
            let has_ports = [6, 17, 132, 136].contains(&protocol);
            assert_eq!(flow(&v4(protocol)) != flow(&changed(&v4(protocol), 23)), has_ports, "{protocol}");
            if ![0, 43, 44, 60].contains(&protocol) {
                let packet = v6(protocol, &[]);
                assert_eq!(flow(&packet) != flow(&changed(&packet, 43)), has_ports, "{protocol}");
            }
        }
    }

    #[test]
    fn ports_are_found_behind_options() {
        let mut packet = v4(17);
        packet[0] = 0x47;
        let ports = packet[20..24].to_vec();
        packet[28..32].copy_from_slice(&ports);
        packet[20..28].fill(1);
        assert_eq!(flow(&packet), flow(&v4(17)), "IPv4 options");
        assert_ne!(flow(&packet), flow(&changed(&packet, 31)));
        // Hop-by-hop options of 8 bytes, a routing header of 24, destination options of 16; then UDP.
        let mut extensions = [[0; 8].to_vec(), [0; 24].to_vec(), [0; 16].to_vec()];
        for (extension, (next, units)) in extensions.iter_mut().zip([(43, 0), (60, 2), (17, 1)]) {
            (extension[0], extension[1]) = (next, units);
        }
        let packet = v6(0, &extensions.each_ref().map(Vec::as_slice));
        assert_eq!(flow(&packet), flow(&v6(17, &[])));
        assert_ne!(flow(&packet), flow(&changed(&packet, 40 + 48)));
    }

    #[test]
    fn fragments_of_a_datagram_stay_together() {
        // The first (more, offset 0), one in between, the last; the payload of these is not ports.
        let fragments = [[0x20, 0], [0x20, 0xb9], [0x01, 0x72]].map(|flags| {
            let mut packet = v4(17);
            packet[6..8].copy_from_slice(&flags);
            packet
        });
        let all = fragments.map(|packet| [flow(&packet), flow(&changed(&packet, 20))]);
        assert!(all.as_flattened().iter().all(|&each| each == all[0][0]), "{all:?}");
        let mut whole = v4(17);
        whole[6] = 0x40;
        assert_eq!(flow(&whole), flow(&v4(17)), "DF is no fragment");
        let v6_fragments = [[0, 1], [0x05, 0xa9], [0x0b, 0x50]]
            .map(|[high, low]| v6(44, &[&[17, 0, high, low, 9, 9, 9, 9]]));
        let all = v6_fragments.map(|packet| [flow(&packet), flow(&changed(&packet, 49))]);
        assert!(all.as_flattened().iter().all(|&each| each == all[0][0]), "{all:?}");
    }

    #[test]
    fn the_secret_decides_which_flows_meet() {
        // 4,096 flows of a sender who chooses the ports: few meet in 32 bits, and other ones with another secret.
        let mut packets = (0..4096_u16).map(|port| {
            let mut packet = v4(17);
            packet[20..22].copy_from_slice(&port.to_be_bytes());
            packet
        });
        let packets = packets.by_ref().collect::<Vec<_>>();
        for secret in [0, 1, u64::MAX] {
            let flows = packets.iter().map(|packet| FlowHash::new(secret).flow(packet));
            let low = flows.clone().map(|flow| flow & 0xfff).collect::<BTreeSet<_>>().len();
            // 4,096 (1 - 1/e) = 2,589 of 4,096 random numbers differ.
            assert!((2_450..2_750).contains(&low), "secret {secret}: {low} of the lower 12 bits");
            assert!(flows.collect::<BTreeSet<_>>().len() > 4_090);
        }
        assert!(packets.iter().all(|packet| FlowHash::new(1).flow(packet) != FlowHash::new(2).flow(packet)));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

        #[test]
        fn any_bytes_have_a_flow(
            version in prop_oneof![0x40..0x50_u8, Just(0x60), any::<u8>()],
            next in prop_oneof![Just(0_u8), Just(43), Just(44), Just(60), any::<u8>()],
            tail in prop::collection::vec(prop_oneof![Just(0_u8), Just(43), Just(60), any::<u8>()], 0..100),
        ) {
            let mut packet = tail;
            if let Some(first) = packet.first_mut() {
                *first = version;
            }
            if let Some(protocol) = packet.get_mut(6) {
                *protocol = next;
            }
            for len in 0..packet.len() {
                flow(&packet[..len]);
            }
        }
    }
}
