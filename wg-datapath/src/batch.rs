//! The unit of work: packets of one peer in one direction, in slabs, under one key handle and one range of counters.
//!
//! ```text
//!   begin (home core)           crypt (any core)        commit (home core, in the order of begin)
//!   route, reserve counters --> OutBatch::seal     -->  send
//!   look up, check counter  --> InBatch::open      -->  window, endpoint, timers, source, deliver
//! ```

use alloc::sync::Arc;

use wg_proto::aead::{Aead, OpenJob, SealJob};
use wg_proto::wire::{TAG_LEN, TRANSPORT_HEADER_LEN, TRANSPORT_OVERHEAD};
use wg_proto::{Endpoint, RecvKey, SendKey, SessionIndex};

use crate::io::Segment;
use crate::padding::padded_len;
use crate::peer_table::PeerId;
use crate::slab::Slab;

/// The most segments of a batch.
pub const BATCH_SEGMENTS: usize = 64;

/// A batch of either direction: what a strategy moves.
#[derive(Debug)]
pub enum Batch<A> {
    /// Packets to be sealed and sent.
    Out(alloc::boxed::Box<OutBatch<A>>),
    /// Datagrams to be opened and delivered.
    In(alloc::boxed::Box<InBatch<A>>),
}

impl<A: Aead> Batch<A> {
    /// Does the crypt phase.
    pub fn crypt(&mut self) {
        match self {
            Self::Out(batch) => batch.seal(),
            Self::In(batch) => batch.open(),
        }
    }
}

/// Packets of one peer on their way out, in one slab.
///
/// Each packet stands in the slab where its message will be: 16 bytes of header room before it, padding and 16 bytes of tag
/// room behind it, so that it is sealed in place.
#[derive(Debug)]
pub struct OutBatch<A> {
    pub(crate) slab: Slab,
    /// The messages, header and tag included.
    pub(crate) segments: heapless::Vec<Segment, BATCH_SEGMENTS>,
    /// The lengths of the packets without padding.
    pub(crate) packet_lens: heapless::Vec<u32, BATCH_SEGMENTS>,
    pub(crate) peer: Option<PeerId>,
    pub(crate) key: Option<Arc<SendKey<A>>>,
    pub(crate) first_counter: u64,
    /// How many the socket has taken or refused.
    pub(crate) sent: usize,
    /// How many, at the end, could not be sealed.
    pub(crate) failed: usize,
}

impl<A> Default for OutBatch<A> {
    fn default() -> Self {
        Self {
            slab: Slab::default(),
            segments: heapless::Vec::new(),
            packet_lens: heapless::Vec::new(),
            peer: None,
            key: None,
            first_counter: 0,
            sent: 0,
            failed: 0,
        }
    }
}

impl<A> OutBatch<A> {
    /// Where the next message starts.
    fn end(&self) -> usize {
        self.segments.last().map_or(0, |last| last.offset as usize + last.len as usize)
    }

    /// The room for the next packet, if a packet of `max` bytes still fits with everything around it.
    pub(crate) fn room(&mut self, max: usize) -> Option<&mut [u8]> {
        if self.segments.is_full() {
            return None;
        }
        let start = self.end() + TRANSPORT_HEADER_LEN;
        // Padding is 15 bytes at most.
        let end = self.slab.len().checked_sub(TAG_LEN + 15)?;
        (start + max <= end).then(|| self.slab.get_mut(start..end)).flatten()
    }

    /// Takes in the packet of `len` bytes that was written into the room, and pads it.
    pub(crate) fn push_in_place(&mut self, len: usize, mtu: usize) -> bool {
        let start = self.end();
        let message = padded_len(len, mtu) + TRANSPORT_OVERHEAD;
        let padding = start + TRANSPORT_HEADER_LEN + len..start + message - TAG_LEN;
        let Some(padding) = self.slab.get_mut(padding) else { return false };
        padding.fill(0);
        let (Ok(offset), Ok(message), Ok(len)) =
            (u32::try_from(start), u32::try_from(message), u32::try_from(len))
        else {
            return false;
        };
        self.segments.push(Segment { offset, len: message }).is_ok() && self.packet_lens.push(len).is_ok()
    }

