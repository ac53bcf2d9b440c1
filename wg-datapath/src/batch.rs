//! The unit of work: packets of one peer in one direction, in slabs, under one key handle and one range of counters.
//!
//! ```text
//!   begin (home core)           crypt (any core)        commit (home core, in the order of begin)
//!   route, reserve counters --> Batch::crypt: seal -->  send
//!   look up, check counter  --> Batch::crypt: open -->  window, endpoint, timers, source, deliver
//! ```

use alloc::boxed::Box;
use alloc::sync::Arc;

use wg_aead::Sum;
use wg_proto::wire::{TRANSPORT_HEADER_LEN, TRANSPORT_OVERHEAD};
use wg_proto::{Endpoint, RecvKey, SendKey, SessionIndex};
use wg_sched::Span;

use crate::batch_aead::{BatchAead, OpenSegment, SealSegment};
use crate::copies::Copies;
use crate::frame::OutFrame;
use crate::home::HomeId;
use crate::io::Segment;
use crate::ip;
use crate::offload::Checksum;
use crate::padding::padded_len;
use crate::peer_table::PeerId;
use crate::slab::Slab;

/// The most packets of a batch.
pub const BATCH_SEGMENTS: usize = 128;
/// The bytes of messages that a batch carries as a rule: the longest, or as many as leave together (`UDP_SEGMENT`).
const BATCH_BYTES: usize = 65_536 + TRANSPORT_OVERHEAD;
/// The most trains of a batch.
const TRAINS: usize = 64;
/// Packets given to the cipher by one call: their jobs are on the stack.
pub(crate) const CRYPT_SEGMENTS: usize = 64;

/// A batch of either direction: what a strategy moves.
#[derive(Debug)]
pub enum Batch<A> {
    /// Packets to be sealed and sent.
    Out(Box<OutBatch<A>>),
    /// Datagrams to be opened and delivered.
    In(Box<InBatch<A>>),
}

impl<A> Batch<A> {
    /// Returns the number of packets.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Out(batch) => batch.len(),
            Self::In(batch) => batch.len(),
        }
    }

    /// Tells whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the bytes of the messages.
    #[must_use]
    pub fn bytes(&self) -> u32 {
        match self {
            Self::Out(batch) => batch.segments.iter().map(|segment| segment.len).sum(),
            Self::In(batch) => batch.segments.iter().map(|segment| segment.len).sum(),
        }
    }

    /// Returns the peer they come from or go to.
    #[must_use]
    pub fn peer(&self) -> Option<PeerId> {
        match self {
            Self::Out(batch) => batch.peer,
            Self::In(batch) => batch.peer,
        }
    }
}

impl<A: BatchAead> Batch<A> {
    /// Does the crypt phase of batches, together, so that small ones share the lanes of the cipher. It may run on any core.
    pub fn crypt(batches: &mut [Self]) {
        let mut sealing = Crypt::<SealSegment<'_, A>, &mut bool>::default();
        let mut opening = Crypt::<OpenSegment<'_, A>, (&mut bool, &mut Sum)>::default();
        for batch in batches {
            match batch {
                Self::Out(batch) => batch.jobs().for_each(|(job, verdict)| sealing.add(job, verdict)),
                Self::In(batch) => batch.jobs().for_each(|(job, verdict)| opening.add(job, verdict)),
            }
        }
        sealing.run();
        opening.run();
    }
}

/// Jobs of one kind, collected until they are enough for one call of the cipher, and where their results go.
struct Crypt<J, V> {
    jobs: heapless::Vec<J, CRYPT_SEGMENTS>,
    verdicts: heapless::Vec<V, CRYPT_SEGMENTS>,
}

impl<J, V> Default for Crypt<J, V> {
    fn default() -> Self {
        Self { jobs: heapless::Vec::new(), verdicts: heapless::Vec::new() }
    }
}

/// A job that a call of the cipher does together with others.
trait Job<V>: Sized {
    fn run(jobs: &mut [Self]);
    fn conclude(&self, verdict: V);
}

impl<A: BatchAead> Job<&mut bool> for SealSegment<'_, A> {
    fn run(jobs: &mut [Self]) {
        A::seal_segments(jobs);
    }

    fn conclude(&self, sealed: &mut bool) {
        *sealed = self.result.is_ok();
    }
}

impl<A: BatchAead> Job<(&mut bool, &mut Sum)> for OpenSegment<'_, A> {
    fn run(jobs: &mut [Self]) {
        A::open_segments(jobs);
    }

    fn conclude(&self, (authentic, sum): (&mut bool, &mut Sum)) {
        (*authentic, *sum) = (self.result.is_ok(), self.sum);
    }
}

