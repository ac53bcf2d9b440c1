//! Packets into blocks, blocks into passes, and keystream to where it belongs.

#![expect(
    clippy::cast_possible_truncation,
    reason = "counters are cut in two, and there are few blocks and packets"
)]

use core::arch::x86_64::*;

use subtle::ConstantTimeEq;

use super::chacha20::{self, Inputs, KeyRows};
use super::memory::{
    Block, Row, first_bytes, load_block, load_chunk, load_part, load_row, store_chunk, store_part, store_row,
    store_words, wipe_block, wipe_dead_stack, wipe_row,
};
use super::poly1305::{self, MESSAGES, Messages, OneTimeKeys};
use crate::checksum::Sum;
use crate::packet::{GROUP, Group, Packet};

/// Blocks of a pass.
const LANES: usize = 32;

const BLOCK: Block = Block([0; 64]);
const ROW: Row = Row([0; 16]);

// Called where they are needed: as values they would be made and copied each time.
const fn wide() -> [[Block; 16]; 2] {
    [[BLOCK; 16]; 2]
}

const fn lane_rows() -> [KeyRows; 2] {
    [[ROW; 8]; 2]
}

/// Consecutive blocks of one packet in one pass.
#[derive(Clone, Copy, Default)]
struct Run {
    packet: usize,
    /// The first block of the text; block 1 of the cipher is block 0 of the text.
    block: usize,
    lane: usize,
    count: usize,
}

