//! ChaCha20, sixteen blocks to a set of registers: register *i* holds word *i* of every block. RFC 8439, section 2.3.
//!
//! The rounds of a block are one chain of dependent instructions. Two sets, interleaved, fill the pipes of the wider cores, and
//! just fit the 32 registers: nothing is spilled within the rounds.

use core::arch::x86_64::*;

use super::memory::{Block, Row, load_row, store_block, store_halves, store_row};
use super::poly1305::OneTimeKeys;
use crate::portable::SIGMA;

/// Where the key stands in the state, by lane.
pub(super) type KeyRows = [Row; 8];

/// What the blocks of a set are of: the words of the state that differ from packet to packet, by lane.
#[derive(Clone, Copy)]
pub(super) struct Inputs {
    pub(super) block: __m512i,
    pub(super) counter_low: __m512i,
    pub(super) counter_high: __m512i,
}

/// Steps of all quarter rounds of one set.
macro_rules! alone {
    ($state:ident: $($step:literal)*) => {
        $(
            step::<$step, 0>(&mut $state);
            step::<$step, 1>(&mut $state);
            step::<$step, 2>(&mut $state);
            step::<$step, 3>(&mut $state);
        )*
    };
}

/// Steps of all quarter rounds of two sets, in turns. The compiler keeps this order: there is no register left to change it.
macro_rules! both {
    ($a:ident $b:ident: $($step_a:literal $step_b:literal),*) => {
        $(
            step::<$step_a, 0>(&mut $a);
            step::<$step_b, 0>(&mut $b);
            step::<$step_a, 1>(&mut $a);
            step::<$step_b, 1>(&mut $b);
            step::<$step_a, 2>(&mut $a);
            step::<$step_b, 2>(&mut $b);
            step::<$step_a, 3>(&mut $a);
            step::<$step_b, 3>(&mut $b);
        )*
    };
}

/// The rounds of two sets, in the function that finishes them: 32 registers full do not go through a call.
///
/// The second set is five steps behind the first: where one set waits for its rotations, which go to half of the pipes only, the
/// other has additions to do. Measured on Zen 4, a double round of both takes 104 cycles so, 110 in step and 116 quarter round by
/// quarter round; 96 is what the pipes allow.
macro_rules! rounds {
    ($keys:expr, $inputs:expr) => {{
        let mut a = start($keys[0], $inputs[0]);
        let mut b = start($keys[1], $inputs[1]);
        alone!(a: 0 1 2 3 4);
        for _ in 0..9 {
            both!(a b: 5 0, 6 1, 7 2, 8 3, 9 4, 10 5, 11 6, 12 7, 13 8, 14 9, 15 10, 16 11, 17 12, 18 13, 19 14, 20 15, 21 16);
            both!(a b: 22 17, 23 18, 0 19, 1 20, 2 21, 3 22, 4 23);
        }
        both!(a b: 5 0, 6 1, 7 2, 8 3, 9 4, 10 5, 11 6, 12 7, 13 8, 14 9, 15 10, 16 11, 17 12, 18 13, 19 14, 20 15, 21 16);
        both!(a b: 22 17, 23 18);
        alone!(b: 19 20 21 22 23);
        [a, b]
    }};
}

