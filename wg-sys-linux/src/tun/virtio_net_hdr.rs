//! `virtio_net_hdr`, the ten bytes before each frame: what is left to be done with it.
//!
//! ```text
//!  0       1          2         4          6            8             10
//! | flags | gso_type | hdr_len | gso_size | csum_start | csum_offset | frame ..
//! ```
//!
//! Numbers are little-endian, as `TUNSETVNETLE` asks for. The kernel's `hdr_len` is wrong on forwarded frames and is not
//! read; ours is right, as the kernel lays the frame out by it.

use core::num::NonZeroU16;

use wg_datapath::offload::{Checksum, Offload, Segmentation, SegmentationKind};

/// The length of the header.
pub(super) const LEN: usize = 10;

/// The checksum is to be completed.
const NEEDS_CSUM: u8 = 1;

const GSO_NONE: u8 = 0;
const GSO_TCPV4: u8 = 1;
const GSO_TCPV6: u8 = 4;
const GSO_UDP_L4: u8 = 5;
/// A bit beside the kinds: CWR is to be kept in the first segment only.
const GSO_ECN: u8 = 0x80;

/// Where the checksum of TCP stands in its header.
const TCP_CHECKSUM: usize = 16;
/// Where that of UDP does.
const UDP_CHECKSUM: usize = 6;
const UDP_HEADER: usize = 8;

/// Lays out the header of a frame; `None` if there is none that says this, or the frame is too short for it.
pub(super) fn encode(frame: &[u8], offload: Offload) -> Option<[u8; LEN]> {
    let mut header = [0; LEN];
    let Some(checksum) = offload.checksum else {
        // The kernel splits nothing whose checksum it does not complete.
        return offload.segmentation.is_none().then_some(header);
    };
    let hdr_len = headers(frame, checksum)?;
    header[0] = NEEDS_CSUM;
    header[2..4].copy_from_slice(&u16::try_from(hdr_len).ok()?.to_le_bytes());
    header[6..8].copy_from_slice(&u16::try_from(checksum.start).ok()?.to_le_bytes());
    header[8..10].copy_from_slice(&u16::try_from(checksum.offset).ok()?.to_le_bytes());
    if let Some(Segmentation { kind, segment_size, ecn }) = offload.segmentation {
        header[1] = match kind {
            SegmentationKind::Tcp4 => GSO_TCPV4,
            SegmentationKind::Tcp6 => GSO_TCPV6,
            SegmentationKind::Udp => GSO_UDP_L4,
        } | if ecn { GSO_ECN } else { 0 };
        header[4..6].copy_from_slice(&segment_size.get().to_le_bytes());
    }
    Some(header)
}

/// The length of all headers of a frame.
fn headers(frame: &[u8], checksum: Checksum) -> Option<usize> {
    let transport = match checksum.offset {
        // The upper half of the byte counts words of four bytes.
        TCP_CHECKSUM => usize::from(frame.get(checksum.start.checked_add(12)?)? >> 4) * 4,
        UDP_CHECKSUM => UDP_HEADER,
        _ => 0,
    };
    let field_end = checksum.offset.checked_add(2)?;
    let len = checksum.start.checked_add(transport.max(field_end))?;
    (len <= frame.len()).then_some(len)
}

