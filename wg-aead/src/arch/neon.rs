//! NEON, which every little-endian aarch64 target but those without floating point has: four blocks, one in each lane.
//!
//! Sixteen vectors are the state and sixteen are left, so nothing spills, and no shuffles stand between the rounds as they do
//! with blocks in rows. Poly1305 is scalar and goes on between the rounds: `mul` and `umulh` have a unit of their own, while
//! limbs of 26 bits in vectors would be in line behind the cipher.
//!
//! Correct under emulation; its speed has not been measured on a machine.

#![expect(unsafe_code, reason = "NEON intrinsics")]

use core::arch::aarch64::*;

use crate::packet::Group;
use crate::portable::{Between, Block, Cipher, SIGMA, Stream, open_by, scalar, seal_by};

/// NEON, without which the target would not compile this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Neon;

impl Neon {
    pub(crate) fn seal(self, group: &mut Group<'_, '_>) {
        seal_by::<Self>(group);
    }

    pub(crate) fn open(self, group: &mut Group<'_, '_>) {
        open_by::<Self>(group);
    }
}

impl Cipher for Neon {
    const LANES: usize = 4;
    const INTERLEAVES: bool = true;

    #[inline]
    fn pass(blocks: &[Block<'_>], streams: &mut [Stream], between: impl Between) {
        match (blocks, streams) {
            ([], _) => {}
            // Alone, a block is faster with a register for every word.
            ([block], [stream, ..]) => scalar(block, stream),
            ([first, ..], streams) => {
                let mut lanes = [first; 4];
                for (lane, block) in lanes.iter_mut().zip(blocks) {
                    *lane = block;
                }
                // SAFETY: The target has NEON, or this file would not be part of it.
                unsafe { columns(lanes, streams, between) }
            }
        }
    }
}

type Four = [uint32x4_t; 4];

#[target_feature(enable = "neon")]
fn columns(blocks: [&Block<'_>; 4], streams: &mut [Stream], mut between: impl Between) {
    // One row of the state after the other: its four words, each with a lane for each block.
    let mut a: Four = SIGMA.map(|word| vdupq_n_u32(word));
    let mut b = transpose(blocks.map(|block| load(row(block, 1))));
    let mut c = transpose(blocks.map(|block| load(row(block, 2))));
    let mut d = transpose(blocks.map(|block| load(block.last_row())));
    for _ in 0..10 {
        quarters(&mut a, &mut b, &mut c, &mut d);
        b.rotate_left(1);
        c.rotate_left(2);
        d.rotate_left(3);
        quarters(&mut a, &mut b, &mut c, &mut d);
        b.rotate_right(1);
        c.rotate_right(2);
        d.rotate_right(3);
        between.step();
    }
    let rows = [transpose(a), transpose(b), transpose(c), transpose(d)];
    for (lane, (block, stream)) in blocks.into_iter().zip(streams).enumerate() {
        let start = [SIGMA, row(block, 1), row(block, 2), block.last_row()];
        for ((words, start), row) in stream.as_chunks_mut::<2>().0.iter_mut().zip(start).zip(rows) {
            store(words, vaddq_u32(row[lane], load(start)));
        }
    }
}

/// A row of the state: the second or third has the key.
#[inline(always)]
fn row(block: &Block<'_>, row: usize) -> [u32; 4] {
    let [a, b, c, d, e, f, g, h] = *block.key;
    if row == 1 { [a, b, c, d] } else { [e, f, g, h] }
}

/// Four quarter rounds in four lanes.
#[inline]
#[target_feature(enable = "neon")]
fn quarters(a: &mut Four, b: &mut Four, c: &mut Four, d: &mut Four) {
    for at in 0..4 {
        a[at] = vaddq_u32(a[at], b[at]);
        d[at] = veorq_u32(d[at], a[at]);
        d[at] = vreinterpretq_u32_u16(vrev32q_u16(vreinterpretq_u16_u32(d[at])));
    }
    for at in 0..4 {
        c[at] = vaddq_u32(c[at], d[at]);
        let word = veorq_u32(b[at], c[at]);
        b[at] = vsriq_n_u32::<20>(vshlq_n_u32::<12>(word), word);
    }
    for at in 0..4 {
        a[at] = vaddq_u32(a[at], b[at]);
        let word = veorq_u32(d[at], a[at]);
        d[at] = vsriq_n_u32::<24>(vshlq_n_u32::<8>(word), word);
    }
    for at in 0..4 {
        c[at] = vaddq_u32(c[at], d[at]);
        let word = veorq_u32(b[at], c[at]);
        b[at] = vsriq_n_u32::<25>(vshlq_n_u32::<7>(word), word);
    }
}

/// Four vectors of four words, the other way round.
#[inline]
#[target_feature(enable = "neon")]
fn transpose([a, b, c, d]: Four) -> Four {
    // a0 c0 a1 c1, and so on.
    let even = [vzip1q_u32(a, c), vzip2q_u32(a, c)];
    let odd = [vzip1q_u32(b, d), vzip2q_u32(b, d)];
    [
        vzip1q_u32(even[0], odd[0]),
        vzip2q_u32(even[0], odd[0]),
        vzip1q_u32(even[1], odd[1]),
        vzip2q_u32(even[1], odd[1]),
    ]
}

#[inline]
#[target_feature(enable = "neon")]
fn load(words: [u32; 4]) -> uint32x4_t {
    // SAFETY: The reference is good for reading 16 bytes, and no alignment is asked for.
    unsafe { vld1q_u32(words.as_ptr()) }
}

#[inline]
#[target_feature(enable = "neon")]
fn store(words: &mut [u64; 2], row: uint32x4_t) {
    // SAFETY: The reference is good for writing 16 bytes, and no alignment is asked for.
    unsafe { vst1q_u64(words.as_mut_ptr(), vreinterpretq_u64_u32(row)) }
}
