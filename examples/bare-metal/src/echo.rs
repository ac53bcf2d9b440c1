//! Answers to pings: ICMP echo over IPv4, RFC 792, turned around in its place.

use core::net::Ipv4Addr;

const HEADER_LEN: usize = 20;
/// Version 4, and no options.
const VERSION_AND_LENGTH: u8 = 0x45;
const ICMP: u8 = 1;
const ECHO_REQUEST: u8 = 8;
const ECHO_REPLY: u8 = 0;
const TIME_TO_LIVE: u8 = 64;

/// Turns what a peer sent into the answer to it, if it is an echo request from `peer` to `own`.
///
/// `content` is as it was opened, with padding behind the packet: the answer is cut to its length. A packet whose source is
/// not `peer` is not this peer's to send, and is dropped like everything else that is no ping. So are fragments.
pub fn answer(content: &mut [u8], own: Ipv4Addr, peer: Ipv4Addr) -> Option<&mut [u8]> {
    let header = content.first_chunk::<HEADER_LEN>()?;
    let len = u16::from_be_bytes([header[2], header[3]]);
    let packet = content.get_mut(..usize::from(len))?;
    let (header, message) = packet.split_first_chunk_mut::<HEADER_LEN>()?;
    let [version_and_length, _, _, _, _, _, fragment, offset, time_to_live, protocol, ..] = *header;
    let fits = version_and_length == VERSION_AND_LENGTH && protocol == ICMP;
    // More fragments, and the offset of this one; the bit between says "don't fragment" and does not matter.
    let is_fragment = fragment & 0x3f != 0 || offset != 0;
    let addressed = header[12..16] == peer.octets() && header[16..20] == own.octets();
    if !fits || is_fragment || !addressed || checksum(header) != 0 || checksum(message) != 0 {
        return None;
    }
    let (start, _) = message.split_first_chunk_mut::<8>()?;
    if start[..2] != [ECHO_REQUEST, 0] {
        return None;
    }
    start[..4].copy_from_slice(&[ECHO_REPLY, 0, 0, 0]);
    let sum = checksum(message).to_be_bytes();
    message.first_chunk_mut::<4>()?[2..].copy_from_slice(&sum);

    header[12..16].copy_from_slice(&own.octets());
    header[16..20].copy_from_slice(&peer.octets());
    header[8] = time_to_live.max(TIME_TO_LIVE);
    header[10..12].fill(0);
    let sum = checksum(header).to_be_bytes();
    header[10..12].copy_from_slice(&sum);
    Some(packet)
}

/// The checksum of the internet, RFC 1071: of bytes that hold theirs it is zero.
fn checksum(bytes: &[u8]) -> u16 {
    let (pairs, rest) = bytes.as_chunks::<2>();
    let last = rest.first().map_or(0, |last| u16::from_be_bytes([*last, 0]));
    // No packet has enough pairs to overflow.
    let sum =
        pairs.iter().fold(u32::from(last), |sum, pair| sum.wrapping_add(u16::from_be_bytes(*pair).into()));
    let folded = (sum & 0xffff).wrapping_add(sum >> 16);
    let folded = (folded & 0xffff).wrapping_add(folded >> 16);
    !(folded as u16)
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::vec::Vec;

    use super::*;

    const OWN: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 2);
    const PEER: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 1);

    /// An echo request as a host would send it, with padding behind it.
    fn request(source: Ipv4Addr, destination: Ipv4Addr, payload: usize) -> Vec<u8> {
        let len = u16::try_from(28 + payload).unwrap();
        let mut packet = Vec::from([0x45, 0, 0, 0, 0x12, 0x34, 0x40, 0, 63, 1, 0, 0]);
        packet[2..4].copy_from_slice(&len.to_be_bytes());
        packet.extend(source.octets());
        packet.extend(destination.octets());
        packet.extend([8, 0, 0, 0, 0xab, 0xcd, 0, 7]);
        packet.extend((0..payload).map(|at| at as u8));
        seal(&mut packet);
        packet.extend([0; 12]);
        packet
    }

    /// Writes both checksums, by the definition: the one's complement of the one's complement sum.
    fn seal(packet: &mut [u8]) {
        let len = usize::from(u16::from_be_bytes([packet[2], packet[3]]));
        packet[10..12].fill(0);
        packet[22..24].fill(0);
        for (range, at) in [(0..20, 10), (20..len, 22)] {
            let mut sum = 0_u32;
            for pair in packet[range].chunks(2) {
                sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
                sum = (sum & 0xffff) + (sum >> 16);
            }
            packet[at..at + 2].copy_from_slice(&(!(sum as u16)).to_be_bytes());
        }
    }

    #[test]
    fn requests_of_every_size_are_answered() {
        for payload in (0..80).chain([1391, 1392]) {
            let mut content = request(PEER, OWN, payload);
            let mut expected = content[..28 + payload].to_vec();
            expected[12..20].rotate_left(4);
            (expected[8], expected[20]) = (64, 0);
            seal(&mut expected);
            assert_eq!(answer(&mut content, OWN, PEER), Some(&mut expected[..]), "{payload} bytes");
        }
    }

    #[test]
    fn whatever_else_comes_is_dropped() {
        let valid = request(PEER, OWN, 56);
        let changes: [(&str, usize, u8); 7] = [
            ("version", 0, 0x65),
            ("options", 0, 0x46),
            ("more fragments", 6, 0x20),
            ("a later fragment", 7, 1),
            ("protocol", 9, 17),
            ("answer", 20, 0),
            ("code", 21, 1),
        ];
        for (what, at, value) in changes {
            let mut content = valid.clone();
            content[at] = value;
            if at != 0 {
                seal(&mut content);
            }
            assert_eq!(answer(&mut content, OWN, PEER), None, "{what}");
        }
        let stranger = Ipv4Addr::new(10, 1, 0, 9);
        assert_eq!(answer(&mut request(stranger, OWN, 56), OWN, PEER), None, "source of somebody else");
        assert_eq!(answer(&mut request(PEER, stranger, 56), OWN, PEER), None, "for somebody else");
    }

    #[test]
    fn damaged_and_cut_packets_are_dropped_without_panic() {
        let valid = request(PEER, OWN, 33);
        for len in 0..61 {
            assert_eq!(answer(&mut valid.clone()[..len], OWN, PEER), None, "{len} bytes");
        }
        for bit in 0..61 * 8 {
            let mut content = valid.clone();
            content[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(answer(&mut content, OWN, PEER), None, "bit {bit}");
        }
        for len in 0..=u16::MAX {
            let mut content = valid.clone();
            content[2..4].copy_from_slice(&len.to_be_bytes());
            assert_eq!(answer(&mut content, OWN, PEER).is_some(), len == 61, "says {len}");
        }
    }
}
