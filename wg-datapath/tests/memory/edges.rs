//! Edges that allocate nothing once they are made: a host that makes packets up as they are read, and a wire of fixed
//! places.

use core::cell::{Cell, RefCell};
use core::net::SocketAddr;
use std::rc::Rc;

use wg_datapath::io::{IoError, RecvSlot, SendReport, SendStatus, Transmit, TunIo, UdpIo};
use wg_datapath::proto::Endpoint;

/// Room for a datagram of an ordinary MTU.
const PLACE: usize = 1600;

/// A host with packets to send, and a count of those it got.
#[derive(Debug, Default)]
pub(crate) struct Host {
    pub(crate) from: [u8; 4],
    pub(crate) to: Vec<[u8; 4]>,
    pub(crate) waiting: usize,
    /// Packets of this length, and not of many.
    pub(crate) len: Option<usize>,
    pub(crate) delivered: usize,
}

impl TunIo for Host {
    fn read(&mut self, buf: &mut [u8]) -> Result<usize, IoError> {
        self.waiting = self.waiting.checked_sub(1).ok_or(IoError::WouldBlock)?;
        // Lengths from 64 to 1420, receivers in turn.
        let len = self.len.unwrap_or(64 + self.waiting * 397 % 1357);
        let packet = &mut buf[..len];
        packet.fill(0x5a);
        packet[0] = 0x45;
        packet[2..4].copy_from_slice(&u16::try_from(len).unwrap().to_be_bytes());
        packet[12..16].copy_from_slice(&self.from);
        packet[16..20].copy_from_slice(&self.to[self.waiting / 3 % self.to.len()]);
        Ok(len)
    }

    fn write(&mut self, _packet: &[u8]) -> Result<(), IoError> {
        self.delivered += 1;
        Ok(())
    }
}

/// Which of so many sockets on one address a datagram comes to: initiations to the first, everything else by its receiver
/// index.
pub(crate) fn steered(datagram: &[u8], sockets: usize) -> usize {
    let index = match datagram.first() {
        Some(2) => datagram.get(8..12),
        Some(3 | 4) => datagram.get(4..8),
        _ => None,
    };
    index.map_or(0, |index| member_of(u32::from_le_bytes(index.try_into().unwrap()), sockets))
}

pub(crate) fn member_of(index: u32, sockets: usize) -> usize {
    (index.wrapping_mul(0x9e37_79b1) >> 16) as usize % sockets
}

/// The datagrams on their way to one socket.
#[derive(Debug)]
struct Mailbox {
    address: SocketAddr,
    /// Which of how many sockets on the address it is.
    member: (usize, usize),
    places: Vec<([u8; PLACE], usize, SocketAddr)>,
    first: usize,
    len: usize,
}

/// Who is connected.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wire(Rc<RefCell<Vec<Mailbox>>>, Rc<Cell<bool>>, Rc<RefCell<Vec<Vec<usize>>>>);

impl Wire {
    pub(crate) fn socket(&self, address: SocketAddr) -> Socket {
        self.member(address, 0, 1)
    }

    /// Has counters split, or joined again, from the next datagram on.
    pub(crate) fn split(&self, splits: bool) {
        self.1.set(splits);
    }

    /// Names those that receive for each home where counters are split, instead of all others.
    pub(crate) fn name_receivers(&self, receivers: &[&[usize]]) {
        *self.2.borrow_mut() = receivers.iter().map(|list| list.to_vec()).collect();
    }

    /// Those that receive for a home where counters are split, in the order of their turns.
    pub(crate) fn receivers(&self, home: usize, sockets: usize) -> Vec<usize> {
        let named = self.2.borrow();
        named.get(home).cloned().unwrap_or_else(|| (1..sockets).map(|step| (home + step) % sockets).collect())
    }

    /// The same as [`steered`] where counters are split: transport data goes to the receivers in turn, 64 counters to each.
    fn steered_by_counter(&self, datagram: &[u8], sockets: usize) -> usize {
        let home = steered(datagram, sockets);
        let (named, others) = (self.2.borrow(), sockets - 1);
        let list = named.get(home);
        let count = list.map_or(others, Vec::len);
        match datagram.get(8..16) {
            Some(counter) if count > 0 && datagram[0] == 4 => {
                let block = u64::from_le_bytes(counter.try_into().unwrap()) >> 6;
                let turn = block as usize % count;
                list.map_or((home + 1 + turn) % sockets, |list| list[turn])
            }
            _ => home,
        }
    }

