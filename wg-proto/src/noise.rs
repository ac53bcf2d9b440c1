//! Noise_IKpsk2 as WireGuard uses it: two messages, four Diffie-Hellman results, two transport keys.
//!
//! Each role is a chain of types consumed step by step; the types between the steps are the seams of the split phase: the
//! results that need the static private key are arguments, so that they may be computed elsewhere. White paper, section 5.4;
//! <https://noiseprotocol.org/noise.html>.

#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::panic)]

mod initiator;
mod responder;
mod symmetric;

pub use initiator::{InitiationSent, ReceivedResponse, create_initiation};
pub use responder::{IdentifiedInitiation, InitiationReceived, ReceivedInitiation};
pub use symmetric::TransportKeys;

use crate::key::{DhError, LowOrderPoint};

/// The name of the Noise construction, 37 bytes.
pub const CONSTRUCTION: &[u8; 37] = b"Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s";

/// The identifier mixed in behind it, 34 bytes.
pub const IDENTIFIER: &[u8; 34] = b"WireGuard v1 zx2c4 Jason@zx2c4.com";

/// Who began the handshake of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// This side sent the initiation.
    Initiator,
    /// This side sent the response.
    Responder,
}

/// Why a handshake message was refused: the fault of the peer, or of its keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HandshakeError {
    /// A tag did not verify.
    Unauthentic,
    /// A Diffie-Hellman result was all zero (C20).
    LowOrder,
    /// No handshake waits for this message (C37, C38).
    Unexpected,
    /// The timestamp is not later than the greatest seen (C30).
    OldTimestamp,
    /// The last accepted initiation of this peer is less than 20 ms old (C31).
    TooSoon,
    /// There is no usable static key, ours or the peer's.
    NoKey,
    /// The entropy source failed (C27).
    Entropy,
}

impl From<LowOrderPoint> for HandshakeError {
    fn from(_: LowOrderPoint) -> Self {
        Self::LowOrder
    }
}

impl From<DhError> for HandshakeError {
    fn from(error: DhError) -> Self {
        match error {
            DhError::LowOrder => Self::LowOrder,
            DhError::Unavailable => Self::NoKey,
        }
    }
}

impl core::fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Unauthentic => "handshake message does not authenticate",
            Self::LowOrder => "public key is a point of low order",
            Self::Unexpected => "no handshake waits for this message",
            Self::OldTimestamp => "timestamp is not later than the last",
            Self::TooSoon => "initiations follow each other too fast",
            Self::NoKey => "no usable static key",
            Self::Entropy => "entropy source failed",
        })
    }
}

impl core::error::Error for HandshakeError {}
