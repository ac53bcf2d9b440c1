//! Tables for both directions, and totality over arbitrary bytes.

extern crate std;
use std::vec::Vec;

use proptest::prelude::*;

use super::*;

/// A header with this length field, in front of `len - header` payload bytes.
fn v4(total_len: u16, len: usize) -> Vec<u8> {
    let mut packet = std::vec![0xaa; len];
    let mut header = [0; IPV4_HEADER];
    header[0] = 0x45;
    header[2..4].copy_from_slice(&total_len.to_be_bytes());
    header[8] = 64;
    header[12..20].copy_from_slice(&[192, 0, 2, 1, 198, 51, 100, 2]);
    let covered = len.min(IPV4_HEADER);
    packet[..covered].copy_from_slice(&header[..covered]);
    packet
}

fn v6(payload_len: u16, len: usize) -> Vec<u8> {
    let mut packet = std::vec![0xaa; len];
    let mut header = [0; IPV6_HEADER];
    header[0] = 0x60;
    header[4..6].copy_from_slice(&payload_len.to_be_bytes());
    header[8..24].copy_from_slice(&[0xfd; 16]);
    header[24..40].copy_from_slice(&[0x20; 16]);
    let covered = len.min(IPV6_HEADER);
    packet[..covered].copy_from_slice(&header[..covered]);
    packet
}

fn sum(header: &[u8]) -> u16 {
    let words = header.chunks_exact(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])));
    let folded = words.fold(0, |sum, word| (sum + word) % 0xffff);
    u16::try_from(folded).unwrap()
}

fn with_checksum(mut packet: Vec<u8>) -> Vec<u8> {
    let checksum = !sum(&packet[..20]);
    packet[10..12].copy_from_slice(&checksum.to_be_bytes());
    packet
}

#[test]
fn an_outgoing_packet_needs_its_whole_header() {
    // C63
    let (to_v4, to_v6) = ([198, 51, 100, 2].into(), [0x20_u8; 16].into());
    for (packet, expected) in [
        (std::vec![], Err(IpError::TooShort)),
        (v4(20, 1), Err(IpError::TooShort)),
        (v4(20, 19), Err(IpError::TooShort)),
        (v4(20, 20), Ok(to_v4)),
        (v4(0, 20), Ok(to_v4)),
        (v4(u16::MAX, 20), Ok(to_v4)),
        (v4(1500, 1500), Ok(to_v4)),
        (v6(0, 1), Err(IpError::TooShort)),
        (v6(0, 39), Err(IpError::TooShort)),
        (v6(0, 40), Ok(to_v6)),
        (v6(u16::MAX, 40), Ok(to_v6)),
        (v6(1460, 1500), Ok(to_v6)),
    ] {
        assert_eq!(destination(&packet), expected);
    }
}

#[test]
fn other_versions_are_not_ip() {
    for version in (0..16).filter(|version| ![4, 6].contains(version)) {
        let packet = [version << 4 | 5; 60];
        assert_eq!(destination(&packet), Err(IpError::NotIp));
        assert_eq!(parse(&packet), Err(IpError::NotIp));
        assert_eq!(parse(&packet[..1]), Err(IpError::NotIp));
        assert_eq!(ecn(&packet), Ecn::NotEct);
    }
}

#[test]
fn a_decrypted_packet_ends_where_its_length_field_says() {
    // C80
    for (packet, expected) in [
        (std::vec![], Err(IpError::TooShort)),
        (v4(20, 19), Err(IpError::TooShort)),
        (v4(0, 20), Err(IpError::BadLength)),
        (v4(19, 32), Err(IpError::BadLength)),
        (v4(20, 20), Ok(20)),
        (v4(20, 32), Ok(20)),
        (v4(84, 96), Ok(84)),
        (v4(84, 1420), Ok(84)),
        (v4(97, 96), Err(IpError::BadLength)),
        (v4(u16::MAX, 65_534), Err(IpError::BadLength)),
        (v4(u16::MAX, 65_535), Ok(65_535)),
        (v6(0, 39), Err(IpError::TooShort)),
        (v6(0, 40), Ok(40)),
        (v6(0, 48), Ok(40)),
        (v6(1380, 1420), Ok(1420)),
        (v6(1381, 1420), Err(IpError::BadLength)),
        // 40 + 65,496 and up wrap in 16 bits.
        (v6(65_495, 48), Err(IpError::BadLength)),
        (v6(65_496, 48), Err(IpError::BadLength)),
        (v6(u16::MAX, 48), Err(IpError::BadLength)),
        (v6(u16::MAX, 65_574), Err(IpError::BadLength)),
        (v6(u16::MAX, 65_575), Ok(65_575)),
    ] {
        assert_eq!(parse(&packet).map(|view| view.total_len()), expected, "{} bytes", packet.len());
    }
}

#[test]
fn a_view_names_version_and_addresses() {
    let view = parse(&v4(20, 20)).unwrap();
    assert_eq!(view.version(), IpVersion::V4);
    assert_eq!((view.src(), view.dst()), ([192, 0, 2, 1].into(), [198, 51, 100, 2].into()));
    let view = parse(&v6(0, 40)).unwrap();
    assert_eq!(view.version(), IpVersion::V6);
    assert_eq!((view.src(), view.dst()), ([0xfd_u8; 16].into(), [0x20_u8; 16].into()));
}

#[test]
fn ecn_is_read_from_either_header() {
    for (bits, expected) in [(0, Ecn::NotEct), (1, Ecn::Ect1), (2, Ecn::Ect0), (3, Ecn::Ce)] {
        let mut packet = v4(20, 20);
        packet[1] = 0xb8 | bits;
        assert_eq!((ecn(&packet), parse(&packet).unwrap().ecn()), (expected, expected));
        let mut packet = v6(0, 40);
        packet[0] |= 0x0b;
        packet[1] = 0x8f | bits << 4;
        assert_eq!((ecn(&packet), parse(&packet).unwrap().ecn()), (expected, expected));
        assert_eq!((expected.bits(), Ecn::from_tos(0xfc | bits)), (bits, expected));
    }
}

