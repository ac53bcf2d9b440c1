//! Keys, each its own type: none can be passed for another, none prints itself, every secret is wiped on drop.

use core::fmt;

use rand_core::TryCryptoRng;
use subtle::{Choice, ConstantTimeEq};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// The length of every key, in bytes.
pub const KEY_LEN: usize = 32;

/// A Curve25519 public key: any 32 bytes, compared as they are (C22).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PublicKey([u8; KEY_LEN]);

impl PublicKey {
    /// Takes the 32 bytes of a public key; every value is accepted, low-order points too (C21, C22).
    #[must_use]
    pub const fn from_bytes(bytes: [u8; KEY_LEN]) -> Self {
        Self(bytes)
    }

    /// Returns the 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; KEY_LEN] {
        &self.0
    }
}

impl fmt::Debug for PublicKey {
    /// Prints the first four bytes: enough to tell peers apart in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, ..] = self.0;
        write!(f, "PublicKey({a:02x}{b:02x}{c:02x}{d:02x}..)")
    }
}

/// A Curve25519 private key, clamped when made (C23).
#[cfg_attr(feature = "test-util", derive(Clone))]
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct PrivateKey([u8; KEY_LEN]);

impl PrivateKey {
    /// Takes the 32 bytes of a private key and clamps them.
    #[must_use]
    pub fn from_bytes(mut bytes: [u8; KEY_LEN]) -> Self {
        let mut key = Self(bytes);
        bytes.zeroize();
        let [first, .., last] = &mut key.0;
        *first &= 0xf8;
        *last = (*last & 0x7f) | 0x40;
        key
    }

    /// Draws a new private key.
    ///
    /// # Errors
    ///
    /// The error of the entropy source; nothing is drawn from elsewhere (C27).
    pub fn generate<R: TryCryptoRng + ?Sized>(rng: &mut R) -> Result<Self, R::Error> {
        let mut bytes = [0; KEY_LEN];
        let drawn = rng.try_fill_bytes(&mut bytes);
        let key = Self::from_bytes(bytes);
        bytes.zeroize();
        drawn.map(|()| key)
    }

    /// Returns the clamped bytes. The caller must not let them outlive their use.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; KEY_LEN] {
        &self.0
    }

    /// Computes the public key.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        count_multiplication();
        // The table of multiples of the base point is worth 30 KiB, but not of flash.
        PublicKey(if cfg!(target_os = "none") {
            x25519_dalek::x25519(self.0, x25519_dalek::X25519_BASEPOINT_BYTES)
        } else {
            x25519_dalek::PublicKey::from(&x25519_dalek::StaticSecret::from(self.0)).to_bytes()
        })
    }

    /// Computes the shared secret with `their` public key.
    ///
    /// # Errors
    ///
    /// [`LowOrderPoint`] if the result is all zero: the public key carries no secret (C20).
    pub fn diffie_hellman(&self, their: &PublicKey) -> Result<SharedSecret, LowOrderPoint> {
        count_multiplication();
        SharedSecret::new(x25519_dalek::x25519(self.0, their.0))
    }

    /// Copies the key, for a second holder that also wipes it.
    #[must_use]
    pub fn duplicate(&self) -> Self {
        Self(self.0)
    }
}

/// How often this process has multiplied on the curve, for tests of what an attack costs: to be read before and after, while
/// nothing else does.
#[cfg(feature = "test-util")]
#[must_use]
pub fn multiplications() -> usize {
    MULTIPLICATIONS.load(core::sync::atomic::Ordering::Relaxed)
}

/// Written by whoever multiplies, read by tests on the same thread: no ordering is needed.
#[cfg(feature = "test-util")]
static MULTIPLICATIONS: core::sync::atomic::AtomicUsize = core::sync::atomic::AtomicUsize::new(0);

pub(crate) fn count_multiplication() {
    #[cfg(feature = "test-util")]
    MULTIPLICATIONS.fetch_add(1, core::sync::atomic::Ordering::Relaxed);
}

impl ConstantTimeEq for PrivateKey {
    fn ct_eq(&self, other: &Self) -> Choice {
        self.0.ct_eq(&other.0)
    }
}

impl PartialEq for PrivateKey {
    fn eq(&self, other: &Self) -> bool {
        self.ct_eq(other).into()
    }
}

impl Eq for PrivateKey {}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey(..)")
    }
}

/// The result of a Diffie-Hellman: never all zero, by construction.
#[cfg_attr(feature = "test-util", derive(Clone))]
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct SharedSecret([u8; KEY_LEN]);

impl SharedSecret {
    /// Takes the output of X25519, from here or from a device that holds the private key.
    ///
    /// # Errors
    ///
    /// [`LowOrderPoint`] if it is all zero; compared in constant time (C20).
    pub fn new(mut bytes: [u8; KEY_LEN]) -> Result<Self, LowOrderPoint> {
        let secret = Self(bytes);
        bytes.zeroize();
        if bool::from(secret.0.ct_eq(&[0; KEY_LEN])) { Err(LowOrderPoint) } else { Ok(secret) }
    }

    pub(crate) const fn as_bytes(&self) -> &[u8; KEY_LEN] {
        &self.0
    }