impl<V, J: Job<V>> Crypt<J, V> {
    fn add(&mut self, job: J, verdict: V) {
        if self.jobs.is_full() {
            self.run();
        }
        let added = self.jobs.push(job).is_ok() && self.verdicts.push(verdict).is_ok();
        debug_assert!(added, "there is room after a run");
    }

    fn run(&mut self) {
        if self.jobs.is_empty() {
            return;
        }
        J::run(&mut self.jobs);
        // From the last to the first; the order is of no matter.
        while let (Some(job), Some(verdict)) = (self.jobs.pop(), self.verdicts.pop()) {
            job.conclude(verdict);
        }
    }
}

/// Where a packet of an [`OutBatch`] is before it is sealed.
#[derive(Clone, Copy, Debug)]
struct Source {
    /// Its frame, by number in the batch; [`IN_PLACE`] if it stands where its message will be.
    frame: u16,
    /// Its number in the frame.
    at: u16,
    /// Its length without padding.
    len: u32,
    /// The TOS byte of the outer header.
    tos: u8,
    /// Its message is sealed.
    sealed: bool,
}

const IN_PLACE: u16 = u16::MAX;

/// Packets of one peer on their way out: the frames they come from, and the slab that their messages are sealed into, one
/// behind the other as the socket takes them.
///
/// ```text
///   frame:   | headers | payload 0 | payload 1 | ..
///                        |           `-----------------------------------.
///   slab:    | 16 | headers 0, payload 0, padding | tag | 16 | headers 1, payload 1, padding | tag | ..
/// ```
#[derive(Debug)]
pub struct OutBatch<A> {
    pub(crate) slab: Slab,
    pub(crate) frames: heapless::Vec<OutFrame, BATCH_SEGMENTS>,
    /// The messages, header and tag included.
    pub(crate) segments: heapless::Vec<Segment, BATCH_SEGMENTS>,
    sources: heapless::Vec<Source, BATCH_SEGMENTS>,
    pub(crate) peer: Option<PeerId>,
    pub(crate) key: Option<Arc<SendKey<A>>>,
    pub(crate) first_counter: u64,
    /// How many the socket has taken or refused.
    pub(crate) sent: usize,
    /// The bytes of messages that it carries at most, but for the first, which may be longer; see `burst`.
    pub(crate) cap: usize,
}

impl<A> Default for OutBatch<A> {
    fn default() -> Self {
        Self {
            slab: Slab::default(),
            frames: heapless::Vec::new(),
            segments: heapless::Vec::new(),
            sources: heapless::Vec::new(),
            peer: None,
            key: None,
            first_counter: 0,
            sent: 0,
            cap: usize::MAX,
        }
    }
}

impl<A> OutBatch<A> {
    /// Where the next message starts.
    fn end(&self) -> usize {
        self.segments.last().map_or(0, |last| last.offset as usize + last.len as usize)
    }

    /// Lays out a message for a packet, if it still fits into so many bytes.
    fn lay_out(&mut self, source: Source, mtu: usize, most: usize) -> bool {
        let (start, len) = (self.end(), source.len as usize);
        let message = padded_len(len, mtu) + TRANSPORT_OVERHEAD;
        if !self.has_room(start, message, most) {
            return false;
        }
        let (Ok(offset), Ok(message)) = (u32::try_from(start), u32::try_from(message)) else { return false };
        self.segments.push(Segment { offset, len: message }).is_ok() && self.sources.push(source).is_ok()
    }

    /// Tells whether one more message has room. The first one may be longer than the cap.
    fn has_room(&self, start: usize, message: usize, most: usize) -> bool {
        let end = start + message;
        end <= self.slab.len().min(most) && (end <= self.cap || start == 0) && !self.sources.is_full()
    }

    /// Tells whether the next packet of a frame fits.
    pub(crate) fn fits(&self, frame: &OutFrame, mtu: usize) -> bool {
        let message = padded_len(frame.segmenter().packet_len(frame.next()), mtu) + TRANSPORT_OVERHEAD;
        self.has_room(self.end(), message, BATCH_BYTES) && !self.frames.is_full()
    }

    /// Takes as many packets of a frame as fit and tells how many that were. The frame itself is to be given to
    /// [`Self::keep`], also if it has more.
    pub(crate) fn take(&mut self, frame: &mut OutFrame, mtu: usize) -> usize {
        self.take_into(frame, mtu, BATCH_BYTES)
    }

