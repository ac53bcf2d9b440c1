//! Any bytes as an inner packet, beside a reader of the header tables of RFC 791 and RFC 8200 (C63, C80, C98).

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use wg_datapath::ip::{self, Ecn, IpError, IpVersion};

/// What the tables say of a packet.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Naive {
    pub(crate) v6: bool,
    pub(crate) src: IpAddr,
    pub(crate) dst: IpAddr,
    /// Header and payload by the length field; may be more than there is.
    pub(crate) total: u64,
    pub(crate) ecn: u8,
}

/// Reads a header of which every byte is there.
pub(crate) fn naive(packet: &[u8]) -> Result<Naive, IpError> {
    if packet.is_empty() {
        return Err(IpError::TooShort);
    }
    let word = |at: usize| u64::from(packet[at]) * 256 + u64::from(packet[at + 1]);
    let v6_at = |at: usize| {
        let words: Vec<u16> =
            (0..8).map(|n| u16::from_be_bytes([packet[at + 2 * n], packet[at + 2 * n + 1]])).collect();
        let [a, b, c, d, e, f, g, h] = words[..] else { unreachable!("eight words") };
        IpAddr::V6(Ipv6Addr::new(a, b, c, d, e, f, g, h))
    };
    let v4_at =
        |at: usize| IpAddr::V4(Ipv4Addr::new(packet[at], packet[at + 1], packet[at + 2], packet[at + 3]));
    match packet[0] >> 4 {
        4 if packet.len() < 20 => Err(IpError::TooShort),
        4 => Ok(Naive { v6: false, src: v4_at(12), dst: v4_at(16), total: word(2), ecn: packet[1] & 3 }),
        6 if packet.len() < 40 => Err(IpError::TooShort),
        6 => Ok(Naive {
            v6: true,
            src: v6_at(8),
            dst: v6_at(24),
            total: 40 + word(4),
            ecn: packet[1] >> 4 & 3,
        }),
        _ => Err(IpError::NotIp),
    }
}

/// Whether a decrypted packet with this header may be delivered, and how much of it.
pub(crate) fn naive_len(packet: &[u8]) -> Result<usize, IpError> {
    let header = naive(packet)?;
    let least = if header.v6 { 40 } else { 20 };
    let total = usize::try_from(header.total).expect("17 bits");
    if total < least || total > packet.len() { Err(IpError::BadLength) } else { Ok(total) }
}

/// The sum of RFC 1071 over the first 20 bytes; zero if the checksum in it is right.
fn header_sum(packet: &[u8]) -> u32 {
    let mut sum: u32 = packet[..20].chunks(2).map(|word| u32::from(word[0]) << 8 | u32::from(word[1])).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    0xffff - sum
}

/// Reads a packet both ways, then marks it.
///
/// # Panics
///
/// If the readers disagree, or a mark changes more than it may.
pub fn ip_header(data: &[u8]) {
    let header = naive(data);
    assert_eq!(ip::destination(data), header.as_ref().map(|header| header.dst).map_err(|error| *error));
    let ecn = header.as_ref().map_or(0, |header| header.ecn);
    assert_eq!(ip::ecn(data).bits(), ecn);
    match (ip::parse(data), naive_len(data)) {
        (Ok(view), Ok(total)) => {
            let header = header.as_ref().expect("a length was found");
            assert_eq!((view.src(), view.dst(), view.total_len()), (header.src, header.dst, total));
            assert_eq!((view.version() == IpVersion::V6, view.ecn()), (header.v6, Ecn::from_tos(ecn)));
        }
        (Err(error), Err(expected)) => assert_eq!(error, expected),
        (parsed, expected) => panic!("{parsed:?} where the tables say {expected:?}"),
    }
    let mut marked = data.to_vec();
    assert_eq!(ip::mark_ce(&mut marked), ecn != 0, "only what can carry the mark does");
    if ecn == 0 || ecn == 3 {
        assert_eq!(marked, data);
        return;
    }
    assert_eq!(ip::ecn(&marked), Ecn::Ce);
    let v4 = data[0] >> 4 == 4;
    for (at, (after, before)) in marked.iter().zip(data).enumerate() {
        let may_change = if v4 { matches!(at, 1 | 10 | 11) } else { at == 1 };
        assert!(may_change || after == before, "byte {at}");
    }
    assert_eq!(marked[1] ^ data[1], if v4 { 3 ^ ecn } else { (3 ^ ecn) << 4 });
    if v4 && header_sum(data) == 0 {
        assert_eq!(header_sum(&marked), 0, "the checksum is mended");
    }
}