/// All that a batch keeps in memory, wiped at its end.
#[repr(C)]
pub(super) struct Scratch {
    /// The keystream of the last pass, if it had no more than sixteen lanes.
    narrow: [Block; 16],
    /// The keystream of the last pass, if it had more. Made when it is needed, as all that small batches do without.
    wide: Option<[[Block; 16]; 2]>,
    is_wide: bool,
    one_time_keys: [OneTimeKeys; 2],
    /// The keys of the packets, one packet to a lane.
    packet_keys: KeyRows,
    /// The keys of the lanes of a pass.
    lane_keys: Option<[KeyRows; 2]>,
    counter_low: Row,
    counter_high: Row,
    /// By lane: which packet, which block of the cipher. The runs are written sixteen lanes at a time, so there is room.
    packets: [u32; LANES + 16],
    blocks: [u32; LANES + 16],
    runs: [Run; LANES],
    tags: [[[u8; 16]; MESSAGES]; 2],
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
pub(super) enum Direction {
    Seal,
    Open,
}

/// Seals a group.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
pub(super) fn seal(group: &mut Group<'_, '_>, scratch: &mut Scratch) {
    let mut plan = Plan::new(group, scratch);
    let runs = plan.first_pass(scratch);
    apply(group, scratch, runs, Direction::Seal);
    while let Some(runs) = plan.next_pass(scratch, |_| true) {
        apply(group, scratch, runs, Direction::Seal);
    }
    for packet in group.iter_mut() {
        packet.apply_patch();
    }
    tags(group, scratch, Direction::Seal);
    let count = group.len();
    for (at, packet) in group.iter_mut().enumerate() {
        let (set, lane) = place(at, count);
        packet.tag = scratch.tags[set][lane];
    }
}

/// Opens a group.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
pub(super) fn open(group: &mut Group<'_, '_>, scratch: &mut Scratch) {
    let mut plan = Plan::new(group, scratch);
    // The first pass has room for more than the one-time keys: what it makes is kept until the tags are verified.
    let runs = plan.first_pass(scratch);
    tags(group, scratch, Direction::Open);
    let mut authentic = [false; GROUP];
    let count = group.len();
    for (at, packet) in group.iter_mut().enumerate() {
        let (set, lane) = place(at, count);
        packet.authentic = same(&packet.tag, &scratch.tags[set][lane]);
        authentic[at] = packet.authentic;
    }
    apply(group, scratch, runs, Direction::Open);
    while let Some(runs) = plan.next_pass(scratch, |packet| authentic[packet]) {
        apply(group, scratch, runs, Direction::Open);
    }
}

/// Compares two tags in constant time.
pub(super) fn same(a: &[u8; 16], b: &[u8; 16]) -> bool {
    let difference = u128::from_ne_bytes(*a) ^ u128::from_ne_bytes(*b);
    let difference = (difference as u64) | (difference >> 64) as u64;
    difference.ct_eq(&0).into()
}

impl Scratch {
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
    pub(super) fn new() -> Self {
        Self {
            narrow: [BLOCK; 16],
            wide: None,
            is_wide: false,
            one_time_keys: [[ROW; 4]; 2],
            packet_keys: [ROW; 8],
            lane_keys: None,
            counter_low: ROW,
            counter_high: ROW,
            packets: [0; LANES + 16],
            blocks: [0; LANES + 16],
            runs: [Run::default(); LANES],
            tags: [[[0; 16]; MESSAGES]; 2],
        }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
    /// Wipes it, and the stack of those who worked with it: groups of more than eight packets take more of both.
    pub(super) fn wipe(&mut self) {
        for block in self.narrow.iter_mut().chain(self.wide.as_mut().into_iter().flatten().flatten()) {
            wipe_block(block);
        }
        for row in self.one_time_keys.as_flattened_mut().iter_mut().chain(&mut self.packet_keys) {
            wipe_row(row);
        }
        for row in self.lane_keys.as_mut().into_iter().flatten().flatten() {
            wipe_row(row);
        }
        if self.wide.is_some() {
            wipe_dead_stack::<160>();
        } else {
            wipe_dead_stack::<96>();
        }
    }

    /// Makes the keystream of the first `lanes` lanes.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
    fn make_keystream(&mut self, lanes: usize, one_key: bool) {
        let inputs = self.inputs(one_key);
        let keys = lane_keys(&self.packet_keys, self.lane_keys.as_ref().filter(|_| !one_key));
        self.is_wide = lanes > 16;
        if self.is_wide {
            chacha20::thirty_two(keys, inputs, self.wide.get_or_insert_with(wide));
        } else if lanes > 8 {
            chacha20::sixteen(keys[0], inputs[0], &mut self.narrow);
        } else {
            chacha20::eight(keys[0], inputs[0], &mut self.narrow);
        }
    }

    /// Makes the one-time keys of the packets, which are the first lanes, and the keystream of those behind.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
    fn make_first_keystream(&mut self, count: usize, lanes: usize, one_key: bool) {
        if count > MESSAGES {
            let inputs = self.inputs(one_key);
            let keys = lane_keys(&self.packet_keys, self.lane_keys.as_ref().filter(|_| !one_key));
            let [_, out] = self.wide.get_or_insert_with(wide);
            self.is_wide = true;
            chacha20::one_time_keys_and_sixteen(keys, inputs, &mut self.one_time_keys, out);
        } else {
            self.make_keystream(lanes, one_key);
            if let Some((blocks, _)) = self.wide_or_narrow().split_first_chunk() {
                let mut keys = [ROW; 4];
                poly1305::one_time_keys(blocks, &mut keys);
                self.one_time_keys[0] = keys;
            }
        }
    }

    /// The keystream of the last pass.
    fn wide_or_narrow(&self) -> &[Block] {
        match &self.wide {
            Some(wide) if self.is_wide => wide.as_flattened(),
            _ => &self.narrow,
        }
    }

    /// What the lanes differ in; lays out the keys, too, if they do in that.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
    fn inputs(&mut self, one_key: bool) -> [Inputs; 2] {
        let zero = _mm512_setzero_si512();
        let mut inputs = [Inputs { block: zero, counter_low: zero, counter_high: zero }; 2];
        let (blocks, packets) = (self.blocks.as_chunks::<16>().0, self.packets.as_chunks::<16>().0);
        for (set, input) in inputs.iter_mut().enumerate() {
            let packets = load_row(&Row(packets[set]));
            input.block = load_row(&Row(blocks[set]));
            input.counter_low = _mm512_permutexvar_epi32(packets, load_row(&self.counter_low));
            input.counter_high = _mm512_permutexvar_epi32(packets, load_row(&self.counter_high));
            if !one_key {
                let lane_keys = &mut self.lane_keys.get_or_insert_with(lane_rows)[set];
                for (to, from) in lane_keys.iter_mut().zip(&self.packet_keys) {
                    store_row(to, _mm512_permutexvar_epi32(packets, load_row(from)));
                }
            }
        }
        inputs
    }
}

/// The keys of the lanes: those that were laid out, or the one that all have.
fn lane_keys<'k>(one: &'k KeyRows, laid_out: Option<&'k [KeyRows; 2]>) -> [&'k KeyRows; 2] {
    laid_out.map_or([one; 2], |keys| keys.each_ref())
}

impl Plan {
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
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
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
    fn first_pass(&mut self, scratch: &mut Scratch) -> usize {
        let each = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
        store_words(&mut scratch.packets, 0, each);
        store_words(&mut scratch.blocks, 0, _mm512_setzero_si512());
        // More than eight keys take the first sixteen lanes.
        let lane = if self.count > MESSAGES { GROUP } else { self.count };
        let (lanes, runs) = if lane == GROUP && self.texts.iter().all(|blocks| *blocks == 1) {
            self.one_each(scratch)
        } else {
            self.fill(scratch, lane, |_| true)
        };
        scratch.make_first_keystream(self.count, lanes, self.one_key);
        runs
    }