    /// Copies a packet in.
    pub(crate) fn push(&mut self, packet: &[u8], mtu: usize) -> bool {
        let Some(room) = self.room(packet.len()).and_then(|room| room.get_mut(..packet.len())) else {
            return false;
        };
        room.copy_from_slice(packet);
        self.push_in_place(packet.len(), mtu)
    }

    /// The packets as they were before sealing.
    pub(crate) fn packets(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        self.segments.iter().zip(&self.packet_lens).filter_map(|(segment, len)| {
            let start = segment.offset as usize + TRANSPORT_HEADER_LEN;
            self.slab.get(start..start + *len as usize)
        })
    }

    /// Returns the number of packets.
    #[must_use]
    pub fn len(&self) -> usize {
        self.segments.len()
    }

    /// Tells whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// Empties the batch for another use and returns its slab.
    pub(crate) fn recycle(&mut self) -> Slab {
        let slab = core::mem::take(&mut self.slab);
        *self = Self::default();
        slab
    }
}

impl<A: Aead> OutBatch<A> {
    /// Seals every packet in place: the crypt phase. It may run on any core.
    pub fn seal(&mut self) {
        let Some(key) = self.key.as_deref() else {
            self.failed = self.segments.len();
            return;
        };
        let mut jobs = heapless::Vec::<SealJob<'_, A>, BATCH_SEGMENTS>::new();
        let (mut rest, mut at) = (&mut self.slab[..], 0);
        for (segment, counter) in self.segments.iter().zip(self.first_counter..) {
            let (start, len) = (segment.offset as usize, segment.len as usize);
            let Some((_, from)) = rest.split_at_mut_checked(start - at) else { break };
            let Some((message, behind)) = from.split_at_mut_checked(len) else { break };
            (rest, at) = (behind, start + len);
            let Ok(buffer) = key.begin_seal(counter, message) else { break };
            if jobs.push(SealJob { key: key.cipher(), counter, buffer, result: Ok(()) }).is_err() {
                break;
            }
        }
        A::seal_batch(&mut jobs);
        let sealed = jobs.iter().take_while(|job| job.result.is_ok()).count();
        self.failed = self.segments.len() - sealed;
    }
}

/// One received datagram of a batch.
#[derive(Debug)]
pub(crate) struct InSegment {
    pub(crate) slab: Slab,
    pub(crate) len: usize,
    pub(crate) counter: u64,
    pub(crate) endpoint: Endpoint,
    /// Whether its tag verified.
    pub(crate) authentic: bool,
}

/// Datagrams of one keypair on their way in, each in its own slab, in the order they came.
#[derive(Debug)]
pub struct InBatch<A> {
    pub(crate) segments: heapless::Vec<InSegment, BATCH_SEGMENTS>,
    pub(crate) peer: Option<PeerId>,
    pub(crate) index: SessionIndex,
    pub(crate) key: Option<Arc<RecvKey<A>>>,
}

impl<A> Default for InBatch<A> {
    fn default() -> Self {
        Self { segments: heapless::Vec::new(), peer: None, index: SessionIndex::new(0), key: None }
    }
}

impl<A> InBatch<A> {
    /// Returns the number of datagrams.
    #[must_use]
    pub fn len(&self) -> usize {
        self.segments.len()
    }

    /// Tells whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }
}

impl<A: Aead> InBatch<A> {
    /// Opens every datagram in place: the crypt phase. It may run on any core.
    pub fn open(&mut self) {
        let Some(key) = self.key.as_deref() else { return };
        let mut verified = [false; BATCH_SEGMENTS];
        let mut jobs = heapless::Vec::<OpenJob<'_, A>, BATCH_SEGMENTS>::new();
        for segment in &mut self.segments {
            let buffer = segment.slab.get_mut(TRANSPORT_HEADER_LEN..segment.len).unwrap_or_default();
            let job = OpenJob { key: key.cipher(), counter: segment.counter, buffer, result: Ok(()) };
            let pushed = jobs.push(job);
            debug_assert!(pushed.is_ok(), "as many jobs as segments");
        }
        A::open_batch(&mut jobs);
        for (verified, job) in verified.iter_mut().zip(&jobs) {
            *verified = job.result.is_ok();
        }
        drop(jobs);
        for (segment, verified) in self.segments.iter_mut().zip(verified) {
            segment.authentic = verified;
        }
    }
}
