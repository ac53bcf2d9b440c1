//! Edges that threads can have: a queue of a TUN device whose host has so many packets to send, and sockets that count what is
//! sent once the sessions are there.

use core::net::SocketAddr;
use core::sync::atomic::{AtomicU64, Ordering};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use wg_datapath::io::{IoError, RecvSlot, SendReport, SendStatus, Transmit, TunIo, UdpIo};
use wg_datapath::proto::{Endpoint, SessionIndex};

/// A queue of a TUN device.
#[derive(Debug, Default)]
pub(super) struct Host {
    /// Packets that are sent in turns.
    pub(super) packets: Vec<Vec<u8>>,
    /// How many there still are to send.
    pub(super) left: u64,
    pub(super) delivered: usize,
}

impl TunIo for Host {
    fn read(&mut self, buf: &mut [u8]) -> Result<usize, IoError> {
        self.read_frame(&mut [], buf).map(|frame| frame.len)
    }

    fn read_frame(&mut self, small: &mut [u8], large: &mut [u8]) -> Result<wg_datapath::io::Frame, IoError> {
        self.left = self.left.checked_sub(1).ok_or(IoError::WouldBlock)?;
        let next = usize::try_from(self.left).unwrap_or(0) % self.packets.len();
        let packet = &self.packets[next];
        let buffer = if packet.len() <= small.len() { small } else { large };
        buffer[..packet.len()].copy_from_slice(packet);
        Ok(wg_datapath::io::Frame { len: packet.len(), offload: wg_datapath::offload::Offload::default() })
    }

    fn write(&mut self, _packet: &[u8]) -> Result<(), IoError> {
        self.delivered += 1;
        Ok(())
    }
}

type Datagram = (SocketAddr, SocketAddr, Vec<u8>);

/// Datagrams under way, in the order in which they were sent.
#[derive(Clone, Debug, Default)]
pub(super) struct Wire(Arc<Mutex<VecDeque<Datagram>>>);

/// One of the sockets on an address.
#[derive(Debug)]
pub(super) struct Socket {
    wire: Wire,
    own: SocketAddr,
    /// Which of how many it is; they are chosen by [`member_of`].
    member: (usize, usize),
    /// What is sent is counted, and goes nowhere; nothing comes.
    pub(super) is_sink: bool,
    /// Written by the thread of the socket, read by all to see when everything is sent.
    pub(super) sent: Arc<Count>,
}

/// A count on a line of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct Count(pub(super) AtomicU64);

impl Socket {
    pub(super) fn new(wire: &Wire, own: SocketAddr, member: (usize, usize)) -> Self {
        Self { wire: wire.clone(), own, member, is_sink: false, sent: Arc::default() }
    }

    fn is_for_me(&self, (_, to, bytes): &Datagram) -> bool {
        let index = match bytes.first() {
            Some(2) => bytes.get(8..12),
            Some(3 | 4) => bytes.get(4..8),
            _ => None,
        };
        let index = index.and_then(|bytes| bytes.try_into().ok()).map(u32::from_le_bytes);
        let member = index.map_or(0, |index| member_of(SessionIndex::new(index), self.member.1));
        *to == self.own && member == self.member.0
    }
}

/// Which of so many sockets datagrams of a session come to.
pub(super) fn member_of(index: SessionIndex, sockets: usize) -> usize {
    index.get() as usize % sockets
}

impl UdpIo for Socket {
    fn recv(&mut self, slots: &mut [RecvSlot]) -> Result<usize, IoError> {
        if self.is_sink {
            return Err(IoError::WouldBlock);
        }
        let mut wire = self.wire.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut received = 0;
        while received < slots.len() && wire.front().is_some_and(|datagram| self.is_for_me(datagram)) {
            let Some((from, _, bytes)) = wire.pop_front() else { break };
            let slot = &mut slots[received];
            slot.slab[..bytes.len()].copy_from_slice(&bytes);
            (slot.len, slot.truncated, slot.endpoint) = (bytes.len(), false, Some(Endpoint::new(from)));
            received += 1;
        }
        if received == 0 { Err(IoError::WouldBlock) } else { Ok(received) }
    }

    fn send(&mut self, transmit: &Transmit<'_>) -> SendReport {
        let segments = transmit.segments;
        if !self.is_sink {
            let mut wire = self.wire.0.lock().unwrap_or_else(PoisonError::into_inner);
            for segment in segments {
                let bytes = &transmit.buffer[segment.offset as usize..][..segment.len as usize];
                wire.push_back((self.own, transmit.endpoint.remote, bytes.to_vec()));
            }
        }
        // There is one writer.
        let sent = self.sent.0.load(Ordering::Relaxed) + segments.len() as u64;
        self.sent.0.store(sent, Ordering::Relaxed);
        SendReport { sent: segments.len(), status: SendStatus::Done }
    }
}
