//! Keyed BLAKE2s-128, the function of MAC1, MAC2 and cookies. RFC 7693.
//!
//! The key fills a block of its own in front of the data: a key that is used again is compressed once, and kept as the state
//! behind its block. Messages under one key do not depend on each other, so [`LANES`] of them are computed side by side:
//!
//! ```text
//!             lane 0   1   ..   7
//!   word 0   [ w       w   ..   w ]   a row is one vector, or two of half the size: each step is done
//!   word 1   [ w       w   ..   w ]   to a whole row at once, and no word ever leaves its lane
//!   ..
//! ```
//!
//! No branch and no address depends on a key or on data, only on their lengths.

use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::wire::TAG_LEN;

/// How many messages are computed side by side: as many words as a vector of 256 bits has.
pub(crate) const LANES: usize = 8;
/// From how many messages on all lanes cost less than one message after another, if a vector has 128 bits.
pub(crate) const WORTH_LANES: usize = 4;

const BLOCK_LEN: usize = 64;

/// The initial state, which is that of SHA-256.
const IV: [u32; 8] =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];

/// The order in which each round takes the words of a block.
const SIGMA: [[u8; 16]; 10] = [
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
    [14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3],
    [11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4],
    [7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8],
    [9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13],
    [2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9],
    [12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11],
    [13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10],
    [6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5],
    [10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0],
];

/// A key, as the state that its block leaves. Wiped on drop.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub(crate) struct KeyedState([u32; 8]);

impl KeyedState {
    /// Prepares a key of 32 bytes at most.
    pub(crate) fn new(key: &[u8]) -> Self {
        let state = absorb_key(key, Behind::Data);
        Self(state.map(|[word]| word))
    }

    /// The MACs of messages, each of at least one byte: behind the block of the key something must follow.
    pub(crate) fn macs<const N: usize>(&self, messages: &[&[u8]; N]) -> [[u8; TAG_LEN]; N] {
        let mut state = Zeroizing::new(self.0.map(|word| [word; N]));
        let mut before = Zeroizing::new([[0; N]; 8]);
        let mut block = Block { words: [[0; N]; 16], counter: [64; N], last: [0; N], live: [0; N] };
        let mut rest = *messages;
        while rest.iter().any(|rest| !rest.is_empty()) {
            for (lane, rest) in rest.iter_mut().enumerate() {
                *rest = block.take(lane, rest);
            }
            *before = *state;
            compress(&before, &block, &mut state);
        }
        core::array::from_fn(|lane| {
            let [a, b, c, d, ..] = &*state;
            mac_of([a, b, c, d].map(|words| words[lane]))
        })
    }
}

/// The MAC of a message of any length, under a key that is used for nothing else.
pub(crate) fn keyed(key: &[u8], message: &[u8]) -> [u8; TAG_LEN] {
    if message.is_empty() {
        let [[a], [b], [c], [d], ..] = *absorb_key(key, Behind::Nothing);
        return mac_of([a, b, c, d]);
    }
    let [mac] = KeyedState::new(key).macs(&[message]);
    mac
}

fn mac_of(words: [u32; 4]) -> [u8; TAG_LEN] {
    let mut mac = [0; TAG_LEN];
    for (bytes, word) in mac.as_chunks_mut().0.iter_mut().zip(words) {
        *bytes = word.to_le_bytes();
    }
    mac
}

/// What follows the block of the key.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Behind {
    Data,
    Nothing,
}

fn absorb_key(key: &[u8], behind: Behind) -> Zeroizing<[[u32; 1]; 8]> {
    debug_assert!(key.len() <= 32, "keys here are 16 or 32 bytes");
    // Digest length, key length, one leaf without a tree.
    let parameters = 0x0101_0000 | low_word(key.len()) << 8 | low_word(TAG_LEN);
    let mut before = IV.map(|word| [word]);
    let [[first], ..] = &mut before;
    *first ^= parameters;
    let mut block = Zeroizing::new(Block { words: [[0]; 16], counter: [0], last: [0], live: [0] });
    block.take(0, key);
    // Zeros fill the block; they count.
    (block.counter, block.last, block.live) =
        ([low_word(BLOCK_LEN)], [mask(behind == Behind::Nothing)], [!0]);
    let mut state = Zeroizing::new(before);
    compress(&before, &block, &mut state);
    state
}

