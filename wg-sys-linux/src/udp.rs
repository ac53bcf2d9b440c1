//! The UDP sockets of a tunnel: IPv4 and IPv6 on one port, datagrams in batches, answers from the address asked.
//!
//! With offloads, several datagrams leave in one message and come as one train, see `gso` and [`RecvSlot::segment_size`].
//!
//! Receiving takes turns between the families, so that a flood on one does not starve the other. Sending pins the local
//! address a peer's packets came to; when the kernel refuses that address, the datagram leaves without it in the same
//! call and [`Udp::take_stale_source`] says so (C91). What each error number means stands in `errno`.

mod buffers;
mod cmsg;
mod egress;
mod errno;
mod group;
mod gso;
mod mmsg;
mod pair;
mod path_mtu;
mod pktinfo;
#[cfg(feature = "test-util")]
pub(crate) mod probe;
mod route;
mod self_test;
mod sockaddr;
mod steering;

use core::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use wg_datapath::io::{IoError, RecvSlot, SendReport, SendStatus, Transmit, UdpIo};
use wg_proto::{Endpoint, Source};

use crate::downgrade::{Downgrade, Downgrades};
use crate::{Error, Interest, Offloads, Poller, Token, sockopt};
use cmsg::{Cmsg, ControlBuffer};
use errno::{AfterRecv, AfterSend, after_recv, after_send, is_report};
use gso::{Gso, Refused};
use mmsg::{RecvBatch, SendBatch};
use pair::{Family, Pair};
use path_mtu::PathMtuNews;
use sockaddr::RawAddress;

pub use buffers::Buffers;
pub use egress::Egress;
pub use route::RouteWatch;
pub use self_test::{SelfTest, Tried};
pub(crate) use steering::Instruction;
pub use steering::Steering;

/// Reports of earlier sends taken off a socket in one receive call. Each call of the kernel takes one.
const MAX_REPORTS: u32 = 16;

/// A family that was empty is asked after the other, and only if that was empty too, for this many calls.
const QUIET_CALLS: u32 = 8;

/// What is remembered about one family between calls.
#[derive(Clone, Copy, Debug)]
struct FamilyState {
    /// What may be sent in one message.
    gso: Gso,
    /// The last receive call found nothing, this many calls ago.
    quiet_for: Option<u32>,
    /// The last send would have blocked.
    blocked: bool,
    /// What the poller has been asked for.
    interest: Option<Interest>,
}

impl FamilyState {
    /// The state of a socket just opened.
    const NEW: Self = Self { gso: Gso::OFF, quiet_for: None, blocked: false, interest: None };

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
    pair: Arc<Pair>,
    fwmark: u32,
    offloads: Offloads,
    downgrades: Downgrades,
    recv_batch: RecvBatch,
    send_batch: SendBatch,
    control: ControlBuffer,
    /// The family to ask first.
    turn: Family,
    /// The last receive call left nothing in the families it asked.
    drained: bool,
    v4: FamilyState,
    v6: FamilyState,
    stale_source: bool,
    wanted_buffers: Buffers,
    path_mtu: PathMtuNews,
    /// An error was reported that stands in the error queue of the IPv6 socket, too.
    errors_queued: bool,
    /// The pairs of all that it shares its port with, and moves only with, in their order.
    group: Option<Arc<[Arc<Pair>]>>,
}

impl Udp {
    /// Opens both sockets on any address and `port`, 0 for one that is free in both families, with `fwmark`, 0 for none.
    ///
    /// A family the system does not have is left out. Datagrams leave several at a time where the kernel can, and come one by
    /// one.
    ///
    /// # Errors
    ///
    /// The port is taken (EADDRINUSE), or the mark needs a privilege.
    pub fn bind(port: u16, fwmark: u32) -> Result<Self, Error> {
        Self::bind_with(port, fwmark, Offloads { udp_gro: false, ..Offloads::ALL })
    }

    /// Opens both sockets as [`bind`](Self::bind) does, with those of the offloads that the kernel has.
    ///
    /// With [`Offloads::udp_gro`] any slot to receive into may be filled by a train of 64 KiB; in a shorter one a longer train
    /// is lost, as a datagram longer than its slot is.
    ///
    /// # Errors
    ///
    /// As [`bind`](Self::bind).
    pub fn bind_with(port: u16, fwmark: u32, offloads: Offloads) -> Result<Self, Error> {
        Ok(Self::with(Arc::new(Pair::open(port, fwmark)?), fwmark, offloads))
    }

