//! Poly1305, eight messages to a register, four blocks to a reduction. RFC 8439, section 2.5.
//!
//! A number is three limbs of 44, 44 and 42 bits, each in the 64-bit lane of its message; `vpmadd52` multiplies them. Messages
//! are aligned at their ends: zero blocks in front, without the bit that marks a block, add nothing. The last block is the
//! one of the lengths (RFC 8439, section 2.8).
//!
//! ```text
//!   message:        | 0 | 0 | b | b |   | b | b | b | b |  ...  | b | b | b | lengths |
//!   steps of 64 B:  |     first     |   |    middle     |  ...  |        last         |
//! ```

use core::arch::x86_64::*;

use super::memory::{Block, Row, load_block, load_chunk, load_part, load_row, store_block, store_row};

/// How many messages a register holds.
pub(super) const MESSAGES: usize = 8;

const MASK_44: i64 = (1 << 44) - 1;
const MASK_42: i64 = (1 << 42) - 1;

/// A number below about 2^131.
type Limbs = [__m512i; 3];

/// A factor: its limbs, and 20 times the upper two, for what a product has beyond 2^132.
#[derive(Clone, Copy)]
struct Factor {
    r: Limbs,
    s: [__m512i; 2],
}

/// A sum of products before it is carried: the lower 52 bits of each, and what is above them.
#[derive(Clone, Copy)]
struct Products {
    low: Limbs,
    high: Limbs,
}

/// The one-time keys of eight messages: the words r low, r high, s low, s high, by lane.
pub(super) type OneTimeKeys = [Row; 4];

/// Eight messages.
pub(super) type Messages<'m> = [&'m [u8]; MESSAGES];

