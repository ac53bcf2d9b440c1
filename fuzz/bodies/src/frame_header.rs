//! Any bytes as the header before a frame of a TUN, beside a reading by the table of `struct virtio_net_hdr` (S10, 11).

use wg_datapath::Segmenter;
use wg_datapath::offload::{Checksum, Offload, Segmentation, SegmentationKind};
use wg_sys_linux::probe::{read_frame_header, write_frame_header};

use crate::input::Input;

/// What a header says; `None` for a kind that no TUN was asked for.
fn naive(header: &[u8; 10]) -> Option<Offload> {
    let number = |at: usize| u16::from(header[at]) + 256 * u16::from(header[at + 1]);
    let checksum = (header[0] % 2 == 1)
        .then(|| Checksum { start: usize::from(number(6)), offset: usize::from(number(8)) });
    let kind = match header[1] % 128 {
        0 => return Some(Offload { checksum, segmentation: None }),
        1 => SegmentationKind::Tcp4,
        4 => SegmentationKind::Tcp6,
        5 => SegmentationKind::Udp,
        _ => return None,
    };
    let segmentation = Segmentation { kind, segment_size: number(4).try_into().ok()?, ecn: header[1] >= 128 };
    Some(Offload { checksum, segmentation: Some(segmentation) })
}

/// Where the headers of a frame end; `None` if the frame is shorter, or no header says so.
fn end_of_headers(frame: &[u8], checksum: Checksum) -> Option<u16> {
    let Checksum { start, offset } = checksum;
    let transport = match offset {
        16 => usize::from(*frame.get(start + 12)? / 16) * 4,
        6 => 8,
        _ => 0,
    };
    let end = start + transport.max(offset + 2);
    if end > frame.len() { None } else { end.try_into().ok() }
}

/// Reads a header both ways, takes the frame for what it says, and writes it again.
///
/// # Panics
///
/// If the readers disagree, or what is written is not what was read.
pub fn frame_header(data: &[u8]) {
    let mut input = Input::new(data);
    let header = input.array();
    let frame = input.rest();
    let read = read_frame_header(&header);
    assert_eq!(read, naive(&header));
    let Some(offload) = read else { return };
    // Whatever it says of whatever frame, no packet reaches beyond it.
    if let Ok(split) = Segmenter::new(frame, &offload) {
        assert!((0..split.count()).all(|at| split.payload(at).end <= frame.len()));
    }
    let written = write_frame_header(frame, offload);
    let Some(checksum) = offload.checksum else {
        // What the kernel splits it sums up, too.
        let nothing = offload.segmentation.is_none().then_some([0; 10]);
        assert_eq!(written, nothing);
        return;
    };
    let Some(end) = end_of_headers(frame, checksum) else {
        assert_eq!(written, None);
        return;
    };
    let mut expected = header;
    expected[0] = 1;
    expected[2..4].copy_from_slice(&end.to_le_bytes());
    if offload.segmentation.is_none() {
        expected[1] = 0;
        expected[4..6].fill(0);
    }
    assert_eq!(written, Some(expected));
}
