//! The four messages on the wire, as views that borrow the datagram. All integers are little-endian.
//!
//! Parsing is total: any bytes give a view or a [`ParseError`], and a view has exactly the length of its type, so no
//! accessor can fail. The first four bytes are the type and three zero bytes, read as one number: a reserved byte that is
//! not zero makes an unknown type (C1). White paper, section 5.4.

#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::panic)]

mod cookie_reply;
mod initiation;
mod response;
mod transport_data;

pub use cookie_reply::{COOKIE_REPLY_LEN, CookieReply};
pub use initiation::{INITIATION_LEN, Initiation};
pub use response::{RESPONSE_LEN, Response};
pub use transport_data::{
    KEEPALIVE_LEN, TRANSPORT_HEADER_LEN, TRANSPORT_OVERHEAD, TransportData, write_transport_header,
};

/// The length of an authentication tag and of a MAC, in bytes.
pub const TAG_LEN: usize = 16;

/// The largest UDP payload there is: 65,535 less the IPv6-less UDP header (jumbograms do not exist here).
pub const MAX_DATAGRAM: usize = 65_527;

/// What the first four bytes of a message say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum MessageType {
    /// Handshake initiation, 148 bytes.
    Initiation = 1,
    /// Handshake response, 92 bytes.
    Response = 2,
    /// Cookie reply, 64 bytes.
    CookieReply = 3,
    /// Transport data, 32 bytes or more.
    TransportData = 4,
}

/// A datagram read as one of the four messages.
#[derive(Clone, Copy, Debug)]
pub enum Message<'a> {
    /// Handshake initiation.
    Initiation(Initiation<'a>),
    /// Handshake response.
    Response(Response<'a>),
    /// Cookie reply.
    CookieReply(CookieReply<'a>),
    /// Transport data.
    TransportData(TransportData<'a>),
}

impl<'a> Message<'a> {
    /// Reads a datagram.
    ///
    /// # Errors
    ///
    /// [`ParseError`]; the datagram is to be dropped without an answer.
    pub fn parse(datagram: &'a [u8]) -> Result<Self, ParseError> {
        Ok(match message_type(datagram)? {
            MessageType::Initiation => Self::Initiation(Initiation::parse(datagram)?),
            MessageType::Response => Self::Response(Response::parse(datagram)?),
            MessageType::CookieReply => Self::CookieReply(CookieReply::parse(datagram)?),
            MessageType::TransportData => Self::TransportData(TransportData::parse(datagram)?),
        })
    }
}

/// Reads the type of a datagram, without looking at its length.
///
/// # Errors
///
/// [`ParseError::TooShort`] below four bytes, [`ParseError::UnknownType`] for anything but the four types.
pub const fn message_type(datagram: &[u8]) -> Result<MessageType, ParseError> {
    let Some(head) = datagram.first_chunk::<4>() else {
        return Err(ParseError::TooShort);
    };
    match u32::from_le_bytes(*head) {
        1 => Ok(MessageType::Initiation),
        2 => Ok(MessageType::Response),
        3 => Ok(MessageType::CookieReply),
        4 => Ok(MessageType::TransportData),
        _ => Err(ParseError::UnknownType),
    }
}

/// Why a datagram is not a message: the fault of its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ParseError {
    /// Fewer than four bytes.
    TooShort,
    /// No type of ours, or a reserved byte that is not zero.
    UnknownType,
    /// A known type with a length it cannot have.
    WrongLength,
}

impl core::fmt::Display for ParseError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::TooShort => "datagram shorter than a message type",
            Self::UnknownType => "unknown message type",
            Self::WrongLength => "length does not fit the message type",
        })
    }
}

impl core::error::Error for ParseError {}

/// Writes the fields of a message one behind the other; what does not fit is a bug caught in tests.
pub(crate) struct Writer<'a> {
    rest: &'a mut [u8],
}

impl<'a> Writer<'a> {
    pub(crate) const fn new(buffer: &'a mut [u8]) -> Self {
        Self { rest: buffer }
    }

    pub(crate) fn put(self, bytes: &[u8]) -> Self {
        let Some((head, rest)) = self.rest.split_at_mut_checked(bytes.len()) else {
            debug_assert!(false, "message longer than its buffer");
            return Self { rest: &mut [] };
        };
        head.copy_from_slice(bytes);
        Self { rest }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn datagram(kind: u8, len: usize) -> heapless::Vec<u8, 256> {
        let mut bytes = heapless::Vec::new();
        bytes.resize(len, 0).unwrap();
        if let Some(first) = bytes.first_mut() {
            *first = kind;
        }
        bytes
    }

    #[test]
    fn each_type_has_exactly_its_length() {
        // C2-C5: every length from 0 to 200 for every type.
        for len in 0..=200 {
            for kind in 0..=6 {
                let expected = match (kind, len) {
                    (_, 0..=3) => Err(ParseError::TooShort),
                    (1, 148) | (2, 92) | (3, 64) | (4, 32..) => Ok(()),
                    (1..=4, _) => Err(ParseError::WrongLength),
                    _ => Err(ParseError::UnknownType),
                };
                assert_eq!(
                    Message::parse(&datagram(kind, len)).map(|_| ()),
                    expected,
                    "type {kind}, length {len}"
                );
            }
        }
    }

    #[test]
    fn reserved_bytes_must_be_zero() {
        // C1
        for at in 1..4 {
            let mut bytes = datagram(1, 148);
            bytes[at] = 1;
            assert_eq!(Message::parse(&bytes).err(), Some(ParseError::UnknownType));
        }
    }
}
