//! Known bytes, a table for each rule, and any bytes, of which what comes out is read by a parser of its own.

extern crate std;
use std::vec;
use std::vec::Vec;

use proptest::collection::vec as bytes;
use proptest::prelude::*;

use super::*;

const TOO_BIG: IcmpError = IcmpError::PacketTooBig { mtu: 1400 };

/// The checksum of RFC 1071, a word at a time; 0 over bytes that have the right one in them.
fn checksum(bytes: &[u8]) -> u16 {
    let sum = bytes.chunks(2).fold(0, |sum, word| {
        let sum: u32 = sum + (u32::from(word[0]) << 8) + u32::from(word.get(1).copied().unwrap_or(0));
        (sum & 0xffff) + (sum >> 16)
    });
    !u16::try_from(sum).unwrap()
}

fn with_checksum(mut packet: Vec<u8>) -> Vec<u8> {
    let len = usize::from(packet[0] & 0xf) * 4;
    packet[10..12].fill(0);
    let sum = checksum(&packet[..len]);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet
}

/// An IPv4 packet that must not be fragmented.
fn v4(protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0; 20];
    packet[0] = 0x45;
    packet[2..4].copy_from_slice(&u16::try_from(20 + payload.len()).unwrap().to_be_bytes());
    packet[6] = 0x40;
    packet[8..10].copy_from_slice(&[63, protocol]);
    packet[12..20].copy_from_slice(&[10, 0, 0, 1, 10, 9, 0, 2]);
    packet.extend_from_slice(payload);
    with_checksum(packet)
}

fn v6(next_header: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0; 40];
    packet[0] = 0x60;
    packet[4..6].copy_from_slice(&u16::try_from(payload.len()).unwrap().to_be_bytes());
    packet[6..8].copy_from_slice(&[next_header, 63]);
    packet[8..24].copy_from_slice(&"fd00::1".parse::<Ipv6Addr>().unwrap().octets());
    packet[24..40].copy_from_slice(&"fd09::2".parse::<Ipv6Addr>().unwrap().octets());
    packet.extend_from_slice(payload);
    packet
}

fn changed(packet: &[u8], at: usize, with: &[u8]) -> Vec<u8> {
    let mut packet = packet.to_vec();
    packet[at..at + with.len()].copy_from_slice(with);
    if packet[0] >> 4 == 4 { with_checksum(packet) } else { packet }
}

fn from_to(packet: &[u8], from: &str, to: &str) -> Vec<u8> {
    match (from.parse().unwrap(), to.parse().unwrap()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => changed(packet, 12, &[from.octets(), to.octets()].concat()),
        (IpAddr::V6(from), IpAddr::V6(to)) => changed(packet, 8, &[from.octets(), to.octets()].concat()),
        _ => panic!("two versions"),
    }
}

fn written(error: IcmpError, packet: &[u8], source: Option<IpAddr>) -> Option<Vec<u8>> {
    let mut out = vec![0xee; MAX_LEN];
    let len = write(error, packet, source, &mut out)?;
    assert!(out[len..].iter().all(|byte| *byte == 0xee));
    out.truncate(len);
    check(error, packet, &out);
    Some(out)
}

fn is_answered(packet: &[u8]) -> bool {
    written(IcmpError::Unreachable, packet, None).is_some()
}

/// Reads an error, and holds it against what it is about.
fn check(error: IcmpError, packet: &[u8], written: &[u8]) {
    let word = |at: usize| u16::from_be_bytes([written[at], written[at + 1]]);
    let v4 = packet[0] >> 4 == 4;
    assert_eq!(written[0] >> 4, packet[0] >> 4);
    let (message, quote, total) = if v4 {
        assert_eq!((written[0], usize::from(word(2))), (0x45, written.len()));
        assert_eq!((word(6), written[9]), (0x4000, 1));
        assert_eq!(checksum(&written[..20]), 0);
        assert_eq!(checksum(&written[20..]), 0);
        assert_eq!(written[16..20], packet[12..16], "it goes to the sender");
        (20, 28, usize::from(u16::from_be_bytes([packet[2], packet[3]])))
    } else {
        assert_eq!((40 + usize::from(word(4)), written[6]), (written.len(), 58));
        let pseudo_header = [&written[8..40], &[0, 0], &written[4..6], &[0, 0, 0, 58]].concat();
        assert_eq!(checksum(&[&pseudo_header, &written[40..]].concat()), 0);
        assert_eq!(written[24..40], packet[8..24], "it goes to the sender");
        (40, 48, 40 + usize::from(u16::from_be_bytes([packet[4], packet[5]])))
    };
    assert!(written.len() <= if v4 { 576 } else { 1280 });
    assert_eq!(written[quote..], packet[..total.min(if v4 { 548 } else { 1232 })]);
    let expected = match (error, v4) {
        (IcmpError::Unreachable, true) => [3, 1, 0, 0],
        (IcmpError::Unreachable, false) => [1, 3, 0, 0],
        (IcmpError::PacketTooBig { mtu }, v4) => {
            let told = mtu.max(if v4 { 68 } else { 1280 });
            assert!(total > usize::from(told));
            let [high, low] = told.to_be_bytes();
            if v4 { [3, 4, high, low] } else { [2, 0, high, low] }
        }
    };
    assert_eq!(
        [written[message], written[message + 1], written[message + 6], written[message + 7]],
        expected
    );
    assert_eq!(written[message + 4..message + 6], [0, 0]);
}