/// Writes the keystream of eight blocks, in half registers: cores that split the full ones are done in half the time, and the
/// others are not slower.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
pub(super) fn eight(key: &KeyRows, inputs: Inputs, out: &mut [Block; 16]) {
    let half = |row| _mm512_castsi512_si256(row);
    let mut x = [_mm256_setzero_si256(); 16];
    for (x, row) in x.iter_mut().zip(start(key, inputs)) {
        *x = half(row);
    }
    let begin = x;
    for _ in 0..10 {
        for diagonal in 0..2 {
            let at = |row: usize, quarter: usize| 4 * row + (quarter + diagonal * row) % 4;
            for quarter in 0..4 {
                x[at(0, quarter)] = _mm256_add_epi32(x[at(0, quarter)], x[at(1, quarter)]);
                x[at(3, quarter)] = rotate::<16>(x[at(3, quarter)], x[at(0, quarter)]);
            }
            for quarter in 0..4 {
                x[at(2, quarter)] = _mm256_add_epi32(x[at(2, quarter)], x[at(3, quarter)]);
                x[at(1, quarter)] = rotate::<12>(x[at(1, quarter)], x[at(2, quarter)]);
            }
            for quarter in 0..4 {
                x[at(0, quarter)] = _mm256_add_epi32(x[at(0, quarter)], x[at(1, quarter)]);
                x[at(3, quarter)] = rotate::<8>(x[at(3, quarter)], x[at(0, quarter)]);
            }
            for quarter in 0..4 {
                x[at(2, quarter)] = _mm256_add_epi32(x[at(2, quarter)], x[at(3, quarter)]);
                x[at(1, quarter)] = rotate::<7>(x[at(1, quarter)], x[at(2, quarter)]);
            }
        }
    }
    for (x, begin) in x.iter_mut().zip(begin) {
        *x = _mm256_add_epi32(*x, begin);
    }
    // Words of two blocks, in each half of the register, then two halves of a row.
    let mut y = [_mm256_setzero_si256(); 16];
    for four in 0..4 {
        let [a, b, c, d] = [x[4 * four], x[4 * four + 1], x[4 * four + 2], x[4 * four + 3]];
        let (ab_low, ab_high) = (_mm256_unpacklo_epi32(a, b), _mm256_unpackhi_epi32(a, b));
        let (cd_low, cd_high) = (_mm256_unpacklo_epi32(c, d), _mm256_unpackhi_epi32(c, d));
        y[4 * four] = _mm256_unpacklo_epi64(ab_low, cd_low);
        y[4 * four + 1] = _mm256_unpackhi_epi64(ab_low, cd_low);
        y[4 * four + 2] = _mm256_unpacklo_epi64(ab_high, cd_high);
        y[4 * four + 3] = _mm256_unpackhi_epi64(ab_high, cd_high);
    }
    // Half h of y[4f + i] holds words 4f..4f+4 of block 4h + i.
    for at in 0..4 {
        let [a, b, c, d] = [y[at], y[4 + at], y[8 + at], y[12 + at]];
        let low = [_mm256_permute2x128_si256::<0x20>(a, b), _mm256_permute2x128_si256::<0x20>(c, d)];
        let high = [_mm256_permute2x128_si256::<0x31>(a, b), _mm256_permute2x128_si256::<0x31>(c, d)];
        store_halves(&mut out[at], low);
        store_halves(&mut out[4 + at], high);
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
fn rotate<const LEFT: i32>(a: __m256i, b: __m256i) -> __m256i {
    _mm256_rol_epi32::<LEFT>(_mm256_xor_si256(a, b))
}

/// Writes the keystream of sixteen blocks.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
pub(super) fn sixteen(key: &KeyRows, inputs: Inputs, out: &mut [Block; 16]) {
    let mut state = start(key, inputs);
    for _ in 0..10 {
        alone!(state: 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23);
    }
    finish(state, key, inputs, out);
}

/// Writes the keystream of twice sixteen blocks.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
pub(super) fn thirty_two(keys: [&KeyRows; 2], inputs: [Inputs; 2], out: &mut [[Block; 16]; 2]) {
    let [a, b] = rounds!(keys, inputs);
    let [out_a, out_b] = out;
    finish(a, keys[0], inputs[0], out_a);
    finish(b, keys[1], inputs[1], out_b);
}

/// Writes the one-time keys that sixteen first blocks hold, and the keystream of sixteen more blocks. The keys are of the lanes
/// 0, 1, 4, 5, 8, 9, 12 and 13, and of those between.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
pub(super) fn one_time_keys_and_sixteen(
    keys: [&KeyRows; 2],
    inputs: [Inputs; 2],
    one_time_keys: &mut [OneTimeKeys; 2],
    out: &mut [Block; 16],
) {
    let [mut a, b] = rounds!(keys, inputs);
    for (a, start) in a.iter_mut().zip(start(keys[0], inputs[0])) {
        *a = _mm512_add_epi32(*a, start);
    }
    for word in 0..4 {
        let (low, high) = (a[2 * word], a[2 * word + 1]);
        store_row(&mut one_time_keys[0][word], _mm512_unpacklo_epi32(low, high));
        store_row(&mut one_time_keys[1][word], _mm512_unpackhi_epi32(low, high));
    }
    finish(b, keys[1], inputs[1], out);
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
fn start(key: &KeyRows, inputs: Inputs) -> [__m512i; 16] {
    let [k0, k1, k2, k3, k4, k5, k6, k7] = key;
    [
        sigma(0),
        sigma(1),
        sigma(2),
        sigma(3),
        load_row(k0),
        load_row(k1),
        load_row(k2),
        load_row(k3),
        load_row(k4),
        load_row(k5),
        load_row(k6),
        load_row(k7),
        inputs.block,
        _mm512_setzero_si512(),
        inputs.counter_low,
        inputs.counter_high,
    ]
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
fn sigma(at: usize) -> __m512i {
    _mm512_set1_epi32(SIGMA[at].cast_signed())
}

/// One of the 24 steps of a double round in one of its quarter rounds: twelve of the columns, then twelve of the diagonals.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
fn step<const STEP: usize, const QUARTER: usize>(state: &mut [__m512i; 16]) {
    let diagonal = STEP / 12;
    let [a, b, c, d] = [0, 1, 2, 3].map(|row| 4 * row + (QUARTER + diagonal * row) % 4);
    match STEP % 12 {
        0 | 6 => state[a] = _mm512_add_epi32(state[a], state[b]),
        1 | 7 => state[d] = _mm512_xor_si512(state[d], state[a]),
        2 => state[d] = _mm512_rol_epi32::<16>(state[d]),
        3 | 9 => state[c] = _mm512_add_epi32(state[c], state[d]),
        4 | 10 => state[b] = _mm512_xor_si512(state[b], state[c]),
        5 => state[b] = _mm512_rol_epi32::<12>(state[b]),
        8 => state[d] = _mm512_rol_epi32::<8>(state[d]),
        _ => state[b] = _mm512_rol_epi32::<7>(state[b]),
    }
}

/// Adds the input to the state and writes it, block by block.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
fn finish(mut x: [__m512i; 16], key: &KeyRows, inputs: Inputs, out: &mut [Block; 16]) {
    for (x, start) in x.iter_mut().zip(start(key, inputs)) {
        *x = _mm512_add_epi32(*x, start);
    }
    // Words of four blocks, in each quarter of the register, then four words of each block.
    let mut y = [_mm512_setzero_si512(); 16];
    for four in 0..4 {
        let [a, b, c, d] = [x[4 * four], x[4 * four + 1], x[4 * four + 2], x[4 * four + 3]];
        let (ab_low, ab_high) = (_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
        let (cd_low, cd_high) = (_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
        y[4 * four] = _mm512_unpacklo_epi64(ab_low, cd_low);
        y[4 * four + 1] = _mm512_unpackhi_epi64(ab_low, cd_low);
        y[4 * four + 2] = _mm512_unpacklo_epi64(ab_high, cd_high);
        y[4 * four + 3] = _mm512_unpackhi_epi64(ab_high, cd_high);
    }
    // Quarter q of y[4f + i] holds words 4f..4f+4 of block 4q + i.
    for at in 0..4 {
        let [a, b, c, d] = [y[at], y[4 + at], y[8 + at], y[12 + at]];
        let (ab_low, ab_high) = (_mm512_shuffle_i32x4::<0x88>(a, b), _mm512_shuffle_i32x4::<0xdd>(a, b));
        let (cd_low, cd_high) = (_mm512_shuffle_i32x4::<0x88>(c, d), _mm512_shuffle_i32x4::<0xdd>(c, d));
        store_block(&mut out[at], _mm512_shuffle_i32x4::<0x88>(ab_low, cd_low));
        store_block(&mut out[4 + at], _mm512_shuffle_i32x4::<0x88>(ab_high, cd_high));
        store_block(&mut out[8 + at], _mm512_shuffle_i32x4::<0xdd>(ab_low, cd_low));
        store_block(&mut out[12 + at], _mm512_shuffle_i32x4::<0xdd>(ab_high, cd_high));
    }
}
