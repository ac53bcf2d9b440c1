//! The edge of the datapath: what a TUN device and a pair of UDP sockets must offer.
//!
//! `wg-sys-linux` implements both for a real kernel, the tests implement them in memory. An implementation never
//! blocks and never allocates per packet; it turns every error number into one of three kinds, so that no transient
//! error ends a loop.

use wg_proto::Endpoint;

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
}

/// One received datagram.
#[derive(Debug)]
pub struct RecvSlot {
    /// The buffer; the datagram starts at its first byte.
    pub slab: Slab,
    /// The length of the datagram in bytes.
    pub len: usize,
    /// Whether the datagram was longer than the buffer; it is then dropped.
    pub truncated: bool,
    /// Where it came from and came to; `None` drops it.
    pub endpoint: Option<Endpoint>,
    /// The ECN bits (0-3) of the outer header.
    pub ecn: u8,
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

    /// Sends a run of datagrams, as far as the socket takes them.
    fn send(&mut self, transmit: &Transmit<'_>) -> SendReport;

    /// Tells, once, whether the last send found its sticky source stale and left without it: the caller then
    /// forgets the source (C91).
    fn take_stale_source(&mut self) -> bool {
        false
    }
}