    /// Takes what is left of a frame as well, if the slab holds all of it: it is sealed together with the rest then, and leaves by the
    /// same call.
    pub(crate) fn take_rest(&mut self, frame: &mut OutFrame, mtu: usize) {
        let left = frame.next()..frame.segmenter().count();
        let message = |at| padded_len(frame.segmenter().packet_len(at), mtu) + TRANSPORT_OVERHEAD;
        if self.segments.len() + left.len() <= BATCH_SEGMENTS
            && self.end() + left.map(message).sum::<usize>() <= self.slab.len().min(self.cap)
        {
            self.take_into(frame, mtu, usize::MAX);
        }
    }

    fn take_into(&mut self, frame: &mut OutFrame, mtu: usize, most: usize) -> usize {
        let Ok(number) = u16::try_from(self.frames.len()) else { return 0 };
        let tos = frame.tos();
        let mut taken = 0;
        for at in frame.next()..frame.segmenter().count() {
            let (Ok(at), Ok(len)) = (u16::try_from(at), u32::try_from(frame.segmenter().packet_len(at)))
            else {
                break;
            };
            if !self.lay_out(Source { frame: number, at, len, tos, sealed: false }, mtu, most) {
                break;
            }
            taken += 1;
        }
        frame.advance(taken);
        taken
    }

    /// Keeps the frame whose packets were taken last.
    pub(crate) fn keep(&mut self, frame: OutFrame) {
        let kept = self.frames.push(frame);
        debug_assert!(kept.is_ok(), "no more frames than packets");
    }

    /// Copies a packet to where it will be sealed.
    pub(crate) fn push(&mut self, packet: &[u8], mtu: usize) -> bool {
        let Ok(len) = u32::try_from(packet.len()) else { return false };
        let start = self.end() + TRANSPORT_HEADER_LEN;
        let tos = ip::ecn(packet).outer().bits();
        let source = Source { frame: IN_PLACE, at: 0, len, tos, sealed: false };
        if !self.lay_out(source, mtu, BATCH_BYTES) {
            return false;
        }
        let Some(room) = self.slab.get_mut(start..start + packet.len()) else { return false };
        room.copy_from_slice(packet);
        true
    }

    /// Puts every packet to where it will be sealed, with its checksum, so that [`Self::packets`] has them.
    pub(crate) fn gather(&mut self) {
        for (segment, source) in self.segments.iter().zip(&mut self.sources) {
            let Some(frame) = self.frames.get(usize::from(source.frame)) else { continue };
            let (at, len) = (usize::from(source.at), source.len as usize);
            let start = segment.offset as usize + TRANSPORT_HEADER_LEN;
            let Some(packet) = self.slab.get_mut(start..start + len) else { continue };
            let head = frame.segmenter().header_len();
            if frame.segmenter().write_header(frame.bytes(), at, packet)
                && let Some(body) = packet.get_mut(head..)
            {
                body.copy_from_slice(frame.payload(at));
            }
            if let Some(Checksum { start, offset }) = frame.segmenter().checksum() {
                let sum = packet.get(start..).map(Sum::of).unwrap_or_default();
                if let Some(field) = packet.get_mut(start + offset..start + offset + 2) {
                    field.copy_from_slice(&sum.checksum());
                }
            }
            source.frame = IN_PLACE;
        }
    }

    /// The packets that stand where they will be sealed; see [`Self::gather`].
    pub(crate) fn packets(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        self.segments.iter().zip(&self.sources).filter_map(|(segment, source)| {
            let start = segment.offset as usize + TRANSPORT_HEADER_LEN;
            self.slab.get(start..start + source.len as usize)
        })
    }

    /// The messages that the socket has not taken and that are to leave with the same TOS byte, and that byte.
    pub(crate) fn unsent(&self) -> Option<(&[Segment], u8)> {
        let tos = self.sources.get(self.sent)?.tos;
        let alike = self.sources.get(self.sent..)?.iter().take_while(|source| source.tos == tos).count();
        Some((self.segments.get(self.sent..self.sent + alike)?, tos))
    }

