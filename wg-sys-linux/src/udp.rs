//! The UDP sockets of a tunnel: IPv4 and IPv6 on one port, datagrams in batches, answers from the address asked.
//!
//! Receiving takes turns between the families, so that a flood on one does not starve the other. Sending pins the local
//! address a peer's packets came to; when the kernel refuses that address, the datagram leaves without it in the same
//! call and [`Udp::take_stale_source`] says so (C91). What each error number means stands in `errno`.

mod cmsg;
mod errno;
mod mmsg;
mod pair;
mod pktinfo;
#[cfg(feature = "test-util")]
pub(crate) mod probe;
mod route;
mod sockaddr;

use core::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};

use wg_datapath::io::{IoError, RecvSlot, SendReport, SendStatus, Transmit, UdpIo};
use wg_proto::{Endpoint, Source};

use crate::{Error, Interest, Poller, Token};
use cmsg::{Cmsg, ControlBuffer};
use errno::{AfterRecv, AfterSend, after_recv, after_send, is_report};
use mmsg::{RecvBatch, SendBatch};
use pair::{Family, Pair};
use sockaddr::RawAddress;

pub use route::RouteWatch;

/// Reports of earlier sends taken off a socket in one receive call. Each call of the kernel takes one.
const MAX_REPORTS: u32 = 16;

/// A family that was empty is asked after the other, and only if that was empty too, for this many calls.
const QUIET_CALLS: u32 = 8;

/// What is remembered about one family between calls.
#[derive(Clone, Copy, Debug, Default)]
struct FamilyState {
    /// The last receive call found nothing, this many calls ago.
    quiet_for: Option<u32>,
    /// The last send would have blocked.
    blocked: bool,
    /// What the poller has been asked for.
    interest: Option<Interest>,
}

impl FamilyState {
    /// Counts a receive call; after [`QUIET_CALLS`] an empty family is like any other.
    const fn forget_old_quiet(&mut self) {
        self.quiet_for = match self.quiet_for {
            Some(calls) if calls < QUIET_CALLS => Some(calls + 1),
            _ => None,
        };
    }
}

/// The sockets. Neither blocks.
///
/// # Examples
///
/// ```
/// use wg_datapath::io::{Segment, SendStatus, Transmit, UdpIo};
/// use wg_proto::Endpoint;
/// use wg_sys_linux::Udp;
///
/// let there = std::net::UdpSocket::bind("127.0.0.1:0")?;
/// let mut udp = Udp::bind(0, 0)?;
/// let report = udp.send(&Transmit {
///     endpoint: &Endpoint::new(there.local_addr()?),
///     tos: 0,
///     buffer: b"one two",
///     segments: &[Segment { offset: 0, len: 3 }, Segment { offset: 4, len: 3 }],
/// });
/// assert_eq!((report.sent, report.status), (2, SendStatus::Done));
///
/// let mut datagram = [0; 16];
/// let (len, from) = there.recv_from(&mut datagram)?;
/// assert_eq!((&datagram[..len], from.port()), (&b"one"[..], udp.port()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Udp {
    pair: Pair,
    fwmark: u32,
    recv_batch: RecvBatch,
    send_batch: SendBatch,
    control: ControlBuffer,
    /// The family to ask first.
    turn: Family,
    v4: FamilyState,
    v6: FamilyState,
    stale_source: bool,
}

impl Udp {
    /// Opens both sockets on any address and `port`, 0 for one that is free in both families, with `fwmark`, 0 for none.
    ///
    /// A family the system does not have is left out.
    ///
    /// # Errors
    ///
    /// The port is taken (EADDRINUSE), or the mark needs a privilege.
    pub fn bind(port: u16, fwmark: u32) -> Result<Self, Error> {
        Ok(Self {
            pair: Pair::open(port, fwmark)?,
            fwmark,
            recv_batch: RecvBatch::new(),
            send_batch: SendBatch::new(),
            control: ControlBuffer::new(),
            turn: Family::V4,
            v4: FamilyState::default(),
            v6: FamilyState::default(),
            stale_source: false,
        })
    }

