//! The cookie reply: 64 bytes. White paper, section 5.4.7.

use super::{MessageType, ParseError, TAG_LEN, Writer};
use crate::index::SessionIndex;

/// The length of a cookie reply.
pub const COOKIE_REPLY_LEN: usize = 64;

/// A view of a cookie reply.
#[derive(Clone, Copy, Debug)]
pub struct CookieReply<'a> {
    receiver_index: SessionIndex,
    nonce: &'a [u8; 24],
    encrypted_cookie: &'a [u8; 16 + TAG_LEN],
}

impl<'a> CookieReply<'a> {
    /// Reads a cookie reply; the type bytes are not looked at again.
    ///
    /// # Errors
    ///
    /// [`ParseError::WrongLength`] unless it is 64 bytes long.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ParseError> {
        let fields = || {
            let (_, rest) = bytes.split_first_chunk::<4>()?;
            let (receiver_index, rest) = rest.split_first_chunk::<4>()?;
            let (nonce, rest) = rest.split_first_chunk()?;
            let (encrypted_cookie, []) = rest.split_first_chunk()? else { return None };
            Some(Self {
                receiver_index: SessionIndex::from_le_bytes(*receiver_index),
                nonce,
                encrypted_cookie,
            })
        };
        fields().ok_or(ParseError::WrongLength)
    }

    /// Writes a cookie reply.
    #[must_use]
    pub fn write(
        receiver_index: SessionIndex,
        nonce: &[u8; 24],
        encrypted_cookie: &[u8; 16 + TAG_LEN],
    ) -> [u8; COOKIE_REPLY_LEN] {
        let mut datagram = [0; COOKIE_REPLY_LEN];
        Writer::new(&mut datagram)
            .put(&[MessageType::CookieReply as u8, 0, 0, 0])
            .put(&receiver_index.to_le_bytes())
            .put(nonce)
            .put(encrypted_cookie);
        datagram
    }

    /// Returns the sender index of the message it answers.
    #[must_use]
    pub const fn receiver_index(&self) -> SessionIndex {
        self.receiver_index
    }

    /// Returns the nonce of the XChaCha20-Poly1305 seal.
    #[must_use]
    pub const fn nonce(&self) -> &'a [u8; 24] {
        self.nonce
    }

    /// Returns the sealed cookie.
    #[must_use]
    pub const fn encrypted_cookie(&self) -> &'a [u8; 16 + TAG_LEN] {
        self.encrypted_cookie
    }
}
