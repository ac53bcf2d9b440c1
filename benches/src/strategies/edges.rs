//! Edges that threads can have: a queue of a TUN device whose host has so many packets to send and counts what it gets, and sockets that
//! have so many datagrams and count what is sent.

use core::net::SocketAddr;
use core::sync::atomic::{AtomicU64, Ordering};
use std::collections::VecDeque;
use std::sync::Arc;

use wg_datapath::io::{IoError, RecvSlot, SendReport, SendStatus, Transmit, TunIo, UdpIo};
use wg_datapath::proto::Endpoint;

/// Datagrams of a train, and its bytes, at most: what the kernel's `UDP_GRO` makes of them.
const TRAIN: usize = 64;
const TRAIN_BYTES: usize = 65_507;
/// How many packets are received before the first of them is delivered, at most: what a transport lets come.
const WINDOW: u64 = 2048;

/// A count on a line of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct Count(AtomicU64);

impl Count {
    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// There is one writer.
    fn add(&self, more: u64) {
        self.0.store(self.get() + more, Ordering::Relaxed);
    }
}

/// What the threads of a gateway know of each other's edges. Each count is written by the thread that has the edge, and read by all.
#[derive(Debug)]
pub(super) struct Port {
    sent: Vec<Count>,
    delivered: Vec<Count>,
    /// Trains that wait in the sockets.
    waiting: Vec<Count>,
}

impl Port {
    pub(super) fn new(edges: usize) -> Arc<Self> {
        let counts = || (0..edges).map(|_| Count::default()).collect();
        Arc::new(Self { sent: counts(), delivered: counts(), waiting: counts() })
    }

    /// Packets sent so far.
    pub(super) fn sent(&self) -> u64 {
        self.sent.iter().map(Count::get).sum()
    }

    /// Packets delivered so far.
    pub(super) fn delivered(&self) -> u64 {
        self.delivered.iter().map(Count::get).sum()
    }
}

/// A queue of a TUN device.
#[derive(Debug)]
pub(super) struct Host {
    /// Packets that are sent in turns.
    pub(super) packets: Vec<Vec<u8>>,
    /// How many there still are to send.
    pub(super) left: u64,
    port: Arc<Port>,
    number: usize,
}

impl Host {
    pub(super) fn new(port: &Arc<Port>, number: usize) -> Self {
        Self { packets: Vec::new(), left: 0, port: Arc::clone(port), number }
    }
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
        self.port.delivered[self.number].add(1);
        Ok(())
    }
}

/// Datagrams of one sender and of one length, one behind the other.
#[derive(Debug)]
struct Train {
    from: SocketAddr,
    bytes: Vec<u8>,
    /// Of each.
    len: usize,
    /// How many are delivered when all have been that came before it, wherever they came.
    before: u64,
}

/// One of the sockets on an address.
#[derive(Debug)]
pub(super) struct Socket {
    port: Arc<Port>,
    number: usize,
    inbox: VecDeque<Train>,
    /// Trains that were received: to give their memory back takes time.
    spent: Vec<Train>,
    /// What is sent while sessions come up; nothing once it only counts.
    pub(super) outbox: Option<Vec<Vec<u8>>>,
}

impl Socket {
    pub(super) fn new(port: &Arc<Port>, number: usize) -> Self {
        let port = Arc::clone(port);
        Self { port, number, inbox: VecDeque::new(), spent: Vec::new(), outbox: Some(Vec::new()) }
    }

    /// A datagram arrives, behind so many packets that are or will be delivered.
    pub(super) fn arrives(&mut self, from: SocketAddr, datagram: &[u8], before: u64) {
        let last = self.inbox.back_mut().filter(|last| (last.from, last.len) == (from, datagram.len()));
        let most = TRAIN_BYTES.min(TRAIN * datagram.len());
        if let Some(last) = last.filter(|last| last.bytes.len() + datagram.len() <= most) {
            last.bytes.extend_from_slice(datagram);
            return;
        }
        self.spent.clear();
        self.inbox.push_back(Train { from, bytes: datagram.to_vec(), len: datagram.len(), before });
        self.spent.reserve(self.inbox.len());
        self.port.waiting[self.number].add(1);
    }
}

