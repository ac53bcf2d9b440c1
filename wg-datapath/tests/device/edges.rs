//! The edges of a device under test: the in-memory ones of the crate, with faults to order, and entropy that can fail.

use core::cell::{Cell, RefCell};
use core::net::SocketAddr;
use std::collections::VecDeque;
use std::rc::Rc;

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng, TryCryptoRng, TryRng};
use wg_datapath::io::{Frame, IoError, RecvSlot, SendReport, Transmit, TunIo, UdpIo};
use wg_datapath::memory::{MemoryTun, MemoryUdp};
use wg_datapath::offload::{Offload, TunOffloads};
use wg_datapath::proto::Endpoint;

/// A datagram as a socket might hand it up, fit or not.
#[derive(Clone, Debug)]
pub(crate) struct Raw {
    pub(crate) bytes: Vec<u8>,
    /// The length the slot claims, whatever `bytes` holds.
    pub(crate) len: usize,
    pub(crate) truncated: bool,
    pub(crate) endpoint: Option<Endpoint>,
}

impl Raw {
    pub(crate) fn new(bytes: &[u8], endpoint: Endpoint) -> Self {
        Self { bytes: bytes.to_vec(), len: bytes.len(), truncated: false, endpoint: Some(endpoint) }
    }
}

/// A socket that counts, remembers where it was told to send from, and hands up what it is given by the test first.
#[derive(Debug)]
pub(crate) struct Socket {
    pub(crate) inner: MemoryUdp,
    pub(crate) raw: VecDeque<Raw>,
    pub(crate) receive_errors: VecDeque<IoError>,
    /// The endpoint of each datagram that left.
    pub(crate) left: Vec<Endpoint>,
    /// Datagrams handed up.
    pub(crate) received: u64,
    /// Receive calls.
    pub(crate) calls: u64,
    /// Whether it says so if a call came to the end of what waited.
    pub(crate) tells_end: bool,
    at_end: bool,
    pub(crate) source_is_stale: bool,
    /// What it heard of narrow paths.
    pub(crate) path_news: VecDeque<(SocketAddr, u16)>,
    /// What it says it holds, and how often it was asked.
    pub(crate) held: Option<usize>,
    pub(crate) asked: Cell<u64>,
    /// The bytes of each run of datagrams it was given.
    pub(crate) runs: Vec<usize>,
}

impl Socket {
    pub(crate) fn new(inner: MemoryUdp) -> Self {
        Self {
            inner,
            raw: VecDeque::new(),
            receive_errors: VecDeque::new(),
            left: Vec::new(),
            received: 0,
            calls: 0,
            tells_end: false,
            at_end: false,
            source_is_stale: false,
            path_news: VecDeque::new(),
            held: None,
            asked: Cell::new(0),
            runs: Vec::new(),
        }
    }
}

impl UdpIo for Socket {
    fn recv(&mut self, slots: &mut [RecvSlot]) -> Result<usize, IoError> {
        self.calls += 1;
        self.at_end = false;
        if let Some(error) = self.receive_errors.pop_front() {
            return Err(error);
        }
        let mut filled = 0;
        while let Some(slot) = slots.get_mut(filled) {
            let Some(raw) = self.raw.pop_front() else { break };
            slot.slab[..raw.bytes.len()].copy_from_slice(&raw.bytes);
            (slot.len, slot.truncated, slot.endpoint, slot.ecn) = (raw.len, raw.truncated, raw.endpoint, 0);
            filled += 1;
        }
        if filled == 0 {
            filled = self.inner.recv(slots)?;
        }
        self.received += filled as u64;
        self.at_end = filled < slots.len();
        Ok(filled)
    }

    fn is_drained(&self) -> bool {
        self.tells_end && self.at_end
    }

    fn send(&mut self, transmit: &Transmit<'_>) -> SendReport {
        let report = self.inner.send(transmit);
        self.left.extend(core::iter::repeat_n(*transmit.endpoint, report.sent));
        self.runs.push(transmit.segments.iter().map(|segment| segment.len as usize).sum());
        report
    }

    fn unsent(&self) -> Option<usize> {
        self.asked.set(self.asked.get() + 1);
        self.held
    }

    fn take_stale_source(&mut self) -> bool {
        core::mem::take(&mut self.source_is_stale)
    }

    fn take_path_mtu(&mut self) -> Option<(SocketAddr, u16)> {
        self.path_news.pop_front()
    }
}

/// A TUN device that fails on order.
#[derive(Debug, Default)]
pub(crate) struct Tun {
    pub(crate) inner: MemoryTun,
    pub(crate) read_errors: VecDeque<IoError>,
    /// Whether it is told of by levels, and how often it was read.
    pub(crate) told_by_level: bool,
    pub(crate) reads: u64,
    pub(crate) write_errors: VecDeque<IoError>,
}

impl TunIo for Tun {
    fn read(&mut self, buf: &mut [u8]) -> Result<usize, IoError> {
        self.read_errors.pop_front().map_or_else(|| self.inner.read(buf), Err)
    }

    fn write(&mut self, packet: &[u8]) -> Result<(), IoError> {
        self.write_errors.pop_front().map_or_else(|| self.inner.write(packet), Err)
    }

    fn is_told_by_level(&self) -> bool {
        self.told_by_level
    }

    fn read_frame(&mut self, small: &mut [u8], large: &mut [u8]) -> Result<Frame, IoError> {
        self.reads += 1;
        self.read_errors.pop_front().map_or_else(|| self.inner.read_frame(small, large), Err)
    }

    fn write_frame(&mut self, frame: &[u8], offload: Offload) -> Result<(), IoError> {
        self.write_errors.pop_front().map_or_else(|| self.inner.write_frame(frame, offload), Err)
    }

    fn offloads(&self) -> TunOffloads {
        self.inner.offloads()
    }
}

/// Entropy from a seed; its clones are the same source. It can be made to fail, and to draw certain indices.
#[derive(Clone, Debug)]
pub(crate) struct Entropy(Rc<State>);

#[derive(Debug)]
struct State {
    rng: RefCell<ChaCha20Rng>,
    dry: Cell<bool>,
    indices: RefCell<VecDeque<u32>>,
}

/// The entropy source failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Dry;

impl core::fmt::Display for Dry {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("no entropy")
    }
}

impl core::error::Error for Dry {}

impl Entropy {
    pub(crate) fn new(seed: u64) -> Self {
        let rng = RefCell::new(ChaCha20Rng::seed_from_u64(seed));
        Self(Rc::new(State { rng, dry: Cell::new(false), indices: RefCell::default() }))
    }

    /// Lets every call fail from now on, or none.
    pub(crate) fn run_dry(&self, dry: bool) {
        self.0.dry.set(dry);
    }

    /// The next session indices to be drawn.
    pub(crate) fn next_indices(&self, indices: &[u32]) {
        self.0.indices.borrow_mut().extend(indices);
    }

    fn check(&self) -> Result<(), Dry> {
        if self.0.dry.get() { Err(Dry) } else { Ok(()) }
    }
}

impl TryRng for Entropy {
    type Error = Dry;

    fn try_next_u32(&mut self) -> Result<u32, Dry> {
        self.check()?;
        let ordered = self.0.indices.borrow_mut().pop_front();
        Ok(ordered.unwrap_or_else(|| self.0.rng.borrow_mut().next_u32()))
    }

    fn try_next_u64(&mut self) -> Result<u64, Dry> {
        self.check().map(|()| self.0.rng.borrow_mut().next_u64())
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Dry> {
        self.check().map(|()| self.0.rng.borrow_mut().fill_bytes(out))
    }
}

impl TryCryptoRng for Entropy {}
