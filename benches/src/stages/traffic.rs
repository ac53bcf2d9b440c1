//! What the host sends: TCP and UDP over IPv4, in frames that are to be split, or packet by packet.

use core::num::NonZeroU16;

use wg_datapath::offload::{Checksum, Offload, Segmentation, SegmentationKind};
use wg_datapath::{Segmenter, Sum};

/// Where the transport header starts.
const IP: usize = 20;
/// A TCP header with timestamps, as Linux sends it.
const TCP: usize = 32;
const UDP: usize = 8;

/// A protocol, and bytes of payload in a packet of so many bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transport {
    Tcp,
    Udp,
}

impl Transport {
    const fn header_len(self) -> usize {
        match self {
            Self::Tcp => IP + TCP,
            Self::Udp => IP + UDP,
        }
    }

    const fn checksum(self) -> Checksum {
        Checksum { start: IP, offset: if let Self::Tcp = self { 16 } else { 6 } }
    }
}

/// Packets of one flow in one frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flow {
    pub(super) from: [u8; 4],
    pub(super) to: [u8; 4],
    pub(super) transport: Transport,
    /// Bytes of a packet.
    pub(super) len: usize,
    /// Packets of a frame.
    pub(super) count: usize,
}

impl Flow {
    /// A frame of this flow, which has sent `before` packets before it.
    pub(super) fn frame(&self, before: usize) -> (Vec<u8>, Offload) {
        let header = self.transport.header_len();
        let payload = self.len - header;
        let total = header + payload * self.count;
        let mut frame: Vec<u8> = (0..total).map(|at| u8::try_from(at * 7 % 251).unwrap_or(0)).collect();
        let length = |len: usize| u16::try_from(len).expect("no frame is longer").to_be_bytes();
        let identification = length(before & 0xffff);
        frame[..IP].copy_from_slice(&[0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        frame[2..4].copy_from_slice(&length(total));
        frame[4..6].copy_from_slice(&identification);
        frame[12..16].copy_from_slice(&self.from);
        frame[16..20].copy_from_slice(&self.to);
        let (protocol, offset) = match self.transport {
            Transport::Tcp => {
                let sequence = u32::try_from((before * payload) & 0xffff_ffff).unwrap_or_default();
                let header = &mut frame[IP..IP + TCP];
                header[..4].copy_from_slice(&[0x9c, 0x40, 0x14, 0x51]);
                header[4..8].copy_from_slice(&sequence.to_be_bytes());
                header[12..16].copy_from_slice(&[0x80, 0x10, 0x01, 0xf5]);
                header[18..32].copy_from_slice(&[0, 0, 1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2]);
                (6, 16)
            }
            Transport::Udp => {
                frame[IP..IP + 4].copy_from_slice(&[0x9c, 0x40, 0x14, 0x51]);
                frame[IP + 4..IP + 6].copy_from_slice(&length(total - IP));
                (17, 6)
            }
        };
        frame[9] = protocol;
        let header_sum = Sum::of(&frame[..IP]).checksum();
        frame[10..12].copy_from_slice(&header_sum);
        let pseudo = Sum::of(&frame[12..20])
            + Sum::of_word(protocol.into())
            + Sum::of_word(u16::from_be_bytes(length(total - IP)));
        frame[IP + offset..IP + offset + 2].copy_from_slice(&pseudo.to_be_bytes());
        let kind = match self.transport {
            Transport::Tcp => SegmentationKind::Tcp4,
            Transport::Udp => SegmentationKind::Udp,
        };
        let segment_size =
            NonZeroU16::new(u16::from_be_bytes(length(payload))).expect("packets have payload");
        let segmentation = (self.count > 1).then_some(Segmentation { kind, segment_size, ecn: false });
        (frame, Offload { checksum: Some(self.transport.checksum()), segmentation })
    }
}

/// The packets of a frame, with their checksums, as a host without offloads sends them.
pub(super) fn packets(frame: &[u8], offload: &Offload) -> Vec<(Vec<u8>, Offload)> {
    let split = Segmenter::new(frame, offload).expect("a frame that can be split");
    let packet = |at| {
        let mut packet = vec![0; split.header_len()];
        assert!(split.write_header(frame, at, &mut packet), "there is room");
        packet.extend(&frame[split.payload(at)]);
        if let Some(Checksum { start, offset }) = split.checksum() {
            let checksum = Sum::of(&packet[start..]).checksum();
            packet[start + offset..start + offset + 2].copy_from_slice(&checksum);
        }
        (packet, Offload::default())
    };
    (0..split.count()).map(packet).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_makes_the_packets_that_it_says() {
        for (transport, len, count) in
            [(Transport::Tcp, 1420, 47), (Transport::Udp, 64, 64), (Transport::Udp, 64, 1)]
        {
            let flow = Flow { from: [10, 0, 0, 1], to: [10, 0, 0, 2], transport, len, count };
            let (frame, offload) = flow.frame(3);
            let packets = packets(&frame, &offload);
            assert_eq!(packets.len(), count);
            for (at, (packet, _)) in packets.iter().enumerate() {
                assert_eq!(packet.len(), len);
                assert!(Sum::of(&packet[..20]).verifies());
                assert_eq!(usize::from(packet[5]), 3 + at, "identifications count up");
                let pseudo = Sum::of(&packet[12..20])
                    + Sum::of_word(packet[9].into())
                    + Sum::of_word(u16::try_from(len - 20).unwrap());
                assert!((pseudo + Sum::of(&packet[20..])).verifies());
            }
        }
    }
}
