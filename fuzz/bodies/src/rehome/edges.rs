//! Hosts and sockets on a wire that knows what passes: which session each packet was sealed in, and what became of it there.

use core::cell::RefCell;
use core::net::SocketAddr;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use wg_datapath::Sum;
use wg_datapath::io::{Frame, IoError, RecvSlot, SendReport, SendStatus, Transmit, TunIo, UdpIo};
use wg_datapath::offload::{Checksum, Offload, Segmentation, SegmentationKind};
use wg_proto::Endpoint;

/// Headers of IPv4 and UDP.
const HEADERS: usize = 28;
/// The least that a packet has behind them: its number, and the queue it was sent from.
const LEAST: usize = 5;
/// Bytes before the packet in a message.
const TRANSPORT_HEADER: usize = 16;
/// A message that carries no packet.
const KEEPALIVE: usize = 32;
/// Datagrams in a train, at most.
const TRAIN: usize = 64;

/// What a packet says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) from: u8,
    pub(super) to: u8,
    /// The queue of the host.
    pub(super) queue: u8,
    pub(super) number: u32,
}

impl Mark {
    /// Packets with numbers that follow each other, as one frame, or a packet if there is one; each has `len` bytes behind its headers.
    pub(super) fn frame(self, count: u32, len: usize) -> (Vec<u8>, Offload) {
        let len = len.max(LEAST);
        let mut frame = vec![0; HEADERS];
        for number in self.number..self.number + count {
            let body = [&number.to_be_bytes()[..], &[self.queue]].concat();
            frame.extend(body.into_iter().chain((LEAST..len).map(|_| number.to_be_bytes()[3])));
        }
        let total = u16::try_from(frame.len()).expect("no longer than a packet may be");
        frame[0] = 0x45;
        frame[2..4].copy_from_slice(&total.to_be_bytes());
        (frame[8], frame[9]) = (64, 17);
        frame[12..16].copy_from_slice(&[10, 0, 0, self.from]);
        frame[16..20].copy_from_slice(&[10, 0, 0, self.to]);
        (frame[21], frame[23]) = (self.queue, 9);
        frame[24..26].copy_from_slice(&(total - 20).to_be_bytes());
        if count == 1 {
            return (frame, Offload::default());
        }
        let pseudo = Sum::of(&frame[12..20]) + Sum::of_word(17) + Sum::of_word(total - 20);
        frame[26..28].copy_from_slice(&pseudo.to_be_bytes());
        let segment_size = u16::try_from(len).ok().and_then(|len| len.try_into().ok()).expect("not nothing");
        let segmentation = Segmentation { kind: SegmentationKind::Udp, segment_size, ecn: false };
        (
            frame,
            Offload { checksum: Some(Checksum { start: 20, offset: 6 }), segmentation: Some(segmentation) },
        )
    }

    /// Reads a packet; none if it is not one of ours.
    ///
    /// # Panics
    ///
    /// If it is one, and not as it was.
    pub(super) fn read(packet: &[u8]) -> Option<Self> {
        if packet.get(9) != Some(&17) {
            return None;
        }
        let total = u16::from_be_bytes([packet[2], packet[3]]);
        assert_eq!(usize::from(total), packet.len(), "the length of a packet");
        let (number, rest) = packet[HEADERS..].split_first_chunk().expect("a number");
        let number = u32::from_be_bytes(*number);
        let (&queue, rest) = rest.split_first().expect("a queue");
        assert!(
            rest.iter().all(|byte| *byte == number.to_be_bytes()[3]),
            "another packet is in packet {number}"
        );
        Some(Self { from: packet[15], to: packet[19], queue, number })
    }
}

/// Packets in the order in which they were delivered, on whichever queue.
pub(super) type Delivered = Rc<RefCell<Vec<Mark>>>;

/// A queue of a host.
#[derive(Debug, Default)]
pub(super) struct Host {
    pub(super) outgoing: VecDeque<(Vec<u8>, Offload)>,
    pub(super) delivered: Delivered,
}

impl TunIo for Host {
    fn read(&mut self, _buf: &mut [u8]) -> Result<usize, IoError> {
        unreachable!("frames are read")
    }

    fn read_frame(&mut self, small: &mut [u8], large: &mut [u8]) -> Result<Frame, IoError> {
        let (frame, offload) = self.outgoing.pop_front().ok_or(IoError::WouldBlock)?;
        let buffer = if frame.len() <= small.len() { small } else { large };
        buffer[..frame.len()].copy_from_slice(&frame);
        Ok(Frame { len: frame.len(), offload })
    }

    fn write(&mut self, packet: &[u8]) -> Result<(), IoError> {
        // Errors that the device tells of are no packets.
        self.delivered.borrow_mut().extend(Mark::read(packet));
        Ok(())
    }
}

