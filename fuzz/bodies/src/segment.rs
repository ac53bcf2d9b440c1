//! Any frame beside a splitter that builds every packet anew by the header tables (RFC 791, 8200, 9293, 768), and any batch of
//! packets: what is merged must split into the very packets, in an order that no flow can see.

use core::ops::Range;

use wg_datapath::offload::{Checksum, Offload, Segmentation, SegmentationKind, TunOffloads};
use wg_datapath::{Coalescer, MAX_HEADERS, Segmenter, Sum};

use crate::input::{Input, mutate};
use crate::rfc1071::sum;

/// The fields of a packet that may be varied.
#[derive(Clone)]
struct Fields {
    v6: bool,
    tcp: bool,
    host: u8,
    port: u8,
    tos: u8,
    ttl: u8,
    id: u16,
    fragment: u16,
    sequence: u32,
    ack: u32,
    flags: u8,
    window: u16,
    /// Words of TCP options, and units of what stands between the headers.
    options: u8,
    extra: u8,
    len: usize,
}

impl Fields {
    fn new(kind: u8) -> Self {
        Self {
            v6: kind & 1 != 0,
            tcp: kind & 2 != 0,
            host: kind >> 2 & 1,
            port: kind,
            tos: 0,
            ttl: 64,
            id: 0xfffe,
            fragment: 0x4000,
            sequence: u32::MAX - 100,
            ack: 1,
            flags: 0x10,
            window: 9,
            options: 0,
            extra: 0,
            len: 40,
        }
    }

    fn start(&self) -> usize {
        if self.v6 { 40 + 8 * usize::from(self.extra) } else { 20 + 4 * usize::from(self.extra) }
    }

    fn checksum(&self) -> Checksum {
        Checksum { start: self.start(), offset: if self.tcp { 16 } else { 6 } }
    }

    /// A frame whose checksum field holds the sum of the pseudo header.
    fn frame(&self) -> Vec<u8> {
        let be = u16::to_be_bytes;
        let mut transport = [be(4000), be(self.port.into())].concat();
        if self.tcp {
            transport.extend(self.sequence.to_be_bytes());
            transport.extend(self.ack.to_be_bytes());
            transport.extend([(5 + self.options) << 4, self.flags]);
            transport.extend([be(self.window), [0; 2], [0; 2]].concat());
            transport.resize(20 + 4 * usize::from(self.options), 1);
        } else {
            transport.extend([be(length(8 + self.len)), [0; 2]].concat());
        }
        let protocol = if self.tcp { 6 } else { 17 };
        let len = transport.len() + self.len;
        let mut packet;
        if self.v6 {
            packet = vec![0x60 | self.tos >> 4, self.tos << 4, 0, 7];
            packet.extend(be(length(8 * usize::from(self.extra) + len)));
            packet.extend([if self.extra == 0 { protocol } else { 60 }, self.ttl]);
            packet.resize(40, 0xfd);
            packet[23] = self.host;
            if self.extra > 0 {
                packet.extend([protocol, self.extra - 1]);
                packet.resize(self.start(), 0);
            }
        } else {
            packet = vec![0x45 + self.extra, self.tos];
            packet.extend([be(length(self.start() + len)), be(self.id), be(self.fragment)].concat());
            packet.extend([self.ttl, protocol, 0, 0, 10, 0, 0, self.host, 10, 0, 0, 9]);
            packet.resize(self.start(), 1);
            let checksum = 0xffff - sum(&packet);
            packet[10..12].copy_from_slice(&be(checksum));
        }
        let pseudo = pseudo(&packet, protocol, len);
        let field = self.checksum().offset;
        transport[field..field + 2].copy_from_slice(&be(pseudo));
        packet.extend(transport);
        packet.extend((0..=252).cycle().take(self.len).map(|byte: u8| byte ^ self.ttl));
        packet
    }

    fn packet(&self) -> Vec<u8> {
        complete(self.frame(), Some(self.checksum()))
    }

    fn pass(&mut self) {
        self.id = self.id.wrapping_add(1);
        self.sequence = self.sequence.wrapping_add(u32::try_from(self.len).expect("a packet"));
    }
}

fn length(len: usize) -> u16 {
    u16::try_from(len).expect("16 bits")
}

