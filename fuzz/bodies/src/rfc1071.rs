//! The Internet checksum as RFC 1071 has it, word by word: what targets hold the code's own against.

/// The one's complement sum of big-endian words; an odd byte at the end is followed by a zero.
pub(crate) fn sum(bytes: &[u8]) -> u16 {
    let mut sum: u32 =
        bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    u16::try_from(sum).expect("16 bits")
}
