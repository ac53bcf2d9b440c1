//! The kernel for AVX2: eight blocks of ChaCha20 to a pass, and beside it, in the scalar pipes, Poly1305 of two packets.
//!
//! A group of packets becomes one list of blocks, and the list is worked off eight blocks at a time, whatever packets they belong
//! to. Two packets take turns, so that two ciphertexts grow and are absorbed side by side: one alone would not keep pace with the
//! cipher, since each block of Poly1305 waits for the one before.
//!
//! ```text
//!   sealing   pass 1: | k0 0 0 0 | k1 1 1 1 |    kn: block 0 of packet n, which makes its one-time key
//!             pass 2: | 0 0 0 k2 | 1 1 1 k3 |    n: a block of packet n
//!   opening   pass 1: | k0 k1 k2 k3 0 0 1 1 |    the keys first, so that the tags are ahead of the cipher
//! ```
//!
//! Opening, the keystream of up to four passes waits in a stash until the tags of its packets are known; nothing is written before.
//! What takes no more passes than that is made in the order of sealing.

#![expect(unsafe_code, reason = "instructions of one processor family")]
#![expect(
    clippy::cast_possible_truncation,
    reason = "words are cut out of wider ones; lanes and blocks are few"
)]

mod apply;
mod chacha20;
mod memory;
mod passes;
mod poly1305;
mod streams;

use crate::packet::Group;

cpufeatures::new!(features, "avx2", "bmi2");

/// The proof that this machine has AVX2 and BMI2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Avx2(());

impl Avx2 {
    pub(crate) fn detect() -> Option<Self> {
        features::get().then_some(Self(()))
    }

    pub(crate) fn seal(self, group: &mut Group<'_, '_>) {
        // SAFETY: only `detect` makes a token, where the machine has all features that the function is compiled for.
        unsafe { passes::seal(group) }
    }

    pub(crate) fn open(self, group: &mut Group<'_, '_>) {
        // SAFETY: only `detect` makes a token, where the machine has all features that the function is compiled for.
        unsafe { passes::open(group) }
    }

    /// Whether `ring` seals a group faster.
    ///
    /// Measured on Zen 4 (EPYC, 3.7 GHz) against `ring` 0.17.14 as the backend calls it. A packet that stands alone takes 1.1 times
    /// as long here at 64 and at 1420 bytes. Two break even at 3000 bytes, four and more at 4096: long packets leave nothing to
    /// gain but the start of each, and the rounds are scheduled better there.
    #[cfg(feature = "ring")]
    pub(crate) fn leaves_sealing_to_ring(group: &Group<'_, '_>) -> bool {
        let limit = match group.len() {
            0..2 => return true,
            2..4 => 3072,
            _ => 4096,
        };
        group.get(0).is_some_and(|longest| longest.text.len() > limit)
    }

    /// Whether `ring` opens a group faster.
    ///
    /// Measured likewise. `ring` deciphers before the tag is known; here tags come first, which costs most where few packets are
    /// long: two break even at 900 bytes, four at 1420, eight and more at 2500.
    #[cfg(feature = "ring")]
    pub(crate) fn leaves_opening_to_ring(group: &Group<'_, '_>) -> bool {
        let limit = match group.len() {
            0..2 => return true,
            2..4 => 896,
            4..8 => 1280,
            _ => 2304,
        };
        group.get(0).is_some_and(|longest| longest.text.len() > limit)
    }
}

/// Tags under one-time keys that come from elsewhere: for the tests of the edges.
#[cfg(test)]
impl Avx2 {
    pub(crate) fn one_time_tags(self, keys: &[[u8; 32]], texts: &[&[u8]], tags: &mut [[u8; 16]]) {
        for ((key, text), tag) in keys.iter().zip(texts).zip(tags) {
            let (pairs, rest) = text.as_chunks();
            let mut poly = poly1305::Poly1305::new(key);
            for pair in pairs {
                poly.two_blocks(pair);
            }
            poly.end(rest, text.len());
            *tag = poly.tag(key);
        }
    }
}
