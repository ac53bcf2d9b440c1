//! The handshake initiation: 148 bytes. White paper, section 5.4.2.

use super::{MessageType, ParseError, TAG_LEN, Writer};
use crate::index::SessionIndex;

/// The length of an initiation.
pub const INITIATION_LEN: usize = 148;

/// A view of a handshake initiation.
#[derive(Clone, Copy, Debug)]
pub struct Initiation<'a> {
    datagram: &'a [u8; INITIATION_LEN],
    sender_index: SessionIndex,
    unencrypted_ephemeral: &'a [u8; 32],
    encrypted_static: &'a [u8; 32 + TAG_LEN],
    encrypted_timestamp: &'a [u8; 12 + TAG_LEN],
    mac1: &'a [u8; TAG_LEN],
    mac2: &'a [u8; TAG_LEN],
}

impl<'a> Initiation<'a> {
    /// Reads an initiation; the type bytes are not looked at again.
    ///
    /// # Errors
    ///
    /// [`ParseError::WrongLength`] unless it is 148 bytes long.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ParseError> {
        let datagram = bytes.try_into().map_err(|_| ParseError::WrongLength)?;
        let fields = || {
            let (_, rest) = bytes.split_first_chunk::<4>()?;
            let (sender_index, rest) = rest.split_first_chunk::<4>()?;
            let (unencrypted_ephemeral, rest) = rest.split_first_chunk()?;
            let (encrypted_static, rest) = rest.split_first_chunk()?;
            let (encrypted_timestamp, rest) = rest.split_first_chunk()?;
            let (mac1, rest) = rest.split_first_chunk()?;
            let (mac2, []) = rest.split_first_chunk()? else { return None };
            Some(Self {
                datagram,
                sender_index: SessionIndex::from_le_bytes(*sender_index),
                unencrypted_ephemeral,
                encrypted_static,
                encrypted_timestamp,
                mac1,
                mac2,
            })
        };
        fields().ok_or(ParseError::WrongLength)
    }

    /// Writes an initiation with both MACs zero.
    #[must_use]
    pub fn write(
        sender_index: SessionIndex,
        unencrypted_ephemeral: &[u8; 32],
        encrypted_static: &[u8; 32 + TAG_LEN],
        encrypted_timestamp: &[u8; 12 + TAG_LEN],
    ) -> [u8; INITIATION_LEN] {
        let mut datagram = [0; INITIATION_LEN];
        Writer::new(&mut datagram)
            .put(&[MessageType::Initiation as u8, 0, 0, 0])
            .put(&sender_index.to_le_bytes())
            .put(unencrypted_ephemeral)
            .put(encrypted_static)
            .put(encrypted_timestamp);
        datagram
    }

    /// Returns the whole message.
    #[must_use]
    pub const fn as_bytes(&self) -> &'a [u8; INITIATION_LEN] {
        self.datagram
    }

    /// Returns the index the initiator chose.
    #[must_use]
    pub const fn sender_index(&self) -> SessionIndex {
        self.sender_index
    }

    /// Returns the initiator's ephemeral public key.
    #[must_use]
    pub const fn unencrypted_ephemeral(&self) -> &'a [u8; 32] {
        self.unencrypted_ephemeral
    }

    /// Returns the sealed static public key.
    #[must_use]
    pub const fn encrypted_static(&self) -> &'a [u8; 32 + TAG_LEN] {
        self.encrypted_static
    }

    /// Returns the sealed timestamp.
    #[must_use]
    pub const fn encrypted_timestamp(&self) -> &'a [u8; 12 + TAG_LEN] {
        self.encrypted_timestamp
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
