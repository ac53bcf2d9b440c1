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

use super::memory::{Block, load_block, load_chunk, load_part, store_block};

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

/// Writes the tags of up to eight messages under the one-time keys that the first 32 bytes of `keys` hold.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma")]
pub(super) fn tags(keys: &[Block; MESSAGES], messages: &[&[u8]; MESSAGES], tags: &mut [[u8; 16]; MESSAGES]) {
    let [r_low, r_high, s_low, s_high] = key_words(keys);
    let r_low = _mm512_and_si512(r_low, _mm512_set1_epi64(0x0fff_fffc_0fff_ffff));
    let r_high = _mm512_and_si512(r_high, _mm512_set1_epi64(0x0fff_fffc_0fff_fffc));
    let r = limbs(r_low, r_high);
    let first = factor(r);
    let second = factor(carry(multiply(zero(), r, &first)));
    let third = factor(carry(multiply(zero(), second.r, &first)));
    let fourth = factor(carry(multiply(zero(), second.r, &second)));
    let powers = [fourth, third, second, first];

    let shapes = messages.map(|message| Shape::of(message.len()));
    let (mut longest, mut shortest) = (0, usize::MAX);
    for shape in &shapes {
        longest = longest.max(shape.steps);
        shortest = shortest.min(shape.steps);
    }
    let mut sum = [_mm512_setzero_si512(); 3];
    // Up to the first step of the shortest message.
    for step in 0..longest - shortest + 1 {
        sum = edge(sum, &powers, messages, &shapes, longest, step);
    }
    // Steps that are full in all messages.
    let mut rest: [&[[u8; 64]]; MESSAGES] = [&[]; MESSAGES];
    for (rest, (message, shape)) in rest.iter_mut().zip(messages.iter().zip(&shapes)) {
        let done = longest - shortest + 1;
        let start = (done + shape.steps - longest) * 64 - 16 * shape.zeros;
        *rest = message.get(start..).unwrap_or_default().as_chunks().0;
    }
    for step in 0..shortest.saturating_sub(2) {
        let mut chunks = [_mm512_setzero_si512(); MESSAGES];
        for (chunk, rest) in chunks.iter_mut().zip(&rest) {
            *chunk = load_chunk(&rest[step]);
        }
        sum = absorb(sum, &powers, chunks, [0xff; 4]);
    }
    if shortest > 1 {
        sum = edge(sum, &powers, messages, &shapes, longest, longest - 1);
    }
    finish(sum, s_low, s_high, tags);
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

/// A step that is not full in all messages.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma")]
fn edge(
    sum: Limbs,
    powers: &[Factor; 4],
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
            let lengths = _mm512_set1_epi64(message.len() as i64);
            *chunk = _mm512_mask_mov_epi64(*chunk, 0x80, lengths);
        }
        for (block, present) in present.iter_mut().enumerate() {
            *present |= u8::from(16 * block >= skip) << lane;
        }
    }
    absorb(sum, powers, chunks, present)
}

/// Adds four blocks of every message: (sum + b0) r^4 + b1 r^3 + b2 r^2 + b3 r.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma")]
fn absorb(sum: Limbs, powers: &[Factor; 4], chunks: [__m512i; MESSAGES], present: [u8; 4]) -> Limbs {
    let words = transpose(chunks);
    let mark = _mm512_set1_epi64(1 << 40);
    let mut products = zero();
    for block in [3, 2, 1, 0] {
        let mut number = limbs(words[2 * block], words[2 * block + 1]);
        number[2] = _mm512_mask_or_epi64(number[2], present[block], number[2], mark);
        if block == 0 {
            for (limb, sum) in number.iter_mut().zip(sum) {
                *limb = _mm512_add_epi64(*limb, sum);
            }
        }
        products = multiply(products, number, &powers[block]);
    }
    carry(products)
}

/// 128 bits as limbs.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma")]
fn limbs(low: __m512i, high: __m512i) -> Limbs {
    let mask = _mm512_set1_epi64(MASK_44);
    let middle_low = _mm512_srli_epi64::<44>(low);
    let middle_high = _mm512_slli_epi64::<20>(high);
    [
        _mm512_and_si512(low, mask),
        // (a | b) & c
        _mm512_ternarylogic_epi64::<0xa8>(middle_low, middle_high, mask),
        _mm512_srli_epi64::<24>(high),
    ]
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma")]
fn factor(r: Limbs) -> Factor {
    let twenty = |limb| {
        let four = _mm512_slli_epi64::<2>(limb);
        _mm512_add_epi64(four, _mm512_slli_epi64::<4>(limb))
    };
    Factor { r, s: [twenty(r[1]), twenty(r[2])] }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma")]
fn zero() -> Products {
    let zero = _mm512_setzero_si512();
    Products { low: [zero; 3], high: [zero; 3] }
}

/// Adds `a` times `b` to the products.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma")]
fn multiply(mut to: Products, a: Limbs, b: &Factor) -> Products {
    let Factor { r, s } = b;
    for (limb, factors) in [[r[0], r[1], r[2]], [s[1], r[0], r[1]], [s[0], s[1], r[0]]].into_iter().enumerate() {
        for (at, factor) in factors.into_iter().enumerate() {
            to.low[at] = _mm512_madd52lo_epu64(to.low[at], a[limb], factor);
            to.high[at] = _mm512_madd52hi_epu64(to.high[at], a[limb], factor);
        }
    }
    to
}

/// Brings a sum of products below about 2^131 again.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma")]
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

/// The first four 64-bit words of each key, by lane.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma")]
fn key_words(keys: &[Block; MESSAGES]) -> [__m512i; 4] {
    let mut rows = [_mm512_setzero_si512(); MESSAGES];
    for (row, key) in rows.iter_mut().zip(keys) {
        *row = load_block(key);
    }
    let [a, b, c, d, ..] = transpose(rows);
    [a, b, c, d]
}

/// Eight words of 64 bits of eight messages: word *i* of all of them.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma")]
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
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma")]
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