/// Reads what is left to be done with a frame; `None` for a kind that was not asked for.
pub(super) fn decode(header: &[u8; LEN]) -> Option<Offload> {
    let [flags, gso_type, _, _, size_0, size_1, start_0, start_1, offset_0, offset_1] = *header;
    let number = |bytes| usize::from(u16::from_le_bytes(bytes));
    let checksum = (flags & NEEDS_CSUM != 0)
        .then(|| Checksum { start: number([start_0, start_1]), offset: number([offset_0, offset_1]) });
    let kind = match gso_type & !GSO_ECN {
        GSO_NONE => return Some(Offload { checksum, segmentation: None }),
        GSO_TCPV4 => SegmentationKind::Tcp4,
        GSO_TCPV6 => SegmentationKind::Tcp6,
        GSO_UDP_L4 => SegmentationKind::Udp,
        _ => return None,
    };
    let segment_size = NonZeroU16::new(u16::from_le_bytes([size_0, size_1]))?;
    let segmentation = Some(Segmentation { kind, segment_size, ecn: gso_type & GSO_ECN != 0 });
    Some(Offload { checksum, segmentation })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn offload(offset: usize, kind: SegmentationKind, ecn: bool) -> Offload {
        let segment_size = NonZeroU16::new(1368).unwrap();
        Offload {
            checksum: Some(Checksum { start: 20, offset }),
            segmentation: Some(Segmentation { kind, segment_size, ecn }),
        }
    }

    /// Headers of IPv4 and of TCP with 12 bytes of options.
    fn frame() -> Vec<u8> {
        let mut frame = vec![0; 3000];
        frame[0] = 0x45;
        frame[32] = 0x80;
        frame
    }

    #[test]
    fn packet_has_a_header_of_zeros() {
        assert_eq!(encode(&[], Offload::default()), Some([0; LEN]));
        assert_eq!(decode(&[0; LEN]), Some(Offload::default()));
    }

    #[test]
    fn fields_stand_where_the_kernel_reads_them() {
        let tcp = encode(&frame(), offload(16, SegmentationKind::Tcp4, true)).unwrap();
        assert_eq!(tcp, [1, 0x81, 52, 0, 0x58, 5, 20, 0, 16, 0]);
        let tcp = encode(&frame(), offload(16, SegmentationKind::Tcp6, false)).unwrap();
        assert_eq!(tcp, [1, 4, 52, 0, 0x58, 5, 20, 0, 16, 0]);
        let udp = encode(&frame(), offload(6, SegmentationKind::Udp, false)).unwrap();
        assert_eq!(udp, [1, 5, 28, 0, 0x58, 5, 20, 0, 6, 0]);
    }

    #[test]
    fn length_of_headers_is_not_read() {
        let mut header = encode(&frame(), offload(16, SegmentationKind::Tcp4, false)).unwrap();
        let expected = decode(&header);
        header[2..4].copy_from_slice(&[0xff, 0xff]);
        assert_eq!(decode(&header), expected);
    }

    #[test]
    fn split_without_a_checksum_is_no_header() {
        let split = Offload { checksum: None, ..offload(16, SegmentationKind::Tcp4, false) };
        assert_eq!(encode(&frame(), split), None);
    }

    #[test]
    fn frame_shorter_than_its_headers_has_no_header() {
        for len in 0..52 {
            assert_eq!(encode(&frame()[..len], offload(16, SegmentationKind::Tcp4, false)), None, "{len}");
        }
        for start in [65_536, usize::MAX - 1] {
            let far = Offload { checksum: Some(Checksum { start, offset: 16 }), segmentation: None };
            assert_eq!(encode(&vec![0; 70_000], far), None);
            let far = Offload { checksum: Some(Checksum { start, offset: usize::MAX }), segmentation: None };
            assert_eq!(encode(&vec![0; 70_000], far), None);
        }
    }

    #[test]
    fn unknown_kinds_and_segments_of_no_length_are_refused() {
        for gso_type in [2, 3, 6, 0x7f, 0x83] {
            assert_eq!(decode(&[1, gso_type, 0, 0, 1, 0, 20, 0, 16, 0]), None, "{gso_type}");
        }
        assert_eq!(decode(&[1, 1, 0, 0, 0, 0, 20, 0, 16, 0]), None);
    }

    proptest! {
        #[test]
        fn what_is_decoded_encodes_back(mut header in any::<[u8; LEN]>()) {
            header[1] &= 0x87;
            let Some(offload) = decode(&header) else { return Ok(()) };
            // The longest of all headers fits.
            let Some(encoded) = encode(&vec![0; 140_000], offload) else { return Ok(()) };
            prop_assert_eq!(decode(&encoded), Some(offload));
        }
    }
}