    /// Makes the next blocks of text of the packets that are wanted, and returns how many runs there are, or `None` if no block
    /// is left.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
    fn next_pass(&mut self, scratch: &mut Scratch, wanted: impl Fn(usize) -> bool) -> Option<usize> {
        let (lanes, runs) = self.fill(scratch, 0, wanted);
        if runs == 0 {
            return None;
        }
        scratch.make_keystream(lanes, self.one_key);
        Some(runs)
    }

    /// Fills the upper sixteen lanes with the only block of each packet.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
    fn one_each(&mut self, scratch: &mut Scratch) -> (usize, usize) {
        let each = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
        store_words(&mut scratch.packets, GROUP, each);
        store_words(&mut scratch.blocks, GROUP, _mm512_set1_epi32(1));
        for (packet, run) in scratch.runs[..GROUP].iter_mut().enumerate() {
            *run = Run { packet, block: 0, lane: GROUP + packet, count: 1 };
        }
        self.packet = self.count;
        (2 * GROUP, GROUP)
    }

    /// Fills the lanes from `lane` on; returns how many are filled then, and with how many runs.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
    fn fill(
        &mut self,
        scratch: &mut Scratch,
        mut lane: usize,
        wanted: impl Fn(usize) -> bool,
    ) -> (usize, usize) {
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
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
fn apply(group: &mut Group<'_, '_>, scratch: &Scratch, runs: usize, direction: Direction) {
    let keystream = scratch.wide_or_narrow();
    for run in &scratch.runs[..runs] {
        let Some(packet) = group.get_mut(run.packet) else { continue };
        if direction == Direction::Open && !packet.authentic {
            continue;
        }
        let keystream = &keystream[run.lane..run.lane + run.count];
        let start = 64 * run.block;
        if let ([block], true, false) = (keystream, start + 64 <= packet.lead, packet.summing)
            && let Some(chunk) = packet.text.get_mut(start..).and_then(|text| text.first_chunk_mut())
        {
            // What small packets are.
            store_chunk(chunk, _mm512_xor_si512(load_chunk(chunk), load_block(block)));
        } else if packet.summing {
            sum_and_apply(packet, start, keystream, direction);
        } else {
            apply_run(packet, start, keystream, None);
        }
    }
}

/// The same for one run, with the sum of the plaintext.
#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
fn sum_and_apply(packet: &mut Packet<'_>, start: usize, keystream: &[Block], direction: Direction) {
    let sum = match direction {
        Direction::Seal => apply_run(packet, start, keystream, Some(Direction::Seal)),
        Direction::Open => apply_run(packet, start, keystream, Some(Direction::Open)),
    };
    packet.sum = packet.sum + total(sum);
}

/// The sum of all lanes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
pub(super) fn total(sum: __m512i) -> Sum {
    Sum::from_little_endian(u64::from(_mm512_reduce_add_epi32(sum).cast_unsigned()))
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
fn apply_run(
    packet: &mut Packet<'_>,
    start: usize,
    keystream: &[Block],
    summing: Option<Direction>,
) -> __m512i {
    let Packet { text, lead, rest, .. } = packet;
    let end = (start + 64 * keystream.len()).min(text.len());
    let sum = _mm512_setzero_si512();
    // In place up to `lead`, from the rest beyond: one run may have some of both.
    if end <= *lead {
        exclusive_or(&mut text[start..end], keystream, summing, sum)
    } else if start >= *lead {
        let source = rest.get(start - *lead..).unwrap_or_default();
        exclusive_or_from(source, &mut text[start..end], keystream, summing, sum)
    } else {
        let (here, beyond) = keystream.split_at((*lead - start) / 64);
        let sum = exclusive_or(&mut text[start..*lead], here, summing, sum);
        exclusive_or_from(rest, &mut text[*lead..end], beyond, summing, sum)
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
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
        let result = exclusive_or_part(last, source, block);
        sum = add_words(sum, source, result, summing);
    }
    sum
}

/// The same with another source, which may be shorter.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
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
            result = exclusive_or_part(chunk, source, block);
        }
        sum = add_words(sum, source, result, summing);
    }
    sum
}

/// Stores a block that is not full, and returns it with zeros behind.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
fn exclusive_or_part(text: &mut [u8], source: __m512i, block: &Block) -> __m512i {
    let result = _mm512_xor_si512(source, load_block(block));
    let result = _mm512_maskz_mov_epi8(first_bytes(text.len()), result);
    store_part(text, result);
    result
}

/// Adds the 16-bit words of the plaintext.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
pub(super) fn add_words(
    sum: __m512i,
    source: __m512i,
    result: __m512i,
    summing: Option<Direction>,
) -> __m512i {
    let plain = match summing {
        None => return sum,
        Some(Direction::Seal) => source,
        Some(Direction::Open) => result,
    };
    let low = _mm512_and_si512(plain, _mm512_set1_epi32(0xffff));
    _mm512_add_epi32(sum, _mm512_add_epi32(low, _mm512_srli_epi32::<16>(plain)))
}

/// Where the keys and the tag of a packet are.
const fn place(packet: usize, count: usize) -> (usize, usize) {
    if count > MESSAGES { (packet / 2 % 2, packet / 4 * 2 + packet % 2) } else { (0, packet) }
}

/// Computes the tags of all ciphertexts.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512ifma,avx512vbmi2")]
fn tags(group: &mut Group<'_, '_>, scratch: &mut Scratch, direction: Direction) {
    let count = group.len();
    let mut messages: [Messages<'_>; 2] = [[&[]; MESSAGES]; 2];
    for (at, packet) in group.iter_mut().enumerate() {
        let message = if direction == Direction::Open { packet.ciphertext() } else { &*packet.text };
        if at == 0 {
            // Lanes that are left over do what the first does.
            messages = [[message; MESSAGES]; 2];
        }
        let (set, lane) = place(at, count);
        messages[set][lane] = message;
    }
    if count > MESSAGES {
        poly1305::tags(&scratch.one_time_keys, &messages, &mut scratch.tags);
    } else {
        let [tags, _] = &mut scratch.tags;
        let (keys, tags) = (core::array::from_ref(&scratch.one_time_keys[0]), core::array::from_mut(tags));
        poly1305::tags(keys, core::array::from_ref(&messages[0]), tags);
    }
}