    #[cfg(feature = "test-util")]
    /// Copies the bytes out, for known-answer tests.
    #[must_use]
    pub const fn reveal(&self) -> &[u8; KEY_LEN] {
        &self.0
    }
}

impl fmt::Debug for SharedSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedSecret(..)")
    }
}

/// A pre-shared key; all zero means none (C16).
#[cfg_attr(feature = "test-util", derive(Clone))]
#[derive(Default, Zeroize, ZeroizeOnDrop)]
pub struct PresharedKey([u8; KEY_LEN]);

impl PresharedKey {
    /// Takes the 32 bytes of a pre-shared key.
    #[must_use]
    pub fn from_bytes(mut bytes: [u8; KEY_LEN]) -> Self {
        let key = Self(bytes);
        bytes.zeroize();
        key
    }

    /// Returns the bytes. The caller must not let them outlive their use.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; KEY_LEN] {
        &self.0
    }

    /// Tells whether there is none, in constant time.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.0.ct_eq(&[0; KEY_LEN]).into()
    }

    /// Copies the key, for a second holder that also wipes it.
    #[must_use]
    pub fn duplicate(&self) -> Self {
        Self(self.0)
    }
}

impl fmt::Debug for PresharedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PresharedKey(..)")
    }
}

/// A Diffie-Hellman gave an all-zero result: the public key is a point of low order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LowOrderPoint;

impl fmt::Display for LowOrderPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("public key is a point of low order")
    }
}

impl core::error::Error for LowOrderPoint {}

/// The static private key of a device, wherever it lives: in memory, in a security module, behind an agent.
///
/// The protocol needs it for three results only: `es` when an initiation arrives, `se` when a response arrives, and
/// `ss` once for each peer configured.
pub trait StaticIdentity {
    /// Returns the public key.
    fn public_key(&self) -> PublicKey;

    /// Computes the shared secret of the private key with `their` public key.
    ///
    /// # Errors
    ///
    /// [`DhError::LowOrder`] for an all-zero result, [`DhError::Unavailable`] when the holder of the key cannot answer.
    fn diffie_hellman(&self, their: &PublicKey) -> Result<SharedSecret, DhError>;

    /// Returns the private key for the key log, if it is in memory.
    #[cfg(feature = "key-log")]
    fn private_key(&self) -> Option<&PrivateKey> {
        None
    }
}

/// Why a Diffie-Hellman with the static key gave nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DhError {
    /// The other key is a point of low order.
    LowOrder,
    /// The holder of the private key did not answer.
    Unavailable,
}

impl From<LowOrderPoint> for DhError {
    fn from(_: LowOrderPoint) -> Self {
        Self::LowOrder
    }
}

impl fmt::Display for DhError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LowOrder => "public key is a point of low order",
            Self::Unavailable => "the holder of the static key did not answer",
        })
    }
}

impl core::error::Error for DhError {}

impl StaticIdentity for PrivateKey {
    fn public_key(&self) -> PublicKey {
        Self::public_key(self)
    }

    fn diffie_hellman(&self, their: &PublicKey) -> Result<SharedSecret, DhError> {
        Ok(Self::diffie_hellman(self, their)?)
    }

    #[cfg(feature = "key-log")]
    fn private_key(&self) -> Option<&PrivateKey> {
        Some(self)
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::format;

    use super::*;

    #[test]
    fn private_keys_are_clamped_when_made() {
        // C23
        let key = PrivateKey::from_bytes([0xff; 32]);
        assert_eq!(key.as_bytes()[0], 0xf8);
        assert_eq!(key.as_bytes()[31], 0x7f);
        assert_eq!(PrivateKey::from_bytes([0; 32]).as_bytes()[31], 0x40);
    }

    #[test]
    fn low_order_points_are_refused() {
        // C20: the zero point and the point of order two.
        let key = PrivateKey::from_bytes([7; 32]);
        let mut one = [0; 32];
        one[0] = 1;
        for point in [[0; 32], one] {
            assert_eq!(key.diffie_hellman(&PublicKey::from_bytes(point)).err(), Some(LowOrderPoint));
        }
    }

    #[test]
    fn debug_prints_no_secret() {
        let key = PrivateKey::from_bytes([0xab; 32]);
        let other = PrivateKey::from_bytes([0x11; 32]);
        let shared = key.diffie_hellman(&other.public_key()).unwrap();
        let psk = PresharedKey::from_bytes([0xab; 32]);
        assert_eq!(format!("{key:?} {shared:?} {psk:?}"), "PrivateKey(..) SharedSecret(..) PresharedKey(..)");
        assert_eq!(format!("{:?}", PublicKey::from_bytes([0xab; 32])), "PublicKey(abababab..)");
    }

    #[test]
    fn both_sides_agree() {
        let (a, b) = (PrivateKey::from_bytes([1; 32]), PrivateKey::from_bytes([2; 32]));
        let left = a.diffie_hellman(&b.public_key()).unwrap();
        let right = b.diffie_hellman(&a.public_key()).unwrap();
        assert_eq!(left.as_bytes(), right.as_bytes());
    }
}
