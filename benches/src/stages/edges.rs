//! The edges in memory: a TUN device that has frames, a socket that has trains, and a wire between them.
//!
//! What the kernel does once for each byte that comes in, a copy, the TUN device does as well: a frame has to get into the
//! buffer of the lane. Nothing else is copied while time is taken: a datagram that was received is in a buffer that changes
//! hands, what is sent is counted, and so is what is written.

use core::cell::RefCell;
use core::net::SocketAddr;
use std::collections::VecDeque;
use std::rc::Rc;

use wg_datapath::io::{Frame, IoError, RecvSlot, Segment, SendReport, SendStatus, Transmit, TunIo, UdpIo};
use wg_datapath::offload::{Checksum, Offload, SegmentationKind, TunOffloads};
use wg_datapath::proto::{Endpoint, Source};
use wg_datapath::slab::{Slab, SlabClass, SlabPool};

use super::clock::{Clock, Stage};

/// Datagrams of a train, and its bytes, at most: what the kernel's `UDP_SEGMENT` takes.
const TRAIN: usize = 64;
const TRAIN_BYTES: usize = 65_507;
/// Trains under way at once, at most.
const SLABS: usize = 512;

/// A TUN device whose host sends the same frames again and again.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) frames: Rc<Vec<(Vec<u8>, Offload)>>,
    /// The next to be read.
    pub(super) next: usize,
    pub(super) offloads: TunOffloads,
    /// Packets that were written, and their bytes.
    pub(super) packets: usize,
    pub(super) bytes: usize,
    /// Writes.
    pub(super) writes: usize,
    clock: Clock,
}

impl Host {
    pub(super) fn new(clock: Clock) -> Self {
        Self {
            frames: Rc::default(),
            next: 0,
            offloads: TunOffloads::default(),
            packets: 0,
            bytes: 0,
            writes: 0,
            clock,
        }
    }
}

impl TunIo for Host {
    fn read(&mut self, buf: &mut [u8]) -> Result<usize, IoError> {
        self.read_frame(&mut [], buf).map(|frame| frame.len)
    }

    fn write(&mut self, packet: &[u8]) -> Result<(), IoError> {
        self.packets += 1;
        self.bytes += packet.len();
        self.writes += 1;
        Ok(())
    }

    fn read_frame(&mut self, small: &mut [u8], large: &mut [u8]) -> Result<Frame, IoError> {
        let Some((frame, offload)) = self.frames.get(self.next) else {
            self.clock.end(Stage::Read);
            return Err(IoError::WouldBlock);
        };
        self.next += 1;
        let len = frame.len();
        let buffer = if len <= small.len() { small } else { large };
        buffer[..len].copy_from_slice(frame);
        Ok(Frame { len, offload: *offload })
    }

    fn write_frame(&mut self, frame: &[u8], offload: Offload) -> Result<(), IoError> {
        let (Some(Checksum { start, .. }), Some(segmentation)) = (offload.checksum, offload.segmentation)
        else {
            return self.write(frame);
        };
        let header = match segmentation.kind {
            SegmentationKind::Udp => start + 8,
            _ => start + usize::from(frame[start + 12] >> 4) * 4,
        };
        let payload = frame.len() - header;
        let packets = payload.div_ceil(segmentation.segment_size.get().into());
        self.packets += packets;
        self.bytes += payload + packets * header;
        self.writes += 1;
        Ok(())
    }

    fn offloads(&self) -> TunOffloads {
        // What delivers a batch asks for this first, and only then.
        self.clock.end(Stage::Commit);
        self.offloads
    }
}

/// How datagrams arrive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Arrival {
    /// Those of one length behind each other, by `UDP_GRO`.
    #[default]
    Trains,
    /// One by one.
    Singly,
}

/// What came out of a socket: a datagram, or a train of them.
#[derive(Debug)]
struct Train {
    slab: Slab,
    len: usize,
    segment_size: usize,
    from: SocketAddr,
}

/// What connects the sockets.
#[derive(Debug)]
pub(super) struct Wire {
    mailboxes: Vec<(SocketAddr, VecDeque<Train>)>,
    idle: Vec<Slab>,
    pub(super) arrival: Arrival,
}

impl Wire {
    pub(super) fn new() -> Rc<RefCell<Self>> {
        let mut slabs = SlabPool::new(0, SLABS);
        let idle = core::iter::from_fn(|| slabs.take(SlabClass::Large)).collect();
        Rc::new(RefCell::new(Self { mailboxes: Vec::new(), idle, arrival: Arrival::default() }))
    }

