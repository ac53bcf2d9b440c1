//! ICMP errors about any bytes, beside a second reading of who may be told what (C100).
//!
//! Input: a byte of choices, the MTU, the source if one is named, the packet. As few inputs have a checksum that is right, one of
//! the choices mends it.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use wg_datapath::icmp::{self, IcmpError};

use crate::input::Input;
use crate::ip_header::{naive, naive_len};
use crate::rfc1071::sum;

/// What is at the end of the headers of a packet.
#[derive(Debug, PartialEq, Eq)]
enum Payload {
    /// ICMP of this type.
    Icmp(u8),
    /// Something that is no ICMP.
    Other,
    /// It cannot be seen.
    Hidden,
}

/// Walks the headers of a packet of which none stands behind `len`, as RFC 791, RFC 8200, 4, and RFC 4302, 2.2, have them.
fn payload(packet: &[u8]) -> Payload {
    let icmp = |at: usize| packet.get(at).map_or(Payload::Hidden, |kind| Payload::Icmp(*kind));
    if packet[0] >> 4 == 4 {
        let later = packet[6] & 0x1f != 0 || packet[7] != 0;
        return match packet[9] {
            _ if later => Payload::Hidden,
            1 => icmp(usize::from(packet[0] % 16) * 4),
            _ => Payload::Other,
        };
    }
    let (mut at, mut kind) = (40, packet[6]);
    for _ in 0..8 {
        let byte = |n: usize| packet.get(at + n).copied().map(usize::from);
        let len = match kind {
            58 => return icmp(at),
            0 | 43 | 60 | 135 | 139 | 140 => byte(1).map(|units| 8 + 8 * units),
            51 => byte(1).map(|units| 8 + 4 * units),
            // The offset in 13 bits, then two that are reserved, then "more".
            44 => byte(2).zip(byte(3)).filter(|(high, low)| (256 * high + low) / 8 == 0).map(|_| 8),
            _ => return Payload::Other,
        };
        match (len, packet.get(at)) {
            (Some(len), Some(next)) if at + len <= packet.len() => (at, kind) = (at + len, *next),
            _ => return Payload::Hidden,
        }
    }
    Payload::Hidden
}

/// The checksum of RFC 1071.
fn checksum(bytes: &[u8]) -> [u8; 2] {
    (!sum(bytes)).to_be_bytes()
}

fn is_host(addr: IpAddr) -> bool {
    match addr {
        IpAddr::V4(addr) => (1..=223).contains(&addr.octets()[0]) && addr.octets()[0] != 127,
        IpAddr::V6(addr) => addr.octets()[0] != 0xff && addr.to_bits() > 1,
    }
}

fn is_link_local(addr: IpAddr) -> bool {
    matches!(addr, IpAddr::V6(addr) if addr.to_bits() >> 118 == 0xfe80 >> 6)
}

/// Where an error comes from and what it says (type, code, MTU), if there may be one.
fn expected(
    error: IcmpError,
    packet: &[u8],
    named: Option<IpAddr>,
) -> Option<(IpAddr, IpAddr, [u8; 2], u16)> {
    let len = naive_len(packet).ok()?;
    let header = naive(packet).ok()?;
    let (packet, v4) = (&packet[..len], !header.v6);
    if v4 {
        let header_len = usize::from(packet[0] % 16) * 4;
        if header_len < 20 || header_len > len || checksum(&packet[..header_len]) != [0, 0] {
            return None;
        }
    }
    let may_be_told = match payload(packet) {
        Payload::Icmp(kind) if v4 => [0, 8, 9, 10, 13, 14, 15, 16, 17, 18, 42, 43].contains(&kind),
        Payload::Icmp(kind) => kind & 0x80 != 0 && kind != 137,
        Payload::Other => true,
        Payload::Hidden => false,
    };
    if !may_be_told || !is_host(header.src) || !is_host(header.dst) || header.src == header.dst {
        return None;
    }
    let (message, mtu) = match error {
        IcmpError::Unreachable => (if v4 { [3, 1] } else { [1, 3] }, 0),
        IcmpError::PacketTooBig { mtu } => {
            let told = mtu.max(if v4 { 68 } else { 1280 });
            if len <= usize::from(told) || (v4 && packet[6] & 0x40 == 0) {
                return None;
            }
            (if v4 { [3, 4] } else { [2, 0] }, told)
        }
    };
    let source = named.filter(|named| named.is_ipv4() == v4 && is_host(*named)).unwrap_or(header.dst);
    if is_link_local(source) && !is_link_local(header.src) {
        return None;
    }
    Some((source, header.src, message, mtu))
}

