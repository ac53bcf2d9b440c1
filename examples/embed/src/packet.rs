//! IPv4 packets, as little of them as a tunnel needs, and lines of text in them in place of a TUN device.

use core::net::Ipv4Addr;

const HEADER_LEN: usize = 20;

/// Puts a line of text into an IPv4 packet of an experimental protocol (253, RFC 3692).
pub(crate) fn from_line(line: &str, source: Ipv4Addr, destination: Ipv4Addr) -> Option<Vec<u8>> {
    let len = u16::try_from(HEADER_LEN + line.len()).ok()?;
    let mut packet = vec![0x45, 0];
    packet.extend(len.to_be_bytes());
    packet.extend([0, 0, 0, 0, 64, 253, 0, 0]);
    packet.extend(source.octets());
    packet.extend(destination.octets());
    packet.extend(line.as_bytes());
    Some(packet)
}

/// Takes the line out again.
pub(crate) fn to_line(packet: &[u8]) -> Option<&str> {
    core::str::from_utf8(packet.get(HEADER_LEN..)?).ok()
}

/// Cuts the padding off: a packet is as long as its header says, or it is none.
pub(crate) fn trim(content: &[u8]) -> Option<&[u8]> {
    let [version, _, high, low, ..] = *content else { return None };
    let len = usize::from(u16::from_be_bytes([high, low]));
    if version >> 4 == 4 && len >= HEADER_LEN { content.get(..len) } else { None }
}

/// Returns the source address of a packet.
pub(crate) fn source(packet: &[u8]) -> Option<Ipv4Addr> {
    packet.get(12..16)?.try_into().ok().map(|octets: [u8; 4]| octets.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_survive_padding() {
        let (source_addr, destination) = (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2));
        let packet = from_line("hello", source_addr, destination).unwrap();
        let mut padded = packet.clone();
        padded.resize(32, 0);
        assert_eq!(trim(&padded), Some(&packet[..]));
        assert_eq!(to_line(&packet), Some("hello"));
        assert_eq!(source(&packet), Some(source_addr));
    }

    #[test]
    fn what_is_no_packet_is_dropped() {
        let packet = from_line("hello", Ipv4Addr::LOCALHOST, Ipv4Addr::LOCALHOST).unwrap();
        assert_eq!(trim(&packet[..24]), None, "shorter than its header says");
        assert_eq!(trim(&[]), None);
        assert_eq!(trim(&[0x65; 40]), None, "not IPv4");
        assert_eq!(
            trim(&[0x45, 0, 0, 19, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
            None,
            "no header"
        );
        assert!(from_line(&"x".repeat(65_516), Ipv4Addr::LOCALHOST, Ipv4Addr::LOCALHOST).is_none());
    }
}
