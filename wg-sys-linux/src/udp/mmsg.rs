//! `recvmmsg` and `sendmmsg` over arrays made once: no allocation per call.
//!
//! The arrays hold pointers only between the start of a call and its end; each call writes them anew for the entries it
//! uses. The buffers they point to come in as slices borrowed for longer than the call.
#![expect(unsafe_code, reason = "recvmmsg and sendmmsg through libc")]

use core::ffi::c_uint;
use core::fmt;
use core::mem::MaybeUninit;
use core::ptr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use rustix::io::Errno;

use super::cmsg::ControlBuffer;
use super::gso::Message;
use super::{cmsg, sockaddr};
use crate::sockopt::last_errno;

/// Messages per system call, at most.
pub(super) const BATCH: usize = 64;

#[expect(clippy::cast_possible_truncation, reason = "28 bytes")]
const NAME_LEN: libc::socklen_t = sockaddr::CAPACITY as libc::socklen_t;

/// Headers and vectors for one system call.
struct Frames {
    headers: [libc::mmsghdr; BATCH],
    vectors: [libc::iovec; BATCH],
}

// SAFETY: the pointers in the arrays are written at the start of a call that holds `&mut self`, used by the kernel within
// that call, and never read afterwards. Between calls they are plain numbers, which any thread may own.
unsafe impl Send for Frames {}

impl Frames {
    fn new() -> Box<Self> {
        // SAFETY: `mmsghdr` is a C structure of integers and pointers, for which all zeros is a valid value.
        let header: libc::mmsghdr = unsafe { MaybeUninit::zeroed().assume_init() };
        let vector = libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 };
        Box::new(Self { headers: [header; BATCH], vectors: [vector; BATCH] })
    }
}

/// Room for the address and the control messages of one received datagram.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
struct Aside {
    control: [u8; cmsg::CAPACITY],
    name: [u8; sockaddr::CAPACITY],
}

/// One received datagram, apart from its bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Received<'a> {
    /// Bytes in the buffer.
    pub(super) len: usize,
    /// Whether the datagram was longer than the buffer.
    pub(super) truncated: bool,
    /// The sender's socket address.
    pub(super) name: &'a [u8],
    /// Control messages.
    pub(super) control: &'a [u8],
}

/// Arrays for receiving.
pub(super) struct RecvBatch {
    frames: Box<Frames>,
    asides: Box<[Aside; BATCH]>,
    filled: usize,
}

impl RecvBatch {
    pub(super) fn new() -> Self {
        let aside = Aside { control: [0; cmsg::CAPACITY], name: [0; sockaddr::CAPACITY] };
        Self { frames: Frames::new(), asides: Box::new([aside; BATCH]), filled: 0 }
    }

    /// Receives into `buffers`, at most [`BATCH`] of them, and returns how many were filled. Does not block.
    pub(super) fn recv<'a>(
        &mut self,
        fd: BorrowedFd<'_>,
        buffers: impl Iterator<Item = &'a mut [u8]>,
    ) -> Result<usize, Errno> {
        self.filled = 0;
        let Frames { headers, vectors } = &mut *self.frames;
        let mut count: c_uint = 0;
        for (((header, vector), aside), buffer) in
            headers.iter_mut().zip(vectors.iter_mut()).zip(self.asides.iter_mut()).zip(buffers)
        {
            vector.iov_base = buffer.as_mut_ptr().cast();
            vector.iov_len = buffer.len();
            header.msg_hdr.msg_name = aside.name.as_mut_ptr().cast();
            header.msg_hdr.msg_namelen = NAME_LEN;
            header.msg_hdr.msg_iov = vector;
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_control = aside.control.as_mut_ptr().cast();
            header.msg_hdr.msg_controllen = cmsg::CAPACITY as _;
            header.msg_hdr.msg_flags = 0;
            header.msg_len = 0;
            count += 1;
        }
        // SAFETY: the first `count` headers are valid: name and control point into `self.asides`, with the lengths of its
        // arrays; the vector points to a buffer borrowed exclusively for 'a, which outlives this call, with that buffer's
        // length. Nothing else touches them meanwhile, and the kernel keeps no pointer. The time-out may be null.
        let received = unsafe {
            libc::recvmmsg(
                fd.as_raw_fd(),
                headers.as_mut_ptr(),
                count,
                libc::MSG_DONTWAIT as _,
                ptr::null_mut(),
            )
        };
        self.filled = usize::try_from(received).map_err(|_| last_errno())?;
        Ok(self.filled)
    }

    /// Iterates over what the last call received, in order.
    pub(super) fn received(&self) -> impl Iterator<Item = Received<'_>> {
        self.frames.headers.iter().zip(self.asides.iter()).take(self.filled).map(|(header, aside)| Received {
            len: header.msg_len as usize,
            truncated: header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0,
            name: aside.name.get(..header.msg_hdr.msg_namelen as usize).unwrap_or(&aside.name),
            #[expect(clippy::unnecessary_cast, reason = "not a usize with every libc")]
            control: aside.control.get(..header.msg_hdr.msg_controllen as usize).unwrap_or(&aside.control),
        })
    }
}

impl fmt::Debug for RecvBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecvBatch").field("filled", &self.filled).finish_non_exhaustive()
    }
}

/// Arrays for sending.
pub(super) struct SendBatch {
    frames: Box<Frames>,
    /// What goes with messages of several datagrams.
    controls: Box<[ControlBuffer; BATCH]>,
    /// Datagrams in each message of the last call, and the length of all but the last of them.
    segments: [(u16, u16); BATCH],
}

