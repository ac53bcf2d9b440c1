//! Packets into blocks, blocks into passes, and keystream to where it belongs.

use core::arch::x86_64::*;

use subtle::ConstantTimeEq;
use zeroize::Zeroize;

use super::chacha20::{self, Inputs, KeyRows};
use super::memory::{
    Block, Row, load_block, load_chunk, load_part, load_row, store_chunk, store_part, store_row, store_words,
};
use super::poly1305::{self, MESSAGES};
use crate::checksum::Sum;
use crate::packet::{GROUP, Group, Packet};

/// Blocks of a pass.
const LANES: usize = 32;

/// Consecutive blocks of one packet in one pass.
#[derive(Clone, Copy, Default)]
struct Run {
    packet: usize,
    /// The first block of the text; block 1 of the cipher is block 0 of the text.
    block: usize,
    lane: usize,
    count: usize,
}

/// All that a call keeps in memory, wiped at its end.
#[repr(C)]
struct Scratch {
    keystream: [[Block; 16]; 2],
    one_time_keys: [Block; GROUP],
    /// The keys of the packets, one packet to a lane.
    packet_keys: KeyRows,
    /// The keys of the lanes of a pass.
    lane_keys: [KeyRows; 2],
    counter_low: Row,
    counter_high: Row,
    /// By lane: which packet, which block of the cipher. The runs are written sixteen lanes at a time, so there is room.
    packets: [u32; LANES + 16],
    blocks: [u32; LANES + 16],
    runs: [Run; LANES],
    tags: [[u8; 16]; GROUP],
}

/// What has been put into passes.
struct Plan {
    count: usize,
    /// Blocks of text by packet.
    texts: [usize; GROUP],
    /// The next block of text.
    packet: usize,
    block: usize,
    /// Whether all packets have one key.
    one_key: bool,
}

/// Which sum is taken.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Seal,
    Open,
}

/// Seals a group.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma")]
pub(super) fn seal(group: &mut Group<'_, '_>) {
    let mut scratch = Scratch::new();
    let mut plan = Plan::new(group, &mut scratch);
    let runs = plan.first_pass(&mut scratch);
    apply(group, &scratch, runs, Direction::Seal);
    while let Some(runs) = plan.next_pass(&mut scratch, |_| true) {
        apply(group, &scratch, runs, Direction::Seal);
    }
    for packet in group.iter_mut() {
        packet.apply_patch();
    }
    tags(group, &mut scratch, Direction::Seal);
    for (packet, tag) in group.iter_mut().zip(&scratch.tags) {
        packet.tag = *tag;
    }
    scratch.wipe();
}

/// Opens a group.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma")]
pub(super) fn open(group: &mut Group<'_, '_>) {
    let mut scratch = Scratch::new();
    let mut plan = Plan::new(group, &mut scratch);
    // The first pass has room for more than the one-time keys: what it makes is kept until the tags are verified.
    let runs = plan.first_pass(&mut scratch);
    tags(group, &mut scratch, Direction::Open);
    let mut authentic = [false; GROUP];
    for ((packet, tag), authentic) in group.iter_mut().zip(&scratch.tags).zip(&mut authentic) {
        packet.authentic = packet.tag.ct_eq(tag).into();
        *authentic = packet.authentic;
    }
    apply(group, &scratch, runs, Direction::Open);
    while let Some(runs) = plan.next_pass(&mut scratch, |packet| authentic[packet]) {
        apply(group, &scratch, runs, Direction::Open);
    }
    scratch.wipe();
}

impl Scratch {
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma")]
    fn new() -> Self {
        const BLOCK: Block = Block([0; 64]);
        const ROW: Row = Row([0; 16]);
        Self {
            keystream: [[BLOCK; 16]; 2],
            one_time_keys: [BLOCK; GROUP],
            packet_keys: [ROW; 8],
            lane_keys: [[ROW; 8]; 2],
            counter_low: ROW,
            counter_high: ROW,
            packets: [0; LANES + 16],
            blocks: [0; LANES + 16],
            runs: [Run::default(); LANES],
            tags: [[0; 16]; GROUP],
        }
    }

    fn wipe(&mut self) {
        for block in self.keystream.iter_mut().flatten().chain(&mut self.one_time_keys) {
            block.0.zeroize();
        }
        for row in self.packet_keys.iter_mut().chain(self.lane_keys.iter_mut().flatten()) {
            row.0.zeroize();
        }
    }

