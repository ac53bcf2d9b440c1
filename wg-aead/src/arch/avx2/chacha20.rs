//! ChaCha20, eight blocks to a set of registers: register *i* holds word *i* of every block. RFC 8439, section 2.3.
//!
//! The sixteen words of the state are all the registers there are, so two of them are in memory at any time. A double round is
//! 128 vector instructions: 32 cycles of four pipes, and as many of the chain from one to the next. On Zen 4 it takes 52, since
//! there is no second chain to fill the gaps with; what Poly1305 does meanwhile in the
//! scalar pipes costs 10 more.

use core::arch::x86_64::*;

use super::memory::{Block, Row, keep, load_key_half, store_half, take};
use crate::portable::SIGMA;

/// Blocks of a pass.
pub(super) const LANES: usize = 8;

/// Where the key stands in the state, by lane.
pub(super) type KeyRows = [Row; 8];

/// What the blocks of a pass are of: the words of the state that differ from packet to packet, by lane.
#[derive(Clone, Copy)]
pub(super) struct Inputs {
    pub(super) block: Row,
    pub(super) counter_low: Row,
    pub(super) counter_high: Row,
}

/// What is done beside the cipher, once in each double round.
pub(super) trait Beside {
    fn step(&mut self);
}

/// Which byte goes where in a rotation of each word by 16 and by 8 bits.
///
/// A static that is read anew each time: masks that the compiler knows, or keeps, cost a second instruction or a register.
static ROTATE_16: Row = rotation(2);
static ROTATE_8: Row = rotation(1);

const fn rotation(bytes: u32) -> Row {
    let word = 0x0302_0100_u32.rotate_left(8 * bytes);
    let (mut row, mut at) = ([0; 8], 0);
    while at < 8 {
        row[at] = word + 0x0404_0404 * (at as u32 % 4);
        at += 1;
    }
    Row(row)
}

/// Writes the keystream of eight blocks, and does `beside` what there is to do.
///
/// Two of the words 8 to 11 are always in memory, from the middle of one half of a double round to the middle of the next.
#[inline]
#[target_feature(enable = "avx2,bmi2")]
pub(super) fn eight(
    keys: &KeyRows,
    inputs: &Inputs,
    kept: &mut [Row; 4],
    out: &mut [Block; LANES],
    beside: &mut impl Beside,
) {
    let [keep_8, keep_9, keep_10, keep_11] = kept;
    let mut x = start(keys, inputs);
    keep(keep_10, x[10]);
    keep(keep_11, x[11]);
    for _ in 0..10 {
        quarter(&mut x, 0, 4, 8, 12);
        quarter(&mut x, 1, 5, 9, 13);
        keep(keep_8, x[8]);
        keep(keep_9, x[9]);
        x[10] = take(keep_10);
        x[11] = take(keep_11);
        quarter(&mut x, 2, 6, 10, 14);
        quarter(&mut x, 3, 7, 11, 15);
        quarter(&mut x, 0, 5, 10, 15);
        quarter(&mut x, 1, 6, 11, 12);
        keep(keep_10, x[10]);
        keep(keep_11, x[11]);
        x[8] = take(keep_8);
        x[9] = take(keep_9);
        quarter(&mut x, 2, 7, 8, 13);
        quarter(&mut x, 3, 4, 9, 14);
        beside.step();
    }
    x[10] = take(keep_10);
    x[11] = take(keep_11);
    // Read anew, not from a copy on the stack.
    for (x, start) in x.iter_mut().zip(start(keys, inputs)) {
        *x = _mm256_add_epi32(*x, start);
    }
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = x;
    store_transposed(out, 0, [a, b, c, d, e, f, g, h]);
    store_transposed(out, 1, [i, j, k, l, m, n, o, p]);
}

