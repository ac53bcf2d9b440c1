//! What the host leaves to be done with a frame of the TUN: a checksum, and the split into packets.
//!
//! The words are those of `virtio_net_hdr`, which carries this between the kernel and `wg-sys-linux`; its length of headers
//! is not among them, as it is wrong for forwarded frames and is found from the headers themselves.

use core::num::NonZeroU16;

pub use wg_aead::Checksum;

/// What is left to be done with a frame. The default: nothing, it is a packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offload {
    /// The transport checksum is to be completed: its field holds the sum of the pseudo header.
    pub checksum: Option<Checksum>,
    /// The frame is to be split into packets.
    pub segmentation: Option<Segmentation>,
}

/// How a frame is to be split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segmentation {
    /// What it holds.
    pub kind: SegmentationKind,
    /// Bytes of payload behind the headers of each packet; the last has what is left.
    pub segment_size: NonZeroU16,
    /// The TCP segments carry CWR, which only the first may keep (`VIRTIO_NET_HDR_GSO_ECN`).
    pub ecn: bool,
}

/// The frames that can be split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegmentationKind {
    /// TCP in IPv4.
    Tcp4,
    /// TCP in IPv6.
    Tcp6,
    /// UDP in IPv4 or IPv6: each segment is a datagram (`UDP_SEGMENT`), not a fragment.
    Udp,
}

/// The kinds of frames that may be written. The default: packets only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TunOffloads {
    /// Packets whose transport checksum is to be completed. All other kinds need it.
    pub checksum: bool,
    /// TCP in IPv4 that is to be split.
    pub tcp4: bool,
    /// TCP in IPv6.
    pub tcp6: bool,
    /// UDP in IPv4.
    pub udp4: bool,
    /// UDP in IPv6.
    pub udp6: bool,
}