/// What is on its way, and what happens to it there.
#[derive(Debug, Default)]
pub(super) struct Wire {
    mailboxes: Vec<Mailbox>,
    /// How many of the next datagrams are lost, or come twice.
    pub(super) lose: u32,
    pub(super) double: u32,
    /// Packets that were lost.
    pub(super) lost: u64,
    /// Datagrams besides those that carry packets for the first time.
    pub(super) others: u64,
    /// The session in which each packet of a peer was sealed.
    pub(super) sealed: BTreeMap<(u8, u32), u32>,
}

#[derive(Debug)]
struct Mailbox {
    address: SocketAddr,
    /// Which of how many sockets of the address it is of.
    member: (usize, usize),
    waiting: VecDeque<(SocketAddr, Vec<u8>)>,
}

/// Which of so many sockets the datagrams of a session come to.
pub(super) const fn socket_of(index: u32, sockets: usize) -> usize {
    (index.wrapping_mul(0x9e37_79b1) >> 16) as usize % sockets
}

impl Wire {
    fn carry(&mut self, from: SocketAddr, to: SocketAddr, bytes: &[u8]) {
        let word =
            |at: usize| bytes.get(at..at + 4).map(|word| u32::from_le_bytes(word.try_into().expect("four")));
        let index = match bytes[0] {
            2 => word(8),
            3 | 4 => word(4),
            _ => None,
        };
        let packet = (bytes[0] == 4 && bytes.len() > KEEPALIVE).then(|| &bytes[TRANSPORT_HEADER..]);
        if let (Some(packet), Some(index)) = (packet, index) {
            let number = packet[HEADERS..].first_chunk().map(|number| u32::from_be_bytes(*number));
            let before = self.sealed.insert((packet[15], number.expect("a number")), index);
            assert!(packet[15] == 0 || before.is_none(), "a packet is sealed once");
        } else {
            self.others += 1;
        }
        if self.lose > 0 {
            self.lose -= 1;
            self.lost += u64::from(packet.is_some());
            return;
        }
        let mailbox = self.mailboxes.iter_mut().find(|mailbox| {
            let (member, of) = mailbox.member;
            mailbox.address == to && index.map_or(0, |index| socket_of(index, of)) == member
        });
        let mailbox = mailbox.expect("everybody has a socket");
        mailbox.waiting.push_back((from, bytes.to_vec()));
        if self.double > 0 {
            self.double -= 1;
            self.others += 1;
            mailbox.waiting.push_back((from, bytes.to_vec()));
        }
    }
}

/// A socket on the wire.
#[derive(Debug)]
pub(super) struct Socket {
    wire: Rc<RefCell<Wire>>,
    number: usize,
    address: SocketAddr,
    /// How many more datagrams it takes before it would block.
    pub(super) room: usize,
    /// Equally long datagrams of one sender are received as a train.
    pub(super) trains: bool,
}

impl Socket {
    /// One of several sockets on one address.
    pub(super) fn new(wire: &Rc<RefCell<Wire>>, address: SocketAddr, member: (usize, usize)) -> Self {
        let mailboxes = &mut wire.borrow_mut().mailboxes;
        mailboxes.push(Mailbox { address, member, waiting: VecDeque::new() });
        let number = mailboxes.len() - 1;
        Self { wire: Rc::clone(wire), number, address, room: usize::MAX, trains: false }
    }
}

impl UdpIo for Socket {
    fn recv(&mut self, slots: &mut [RecvSlot]) -> Result<usize, IoError> {
        let mut wire = self.wire.borrow_mut();
        let waiting = &mut wire.mailboxes[self.number].waiting;
        let mut received = 0;
        for slot in slots {
            let Some((from, bytes)) = waiting.pop_front() else { break };
            let size = bytes.len();
            slot.slab[..size].copy_from_slice(&bytes);
            (slot.len, slot.truncated, slot.endpoint) = (size, false, Some(Endpoint::new(from)));
            received += 1;
            for _ in 1..if self.trains { TRAIN } else { 1 } {
                let joins = |(other, next): &(SocketAddr, Vec<u8>)| {
                    *other == from
                        && next.len() <= size
                        && slot.len % size == 0
                        && slot.len + next.len() <= 65_535
                };
                let Some((_, next)) = waiting.pop_front_if(|next| joins(next)) else { break };
                slot.slab[slot.len..slot.len + next.len()].copy_from_slice(&next);
                (slot.len, slot.segment_size) = (slot.len + next.len(), size);
            }
        }
        if received == 0 { Err(IoError::WouldBlock) } else { Ok(received) }
    }

    fn send(&mut self, transmit: &Transmit<'_>) -> SendReport {
        for (sent, segment) in transmit.segments.iter().enumerate() {
            if self.room == 0 {
                return SendReport { sent, status: SendStatus::WouldBlock };
            }
            self.room -= 1;
            let bytes = &transmit.buffer[segment.offset as usize..][..segment.len as usize];
            self.wire.borrow_mut().carry(self.address, transmit.endpoint.remote, bytes);
        }
        SendReport { sent: transmit.segments.len(), status: SendStatus::Done }
    }
}