#[test]
fn errors_are_these_bytes() {
    // C100
    let hex = |text: &str| -> Vec<u8> {
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
    };
    for (packet, error) in [
        (
            "4502001f123440003f11158d0a0000010a09000230390009000babcd616263",
            "45c0003b00004000400125f70a0900020a00000103015c8100000000\
             4502001f123440003f11158d0a0000010a09000230390009000babcd616263",
        ),
        (
            "60212345000b113ffd000000000000000000000000000001fd090000000000000000000000000002\
             30390009000babcd616263",
            "60000000003b3a40fd090000000000000000000000000002fd000000000000000000000000000001\
             0103d53d0000000060212345000b113ffd000000000000000000000000000001\
             fd09000000000000000000000000000230390009000babcd616263",
        ),
    ] {
        assert_eq!(written(IcmpError::Unreachable, &hex(packet), None), Some(hex(error)));
    }
}

#[test]
fn source_is_the_one_named_or_the_destination() {
    let four = v4(17, &[0; 8]);
    let six = v6(17, &[0; 8]);
    for (packet, named, source) in [
        (&four, Some("10.0.0.254"), "10.0.0.254"),
        (&four, None, "10.9.0.2"),
        (&four, Some("fd00::9"), "10.9.0.2"),
        (&four, Some("0.0.0.0"), "10.9.0.2"),
        (&four, Some("224.0.0.1"), "10.9.0.2"),
        (&six, Some("fd00::9"), "fd00::9"),
        (&six, None, "fd09::2"),
        (&six, Some("10.0.0.254"), "fd09::2"),
        (&six, Some("::"), "fd09::2"),
        (&six, Some("ff02::1"), "fd09::2"),
    ] {
        let error =
            written(IcmpError::Unreachable, packet, named.map(|named| named.parse().unwrap())).unwrap();
        let got: IpAddr = if error[0] >> 4 == 4 {
            <[u8; 4]>::try_from(&error[12..16]).unwrap().into()
        } else {
            <[u8; 16]>::try_from(&error[8..24]).unwrap().into()
        };
        assert_eq!(got, source.parse::<IpAddr>().unwrap(), "{named:?}");
    }
}

#[test]
fn no_error_about_an_error() {
    // C100. RFC 1122, 3.2.2; RFC 4443, 2.4 (e.1, e.2)
    for kind in 0..=u8::MAX {
        let query = [0, 8, 9, 10, 13, 14, 15, 16, 17, 18, 42, 43].contains(&kind);
        assert_eq!(is_answered(&v4(1, &[kind, 0, 0, 0, 0, 0, 0, 0])), query, "type {kind}");
        let information = kind >= 128 && kind != 137;
        assert_eq!(is_answered(&v6(58, &[kind, 0, 0, 0, 0, 0, 0, 0])), information, "type {kind}");
    }
    // Behind options.
    let options = changed(&v4(1, &[1, 1, 1, 1, 3, 0, 0, 0]), 0, &[0x46]);
    assert!(!is_answered(&options));
    assert!(is_answered(&changed(&options, 24, &[8])));
    // A type that cannot be read may be that of an error.
    assert!(!is_answered(&v4(1, &[])));
    assert!(!is_answered(&v6(58, &[])));
    // What was written is an error itself.
    for packet in [v4(17, &[0; 1500]), v6(17, &[0; 1500])] {
        for error in [IcmpError::Unreachable, TOO_BIG] {
            let answer = written(error, &packet, None).unwrap();
            assert_eq!(written(IcmpError::Unreachable, &answer, None), None);
        }
    }
}

