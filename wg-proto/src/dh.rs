//! The Diffie-Hellman of the handshake, as a trait over private keys in memory: X25519 in both forms, of the base point for
//! a public key and of a peer's key for a shared secret. RFC 7748; white paper, section 5.4.
//!
//! [`PrivateKey`] is the portable backend itself, by `x25519-dalek`. A key that is not in memory is a [`StaticIdentity`]
//! of its own; the ephemeral keys of its handshakes are computed by the backend all the same.

#[cfg(feature = "aws-lc")]
mod aws_lc;

#[cfg(feature = "aws-lc")]
pub use aws_lc::AwsLcDh;

use crate::key::{PrivateKey, StaticIdentity};

/// A private key in the form that a backend computes with: static, or the ephemeral one of a handshake.
///
/// An implementation wipes the key when dropped, takes every 32 bytes for a public key (C22) and refuses an all-zero result
/// with [`DhError::LowOrder`](crate::DhError::LowOrder), which [`SharedSecret::new`](crate::SharedSecret::new) does for it
/// (C20).
pub trait Dh: StaticIdentity + Sized + Send + Sync + 'static {
    /// Prepares a key.
    fn new(key: PrivateKey) -> Self;

    /// Returns the key that it was made of.
    fn as_private_key(&self) -> &PrivateKey;
}

/// The portable backend: `x25519-dalek`, in safe Rust on every target.
impl Dh for PrivateKey {
    fn new(key: PrivateKey) -> Self {
        key
    }

    fn as_private_key(&self) -> &PrivateKey {
        self
    }
}

#[cfg(test)]
mod tests;
