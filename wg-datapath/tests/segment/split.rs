//! What the packets of a frame look like, and which frames are refused.

use wg_datapath::offload::{Checksum, Offload};
use wg_datapath::{MAX_HEADERS, SegmentError, Segmenter};

use super::example::{ACK, CWR, ECE, EVERY, Example, FIN, Ip, PSH, Transport, is_right, split};

#[test]
fn a_packet_is_not_touched() {
    for bytes in [&b""[..], b"?", &[0x45; 40]] {
        let whole = Segmenter::new(bytes, &Offload::default()).unwrap();
        assert_eq!((whole.count(), whole.header_len(), whole.checksum()), (1, 0, None));
        assert_eq!((whole.packet_len(0), whole.payload(0)), (bytes.len(), 0..bytes.len()));
        assert!(whole.write_header(bytes, 0, &mut []));
        assert!(!whole.write_header(bytes, 1, &mut []));
        assert!(whole.payload(1).is_empty());
    }
}

#[test]
fn a_checksum_alone_is_completed_where_the_host_put_it() {
    for (ip, transport) in EVERY {
        let example = Example::new(ip, transport, 333);
        let offload = Offload { checksum: Some(example.checksum()), segmentation: None };
        let whole = Segmenter::new(&example.frame(), &offload).unwrap();
        assert_eq!((whole.count(), whole.header_len(), whole.checksum()), (1, 0, offload.checksum));
        assert_eq!(split(&example.frame(), &offload), Ok(vec![example.packet()]));
    }
}

#[test]
fn a_checksum_outside_of_the_packet_is_refused() {
    let fits = |start, offset| {
        let checksum = Some(Checksum { start, offset });
        Segmenter::new(&[0x45; 40], &Offload { checksum, segmentation: None }).map(|split| split.count())
    };
    assert_eq!((fits(32, 6), fits(38, 0)), (Ok(1), Ok(1)));
    for (start, offset) in
        [(33, 6), (39, 0), (40, 0), (usize::MAX, 0), (0, usize::MAX), (usize::MAX, usize::MAX)]
    {
        assert_eq!(fits(start, offset), Err(SegmentError::BadChecksum));
    }
}

#[test]
fn packets_of_a_frame_are_those_that_would_have_been_sent_one_by_one() {
    for (ip, transport) in EVERY {
        for (size, payload) in [(100_u16, 1000), (100, 1001), (100, 99), (100, 1), (1, 5), (1448, 64_000)] {
            let frame = Example::new(ip, transport, payload).with(|example| {
                example.id = 0xfffd;
                example.sequence = u32::MAX - 150;
                example.options = [1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2].into();
            });
            let packets = split(&frame.frame(), &frame.offload(size)).unwrap();
            let mut next = frame.clone();
            let mut expected = Vec::new();
            for piece in frame.payload.chunks(size.into()) {
                next.payload = piece.to_vec();
                expected.push(next.packet());
                next = next.next();
            }
            assert_eq!(packets, expected);
            assert!(packets.iter().all(|packet| is_right(packet)));
        }
    }
}

#[test]
fn fin_and_psh_stay_on_the_last_and_cwr_on_the_first() {
    for ip in [Ip::V4, Ip::V6] {
        let all = ACK | FIN | PSH | ECE | CWR;
        let frame = Example::new(ip, Transport::Tcp, 300).with(|example| example.flags = all);
        let flags = |size| -> Vec<u8> {
            let packets = split(&frame.frame(), &frame.offload(size)).unwrap();
            packets.iter().map(|packet| packet[frame.start() + 13]).collect()
        };
        assert_eq!(flags(100), [ACK | ECE | CWR, ACK | ECE, ACK | ECE | FIN | PSH]);
        assert_eq!(flags(300), [all], "which is first and last");
    }
}

#[test]
fn options_and_extension_headers_are_on_every_packet() {
    for (ip, transport) in EVERY {
        let frame = Example::new(ip, transport, 30).with(|example| {
            example.extra = if ip == Ip::V4 { vec![1; 40] } else { vec![1; 152] };
            example.options = vec![1; 40];
        });
        let packets = split(&frame.frame(), &frame.offload(10)).unwrap();
        assert_eq!(packets.len(), 3);
        for (at, packet) in packets.iter().enumerate() {
            let expected = frame.with(|example| {
                example.payload = frame.payload[at * 10..][..10].to_vec();
                example.id += u16::try_from(at).unwrap();
                example.sequence += u32::try_from(at * 10).unwrap();
            });
            assert_eq!(*packet, expected.packet());
        }
    }
}

#[test]
fn a_frame_without_payload_is_one_packet() {
    let frame = Example::new(Ip::V4, Transport::Tcp, 0);
    assert_eq!(split(&frame.frame(), &frame.offload(10)), Ok(vec![frame.packet()]));
}

#[test]
fn headers_are_written_into_enough_room_only() {
    let frame = Example::new(Ip::V6, Transport::Udp, 30);
    let bytes = frame.frame();
    let split = Segmenter::new(&bytes, &frame.offload(10)).unwrap();
    assert!(split.write_header(&bytes, 2, &mut [0; 48]));
    assert!(split.write_header(&bytes, 2, &mut [0; 100]));
    assert!(!split.write_header(&bytes, 2, &mut [0; 47]));
    assert!(!split.write_header(&bytes, 3, &mut [0; 48]), "there are three");
    assert!(!split.write_header(&bytes[..47], 2, &mut [0; 48]), "not the frame it was made of");
    assert_eq!((split.payload(2), split.payload(3), split.payload(usize::MAX)), (68..78, 78..78, 78..78));
}