#[test]
fn errors_are_seen_behind_extension_headers() {
    // RFC 8200, 4; RFC 4302, 2.2
    let (error, echo) = ([1_u8, 0, 0, 0], [128_u8, 0, 0, 0]);
    let long = [&[58, 1][..], &[0; 14]].concat();
    let authentication = [&[58, 4][..], &[0; 22]].concat();
    for (first, chain) in [
        (0, &[58, 0, 0, 0, 0, 0, 0, 0][..]),
        (43, &long),
        (60, &long),
        (135, &long),
        (139, &long),
        (140, &long),
        (51, &authentication),
        (44, &[58, 0, 0, 1, 0, 0, 0, 7]),
        (0, &[43, 0, 0, 0, 0, 0, 0, 0, 60, 0, 0, 0, 0, 0, 0, 0, 58, 0, 0, 0, 0, 0, 0, 0]),
    ] {
        assert!(!is_answered(&v6(first, &[chain, &error].concat())), "{first}");
        assert!(is_answered(&v6(first, &[chain, &echo].concat())), "{first}");
        for len in 0..=chain.len() {
            assert!(!is_answered(&v6(first, &chain[..len])), "{first}, {len} bytes of it");
        }
    }
    // Seven are walked, and who sends more is told nothing.
    let chain = |count| [&[60, 0, 0, 0, 0, 0, 0, 0].repeat(count)[..], &[17, 0, 0, 0, 0, 0, 0, 0]].concat();
    assert!(is_answered(&v6(60, &chain(6))));
    assert!(!is_answered(&v6(60, &chain(7))));
    // No next header, ESP, and what nobody knows are no ICMP.
    for other in [59, 50, 253] {
        assert!(is_answered(&v6(other, &[])));
    }
}

#[test]
fn no_error_about_fragments_but_the_first() {
    // RFC 1122, 3.2.2
    let packet = v4(17, &[0; 24]);
    for (fragment, answered) in [
        ([0x20, 0], true),
        ([0x20, 1], false),
        ([0, 1], false),
        ([0x10, 0], false),
        ([0x1f, 0xff], false),
        ([0, 0], true),
    ] {
        assert_eq!(is_answered(&changed(&packet, 6, &fragment)), answered, "{fragment:?}");
    }
    let packet = v6(44, &[17, 0, 0, 1, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0]);
    for (fragment, answered) in
        [([0, 1], true), ([0, 8], false), ([0, 9], false), ([0x80, 0], false), ([0, 6], true)]
    {
        assert_eq!(is_answered(&changed(&packet, 42, &fragment)), answered, "{fragment:?}");
    }
}

#[test]
fn no_error_where_an_address_is_not_that_of_one_host() {
    // C100. RFC 1122, 3.2.1.3, 3.2.2; RFC 4443, 2.4 (e.3, e.6)
    let packet = v4(17, &[0; 8]);
    for other in ["0.0.0.0", "0.1.2.3", "127.0.0.1", "224.0.0.1", "239.1.2.3", "240.0.0.1", "255.255.255.255"]
    {
        assert!(!is_answered(&from_to(&packet, other, "10.9.0.2")), "from {other}");
        assert!(!is_answered(&from_to(&packet, "10.0.0.1", other)), "to {other}");
    }
    for other in ["1.0.0.0", "126.255.255.255", "128.0.0.0", "223.255.255.255"] {
        assert!(is_answered(&from_to(&packet, other, "10.9.0.2")), "from {other}");
        assert!(is_answered(&from_to(&packet, "10.0.0.1", other)), "to {other}");
    }
    assert!(!is_answered(&from_to(&packet, "10.0.0.1", "10.0.0.1")));
    let packet = v6(17, &[0; 8]);
    for other in ["::", "::1", "ff02::fb", "ff00::", "ffff::1"] {
        assert!(!is_answered(&from_to(&packet, other, "fd09::2")), "from {other}");
        assert!(!is_answered(&from_to(&packet, "fd00::1", other)), "to {other}");
    }
    for other in ["::2", "fec0::1", "2001:db8::1"] {
        assert!(is_answered(&from_to(&packet, other, "fd09::2")), "from {other}");
        assert!(is_answered(&from_to(&packet, "fd00::1", other)), "to {other}");
    }
    assert!(!is_answered(&from_to(&packet, "fd00::1", "fd00::1")));
    // Not even that it is too big.
    let packet = from_to(&v6(17, &[0; 1500]), "fd00::1", "ff05::2");
    assert_eq!(written(TOO_BIG, &packet, Some("fd00::9".parse().unwrap())), None);
}