    fn put(&mut self, from: SocketAddr, to: SocketAddr, bytes: &[u8], segment_size: usize) {
        let Some((_, mailbox)) = self.mailboxes.iter_mut().find(|(address, _)| *address == to) else {
            return;
        };
        let mut slab = self.idle.pop().expect("no more trains than slabs");
        slab[..bytes.len()].copy_from_slice(bytes);
        mailbox.push_back(Train { slab, len: bytes.len(), segment_size, from });
    }
}

/// A socket.
#[derive(Debug)]
pub(super) struct Socket {
    wire: Rc<RefCell<Wire>>,
    mailbox: usize,
    address: SocketAddr,
    /// What is sent is counted, and goes nowhere.
    pub(super) is_sink: bool,
    /// Datagrams that were sent, and their bytes.
    pub(super) datagrams: usize,
    pub(super) bytes: usize,
    clock: Clock,
}

impl Socket {
    pub(super) fn new(wire: &Rc<RefCell<Wire>>, address: SocketAddr, clock: Clock) -> Self {
        let mut state = wire.borrow_mut();
        state.mailboxes.push((address, VecDeque::with_capacity(SLABS)));
        let mailbox = state.mailboxes.len() - 1;
        Self { wire: Rc::clone(wire), mailbox, address, is_sink: false, datagrams: 0, bytes: 0, clock }
    }
}

impl UdpIo for Socket {
    fn recv(&mut self, slots: &mut [RecvSlot]) -> Result<usize, IoError> {
        let wire = &mut *self.wire.borrow_mut();
        let (_, mailbox) = &mut wire.mailboxes[self.mailbox];
        let mut received = 0;
        for slot in slots {
            let Some(mut train) = mailbox.pop_front() else { break };
            core::mem::swap(&mut slot.slab, &mut train.slab);
            wire.idle.push(train.slab);
            (slot.len, slot.segment_size, slot.truncated, slot.ecn) =
                (train.len, train.segment_size, false, 0);
            let source = Source { addr: self.address.ip(), interface: 1 };
            slot.endpoint = Some(Endpoint { remote: train.from, source: Some(source) });
            received += 1;
        }
        if received == 0 {
            self.clock.end(Stage::Turn);
            return Err(IoError::WouldBlock);
        }
        Ok(received)
    }

    fn send(&mut self, transmit: &Transmit<'_>) -> SendReport {
        let segments = transmit.segments;
        self.datagrams += segments.len();
        self.bytes += segments.iter().map(|segment| segment.len as usize).sum::<usize>();
        if !self.is_sink {
            let mut wire = self.wire.borrow_mut();
            let mut rest = segments;
            while let Some(first) = rest.first() {
                let count = if wire.arrival == Arrival::Trains { train(rest) } else { 1 };
                let (run, behind) = rest.split_at(count);
                let (start, size) = (first.offset as usize, first.len as usize);
                let end = run.last().map_or(start, |last| (last.offset + last.len) as usize);
                let bytes = &transmit.buffer[start..end];
                wire.put(self.address, transmit.endpoint.remote, bytes, if count > 1 { size } else { 0 });
                rest = behind;
            }
        }
        SendReport { sent: segments.len(), status: SendStatus::Done }
    }
}

/// How many of the first datagrams make one train: of one length, but for the last, which may be shorter.
fn train(segments: &[Segment]) -> usize {
    let Some(first) = segments.first() else { return 0 };
    let mut count = 1;
    let mut bytes = first.len as usize;
    for segment in &segments[1..] {
        let len = segment.len as usize;
        if count == TRAIN || segment.len > first.len || bytes + len > TRAIN_BYTES {
            break;
        }
        (count, bytes) = (count + 1, bytes + len);
        if segment.len < first.len {
            break;
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_train_ends_with_a_shorter_one_and_before_a_longer_one() {
        let segments = |lens: &[u32]| {
            let mut offset = 0;
            let segment = |&len: &u32| {
                offset += len;
                Segment { offset: offset - len, len }
            };
            lens.iter().map(segment).collect::<Vec<_>>()
        };
        assert_eq!(train(&[]), 0);
        assert_eq!(train(&segments(&[96, 96, 48, 96])), 3);
        assert_eq!(train(&segments(&[96, 96, 97])), 2);
        assert_eq!(train(&segments(&[96; 100])), 64);
        assert_eq!(train(&segments(&[1452; 50])), 45);
    }
}
