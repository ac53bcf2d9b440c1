//! One small packet: up to eight blocks of ChaCha20, side by side in the quarters of two registers, and Poly1305 in words.
//!
//! The rounds are a chain in which every instruction waits for the one before. Two blocks fit half a register, whose rotations are
//! done sooner on cores that split the full ones.

#![expect(clippy::cast_possible_truncation, reason = "a counter is cut in two")]

use core::arch::x86_64::*;

use super::memory::{
    Block, first_bytes, load_block, load_part, store_block, store_halves, store_part, wipe_block,
    wipe_dead_stack,
};
use super::passes::{Direction, add_words, same, total};
use crate::packet::Packet;
use crate::portable::{Poly1305, SIGMA};

/// The longest text of which all blocks, and that of the one-time key, fit.
pub(super) const LONGEST: usize = 64 * (BLOCKS - 1);

const BLOCKS: usize = 8;

/// Seals a packet of up to [`LONGEST`] bytes.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
pub(super) fn seal(packet: &mut Packet<'_>) {
    let mut blocks = [Block([0; 64]); BLOCKS];
    keystream(packet, &mut blocks);
    apply(packet, &blocks, Direction::Seal);
    packet.apply_patch();
    packet.tag = tag(&blocks[0], packet.text);
    wipe(&mut blocks);
}