#[test]
fn link_local_error_stays_on_the_link() {
    // RFC 4291, 2.5.6
    let packet = v6(17, &[0; 8]);
    for (from, to, named, answered) in [
        ("fe80::1", "fe80::2", None, true),
        ("fe80::1", "fd09::2", None, true),
        ("fd00::1", "fe80::2", None, false),
        ("fd00::1", "fe80::2", Some("fd00::9"), true),
        ("fd00::1", "fd09::2", Some("fe80::9"), false),
        ("fe80::1", "fd09::2", Some("fe80::9"), true),
    ] {
        let named = named.map(|named| named.parse().unwrap());
        let error = written(IcmpError::Unreachable, &from_to(&packet, from, to), named);
        assert_eq!(error.is_some(), answered, "{from} to {to}, {named:?}");
    }
}

#[test]
fn no_error_about_a_broken_header() {
    // RFC 1812, 5.2.2
    let packet = v4(17, &[0; 12]);
    assert!(is_answered(&packet));
    for bit in 0..160 {
        let mut damaged = packet.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert!(!is_answered(&damaged), "bit {bit}");
    }
    for len in [0, 19, 33, u16::MAX] {
        assert!(!is_answered(&changed(&packet, 2, &len.to_be_bytes())), "of {len} bytes, it says");
    }
    // A header of 16 bytes, and one that is longer than the packet.
    assert!(!is_answered(&changed(&packet, 0, &[0x44])));
    assert!(!is_answered(&with_checksum(changed(&[&packet[..], &[0; 40]].concat(), 0, &[0x4f]))));
    let mut short = packet.clone();
    for len in (0..packet.len()).rev() {
        short.truncate(len);
        assert!(!is_answered(&short), "{len} bytes of it");
    }
    let mut short = v6(17, &[0; 8]);
    for len in (0..short.len()).rev() {
        short.truncate(len);
        assert!(!is_answered(&short), "{len} bytes of it");
    }
    // What stands behind the packet is not quoted.
    for packet in [packet, v6(17, &[0; 8])] {
        let long = [&packet[..], &[0xaa; 100]].concat();
        assert_eq!(
            written(IcmpError::Unreachable, &long, None),
            written(IcmpError::Unreachable, &packet, None)
        );
    }
}

#[test]
fn too_big_is_said_of_what_is_and_must_not_be_fragmented() {
    // RFC 1191, 4; RFC 4443, 3.2
    let four = |len: usize| v4(17, &vec![0; len - 20]);
    let six = |len: usize| v6(17, &vec![0; len - 40]);
    for (packet, mtu, answered) in [
        (four(1401), 1400, true),
        (four(1400), 1400, false),
        (changed(&four(1401), 6, &[0, 0]), 1400, false),
        (changed(&four(1401), 6, &[0x20, 0]), 1400, false),
        (changed(&four(1401), 6, &[0x60, 0]), 1400, true),
        (four(69), 0, true),
        (four(68), 0, false),
        (four(u16::MAX.into()), u16::MAX, false),
        (six(1401), 1400, true),
        (six(1400), 1400, false),
        (six(1281), 576, true),
        (six(1280), 576, false),
        (six(65_575), u16::MAX, true),
    ] {
        let error = written(IcmpError::PacketTooBig { mtu }, &packet, None);
        assert_eq!(error.is_some(), answered, "{} bytes, {mtu}", packet.len());
    }
}

#[test]
fn room_that_is_too_small_is_left_alone() {
    for packet in [v4(17, &[0; 30]), v6(17, &[0; 30])] {
        let len = written(IcmpError::Unreachable, &packet, None).unwrap().len();
        for room in 0..=len {
            let mut out = vec![0xee; room];
            let got = write(IcmpError::Unreachable, &packet, None, &mut out);
            assert_eq!(got, (room == len).then_some(len));
            assert!(got.is_some() || out.iter().all(|byte| *byte == 0xee));
        }
    }
}