    /// Leaves out the first packet that could not be sealed and all behind it, and tells how many those are.
    pub(crate) fn drop_failed(&mut self) -> usize {
        let sealed = self.sources.iter().take_while(|source| source.sealed).count();
        let failed = self.sources.len() - sealed;
        self.segments.truncate(sealed);
        self.sources.truncate(sealed);
        failed
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

    /// Empties the batch for another use; its slabs go to `put`.
    pub(crate) fn recycle(&mut self, mut put: impl FnMut(Slab)) {
        put(core::mem::take(&mut self.slab));
        while let Some(frame) = self.frames.pop() {
            put(frame.into_slab());
        }
        self.segments.clear();
        self.sources.clear();
        (self.peer, self.key, self.first_counter, self.sent, self.cap) = (None, None, 0, 0, usize::MAX);
    }
}

impl<A: BatchAead> OutBatch<A> {
    /// What the cipher is to do for each packet, and where the result goes. One that cannot be sealed has no room, and fails.
    fn jobs(&mut self) -> impl Iterator<Item = (SealSegment<'_, A>, &mut bool)> {
        // Messages stand one behind the other.
        let mut slab = Cursor::new(&mut self.slab);
        let (key, frames) = (self.key.as_deref(), &self.frames);
        let packets = self.segments.iter().zip(&mut self.sources).zip(self.first_counter..);
        packets.filter_map(move |((segment, source), counter)| {
            let key = key?;
            let message = slab.take(segment.offset as usize, segment.len as usize);
            let mut out =
                message.and_then(|message| key.begin_seal(counter, message).ok()).unwrap_or_default();
            let (mut head_len, mut body, mut checksum) = (source.len as usize, &[][..], None);
            if let Some(frame) = frames.get(usize::from(source.frame)) {
                let (segmenter, number) = (frame.segmenter(), usize::from(source.at));
                (head_len, body) = (segmenter.header_len(), frame.payload(number));
                checksum = segmenter.checksum();
                if !segmenter.write_header(frame.bytes(), number, out) {
                    out = Default::default();
                }
                (head_len, body) = Copies::BUILT.gather(out, head_len, body);
            }
            let key = key.cipher();
            let job = SealSegment { key, counter, out, head_len, body, checksum, result: Ok(()) };
            Some((job, &mut source.sealed))
        })
    }
}

/// A slab whose parts are taken from front to back.
struct Cursor<'a> {
    rest: &'a mut [u8],
    /// Where that begins.
    at: usize,
}

impl<'a> Cursor<'a> {
    const fn new(slab: &'a mut [u8]) -> Self {
        Self { rest: slab, at: 0 }
    }

    /// Takes a part by its offset in the whole. Once one lies before what was taken, or ends behind the slab, there is no more.
    fn take(&mut self, start: usize, len: usize) -> Option<&'a mut [u8]> {
        let rest = core::mem::take(&mut self.rest);
        let (_, from) = rest.split_at_mut_checked(start.wrapping_sub(self.at))?;
        let (part, rest) = from.split_at_mut_checked(len)?;
        (self.rest, self.at) = (rest, start + len);
        Some(part)
    }
}

/// Datagrams that one receive call found in one place: equally long ones of one sender, or a single one.
#[derive(Debug)]
pub(crate) struct Train {
    pub(crate) slab: Slab,
    pub(crate) endpoint: Endpoint,
    /// The ECN bits of the outer headers.
    pub(crate) ecn: u8,
}

/// One received datagram of a batch.
#[derive(Debug)]
pub(crate) struct InSegment {
    /// The train it is in, by number in the batch.
    pub(crate) train: u16,
    /// Where it starts there.
    pub(crate) offset: u32,
    pub(crate) len: u32,
    pub(crate) counter: u64,
    /// Whether its tag verified.
    pub(crate) authentic: bool,
    /// The sum of the packet and its padding, if it did.
    pub(crate) sum: Sum,
    /// The length of the packet, if it is to be delivered.
    pub(crate) packet_len: Option<usize>,
}

impl InSegment {
    /// What was sealed, once it is open: a packet and its padding, or nothing.
    pub(crate) fn content<'s>(&self, slab: &'s [u8]) -> &'s [u8] {
        let start = self.offset as usize + TRANSPORT_HEADER_LEN;
        let len = (self.len as usize).saturating_sub(TRANSPORT_OVERHEAD);
        slab.get(start..start + len).unwrap_or_default()
    }

    /// Tells the receiver of the congestion that the outer header tells of (C98), and keeps the sum right.
    pub(crate) fn mark_ce(&mut self, slab: &mut [u8]) {
        // The fields that change, and the checksum of IPv4.
        const CHANGED: usize = 12;
        let start = self.offset as usize + TRANSPORT_HEADER_LEN;
        let len = self.content(slab).len();
        let Some(content) = slab.get_mut(start..start + len) else { return };
        let sum = |content: &[u8]| content.get(..CHANGED).map(Sum::of).unwrap_or_default();
        let before = sum(content);
        if ip::mark_ce(content) {
            self.sum = self.sum - before + sum(content);
        }
    }

    /// The packet, if it is to be delivered.
    pub(crate) fn packet<'s>(&self, slab: &'s [u8]) -> Option<&'s [u8]> {
        self.content(slab).get(..self.packet_len?)
    }
}