    fn with(pair: Arc<Pair>, fwmark: u32, offloads: Offloads) -> Self {
        let mut udp = Self {
            pair,
            fwmark,
            offloads,
            downgrades: Downgrades::default(),
            recv_batch: RecvBatch::new(),
            send_batch: SendBatch::new(),
            control: ControlBuffer::new(),
            turn: Family::V4,
            drained: false,
            v4: FamilyState::NEW,
            v6: FamilyState::NEW,
            stale_source: false,
            wanted_buffers: Buffers::DEFAULT,
            path_mtu: PathMtuNews::default(),
            errors_queued: false,
            group: None,
        };
        udp.prepare_sockets();
        udp
    }

    /// Sets what the sockets just opened are to do, and forgets what was known of those before.
    fn prepare_sockets(&mut self) {
        (self.v4, self.v6) = (FamilyState::NEW, FamilyState::NEW);
        for (socket, state) in [(&self.pair.v4, &mut self.v4), (&self.pair.v6, &mut self.v6)] {
            let Some(socket) = socket else { continue };
            buffers::resize(socket, self.wanted_buffers);
            state.gso = pair::switch_on(socket, self.offloads, &mut self.downgrades);
        }
        self.errors_queued = false;
    }

    /// Takes the next news of an offload that was switched off because the kernel refused it.
    pub fn take_downgrade(&mut self) -> Option<Downgrade> {
        self.downgrades.take()
    }

    /// Returns the most datagrams that leave in one message, over IPv4 and over IPv6; 1 without segmentation.
    #[must_use]
    pub const fn max_segments(&self) -> (usize, usize) {
        (self.v4.gso.segments(), self.v6.gso.segments())
    }

