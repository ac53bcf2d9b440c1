//! The handshake response: 92 bytes. White paper, section 5.4.3.

use super::{MessageType, ParseError, TAG_LEN, Writer};
use crate::index::SessionIndex;

/// The length of a response.
pub const RESPONSE_LEN: usize = 92;

/// A view of a handshake response.
#[derive(Clone, Copy, Debug)]
pub struct Response<'a> {
    datagram: &'a [u8; RESPONSE_LEN],
    sender_index: SessionIndex,
    receiver_index: SessionIndex,
    unencrypted_ephemeral: &'a [u8; 32],
    encrypted_nothing: &'a [u8; TAG_LEN],
    mac1: &'a [u8; TAG_LEN],
    mac2: &'a [u8; TAG_LEN],
}

impl<'a> Response<'a> {
    /// Reads a response; the type bytes are not looked at again.
    ///
    /// # Errors
    ///
    /// [`ParseError::WrongLength`] unless it is 92 bytes long.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ParseError> {
        let datagram = bytes.try_into().map_err(|_| ParseError::WrongLength)?;
        let fields = || {
            let (_, rest) = bytes.split_first_chunk::<4>()?;
            let (sender_index, rest) = rest.split_first_chunk::<4>()?;
            let (receiver_index, rest) = rest.split_first_chunk::<4>()?;
            let (unencrypted_ephemeral, rest) = rest.split_first_chunk()?;
            let (encrypted_nothing, rest) = rest.split_first_chunk()?;
            let (mac1, rest) = rest.split_first_chunk()?;
            let (mac2, []) = rest.split_first_chunk()? else { return None };
            Some(Self {
                datagram,
                sender_index: SessionIndex::from_le_bytes(*sender_index),
                receiver_index: SessionIndex::from_le_bytes(*receiver_index),
                unencrypted_ephemeral,
                encrypted_nothing,
                mac1,
                mac2,
            })
        };
        fields().ok_or(ParseError::WrongLength)
    }

    /// Writes a response with both MACs zero.
    #[must_use]
    pub fn write(
        sender_index: SessionIndex,
        receiver_index: SessionIndex,
        unencrypted_ephemeral: &[u8; 32],
        encrypted_nothing: &[u8; TAG_LEN],
    ) -> [u8; RESPONSE_LEN] {
        let mut datagram = [0; RESPONSE_LEN];
        Writer::new(&mut datagram)
            .put(&[MessageType::Response as u8, 0, 0, 0])
            .put(&sender_index.to_le_bytes())
            .put(&receiver_index.to_le_bytes())
            .put(unencrypted_ephemeral)
            .put(encrypted_nothing);
        datagram
    }

    /// Returns the whole message.
    #[must_use]
    pub const fn as_bytes(&self) -> &'a [u8; RESPONSE_LEN] {
        self.datagram
    }

    /// Returns the index the responder chose.
    #[must_use]
    pub const fn sender_index(&self) -> SessionIndex {
        self.sender_index
    }

    /// Returns the index of the initiation it answers.
    #[must_use]
    pub const fn receiver_index(&self) -> SessionIndex {
        self.receiver_index
    }

    /// Returns the responder's ephemeral public key.
    #[must_use]
    pub const fn unencrypted_ephemeral(&self) -> &'a [u8; 32] {
        self.unencrypted_ephemeral
    }

    /// Returns the sealed empty payload: a tag.
    #[must_use]
    pub const fn encrypted_nothing(&self) -> &'a [u8; TAG_LEN] {
        self.encrypted_nothing
    }

    /// Returns the first MAC.
    #[must_use]
    pub const fn mac1(&self) -> &'a [u8; TAG_LEN] {
        self.mac1
    }

    /// Returns the second MAC, all zero where no cookie was held.
    #[must_use]
    pub const fn mac2(&self) -> &'a [u8; TAG_LEN] {
        self.mac2
    }
}
