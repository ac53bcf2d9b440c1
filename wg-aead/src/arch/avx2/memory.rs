//! Loads and stores: all that a vector kernel does that the compiler cannot check.

use core::arch::x86_64::*;
use core::mem::MaybeUninit;

/// What a register takes of a block of keystream. The first half of block 0 is the one-time key.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(32))]
pub(super) struct Half(pub(super) [u8; 32]);

/// A block of keystream.
pub(super) type Block = [Half; 2];

/// One word of eight lanes.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(32))]
pub(super) struct Row(pub(super) [u32; 8]);

#[inline]
#[target_feature(enable = "avx2,bmi2")]
pub(super) fn store_row(row: &mut Row, value: __m256i) {
    // SAFETY: a row is 32 bytes long and aligned to 32.
    unsafe { _mm256_store_si256(core::ptr::from_mut(row).cast(), value) }
}

/// Keeps a register in memory, whatever the compiler thinks of it.
#[inline]
#[target_feature(enable = "avx2,bmi2")]
pub(super) fn keep(row: &mut Row, value: __m256i) {
    // SAFETY: a row is 32 bytes long and aligned to 32.
    unsafe { core::ptr::from_mut(row).cast::<__m256i>().write_volatile(value) }
}

/// Takes a register out of memory, whatever the compiler thinks of it.
#[inline]
#[target_feature(enable = "avx2,bmi2")]
pub(super) fn take(row: &Row) -> __m256i {
    // SAFETY: a row is 32 bytes long and aligned to 32.
    unsafe { core::ptr::from_ref(row).cast::<__m256i>().read_volatile() }
}

/// Loads the words of a key.
#[inline]
#[target_feature(enable = "avx2,bmi2")]
pub(super) fn load_key(key: &[u32; 8]) -> __m256i {
    // SAFETY: a key is 32 bytes long; the load asks for no alignment.
    unsafe { _mm256_loadu_si256(core::ptr::from_ref(key).cast()) }
}

/// Loads half the words of a key.
#[inline]
#[target_feature(enable = "avx2,bmi2")]
pub(super) fn load_key_half(half: &[u32; 4]) -> __m128i {
    // SAFETY: half a key is 16 bytes long; the load asks for no alignment.
    unsafe { _mm_loadu_si128(core::ptr::from_ref(half).cast()) }
}

#[inline]
#[target_feature(enable = "avx2,bmi2")]
pub(super) fn load_half(half: &[u8; 32]) -> __m256i {
    // SAFETY: half a block is 32 bytes long; the load asks for no alignment.
    unsafe { _mm256_loadu_si256(core::ptr::from_ref(half).cast()) }
}

#[inline]
#[target_feature(enable = "avx2,bmi2")]
pub(super) fn store_half(half: &mut [u8; 32], value: __m256i) {
    // SAFETY: half a block is 32 bytes long; the store asks for no alignment.
    unsafe { _mm256_storeu_si256(core::ptr::from_mut(half).cast(), value) }
}

/// Overwrites half a block in a way that is not left out.
#[inline]
#[target_feature(enable = "avx2,bmi2")]
pub(super) fn wipe_half(half: &mut Half) {
    let zero = _mm256_setzero_si256();
    // SAFETY: half a block is 32 bytes long and aligned to 32, as the register is.
    unsafe { core::ptr::from_mut(half).cast::<__m256i>().write_volatile(zero) }
}

/// Overwrites a row in a way that is not left out.
#[inline]
#[target_feature(enable = "avx2,bmi2")]
pub(super) fn wipe_row(row: &mut Row) {
    let zero = _mm256_setzero_si256();
    // SAFETY: a row is 32 bytes long and aligned to 32, as the register is.
    unsafe { core::ptr::from_mut(row).cast::<__m256i>().write_volatile(zero) }
}

/// Overwrites what the functions that the caller has called may have left on the stack: copies that no variable names.
#[inline(never)]
#[target_feature(enable = "avx2,bmi2")]
pub(super) fn wipe_stack() {
    let zero = _mm256_setzero_si256();
    let mut rows = [const { MaybeUninit::<Row>::uninit() }; 48];
    for row in &mut rows {
        // SAFETY: a row is 32 bytes long and aligned to 32, as the register is.
        unsafe { row.as_mut_ptr().cast::<__m256i>().write_volatile(zero) }
    }
}
