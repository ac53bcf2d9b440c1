//! The edges in memory: a TUN device of two queues, and sockets on a network of mailboxes. For tests, of this crate and of
//! programs built on it.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::net::SocketAddr;

use wg_proto::{Endpoint, Source};

use crate::io::{IoError, RecvSlot, SendReport, SendStatus, Transmit, TunIo, UdpIo};

/// A TUN device: what the host sends, and what it was given.
#[derive(Debug, Default)]
pub struct MemoryTun {
    /// Packets of the host, to be read by the lane.
    pub outgoing: VecDeque<Vec<u8>>,
    /// Packets the lane delivered, in order.
    pub delivered: Vec<Vec<u8>>,
}

impl TunIo for MemoryTun {
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
        MemoryUdp { network: self.clone(), address, capacity: usize::MAX, refuse: None }
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
}

impl UdpIo for MemoryUdp {
    fn recv(&mut self, slots: &mut [RecvSlot]) -> Result<usize, IoError> {
        let mut state = self.network.state.borrow_mut();
        let mailbox = state.mailboxes.entry(self.address).or_default();
        let mut received = 0;
        for slot in slots {
            let Some(datagram) = mailbox.pop_front() else { break };
            slot.len = datagram.bytes.len().min(slot.slab.len());
            slot.truncated = datagram.bytes.len() > slot.slab.len();
            slot.slab[..slot.len].copy_from_slice(&datagram.bytes[..slot.len]);
            slot.ecn = datagram.tos & 3;
            let source = Source { addr: datagram.to.ip(), interface: 1 };
            slot.endpoint = Some(Endpoint { remote: datagram.from, source: Some(source) });
            received += 1;
        }
        if received == 0 { Err(IoError::WouldBlock) } else { Ok(received) }
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
