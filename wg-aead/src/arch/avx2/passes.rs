//! Packets into blocks, blocks into passes, keystream to where it belongs, and tags beside it.

use core::arch::x86_64::*;

use subtle::ConstantTimeEq;

use super::apply::apply;
use super::chacha20::{self, Inputs, KeyRows, LANES, Single};
use super::memory::{Block, Half, Row, load_key, store_row, wipe_half, wipe_row, wipe_stack};
use super::streams::{Streams, Texts};
use crate::packet::{GROUP, Group};

/// Which way the packets go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    Seal,
    Open,
}

/// When the one-time keys are made.
#[derive(Clone, Copy)]
enum Order {
    /// Each before the text of its packet.
    ByPacket,
    /// All before the first text.
    KeysFirst,
}

/// Consecutive blocks of one packet in one pass.
#[derive(Clone, Copy, Default)]
struct Run {
    packet: usize,
    /// The first block of the cipher: block 0 makes the one-time key, block 1 is the first of the text.
    block: usize,
    lane: usize,
    count: usize,
}

/// What eight lanes are filled with, and what came of them.
#[repr(C)]
struct Pass {
    keystream: [Block; LANES],
    runs: [Run; LANES],
    count: usize,
    /// Lanes that are filled.
    lanes: usize,
    /// The packets that have text in this pass, a bit each.
    texts: u32,
}

/// What the cipher starts with, wiped at the end.
#[repr(C)]
struct Start {
    inputs: Inputs,
    keys: KeyRows,
    /// Words of the state that have no register for a while.
    kept: [Row; 4],
    /// Whether all packets have one key, and it is in its place.
    one_key: bool,
    /// The packets whose keys are in their place, a byte for each lane.
    packets: u64,
}

/// What has been put into passes.
///
/// Two packets take turns, so that their ciphertexts grow side by side and can be absorbed side by side: lanes 0 to 3 are for
/// packets 0, 2, 4 and so on, lanes 4 to 7 for packets 1, 3, 5. Where one of the two has nothing left, the other has all lanes.
struct Plan {
    count: usize,
    /// Bytes of text, by packet.
    lens: [usize; GROUP],
    /// Packets whose one-time key has been put into a pass, or will be in its turn.
    keyed: usize,
    turns: [Turn; 2],
    /// The first block of a packet in its turn.
    first: usize,
}

/// The next block of every other packet.
#[derive(Clone, Copy)]
struct Turn {
    packet: usize,
    block: usize,
}

/// Seals a group.
#[target_feature(enable = "avx2,bmi2")]
pub(super) fn seal(group: &mut Group<'_, '_>) {
    let mut start = Start::new(group);
    let mut pass = Pass::new();
    let mut streams = Streams::new(group.len());
    let mut plan = Plan::new(group, Order::ByPacket);
    while plan.fill(&mut pass, |_| true) {
        make_keystream(&mut start, &mut pass, &mut streams, &Texts { group, direction: Direction::Seal });
        for run in &pass.runs[..pass.count] {
            let Some(packet) = group.get_mut(run.packet) else { continue };
            if run.block == 0 {
                streams.one_time_keys[run.packet] = pass.keystream[run.lane][0];
            }
            let (block, keystream) = pass.of_text(run);
            apply(packet, block, keystream, Direction::Seal);
            let (end, len) = (64 * (run.block + run.count - 1), plan.lens[run.packet]);
            if end >= len {
                packet.apply_patch();
            }
            // What a patch may still change is not to be absorbed.
            if end >= len || packet.patch.is_none() {
                streams.may_absorb(run.packet, end.min(len), end >= len);
            }
        }
    }
    streams.finish(&Texts { group, direction: Direction::Seal });
    for (packet, tag) in group.iter_mut().zip(&streams.tags) {
        packet.tag = *tag;
    }
    streams.wipe();
    pass.wipe();
    start.wipe();
    wipe_stack();
}

/// Opens a group.
#[target_feature(enable = "avx2,bmi2")]
pub(super) fn open(group: &mut Group<'_, '_>) {
    let blocks: usize = group.iter_mut().map(|packet| packet.blocks() + 1).sum();
    // A small stash is sooner made and wiped. One that holds all lets the cipher be ahead of the tags.
    match blocks.div_ceil(LANES) {
        0..2 => open_with::<1>(group, Order::ByPacket),
        2..5 => open_with::<4>(group, Order::ByPacket),
        _ => open_with::<4>(group, Order::KeysFirst),
    }
}