#[inline]
#[target_feature(enable = "avx2,bmi2")]
fn start(keys: &KeyRows, inputs: &Inputs) -> [__m256i; 16] {
    let [k0, k1, k2, k3, k4, k5, k6, k7] = keys;
    [
        sigma(0),
        sigma(1),
        sigma(2),
        sigma(3),
        take(k0),
        take(k1),
        take(k2),
        take(k3),
        take(k4),
        take(k5),
        take(k6),
        take(k7),
        take(&inputs.block),
        _mm256_setzero_si256(),
        take(&inputs.counter_low),
        take(&inputs.counter_high),
    ]
}

#[inline]
#[target_feature(enable = "avx2,bmi2")]
fn sigma(at: usize) -> __m256i {
    _mm256_set1_epi32(SIGMA[at].cast_signed())
}

#[inline]
#[target_feature(enable = "avx2,bmi2")]
fn quarter(x: &mut [__m256i; 16], a: usize, b: usize, c: usize, d: usize) {
    x[a] = _mm256_add_epi32(x[a], x[b]);
    x[d] = _mm256_shuffle_epi8(_mm256_xor_si256(x[d], x[a]), take(&ROTATE_16));
    x[c] = _mm256_add_epi32(x[c], x[d]);
    x[b] = rotate::<12, 20>(_mm256_xor_si256(x[b], x[c]));
    x[a] = _mm256_add_epi32(x[a], x[b]);
    x[d] = _mm256_shuffle_epi8(_mm256_xor_si256(x[d], x[a]), take(&ROTATE_8));
    x[c] = _mm256_add_epi32(x[c], x[d]);
    x[b] = rotate::<7, 25>(_mm256_xor_si256(x[b], x[c]));
}

#[inline]
#[target_feature(enable = "avx2,bmi2")]
fn rotate<const LEFT: i32, const RIGHT: i32>(x: __m256i) -> __m256i {
    _mm256_or_si256(_mm256_slli_epi32::<LEFT>(x), _mm256_srli_epi32::<RIGHT>(x))
}

/// What one block is of.
#[derive(Clone, Copy)]
pub(super) struct Single<'a> {
    pub(super) key: &'a [u32; 8],
    pub(super) block: u32,
    pub(super) counter: u64,
}

