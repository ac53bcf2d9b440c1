//! The edges in memory: a TUN device of two queues, and sockets on a network of mailboxes. For tests, of this crate and of
//! programs built on it.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::net::SocketAddr;

use wg_proto::{Endpoint, Source};

use crate::Sum;
use crate::io::{Frame, IoError, RecvSlot, SendReport, SendStatus, Transmit, TunIo, UdpIo};
use crate::offload::{Checksum, Offload, TunOffloads};
use crate::segment::Segmenter;

/// What the kernel says of a frame it cannot split.
const EINVAL: i32 = 22;
/// Datagrams in a train, at most.
const TRAIN: usize = 64;

/// A TUN device: what the host sends, and what it was given.
#[derive(Debug, Default)]
pub struct MemoryTun {
    /// Packets of the host, to be read by the lane.
    pub outgoing: VecDeque<Vec<u8>>,
    /// Frames of the host, to be read before those.
    pub frames: VecDeque<(Vec<u8>, Offload)>,
    /// Packets the lane delivered, in order; those of frames are split as the kernel would.
    pub delivered: Vec<Vec<u8>>,
    /// The frames that may be written.
    pub offloads: TunOffloads,
    /// How many frames were.
    pub frames_written: usize,
}

impl MemoryTun {
    /// Tells whether the host has something, as a poller would.
    #[must_use]
    pub fn is_readable(&self) -> bool {
        !self.outgoing.is_empty() || !self.frames.is_empty()
    }

    /// Splits a frame as the kernel would, and completes the checksums.
    fn split(&mut self, frame: &[u8], offload: Offload) -> Option<()> {
        let split = Segmenter::new(frame, &offload).ok()?;
        for at in 0..split.count() {
            let mut packet = alloc::vec![0; split.header_len()];
            if !split.write_header(frame, at, &mut packet) {
                return None;
            }
            packet.extend(&frame[split.payload(at)]);
            if let Some(Checksum { start, offset }) = split.checksum() {
                let checksum = Sum::of(&packet[start..]).checksum();
                packet[start + offset..start + offset + 2].copy_from_slice(&checksum);
            }
            self.delivered.push(packet);
        }
        Some(())
    }
}

impl TunIo for MemoryTun {
    fn is_told_by_level(&self) -> bool {
        true
    }

    fn read_frame(&mut self, small: &mut [u8], large: &mut [u8]) -> Result<Frame, IoError> {
        let Some((frame, offload)) = self.frames.pop_front() else {
            let len = self.read(large)?;
            if len <= small.len() {
                small[..len].copy_from_slice(&large[..len]);
            }
            return Ok(Frame { len, offload: Offload::default() });
        };
        let buffer = if frame.len() <= small.len() { small } else { large };
        let len = frame.len().min(buffer.len());
        buffer[..len].copy_from_slice(&frame[..len]);
        Ok(Frame { len, offload })
    }

    fn write_frame(&mut self, frame: &[u8], offload: Offload) -> Result<(), IoError> {
        self.frames_written += 1;
        self.split(frame, offload).ok_or(IoError::Transient(EINVAL))
    }

    fn offloads(&self) -> TunOffloads {
        self.offloads
    }

    fn read(&mut self, buf: &mut [u8]) -> Result<usize, IoError> {
        let packet = self.outgoing.pop_front().ok_or(IoError::WouldBlock)?;
        let len = packet.len().min(buf.len());
        buf[..len].copy_from_slice(&packet[..len]);
        Ok(len)
    }

    fn write(&mut self, packet: &[u8]) -> Result<(), IoError> {
        self.delivered.push(packet.to_vec());
        Ok(())
    }
}

/// A datagram under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// Where it was sent from.
    pub from: SocketAddr,
    /// Where it was sent to.
    pub to: SocketAddr,
    /// The TOS byte.
    pub tos: u8,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// A network: a mailbox for each address, and a record of everything sent.
#[derive(Clone, Debug, Default)]
pub struct MemoryNetwork {
    state: Rc<RefCell<NetworkState>>,
}

#[derive(Debug, Default)]
struct NetworkState {
    mailboxes: BTreeMap<SocketAddr, VecDeque<Datagram>>,
    record: Vec<Datagram>,
    /// Datagrams that are lost instead of delivered.
    cut: bool,
}