    /// One of several sockets on one address, see [`steered`].
    pub(crate) fn member(&self, address: SocketAddr, member: usize, of: usize) -> Socket {
        let place = ([0; PLACE], 0, address);
        let member = (member, of);
        let mailbox = Mailbox { address, member, places: vec![place; 4096], first: 0, len: 0 };
        let mut mailboxes = self.0.borrow_mut();
        mailboxes.push(mailbox);
        let number = mailboxes.len() - 1;
        Socket {
            wire: self.clone(),
            number,
            address,
            sent: 0,
            received: 0,
            drained: false,
            bytes: 0,
            last: [0; PLACE],
            last_len: 0,
            path: None,
        }
    }

    /// Puts a datagram into the mailbox of its receiver; one that nobody receives is lost.
    pub(crate) fn inject(&self, from: SocketAddr, to: SocketAddr, bytes: &[u8]) {
        let mut mailboxes = self.0.borrow_mut();
        let is_to = |mailbox: &&mut Mailbox| {
            let (member, of) = mailbox.member;
            let to_member =
                if self.1.get() { self.steered_by_counter(bytes, of) } else { steered(bytes, of) };
            mailbox.address == to && to_member == member
        };
        let Some(mailbox) = mailboxes.iter_mut().find(is_to) else { return };
        assert!(mailbox.len < mailbox.places.len(), "the wire is full");
        let at = (mailbox.first + mailbox.len) % mailbox.places.len();
        let (place, len, sender) = &mut mailbox.places[at];
        place[..bytes.len()].copy_from_slice(bytes);
        (*len, *sender) = (bytes.len(), from);
        mailbox.len += 1;
    }
}

#[derive(Debug)]
pub(crate) struct Socket {
    wire: Wire,
    /// Of its mailbox.
    number: usize,
    address: SocketAddr,
    pub(crate) sent: usize,
    pub(crate) received: usize,
    /// The last call left nothing.
    drained: bool,
    /// Bytes in what was sent.
    pub(crate) bytes: usize,
    /// The datagram sent last.
    last: [u8; PLACE],
    last_len: usize,
    /// What it heard of a path.
    pub(crate) path: Option<(SocketAddr, u16)>,
}

impl Socket {
    /// Loses the first datagram that waits in a socket.
    pub(crate) fn lose(&self) {
        let mut mailboxes = self.wire.0.borrow_mut();
        let mailbox = &mut mailboxes[self.number];
        assert!(mailbox.len > 0, "nothing waits");
        mailbox.first = (mailbox.first + 1) % mailbox.places.len();
        mailbox.len -= 1;
    }

    /// How many datagrams wait in it.
    pub(crate) fn waiting(&self) -> usize {
        self.wire.0.borrow()[self.number].len
    }

    pub(crate) fn last(&self) -> &[u8] {
        &self.last[..self.last_len]
    }
}

impl UdpIo for Socket {
    fn recv(&mut self, slots: &mut [RecvSlot]) -> Result<usize, IoError> {
        let mut mailboxes = self.wire.0.borrow_mut();
        let mailbox = &mut mailboxes[self.number];
        let received = slots.len().min(mailbox.len);
        for slot in &mut slots[..received] {
            let (place, len, from) = &mailbox.places[mailbox.first];
            slot.slab[..*len].copy_from_slice(&place[..*len]);
            (slot.len, slot.truncated, slot.endpoint) = (*len, false, Some(Endpoint::new(*from)));
            mailbox.first = (mailbox.first + 1) % mailbox.places.len();
            mailbox.len -= 1;
        }
        self.received += received;
        self.drained = received < slots.len();
        if received == 0 { Err(IoError::WouldBlock) } else { Ok(received) }
    }

    fn is_drained(&self) -> bool {
        self.drained
    }

    fn send(&mut self, transmit: &Transmit<'_>) -> SendReport {
        for segment in transmit.segments {
            let bytes = &transmit.buffer[segment.offset as usize..][..segment.len as usize];
            self.wire.inject(self.address, transmit.endpoint.remote, bytes);
            self.last[..bytes.len()].copy_from_slice(bytes);
            self.last_len = bytes.len();
            self.bytes += bytes.len();
        }
        self.sent += transmit.segments.len();
        SendReport { sent: transmit.segments.len(), status: SendStatus::Done }
    }

    fn waits_at(&self, home: usize) -> bool {
        let mailboxes = self.wire.0.borrow();
        let waits =
            |other: &Mailbox| other.address == self.address && other.member.0 == home && other.len > 0;
        mailboxes.iter().any(waits)
    }

    fn take_path_mtu(&mut self) -> Option<(SocketAddr, u16)> {
        self.path.take()
    }
}
