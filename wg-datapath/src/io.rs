//! The edge of the datapath: what a TUN device and a pair of UDP sockets must offer.
//!
//! `wg-sys-linux` implements both for a real kernel, the tests implement them in memory. An implementation never
//! blocks and never allocates per packet; it turns every error number into one of three kinds, so that no transient
//! error ends a loop.

use core::net::SocketAddr;

use wg_proto::Endpoint;

use crate::offload::{Offload, TunOffloads};
use crate::slab::Slab;

/// What went wrong at the edge, by what the caller must do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum IoError {
    /// Nothing to be had now; readiness will tell.
    WouldBlock,
    /// This call failed with this error number; the next may succeed. It is counted and never ends a loop.
    Transient(i32),
    /// The device is gone, with this error number.
    Fatal(i32),
}

impl core::fmt::Display for IoError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::WouldBlock => f.write_str("would block"),
            Self::Transient(errno) => write!(f, "transient error {errno}"),
            Self::Fatal(errno) => write!(f, "device gone, error {errno}"),
        }
    }
}

impl core::error::Error for IoError {}

/// The inner side: IP packets to and from the host.
pub trait TunIo {
    /// Reads one IP packet into `buf` and returns its length.
    ///
    /// # Errors
    ///
    /// [`IoError`]; `buf` then holds nothing of use.
    fn read(&mut self, buf: &mut [u8]) -> Result<usize, IoError>;

    /// Writes one IP packet.
    ///
    /// # Errors
    ///
    /// [`IoError`]; the packet was not delivered.
    fn write(&mut self, packet: &[u8]) -> Result<(), IoError>;

    /// Reads one frame: a packet, or many of one flow in one piece.
    ///
    /// It goes to the start of `small` if it fits there, and to the start of `large` otherwise; a caller that expects a long
    /// one gives no `small`. A frame that fills `large` to its last byte may have been longer, and is cut.
    ///
    /// The default reads a packet without offloads.
    ///
    /// # Errors
    ///
    /// [`IoError`]; the buffers then hold nothing of use.
    fn read_frame(&mut self, small: &mut [u8], large: &mut [u8]) -> Result<Frame, IoError> {
        let len = self.read(large)?;
        if let (Some(small), Some(packet)) = (small.get_mut(..len), large.get(..len)) {
            small.copy_from_slice(packet);
        }
        Ok(Frame { len, offload: Offload::default() })
    }

    /// Writes one frame, of a kind that [`TunIo::offloads`] names.
    ///
    /// The default writes a packet, and refuses what needs more with `EINVAL`.
    ///
    /// # Errors
    ///
    /// [`IoError`]; nothing of it was delivered.
    fn write_frame(&mut self, frame: &[u8], offload: Offload) -> Result<(), IoError> {
        const EINVAL: i32 = 22;
        if offload == Offload::default() { self.write(frame) } else { Err(IoError::Transient(EINVAL)) }
    }

    /// Tells whether whoever waits for the device is told for as long as it has something, so that a lane that leaves something
    /// there is told of it ([`Lane::readable`](crate::Lane::readable)) before it sleeps, and may spare the read that meets the end.
    fn is_told_by_level(&self) -> bool {
        false
    }

    /// The kinds of frames that may be written now. It may shrink after a write, when the kernel refused one.
    fn offloads(&self) -> TunOffloads {
        TunOffloads::default()
    }
}

/// A frame that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Its length in bytes.
    pub len: usize,
    /// What is left to do with it.
    pub offload: Offload,
}

/// One received datagram, or a train of them: equally long ones of one sender, one behind the other, of which the last may
/// be shorter.
#[derive(Debug)]
pub struct RecvSlot {
    /// The buffer; the first datagram starts at its first byte.
    pub slab: Slab,
    /// The length of all of it in bytes.
    pub len: usize,
    /// The length of each datagram of a train but the last; 0 if there is one datagram.
    ///
    /// The caller sets it to 0 before a receive call, so that an implementation without trains may leave it alone.
    pub segment_size: usize,
    /// Whether the datagram was longer than the buffer; it is then dropped.
    pub truncated: bool,
    /// Where it came from and came to; `None` drops it.
    pub endpoint: Option<Endpoint>,
    /// The ECN bits (0-3) of the outer header.
    pub ecn: u8,
}

impl RecvSlot {
    /// An empty slot.
    #[must_use]
    pub const fn new(slab: Slab) -> Self {
        Self { slab, len: 0, segment_size: 0, truncated: false, endpoint: None, ecn: 0 }
    }
}

/// A piece of a buffer: one datagram to send.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Segment {
    /// Offset of the first byte.
    pub offset: u32,
    /// Length in bytes.
    pub len: u32,
}

/// A run of datagrams to one endpoint.
#[derive(Clone, Copy, Debug)]
pub struct Transmit<'a> {
    /// Where to, and from which local address.
    pub endpoint: &'a Endpoint,
    /// The IPv4 TOS or IPv6 traffic class byte of the outer header (DSCP and ECN).
    pub tos: u8,
    /// The buffer that holds the datagrams.
    pub buffer: &'a [u8],
    /// The datagrams, in the order they must leave.
    pub segments: &'a [Segment],
}

/// How far a [`Transmit`] came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SendReport {
    /// Datagrams the kernel took, counted from the first.
    pub sent: usize,
    /// Why it stopped there.
    pub status: SendStatus,
}

/// Why sending stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendStatus {
    /// All were sent.
    Done,
    /// The socket buffer is full: resume at `sent` when the socket is writable.
    WouldBlock,
    /// The datagram at index `sent` was refused with this error number: skip it and resume behind it.
    Dropped(i32),
}

/// The outer side: datagrams to and from peers, IPv4 and IPv6 on one port.
pub trait UdpIo {
    /// Receives into `slots` from the first and returns how many were filled.
    ///
    /// # Errors
    ///
    /// [`IoError`]; no slot was filled.
    fn recv(&mut self, slots: &mut [RecvSlot]) -> Result<usize, IoError>;

    /// Tells whether the last receive call, which gave something, came to the end of what waited, as far as is known: the caller need
    /// not meet the end by another call if it is told of what comes from now on, and of what it was wrong about. An implementation that
    /// does not know says no.
    fn is_drained(&self) -> bool {
        false
    }

    /// Sends a run of datagrams, as far as the socket takes them.
    fn send(&mut self, transmit: &Transmit<'_>) -> SendReport;

    /// Tells, once, whether the last send found its sticky source stale and left without it: the caller then
    /// forgets the source (C91).
    fn take_stale_source(&mut self) -> bool {
        false
    }

    /// Bytes that the sockets hold and that have not left the machine; `None` if that is not known.
    ///
    /// What is asked to bound a batch by the time it takes to leave, and only while a send would block or did so not long ago:
    /// once a millisecond at most.
    fn unsent(&self) -> Option<usize> {
        None
    }

    /// Tells whether datagrams wait in the sockets of another home, which share the port of these. What is asked only where counters
    /// are split, and something is missing that may be there.
    fn waits_at(&self, _home: usize) -> bool {
        false
    }

    /// Takes the next news of a path that is narrower than what was sent: where to, and the longest IP packet that passes.
    fn take_path_mtu(&mut self) -> Option<(SocketAddr, u16)> {
        None
    }
}