/// Opens a group with a stash of so many passes, whose keystream waits for the tags of their packets.
#[target_feature(enable = "avx2,bmi2")]
fn open_with<const STASH: usize>(group: &mut Group<'_, '_>, order: Order) {
    let mut start = Start::new(group);
    let mut stash = [const { Pass::new() }; STASH];
    let mut streams = Streams::new(group.len());
    let mut plan = Plan::new(group, order);
    let (mut made, mut applied) = (0, 0);
    // The packets whose tag is known, and those whose tag is right, a bit each.
    let (mut known, mut authentic) = (0_u32, 0_u32);
    loop {
        let pass = &mut stash[made % STASH];
        let forged = known & !authentic;
        if made - applied < STASH && plan.fill(pass, |packet| forged >> packet & 1 == 0) {
            make_keystream(&mut start, pass, &mut streams, &Texts { group, direction: Direction::Open });
            for run in pass.runs[..pass.count].iter().filter(|run| run.block == 0) {
                streams.one_time_keys[run.packet] = pass.keystream[run.lane][0];
                streams.may_absorb(run.packet, plan.lens[run.packet], true);
            }
            made += 1;
        } else if known.count_ones() as usize == plan.count {
            break;
        } else if applied < made {
            let missing = stash[applied % STASH].texts & !known;
            let last = (u32::BITS - 1).saturating_sub(missing.leading_zeros());
            streams.finish_up_to(last as usize, &Texts { group, direction: Direction::Open });
        } else {
            streams.finish(&Texts { group, direction: Direction::Open });
        }
        while let Some(at) = streams.next_tagged() {
            let Some(packet) = group.get_mut(at) else { continue };
            packet.authentic = are_equal(&packet.tag, &streams.tags[at]);
            known |= 1 << at;
            authentic |= u32::from(packet.authentic) << at;
        }
        while applied < made && stash[applied % STASH].texts & !known == 0 {
            let pass = &stash[applied % STASH];
            for run in &pass.runs[..pass.count] {
                let Some(packet) = group.get_mut(run.packet) else { continue };
                if packet.authentic {
                    let (block, keystream) = pass.of_text(run);
                    apply(packet, block, keystream, Direction::Open);
                }
            }
            applied += 1;
        }
    }
    streams.wipe();
    for pass in &mut stash[..made.min(STASH)] {
        pass.wipe();
    }
    start.wipe();
    wipe_stack();
}

/// Compares in constant time.
#[inline]
fn are_equal(tag: &[u8; 16], other: &[u8; 16]) -> bool {
    let difference = u128::from_le_bytes(*tag) ^ u128::from_le_bytes(*other);
    ((difference | difference >> 64) as u64).ct_eq(&0).into()
}

/// Makes the keystream of a pass, and absorbs what can be absorbed meanwhile.
#[inline(never)]
#[target_feature(enable = "avx2,bmi2")]
fn make_keystream(start: &mut Start, pass: &mut Pass, streams: &mut Streams, texts: &Texts<'_, '_, '_>) {
    start.set_lanes(texts.group, &pass.runs[..pass.count]);
    let mut beside = streams.resume(texts);
    // Few blocks are made faster without anything beside, unless there is much to be done beside.
    if pass.lanes <= 6 && beside.steps_left() < 6 {
        pass.make_few(texts.group);
        return;
    }
    let Start { keys, inputs, kept, .. } = start;
    chacha20::eight(keys, inputs, kept, &mut pass.keystream, &mut beside);
    beside.pause();
}

impl Pass {
    const fn new() -> Self {
        Self {
            keystream: [[Half([0; 32]); 2]; LANES],
            runs: [Run { packet: 0, block: 0, lane: 0, count: 0 }; LANES],
            count: 0,
            lanes: 0,
            texts: 0,
        }
    }

    #[inline]
    fn push(&mut self, run: Run) {
        // There are no more runs than lanes.
        self.runs[self.count % LANES] = run;
        self.count += 1;
        self.lanes += run.count;
    }

    /// The first block of text of a run, and the keystream from there on.
    #[inline]
    fn of_text(&self, run: &Run) -> (usize, &[Block]) {
        let skipped = usize::from(run.block == 0);
        (run.block + skipped - 1, &self.keystream[run.lane + skipped..run.lane + run.count])
    }

    /// Makes the keystream of up to six blocks.
    #[inline]
    #[target_feature(enable = "avx2,bmi2")]
    fn make_few(&mut self, group: &Group<'_, '_>) {
        let mut blocks = [Single { key: &[0; 8], block: 0, counter: 0 }; LANES];
        for run in &self.runs[..self.count] {
            let Some(packet) = group.get(run.packet) else { continue };
            for (slot, block) in blocks[run.lane..run.lane + run.count].iter_mut().zip(run.block as u32..) {
                *slot = Single { key: packet.key.words(), block, counter: packet.counter };
            }
        }
        match self.lanes {
            0..3 => chacha20::pairs::<1>(&blocks, &mut self.keystream),
            3..5 => chacha20::pairs::<2>(&blocks, &mut self.keystream),
            _ => chacha20::pairs::<3>(&blocks, &mut self.keystream),
        }
    }

    #[inline]
    #[target_feature(enable = "avx2,bmi2")]
    fn wipe(&mut self) {
        for half in self.keystream.as_flattened_mut() {
            wipe_half(half);
        }
    }
}