#[test]
fn kinds_must_be_those_of_the_headers() {
    for said in EVERY {
        for is in EVERY {
            let (said_by, frame) = (Example::new(said.0, said.1, 30), Example::new(is.0, is.1, 30));
            let offload = Offload { checksum: Some(frame.checksum()), ..said_by.offload(10) };
            let fits = said == is || (said.1, is.1) == (Transport::Udp, Transport::Udp);
            let expected = if fits { Ok(3) } else { Err(SegmentError::WrongKind) };
            assert_eq!(split(&frame.frame(), &offload).map(|packets| packets.len()), expected);
        }
    }
}

#[test]
fn frames_that_contradict_themselves_are_refused() {
    let (v4, v6) = (Example::new(Ip::V4, Transport::Tcp, 30), Example::new(Ip::V6, Transport::Udp, 30));
    let refused = |example: &Example, change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = example.frame();
        change(&mut bytes);
        split(&bytes, &example.offload(10)).unwrap_err()
    };
    assert_eq!(refused(&v4, &|bytes| bytes.clear()), SegmentError::Truncated);
    assert_eq!(refused(&v4, &|bytes| bytes.truncate(19)), SegmentError::Truncated);
    assert_eq!(refused(&v6, &|bytes| bytes.truncate(39)), SegmentError::Truncated);
    assert_eq!(refused(&v4, &|bytes| bytes[0] = 0x44), SegmentError::Truncated);
    assert_eq!(refused(&v6, &|bytes| (bytes[6], bytes[41]) = (60, 255)), SegmentError::HeadersTooLong);
    let udp = Example::new(Ip::V4, Transport::Udp, 30);
    let mut bytes = udp.frame();
    bytes[0] = 0x44;
    let checksum = Some(Checksum { start: 16, offset: 6 });
    assert_eq!(split(&bytes, &Offload { checksum, ..udp.offload(10) }), Err(SegmentError::Truncated));
    assert_eq!(refused(&v4, &|bytes| bytes[0] = 0x55), SegmentError::WrongKind);
    assert_eq!(refused(&v4, &|bytes| bytes[32] = 0x40), SegmentError::Truncated, "a TCP header of 16 bytes");
    assert_eq!(refused(&v4, &|bytes| bytes.push(0)), SegmentError::BadLength);
    assert_eq!(refused(&v6, &|bytes| bytes.push(0)), SegmentError::BadLength);
    assert_eq!(refused(&v4, &|bytes| bytes[2..4].fill(0)), SegmentError::BadLength, "BIG TCP");
    assert_eq!(refused(&v6, &|bytes| bytes[4..6].fill(0)), SegmentError::BadLength, "BIG TCP");
    assert_eq!(refused(&v4, &|bytes| bytes[6] |= 0x20), SegmentError::Fragment, "more fragments");
    assert_eq!(refused(&v4, &|bytes| bytes[7] = 1), SegmentError::Fragment, "not the first one");
    assert_eq!(refused(&v6, &|bytes| bytes[6] = 44), SegmentError::Fragment);
    assert_eq!(refused(&v6, &|bytes| bytes[6] = 59), SegmentError::WrongKind);

    // Cut within the transport header, with a length that says so.
    let mut bytes = v4.frame()[..50].to_vec();
    bytes[3] = 50;
    bytes[32] = 0xf0;
    assert_eq!(split(&bytes, &v4.offload(10)), Err(SegmentError::Truncated));
    bytes.truncate(32);
    bytes[3] = 32;
    assert_eq!(split(&bytes, &v4.offload(10)), Err(SegmentError::Truncated));
    let mut bytes = v6.frame()[..46].to_vec();
    bytes[5] = 6;
    assert_eq!(split(&bytes, &v6.offload(10)), Err(SegmentError::Truncated));
}

#[test]
fn frames_beyond_64_kib_are_refused() {
    let frame = Example::new(Ip::V6, Transport::Tcp, 65_535 - 60);
    let mut bytes = frame.frame();
    assert_eq!(split(&bytes, &frame.offload(1000)).map(|packets| packets.len()), Ok(66));
    bytes.push(0);
    // 65,536 bytes.
    bytes[4..6].copy_from_slice(&[0xff, 0xd8]);
    assert_eq!(split(&bytes, &frame.offload(1000)), Err(SegmentError::BadLength));
}

#[test]
fn the_checksum_of_a_frame_must_be_where_its_headers_have_it() {
    for (ip, transport) in EVERY {
        let frame = Example::new(ip, transport, 30);
        let good = frame.checksum();
        for checksum in [
            None,
            Some(Checksum { start: good.start + 4, ..good }),
            Some(Checksum { offset: good.offset + 2, ..good }),
        ] {
            let offload = Offload { checksum, ..frame.offload(10) };
            assert_eq!(split(&frame.frame(), &offload), Err(SegmentError::BadChecksum));
        }
    }
}

#[test]
fn headers_of_256_bytes_are_split_and_longer_ones_refused() {
    assert_eq!(MAX_HEADERS, 256);
    let frame = Example::new(Ip::V6, Transport::Tcp, 30).with(|example| {
        example.extra = vec![1; 192];
        example.options = vec![1; 4];
    });
    assert_eq!(split(&frame.frame(), &frame.offload(10)).map(|packets| packets.len()), Ok(3));
    let frame = frame.with(|example| example.options = vec![1; 8]);
    assert_eq!(split(&frame.frame(), &frame.offload(10)), Err(SegmentError::HeadersTooLong));
    let frame = frame.with(|example| example.extra = vec![1; 2048]);
    assert_eq!(split(&frame.frame(), &frame.offload(10)), Err(SegmentError::HeadersTooLong));
}
