//! Where the fields stand that change when a frame is split or packets are merged (RFC 791, 8200, 9293, 768), and the sum
//! over headers (RFC 1071).

#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::panic)]

/// Bytes of an IPv4 header without options.
pub(crate) const IPV4_LEN: usize = 20;
/// Bytes of an IPv6 header.
pub(crate) const IPV6_LEN: usize = 40;
/// Bytes of a TCP header without options.
pub(crate) const TCP_LEN: usize = 20;
/// Bytes of a UDP header.
pub(crate) const UDP_LEN: usize = 8;

/// Protocol number of TCP.
pub(crate) const TCP: u8 = 6;
/// Protocol number of UDP.
pub(crate) const UDP: u8 = 17;

/// The protocols whose headers are understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Tcp,
    Udp,
}

/// Offset of the IPv4 total length.
pub(crate) const IPV4_TOTAL_LEN: usize = 2;
/// Offset of the IPv4 identification.
pub(crate) const IPV4_ID: usize = 4;
/// Offset of the IPv4 flags and fragment offset.
pub(crate) const IPV4_FRAGMENT: usize = 6;
/// The bits there that a fragment has: more fragments, and the offset.
pub(crate) const FRAGMENT_BITS: u16 = 0x3fff;
/// Offset of the IPv4 protocol.
pub(crate) const IPV4_PROTOCOL: usize = 9;
/// Offset of the IPv4 header checksum.
pub(crate) const IPV4_CHECKSUM: usize = 10;
/// Offset of the IPv4 addresses.
pub(crate) const IPV4_ADDRESSES: usize = 12;
/// Offset of the IPv6 payload length.
pub(crate) const IPV6_PAYLOAD_LEN: usize = 4;
/// Offset of the IPv6 next header.
pub(crate) const IPV6_NEXT: usize = 6;
/// Offset of the IPv6 addresses.
pub(crate) const IPV6_ADDRESSES: usize = 8;

/// Offset of the sequence number, in a TCP header.
pub(crate) const TCP_SEQUENCE: usize = 4;
/// Offset of the acknowledgment number, in a TCP header.
pub(crate) const TCP_ACKNOWLEDGMENT: usize = 8;
/// Offset of the data offset, in a TCP header.
pub(crate) const TCP_DATA_OFFSET: usize = 12;
/// Offset of the flags, in a TCP header.
pub(crate) const TCP_FLAGS: usize = 13;
/// Offset of the checksum, in a TCP header.
pub(crate) const TCP_CHECKSUM: usize = 16;
/// Offset of the urgent pointer, in a TCP header.
pub(crate) const TCP_URGENT: usize = 18;
/// Offset of the length, in a UDP header.
pub(crate) const UDP_LENGTH: usize = 4;
/// Offset of the checksum, in a UDP header.
pub(crate) const UDP_CHECKSUM: usize = 6;

/// The sender has no more data.
pub(crate) const FIN: u8 = 0x01;
/// Sequence numbers begin.
pub(crate) const SYN: u8 = 0x02;
/// The connection is gone.
pub(crate) const RST: u8 = 0x04;
/// Data is to be passed on at once.
pub(crate) const PSH: u8 = 0x08;
/// The acknowledgment number counts.
pub(crate) const ACK: u8 = 0x10;
/// The urgent pointer counts.
pub(crate) const URG: u8 = 0x20;
/// The window was reduced (RFC 3168): said once.
pub(crate) const CWR: u8 = 0x80;

/// The `N` bytes at `at`, if they are there.
#[inline]
pub(crate) fn field<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

/// The big-endian word at `at`, if it is there.
#[inline]
pub(crate) fn word(bytes: &[u8], at: usize) -> Option<u16> {
    field(bytes, at).map(u16::from_be_bytes)
}

/// Writes `value` at `at`, if there is room.
#[inline]
pub(crate) fn put<const N: usize>(bytes: &mut [u8], at: usize, value: [u8; N]) -> Option<()> {
    *bytes.get_mut(at..)?.first_chunk_mut()? = value;
    Some(())
}

/// A length, which is less than 64 KiB as that of the frame is.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "no part of a frame is longer than the frame")]
pub(crate) const fn length(len: usize) -> u16 {
    len as u16
}

/// The sum of big-endian words, not folded.
#[inline]
pub(crate) fn sum(bytes: &[u8]) -> u64 {
    let (words, last) = bytes.as_chunks::<4>();
    let mut end = [0; 4];
    for (to, from) in end.iter_mut().zip(last) {
        *to = *from;
    }
    words.iter().fold(u32::from_be_bytes(end).into(), |sum: u64, word| {
        sum.wrapping_add(u32::from_be_bytes(*word).into())
    })
}

/// A sum as the 16 bits of one's complement arithmetic; 0 only for a sum of zeros.
#[inline]
pub(crate) const fn fold(sum: u64) -> u16 {
    // 64 bits to at most 33, to at most 18, to at most 17, to 16.
    let sum = (sum & 0xffff_ffff).wrapping_add(sum >> 32);
    let sum = (sum & 0xffff).wrapping_add(sum >> 16);
    let sum = (sum & 0xffff).wrapping_add(sum >> 16);
    (sum & 0xffff).wrapping_add(sum >> 16) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_folds_to_sixteen_bits() {
        for (sum, folded) in
            [(0, 0), (0xffff, 0xffff), (0x1_0000, 1), (0x1_fffe, 0xffff), (0x1_ffff, 1), (u64::MAX, 0xffff)]
        {
            assert_eq!(fold(sum), folded);
        }
        assert_eq!(fold(sum(&[1, 2, 3, 4, 5])), 0x0102 + 0x0304 + 0x0500);
    }

    #[test]
    fn fields_outside_are_not_read_or_written() {
        let mut bytes = [1, 2, 3];
        assert_eq!((word(&bytes, 1), word(&bytes, 2), word(&bytes, usize::MAX)), (Some(0x0203), None, None));
        assert_eq!((put(&mut bytes, 2, [0; 2]), put(&mut bytes, 9, [0; 1])), (None, None));
        assert_eq!(bytes, [1, 2, 3]);
    }
}