#[test]
fn the_outer_header_does_not_inherit_congestion() {
    // C98
    let outer = [Ecn::NotEct, Ecn::Ect1, Ecn::Ect0, Ecn::Ce].map(Ecn::outer);
    assert_eq!(outer, [Ecn::NotEct, Ecn::Ect1, Ecn::Ect0, Ecn::Ect0]);
}

#[test]
fn what_leaves_the_tunnel_tells_of_congestion_on_either_side() {
    // C98; the table of RFC 6040, 4.2: a line for each inner field, a column for each outer one.
    let fields = [Ecn::NotEct, Ecn::Ect0, Ecn::Ect1, Ecn::Ce];
    let table = fields.map(|inner| fields.map(|outer| inner.combined(outer).ecn));
    assert_eq!(
        table,
        [
            [Ecn::NotEct, Ecn::NotEct, Ecn::NotEct, Ecn::NotEct],
            [Ecn::Ect0, Ecn::Ect0, Ecn::Ect1, Ecn::Ce],
            [Ecn::Ect1, Ecn::Ect1, Ecn::Ect1, Ecn::Ce],
            [Ecn::Ce, Ecn::Ce, Ecn::Ce, Ecn::Ce],
        ]
    );
    let lost = fields.map(|inner| fields.map(|outer| inner.combined(outer).is_lost));
    assert_eq!(lost, [[false, false, false, true], [false; 4], [false; 4], [false; 4]]);
}

#[test]
fn the_field_changes_alone_and_the_checksum_with_it() {
    for (before, after) in (0..4_u8).flat_map(|before| (0..4_u8).map(move |after| (before, after))) {
        let mut packet = v4(28, 28);
        packet[1] = 0xb8 | before;
        let packet = with_checksum(packet);
        let mut changed = packet.clone();
        assert!(set_ecn(&mut changed, Ecn::from_tos(after)));
        assert_eq!((changed[1], sum(&changed[..20])), (0xb8 | after, 0));
        assert_eq!((changed[0], &changed[2..10], &changed[12..]), (packet[0], &packet[2..10], &packet[12..]));
        let mut packet = v6(0, 40);
        packet[1] = 0xcf | before << 4;
        let mut changed = packet.clone();
        assert!(set_ecn(&mut changed, Ecn::from_tos(after)));
        packet[1] = 0xcf | after << 4;
        assert_eq!(changed, packet);
    }
    // 0x45b8 becomes 0x45bb, three more, so the checksum is three less.
    let mut packet = v4(28, 28);
    (packet[1], packet[10], packet[11]) = (0xb8, 0x12, 0x35);
    assert!(set_ecn(&mut packet, Ecn::Ce));
    assert_eq!(packet[10..12], [0x12, 0x32]);
    // No carry is lost at the end (RFC 1624): 0x0001 - 3 is 0xfffd in one's complement.
    (packet[1], packet[10], packet[11]) = (0xb8, 0x00, 0x01);
    assert!(set_ecn(&mut packet, Ecn::Ce));
    assert_eq!(packet[10..12], [0xff, 0xfd]);
    assert!(
        !set_ecn(&mut [0x45; 19], Ecn::Ce)
            && !set_ecn(&mut [0x60; 39], Ecn::Ce)
            && !set_ecn(&mut [], Ecn::Ce)
    );
}

#[test]
fn marking_congestion_keeps_the_checksum_right() {
    // C98
    for tos in 0..=u8::MAX {
        let mut packet = v4(28, 28);
        packet[1] = tos;
        let before = with_checksum(packet);
        let mut packet = before.clone();
        assert_eq!(mark_ce(&mut packet), tos & 3 != 0);
        if tos & 3 == 0 {
            assert_eq!(packet, before);
        } else {
            assert_eq!(packet[1], tos | 3);
            assert_eq!(sum(&packet[..20]), 0, "checksum for TOS {tos:#x}");
            assert_eq!((&packet[2..10], &packet[12..]), (&before[2..10], &before[12..]));
        }
    }
    let mut packet = v6(0, 40);
    packet[1] = 0x2f;
    assert!(mark_ce(&mut packet));
    assert_eq!((packet[0], packet[1], ecn(&packet)), (0x60, 0x3f, Ecn::Ce));
    assert!(!mark_ce(&mut v6(0, 40)));
    assert!(!mark_ce(&mut [0xff; 60]));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

    #[test]
    fn any_bytes_are_read_without_panic(
        version in prop_oneof![Just(0x45_u8), Just(0x60), any::<u8>()],
        tail in prop::collection::vec(any::<u8>(), 0..120),
    ) {
        let mut packet = tail;
        if let Some(first) = packet.first_mut() {
            *first = version;
        }
        let to = destination(&packet);
        prop_assert!(to.is_ok() || ecn(&packet) == Ecn::NotEct);
        if let Ok(view) = parse(&packet) {
            prop_assert!(view.total_len() <= packet.len());
            prop_assert_eq!(to, Ok(view.dst()));
            prop_assert_eq!(view.src().is_ipv4(), view.version() == IpVersion::V4);
            prop_assert_eq!(parse(&packet[..view.total_len()]), Ok(view));
            prop_assert!(parse(&packet[..view.total_len() - 1]).is_err());
        }
        let len = packet.len();
        mark_ce(&mut packet);
        prop_assert_eq!((packet.len(), destination(&packet)), (len, to));
    }
}