/// Opens a packet of up to [`LONGEST`] bytes.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
pub(super) fn open(packet: &mut Packet<'_>) {
    let mut blocks = [Block([0; 64]); BLOCKS];
    keystream(packet, &mut blocks);
    packet.authentic = same(&packet.tag, &tag(&blocks[0], packet.ciphertext()));
    if packet.authentic {
        apply(packet, &blocks, Direction::Open);
    }
    wipe(&mut blocks);
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
fn wipe(blocks: &mut [Block; BLOCKS]) {
    for block in blocks {
        wipe_block(block);
    }
    wipe_dead_stack::<16>();
}

/// Makes as many blocks as there is text for, and block 0.
#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
fn keystream(packet: &Packet<'_>, out: &mut [Block; BLOCKS]) {
    let [k0, k1, k2, k3, k4, k5, k6, k7] = packet.key.words().map(u32::cast_signed);
    let [s0, s1, s2, s3] = SIGMA.map(u32::cast_signed);
    let (low, high) = (packet.counter as i32, (packet.counter >> 32) as i32);
    let rows = [
        _mm_setr_epi32(s0, s1, s2, s3),
        _mm_setr_epi32(k0, k1, k2, k3),
        _mm_setr_epi32(k4, k5, k6, k7),
        _mm_setr_epi32(0, 0, low, high),
    ];
    match packet.text.len() {
        0..=64 => two(rows, out),
        65..=192 => fours::<1>(rows, out),
        _ => fours::<2>(rows, out),
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
fn two(rows: [__m128i; 4], out: &mut [Block; BLOCKS]) {
    let mut x = [_mm256_setzero_si256(); 4];
    for (x, row) in x.iter_mut().zip(rows) {
        *x = _mm256_broadcastsi128_si256(row);
    }
    x[3] = _mm256_add_epi32(x[3], _mm256_setr_epi32(0, 0, 0, 0, 1, 0, 0, 0));
    let start = x;
    let [mut a, mut b, mut c, mut d] = x;
    for round in 0..20 {
        a = _mm256_add_epi32(a, b);
        d = _mm256_rol_epi32::<16>(_mm256_xor_si256(d, a));
        c = _mm256_add_epi32(c, d);
        b = _mm256_rol_epi32::<12>(_mm256_xor_si256(b, c));
        a = _mm256_add_epi32(a, b);
        d = _mm256_rol_epi32::<8>(_mm256_xor_si256(d, a));
        c = _mm256_add_epi32(c, d);
        b = _mm256_rol_epi32::<7>(_mm256_xor_si256(b, c));
        // The diagonals become columns, and columns again.
        c = _mm256_shuffle_epi32::<0x4e>(c);
        if round % 2 == 0 {
            (b, d) = (_mm256_shuffle_epi32::<0x39>(b), _mm256_shuffle_epi32::<0x93>(d));
        } else {
            (b, d) = (_mm256_shuffle_epi32::<0x93>(b), _mm256_shuffle_epi32::<0x39>(d));
        }
    }
    for (x, (row, start)) in x.iter_mut().zip([a, b, c, d].into_iter().zip(start)) {
        *x = _mm256_add_epi32(row, start);
    }
    let first =
        [_mm256_permute2x128_si256::<0x20>(x[0], x[1]), _mm256_permute2x128_si256::<0x20>(x[2], x[3])];
    let second =
        [_mm256_permute2x128_si256::<0x31>(x[0], x[1]), _mm256_permute2x128_si256::<0x31>(x[2], x[3])];
    store_halves(&mut out[0], first);
    store_halves(&mut out[1], second);
}

/// Four blocks, or twice four in turns.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
fn fours<const N: usize>(rows: [__m128i; 4], out: &mut [Block; BLOCKS]) {
    let mut x = [[_mm512_setzero_si512(); 4]; N];
    for (set, x) in x.iter_mut().enumerate() {
        for (x, row) in x.iter_mut().zip(rows) {
            *x = _mm512_broadcast_i32x4(row);
        }
        let first = _mm512_setr_epi32(0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0);
        x[3] = _mm512_add_epi32(x[3], first);
        if set == 1 {
            x[3] = _mm512_add_epi32(x[3], _mm512_maskz_set1_epi32(0x1111, 4));
        }
    }
    let start = x;
    for round in 0..20 {
        for [a, b, _, d] in &mut x {
            *a = _mm512_add_epi32(*a, *b);
            *d = _mm512_rol_epi32::<16>(_mm512_xor_si512(*d, *a));
        }
        for [_, b, c, d] in &mut x {
            *c = _mm512_add_epi32(*c, *d);
            *b = _mm512_rol_epi32::<12>(_mm512_xor_si512(*b, *c));
        }
        for [a, b, _, d] in &mut x {
            *a = _mm512_add_epi32(*a, *b);
            *d = _mm512_rol_epi32::<8>(_mm512_xor_si512(*d, *a));
        }
        for [_, b, c, d] in &mut x {
            *c = _mm512_add_epi32(*c, *d);
            *b = _mm512_rol_epi32::<7>(_mm512_xor_si512(*b, *c));
            *c = _mm512_shuffle_epi32::<0x4e>(*c);
            if round % 2 == 0 {
                (*b, *d) = (_mm512_shuffle_epi32::<0x39>(*b), _mm512_shuffle_epi32::<0x93>(*d));
            } else {
                (*b, *d) = (_mm512_shuffle_epi32::<0x93>(*b), _mm512_shuffle_epi32::<0x39>(*d));
            }
        }
    }
    for ((x, start), out) in x.into_iter().zip(start).zip(out.as_chunks_mut::<4>().0) {
        let [a, b, c, d] = x;
        let (a, b) = (_mm512_add_epi32(a, start[0]), _mm512_add_epi32(b, start[1]));
        let (c, d) = (_mm512_add_epi32(c, start[2]), _mm512_add_epi32(d, start[3]));
        let (ab_even, ab_odd) = (_mm512_shuffle_i32x4::<0x88>(a, b), _mm512_shuffle_i32x4::<0xdd>(a, b));
        let (cd_even, cd_odd) = (_mm512_shuffle_i32x4::<0x88>(c, d), _mm512_shuffle_i32x4::<0xdd>(c, d));
        store_block(&mut out[0], _mm512_shuffle_i32x4::<0x88>(ab_even, cd_even));
        store_block(&mut out[1], _mm512_shuffle_i32x4::<0x88>(ab_odd, cd_odd));
        store_block(&mut out[2], _mm512_shuffle_i32x4::<0xdd>(ab_even, cd_even));
        store_block(&mut out[3], _mm512_shuffle_i32x4::<0xdd>(ab_odd, cd_odd));
    }
}

/// Puts the keystream to the text, from wherever its source is, and sums up the plaintext if that is asked for.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
fn apply(packet: &mut Packet<'_>, blocks: &[Block; BLOCKS], direction: Direction) {
    let summing = packet.summing.then_some(direction);
    let mut sum = _mm512_setzero_si512();
    let (lead, rest) = (packet.lead, packet.rest);
    for (at, (chunk, block)) in packet.text.chunks_mut(64).zip(&blocks[1..]).enumerate() {
        let source = match (64 * at).checked_sub(lead) {
            Some(start) => {
                let rest = rest.get(start..).unwrap_or_default();
                load_part(rest.get(..64).unwrap_or(rest), 0)
            }
            None => load_part(chunk, 0),
        };
        let result = _mm512_xor_si512(source, load_block(block));
        let result = _mm512_maskz_mov_epi8(first_bytes(chunk.len()), result);
        store_part(chunk, result);
        sum = add_words(sum, source, result, summing);
    }
    if packet.summing {
        packet.sum = total(sum);
    }
}

/// The tag under the one-time key that block 0 holds.
#[inline(never)]
fn tag(block: &Block, text: &[u8]) -> [u8; 16] {
    let mut words = [0; 4];
    for (word, bytes) in words.iter_mut().zip(block.0.as_chunks::<8>().0) {
        *word = u64::from_le_bytes(*bytes);
    }
    let (pairs, rest) = text.as_chunks();
    let mut poly = Poly1305::default();
    poly.start(words);
    poly.absorb(pairs);
    poly.finish(rest, text.len()).to_le_bytes()
}
