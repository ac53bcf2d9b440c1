//! MAC1 and MAC2: what a handshake message proves before any public-key work is done for it.
//!
//! MAC1 proves that the sender knows our public key; MAC2, that it receives at the address it sends from. Both are keyed
//! BLAKE2s-128 over everything before them (C17, C18), compared in constant time (C19). White paper, section 5.4.4.

use blake2::{Blake2s256, Digest};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::blake2s::{KeyedState, LANES, WORTH_LANES, keyed};
use crate::key::PublicKey;
use crate::wire::TAG_LEN;

const LABEL_MAC1: &[u8; 8] = b"mac1----";
const LABEL_COOKIE: &[u8; 8] = b"cookie--";

/// The key of MAC1 over messages *to* the owner of a public key.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Mac1Key(KeyedState);

impl Mac1Key {
    /// Derives the key from the recipient's public key.
    #[must_use]
    pub fn new(recipient: &PublicKey) -> Self {
        let mut key = labelled(LABEL_MAC1, recipient);
        let prepared = Self(KeyedState::new(&key));
        key.zeroize();
        prepared
    }

    /// Writes MAC1 into a handshake message and returns it.
    pub fn write(&self, message: &mut [u8]) -> [u8; TAG_LEN] {
        let Some((covered, mac1, _)) = split_macs(message) else {
            debug_assert!(false, "a handshake message holds two MACs");
            return [0; TAG_LEN];
        };
        [*mac1] = self.0.macs(&[covered]);
        *mac1
    }

    /// Tells whether MAC1 of a handshake message is right.
    #[must_use]
    pub fn verify(&self, message: &[u8]) -> bool {
        let Some((covered, mac1)) = split_mac1(message) else { return false };
        let [expected] = self.0.macs(&[covered]);
        expected.ct_eq(mac1).into()
    }

    /// Tells of each of `messages` whether its MAC1 is right, as [`Self::verify`] does, and faster than one by one.
    ///
    /// As many are looked at as there is room for verdicts. One that is empty costs next to nothing.
    pub fn verify_batch<M: AsRef<[u8]>>(&self, messages: &[M], right: &mut [bool]) {
        for (messages, right) in messages.chunks(LANES).zip(right.chunks_mut(LANES)) {
            let mut split = [None; LANES];
            for ((split, message), _) in split.iter_mut().zip(messages).zip(&*right) {
                *split = split_mac1(message.as_ref());
            }
            let expected = if split.iter().flatten().count() < WORTH_LANES {
                split.map(|split| split.map(|(covered, _)| self.0.macs(&[covered])).unwrap_or_default()[0])
            } else {
                self.0.macs(&split.map(|split| split.map_or(&[][..], |(covered, _)| covered)))
            };
            for (((right, _), split), expected) in right.iter_mut().zip(messages).zip(split).zip(expected) {
                *right = split.is_some_and(|(_, mac1)| expected.ct_eq(mac1).into());
            }
        }
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
    let Some((covered, mac2)) = message.split_last_chunk::<TAG_LEN>() else { return false };
    keyed(cookie, covered).ct_eq(mac2).into()
}

/// The key that cookie replies *from* the owner of a public key are sealed with.
pub(crate) fn cookie_key(issuer: &PublicKey) -> [u8; 32] {
    labelled(LABEL_COOKIE, issuer)
}

fn labelled(label: &[u8; 8], key: &PublicKey) -> [u8; 32] {
    let mut hasher = Blake2s256::new();
    Digest::update(&mut hasher, label);
    Digest::update(&mut hasher, key.as_bytes());
    hasher.finalize().into()
}

/// Splits a handshake message into what MAC1 covers, MAC1 and MAC2. MAC1 always covers something.
fn split_macs(message: &mut [u8]) -> Option<(&[u8], &mut [u8; TAG_LEN], &mut [u8; TAG_LEN])> {
    let (rest, mac2) = message.split_last_chunk_mut::<TAG_LEN>()?;
    let (covered, mac1) = rest.split_last_chunk_mut::<TAG_LEN>()?;
    (!covered.is_empty()).then_some((covered, mac1, mac2))
}

/// Splits a handshake message into what MAC1 covers and MAC1.
fn split_mac1(message: &[u8]) -> Option<(&[u8], &[u8; TAG_LEN])> {
    let (rest, _) = message.split_last_chunk::<TAG_LEN>()?;
    rest.split_last_chunk().filter(|(covered, _)| !covered.is_empty())
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
    fn batch_says_of_each_message_what_is_said_of_it_alone() {
        // C17, C19
        let key = Mac1Key::new(&PublicKey::from_bytes([3; 32]));
        let mut messages = [[0x55; 148]; 40];
        for (number, message) in messages.iter_mut().enumerate() {
            message[7] = u8::try_from(number).unwrap();
            key.write(&mut message[..LENGTHS[number % LENGTHS.len()]]);
            // A bit of what is covered, of MAC1 and of MAC2.
            if number % 3 == 0 {
                let covered = LENGTHS[number % LENGTHS.len()] - 32;
                message[[0, covered, covered + 16][number / 3 % 3]] ^= 4;
            }
        }
        const LENGTHS: [usize; 4] = [148, 92, 148, 33];
        let messages: [&[u8]; 40] =
            core::array::from_fn(|number| &messages[number][..LENGTHS[number % LENGTHS.len()]]);
        let alone = messages.map(|message| key.verify(message));
        assert_eq!((alone.iter().filter(|right| **right).count()), 40 - 14 + 4, "{alone:?}");
        for from in 0..40 {
            for to in from..=40 {
                let mut right = [from % 2 == 0; 40];
                key.verify_batch(&messages[from..to], &mut right);
                assert_eq!(right[..to - from], alone[from..to], "{from}..{to}");
                assert_eq!(right[to - from..], [from % 2 == 0; 40][to - from..], "{from}..{to}");
            }
        }
        let mut few = [true; 3];
        key.verify_batch(&[[0; 148]; 9], &mut few);
        assert_eq!(few, [false; 3]);
    }

    #[test]
    fn what_holds_no_two_macs_has_no_right_one() {
        let key = Mac1Key::new(&PublicKey::from_bytes([3; 32]));
        // What comes out if nothing is covered, which is half of the state of the key.
        let mut message = [0; 32];
        [*message.first_chunk_mut().unwrap()] = key.0.macs(&[&[]]);
        for len in 0..=32 {
            assert!(!key.verify(&message[..len]), "{len}");
            let mut right = [true; 5];
            key.verify_batch(&[&message[..len]; 5], &mut right);
            assert_eq!(right, [false; 5], "{len}");
        }
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