impl MemoryNetwork {
    /// Makes a socket at an address.
    #[must_use]
    pub fn socket(&self, address: SocketAddr) -> MemoryUdp {
        self.state.borrow_mut().mailboxes.entry(address).or_default();
        MemoryUdp {
            network: self.clone(),
            address,
            capacity: usize::MAX,
            refuse: None,
            trains: false,
            drained: false,
        }
    }

    /// Puts a datagram into the mailbox it is addressed to, as an attacker might.
    pub fn inject(&self, datagram: Datagram) {
        if let Some(mailbox) = self.state.borrow_mut().mailboxes.get_mut(&datagram.to) {
            mailbox.push_back(datagram);
        }
    }

    /// Cuts the network, or mends it.
    pub fn cut(&self, cut: bool) {
        self.state.borrow_mut().cut = cut;
    }

    /// Returns everything that was sent since the last call, lost or not.
    #[must_use]
    pub fn take_record(&self) -> Vec<Datagram> {
        core::mem::take(&mut self.state.borrow_mut().record)
    }
}

/// A socket of a [`MemoryNetwork`].
#[derive(Debug)]
pub struct MemoryUdp {
    network: MemoryNetwork,
    /// Where it is; it may be moved.
    pub address: SocketAddr,
    /// How many more datagrams it takes before it would block.
    pub capacity: usize,
    /// Refuses the next datagram with this error number.
    pub refuse: Option<i32>,
    /// Equally long datagrams of one sender are received as a train.
    pub trains: bool,
    drained: bool,
}

impl UdpIo for MemoryUdp {
    fn recv(&mut self, slots: &mut [RecvSlot]) -> Result<usize, IoError> {
        let mut state = self.network.state.borrow_mut();
        let mailbox = state.mailboxes.entry(self.address).or_default();
        let (mut received, most) = (0, slots.len());
        for slot in slots {
            let Some(datagram) = mailbox.pop_front() else { break };
            slot.len = datagram.bytes.len().min(slot.slab.len());
            slot.truncated = datagram.bytes.len() > slot.slab.len();
            slot.slab[..slot.len].copy_from_slice(&datagram.bytes[..slot.len]);
            slot.ecn = datagram.tos & 3;
            let source = Source { addr: datagram.to.ip(), interface: 1 };
            slot.endpoint = Some(Endpoint { remote: datagram.from, source: Some(source) });
            received += 1;
            if !self.trains || slot.truncated {
                continue;
            }
            let size = slot.len;
            for _ in 1..TRAIN {
                let joins = |next: &Datagram| {
                    (next.from, next.tos) == (datagram.from, datagram.tos)
                        && !next.bytes.is_empty()
                        && next.bytes.len() <= size
                        && slot.len % size == 0
                        && slot.len + next.bytes.len() <= 65_535
                };
                let Some(next) = mailbox.front().filter(|next| joins(next)) else { break };
                slot.slab[slot.len..slot.len + next.bytes.len()].copy_from_slice(&next.bytes);
                (slot.len, slot.segment_size) = (slot.len + next.bytes.len(), size);
                mailbox.pop_front();
            }
        }
        self.drained = received < most;
        if received == 0 { Err(IoError::WouldBlock) } else { Ok(received) }
    }

    fn is_drained(&self) -> bool {
        self.drained
    }

    fn send(&mut self, transmit: &Transmit<'_>) -> SendReport {
        for (sent, segment) in transmit.segments.iter().enumerate() {
            if self.capacity == 0 {
                return SendReport { sent, status: SendStatus::WouldBlock };
            }
            if let Some(errno) = self.refuse.take() {
                return SendReport { sent, status: SendStatus::Dropped(errno) };
            }
            self.capacity = self.capacity.saturating_sub(1);
            let bytes = transmit.buffer[segment.offset as usize..][..segment.len as usize].to_vec();
            let datagram =
                Datagram { from: self.address, to: transmit.endpoint.remote, tos: transmit.tos, bytes };
            let mut state = self.network.state.borrow_mut();
            state.record.push(datagram.clone());
            if !state.cut
                && let Some(mailbox) = state.mailboxes.get_mut(&datagram.to)
            {
                mailbox.push_back(datagram);
            }
        }
        SendReport { sent: transmit.segments.len(), status: SendStatus::Done }
    }
}
