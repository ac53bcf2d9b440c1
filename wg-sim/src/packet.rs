//! The inner packets of a simulation: IPv4, each with its flow, its number, and content that follows from both.
//!
//! ```text
//!   0x45 | tos | length | number (5 bytes) | check (3 bytes) | source | destination | filling ...
//! ```
//!
//! The number and a check over all the rest take the fields of the header that nobody on the way looks at, so that the
//! shortest IPv4 packet carries them too. Every byte of a packet is compared when it is delivered.

use core::net::Ipv4Addr;

use crate::draw::mix;

/// The shortest packet that is one.
pub const HEADER: usize = 20;

/// Returns the inner address of a host.
#[must_use]
pub const fn inner(host: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, host.wrapping_add(1))
}

/// Returns the host of an inner address.
#[must_use]
pub const fn host_of(inner: Ipv4Addr) -> Option<u8> {
    match inner.octets() {
        [10, 0, 0, number] => number.checked_sub(1),
        _ => None,
    }
}

/// Writes packet `number` of the flow between two hosts into `out`, `len` bytes long. One that is too short for a header is
/// the beginning of one.
pub fn write(out: &mut Vec<u8>, from: u8, to: u8, number: u64, len: usize) {
    out.clear();
    let seed = mix(number, u64::from(from) << 8 | u64::from(to));
    let length = u16::try_from(len).unwrap_or(u16::MAX);
    out.extend_from_slice(&[0x45, 0]);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(&number.to_be_bytes()[3..]);
    out.extend_from_slice(&mix(seed, u64::from(length)).to_be_bytes()[5..]);
    out.extend_from_slice(&inner(from).octets());
    out.extend_from_slice(&inner(to).octets());
    let mut word = seed;
    while out.len() < len {
        word = word.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(seed | 1);
        out.extend_from_slice(&word.to_be_bytes());
    }
    out.truncate(len);
}

/// Whose packet it is, and which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The host that sent it.
    pub from: u8,
    /// The host it is for.
    pub to: u8,
    /// Its number in the flow between them.
    pub number: u64,
}

/// Reads a packet back, if every byte of it is as it was written. `scratch` is written over.
#[must_use]
pub fn read(packet: &[u8], scratch: &mut Vec<u8>) -> Option<Identity> {
    let header: &[u8; HEADER] = packet.first_chunk()?;
    let [.., n0, n1, n2, n3, n4, _, _, _, s0, s1, s2, s3, d0, d1, d2, d3] = *header;
    let from = host_of(Ipv4Addr::new(s0, s1, s2, s3))?;
    let to = host_of(Ipv4Addr::new(d0, d1, d2, d3))?;
    let number = u64::from_be_bytes([0, 0, 0, n0, n1, n2, n3, n4]);
    write(scratch, from, to, number, packet.len());
    (scratch.as_slice() == packet).then_some(Identity { from, to, number })
}

#[cfg(test)]
mod tests {
    use wg_datapath::ip;

    use super::*;

    #[test]
    fn packets_are_read_back_and_every_byte_counts() {
        let (mut packet, mut scratch) = (Vec::new(), Vec::new());
        for (number, len) in [(0, 20), (1, 21), (0xff_ffff_ffff, 28), (7, 1420)] {
            write(&mut packet, 2, 1, number, len);
            assert_eq!(packet.len(), len);
            assert_eq!(read(&packet, &mut scratch), Some(Identity { from: 2, to: 1, number }));
            let view = ip::parse(&packet).unwrap();
            assert_eq!((view.src(), view.dst(), view.total_len()), (inner(2).into(), inner(1).into(), len));
            for at in 0..len {
                packet[at] ^= 0x10;
                assert_eq!(read(&packet, &mut scratch), None, "byte {at} of {len}");
                packet[at] ^= 0x10;
            }
        }
        write(&mut packet, 2, 1, 0, 19);
        assert!(ip::parse(&packet).is_err() && read(&packet, &mut scratch).is_none());
    }
}
