//! The ChaCha20 block function, one block at a time. RFC 8439, section 2.3.

use super::pass::{Between, Block, Cipher, LANES, Stream};

/// "expand 32-byte k".
pub(crate) const SIGMA: [u32; 4] = [0x6170_7865, 0x3320_646e, 0x7962_2d32, 0x6b20_6574];

/// Scalar code: 16 words are more than most machines have registers, but a rotation is one instruction.
///
/// Where the compiler has to find the vectors in arrays of lanes it gains little or loses, in every way that they could be
/// written; targets whose vectors are worth it have a kernel in `arch`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scalar;

impl Cipher for Scalar {
    const LANES: usize = LANES;

    fn pass(blocks: &[Block<'_>], streams: &mut [Stream], mut between: impl Between) {
        for (block, stream) in blocks.iter().zip(streams) {
            scalar(block, stream);
            // As much as the block will give the tags to do.
            between.step();
            between.step();
        }
    }
}

/// One block of keystream. Not inlined: its frame is on the part of the stack that is wiped afterwards.
#[inline(never)]
pub(crate) fn scalar(block: &Block<'_>, stream: &mut Stream) {
    let mut state = block.state();
    for _ in 0..10 {
        for column in 0..4 {
            quarter(&mut state, [column, 4 + column, 8 + column, 12 + column]);
        }
        for row in 0..4 {
            quarter(&mut state, [row, 4 + (row + 1) % 4, 8 + (row + 2) % 4, 12 + (row + 3) % 4]);
        }
    }
    for (word, start) in state.iter_mut().zip(block.state()) {
        *word = word.wrapping_add(start);
    }
    for (double, [low, high]) in stream.iter_mut().zip(state.as_chunks::<2>().0) {
        *double = u64::from(*low) | u64::from(*high) << 32;
    }
}

fn quarter(state: &mut [u32; 16], [a, b, c, d]: [usize; 4]) {
    for (left, right) in [(16, 12), (8, 7)] {
        state[a] = state[a].wrapping_add(state[b]);
        state[d] = (state[d] ^ state[a]).rotate_left(left);
        state[c] = state[c].wrapping_add(state[d]);
        state[b] = (state[b] ^ state[c]).rotate_left(right);
    }
}
