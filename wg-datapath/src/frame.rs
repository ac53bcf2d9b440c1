//! A frame on its way out: what was read from the TUN, in a buffer of its own, and how far it has been sent.
//!
//! A frame may hold more packets than a batch takes. Its rest then moves to a buffer of its own, headers and all, and
//! comes first the next time.

use crate::ip;
use crate::peer_table::PeerId;
use crate::queue::{Queued, Signal};
use crate::segment::Segmenter;
use crate::slab::{Slab, SlabClass};

/// A frame with the peer it goes to.
#[derive(Debug)]
pub(crate) struct OutFrame {
    slab: Slab,
    len: u32,
    /// The first packet that is still to be sent.
    next: u32,
    /// Bytes of payload that are not in the buffer any more: those of packets that were sent.
    cut: u32,
    segmenter: Segmenter,
    pub(crate) peer: PeerId,
}

impl OutFrame {
    pub(crate) fn new(slab: Slab, len: usize, segmenter: Segmenter, peer: PeerId) -> Self {
        // No slab is longer than 32 bits say.
        let len = u32::try_from(len).unwrap_or(u32::MAX);
        Self { slab, len, next: 0, cut: 0, segmenter, peer }
    }

    const fn len(&self) -> usize {
        self.len as usize
    }

    /// The bytes that are left of the frame.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.slab.get(..self.len()).unwrap_or_default()
    }

    /// Whether it holds a large slab.
    pub(crate) fn is_large(&self) -> bool {
        self.slab.len() > SlabClass::Small.bytes()
    }

    /// The memory that it holds.
    pub(crate) fn held(&self) -> usize {
        self.slab.len()
    }

    pub(crate) const fn segmenter(&self) -> &Segmenter {
        &self.segmenter
    }

    /// The packet to be sent next.
    pub(crate) const fn next(&self) -> usize {
        self.next as usize
    }

    /// Packets that are still to be sent.
    pub(crate) fn remaining(&self) -> usize {
        self.segmenter.count().saturating_sub(self.next())
    }

    /// Counts packets as taken.
    pub(crate) fn advance(&mut self, by: usize) {
        self.next = self.next.saturating_add(u32::try_from(by).unwrap_or(u32::MAX));
    }

    /// The payload of a packet, by its number in the whole frame.
    pub(crate) fn payload(&self, at: usize) -> &[u8] {
        let range = self.segmenter.payload(at);
        let start = range.start.saturating_sub(self.cut as usize);
        self.slab.get(start..start + range.len()).unwrap_or_default()
    }

    /// The TOS byte of the outer headers: no DSCP, and the ECN bits of the packets (C98).
    pub(crate) fn tos(&self) -> u8 {
        ip::ecn(self.bytes()).outer().bits()
    }

    /// Copies what is still to be sent into another buffer, which is taken and becomes a frame of its own; `None`, and the
    /// buffer stays, if it does not fit.
    pub(crate) fn rest_into(&self, slab: &mut Slab) -> Option<Self> {
        let header = self.segmenter.header_len();
        let from = self.segmenter.payload(self.next()).start.checked_sub(self.cut as usize)?;
        let (headers, payload) = (self.slab.get(..header)?, self.slab.get(from..self.len())?);
        let len = header + payload.len();
        let (to_headers, to_payload) = slab.get_mut(..len)?.split_at_mut_checked(header)?;
        to_headers.copy_from_slice(headers);
        to_payload.copy_from_slice(payload);
        let len = u32::try_from(len).ok()?;
        let cut = self.cut.checked_add(u32::try_from(from.checked_sub(header)?).ok()?)?;
        Some(Self { slab: core::mem::take(slab), len, cut, ..*self })
    }

    /// Gives the buffer back.
    pub(crate) fn into_slab(self) -> Slab {
        self.slab
    }
}

impl Queued for OutFrame {
    fn bytes(&self) -> usize {
        self.len()
    }

    /// A frame is marked as a whole if its flow understands that, or loses the packet that would leave next.
    fn signal(&mut self) -> Signal {
        let headers = self.slab.get_mut(..self.len as usize).unwrap_or_default();
        if ip::mark_ce(headers) {
            self.segmenter.headers_changed(headers);
            Signal::Marked
        } else if self.remaining() > 1 {
            self.advance(1);
            Signal::LostSegment
        } else {
            Signal::Drop
        }
    }
}