    /// Makes the keystream of the first `lanes` lanes.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma")]
    fn make_keystream(&mut self, lanes: usize, one_key: bool) {
        let mut inputs = [Inputs {
            block: _mm512_setzero_si512(),
            counter_low: _mm512_setzero_si512(),
            counter_high: _mm512_setzero_si512(),
        }; 2];
        let (blocks, packets) = (self.blocks.as_chunks::<16>().0, self.packets.as_chunks::<16>().0);
        for (set, input) in inputs.iter_mut().enumerate() {
            let packets = load_row(&Row(packets[set]));
            input.block = load_row(&Row(blocks[set]));
            input.counter_low = _mm512_permutexvar_epi32(packets, load_row(&self.counter_low));
            input.counter_high = _mm512_permutexvar_epi32(packets, load_row(&self.counter_high));
            if !one_key {
                for (to, from) in self.lane_keys[set].iter_mut().zip(&self.packet_keys) {
                    store_row(to, _mm512_permutexvar_epi32(packets, load_row(from)));
                }
            }
        }
        let keys = if one_key { [&self.packet_keys; 2] } else { self.lane_keys.each_ref() };
        if lanes > 16 {
            chacha20::thirty_two(keys, inputs, &mut self.keystream);
        } else {
            chacha20::sixteen(keys[0], inputs[0], &mut self.keystream[0]);
        }
    }
}

impl Plan {
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma")]
    fn new(group: &mut Group<'_, '_>, scratch: &mut Scratch) -> Self {
        let mut plan = Self { count: group.len(), texts: [0; GROUP], packet: 0, block: 0, one_key: true };
        let mut first = None;
        for (lane, packet) in group.iter_mut().enumerate() {
            plan.texts[lane] = packet.blocks();
            let key = packet.key.words();
            plan.one_key &= core::ptr::eq(*first.get_or_insert(key), key);
            scratch.counter_low.0[lane] = packet.counter as u32;
            scratch.counter_high.0[lane] = (packet.counter >> 32) as u32;
        }
        if plan.one_key {
            if let Some(key) = first {
                for (row, word) in scratch.packet_keys.iter_mut().zip(key) {
                    store_row(row, _mm512_set1_epi32(word.cast_signed()));
                }
            }
        } else {
            for (lane, packet) in group.iter_mut().enumerate() {
                for (row, word) in scratch.packet_keys.iter_mut().zip(packet.key.words()) {
                    row.0[lane] = *word;
                }
            }
        }
        plan
    }

    /// Makes the one-time keys and the first blocks of text, and returns how many runs of those there are.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma")]
    fn first_pass(&mut self, scratch: &mut Scratch) -> usize {
        let each = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
        store_words(&mut scratch.packets, 0, each);
        store_words(&mut scratch.blocks, 0, _mm512_setzero_si512());
        let (lanes, runs) = self.fill(scratch, self.count, |_| true);
        scratch.make_keystream(lanes, self.one_key);
        for (key, block) in scratch.one_time_keys.iter_mut().zip(scratch.keystream.iter().flatten()) {
            *key = *block;
        }
        runs
    }

    /// Makes the next blocks of text of the packets that are wanted, and returns how many runs there are, or `None` if no block
    /// is left.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma")]
    fn next_pass(&mut self, scratch: &mut Scratch, wanted: impl Fn(usize) -> bool) -> Option<usize> {
        let (lanes, runs) = self.fill(scratch, 0, wanted);
        if runs == 0 {
            return None;
        }
        scratch.make_keystream(lanes, self.one_key);
        Some(runs)
    }

    /// Fills the lanes from `lane` on; returns how many are filled then, and with how many runs.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma")]
    fn fill(&mut self, scratch: &mut Scratch, mut lane: usize, wanted: impl Fn(usize) -> bool) -> (usize, usize) {
        let each = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
        let mut runs = 0;
        while self.packet < self.count && lane < LANES {
            let left = self.texts[self.packet] - self.block;
            if left == 0 || !wanted(self.packet) {
                (self.packet, self.block) = (self.packet + 1, 0);
                continue;
            }
            let count = left.min(LANES - lane);
            scratch.runs[runs] = Run { packet: self.packet, block: self.block, lane, count };
            runs += 1;
            let packet = _mm512_set1_epi32(self.packet as i32);
            let blocks = _mm512_add_epi32(each, _mm512_set1_epi32(self.block as i32 + 1));
            store_words(&mut scratch.packets, lane, packet);
            store_words(&mut scratch.blocks, lane, blocks);
            if count > 16 {
                store_words(&mut scratch.packets, lane + 16, packet);
                store_words(&mut scratch.blocks, lane + 16, _mm512_add_epi32(blocks, _mm512_set1_epi32(16)));
            }
            lane += count;
            self.block += count;
        }
        (lane, runs)
    }
}

