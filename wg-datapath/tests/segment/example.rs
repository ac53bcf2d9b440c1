//! Packets field by field, a checksum as RFC 1071 has it, and both steps from bytes to bytes.

use wg_datapath::offload::{Checksum, Offload, Segmentation, SegmentationKind, TunOffloads};
use wg_datapath::{Coalescer, SegmentError, Segmenter, Sum};

pub(crate) const FIN: u8 = 1;
pub(crate) const SYN: u8 = 2;
pub(crate) const RST: u8 = 4;
pub(crate) const PSH: u8 = 8;
pub(crate) const ACK: u8 = 16;
pub(crate) const URG: u8 = 32;
pub(crate) const ECE: u8 = 64;
pub(crate) const CWR: u8 = 128;

pub(crate) const DF: u16 = 0x4000;
pub(crate) const ALL: TunOffloads =
    TunOffloads { checksum: true, tcp4: true, tcp6: true, udp4: true, udp6: true };

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ip {
    V4,
    V6,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Tcp,
    Udp,
}

pub(crate) const EVERY: [(Ip, Transport); 4] =
    [(Ip::V4, Transport::Tcp), (Ip::V4, Transport::Udp), (Ip::V6, Transport::Tcp), (Ip::V6, Transport::Udp)];

/// The fields of a packet; those that its protocols do not have are not used.
#[derive(Clone, Debug)]
pub(crate) struct Example {
    pub(crate) ip: Ip,
    pub(crate) transport: Transport,
    pub(crate) hosts: [u8; 2],
    pub(crate) ports: [u16; 2],
    pub(crate) tos: u8,
    pub(crate) ttl: u8,
    pub(crate) label: u16,
    pub(crate) id: u16,
    pub(crate) fragment: u16,
    pub(crate) sequence: u32,
    pub(crate) ack: u32,
    pub(crate) reserved: u8,
    pub(crate) flags: u8,
    pub(crate) window: u16,
    pub(crate) urgent: u16,
    pub(crate) options: Vec<u8>,
    /// IPv4 options, or an IPv6 extension header of destination options.
    pub(crate) extra: Vec<u8>,
    pub(crate) payload: Vec<u8>,
}

impl Example {
    pub(crate) fn new(ip: Ip, transport: Transport, payload: usize) -> Self {
        Self {
            ip,
            transport,
            hosts: [1, 2],
            ports: [4000, 5000],
            tos: 2,
            ttl: 64,
            label: 77,
            id: 900,
            fragment: DF,
            sequence: 1_000_000,
            ack: 55,
            reserved: 0,
            flags: ACK,
            window: 501,
            urgent: 0,
            options: Vec::new(),
            extra: Vec::new(),
            payload: (0..payload).map(|n| u8::try_from(n * 31 % 251).unwrap()).collect(),
        }
    }

    /// What follows in the flow.
    pub(crate) fn next(&self) -> Self {
        Self {
            id: self.id.wrapping_add(1),
            sequence: self.sequence.wrapping_add(u32::try_from(self.payload.len()).unwrap()),
            ..self.clone()
        }
    }

    pub(crate) fn with(&self, change: impl FnOnce(&mut Self)) -> Self {
        let mut changed = self.clone();
        change(&mut changed);
        changed
    }

    /// `count` packets, one behind the other.
    pub(crate) fn run(&self, count: usize) -> Vec<Self> {
        core::iter::successors(Some(self.clone()), |last| Some(last.next())).take(count).collect()
    }

    pub(crate) fn start(&self) -> usize {
        self.extra.len() + if self.ip == Ip::V4 { 20 } else { 40 }
    }

    pub(crate) fn header_len(&self) -> usize {
        self.start() + if self.transport == Transport::Tcp { 20 + self.options.len() } else { 8 }
    }

    /// Where the checksum is.
    pub(crate) fn checksum(&self) -> Checksum {
        Checksum { start: self.start(), offset: if self.transport == Transport::Tcp { 16 } else { 6 } }
    }

    /// A packet with checksums that are right.
    pub(crate) fn packet(&self) -> Vec<u8> {
        let mut packet = self.frame();
        complete(&mut packet, self.checksum());
        packet
    }

