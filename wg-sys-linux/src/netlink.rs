//! netlink, as much as is needed to read one interface, one route and one list of features: message building, parsing, and a
//! socket.
//!
//! All values are in the byte order of the machine. A message is a 16-byte header (length, type, flags, sequence,
//! port), a fixed part that depends on the type, and attributes (length, type, value), each padded to 4 bytes. Whatever
//! the lengths in a buffer say, parsing ends and never reads outside it.

#[cfg(feature = "test-util")]
pub(crate) mod probe;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::netlink::{GENERIC, SocketAddrNetlink};
use rustix::net::{AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType};

/// Length of `struct nlmsghdr`.
const HEADER: usize = 16;
/// Length of `struct rtattr`.
const ATTRIBUTE_HEADER: usize = 4;

/// The bits of an attribute's kind that are its number; the others are flags.
pub(crate) const TYPE_MASK: u16 = 0x3fff;

const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLMSG_ERROR: u16 = 2;

/// A message to the kernel, under construction.
#[derive(Debug)]
pub(crate) struct Request {
    bytes: Vec<u8>,
    acknowledge: bool,
}

impl Request {
    /// Starts a request that is answered by a message: type and fixed part.
    pub(crate) fn query(kind: u16, fixed: &[u8]) -> Self {
        let mut bytes = vec![0; HEADER];
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(fixed);
        Self { bytes, acknowledge: false }
    }

    /// Starts a request that is answered by an acknowledgement only.
    pub(crate) fn command(kind: u16, fixed: &[u8]) -> Self {
        Self { acknowledge: true, ..Self::query(kind, fixed) }
    }

    /// Adds an attribute. Values are short: names, addresses, numbers.
    pub(crate) fn attribute(mut self, kind: u16, value: &[u8]) -> Self {
        let len = u16::try_from(ATTRIBUTE_HEADER + value.len()).unwrap_or(u16::MAX);
        self.bytes.extend_from_slice(&len.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(value);
        self.bytes.resize(align(self.bytes.len()), 0);
        self
    }

    fn finish(mut self, sequence: u32) -> Vec<u8> {
        let len = u32::try_from(self.bytes.len()).unwrap_or(u32::MAX);
        let flags = if self.acknowledge { NLM_F_REQUEST | NLM_F_ACK } else { NLM_F_REQUEST };
        self.bytes[..4].copy_from_slice(&len.to_ne_bytes());
        self.bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
        self.bytes[8..12].copy_from_slice(&sequence.to_ne_bytes());
        self.bytes
    }
}

/// A received message without its header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Message<'a> {
    kind: u16,
    sequence: u32,
    payload: &'a [u8],
}

/// Iterates over the messages in a buffer and stops at the first malformed one.
fn messages(mut rest: &[u8]) -> impl Iterator<Item = Message<'_>> {
    core::iter::from_fn(move || {
        let len = usize::try_from(u32_at(rest, 0)?).ok()?;
        let payload = rest.get(HEADER..len)?;
        let message = Message { kind: u16_at(rest, 4)?, sequence: u32_at(rest, 8)?, payload };
        rest = rest.get(align(len)..).unwrap_or_default();
        Some(message)
    })
}

/// Iterates over attributes, as (type, value), and stops at the first malformed one.
pub(crate) fn attributes(mut rest: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    core::iter::from_fn(move || {
        let len = usize::from(u16_at(rest, 0)?);
        let value = rest.get(ATTRIBUTE_HEADER..len)?;
        let kind = u16_at(rest, 2)?;
        rest = rest.get(align(len)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// Reads a number of 16 bits.
pub(crate) fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(*bytes.get(offset..)?.first_chunk()?))
}

/// Reads a number of 32 bits.
pub(crate) fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(offset..)?.first_chunk()?))
}

const fn align(len: usize) -> usize {
    len.next_multiple_of(4)
}

/// A socket of the network namespace this thread is in when it is opened. It never blocks.
#[derive(Debug)]
pub(crate) struct Socket {
    fd: OwnedFd,
    sequence: u32,
}

impl Socket {
    /// Opens a socket that hears the broadcasts of `groups`, a mask; 0 for one that only asks.
    pub(crate) fn open(groups: u32) -> Result<Self, Errno> {
        // No protocol is number 0: NETLINK_ROUTE.
        Self::open_protocol(None, groups)
    }

    /// Opens a socket that asks families other than that of routes.
    pub(crate) fn open_generic() -> Result<Self, Errno> {
        Self::open_protocol(Some(GENERIC), 0)
    }

