//! Transport data: a 16-byte header, then the sealed packet and its tag. White paper, section 5.4.6.

use super::{MessageType, ParseError, TAG_LEN, Writer};
use crate::index::SessionIndex;

/// The length of the header in front of the ciphertext.
pub const TRANSPORT_HEADER_LEN: usize = 16;

/// What a packet grows by: header and tag.
pub const TRANSPORT_OVERHEAD: usize = TRANSPORT_HEADER_LEN + TAG_LEN;

/// The length of a keepalive: header and tag of an empty packet (C66).
pub const KEEPALIVE_LEN: usize = TRANSPORT_OVERHEAD;

/// A view of transport data.
#[derive(Clone, Copy, Debug)]
pub struct TransportData<'a> {
    receiver_index: SessionIndex,
    counter: u64,
    ciphertext: &'a [u8],
}

impl<'a> TransportData<'a> {
    /// Reads transport data; the type bytes are not looked at again.
    ///
    /// # Errors
    ///
    /// [`ParseError::WrongLength`] below 32 bytes.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ParseError> {
        let fields = || {
            let (_, rest) = bytes.split_first_chunk::<4>()?;
            let (receiver_index, rest) = rest.split_first_chunk::<4>()?;
            let (counter, ciphertext) = rest.split_first_chunk::<8>()?;
            (ciphertext.len() >= TAG_LEN).then_some(Self {
                receiver_index: SessionIndex::from_le_bytes(*receiver_index),
                counter: u64::from_le_bytes(*counter),
                ciphertext,
            })
        };
        fields().ok_or(ParseError::WrongLength)
    }

    /// Returns the index of the keypair it was sealed with.
    #[must_use]
    pub const fn receiver_index(&self) -> SessionIndex {
        self.receiver_index
    }

    /// Returns the counter.
    #[must_use]
    pub const fn counter(&self) -> u64 {
        self.counter
    }

    /// Returns ciphertext and tag.
    #[must_use]
    pub const fn ciphertext(&self) -> &'a [u8] {
        self.ciphertext
    }
}

/// Writes the header of transport data into the first 16 bytes of `datagram`.
pub fn write_transport_header(
    datagram: &mut [u8; TRANSPORT_HEADER_LEN],
    receiver_index: SessionIndex,
    counter: u64,
) {
    Writer::new(datagram)
        .put(&[MessageType::TransportData as u8, 0, 0, 0])
        .put(&receiver_index.to_le_bytes())
        .put(&counter.to_le_bytes());
}