impl UdpIo for Socket {
    fn recv(&mut self, slots: &mut [RecvSlot]) -> Result<usize, IoError> {
        if self.inbox.is_empty() {
            return Err(IoError::WouldBlock);
        }
        let end = self.port.delivered() + WINDOW;
        let mut received = 0;
        for slot in slots {
            let Some(train) = self.inbox.pop_front_if(|train| train.before < end) else { break };
            slot.slab[..train.bytes.len()].copy_from_slice(&train.bytes);
            (slot.len, slot.segment_size) = (train.bytes.len(), train.len);
            (slot.truncated, slot.endpoint) = (false, Some(Endpoint::new(train.from)));
            self.spent.push(train);
            received += 1;
        }
        self.port.waiting[self.number].0.store(self.inbox.len() as u64, Ordering::Relaxed);
        if received == 0 { Err(IoError::WouldBlock) } else { Ok(received) }
    }

    fn send(&mut self, transmit: &Transmit<'_>) -> SendReport {
        let segments = transmit.segments;
        if let Some(outbox) = &mut self.outbox {
            let sent = segments
                .iter()
                .map(|segment| transmit.buffer[segment.offset as usize..][..segment.len as usize].to_vec());
            outbox.extend(sent);
        }
        self.port.sent[self.number].add(segments.len() as u64);
        SendReport { sent: segments.len(), status: SendStatus::Done }
    }

    fn waits_at(&self, home: usize) -> bool {
        self.port.waiting[home].get() > 0
    }
}

/// How datagrams are dealt out to the sockets of a gateway, as the kernel does it for `wg-sys-linux`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Steering {
    pub(super) sockets: usize,
    /// By their counters, in blocks, to the sockets of others than their home.
    pub(super) splits: bool,
}

impl Steering {
    /// The socket of a session.
    pub(super) const fn home_of(self, index: u32) -> usize {
        index as usize % self.sockets
    }

    /// The socket that a datagram comes to: what has no index comes to the first.
    pub(super) fn receiver_of(self, datagram: &[u8]) -> usize {
        const BLOCK: u64 = 64;
        let [4, 0, 0, 0, index @ .., _, _, _, _, _, _, _, _] =
            datagram.first_chunk::<16>().copied().unwrap_or_default()
        else {
            return 0;
        };
        let home = self.home_of(u32::from_le_bytes(index));
        if !self.splits {
            return home;
        }
        let counter =
            datagram.get(8..16).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_le_bytes);
        let others = self.sockets - 1;
        (home + 1 + usize::try_from(counter / BLOCK).unwrap_or(0) % others) % self.sockets
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_goes_home_or_by_blocks_of_counters_to_all_others() {
        let data = |counter: u64| [&[4, 0, 0, 0, 4, 0, 0, 0][..], &counter.to_le_bytes(), &[0; 16]].concat();
        let to =
            |steering: Steering| [0, 63, 64, 127, 128].map(|counter| steering.receiver_of(&data(counter)));
        assert_eq!(to(Steering { sockets: 3, splits: false }), [1; 5]);
        assert_eq!(to(Steering { sockets: 3, splits: true }), [2, 2, 0, 0, 2]);
        assert_eq!(to(Steering { sockets: 2, splits: true }), [1; 5], "index 4 is at home at the first");
        let initiation = [&[1, 0, 0, 0][..], &[7; 144]].concat();
        assert_eq!(Steering { sockets: 3, splits: true }.receiver_of(&initiation), 0);
    }

    #[test]
    fn no_more_is_received_than_the_window_lets_come() {
        use wg_datapath::slab::{SlabClass, SlabPool};

        let port = Port::new(2);
        let (mut socket, mut host) = (Socket::new(&port, 1), Host::new(&port, 0));
        let mut slabs = SlabPool::new(0, 1);
        let mut slots = [RecvSlot::new(slabs.take(SlabClass::Large).unwrap())];
        let from = ([192, 0, 2, 1], 1).into();
        (0..WINDOW + 64).for_each(|before| socket.arrives(from, &[4; 96], before));
        let mut datagrams = 0;
        while socket.recv(&mut slots) == Ok(1) {
            assert_eq!(slots[0].segment_size, 96);
            datagrams += slots[0].len / 96;
        }
        assert_eq!(datagrams as u64, WINDOW);
        assert!(socket.waits_at(1) && !socket.waits_at(0));
        host.write(&[]).unwrap();
        assert_eq!(socket.recv(&mut slots), Ok(1));
        assert!(!socket.waits_at(1));
    }
}
