//! Transport keys as plain values: the middle phase of the split. They may be used on any core, by shared reference,
//! and touch nothing but the packet; counters come from the session that issued them.
//!
//! ```text
//!   0        4          8         16                      n-16      n
//!   | type 4 | receiver | counter | padded inner packet    | tag    |
//! ```
//!
//! White paper, section 5.4.6.

use crate::aead::{Aead, AeadError};
use crate::index::SessionIndex;
use crate::wire::{TAG_LEN, TRANSPORT_HEADER_LEN, TRANSPORT_OVERHEAD, write_transport_header};

/// The key a session seals with, and the index the peer knows it by. Wiped on drop.
#[cfg_attr(feature = "test-util", derive(Clone))]
#[derive(Debug)]
pub struct SendKey<A> {
    cipher: A,
    receiver_index: SessionIndex,
}

impl<A: Aead> SendKey<A> {
    /// Prepares the key.
    #[must_use]
    pub fn new(key: &[u8; 32], receiver_index: SessionIndex) -> Self {
        Self { cipher: A::new(key), receiver_index }
    }

    /// Returns the prepared cipher, for batches.
    pub const fn cipher(&self) -> &A {
        &self.cipher
    }

    /// Returns the index written into every message.
    #[must_use]
    pub const fn receiver_index(&self) -> SessionIndex {
        self.receiver_index
    }

    /// Writes the header into the first 16 bytes of `message` and returns the rest: what the AEAD seals.
    ///
    /// # Errors
    ///
    /// [`AeadError::BufferTooSmall`] below 32 bytes; nothing was written.
    pub fn begin_seal<'m>(&self, counter: u64, message: &'m mut [u8]) -> Result<&'m mut [u8], AeadError> {
        let have = message.len();
        let too_small = AeadError::BufferTooSmall { need: TRANSPORT_OVERHEAD, have };
        if have < TRANSPORT_OVERHEAD {
            return Err(too_small);
        }
        let (header, body) = message.split_first_chunk_mut::<TRANSPORT_HEADER_LEN>().ok_or(too_small)?;
        write_transport_header(header, self.receiver_index, counter);
        Ok(body)
    }

    /// Seals a message in place: 16 bytes for the header, the padded packet, 16 bytes for the tag.
    ///
    /// # Errors
    ///
    /// [`AeadError::BufferTooSmall`] below 32 bytes; nothing was written.
    pub fn seal_in_place(&self, counter: u64, message: &mut [u8]) -> Result<(), AeadError> {
        let body = self.begin_seal(counter, message)?;
        self.cipher.seal_in_place(counter, body)
    }
}

/// The key a session opens with. Wiped on drop.
#[cfg_attr(feature = "test-util", derive(Clone))]
#[derive(Debug)]
pub struct RecvKey<A> {
    cipher: A,
}

impl<A: Aead> RecvKey<A> {
    /// Prepares the key.
    #[must_use]
    pub fn new(key: &[u8; 32]) -> Self {
        Self { cipher: A::new(key) }
    }

    /// Returns the prepared cipher, for batches.
    pub const fn cipher(&self) -> &A {
        &self.cipher
    }

    /// Opens a message in place and returns the packet, padding included.
    ///
    /// # Errors
    ///
    /// [`AeadError::BufferTooSmall`] below 32 bytes, [`AeadError::TagMismatch`] for a forgery.
    pub fn open_in_place<'m>(&self, counter: u64, message: &'m mut [u8]) -> Result<&'m mut [u8], AeadError> {
        let have = message.len();
        let too_small = AeadError::BufferTooSmall { need: TRANSPORT_OVERHEAD, have };
        let body = message.get_mut(TRANSPORT_HEADER_LEN..).ok_or(too_small)?;
        let len = body.len().checked_sub(TAG_LEN).ok_or(too_small)?;
        self.cipher.open_in_place(counter, body)?;
        body.get_mut(..len).ok_or(too_small)
    }
}

/// Why a received packet goes no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OpenError {
    /// No keypair has this index (C75).
    UnknownIndex,
    /// The key is 180 s old (C56).
    Expired,
    /// The counter is beyond the limit of a key (C58).
    CounterLimit,
    /// The counter was seen before or is too old (C77).
    Replayed,
    /// The tag does not verify.
    Unauthentic,
}

impl core::fmt::Display for OpenError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::UnknownIndex => "no keypair has this index",
            Self::Expired => "key is too old",
            Self::CounterLimit => "counter is beyond the limit of a key",
            Self::Replayed => "counter seen before or too old",
            Self::Unauthentic => "tag does not verify",
        })
    }
}

impl core::error::Error for OpenError {}

/// Returns the length a packet of `len` bytes is padded to: a multiple of 16, but never beyond the MTU, so that a full
/// packet stays full (C65). An MTU of 0 means none is known.
#[must_use]
pub const fn padded_len(len: usize, mtu: usize) -> usize {
    // A packet longer than the MTU leaves in pieces of the MTU; only the last is padded.
    let unit = match len.checked_rem(mtu) {
        Some(rest) if len > mtu => rest,
        _ => len,
    };
    let rounded = match unit.checked_next_multiple_of(16) {
        Some(rounded) => rounded,
        None => usize::MAX,
    };
    let padded = if mtu != 0 && rounded > mtu { mtu } else { rounded };
    len.saturating_add(padded.saturating_sub(unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_follows_the_table() {
        // C65
        let table =
            [(1, 16), (17, 32), (84, 96), (1408, 1408), (1409, 1420), (1420, 1420), (1421, 1436), (0, 0)];
        for (len, padded) in table {
            assert_eq!(padded_len(len, 1420), padded, "{len} bytes at 1420");
        }
        assert_eq!(padded_len(1300, 1300), 1300);
        assert_eq!(padded_len(1299, 1300), 1300);
        assert_eq!(padded_len(1421, 0), 1424);
        assert_eq!(padded_len(usize::MAX, 0), usize::MAX);
        // Where there is no multiple of 16 any more, the MTU is the bound still.
        assert_eq!(padded_len(usize::MAX - 1, usize::MAX), usize::MAX);
        assert_eq!(padded_len(usize::MAX - 9, usize::MAX - 3), usize::MAX - 3);
        assert_eq!(padded_len(5, 1), 5);
        assert_eq!(padded_len(2840, 1420), 2840);
    }
}
