//! Control messages of a datagram: what comes with it (local address, TOS) and what goes with it.
//!
//! A buffer holds headers (length as a machine word, level and type as C ints), each followed by its data and padded to
//! a machine word; the length counts header and data without the padding. Whatever the lengths say, reading ends and
//! never leaves the buffer.
//!
//! ```text
//! | len | level | type | data .... | pad | len | level | type | data ...
//!   word   int    int                ^ next header starts on a word boundary
//! ```

use core::ffi::c_int;
use core::mem::size_of;

/// Headers and data are aligned to this.
const WORD: usize = size_of::<usize>();
/// Length of `struct cmsghdr`.
const HEADER: usize = WORD + 2 * size_of::<c_int>();

/// Room for what a receive call may deliver, local address, TOS and the length of the datagrams of a train, with some to
/// spare.
pub(super) const CAPACITY: usize = 128;

/// One control message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cmsg<'a> {
    pub(super) level: c_int,
    pub(super) kind: c_int,
    pub(super) data: &'a [u8],
}

/// Iterates over the messages in a buffer and stops at the first malformed one.
pub(super) fn iter(mut rest: &[u8]) -> impl Iterator<Item = Cmsg<'_>> {
    core::iter::from_fn(move || {
        let len = usize::from_ne_bytes(*rest.first_chunk()?);
        let level = c_int::from_ne_bytes(*rest.get(WORD..)?.first_chunk()?);
        let kind = c_int::from_ne_bytes(*rest.get(WORD + size_of::<c_int>()..)?.first_chunk()?);
        let data = rest.get(HEADER..len)?;
        rest = rest.get(len.next_multiple_of(WORD)..).unwrap_or_default();
        Some(Cmsg { level, kind, data })
    })
}

/// Control messages to send, built in place.
#[derive(Debug)]
#[repr(C, align(8))]
pub(super) struct ControlBuffer {
    bytes: [u8; CAPACITY],
    len: usize,
}

impl ControlBuffer {
    pub(super) const fn new() -> Self {
        Self { bytes: [0; CAPACITY], len: 0 }
    }

    pub(super) const fn clear(&mut self) {
        self.len = 0;
    }

    /// Takes the messages of another buffer in place of its own.
    pub(super) fn copy_from(&mut self, other: &Self) {
        self.len = other.len;
        if let Some(room) = self.bytes.get_mut(..other.len) {
            room.copy_from_slice(other.as_bytes());
        }
    }

    /// Appends a message. What this crate sends fits; more than fits would be left out.
    pub(super) fn push(&mut self, level: c_int, kind: c_int, data: &[u8]) {
        let len = HEADER + data.len();
        let Some(room) = self.bytes.get_mut(self.len..self.len + len.next_multiple_of(WORD)) else {
            debug_assert!(false, "control messages of {len} bytes do not fit");
            return;
        };
        let (header, body) = room.split_at_mut(HEADER);
        let (word, ints) = header.split_at_mut(WORD);
        let (first, second) = ints.split_at_mut(size_of::<c_int>());
        word.copy_from_slice(&len.to_ne_bytes());
        first.copy_from_slice(&level.to_ne_bytes());
        second.copy_from_slice(&kind.to_ne_bytes());
        let (value, padding) = body.split_at_mut(data.len());
        value.copy_from_slice(data);
        padding.fill(0);
        self.len += len.next_multiple_of(WORD);
    }

    /// Returns the messages as the kernel takes them.
    pub(super) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn messages_read_back_as_written() {
        let mut buffer = ControlBuffer::new();
        buffer.push(libc::SOL_IP, libc::IP_PKTINFO, &[7; 12]);
        buffer.push(libc::SOL_IP, libc::IP_TOS, &[3]);
        let read: Vec<_> = iter(buffer.as_bytes()).collect();
        assert_eq!(
            read,
            [
                Cmsg { level: libc::SOL_IP, kind: libc::IP_PKTINFO, data: &[7; 12] },
                Cmsg { level: libc::SOL_IP, kind: libc::IP_TOS, data: &[3] },
            ]
        );
        buffer.clear();
        assert_eq!(buffer.as_bytes(), [0_u8; 0]);
    }

    #[test]
    fn layout_is_that_of_the_libc_macros() {
        assert_eq!(HEADER, size_of::<libc::cmsghdr>());
        let mut buffer = ControlBuffer::new();
        buffer.push(1, 2, &[9; 12]);
        // CMSG_LEN and CMSG_SPACE of 12 bytes on 64 and 32 bits.
        let (len, space) = if WORD == 8 { (28, 32) } else { (24, 24) };
        assert_eq!(usize::from_ne_bytes(*buffer.as_bytes().first_chunk().unwrap()), len);
        assert_eq!(buffer.as_bytes().len(), space);
    }

    #[test]
    fn zero_length_message_ends_the_iteration() {
        // C103: a length of zero, or below the header, must not be met again and again.
        for len in 0..HEADER {
            let mut bytes = [0; 64];
            bytes[..WORD].copy_from_slice(&len.to_ne_bytes());
            assert_eq!(iter(&bytes).count(), 0);
        }
        let mut bytes = [0; 64];
        bytes[..WORD].copy_from_slice(&usize::MAX.to_ne_bytes());
        assert_eq!(iter(&bytes).count(), 0);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_to_an_end(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(iter(&bytes).take(1000).count() * HEADER <= bytes.len());
        }

        #[test]
        fn plausible_lengths_are_read_to_an_end(
            lengths in proptest::collection::vec(0_usize..64, 1..8),
            tail in 0_usize..40,
        ) {
            let mut bytes = Vec::new();
            for len in lengths {
                bytes.extend_from_slice(&len.to_ne_bytes());
                bytes.resize(bytes.len() + len.saturating_sub(WORD), 1);
            }
            bytes.truncate(bytes.len().saturating_sub(tail));
            prop_assert!(iter(&bytes).take(1000).count() * HEADER <= bytes.len());
        }
    }
}