#[test]
fn limiter_bounds_what_is_sent_and_nothing_else() {
    // RFC 4443, 2.4 (f)
    let (packet, mut out) = (v4(17, &[0; 8]), [0; MAX_LEN]);
    let millis = |millis: u64| Instant::from_nanos(1_000_000 * (1_000_000 + millis));
    let mut limiter = IcmpLimiter::new();
    let mut sent = |limiter: &mut IcmpLimiter, packet: &[u8], now| {
        limiter.write(IcmpError::Unreachable, packet, None, &mut out, millis(now)).is_some()
    };
    // What gets no error uses nothing up.
    let multicast = from_to(&packet, "10.0.0.1", "224.0.0.251");
    assert_eq!((0..1000).filter(|_| sent(&mut limiter, &multicast, 0)).count(), 0);
    assert_eq!((0..1000).filter(|_| sent(&mut limiter, &packet, 0)).count(), 50);
    assert!(!sent(&mut limiter, &packet, 9));
    assert!(sent(&mut limiter, &packet, 10));
    assert!(!sent(&mut limiter, &packet, 11));
    // A second later the burst is there again, and no more than that.
    assert_eq!((0..1000).filter(|_| sent(&mut limiter, &packet, 5_000)).count(), 50);
    let over_ten_seconds = (5_000..15_000).filter(|now| sent(&mut limiter, &packet, *now)).count();
    assert!((999..=1000).contains(&over_ten_seconds), "{over_ten_seconds}");
    // A clock that is set back gives nothing and takes nothing.
    assert!(!sent(&mut limiter, &packet, 14_999));
    assert!(!sent(&mut limiter, &packet, 2_000));
    assert!(sent(&mut limiter, &packet, 2_020));
}

/// What is tried in a header: fields that are mostly right, and addresses of every kind.
fn header() -> impl Strategy<Value = Vec<u8>> {
    let address = prop_oneof![
        6 => any::<u8>().prop_map(|last| {
            let mut address = [0; 16];
            (address[0], address[15]) = (0xfd, last);
            address
        }),
        1 => any::<[u8; 16]>(),
        1 => prop::sample::select(vec![[0; 16], [0xff; 16], [0x7f; 16], [0xe0; 16]]),
    ];
    let protocol =
        prop_oneof![prop::sample::select(vec![0, 1, 6, 17, 43, 44, 50, 51, 58, 59, 60, 135]), any::<u8>()];
    let payload = prop_oneof![4 => bytes(any::<u8>(), 0..200), 1 => bytes(any::<u8>(), 1100..1600)];
    let odd = prop_oneof![8 => Just(None), 1 => (0_usize..60, any::<u8>()).prop_map(Some)];
    (any::<bool>(), address.clone(), address, protocol, payload, any::<[u8; 2]>(), odd).prop_map(
        |(is_v4, from, to, protocol, payload, fragment, odd)| {
            let mut packet = if is_v4 {
                let mut packet = v4(protocol, &payload);
                packet[6..8].copy_from_slice(&[fragment[0] & 0xe0, fragment[1] & fragment[0] & 1]);
                packet[12..16].copy_from_slice(&[10, from[13], from[14], from[15]]);
                packet[16..20].copy_from_slice(&[to[0], to[13], to[14], to[15]]);
                with_checksum(packet)
            } else {
                let mut packet = v6(protocol, &payload);
                packet[8..24].copy_from_slice(&from);
                packet[24..40].copy_from_slice(&to);
                packet
            };
            if let Some((at, with)) = odd
                && let Some(byte) = packet.get_mut(at)
            {
                *byte = with;
            }
            packet
        },
    )
}

fn any_error() -> impl Strategy<Value = IcmpError> {
    prop_oneof![
        Just(IcmpError::Unreachable),
        prop_oneof![any::<u16>(), 0_u16..1500].prop_map(|mtu| IcmpError::PacketTooBig { mtu })
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

    #[test]
    fn any_packet_gets_a_right_error_or_none(
        packet in prop_oneof![4 => header(), 1 => bytes(any::<u8>(), 0..100)],
        error in any_error(),
        source in prop_oneof![Just(None), any::<IpAddr>().prop_map(Some)],
        room in 0..=MAX_LEN,
    ) {
        let _ = write(error, &packet, source, &mut vec![0; room]);
        if let Some(answer) = written(error, &packet, source) {
            for again in [IcmpError::Unreachable, error, TOO_BIG] {
                prop_assert_eq!(written(again, &answer, source), None, "an error about an error");
            }
            // What is quoted is no error, by a look at the one place where its type would stand without extensions.
            let at = if packet[0] >> 4 == 4 { usize::from(packet[0] & 0xf) * 4 } else { 40 };
            match (packet[0] >> 4, packet[9], packet[6]) {
                (4, 1, _) => prop_assert!(!matches!(packet[at], 3 | 4 | 5 | 11 | 12)),
                (6, _, 58) => prop_assert!(packet[at] >= 128 && packet[at] != 137),
                _ => {}
            }
        }
    }
}