impl SendBatch {
    pub(super) fn new() -> Self {
        Self {
            frames: Frames::new(),
            controls: Box::new([const { ControlBuffer::new() }; BATCH]),
            segments: [(0, 0); BATCH],
        }
    }

    /// Sends `messages`, at most [`BATCH`] of them, to one address with the same control messages, and returns how many
    /// datagrams the kernel took. Does not block; fails only if it took none.
    pub(super) fn send<'a>(
        &mut self,
        fd: impl AsFd,
        name: &[u8],
        control: &ControlBuffer,
        messages: impl Iterator<Item = Message<'a>>,
    ) -> Result<usize, Errno> {
        let Frames { headers, vectors } = &mut *self.frames;
        let entries = headers
            .iter_mut()
            .zip(vectors.iter_mut())
            .zip(self.controls.iter_mut())
            .zip(self.segments.iter_mut());
        let mut count: usize = 0;
        for ((((header, vector), own), segments), message) in entries.zip(messages) {
            let control = if message.segments > 1 {
                own.copy_from(control);
                own.push(libc::SOL_UDP, libc::UDP_SEGMENT, &message.segment_size.to_ne_bytes());
                own.as_bytes()
            } else {
                control.as_bytes()
            };
            *segments = (u16::try_from(message.segments).unwrap_or(1), message.segment_size);
            vector.iov_base = message.payload.as_ptr().cast_mut().cast();
            vector.iov_len = message.payload.len();
            header.msg_hdr.msg_name = name.as_ptr().cast_mut().cast();
            header.msg_hdr.msg_namelen = libc::socklen_t::try_from(name.len()).unwrap_or(0);
            header.msg_hdr.msg_iov = vector;
            header.msg_hdr.msg_iovlen = 1;
            // A pointer to no control messages is refused by some kernels: null says it plainly.
            header.msg_hdr.msg_control =
                if control.is_empty() { ptr::null_mut() } else { control.as_ptr().cast_mut().cast() };
            header.msg_hdr.msg_controllen = control.len() as _;
            header.msg_hdr.msg_flags = 0;
            header.msg_len = 0;
            count += 1;
        }
        #[cfg(any(test, feature = "test-util"))]
        let count = crate::fault::messages_taken(
            self.segments.iter().take(count).map(|&(segments, size)| (segments.into(), size.into())),
        )?;
        let count = c_uint::try_from(count).unwrap_or(0);
        // SAFETY: the first `count` headers are valid: name, control and payload are slices with their own lengths, borrowed
        // for longer than this call, from the caller or from `self.controls`, which is not touched meanwhile. The kernel only
        // reads them, so the casts to mutable are harmless; it writes nothing but `msg_len` in the headers, which are
        // borrowed exclusively.
        let sent = unsafe {
            libc::sendmmsg(fd.as_fd().as_raw_fd(), headers.as_mut_ptr(), count, libc::MSG_DONTWAIT as _)
        };
        let sent = usize::try_from(sent).map_err(|_| last_errno())?;
        Ok(self.segments.iter().take(sent).map(|&(segments, _)| usize::from(segments)).sum())
    }

    /// Datagrams in the first message of the last call, and the length of all but the last of them.
    pub(super) fn first(&self) -> (usize, usize) {
        let (segments, size) = self.segments[0];
        (segments.into(), size.into())
    }
}

impl fmt::Debug for SendBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendBatch").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;
    use crate::udp::sockaddr::{RawAddress, decode};

    #[test]
    fn batch_arrives_whole_and_in_order() {
        let (here, there) =
            (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
        let to = RawAddress::new(&there.local_addr().unwrap());
        let payloads: Vec<Vec<u8>> = (0..100_u8).map(|n| vec![n; usize::from(n)]).collect();
        let single = |payload| Message { payload, segments: 1, segment_size: 0 };
        let messages = payloads.iter().map(|payload| single(payload.as_slice()));
        let sent = SendBatch::new().send(&here, to.as_bytes(), &ControlBuffer::new(), messages);
        assert_eq!(sent, Ok(BATCH), "no more than a batch a call");

        let mut buffers = vec![[0_u8; 200]; 80];
        let mut batch = RecvBatch::new();
        let filled = batch.recv(there.as_fd(), buffers.iter_mut().map(|buffer| &mut buffer[..])).unwrap();
        assert_eq!(filled, BATCH);
        for ((n, message), buffer) in batch.received().enumerate().zip(&buffers) {
            assert_eq!(buffer[..message.len], payloads[n]);
            assert!(!message.truncated);
            assert_eq!(decode(message.name), Some(here.local_addr().unwrap()));
        }
        let again = batch.recv(there.as_fd(), buffers.iter_mut().map(|buffer| &mut buffer[..]));
        assert_eq!(again, Err(Errno::AGAIN));
        assert_eq!(batch.received().count(), 0, "nothing is left of the batch before");
    }

    #[test]
    fn datagram_longer_than_its_buffer_is_marked() {
        let (here, there) =
            (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
        here.send_to(&[1; 100], there.local_addr().unwrap()).unwrap();
        here.send_to(&[2; 10], there.local_addr().unwrap()).unwrap();
        let mut buffers = [[0_u8; 10]; 2];
        let mut batch = RecvBatch::new();
        batch.recv(there.as_fd(), buffers.iter_mut().map(|buffer| &mut buffer[..])).unwrap();
        let seen: Vec<_> = batch.received().map(|message| (message.len, message.truncated)).collect();
        assert_eq!(seen, [(10, true), (10, false)]);
    }
}