fn pseudo(header: &[u8], protocol: u8, len: usize) -> u16 {
    let addresses = if header[0] >> 4 == 4 { 12..20 } else { 8..40 };
    sum(&[&header[addresses], &length(len).to_be_bytes(), &[0, protocol]].concat())
}

fn complete(mut packet: Vec<u8>, checksum: Option<Checksum>) -> Vec<u8> {
    if let Some(Checksum { start, offset }) = checksum {
        let checksum = match 0xffff - sum(&packet[start..]) {
            0 => 0xffff,
            checksum => checksum,
        };
        packet[start + offset..][..2].copy_from_slice(&checksum.to_be_bytes());
    }
    packet
}

/// The packets of a frame; `None` if it must be refused.
fn naive(frame: &[u8], offload: &Offload) -> Option<Vec<Vec<u8>>> {
    let Some(Segmentation { kind, segment_size, .. }) = offload.segmentation else {
        if let Some(Checksum { start, offset }) = offload.checksum {
            let end = start as u128 + offset as u128 + 2;
            if end > frame.len() as u128 {
                return None;
            }
        }
        return Some(vec![complete(frame.to_vec(), offload.checksum)]);
    };
    let byte = |at: usize| frame.get(at).copied();
    let word = |at: usize| Some(usize::from(byte(at)?) * 256 + usize::from(byte(at + 1)?));
    let v4 = match byte(0)? >> 4 {
        4 => true,
        6 => false,
        _ => return None,
    };
    let (mut start, mut protocol) =
        if v4 { (usize::from(byte(0)? % 16) * 4, byte(9)?) } else { (40, byte(6)?) };
    let total = if v4 { word(2)? } else { 40 + word(4)? };
    if start < 20 || total != frame.len() || total > 65_535 || (v4 && word(6)? % 0x4000 != 0) {
        return None;
    }
    while !v4 && [0, 43, 60].contains(&protocol) {
        protocol = byte(start)?;
        start += 8 * (1 + usize::from(byte(start + 1)?));
    }
    let (header_len, offset) = match (kind, v4, protocol) {
        (SegmentationKind::Tcp4, true, 6) | (SegmentationKind::Tcp6, false, 6) => {
            (start + usize::from(byte(start + 12)? / 16) * 4, 16)
        }
        (SegmentationKind::Udp, _, 17) => (start + 8, 6),
        _ => return None,
    };
    let least = start + if protocol == 6 { 20 } else { 8 };
    let fits = least <= header_len && header_len <= frame.len() && header_len <= MAX_HEADERS;
    if !fits || offload.checksum != Some(Checksum { start, offset }) {
        return None;
    }
    let (headers, payload) = frame.split_at(header_len);
    // The sum of the pseudo header is what the host says it is; the length in it is that of the frame.
    let rest_of_pseudo =
        u32::from(sum(&[&headers[start + offset..][..2], &(!length(total - start)).to_be_bytes()].concat()));
    let mut pieces: Vec<&[u8]> = payload.chunks(segment_size.get().into()).collect();
    if pieces.is_empty() {
        pieces.push(&[]);
    }
    let count = pieces.len();
    let mut passed = 0_u32;
    let packets = pieces.into_iter().enumerate().map(|(at, piece)| {
        let mut packet = headers.to_vec();
        let len = header_len + piece.len();
        if v4 {
            packet[2..4].copy_from_slice(&length(len).to_be_bytes());
            let id = u32::try_from(word(4).expect("it is there") + at).expect("small");
            packet[4..6].copy_from_slice(&id.to_be_bytes()[2..]);
            packet[10..12].fill(0);
            let checksum = 0xffff - sum(&packet[..start]);
            packet[10..12].copy_from_slice(&checksum.to_be_bytes());
        } else {
            packet[4..6].copy_from_slice(&length(len - 40).to_be_bytes());
        }
        if protocol == 6 {
            let sequence = u32::from_be_bytes(headers[start + 4..][..4].try_into().expect("four bytes"));
            packet[start + 4..][..4].copy_from_slice(&sequence.wrapping_add(passed).to_be_bytes());
            if at > 0 {
                packet[start + 13] &= 0x7f;
            }
            if at + 1 < count {
                packet[start + 13] &= 0xf6;
            }
        } else {
            packet[start + 4..][..2].copy_from_slice(&length(len - start).to_be_bytes());
        }
        let pseudo = rest_of_pseudo + u32::from(length(len - start));
        let pseudo = sum(&pseudo.to_be_bytes());
        packet[start + offset..][..2].copy_from_slice(&pseudo.to_be_bytes());
        packet.extend(piece);
        passed += u32::try_from(piece.len()).expect("a packet");
        complete(packet, offload.checksum)
    });
    Some(packets.collect())
}