    fn open_protocol(protocol: Option<Protocol>, groups: u32) -> Result<Self, Errno> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let fd = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, protocol)?;
        rustix::net::bind(&fd, &SocketAddrNetlink::new(0, groups))?;
        Ok(Self { fd, sequence: 0 })
    }

    /// Asks, and returns the fixed part and attributes of the answer, or the error number the kernel answers with.
    /// The answer to a command is empty.
    pub(crate) fn ask(&mut self, request: Request) -> Result<Vec<u8>, Errno> {
        self.sequence = self.sequence.wrapping_add(1);
        rustix::net::send(&self.fd, &request.finish(self.sequence), SendFlags::empty())?;
        // The kernel answers before send returns, so an empty queue is a missing answer, not a late one.
        let mut buffer = vec![0; 32 * 1024];
        loop {
            let (_, len, sender) = match rustix::net::recvfrom(&self.fd, &mut buffer, RecvFlags::TRUNC) {
                Err(Errno::INTR) => continue,
                received => received?,
            };
            let from_kernel = sender
                .and_then(|sender| SocketAddrNetlink::try_from(sender).ok())
                .is_some_and(|sender| sender.pid() == 0);
            if !from_kernel {
                continue;
            }
            let Some(received) = buffer.get(..len) else { return Err(Errno::MSGSIZE) };
            let Some(answer) = messages(received).find(|message| message.sequence == self.sequence) else {
                continue;
            };
            return result_of(answer);
        }
    }

    /// Throws away what is waiting and tells whether there was anything, be it a loss report.
    pub(crate) fn drain(&self) -> bool {
        let mut heard = false;
        // The content does not matter: a longer message is cut off.
        let mut scrap = [0; 64];
        loop {
            match rustix::net::recv(&self.fd, &mut scrap, RecvFlags::empty()) {
                Err(Errno::AGAIN) => return heard,
                Ok(_) | Err(Errno::NOBUFS) => heard = true,
                Err(Errno::INTR) => {}
                Err(_) => return heard,
            }
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Turns an answer into its payload, or into the error it carries.
fn result_of(answer: Message<'_>) -> Result<Vec<u8>, Errno> {
    if answer.kind != NLMSG_ERROR {
        return Ok(answer.payload.to_vec());
    }
    match u32_at(answer.payload, 0).map(u32::cast_signed) {
        Some(0) => Ok(Vec::new()),
        Some(negative) if negative > -4096 && negative < 0 => Err(Errno::from_raw_os_error(-negative)),
        _ => Err(Errno::PROTO),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn built_message_parses_back() {
        let bytes = Request::query(18, &[1, 2, 3, 4]).attribute(3, b"wg0\0").attribute(7, b"x").finish(9);
        assert_eq!(bytes.len(), 16 + 4 + 8 + 8, "attributes are padded to four bytes");
        let all: Vec<_> = messages(&bytes).collect();
        assert_eq!(all.len(), 1);
        assert_eq!((all[0].kind, all[0].sequence), (18, 9));
        let attributes: Vec<_> = attributes(&all[0].payload[4..]).collect();
        assert_eq!(attributes, [(3, &b"wg0\0"[..]), (7, &b"x"[..])]);
    }

    #[test]
    fn messages_in_one_buffer_are_told_apart() {
        let mut bytes = Request::query(1, &[]).finish(1);
        bytes.extend(Request::query(2, &[5; 4]).finish(2));
        assert_eq!(messages(&bytes).map(|message| message.kind).collect::<Vec<_>>(), [1, 2]);
    }

    #[test]
    fn answer_to_an_earlier_question_is_passed_over() {
        const RTM_GETLINK: u16 = 18;
        const IFLA_IFNAME: u16 = 3;
        let ask_for = |name: &[u8]| Request::query(RTM_GETLINK, &[0; 16]).attribute(IFLA_IFNAME, name);
        let mut socket = Socket::open(0).unwrap();
        rustix::net::send(&socket.fd, &ask_for(b"lo\0").finish(77), SendFlags::empty()).unwrap();
        assert_eq!(socket.ask(ask_for(b"nosuchdevice\0")), Err(Errno::NODEV));
    }

    #[test]
    fn error_answers_become_errors() {
        let answer = |code: i32| {
            let payload = code.to_ne_bytes();
            result_of(Message { kind: NLMSG_ERROR, sequence: 0, payload: &payload })
        };
        assert_eq!(answer(-libc::ENODEV), Err(Errno::NODEV));
        assert_eq!(answer(0), Ok(Vec::new()));
        assert_eq!(answer(5), Err(Errno::PROTO));
        assert_eq!(answer(i32::MIN), Err(Errno::PROTO));
        assert_eq!(result_of(Message { kind: NLMSG_ERROR, sequence: 0, payload: &[] }), Err(Errno::PROTO));
    }

    proptest! {
        #[test]
        fn any_bytes_are_parsed_to_an_end(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let count = messages(&bytes).take(1000).count();
            prop_assert!(count * HEADER <= bytes.len());
            let count = attributes(&bytes).take(1000).count();
            prop_assert!(count * ATTRIBUTE_HEADER <= bytes.len());
        }

        #[test]
        fn small_lengths_are_parsed_to_an_end(bytes in proptest::collection::vec(0_u8..9, 0..200)) {
            prop_assert!(messages(&bytes).take(1000).count() * HEADER <= bytes.len());
            prop_assert!(attributes(&bytes).take(1000).count() * ATTRIBUTE_HEADER <= bytes.len());
        }
    }
}