/// Datagrams of one keypair on their way in, in the order they came.
#[derive(Debug)]
pub struct InBatch<A> {
    pub(crate) trains: heapless::Vec<Train, TRAINS>,
    pub(crate) segments: heapless::Vec<InSegment, BATCH_SEGMENTS>,
    pub(crate) peer: Option<PeerId>,
    pub(crate) index: SessionIndex,
    pub(crate) key: Option<Arc<RecvKey<A>>>,
    /// Where it is committed, and which lane received it. Differ only where counters are split.
    pub(crate) home: HomeId,
    pub(crate) from: HomeId,
    /// Rises with each keypair of the peer; of use only where counters are split.
    pub(crate) keypair: u64,
}

impl<A> Default for InBatch<A> {
    fn default() -> Self {
        Self {
            trains: heapless::Vec::new(),
            segments: heapless::Vec::new(),
            peer: None,
            index: SessionIndex::new(0),
            key: None,
            home: HomeId::default(),
            from: HomeId::default(),
            keypair: 0,
        }
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

    /// Tells whether so many more datagrams fit.
    pub(crate) fn has_room(&self, datagrams: usize) -> bool {
        self.segments.len() + datagrams <= BATCH_SEGMENTS && !self.trains.is_full()
    }

    /// Tells whether no other lane may have a counter between the last one here and this: they are of one block, see `Steering` of
    /// `wg-sys-linux`, or one follows the other.
    pub(crate) fn is_followed_by(&self, counter: u64) -> bool {
        const BLOCK: u32 = 6;
        self.segments.last().is_none_or(|last| {
            last.counter >> BLOCK == counter >> BLOCK || last.counter.checked_add(1) == Some(counter)
        })
    }

    /// Leaves out what is not authentic, and tells how many datagrams that was.
    pub(crate) fn drop_forged(&mut self) -> usize {
        let all = self.segments.len();
        self.segments.retain(|segment| segment.authentic);
        all - self.segments.len()
    }

    /// Its place among the batches of its peer.
    pub(crate) fn span(&self) -> Option<Span> {
        let counters = || self.segments.iter().map(|segment| segment.counter);
        Some(Span { keypair: self.keypair, first: counters().min()?, last: counters().max()? })
    }

    /// Takes in a train and returns its number.
    pub(crate) fn board(&mut self, train: Train) -> Option<u16> {
        let number = u16::try_from(self.trains.len()).ok()?;
        self.trains.push(train).ok().map(|()| number)
    }

    /// Takes in a datagram of a train. Those of one train come in order, and one train behind the other.
    pub(crate) fn seat(&mut self, train: u16, offset: usize, len: usize, counter: u64) -> bool {
        let (Ok(offset), Ok(len)) = (u32::try_from(offset), u32::try_from(len)) else { return false };
        let (authentic, sum, packet_len) = (false, Sum::default(), None);
        let segment = InSegment { train, offset, len, counter, authentic, sum, packet_len };
        self.segments.push(segment).is_ok()
    }

    /// Empties the batch for another use; its slabs go to `put`.
    pub(crate) fn recycle(&mut self, mut put: impl FnMut(Slab)) {
        while let Some(train) = self.trains.pop() {
            put(train.slab);
        }
        self.segments.clear();
        (self.peer, self.key) = (None, None);
    }
}

impl<A: BatchAead> InBatch<A> {
    /// What the cipher is to do for each datagram, and where the results go. One that is not where it should be has no tag, and
    /// fails.
    fn jobs(&mut self) -> impl Iterator<Item = (OpenSegment<'_, A>, (&mut bool, &mut Sum))> {
        let key = self.key.as_deref();
        let mut trains = self.trains.iter_mut().zip(0_u16..);
        // Datagrams of a train stand one behind the other.
        let (mut slab, mut current) = (Cursor::new(&mut []), None);
        self.segments.iter_mut().filter_map(move |segment| {
            let key = key?.cipher();
            while current != Some(segment.train) {
                let Some((train, number)) = trains.next() else { break };
                (slab, current) = (Cursor::new(&mut train.slab), Some(number));
            }
            let message = slab.take(segment.offset as usize, segment.len as usize);
            let buffer =
                message.and_then(|message| message.get_mut(TRANSPORT_HEADER_LEN..)).unwrap_or_default();
            let counter = segment.counter;
            let job = OpenSegment { key, counter, buffer, sum: Sum::default(), result: Ok(()) };
            Some((job, (&mut segment.authentic, &mut segment.sum)))
        })
    }
}