/// Puts keystream to the text it belongs to.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma")]
fn apply(group: &mut Group<'_, '_>, scratch: &Scratch, runs: usize, direction: Direction) {
    let keystream = scratch.keystream.as_flattened();
    for run in &scratch.runs[..runs] {
        let Some(packet) = group.get_mut(run.packet) else { continue };
        if direction == Direction::Open && !packet.authentic {
            continue;
        }
        let keystream = &keystream[run.lane..run.lane + run.count];
        let Packet { text, lead, rest, .. } = packet;
        let start = 64 * run.block;
        let end = (start + 64 * run.count).min(text.len());
        let mut sum = _mm512_setzero_si512();
        let summing = packet.summing.then_some(direction);
        // In place up to `lead`, from the rest beyond: one run may have some of both.
        if start >= *lead {
            let source = rest.get(start - *lead..).unwrap_or_default();
            sum = exclusive_or_from(source, &mut text[start..end], keystream, summing, sum);
        } else if end <= *lead {
            sum = exclusive_or(&mut text[start..end], keystream, summing, sum);
        } else {
            let (here, beyond) = keystream.split_at((*lead - start) / 64);
            sum = exclusive_or(&mut text[start..*lead], here, summing, sum);
            sum = exclusive_or_from(rest, &mut text[*lead..end], beyond, summing, sum);
        }
        if packet.summing {
            let total = _mm512_reduce_add_epi32(sum).cast_unsigned();
            packet.sum = packet.sum + Sum::from_little_endian(u64::from(total));
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma")]
fn exclusive_or(
    text: &mut [u8],
    keystream: &[Block],
    summing: Option<Direction>,
    mut sum: __m512i,
) -> __m512i {
    let (chunks, last) = text.as_chunks_mut::<64>();
    for (chunk, block) in chunks.iter_mut().zip(keystream) {
        let source = load_chunk(chunk);
        let result = _mm512_xor_si512(source, load_block(block));
        store_chunk(chunk, result);
        sum = add_words(sum, source, result, summing);
    }
    if let (false, Some(block)) = (last.is_empty(), keystream.get(chunks.len())) {
        let source = load_part(last, 0);
        let result = _mm512_maskz_mov_epi8(
            super::memory::first_bytes(last.len()),
            _mm512_xor_si512(source, load_block(block)),
        );
        store_part(last, result);
        sum = add_words(sum, source, result, summing);
    }
    sum
}

/// The same with another source, which may be shorter.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma")]
fn exclusive_or_from(
    mut from: &[u8],
    text: &mut [u8],
    keystream: &[Block],
    summing: Option<Direction>,
    mut sum: __m512i,
) -> __m512i {
    for (chunk, block) in text.chunks_mut(64).zip(keystream) {
        let (source, result);
        if let (Some((first, behind)), Ok(chunk)) =
            (from.split_first_chunk::<64>(), <&mut [u8; 64]>::try_from(&mut *chunk))
        {
            from = behind;
            source = load_chunk(first);
            result = _mm512_xor_si512(source, load_block(block));
            store_chunk(chunk, result);
        } else {
            let (first, behind) = from.split_at(chunk.len().min(from.len()));
            from = behind;
            source = load_part(first, 0);
            result = _mm512_maskz_mov_epi8(
                super::memory::first_bytes(chunk.len()),
                _mm512_xor_si512(source, load_block(block)),
            );
            store_part(chunk, result);
        }
        sum = add_words(sum, source, result, summing);
    }
    sum
}

/// Adds the 16-bit words of the plaintext.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma")]
fn add_words(sum: __m512i, source: __m512i, result: __m512i, summing: Option<Direction>) -> __m512i {
    let plain = match summing {
        None => return sum,
        Some(Direction::Seal) => source,
        Some(Direction::Open) => result,
    };
    let low = _mm512_and_si512(plain, _mm512_set1_epi32(0xffff));
    _mm512_add_epi32(sum, _mm512_add_epi32(low, _mm512_srli_epi32::<16>(plain)))
}

/// Computes the tags of all ciphertexts.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma")]
fn tags(group: &mut Group<'_, '_>, scratch: &mut Scratch, direction: Direction) {
    let keys = scratch.one_time_keys.as_chunks::<MESSAGES>().0;
    let outs = scratch.tags.as_chunks_mut::<MESSAGES>().0;
    let mut packets = group.iter_mut();
    for (keys, outs) in keys.iter().zip(outs) {
        let mut messages: [&[u8]; MESSAGES] = [&[]; MESSAGES];
        let mut count = 0;
        for (message, packet) in messages.iter_mut().zip(&mut packets) {
            *message = if direction == Direction::Open { packet.ciphertext() } else { packet.text };
            count += 1;
        }
        if count == 0 {
            break;
        }
        // Lanes that are left over do what the first does.
        let first = messages[0];
        messages[count..].fill(first);
        poly1305::tags(keys, &messages, outs);
    }
}
