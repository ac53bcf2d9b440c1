//! Keystream to the text that it belongs to, and the sum of the plaintext on the way.

use core::arch::x86_64::*;

use super::memory::{Block, Half, Row, load_half, store_half, store_row, wipe_half};
use super::passes::Direction;
use crate::checksum::Sum;
use crate::packet::Packet;

/// Puts keystream to the blocks of a text from `block` on.
#[inline]
#[target_feature(enable = "avx2,bmi2")]
pub(super) fn apply(packet: &mut Packet<'_>, block: usize, keystream: &[Block], direction: Direction) {
    let Packet { text, lead, rest, .. } = packet;
    let start = (64 * block).min(text.len());
    let end = (start + 64 * keystream.len()).min(text.len());
    let summing = packet.summing.then_some(direction);
    // In place up to `lead`, from the rest beyond: one run may have some of both.
    let sum = if start >= *lead {
        let source = rest.get(start - *lead..).unwrap_or_default();
        exclusive_or_from(source, &mut text[start..end], keystream, summing)
    } else if end <= *lead {
        exclusive_or(&mut text[start..end], keystream, summing)
    } else {
        let (here, beyond) = keystream.split_at((*lead - start) / 64);
        let sum = exclusive_or(&mut text[start..*lead], here, summing);
        _mm256_add_epi32(sum, exclusive_or_from(rest, &mut text[*lead..end], beyond, summing))
    };
    if packet.summing {
        packet.sum = packet.sum + total(sum);
    }
}

#[inline]
#[target_feature(enable = "avx2,bmi2")]
fn exclusive_or(text: &mut [u8], keystream: &[Block], summing: Option<Direction>) -> __m256i {
    let mut sum = _mm256_setzero_si256();
    let (chunks, last) = text.as_chunks_mut::<64>();
    let mut keystream = keystream.iter();
    for (chunk, block) in chunks.iter_mut().zip(&mut keystream) {
        for (half, key) in chunk.as_chunks_mut::<32>().0.iter_mut().zip(block) {
            let source = load_half(half);
            let result = _mm256_xor_si256(source, load_half(&key.0));
            store_half(half, result);
            sum = add_words(sum, source, result, summing);
        }
    }
    if let (false, Some(block)) = (last.is_empty(), keystream.next()) {
        sum = exclusive_or_part(None, last, block, summing, sum);
    }
    sum
}

/// The same with another source, which may be shorter.
#[inline]
#[target_feature(enable = "avx2,bmi2")]
fn exclusive_or_from(
    mut from: &[u8],
    text: &mut [u8],
    keystream: &[Block],
    summing: Option<Direction>,
) -> __m256i {
    let mut sum = _mm256_setzero_si256();
    for (chunk, block) in text.chunks_mut(64).zip(keystream) {
        if let (Some((first, behind)), Ok(chunk)) =
            (from.split_first_chunk::<64>(), <&mut [u8; 64]>::try_from(&mut *chunk))
        {
            from = behind;
            let halves = first.as_chunks::<32>().0.iter().zip(chunk.as_chunks_mut::<32>().0);
            for ((first, half), key) in halves.zip(block) {
                let source = load_half(first);
                let result = _mm256_xor_si256(source, load_half(&key.0));
                store_half(half, result);
                sum = add_words(sum, source, result, summing);
            }
        } else {
            let (first, behind) = from.split_at(chunk.len().min(from.len()));
            from = behind;
            sum = exclusive_or_part(Some(first), chunk, block, summing, sum);
        }
    }
    sum
}

/// The same for a block that is not full, or whose source is not. Without a source it is in place.
#[inline]
#[target_feature(enable = "avx2,bmi2")]
fn exclusive_or_part(
    mut source: Option<&[u8]>,
    text: &mut [u8],
    block: &Block,
    summing: Option<Direction>,
    mut sum: __m256i,
) -> __m256i {
    for (half, key) in text.chunks_mut(32).zip(block) {
        let mut buffer = Half([0; 32]);
        let (first, behind) = match source {
            None => (&*half, None),
            Some(source) => {
                let (first, behind) = source.split_at(half.len().min(source.len()));
                (first, Some(behind))
            }
        };
        source = behind;
        copy_up_to_32(&mut buffer.0[..first.len()], first);
        let from = load_half(&buffer.0);
        store_half(&mut buffer.0, _mm256_xor_si256(from, load_half(&key.0)));
        copy_up_to_32(half, &buffer.0[..half.len()]);
        if summing.is_some() {
            buffer.0[half.len()..].fill(0);
            sum = add_words(sum, from, load_half(&buffer.0), summing);
        }
        wipe_half(&mut buffer);
    }
    sum
}

/// Copies up to 32 bytes by loads and stores that overlap, since a copy of so few would be a call.
#[inline]
fn copy_up_to_32(to: &mut [u8], from: &[u8]) {
    fn both_ends<const N: usize>(to: &mut [u8], from: &[u8]) -> bool {
        let (Some(first), Some(last)) = (from.first_chunk::<N>(), from.last_chunk::<N>()) else {
            return false;
        };
        let (first, last) = (*first, *last);
        if let Some(to) = to.first_chunk_mut() {
            *to = first;
        }
        if let Some(to) = to.last_chunk_mut() {
            *to = last;
        }
        true
    }
    if !both_ends::<16>(to, from) && !both_ends::<8>(to, from) && !both_ends::<4>(to, from) {
        for (to, from) in to.iter_mut().zip(from) {
            *to = *from;
        }
    }
}

/// Adds the 16-bit words of the plaintext.
#[inline]
#[target_feature(enable = "avx2,bmi2")]
fn add_words(sum: __m256i, source: __m256i, result: __m256i, summing: Option<Direction>) -> __m256i {
    let plain = match summing {
        None => return sum,
        Some(Direction::Seal) => source,
        Some(Direction::Open) => result,
    };
    let low = _mm256_and_si256(plain, _mm256_set1_epi32(0xffff));
    _mm256_add_epi32(sum, _mm256_add_epi32(low, _mm256_srli_epi32::<16>(plain)))
}

/// The sum of all lanes.
#[inline]
#[target_feature(enable = "avx2,bmi2")]
fn total(sum: __m256i) -> Sum {
    let mut lanes = Row([0; 8]);
    store_row(&mut lanes, sum);
    Sum::from_little_endian(lanes.0.iter().map(|lane| u64::from(*lane)).sum())
}