    /// Returns the port both sockets are bound to.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.pair.port
    }

    /// Returns the mark of outgoing packets; 0 is none.
    #[must_use]
    pub const fn fwmark(&self) -> u32 {
        self.fwmark
    }

    /// Moves to another port and returns it. The old sockets are closed after the new ones are open (C93).
    ///
    /// Afterwards the caller forgets all sticky sources (C90) and calls [`register`](Self::register) again. The port the
    /// sockets are bound to already is no change.
    ///
    /// # Errors
    ///
    /// As [`bind`](Self::bind); the old sockets then go on working.
    pub fn rebind(&mut self, port: u16) -> Result<u16, Error> {
        if port != 0 && port == self.pair.port {
            return Ok(port);
        }
        self.pair = Pair::open(port, self.fwmark)?;
        (self.v4, self.v6) = Default::default();
        Ok(self.pair.port)
    }

    /// Sets the mark of outgoing packets, 0 for none. Afterwards the caller forgets all sticky sources (C95).
    ///
    /// # Errors
    ///
    /// The privilege (`CAP_NET_ADMIN`) is missing; the old mark stays.
    pub fn set_fwmark(&mut self, fwmark: u32) -> Result<(), Error> {
        self.pair.set_fwmark(fwmark, self.fwmark)?;
        self.fwmark = fwmark;
        Ok(())
    }

    /// Returns the IPv4 socket, to be polled.
    #[must_use]
    pub fn socket_v4(&self) -> Option<BorrowedFd<'_>> {
        self.pair.v4.as_ref().map(AsFd::as_fd)
    }

    /// Returns the IPv6 socket, to be polled.
    #[must_use]
    pub fn socket_v6(&self) -> Option<BorrowedFd<'_>> {
        self.pair.v6.as_ref().map(AsFd::as_fd)
    }

    /// Brings `poller` up to date: sockets opened since are added under `token`, and a socket whose last send would have
    /// blocked is also polled for writing. Call it before each wait, always with the same poller; it makes no system
    /// call when nothing changed.
    ///
    /// # Errors
    ///
    /// As [`Poller::add`] and [`Poller::modify`].
    pub fn register(&mut self, poller: &Poller, token: Token) -> Result<(), Error> {
        let sockets = [(&self.pair.v4, &mut self.v4), (&self.pair.v6, &mut self.v6)];
        for (socket, state) in sockets {
            let Some(socket) = socket else { continue };
            let wanted = if state.blocked { Interest::ReadableOrWritable } else { Interest::Readable };
            match state.interest {
                Some(interest) if interest == wanted => continue,
                Some(_) => poller.modify(socket, token, wanted)?,
                None => poller.add(socket, token, wanted)?,
            }
            state.interest = Some(wanted);
        }
        Ok(())
    }

    /// Tells that a socket was reported writable: the caller now sends what it kept back, and if that blocks again, the
    /// next [`register`](Self::register) asks for writability again.
    pub const fn writable(&mut self) {
        self.v4.blocked = false;
        self.v6.blocked = false;
    }

    const fn state(&mut self, family: Family) -> &mut FamilyState {
        match family {
            Family::V4 => &mut self.v4,
            Family::V6 => &mut self.v6,
        }
    }

    /// The order to ask the families in: by turns, but one that was empty comes second for some calls.
    const fn order(&mut self) -> [Family; 2] {
        let first = self.turn;
        self.turn = first.other();
        self.v4.forget_old_quiet();
        self.v6.forget_old_quiet();
        if self.state(first).quiet_for.is_some() && self.state(first.other()).quiet_for.is_none() {
            [first.other(), first]
        } else {
            [first, first.other()]
        }
    }

    fn recv_family(&mut self, family: Family, slots: &mut [RecvSlot]) -> Result<usize, IoError> {
        let Some(socket) = self.pair.get(family) else { return Err(IoError::WouldBlock) };
        let mut reports = 0;
        let filled = loop {
            let buffers = slots.iter_mut().map(|slot| &mut slot.slab[..]);
            let Err(error) = self.recv_batch.recv(socket.as_fd(), buffers) else {
                break self.recv_batch.received().count();
            };
            match after_recv(error.raw_os_error()) {
                AfterRecv::Again if reports < MAX_REPORTS => reports += 1,
                AfterRecv::WouldBlock => {
                    self.state(family).quiet_for = Some(0);
                    return Err(IoError::WouldBlock);
                }
                AfterRecv::Fatal => return Err(IoError::Fatal(error.raw_os_error())),
                AfterRecv::Again | AfterRecv::Transient => {
                    return Err(IoError::Transient(error.raw_os_error()));
                }
            }
        };
        for (slot, message) in slots.iter_mut().zip(self.recv_batch.received()) {
            let (source, ecn) = local_side(message.control);
            slot.len = message.len;
            slot.truncated = message.truncated;
            slot.endpoint = sockaddr::decode(message.name).map(|remote| Endpoint { remote, source });
            slot.ecn = ecn;
        }
        self.state(family).quiet_for = None;
        Ok(filled)
    }
}