/// The next block of each lane.
#[derive(Zeroize)]
struct Block<const N: usize> {
    words: [[u32; N]; 16],
    /// How many bytes there were, this block included. Messages are shorter than 4 GiB.
    counter: [u32; N],
    /// All ones if it is the last block of its lane.
    last: [u32; N],
    /// All ones if there is a block, and not only one of another lane that takes longer.
    live: [u32; N],
}

impl<const N: usize> Block<N> {
    /// Takes the first bytes of a message as the block of a lane, and returns the others.
    fn take<'m>(&mut self, lane: usize, message: &'m [u8]) -> &'m [u8] {
        let (bytes, rest) = message.split_at_checked(BLOCK_LEN).unwrap_or((message, &[]));
        let mut padded = [0; BLOCK_LEN];
        let bytes = match bytes.first_chunk::<BLOCK_LEN>() {
            Some(full) => full,
            None => {
                padded.iter_mut().zip(bytes).for_each(|(padded, byte)| *padded = *byte);
                &padded
            }
        };
        for (words, bytes) in self.words.iter_mut().zip(bytes.as_chunks().0) {
            words[lane] = u32::from_le_bytes(*bytes);
        }
        let len = message.len() - rest.len();
        self.counter[lane] = self.counter[lane].wrapping_add(low_word(len));
        self.last[lane] = mask(rest.is_empty());
        self.live[lane] = mask(len > 0);
        rest
    }
}

const fn mask(holds: bool) -> u32 {
    if holds { !0 } else { 0 }
}

#[expect(clippy::cast_possible_truncation, reason = "lengths here are below 2^32")]
const fn low_word(len: usize) -> u32 {
    len as u32
}

/// The compression function, in all lanes. A lane without a block keeps its state.
///
/// The body of the loop is one straight line, the rounds written out, so that compilers make it one of vectors.
#[inline(never)]
fn compress<const N: usize>(before: &[[u32; N]; 8], block: &Block<N>, after: &mut [[u32; N]; 8]) {
    for lane in 0..N {
        let mut v = [0; 16];
        for at in 0..8 {
            (v[at], v[at + 8]) = (before[at][lane], IV[at]);
        }
        v[12] ^= block.counter[lane];
        v[14] ^= block.last[lane];
        rounds(&mut v, |at| block.words[at][lane]);
        for at in 0..8 {
            after[at][lane] = before[at][lane] ^ ((v[at] ^ v[at + 8]) & block.live[lane]);
        }
    }
}

#[inline(always)]
fn rounds(v: &mut [u32; 16], word: impl Fn(usize) -> u32 + Copy) {
    // Flash is short there, and there are no vectors.
    if cfg!(target_os = "none") {
        SIGMA.iter().for_each(|order| round(v, order, word));
        return;
    }
    let [first, second, third, fourth, fifth, sixth, seventh, eighth, ninth, tenth] = &SIGMA;
    round(v, first, word);
    round(v, second, word);
    round(v, third, word);
    round(v, fourth, word);
    round(v, fifth, word);
    round(v, sixth, word);
    round(v, seventh, word);
    round(v, eighth, word);
    round(v, ninth, word);
    round(v, tenth, word);
}

