//! SSE2, which every x86-64 and most 32-bit x86 targets have: blocks in rows, up to four of them interleaved.
//!
//! Rows need no transposition and any number of blocks may run; shuffles between the rounds cost what the spilled registers
//! of a state in sixteen vectors do.

#![expect(unsafe_code, reason = "SSE2 intrinsics")]

#[cfg(target_arch = "x86")]
use core::arch::x86::*;
#[cfg(target_arch = "x86_64")]
use core::arch::x86_64::*;

use crate::packet::Group;
use crate::portable::{Between, Block, Cipher, SIGMA, Stream, open_by, seal_by};

/// SSE2, without which the target would not compile this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sse2;

impl Sse2 {
    #[expect(clippy::unused_self, reason = "kernels are called alike")]
    pub(crate) fn seal(self, group: &mut Group<'_, '_>) {
        seal_by::<Self>(group);
    }

    #[expect(clippy::unused_self, reason = "kernels are called alike")]
    pub(crate) fn open(self, group: &mut Group<'_, '_>) {
        open_by::<Self>(group);
    }
}

impl Cipher for Sse2 {
    const LANES: usize = 4;

    #[inline]
    fn pass(blocks: &[Block<'_>], streams: &mut [Stream], between: impl Between) {
        // SAFETY: The target has SSE2, or this file would not be part of it.
        unsafe { pass(blocks, streams, between) }
    }
}

#[target_feature(enable = "sse2")]
fn pass(blocks: &[Block<'_>], streams: &mut [Stream], between: impl Between) {
    match (blocks, streams) {
        ([a], [w]) => rows([a], [w], between),
        ([a, b], [w, x]) => rows([a, b], [w, x], between),
        ([a, b, c], [w, x, y]) => rows([a, b, c], [w, x, y], between),
        ([a, b, c, d], [w, x, y, z]) => rows([a, b, c, d], [w, x, y, z], between),
        _ => {}
    }
}

type Rows = [__m128i; 4];

#[target_feature(enable = "sse2")]
fn rows<const N: usize>(blocks: [&Block<'_>; N], streams: [&mut Stream; N], mut between: impl Between) {
    let mut states = [[_mm_setzero_si128(); 4]; N];
    for (state, block) in states.iter_mut().zip(blocks) {
        *state = start(block);
    }
    for _ in 0..10 {
        quarters(&mut states);
        for [_, b, c, d] in &mut states {
            *b = _mm_shuffle_epi32::<0b00_11_10_01>(*b);
            *c = _mm_shuffle_epi32::<0b01_00_11_10>(*c);
            *d = _mm_shuffle_epi32::<0b10_01_00_11>(*d);
        }
        quarters(&mut states);
        for [_, b, c, d] in &mut states {
            *b = _mm_shuffle_epi32::<0b10_01_00_11>(*b);
            *c = _mm_shuffle_epi32::<0b01_00_11_10>(*c);
            *d = _mm_shuffle_epi32::<0b00_11_10_01>(*d);
        }
        between.step();
    }
    for ((state, block), stream) in states.iter().zip(blocks).zip(streams) {
        let start = start(block);
        for ((row, start), words) in state.iter().zip(start).zip(stream.as_chunks_mut::<2>().0) {
            store(words, _mm_add_epi32(*row, start));
        }
    }
}

#[inline]
#[target_feature(enable = "sse2")]
fn start(block: &Block<'_>) -> Rows {
    let [key @ .., _, _, _, _] = block.key;
    let [_, _, _, _, more @ ..] = block.key;
    [load(&SIGMA), load(key), load(more), load(&block.last_row())]
}

/// A quarter round of every column.
#[inline]
#[target_feature(enable = "sse2")]
fn quarters<const N: usize>(states: &mut [Rows; N]) {
    for [a, b, _, d] in &mut *states {
        *a = _mm_add_epi32(*a, *b);
        *d = _mm_xor_si128(*d, *a);
        *d = _mm_shufflehi_epi16::<0b10_11_00_01>(_mm_shufflelo_epi16::<0b10_11_00_01>(*d));
    }
    for [_, b, c, d] in &mut *states {
        *c = _mm_add_epi32(*c, *d);
        *b = rotate::<12, 20>(_mm_xor_si128(*b, *c));
    }
    for [a, b, _, d] in &mut *states {
        *a = _mm_add_epi32(*a, *b);
        *d = rotate::<8, 24>(_mm_xor_si128(*d, *a));
    }
    for [_, b, c, d] in &mut *states {
        *c = _mm_add_epi32(*c, *d);
        *b = rotate::<7, 25>(_mm_xor_si128(*b, *c));
    }
}

#[inline]
#[target_feature(enable = "sse2")]
fn rotate<const LEFT: i32, const RIGHT: i32>(row: __m128i) -> __m128i {
    _mm_or_si128(_mm_slli_epi32::<LEFT>(row), _mm_srli_epi32::<RIGHT>(row))
}

#[inline]
#[target_feature(enable = "sse2")]
fn load(words: &[u32; 4]) -> __m128i {
    // SAFETY: The reference is good for reading 16 bytes, and no alignment is asked for.
    unsafe { _mm_loadu_si128(words.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "sse2")]
fn store(words: &mut [u64; 2], row: __m128i) {
    // SAFETY: The reference is good for writing 16 bytes, and no alignment is asked for.
    unsafe { _mm_storeu_si128(words.as_mut_ptr().cast(), row) }
}