    /// Returns the port both sockets are bound to.
    #[must_use]
    pub fn port(&self) -> u16 {
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
    /// As [`bind`](Self::bind); the old sockets then go on working. Also it is a member of a group, which moves as a whole
    /// (EINVAL).
    pub fn rebind(&mut self, port: u16) -> Result<u16, Error> {
        if self.group.is_some() {
            return Err(Error::new("move one of a group to another port", rustix::io::Errno::INVAL));
        }
        if port != 0 && port == self.pair.port {
            return Ok(port);
        }
        self.pair = Arc::new(Pair::open(port, self.fwmark)?);
        self.prepare_sockets();
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

    /// Reads what stands in the error queue of the IPv6 socket, [`path_mtu::MAX_ENTRIES`] at most. If there is more, the kernel
    /// reports the next entry with the next call.
    fn read_errors(&mut self) {
        self.errors_queued = false;
        let Some(socket) = &self.pair.v6 else { return };
        if self.recv_batch.recv_errors(socket.as_fd(), path_mtu::MAX_ENTRIES).is_ok() {
            for entry in self.recv_batch.received() {
                self.path_mtu.add(entry.name, entry.control);
            }
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
            self.errors_queued |= family == Family::V6 && is_report(error.raw_os_error());
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
            let Aside { source, ecn, segment_size } = aside(message.control);
            slot.len = message.len;
            // A train of one is a datagram.
            slot.segment_size = if segment_size < message.len { segment_size } else { 0 };
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
        self.drained = true;
        for family in self.order() {
            let Some(rest) = slots.get_mut(filled..).filter(|rest| !rest.is_empty()) else {
                self.drained = false;
                break;
            };
            if filled > 0 && self.state(family).quiet_for.is_some() {
                // It was empty not long ago: spare the system call.
                continue;
            }
            let room = rest.len();
            match self.recv_family(family, rest) {
                Ok(count) => {
                    filled += count;
                    self.drained &= count < room;
                }
                Err(IoError::WouldBlock) => {}
                Err(error) => failure = Some(error),
            }
        }
        if self.errors_queued {
            self.read_errors();
        }
        self.drained &= failure.is_none();
        match failure {
            // What did arrive counts more; a lasting failure will be met again.
            _ if filled > 0 || slots.is_empty() => Ok(filled),
            Some(error) => Err(error),
            None => Err(IoError::WouldBlock),
        }
    }

    /// The kernel ends a call early if nothing is left, or if an error is, which a poller tells of, as it does of the family that was not
    /// asked because it was empty not long ago.
    fn is_drained(&self) -> bool {
        self.drained
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
        // Up to this one they are sent one by one, because a message of several was refused.
        let mut singly_until: usize = 0;
        let mut refused: Option<Refused> = None;
        let gso = match family {
            Family::V4 => &mut self.v4.gso,
            Family::V6 => &mut self.v6.gso,
        };
        let mut limits = gso.limits(remote.ip(), family);
        let status = loop {
            let rest = transmit.segments.get(sent..).unwrap_or_default();
            if rest.is_empty() {
                break SendStatus::Done;
            }
            // A segment outside the buffer ends the batch before it, and is refused when it comes first.
            let singly = singly_until.saturating_sub(sent);
            let messages = gso::messages(transmit.buffer, rest, singly, limits);
            let error = match self.send_batch.send(socket, name.as_bytes(), &self.control, messages) {
                Ok(0) => break SendStatus::Dropped(libc::EFAULT),
                Ok(count) => {
                    sent += count;
                    if let Some(refused) = refused.take() {
                        // One by one they pass.
                        singly_until = 0;
                        if let Some(feature) = gso.learn(refused, remote.ip()) {
                            self.downgrades.push(feature, refused.errno);
                        }
                        limits = gso.limits(remote.ip(), family);
                    }
                    continue;
                }
                Err(error) => error.raw_os_error(),
            };
            let may_be_anothers = is_report(error) && tried_again_at != Some(sent);
            self.errors_queued |= is_report(error) && family == Family::V6;
            let (segments, segment_size) = self.send_batch.first();
            match after_send(error) {
                AfterSend::Again => {}
                AfterSend::WouldBlock => break SendStatus::WouldBlock,
                AfterSend::Once if may_be_anothers => tried_again_at = Some(sent),
                _ if segments > 1 && gso::is_refusal(error) => {
                    refused = Some(Refused { segments, segment_size, errno: error });
                    singly_until = sent + segments;
                }
                AfterSend::Unpin if pinned => {
                    pinned = prepare(&mut self.control, &remote, None, transmit.tos);
                    self.stale_source = true;
                    // The source may have been at fault, not the message.
                    refused = None;
                    singly_until = 0;
                }
                AfterSend::Unpin if may_be_anothers => tried_again_at = Some(sent),
                // Only with IPV6_RECVERR the kernel tells what it lost in a full queue.
                AfterSend::Drop if error == libc::ENOBUFS && family == Family::V6 => sent += segments,
                AfterSend::Unpin | AfterSend::Once | AfterSend::Drop => break SendStatus::Dropped(error),
            }
        };
        self.state(family).blocked = status == SendStatus::WouldBlock;
        SendReport { sent, status }
    }

    fn take_stale_source(&mut self) -> bool {
        core::mem::take(&mut self.stale_source)
    }

    /// Bytes of memory, about twice those of the packets.
    fn unsent(&self) -> Option<usize> {
        self.pair.sockets().map(|socket| sockopt::unsent(socket).ok()).sum()
    }

    fn waits_at(&self, member: usize) -> bool {
        self.waits(member)
    }

    /// What the last receive and send calls came across, of IPv6 only; see `path_mtu`.
    fn take_path_mtu(&mut self) -> Option<(SocketAddr, u16)> {
        self.path_mtu.take()
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

/// What comes with a datagram or a train of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Aside {
    /// The local address.
    source: Option<Source>,
    ecn: u8,
    /// The length of each datagram of a train but the last; 0 if it is none.
    segment_size: usize,
}

/// Reads what comes with a datagram from its control messages.
fn aside(control: &[u8]) -> Aside {
    let mut aside = Aside::default();
    for message in cmsg::iter(control) {
        if let Some(tos) = tos_of(&message) {
            aside.ecn = tos & 3;
        } else if let Some(segment_size) = segment_size_of(&message) {
            aside.segment_size = segment_size;
        } else {
            aside.source = aside.source.or_else(|| pktinfo::decode(&message));
        }
    }
    aside
}

/// The length of the datagrams of a train, if the message tells it: a C int.
fn segment_size_of(message: &Cmsg<'_>) -> Option<usize> {
    if (message.level, message.kind) != (libc::SOL_UDP, libc::UDP_GRO) {
        return None;
    }
    usize::try_from(i32::from_ne_bytes(*message.data.first_chunk()?)).ok()
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
