//! Why a peer refuses: a datagram, by the fault of its bytes or its sender; a packet, by that of the caller.

use crate::cookie::InvalidCookieReply;
use crate::key::DhError;
use crate::noise::HandshakeError;
use crate::sessions::NoSession;
use crate::transport::OpenError;
use crate::wire::ParseError;

/// Why a datagram was dropped. Towards the sender all of them are silence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReceiveError {
    /// It is no message.
    Parse(ParseError),
    /// MAC1 is wrong.
    InvalidMac1,
    /// Under load: a cookie reply was queued instead.
    Challenged,
    /// Under load: its source has used up its tokens.
    RateLimited,
    /// Its handshake failed.
    Handshake(HandshakeError),
    /// It comes from another peer than this one.
    UnknownPeer,
    /// It is a cookie reply that answers nothing.
    CookieReply,
    /// Its session refuses it.
    Open(OpenError),
}

impl From<ParseError> for ReceiveError {
    fn from(error: ParseError) -> Self {
        Self::Parse(error)
    }
}

impl From<HandshakeError> for ReceiveError {
    fn from(error: HandshakeError) -> Self {
        Self::Handshake(error)
    }
}

impl From<DhError> for ReceiveError {
    fn from(error: DhError) -> Self {
        Self::Handshake(error.into())
    }
}

impl From<OpenError> for ReceiveError {
    fn from(error: OpenError) -> Self {
        Self::Open(error)
    }
}

impl From<InvalidCookieReply> for ReceiveError {
    fn from(_: InvalidCookieReply) -> Self {
        Self::CookieReply
    }
}

impl core::fmt::Display for ReceiveError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Parse(error) => error.fmt(f),
            Self::InvalidMac1 => f.write_str("MAC1 is wrong"),
            Self::Challenged => f.write_str("under load: sender must prove its address"),
            Self::RateLimited => f.write_str("under load: source has used up its tokens"),
            Self::Handshake(error) => error.fmt(f),
            Self::UnknownPeer => f.write_str("message of another peer"),
            Self::CookieReply => InvalidCookieReply.fmt(f),
            Self::Open(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for ReceiveError {}

/// Why a packet was not sealed. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SealError {
    /// There is no session: keep the packet, and call [`Peer::initiate`](crate::Peer::initiate).
    NoSession,
    /// The buffer is too small: the fault of the caller.
    BufferTooSmall {
        /// Bytes it must have.
        need: usize,
        /// Bytes it has.
        have: usize,
    },
}

impl core::fmt::Display for SealError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::NoSession => NoSession.fmt(f),
            Self::BufferTooSmall { need, have } => {
                write!(f, "buffer of {have} bytes where {need} are needed")
            }
        }
    }
}

impl core::error::Error for SealError {}
