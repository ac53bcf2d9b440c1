//! The edges of a device under attack: a socket that hands up as many as there are slots, and allocates nothing meanwhile.

use core::net::SocketAddr;

use wg_datapath::io::{IoError, RecvSlot, SendReport, SendStatus, Transmit, TunIo, UdpIo};
use wg_proto::Endpoint;

/// As many as come in at once, at most.
const CAPACITY: usize = 4096;

/// No host behind the device.
pub(super) struct NoTun;

impl TunIo for NoTun {
    fn read(&mut self, _buf: &mut [u8]) -> Result<usize, IoError> {
        Err(IoError::WouldBlock)
    }

    fn write(&mut self, _packet: &[u8]) -> Result<(), IoError> {
        Err(IoError::WouldBlock)
    }
}

/// A socket full of forgeries.
pub(super) struct Flood {
    waiting: Vec<([u8; 148], SocketAddr)>,
    taken: usize,
    out: Vec<(Vec<u8>, SocketAddr)>,
    used: usize,
    pub(super) received: u64,
    pub(super) sent: u64,
}

impl Flood {
    pub(super) fn new() -> Self {
        Self {
            waiting: Vec::with_capacity(CAPACITY),
            taken: 0,
            // Room is made here, so that what is allocated later is the device's.
            out: (0..CAPACITY).map(|_| (Vec::with_capacity(148), SocketAddr::from(([0; 4], 0)))).collect(),
            used: 0,
            received: 0,
            sent: 0,
        }
    }

    pub(super) fn push(&mut self, message: &[u8; 148], from: SocketAddr) {
        if self.taken == self.waiting.len() {
            self.waiting.clear();
            self.taken = 0;
        }
        if self.waiting.len() < CAPACITY {
            self.waiting.push((*message, from));
        }
    }

    /// Returns what was sent since this was last asked.
    pub(super) fn take_sent(&mut self) -> Vec<(Vec<u8>, SocketAddr)> {
        let sent = self.out[..self.used].to_vec();
        self.used = 0;
        sent
    }
}

impl UdpIo for Flood {
    fn recv(&mut self, slots: &mut [RecvSlot]) -> Result<usize, IoError> {
        let mut filled = 0;
        for (slot, (bytes, from)) in slots.iter_mut().zip(&self.waiting[self.taken..]) {
            slot.slab[..bytes.len()].copy_from_slice(bytes);
            (slot.len, slot.truncated, slot.endpoint, slot.ecn) =
                (bytes.len(), false, Some(Endpoint::new(*from)), 0);
            filled += 1;
        }
        self.taken += filled;
        self.received += filled as u64;
        if filled == 0 { Err(IoError::WouldBlock) } else { Ok(filled) }
    }

    fn send(&mut self, transmit: &Transmit<'_>) -> SendReport {
        for segment in transmit.segments {
            let start = segment.offset as usize;
            let bytes = transmit.buffer.get(start..start + segment.len as usize).unwrap_or_default();
            self.sent += 1;
            if let Some((out, to)) = self.out.get_mut(self.used) {
                out.clear();
                out.extend_from_slice(bytes);
                *to = transmit.endpoint.remote;
                self.used += 1;
            }
        }
        SendReport { sent: transmit.segments.len(), status: SendStatus::Done }
    }
}
