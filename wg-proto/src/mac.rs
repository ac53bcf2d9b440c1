//! MAC1 and MAC2: what a handshake message proves before any public-key work is done for it.
//!
//! MAC1 proves that the sender knows our public key; MAC2, that it receives at the address it sends from. Both are keyed
//! BLAKE2s-128 over everything before them (C17, C18), compared in constant time (C19). White paper, section 5.4.4.

use blake2::digest::{KeyInit, Mac, consts::U16};
use blake2::{Blake2s256, Blake2sMac, Digest};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::key::PublicKey;
use crate::wire::TAG_LEN;

const LABEL_MAC1: &[u8; 8] = b"mac1----";
const LABEL_COOKIE: &[u8; 8] = b"cookie--";

/// The key of MAC1 over messages *to* the owner of a public key.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Mac1Key([u8; 32]);

impl Mac1Key {
    /// Derives the key from the recipient's public key.
    #[must_use]
    pub fn new(recipient: &PublicKey) -> Self {
        Self(labelled(LABEL_MAC1, recipient))
    }

    /// Writes MAC1 into a handshake message and returns it.
    pub fn write(&self, message: &mut [u8]) -> [u8; TAG_LEN] {
        let Some((covered, mac1, _)) = split_macs(message) else {
            debug_assert!(false, "a handshake message holds two MACs");
            return [0; TAG_LEN];
        };
        *mac1 = keyed(&self.0, covered);
        *mac1
    }

    /// Tells whether MAC1 of a handshake message is right.
    #[must_use]
    pub fn verify(&self, message: &[u8]) -> bool {
        let Some((rest, _)) = message.split_last_chunk::<TAG_LEN>() else { return false };
        verify(&self.0, rest)
    }
}

impl core::fmt::Debug for Mac1Key {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Mac1Key(..)")
    }
}

/// Writes MAC2 into a handshake message whose MAC1 is already there.
pub(crate) fn write_mac2(cookie: &[u8; 16], message: &mut [u8]) {
    if let Some((covered, mac2)) = message.split_last_chunk_mut::<TAG_LEN>() {
        *mac2 = keyed(cookie, covered);
    }
}

/// Tells whether MAC2 of a handshake message was made with `cookie`.
pub(crate) fn verify_mac2(cookie: &[u8; 16], message: &[u8]) -> bool {
    verify(cookie, message)
}

/// The key that cookie replies *from* the owner of a public key are sealed with.
pub(crate) fn cookie_key(issuer: &PublicKey) -> [u8; 32] {
    labelled(LABEL_COOKIE, issuer)
}

/// Keyed BLAKE2s-128 of `data`.
pub(crate) fn keyed(key: &[u8], data: &[u8]) -> [u8; TAG_LEN] {
    let Ok(mut mac) = Blake2sMac::<U16>::new_from_slice(key) else {
        debug_assert!(false, "keys here are 16 or 32 bytes");
        return [0; TAG_LEN];
    };
    Mac::update(&mut mac, data);
    mac.finalize().into_bytes().into()
}

/// Whether the last 16 bytes are the MAC of what stands before them.
fn verify(key: &[u8], message: &[u8]) -> bool {
    let Some((covered, mac)) = message.split_last_chunk::<TAG_LEN>() else { return false };
    keyed(key, covered).ct_eq(mac).into()
}

fn labelled(label: &[u8; 8], key: &PublicKey) -> [u8; 32] {
    let mut hasher = Blake2s256::new();
    Digest::update(&mut hasher, label);
    Digest::update(&mut hasher, key.as_bytes());
    hasher.finalize().into()
}

/// Splits a handshake message into what MAC1 covers, MAC1 and MAC2.
fn split_macs(message: &mut [u8]) -> Option<(&[u8], &mut [u8; TAG_LEN], &mut [u8; TAG_LEN])> {
    let (rest, mac2) = message.split_last_chunk_mut::<TAG_LEN>()?;
    let (covered, mac1) = rest.split_last_chunk_mut::<TAG_LEN>()?;
    Some((covered, mac1, mac2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mac1_covers_every_byte_before_it() {
        // C17
        let key = Mac1Key::new(&PublicKey::from_bytes([3; 32]));
        let mut message = [0x55; 148];
        key.write(&mut message);
        assert!(key.verify(&message));
        for at in 0..132 {
            let mut changed = message;
            changed[at] ^= 1;
            assert!(!key.verify(&changed), "byte {at}");
        }
        let mut other_mac2 = message;
        other_mac2[140] ^= 1;
        assert!(key.verify(&other_mac2), "MAC2 is not covered");
        assert!(!Mac1Key::new(&PublicKey::from_bytes([4; 32])).verify(&message));
        assert!(!key.verify(&message[..31]));
    }

    #[test]
    fn mac2_covers_mac1_too() {
        // C18
        let mut message = [0x55; 92];
        write_mac2(&[7; 16], &mut message);
        assert!(verify_mac2(&[7; 16], &message));
        for at in 0..92 {
            let mut changed = message;
            changed[at] ^= 0x80;
            assert!(!verify_mac2(&[7; 16], &changed), "byte {at}");
        }
        assert!(!verify_mac2(&[8; 16], &message));
    }
}