impl Start {
    #[inline]
    #[target_feature(enable = "avx2,bmi2")]
    fn new(group: &mut Group<'_, '_>) -> Self {
        const ROW: Row = Row([0; 8]);
        let inputs = Inputs { block: ROW, counter_low: ROW, counter_high: ROW };
        let mut start = Self { inputs, keys: [ROW; 8], kept: [ROW; 4], one_key: false, packets: u64::MAX };
        let mut keys = group.iter_mut().map(|packet| packet.key.words());
        if let Some(first) = keys.next() {
            start.one_key = keys.all(|key| core::ptr::eq(key, first));
            for (row, word) in start.keys.iter_mut().zip(first) {
                store_row(row, _mm256_set1_epi32(word.cast_signed()));
            }
        }
        start
    }

    /// Puts packets and blocks to the lanes.
    #[inline]
    #[target_feature(enable = "avx2,bmi2")]
    fn set_lanes(&mut self, group: &Group<'_, '_>, runs: &[Run]) {
        let lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
        let zero = _mm256_setzero_si256();
        let (mut block, mut counter_low, mut counter_high) = (zero, zero, zero);
        for run in runs {
            let Some(packet) = group.get(run.packet) else { continue };
            // From its first lane on; what belongs to the next run is overwritten by that.
            let from = _mm256_cmpgt_epi32(lanes, _mm256_set1_epi32(run.lane as i32 - 1));
            let blocks = _mm256_add_epi32(lanes, _mm256_set1_epi32(run.block as i32 - run.lane as i32));
            let low = _mm256_set1_epi32(packet.counter as i32);
            let high = _mm256_set1_epi32((packet.counter >> 32) as i32);
            block = _mm256_blendv_epi8(block, blocks, from);
            counter_low = _mm256_blendv_epi8(counter_low, low, from);
            counter_high = _mm256_blendv_epi8(counter_high, high, from);
        }
        store_row(&mut self.inputs.block, block);
        store_row(&mut self.inputs.counter_low, counter_low);
        store_row(&mut self.inputs.counter_high, counter_high);
        if !self.one_key {
            self.set_keys(group, runs);
        }
    }

    /// Puts the key of each packet to its lanes.
    #[inline(never)]
    #[target_feature(enable = "avx2,bmi2")]
    fn set_keys(&mut self, group: &Group<'_, '_>, runs: &[Run]) {
        // A byte for each lane; what belongs to the next run is overwritten by that.
        let mut packets = 0_u64;
        for run in runs {
            let lanes = u64::MAX << (8 * run.lane);
            packets = packets & !lanes | (0x0101_0101_0101_0101 * run.packet as u64) & lanes;
        }
        if packets == self.packets {
            return;
        }
        self.packets = packets;
        let mut keys = [_mm256_setzero_si256(); LANES];
        for run in runs {
            let Some(packet) = group.get(run.packet) else { continue };
            keys[run.lane..run.lane + run.count].fill(load_key(packet.key.words()));
        }
        for (row, words) in self.keys.iter_mut().zip(chacha20::transpose(keys)) {
            store_row(row, words);
        }
    }

    #[inline]
    #[target_feature(enable = "avx2,bmi2")]
    fn wipe(&mut self) {
        for row in self.keys.iter_mut().chain(&mut self.kept) {
            wipe_row(row);
        }
    }
}

impl Plan {
    #[inline]
    fn new(group: &mut Group<'_, '_>, order: Order) -> Self {
        let (keyed, first) = match order {
            Order::ByPacket => (group.len(), 0),
            Order::KeysFirst => (0, 1),
        };
        let mut lens = [0; GROUP];
        for (len, packet) in lens.iter_mut().zip(group.iter_mut()) {
            *len = packet.text.len();
        }
        let turns = [Turn { packet: 0, block: first }, Turn { packet: 1, block: first }];
        Self { count: group.len(), lens, keyed, turns, first }
    }

    /// Fills the lanes of a pass with the next blocks of the packets that are wanted; false if there are none.
    #[inline]
    fn fill(&mut self, pass: &mut Pass, wanted: impl Fn(usize) -> bool) -> bool {
        (pass.count, pass.lanes, pass.texts) = (0, 0, 0);
        while self.keyed < self.count && pass.lanes < LANES {
            pass.push(Run { packet: self.keyed, block: 0, lane: pass.lanes, count: 1 });
            self.keyed += 1;
        }
        for (turn, end) in [(0, pass.lanes.midpoint(LANES)), (1, LANES), (0, LANES)] {
            let turn = &mut self.turns[turn];
            while pass.lanes < end && turn.packet < self.count {
                let left = self.lens[turn.packet].div_ceil(64) + 1 - turn.block;
                if left == 0 || !wanted(turn.packet) {
                    *turn = Turn { packet: turn.packet + 2, block: self.first };
                    continue;
                }
                let count = left.min(end - pass.lanes);
                pass.push(Run { packet: turn.packet, block: turn.block, lane: pass.lanes, count });
                pass.texts |= u32::from(turn.block + count > 1) << turn.packet;
                turn.block += count;
            }
        }
        pass.lanes > 0
    }
}
