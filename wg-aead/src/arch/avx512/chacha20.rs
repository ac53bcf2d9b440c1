//! ChaCha20, sixteen blocks to a set of registers: register *i* holds word *i* of every block. RFC 8439, section 2.3.
//!
//! The rounds of a block are one chain of dependent instructions. Two sets, interleaved, fill the pipes of the wider cores, and
//! just fit the 32 registers: nothing is spilled within the rounds.

use core::arch::x86_64::*;

use super::memory::{Block, Row, load_row, store_block};
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

/// Writes the keystream of sixteen blocks.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma")]
pub(super) fn sixteen(key: &KeyRows, inputs: Inputs, out: &mut [Block; 16]) {
    let mut state = start(key, inputs);
    for _ in 0..10 {
        double_round(&mut state);
    }
    finish(state, key, inputs, out);
}

/// Writes the keystream of twice sixteen blocks.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma")]
pub(super) fn thirty_two(keys: [&KeyRows; 2], inputs: [Inputs; 2], out: &mut [[Block; 16]; 2]) {
    let mut first = start(keys[0], inputs[0]);
    let mut second = start(keys[1], inputs[1]);
    for _ in 0..10 {
        double_rounds(&mut first, &mut second);
    }
    let [out_first, out_second] = out;
    finish(first, keys[0], inputs[0], out_first);
    finish(second, keys[1], inputs[1], out_second);
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma")]
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
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma")]
fn sigma(at: usize) -> __m512i {
    _mm512_set1_epi32(SIGMA[at].cast_signed())
}

/// One column of quarter rounds for each of the indices, step by step so that independent instructions are neighbours.
macro_rules! quarters {
    ($($state:ident [$a:literal $b:literal $c:literal $d:literal])*) => {
        $($state[$a] = _mm512_add_epi32($state[$a], $state[$b]);)*
        $($state[$d] = _mm512_rol_epi32::<16>(_mm512_xor_si512($state[$d], $state[$a]));)*
        $($state[$c] = _mm512_add_epi32($state[$c], $state[$d]);)*
        $($state[$b] = _mm512_rol_epi32::<12>(_mm512_xor_si512($state[$b], $state[$c]));)*
        $($state[$a] = _mm512_add_epi32($state[$a], $state[$b]);)*
        $($state[$d] = _mm512_rol_epi32::<8>(_mm512_xor_si512($state[$d], $state[$a]));)*
        $($state[$c] = _mm512_add_epi32($state[$c], $state[$d]);)*
        $($state[$b] = _mm512_rol_epi32::<7>(_mm512_xor_si512($state[$b], $state[$c]));)*
    };
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma")]
fn double_round(x: &mut [__m512i; 16]) {
    quarters!(x[0 4 8 12] x[1 5 9 13] x[2 6 10 14] x[3 7 11 15]);
    quarters!(x[0 5 10 15] x[1 6 11 12] x[2 7 8 13] x[3 4 9 14]);
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma")]
fn double_rounds(x: &mut [__m512i; 16], y: &mut [__m512i; 16]) {
    quarters!(x[0 4 8 12] x[1 5 9 13] x[2 6 10 14] x[3 7 11 15] y[0 4 8 12] y[1 5 9 13] y[2 6 10 14] y[3 7 11 15]);
    quarters!(x[0 5 10 15] x[1 6 11 12] x[2 7 8 13] x[3 4 9 14] y[0 5 10 15] y[1 6 11 12] y[2 7 8 13] y[3 4 9 14]);
}

/// Adds the input to the state and writes it, block by block.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma")]
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