fn octets(addr: IpAddr) -> Vec<u8> {
    match addr {
        IpAddr::V4(addr) => addr.octets().to_vec(),
        IpAddr::V6(addr) => addr.octets().to_vec(),
    }
}

/// Writes an error about a packet, and one about the error.
///
/// # Panics
///
/// If the two readings disagree on whether there may be one or on any of its bytes, or it gets an error itself.
pub fn icmp(data: &[u8]) {
    let mut input = Input::new(data);
    let choices = input.byte();
    let mtu = input.u16();
    let error = if choices & 1 == 0 { IcmpError::Unreachable } else { IcmpError::PacketTooBig { mtu } };
    let named = match choices & 6 {
        2 => Some(IpAddr::V4(Ipv4Addr::from_octets(input.array()))),
        4 => Some(IpAddr::V6(Ipv6Addr::from_octets(input.array()))),
        _ => None,
    };
    let room = if choices & 8 == 0 { icmp::MAX_LEN } else { 8 * usize::from(input.byte()) };
    let mut packet = input.rest().to_vec();
    let header_len = usize::from(packet.first().copied().unwrap_or(0) % 16) * 4;
    if choices & 16 != 0 && packet.len() >= header_len && header_len >= 12 && packet[0] >> 4 == 4 {
        packet[10..12].fill(0);
        let sum = checksum(&packet[..header_len]);
        packet[10..12].copy_from_slice(&sum);
    }
    let mut out = vec![0xa5; room];
    let len = icmp::write(error, &packet, named, &mut out);
    let Some((source, sender, message, mtu)) = expected(error, &packet, named) else {
        assert_eq!(len, None, "{error:?} about {packet:02x?}");
        return;
    };
    let v4 = sender.is_ipv4();
    let (header, longest) = if v4 { (20, 576) } else { (40, 1280) };
    let quoted = naive_len(&packet).expect("it was answered").min(longest - header - 8);
    if room < header + 8 + quoted {
        assert_eq!(len, None, "no room");
        assert!(out.iter().all(|byte| *byte == 0xa5));
        return;
    }
    assert_eq!(len, Some(header + 8 + quoted), "{error:?} about {packet:02x?}");
    let (written, behind) = out.split_at(header + 8 + quoted);
    assert!(behind.iter().all(|byte| *byte == 0xa5));
    assert_eq!(written[header + 8..], packet[..quoted]);
    assert_eq!(written[header..header + 2], message);
    assert_eq!(written[header + 4..header + 8], u32::from(mtu).to_be_bytes());
    let total = naive_len(written).expect("a packet");
    assert_eq!(total, written.len());
    let read = naive(written).expect("a packet");
    assert_eq!((read.src, read.dst), (source, sender));
    if v4 {
        assert_eq!(written[0], 0x45);
        assert_eq!((checksum(&written[..20]), checksum(&written[20..])), ([0, 0], [0, 0]));
        assert_eq!((&written[4..10], written[1]), (&[0, 0, 0x40, 0, 64, 1][..], 0xc0));
    } else {
        assert_eq!((&written[..4], &written[6..8]), (&[0x60, 0, 0, 0][..], &[58, 64][..]));
        let pseudo_header =
            [octets(source), octets(sender), vec![0, 0], written[4..6].to_vec(), vec![0, 0, 0, 58]];
        assert_eq!(checksum(&[&pseudo_header.concat(), &written[40..]].concat()), [0, 0]);
    }
    let mut again = [0; icmp::MAX_LEN];
    for error in [error, IcmpError::Unreachable] {
        assert_eq!(icmp::write(error, written, named, &mut again), None, "an error about an error");
    }
}