impl UdpIo for Udp {
    fn recv(&mut self, slots: &mut [RecvSlot]) -> Result<usize, IoError> {
        let mut filled = 0;
        let mut failure = None;
        for family in self.order() {
            let Some(rest) = slots.get_mut(filled..).filter(|rest| !rest.is_empty()) else { break };
            if filled > 0 && self.state(family).quiet_for.is_some() {
                // It was empty not long ago: spare the system call.
                continue;
            }
            match self.recv_family(family, rest) {
                Ok(count) => filled += count,
                Err(IoError::WouldBlock) => {}
                Err(error) => failure = Some(error),
            }
        }
        match failure {
            // What did arrive counts more; a lasting failure will be met again.
            _ if filled > 0 || slots.is_empty() => Ok(filled),
            Some(error) => Err(error),
            None => Err(IoError::WouldBlock),
        }
    }

    fn send(&mut self, transmit: &Transmit<'_>) -> SendReport {
        let remote = sockaddr::normalise(transmit.endpoint.remote);
        let family = Family::of(&remote);
        let name = RawAddress::new(&remote);
        let mut pinned = prepare(&mut self.control, &remote, transmit.endpoint.source.as_ref(), transmit.tos);
        self.stale_source = transmit.endpoint.source.is_some() && !pinned;
        let Some(socket) = self.pair.get(family) else {
            return SendReport { sent: 0, status: SendStatus::Dropped(libc::EAFNOSUPPORT) };
        };
        let socket = socket.as_fd();
        let mut sent = 0;
        let mut tried_again_at = None;
        let status = loop {
            let rest = transmit.segments.get(sent..).unwrap_or_default();
            if rest.is_empty() {
                break SendStatus::Done;
            }
            // A segment outside the buffer ends the batch before it, and is refused when it comes first.
            let payloads = rest.iter().map_while(|segment| {
                let start = segment.offset as usize;
                transmit.buffer.get(start..start.checked_add(segment.len as usize)?)
            });
            let error = match self.send_batch.send(socket, name.as_bytes(), self.control.as_bytes(), payloads)
            {
                Ok(0) => break SendStatus::Dropped(libc::EFAULT),
                Ok(count) => {
                    sent += count;
                    continue;
                }
                Err(error) => error.raw_os_error(),
            };
            match after_send(error) {
                AfterSend::Again => {}
                AfterSend::WouldBlock => break SendStatus::WouldBlock,
                AfterSend::Unpin if pinned => {
                    pinned = prepare(&mut self.control, &remote, None, transmit.tos);
                    self.stale_source = true;
                }
                AfterSend::Unpin | AfterSend::Once if is_report(error) && tried_again_at != Some(sent) => {
                    tried_again_at = Some(sent);
                }
                AfterSend::Unpin | AfterSend::Once | AfterSend::Drop => break SendStatus::Dropped(error),
            }
        };
        self.state(family).blocked = status == SendStatus::WouldBlock;
        SendReport { sent, status }
    }

    fn take_stale_source(&mut self) -> bool {
        core::mem::take(&mut self.stale_source)
    }
}

/// Writes the control messages of a datagram and tells whether they pin a source.
fn prepare(control: &mut ControlBuffer, remote: &SocketAddr, source: Option<&Source>, tos: u8) -> bool {
    control.clear();
    let pinned = source.is_some_and(|source| pktinfo::encode(control, source, remote));
    if tos != 0 {
        let (level, kind) = match remote {
            SocketAddr::V4(_) => (libc::SOL_IP, libc::IP_TOS),
            SocketAddr::V6(_) => (libc::SOL_IPV6, libc::IPV6_TCLASS),
        };
        control.push(level, kind, &i32::from(tos).to_ne_bytes());
    }
    pinned
}

/// Reads the local address and the ECN bits from the control messages of a datagram.
fn local_side(control: &[u8]) -> (Option<Source>, u8) {
    let mut source = None;
    let mut ecn = 0;
    for message in cmsg::iter(control) {
        if let Some(tos) = tos_of(&message) {
            ecn = tos & 3;
        } else {
            source = source.or_else(|| pktinfo::decode(&message));
        }
    }
    (source, ecn)
}

/// The TOS or traffic class, if the message tells it: one byte for IPv4, a C int for IPv6.
fn tos_of(message: &Cmsg<'_>) -> Option<u8> {
    match (message.level, message.kind) {
        (libc::SOL_IP, libc::IP_TOS) => message.data.first().copied(),
        (libc::SOL_IPV6, libc::IPV6_TCLASS) => {
            u8::try_from(i32::from_ne_bytes(*message.data.first_chunk()?)).ok()
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