    /// A packet whose checksum is that of the pseudo header.
    pub(crate) fn frame(&self) -> Vec<u8> {
        let mut transport = [self.ports[0].to_be_bytes(), self.ports[1].to_be_bytes()].concat();
        match self.transport {
            Transport::Tcp => {
                transport.extend(self.sequence.to_be_bytes());
                transport.extend(self.ack.to_be_bytes());
                let words = u8::try_from(5 + self.options.len() / 4).unwrap();
                transport.extend([words << 4 | self.reserved, self.flags]);
                transport.extend(self.window.to_be_bytes());
                transport.extend([0, 0]);
                transport.extend(self.urgent.to_be_bytes());
                transport.extend(&self.options);
            }
            Transport::Udp => {
                transport.extend(u16::try_from(8 + self.payload.len()).unwrap().to_be_bytes());
                transport.extend([0, 0]);
            }
        }
        let len = transport.len() + self.payload.len();
        let [from, to] = self.hosts;
        let protocol = if self.transport == Transport::Tcp { 6 } else { 17 };
        let (mut packet, addresses) = match self.ip {
            Ip::V4 => {
                let words = u8::try_from(5 + self.extra.len() / 4).unwrap();
                let total = u16::try_from(20 + self.extra.len() + len).unwrap();
                let mut header = vec![0x40 | words, self.tos];
                for word in [total, self.id, self.fragment] {
                    header.extend(word.to_be_bytes());
                }
                header.extend([self.ttl, protocol, 0, 0, 10, 0, 0, from, 10, 0, 0, to]);
                header.extend(&self.extra);
                let checksum = !rfc1071(&header);
                header[10..12].copy_from_slice(&checksum.to_be_bytes());
                (header, 12..20)
            }
            Ip::V6 => {
                let payload = u16::try_from(self.extra.len() + len).unwrap();
                let mut header = vec![0x60 | self.tos >> 4, self.tos << 4];
                header.extend(self.label.to_be_bytes());
                header.extend(payload.to_be_bytes());
                header.extend([if self.extra.is_empty() { protocol } else { 60 }, self.ttl]);
                for host in [from, to] {
                    header.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, host]);
                }
                header.extend(&self.extra);
                if let [next, units, ..] = &mut header[40..] {
                    (*next, *units) = (protocol, u8::try_from(self.extra.len() / 8 - 1).unwrap());
                }
                (header, 8..40)
            }
        };
        let pseudo = [
            &packet[addresses],
            &u32::try_from(len).unwrap().to_be_bytes(),
            &u32::from(protocol).to_be_bytes(),
        ]
        .concat();
        let field = self.checksum().offset;
        transport[field..field + 2].copy_from_slice(&rfc1071(&pseudo).to_be_bytes());
        packet.extend(transport);
        packet.extend(&self.payload);
        packet
    }

    /// How a frame of this is to be split.
    pub(crate) fn offload(&self, segment_size: u16) -> Offload {
        let kind = match (self.transport, self.ip) {
            (Transport::Tcp, Ip::V4) => SegmentationKind::Tcp4,
            (Transport::Tcp, Ip::V6) => SegmentationKind::Tcp6,
            (Transport::Udp, _) => SegmentationKind::Udp,
        };
        let segment_size = segment_size.try_into().unwrap();
        Offload {
            checksum: Some(self.checksum()),
            segmentation: Some(Segmentation { kind, segment_size, ecn: false }),
        }
    }
}

/// The sum of RFC 1071, word by word, with the carry brought round at once.
pub(crate) fn rfc1071(bytes: &[u8]) -> u16 {
    let mut sum: u32 = 0;
    for pair in bytes.chunks(2) {
        sum += u32::from(pair[0]) * 256 + pair.get(1).map_or(0, |low| u32::from(*low));
        if sum > 0xffff {
            sum -= 0xffff;
        }
    }
    u16::try_from(sum).unwrap()
}

/// Completes a checksum as `virtio_net_hdr` says it is done.
pub(crate) fn complete(packet: &mut [u8], Checksum { start, offset }: Checksum) {
    let sum = rfc1071(&packet[start..]);
    let checksum = if sum == 0xffff { 0xffff } else { !sum };
    packet[start + offset..][..2].copy_from_slice(&checksum.to_be_bytes());
}

/// Whether lengths and checksums of a packet are right, by what its own headers say. Extension headers are those of
/// [`Example`].
pub(crate) fn is_right(packet: &[u8]) -> bool {
    let word = |at: usize| usize::from(packet[at]) * 256 + usize::from(packet[at + 1]);
    let v4 = packet[0] >> 4 == 4;
    let start = match v4 {
        true => usize::from(packet[0] % 16) * 4,
        false if packet[6] == 60 => 48 + usize::from(packet[41]) * 8,
        false => 40,
    };
    let protocol = if v4 {
        packet[9]
    } else if packet[6] == 60 {
        packet[40]
    } else {
        packet[6]
    };
    let (total, addresses) = if v4 { (word(2), 12..20) } else { (40 + word(4), 8..40) };
    let transport = &packet[start..];
    let pseudo = [
        &packet[addresses],
        &u32::try_from(transport.len()).unwrap().to_be_bytes(),
        &[0, protocol],
        transport,
    ]
    .concat();
    total == packet.len()
        && (!v4 || rfc1071(&packet[..start]) == 0xffff)
        && (protocol != 17 || word(start + 4) == transport.len())
        && rfc1071(&pseudo) == 0xffff
}

/// All packets of a frame, with their checksums.
pub(crate) fn split(frame: &[u8], offload: &Offload) -> Result<Vec<Vec<u8>>, SegmentError> {
    let split = Segmenter::new(frame, offload)?;
    Ok((0..split.count())
        .map(|at| {
            let mut packet = vec![0xaa; split.header_len()];
            assert!(split.write_header(frame, at, &mut packet));
            packet.extend(&frame[split.payload(at)]);
            assert_eq!(packet.len(), split.packet_len(at));
            if let Some(checksum) = split.checksum() {
                complete(&mut packet, checksum);
            }
            packet
        })
        .collect())
}

/// A frame, the numbers of the packets in it, and how it is split.
pub(crate) type Merged = (Vec<usize>, Vec<u8>, Offload);

/// What becomes of a batch of packets.
pub(crate) fn merge(plan: &mut Coalescer, offloads: TunOffloads, packets: &[Vec<u8>]) -> Vec<Merged> {
    plan.clear(offloads);
    for packet in packets {
        assert!(plan.push(packet, Sum::of(packet)));
    }
    plan.groups()
        .map(|group| {
            let mut frame = vec![0xaa; group.frame_len()];
            assert_eq!(group.write(|at| &packets[at], &mut frame), Some(frame.len()));
            (group.packets().collect(), frame, group.offload())
        })
        .collect()
}

/// Which packets of a batch are merged, all kinds allowed.
pub(crate) fn groups(examples: &[Example]) -> Vec<Vec<usize>> {
    groups_of(&examples.iter().map(Example::packet).collect::<Vec<_>>())
}

pub(crate) fn groups_of(packets: &[Vec<u8>]) -> Vec<Vec<usize>> {
    merge(&mut Coalescer::default(), ALL, packets).into_iter().map(|(numbers, ..)| numbers).collect()
}
