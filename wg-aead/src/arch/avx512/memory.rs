//! Loads and stores: all that a vector kernel does that the compiler cannot check.

use core::arch::x86_64::*;
use core::mem::MaybeUninit;

/// A block of either cipher's keystream, or of text, aligned to a register.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(super) struct Block(pub(super) [u8; 64]);

/// One word of sixteen lanes.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(super) struct Row(pub(super) [u32; 16]);

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
pub(super) fn load_row(row: &Row) -> __m512i {
    // SAFETY: a row is 64 bytes long and aligned to 64.
    unsafe { _mm512_load_si512(core::ptr::from_ref(row).cast()) }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
pub(super) fn store_row(row: &mut Row, value: __m512i) {
    // SAFETY: a row is 64 bytes long and aligned to 64.
    unsafe { _mm512_store_si512(core::ptr::from_mut(row).cast(), value) }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
pub(super) fn load_block(block: &Block) -> __m512i {
    // SAFETY: a block is 64 bytes long and aligned to 64.
    unsafe { _mm512_load_si512(core::ptr::from_ref(block).cast()) }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
pub(super) fn store_block(block: &mut Block, value: __m512i) {
    // SAFETY: a block is 64 bytes long and aligned to 64.
    unsafe { _mm512_store_si512(core::ptr::from_mut(block).cast(), value) }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
pub(super) fn store_halves(block: &mut Block, [low, high]: [__m256i; 2]) {
    let halves = block.0.as_chunks_mut::<32>().0;
    for (half, value) in halves.iter_mut().zip([low, high]) {
        // SAFETY: a half is 32 bytes long; the store asks for no alignment.
        unsafe { _mm256_storeu_si256(core::ptr::from_mut(half).cast(), value) }
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
pub(super) fn load_chunk(chunk: &[u8; 64]) -> __m512i {
    // SAFETY: a chunk is 64 bytes long; the load asks for no alignment.
    unsafe { _mm512_loadu_si512(core::ptr::from_ref(chunk).cast()) }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
pub(super) fn store_chunk(chunk: &mut [u8; 64], value: __m512i) {
    // SAFETY: a chunk is 64 bytes long; the store asks for no alignment.
    unsafe { _mm512_storeu_si512(core::ptr::from_mut(chunk).cast(), value) }
}

/// The lanes of the first `len` bytes.
#[inline]
pub(super) const fn first_bytes(len: usize) -> u64 {
    match len {
        0..64 => (1 << len) - 1,
        _ => u64::MAX,
    }
}

/// Loads up to 64 bytes to the lanes from `skip` on; the others are zero. What does not fit is left out.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
pub(super) fn load_part(bytes: &[u8], skip: usize) -> __m512i {
    let mask = first_bytes(bytes.len()).unbounded_shl(u32::try_from(skip).unwrap_or(64));
    let start = bytes.as_ptr().wrapping_sub(skip);
    // SAFETY: lane i reads the byte i - skip of the slice, and the mask has only those lanes where there is one; a byte whose
    // lane is masked is not accessed.
    unsafe { _mm512_maskz_loadu_epi8(mask, start.cast()) }
}

/// Stores as many lanes as the slice has bytes, up to 64.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
pub(super) fn store_part(bytes: &mut [u8], value: __m512i) {
    let mask = first_bytes(bytes.len());
    // SAFETY: the mask has only the lanes that the slice has bytes for; a byte whose lane is masked is not accessed.
    unsafe { _mm512_mask_storeu_epi8(bytes.as_mut_ptr().cast(), mask, value) }
}

/// Stores sixteen words at an index.
///
/// # Panics
///
/// If there are not sixteen from there on.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
pub(super) fn store_words(words: &mut [u32], at: usize, value: __m512i) {
    let words = &mut words[at..at + 16];
    // SAFETY: the slice is 64 bytes long; the store asks for no alignment.
    unsafe { _mm512_storeu_si512(words.as_mut_ptr().cast(), value) }
}

/// Overwrites a block in a way that is not left out.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
pub(super) fn wipe_block(block: &mut Block) {
    let zero = _mm512_setzero_si512();
    // SAFETY: a block is 64 bytes long and aligned to 64, as the register is.
    unsafe { core::ptr::from_mut(block).cast::<__m512i>().write_volatile(zero) }
}

/// Overwrites a row in a way that is not left out.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
pub(super) fn wipe_row(row: &mut Row) {
    let zero = _mm512_setzero_si512();
    // SAFETY: a row is 64 bytes long and aligned to 64, as the register is.
    unsafe { core::ptr::from_mut(row).cast::<__m512i>().write_volatile(zero) }
}

/// Overwrites the `BLOCKS` blocks of stack below the frame of the caller: what the functions it has called left there.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
pub(super) fn wipe_dead_stack<const BLOCKS: usize>() {
    wipe_blocks::<BLOCKS>();
    wipe_edge();
}

/// The bytes right below the frame of the caller, which the alignment of blocks leaves out: there stand the upper ends of the
/// frames of those it has called.
#[inline(never)]
fn wipe_edge() {
    // Aligned as every frame is, so that nothing is left out; two blocks for the alignment, and what a function saves.
    let mut area = [const { MaybeUninit::<u128>::uninit() }; 10];
    for word in &mut area {
        // SAFETY: the pointer is that of a word of the area; what it held is not read.
        unsafe { word.as_mut_ptr().write_volatile(0) }
    }
}

#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
fn wipe_blocks<const BLOCKS: usize>() {
    let zero = _mm512_setzero_si512();
    let mut area = [const { MaybeUninit::<Block>::uninit() }; BLOCKS];
    for block in &mut area {
        // SAFETY: a block is 64 bytes long and aligned to 64, as the register is; what it held is not read.
        unsafe { block.as_mut_ptr().cast::<__m512i>().write_volatile(zero) }
    }
}