fn split(frame: &[u8], offload: &Offload) -> Option<Vec<Vec<u8>>> {
    let split = Segmenter::new(frame, offload).ok()?;
    let packets = (0..split.count()).map(|at| {
        let mut packet = vec![0xaa; split.header_len()];
        assert!(split.write_header(frame, at, &mut packet), "there is room");
        packet.extend(&frame[split.payload(at)]);
        assert_eq!(packet.len(), split.packet_len(at));
        complete(packet, split.checksum())
    });
    Some(packets.collect())
}

/// Who must not be overtaken by whom.
#[derive(PartialEq, Eq)]
enum Shown {
    Flow { protocol: u8, ports: [u8; 4] },
    Hidden,
    Other,
}

/// What a packet shows, and between which addresses.
fn shown(packet: &[u8]) -> (&[u8], Shown) {
    let (addresses, header_len, protocol): (Range<usize>, _, _) = match packet.first().map(|first| first >> 4)
    {
        Some(4) if packet.len() >= 20 => (12..20, 20, packet[9]),
        Some(6) if packet.len() >= 40 => (8..40, 40, packet[6]),
        _ => return (&[], Shown::Other),
    };
    let word = |at: usize| usize::from(packet[at]) * 256 + usize::from(packet[at + 1]);
    let is_plain = if header_len == 20 {
        packet[0] == 0x45 && word(2) == packet.len() && word(6) % 0x4000 == 0
    } else {
        word(4) + 40 == packet.len()
    };
    let shown = match (is_plain, protocol, packet.get(header_len..header_len + 4)) {
        (true, 6 | 17, Some(ports)) => Shown::Flow { protocol, ports: ports.try_into().expect("four bytes") },
        (true, 1, _) if header_len == 20 => Shown::Other,
        (true, 58, _) if header_len == 40 => Shown::Other,
        _ => Shown::Hidden,
    };
    (&packet[addresses], shown)
}

fn must_keep_order(a: &[u8], b: &[u8]) -> bool {
    let (a, b) = (shown(a), shown(b));
    let hidden = a.1 == Shown::Hidden || b.1 == Shown::Hidden;
    a.0 == b.0 && a.1 != Shown::Other && b.1 != Shown::Other && (hidden || a.1 == b.1)
}

fn split_one(input: &mut Input<'_>) {
    let mut fields = Fields::new(input.byte());
    let (size, twist) = (input.u16(), input.byte());
    fields.options = input.below(11);
    fields.extra = if fields.v6 { input.below(28) } else { input.below(11) };
    fields.flags = input.byte();
    fields.len = usize::from(input.u16() % 2048);
    let mut offload = Offload {
        checksum: Some(fields.checksum()),
        segmentation: size.try_into().ok().map(|segment_size| Segmentation {
            kind: match (fields.tcp, fields.v6) {
                (true, false) => SegmentationKind::Tcp4,
                (true, true) => SegmentationKind::Tcp6,
                (false, _) => SegmentationKind::Udp,
            },
            segment_size,
            ecn: twist & 0x80 != 0,
        }),
    };
    let mut frame = fields.frame();
    match twist % 16 {
        1 => offload.checksum = None,
        2 => {
            let place = |wide: u64| usize::try_from(wide).expect("64 bits");
            offload.checksum = Some(Checksum { start: place(input.u64()), offset: input.byte().into() });
        }
        3 => {
            if let Some(segmentation) = &mut offload.segmentation {
                segmentation.kind = [SegmentationKind::Tcp4, SegmentationKind::Tcp6, SegmentationKind::Udp]
                    [usize::from(input.below(3))];
            }
        }
        4 => frame = input.rest().to_vec(),
        5..8 => mutate(&mut frame, input),
        _ => {}
    }
    let packets = split(&frame, &offload);
    assert_eq!(packets, naive(&frame, &offload), "{offload:?}");
}