#[inline(always)]
fn round(v: &mut [u32; 16], order: &[u8; 16], word: impl Fn(usize) -> u32) {
    // The mask says to the compiler what the table says.
    let x = |at: usize| word(usize::from(order[at] & 15));
    mix(v, [0, 4, 8, 12], x(0), x(1));
    mix(v, [1, 5, 9, 13], x(2), x(3));
    mix(v, [2, 6, 10, 14], x(4), x(5));
    mix(v, [3, 7, 11, 15], x(6), x(7));
    mix(v, [0, 5, 10, 15], x(8), x(9));
    mix(v, [1, 6, 11, 12], x(10), x(11));
    mix(v, [2, 7, 8, 13], x(12), x(13));
    mix(v, [3, 4, 9, 14], x(14), x(15));
}

/// The function G of the RFC.
#[inline(always)]
fn mix(v: &mut [u32; 16], [a, b, c, d]: [usize; 4], x: u32, y: u32) {
    v[a] = v[a].wrapping_add(v[b]).wrapping_add(x);
    v[d] = (v[d] ^ v[a]).rotate_right(16);
    v[c] = v[c].wrapping_add(v[d]);
    v[b] = (v[b] ^ v[c]).rotate_right(12);
    v[a] = v[a].wrapping_add(v[b]).wrapping_add(y);
    v[d] = (v[d] ^ v[a]).rotate_right(8);
    v[c] = v[c].wrapping_add(v[d]);
    v[b] = (v[b] ^ v[c]).rotate_right(7);
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::vec::Vec;

    use blake2::Blake2sMac;
    use blake2::digest::{KeyInit, Mac, consts::U16};

    use super::*;

    /// Another program's answer.
    fn oracle(key: &[u8], message: &[u8]) -> [u8; TAG_LEN] {
        let mut mac = Blake2sMac::<U16>::new_from_slice(key).unwrap();
        Mac::update(&mut mac, message);
        mac.finalize().into_bytes().into()
    }

    fn message(len: usize, seed: usize) -> Vec<u8> {
        (0..len).map(|at| u8::try_from((at * 31 + seed * 17 + 5) % 251).unwrap()).collect()
    }

    #[test]
    fn compresses_as_published() {
        // RFC 7693, appendix B: BLAKE2s-256 of "abc" without a key, in every lane; the answer as little-endian words.
        let mut block = Block { words: [[0; 5]; 16], counter: [0; 5], last: [0; 5], live: [0; 5] };
        (0..5).for_each(|lane| assert!(block.take(lane, b"abc").is_empty()));
        let mut before = IV.map(|word| [word; 5]);
        before[0] = before[0].map(|word| word ^ 0x0101_0020);
        let mut after = [[0; 5]; 8];
        compress(&before, &block, &mut after);
        let published = [
            0x8c5e_8c50,
            0xe214_7c32,
            0xa32b_a7e1,
            0x2f45_eb4e,
            0x208b_4537,
            0x293a_d69e,
            0x4c9b_994d,
            0x8259_6786,
        ];
        assert_eq!(after, published.map(|word| [word; 5]));
    }

    #[test]
    fn agrees_with_another_program_at_every_length() {
        // C17, C18, C108
        for key_len in [16, 32] {
            let key = message(key_len, 200 + key_len);
            let state = KeyedState::new(&key);
            for len in 0..=300 {
                let message = message(len, len);
                let expected = oracle(&key, &message);
                assert_eq!(keyed(&key, &message), expected, "key of {key_len}, {len} bytes");
                if len > 0 {
                    assert_eq!(state.macs(&[&message]), [expected], "key of {key_len}, {len} bytes");
                }
            }
        }
    }

    #[test]
    fn lanes_of_different_lengths_do_not_disturb_each_other() {
        let key = message(32, 1);
        let state = KeyedState::new(&key);
        for shift in 0..=300 {
            let lengths: [usize; LANES] =
                core::array::from_fn(|lane| (shift * (lane + 1) + lane * 61) % 300 + 1);
            let messages = lengths.map(|len| message(len, len + shift));
            let macs = state.macs(&messages.each_ref().map(Vec::as_slice));
            assert_eq!(macs, messages.each_ref().map(|message| oracle(&key, message)), "{lengths:?}");
        }
    }
}
