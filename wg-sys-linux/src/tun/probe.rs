//! The header before a frame, as the TUN would read and write it.

use wg_datapath::offload::Offload;

use super::virtio_net_hdr::{LEN, decode, encode};

/// Reads what is left to be done with a frame.
#[must_use]
pub fn read_frame_header(header: &[u8; LEN]) -> Option<Offload> {
    decode(header)
}

/// Lays out the header of a frame; none if there is none that says this of it.
#[must_use]
pub fn write_frame_header(frame: &[u8], offload: Offload) -> Option<[u8; LEN]> {
    encode(frame, offload)
}