/// One more packet of a flow, as the input says.
fn next(flow: &mut Fields, action: u8, input: &mut Input<'_>) -> Vec<u8> {
    flow.flags &= 0x50;
    match action {
        0 => flow.flags |= input.byte(),
        1 => flow.len = usize::from(input.u16() % 1500),
        2 => flow.len = input.byte().into(),
        3 => flow.fragment ^= 1 << input.below(16),
        4 => flow.extra = input.below(3),
        5 => flow.options = input.below(11),
        6 => flow.ack ^= u32::from(input.byte()),
        7 => flow.window ^= u16::from(input.byte()),
        8 => flow.sequence = flow.sequence.wrapping_sub(input.byte().into()),
        9 => flow.id = flow.id.wrapping_sub(input.byte().into()),
        10 => flow.tos = input.byte(),
        11 => flow.ttl = input.byte(),
        12 => {
            let mut packet = flow.packet();
            mutate(&mut packet, input);
            flow.pass();
            return packet;
        }
        13 => return input.counted().to_vec(),
        14 => flow.flags |= 8,
        15 => flow.len = 40,
        // It hides its flow, which goes on as if there were none.
        16 => return Fields { extra: 1, ..flow.clone() }.packet(),
        _ => {}
    }
    let packet = flow.packet();
    flow.pass();
    packet
}

fn merge(input: &mut Input<'_>) {
    let offloads = input.byte();
    let offloads = TunOffloads {
        checksum: offloads & 1 == 0,
        tcp4: offloads & 2 == 0,
        tcp6: offloads & 4 == 0,
        udp4: offloads & 8 == 0,
        udp6: offloads & 16 == 0,
    };
    let mut flows: Vec<Fields> = (0..8).map(Fields::new).collect();
    let mut packets = Vec::new();
    while packets.len() < 128 && !input.is_empty() {
        let (op, repeat) = (input.byte(), input.below(6));
        let flow = &mut flows[usize::from(op % 8)];
        packets.push(next(flow, op / 8, input));
        packets.extend((0..repeat).map(|_| next(flow, 31, input)));
    }
    packets.truncate(128);
    let mut plan = Coalescer::default();
    // What a batch before left is forgotten.
    for _ in 0..2 {
        plan.clear(offloads);
        for packet in &packets {
            assert!(plan.push(packet, Sum::of(packet)), "there is room");
        }
    }
    let mut left = Vec::new();
    for group in plan.groups() {
        let own: Vec<usize> = group.packets().collect();
        let mut frame = vec![0xaa; group.frame_len()];
        assert_eq!(group.write(|at| &packets[at], &mut frame), Some(frame.len()));
        let offload = group.offload();
        if let Some(Segmentation { kind, .. }) = offload.segmentation {
            assert!(own.len() > 1 && frame.len() <= 65_535 && offloads.checksum);
            assert!(match (kind, frame[0] >> 4) {
                (SegmentationKind::Tcp4, _) => offloads.tcp4,
                (SegmentationKind::Tcp6, _) => offloads.tcp6,
                (SegmentationKind::Udp, 4) => offloads.udp4,
                (SegmentationKind::Udp, _) => offloads.udp6,
            });
        } else {
            assert_eq!((own.len(), offload), (1, Offload::default()));
        }
        let expected: Vec<Vec<u8>> = own.iter().map(|at| packets[*at].clone()).collect();
        assert_eq!(naive(&frame, &offload).as_ref(), Some(&expected), "{offload:?}");
        assert_eq!(split(&frame, &offload), Some(expected));
        left.extend(own);
    }
    for (place, own) in left.iter().enumerate() {
        for overtaken in left[place + 1..].iter().filter(|other| *other < own) {
            let (a, b) = (&packets[*overtaken], &packets[*own]);
            assert!(!must_keep_order(a, b), "{own} left before {overtaken}");
        }
    }
    left.sort_unstable();
    assert!(left.into_iter().eq(0..packets.len()), "every packet left once");
}

/// Splits a frame, or merges packets and splits them again.
///
/// # Panics
///
/// If the split is not that of the tables, or what comes back is not what went in.
pub fn segment(data: &[u8]) {
    let mut input = Input::new(data);
    if input.byte().is_multiple_of(2) { split_one(&mut input) } else { merge(&mut input) }
}