/// Writes the keystream of `PAIRS` pairs of blocks: a register holds a row of the states of two blocks.
///
/// Up to six blocks are faster so than as some of eight: on Zen 4 in 300, 350 and 450 cycles against 570.
#[inline(never)]
#[target_feature(enable = "avx2,bmi2")]
pub(super) fn pairs<const PAIRS: usize>(blocks: &[Single<'_>; LANES], out: &mut [Block; LANES]) {
    let mut starts = [[_mm256_setzero_si256(); 4]; PAIRS];
    for (start, pair) in starts.iter_mut().zip(blocks.as_chunks::<2>().0) {
        *start = start_pair(pair);
    }
    let mut x = starts;
    for _ in 0..10 {
        rows(&mut x);
        for [_, b, c, d] in &mut x {
            *b = _mm256_shuffle_epi32::<0x39>(*b);
            *c = _mm256_shuffle_epi32::<0x4e>(*c);
            *d = _mm256_shuffle_epi32::<0x93>(*d);
        }
        rows(&mut x);
        for [_, b, c, d] in &mut x {
            *b = _mm256_shuffle_epi32::<0x93>(*b);
            *c = _mm256_shuffle_epi32::<0x4e>(*c);
            *d = _mm256_shuffle_epi32::<0x39>(*d);
        }
    }
    for ((x, start), out) in x.into_iter().zip(starts).zip(out.as_chunks_mut::<2>().0) {
        let [a, b, c, d] = [0, 1, 2, 3].map(|row| _mm256_add_epi32(x[row], start[row]));
        let [first, second] = out;
        store_half(&mut first[0].0, _mm256_permute2x128_si256::<0x20>(a, b));
        store_half(&mut first[1].0, _mm256_permute2x128_si256::<0x20>(c, d));
        store_half(&mut second[0].0, _mm256_permute2x128_si256::<0x31>(a, b));
        store_half(&mut second[1].0, _mm256_permute2x128_si256::<0x31>(c, d));
    }
}

#[inline]
#[target_feature(enable = "avx2,bmi2")]
fn start_pair(pair: &[Single<'_>; 2]) -> [__m256i; 4] {
    let mut keys = [[_mm_setzero_si128(); 2]; 2];
    let mut last = [_mm_setzero_si128(); 2];
    for (at, Single { key, block, counter }) in pair.iter().enumerate() {
        for (row, half) in keys.iter_mut().zip(key.as_chunks().0) {
            row[at] = load_key_half(half);
        }
        let (low, high) = (*counter as i32, (*counter >> 32) as i32);
        last[at] = _mm_setr_epi32(block.cast_signed(), 0, low, high);
    }
    let [a, b, c, d] = SIGMA.map(u32::cast_signed);
    [
        _mm256_broadcastsi128_si256(_mm_setr_epi32(a, b, c, d)),
        _mm256_set_m128i(keys[0][1], keys[0][0]),
        _mm256_set_m128i(keys[1][1], keys[1][0]),
        _mm256_set_m128i(last[1], last[0]),
    ]
}

/// The four quarter rounds of every pair, step by step so that independent instructions are neighbours.
#[inline]
#[target_feature(enable = "avx2,bmi2")]
fn rows<const PAIRS: usize>(x: &mut [[__m256i; 4]; PAIRS]) {
    for [a, b, _, d] in &mut *x {
        *a = _mm256_add_epi32(*a, *b);
        *d = _mm256_shuffle_epi8(_mm256_xor_si256(*d, *a), take(&ROTATE_16));
    }
    for [_, b, c, d] in &mut *x {
        *c = _mm256_add_epi32(*c, *d);
        *b = rotate::<12, 20>(_mm256_xor_si256(*b, *c));
    }
    for [a, b, _, d] in &mut *x {
        *a = _mm256_add_epi32(*a, *b);
        *d = _mm256_shuffle_epi8(_mm256_xor_si256(*d, *a), take(&ROTATE_8));
    }
    for [_, b, c, d] in &mut *x {
        *c = _mm256_add_epi32(*c, *d);
        *b = rotate::<7, 25>(_mm256_xor_si256(*b, *c));
    }
}

/// Writes eight words of eight lanes as one half of each lane's block.
#[inline]
#[target_feature(enable = "avx2,bmi2")]
fn store_transposed(out: &mut [Block; LANES], half: usize, words: [__m256i; 8]) {
    for (block, row) in out.iter_mut().zip(transpose(words)) {
        store_half(&mut block[half].0, row);
    }
}

/// Eight words of 32 bits of eight lanes: lane *i* of all of them.
#[inline]
#[target_feature(enable = "avx2,bmi2")]
pub(super) fn transpose(words: [__m256i; 8]) -> [__m256i; 8] {
    let mut fours = [_mm256_setzero_si256(); 8];
    for at in 0..2 {
        let [a, b, c, d] = [words[4 * at], words[4 * at + 1], words[4 * at + 2], words[4 * at + 3]];
        let (ab_low, ab_high) = (_mm256_unpacklo_epi32(a, b), _mm256_unpackhi_epi32(a, b));
        let (cd_low, cd_high) = (_mm256_unpacklo_epi32(c, d), _mm256_unpackhi_epi32(c, d));
        fours[4 * at] = _mm256_unpacklo_epi64(ab_low, cd_low);
        fours[4 * at + 1] = _mm256_unpackhi_epi64(ab_low, cd_low);
        fours[4 * at + 2] = _mm256_unpacklo_epi64(ab_high, cd_high);
        fours[4 * at + 3] = _mm256_unpackhi_epi64(ab_high, cd_high);
    }
    // Half h of fours[4w + i] holds words 4w..4w+4 of lane 4h + i.
    let mut lanes = [_mm256_setzero_si256(); 8];
    for at in 0..4 {
        lanes[at] = _mm256_permute2x128_si256::<0x20>(fours[at], fours[4 + at]);
        lanes[4 + at] = _mm256_permute2x128_si256::<0x31>(fours[at], fours[4 + at]);
    }
    lanes
}