/// Writes the tags of `N` times eight messages. Two registers of them are worked on in turns, so that neither waits for its
/// own last step.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
pub(super) fn tags<const N: usize>(
    keys: &[OneTimeKeys; N],
    messages: &[Messages<'_>; N],
    tags: &mut [[[u8; 16]; MESSAGES]; N],
) {
    let mut r = [[_mm512_setzero_si512(); 3]; N];
    for (r, [low, high, ..]) in r.iter_mut().zip(keys) {
        let low = _mm512_and_si512(load_row(low), _mm512_set1_epi64(0x0fff_fffc_0fff_ffff));
        let high = _mm512_and_si512(load_row(high), _mm512_set1_epi64(0x0fff_fffc_0fff_fffc));
        *r = limbs(low, high);
    }
    let len = messages[0][0].len();
    let sums = if !messages.as_flattened().iter().all(|message| message.len() == len) {
        mixed(r, messages)
    } else if Shape::of(len).steps <= 2 {
        short(r, messages, len)
    } else {
        alike(r, messages, len)
    };
    for ((sum, [.., low, high]), tags) in sums.into_iter().zip(keys).zip(tags) {
        finish(sum, load_row(low), load_row(high), tags);
    }
}

/// Where a message begins in its steps.
#[derive(Clone, Copy)]
struct Shape {
    /// Steps of four blocks.
    steps: usize,
    /// Zero blocks before the first.
    zeros: usize,
}

impl Shape {
    const fn of(len: usize) -> Self {
        let blocks = len.div_ceil(16) + 1;
        let steps = blocks.div_ceil(4);
        Self { steps, zeros: 4 * steps - blocks }
    }
}

/// The sums of messages of one length of up to eight blocks, for which more powers than two would not pay.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
fn short<const N: usize>(r: [Limbs; N], messages: &[Messages<'_>; N], len: usize) -> [Limbs; N] {
    let Shape { steps, zeros } = Shape::of(len);
    let mut powers = [[factor(r[0]); 2]; N];
    for (powers, r) in powers.iter_mut().zip(r) {
        let first = factor(r);
        *powers = [factor(carry(multiply(zero(), r, &first))), first];
    }
    let mut sums = [[_mm512_setzero_si512(); 3]; N];
    for step in 0..steps {
        let start = if step == 0 { 0 } else { 64 - 16 * zeros };
        let (skip, zeros) = if step == 0 { (16 * zeros, zeros) } else { (0, 0) };
        let mut words = [[_mm512_setzero_si512(); MESSAGES]; N];
        for (words, messages) in words.iter_mut().zip(messages) {
            for (chunk, message) in words.iter_mut().zip(messages) {
                *chunk = load_part(message.get(start..).unwrap_or_default(), skip);
                if step + 1 == steps {
                    *chunk = with_lengths(*chunk, len);
                }
            }
            *words = transpose(*words);
        }
        if zeros < 2 {
            for ((sum, powers), words) in sums.iter_mut().zip(&powers).zip(&words) {
                *sum = pair(*sum, powers, [words[0], words[1], words[2], words[3]], zeros == 0);
            }
        }
        for ((sum, powers), words) in sums.iter_mut().zip(&powers).zip(&words) {
            *sum = pair(*sum, powers, [words[4], words[5], words[6], words[7]], zeros < 3);
        }
    }
    sums
}

/// Adds two blocks of every message, (sum + b0) r^2 + b1 r, or where there is only the second, which is the first of the
/// message, b1 r.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
fn pair(sum: Limbs, powers: &[Factor; 2], words: [__m512i; 4], both: bool) -> Limbs {
    let mark = _mm512_set1_epi64(1 << 40);
    let mut second = limbs(words[2], words[3]);
    second[2] = _mm512_or_si512(second[2], mark);
    let mut products = multiply(zero(), second, &powers[1]);
    if both {
        let mut first = limbs(words[0], words[1]);
        first[2] = _mm512_or_si512(first[2], mark);
        for (limb, sum) in first.iter_mut().zip(sum) {
            *limb = _mm512_add_epi64(*limb, sum);
        }
        products = multiply(products, first, &powers[0]);
    }
    carry(products)
}

/// The sums of messages of one length of three steps or more.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
fn alike<const N: usize>(r: [Limbs; N], messages: &[Messages<'_>; N], len: usize) -> [Limbs; N] {
    let Shape { steps, zeros } = Shape::of(len);
    let powers = powers(r);
    // The first step has zeros in front.
    let mut present = [0xff; 4];
    present[..zeros].fill(0);
    let mut sums = [[_mm512_setzero_si512(); 3]; N];
    let mut rest: [[&[[u8; 64]]; MESSAGES]; N] = [[&[]; MESSAGES]; N];
    let mut lasts: [Messages<'_>; N] = [[&[]; MESSAGES]; N];
    for set in 0..N {
        let mut chunks = [_mm512_setzero_si512(); MESSAGES];
        for (lane, message) in messages[set].iter().enumerate() {
            let (first, behind) = message.split_at((64 - 16 * zeros).min(message.len()));
            let (middle, last) = behind.split_at((64 * (steps - 2)).min(behind.len()));
            chunks[lane] = load_part(first, 16 * zeros);
            rest[set][lane] = middle.as_chunks().0;
            lasts[set][lane] = last;
        }
        sums[set] = absorb(sums[set], &powers[set], chunks, &marks(&powers[set], present));
    }
    for set in 0..N {
        sums[set] = full(sums[set], &powers[set], &rest[set], steps - 2);
        let mut chunks = [_mm512_setzero_si512(); MESSAGES];
        for (chunk, last) in chunks.iter_mut().zip(lasts[set]) {
            *chunk = with_lengths(load_part(last, 0), len);
        }
        sums[set] = absorb(sums[set], &powers[set], chunks, &marks(&powers[set], [0xff; 4]));
    }
    sums
}

/// The sums of messages of any lengths.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
fn mixed<const N: usize>(r: [Limbs; N], messages: &[Messages<'_>; N]) -> [Limbs; N] {
    let powers = powers(r);
    let mut shapes = [[Shape::of(0); MESSAGES]; N];
    let (mut longest, mut shortest) = (0, usize::MAX);
    for (shape, message) in shapes.as_flattened_mut().iter_mut().zip(messages.as_flattened()) {
        *shape = Shape::of(message.len());
        longest = longest.max(shape.steps);
        shortest = shortest.min(shape.steps);
    }
    let mut sums = [[_mm512_setzero_si512(); 3]; N];
    // Up to the first step of the shortest message.
    for step in 0..longest - shortest + 1 {
        for set in 0..N {
            sums[set] = edge(sums[set], &powers[set], &messages[set], &shapes[set], longest, step);
        }
    }
    // Steps that are full in all messages.
    let mut rest: [[&[[u8; 64]]; MESSAGES]; N] = [[&[]; MESSAGES]; N];
    let all = messages.as_flattened().iter().zip(shapes.as_flattened());
    for (rest, (message, shape)) in rest.as_flattened_mut().iter_mut().zip(all) {
        let start = (shape.steps + 1 - shortest) * 64 - 16 * shape.zeros;
        *rest = message.get(start..).unwrap_or_default().as_chunks().0;
    }
    for set in 0..N {
        sums[set] = full(sums[set], &powers[set], &rest[set], shortest.saturating_sub(2));
    }
    if shortest > 1 {
        for set in 0..N {
            sums[set] = edge(sums[set], &powers[set], &messages[set], &shapes[set], longest, longest - 1);
        }
    }
    sums
}

/// Steps that are full in all messages.
///
/// What depends on the step before is short and stands first, so that the core has the independent work of the next step at
/// hand while it waits. Measured on Zen 4, a step takes 92 cycles so, 103 otherwise, and 104 with two sets in turns, whose
/// factors do not fit the registers; 72 is what the multiplications take.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
fn full(mut sum: Limbs, powers: &Powers, rest: &[&[[u8; 64]]; MESSAGES], steps: usize) -> Limbs {
    if steps == 0 {
        return sum;
    }
    let marks = marks(powers, [0xff; 4]);
    let mut ahead = prepare(powers, chunks(rest, 0), &marks);
    for step in 1..steps {
        sum = complete(sum, powers, ahead);
        ahead = prepare(powers, chunks(rest, step), &marks);
    }
    complete(sum, powers, ahead)
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
fn chunks(rest: &[&[[u8; 64]]; MESSAGES], step: usize) -> [__m512i; MESSAGES] {
    let mut chunks = [_mm512_setzero_si512(); MESSAGES];
    for (chunk, rest) in chunks.iter_mut().zip(rest) {
        *chunk = load_chunk(&rest[step]);
    }
    chunks
}

/// A step that is not full in all messages.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
fn edge(
    sum: Limbs,
    powers: &Powers,
    messages: &[&[u8]; MESSAGES],
    shapes: &[Shape; MESSAGES],
    longest: usize,
    step: usize,
) -> Limbs {
    let mut chunks = [_mm512_setzero_si512(); MESSAGES];
    let mut present = [0_u8; 4];
    for (lane, (chunk, (message, shape))) in chunks.iter_mut().zip(messages.iter().zip(shapes)).enumerate() {
        let Some(own) = (step + shape.steps).checked_sub(longest) else { continue };
        let skip = if own == 0 { 16 * shape.zeros } else { 0 };
        let start = 64 * own - if own == 0 { 0 } else { 16 * shape.zeros };
        let is_last = own + 1 == shape.steps;
        let text = message.get(start..).unwrap_or_default();
        *chunk = load_part(text, skip);
        if is_last {
            *chunk = with_lengths(*chunk, message.len());
        }
        for (block, present) in present.iter_mut().enumerate() {
            *present |= u8::from(16 * block >= skip) << lane;
        }
    }
    absorb(sum, powers, chunks, &marks(powers, present))
}

/// The block of the lengths at the end of a step.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
fn with_lengths(chunk: __m512i, len: usize) -> __m512i {
    _mm512_mask_mov_epi64(chunk, 0x80, _mm512_set1_epi64(len as i64))
}

/// r^4, r^3, r^2, r: what each block of a step is multiplied by.
#[derive(Clone, Copy)]
struct Powers([Factor; 4]);

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
fn powers<const N: usize>(r: [Limbs; N]) -> [Powers; N] {
    let mut powers = [Powers([factor(r[0]); 4]); N];
    for (powers, r) in powers.iter_mut().zip(r) {
        let first = factor(r);
        let second = factor(carry(multiply(zero(), r, &first)));
        let third = factor(carry(multiply(zero(), second.r, &first)));
        let fourth = factor(carry(multiply(zero(), second.r, &second)));
        *powers = Powers([fourth, third, second, first]);
    }
    powers
}

/// What the bits that mark a block come to, 2^128 of each that is present, as a sum of products.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
fn marks(powers: &Powers, present: [u8; 4]) -> Products {
    let mark = _mm512_set1_epi64(1 << 40);
    let mut products = zero();
    for (power, present) in powers.0.iter().zip(present) {
        products = multiply_limb(products, 2, _mm512_maskz_mov_epi64(present, mark), power);
    }
    products
}

/// Adds four blocks of every message: (sum + b0) r^4 + b1 r^3 + b2 r^2 + b3 r.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
fn absorb(sum: Limbs, powers: &Powers, chunks: [__m512i; MESSAGES], marks: &Products) -> Limbs {
    complete(sum, powers, prepare(powers, chunks, marks))
}

/// What of a step does not depend on the step before: b0, and b1 r^3 + b2 r^2 + b3 r.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
fn prepare(powers: &Powers, chunks: [__m512i; MESSAGES], marks: &Products) -> (Limbs, Products) {
    let words = transpose(chunks);
    let mut products = *marks;
    for block in [3, 2, 1] {
        let number = limbs(words[2 * block], words[2 * block + 1]);
        products = multiply(products, number, &powers.0[block]);
    }
    (limbs(words[0], words[1]), products)
}

/// The rest of a step.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
fn complete(sum: Limbs, powers: &Powers, (mut number, products): (Limbs, Products)) -> Limbs {
    for (limb, sum) in number.iter_mut().zip(sum) {
        *limb = _mm512_add_epi64(*limb, sum);
    }
    carry(multiply(products, number, &powers.0[0]))
}

/// 128 bits as limbs.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
fn limbs(low: __m512i, high: __m512i) -> Limbs {
    let mask = _mm512_set1_epi64(MASK_44);
    [
        _mm512_and_si512(low, mask),
        _mm512_and_si512(_mm512_shrdi_epi64::<44>(low, high), mask),
        _mm512_srli_epi64::<24>(high),
    ]
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
fn factor(r: Limbs) -> Factor {
    let twenty = |limb| {
        let four = _mm512_slli_epi64::<2>(limb);
        _mm512_add_epi64(four, _mm512_slli_epi64::<4>(limb))
    };
    Factor { r, s: [twenty(r[1]), twenty(r[2])] }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
fn zero() -> Products {
    let zero = _mm512_setzero_si512();
    Products { low: [zero; 3], high: [zero; 3] }
}

/// Adds `a` times `b` to the products.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
fn multiply(mut to: Products, a: Limbs, b: &Factor) -> Products {
    for (at, limb) in a.into_iter().enumerate() {
        to = multiply_limb(to, at, limb, b);
    }
    to
}

/// Adds `limb`, the one at `at` of a number, times `b` to the products.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
fn multiply_limb(mut to: Products, at: usize, limb: __m512i, b: &Factor) -> Products {
    let Factor { r, s } = b;
    let factors = match at {
        0 => [r[0], r[1], r[2]],
        1 => [s[1], r[0], r[1]],
        _ => [s[0], s[1], r[0]],
    };
    for (at, factor) in factors.into_iter().enumerate() {
        to.low[at] = _mm512_madd52lo_epu64(to.low[at], limb, factor);
        to.high[at] = _mm512_madd52hi_epu64(to.high[at], limb, factor);
    }
    to
}

/// Brings a sum of products below about 2^131 again.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
fn carry(products: Products) -> Limbs {
    let (mask_44, mask_42) = (_mm512_set1_epi64(MASK_44), _mm512_set1_epi64(MASK_42));
    let Products { low: [low_0, low_1, low_2], high: [high_0, high_1, high_2] } = products;
    // What is above 52 bits of a limb of 44 counts 2^8 in the next; above 52 of a limb of 42 it counts 2^10 times 5.
    let middle = _mm512_add_epi64(low_1, _mm512_slli_epi64::<8>(high_0));
    let upper = _mm512_add_epi64(low_2, _mm512_slli_epi64::<8>(high_1));
    let over = _mm512_slli_epi64::<10>(high_2);
    let lower = _mm512_and_si512(low_0, mask_44);
    let middle = _mm512_add_epi64(middle, _mm512_srli_epi64::<44>(low_0));
    let upper = _mm512_add_epi64(upper, _mm512_srli_epi64::<44>(middle));
    let middle = _mm512_and_si512(middle, mask_44);
    let over = _mm512_add_epi64(over, _mm512_srli_epi64::<42>(upper));
    let upper = _mm512_and_si512(upper, mask_42);
    let lower = _mm512_add_epi64(lower, _mm512_add_epi64(over, _mm512_slli_epi64::<2>(over)));
    let middle = _mm512_add_epi64(middle, _mm512_srli_epi64::<44>(lower));
    [_mm512_and_si512(lower, mask_44), middle, upper]
}

/// The one-time keys of eight messages, out of the first blocks of their keystreams.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
pub(super) fn one_time_keys(blocks: &[Block; MESSAGES], keys: &mut OneTimeKeys) {
    let mut rows = [_mm512_setzero_si512(); MESSAGES];
    for (row, block) in rows.iter_mut().zip(blocks) {
        *row = load_block(block);
    }
    for (key, words) in keys.iter_mut().zip(transpose(rows)) {
        store_row(key, words);
    }
}

/// Eight words of 64 bits of eight messages: word *i* of all of them.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
fn transpose(rows: [__m512i; 8]) -> [__m512i; 8] {
    let mut words = [_mm512_setzero_si512(); 8];
    for odd in 0..2 {
        let mut pairs = [_mm512_setzero_si512(); 4];
        for (at, pair) in pairs.iter_mut().enumerate() {
            let (a, b) = (rows[2 * at], rows[2 * at + 1]);
            *pair = if odd == 0 { _mm512_unpacklo_epi64(a, b) } else { _mm512_unpackhi_epi64(a, b) };
        }
        let [a, b, c, d] = pairs;
        let (ab_even, ab_odd) = (_mm512_shuffle_i64x2::<0x88>(a, b), _mm512_shuffle_i64x2::<0xdd>(a, b));
        let (cd_even, cd_odd) = (_mm512_shuffle_i64x2::<0x88>(c, d), _mm512_shuffle_i64x2::<0xdd>(c, d));
        words[odd] = _mm512_shuffle_i64x2::<0x88>(ab_even, cd_even);
        words[2 + odd] = _mm512_shuffle_i64x2::<0x88>(ab_odd, cd_odd);
        words[4 + odd] = _mm512_shuffle_i64x2::<0xdd>(ab_even, cd_even);
        words[6 + odd] = _mm512_shuffle_i64x2::<0xdd>(ab_odd, cd_odd);
    }
    words
}

/// Reduces the sums fully, adds the second halves of the keys and writes the tags.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
fn finish(sum: Limbs, s_low: __m512i, s_high: __m512i, tags: &mut [[u8; 16]; MESSAGES]) {
    let (mask_44, mask_42) = (_mm512_set1_epi64(MASK_44), _mm512_set1_epi64(MASK_42));
    let [mut a, mut b, mut c] = sum;
    for _ in 0..2 {
        b = _mm512_add_epi64(b, _mm512_srli_epi64::<44>(a));
        a = _mm512_and_si512(a, mask_44);
        c = _mm512_add_epi64(c, _mm512_srli_epi64::<44>(b));
        b = _mm512_and_si512(b, mask_44);
        let over = _mm512_srli_epi64::<42>(c);
        c = _mm512_and_si512(c, mask_42);
        a = _mm512_add_epi64(a, _mm512_add_epi64(over, _mm512_slli_epi64::<2>(over)));
    }
    b = _mm512_add_epi64(b, _mm512_srli_epi64::<44>(a));
    a = _mm512_and_si512(a, mask_44);
    // Minus p, where that is not negative: plus 5, without what is beyond 2^130.
    let mut minus_a = _mm512_add_epi64(a, _mm512_set1_epi64(5));
    let mut minus_b = _mm512_add_epi64(b, _mm512_srli_epi64::<44>(minus_a));
    minus_a = _mm512_and_si512(minus_a, mask_44);
    let minus_c = _mm512_add_epi64(c, _mm512_srli_epi64::<44>(minus_b));
    minus_b = _mm512_and_si512(minus_b, mask_44);
    let over = _mm512_cmpgt_epu64_mask(minus_c, mask_42);
    a = _mm512_mask_mov_epi64(a, over, minus_a);
    b = _mm512_mask_mov_epi64(b, over, minus_b);
    c = _mm512_mask_mov_epi64(c, over, minus_c);

    let low = _mm512_or_si512(a, _mm512_slli_epi64::<44>(b));
    let high = _mm512_or_si512(_mm512_srli_epi64::<20>(b), _mm512_slli_epi64::<24>(c));
    let low = _mm512_add_epi64(low, s_low);
    let carried = _mm512_cmplt_epu64_mask(low, s_low);
    let high = _mm512_add_epi64(high, s_high);
    let high = _mm512_mask_add_epi64(high, carried, high, _mm512_set1_epi64(1));
    let mut pairs = [Block([0; 64]); 2];
    store_block(&mut pairs[0], _mm512_unpacklo_epi64(low, high));
    store_block(&mut pairs[1], _mm512_unpackhi_epi64(low, high));
    for (at, tag) in tags.iter_mut().enumerate() {
        *tag = pairs[at % 2].0.as_chunks().0[at / 2];
    }
}
