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
    // One row of the state after the other: its four words, each with a lane for each block. Neither `map` nor `rotate` of an
    // array takes vectors in registers.
    let [p, q, r, s] = blocks;
    let mut a = [vdupq_n_u32(SIGMA[0]), vdupq_n_u32(SIGMA[1]), vdupq_n_u32(SIGMA[2]), vdupq_n_u32(SIGMA[3])];
    let mut b = transpose([load(row(p, 1)), load(row(q, 1)), load(row(r, 1)), load(row(s, 1))]);
    let mut c = transpose([load(row(p, 2)), load(row(q, 2)), load(row(r, 2)), load(row(s, 2))]);
    let mut d = transpose([load(row(p, 3)), load(row(q, 3)), load(row(r, 3)), load(row(s, 3))]);
    for _ in 0..10 {
        quarters(&mut a, &mut b, &mut c, &mut d);
        (b, c, d) = (turn(b), turn(turn(c)), turn(turn(turn(d))));
        quarters(&mut a, &mut b, &mut c, &mut d);
        (b, c, d) = (turn(turn(turn(b))), turn(turn(c)), turn(d));
        between.step();
    }
    let rows = [transpose(a), transpose(b), transpose(c), transpose(d)];
    for (lane, (block, stream)) in blocks.into_iter().zip(streams).enumerate() {
        for (at, words) in stream.as_chunks_mut::<2>().0.iter_mut().enumerate() {
            store(words, vaddq_u32(rows[at][lane], load(row(block, at))));
        }
    }
}

/// A row of the state that the rounds start from.
#[inline(always)]
fn row(block: &Block<'_>, row: usize) -> [u32; 4] {
    let [a, b, c, d, e, f, g, h] = *block.key;
    match row {
        0 => SIGMA,
        1 => [a, b, c, d],
        2 => [e, f, g, h],
        _ => block.last_row(),
    }
}

/// The words of a row, each one place to the left.
#[inline(always)]
const fn turn([a, b, c, d]: Four) -> Four {
    [b, c, d, a]
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
