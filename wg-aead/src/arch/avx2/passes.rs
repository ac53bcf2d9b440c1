//! Packets into blocks, blocks into passes, keystream to where it belongs, and tags beside it.

use core::arch::x86_64::*;

use subtle::ConstantTimeEq;

use super::chacha20::{self, Inputs, KeyRows, LANES};
use super::memory::{Block, Half, Row, load_half, load_key, store_half, store_row, wipe_half, wipe_row};
use super::streams::{Streams, Texts};
use crate::checksum::Sum;
use crate::packet::{GROUP, Group, Packet};

/// Passes whose keystream waits for the tag of their packets.
const STASH: usize = 4;

/// Which way the packets go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    Seal,
    Open,
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
}

/// What has been put into passes.
///
/// Two packets take turns, so that their ciphertexts grow side by side and can be absorbed side by side: lanes 0 to 3 are for
/// packets 0, 2, 4 and so on, lanes 4 to 7 for packets 1, 3, 5. Where one of the two has nothing left, the other has all lanes.
struct Plan {
    count: usize,
    /// Blocks of the cipher, by packet.
    blocks: [usize; GROUP],
    /// Opening: the packets whose one-time key has been put into a pass.
    keyed: usize,
    turns: [Turn; 2],
    /// The first block of a packet in its turn.
    first: usize,
    /// Whether all packets have one key, and it is in its place.
    one_key: bool,
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
    let mut start = Start::new();
    let mut pass = Pass::new();
    let mut streams = Streams::new(group.len());
    let mut plan = Plan::new(group, &mut start, Direction::Seal);
    while plan.fill(group, &mut start, &mut pass, |_| true) {
        run(&mut start, &mut pass, &mut streams, group, Direction::Seal);
        for run in &pass.runs[..pass.count] {
            let Some(packet) = group.get_mut(run.packet) else { continue };
            let mut keystream = &pass.keystream[run.lane..run.lane + run.count];
            if let (0, Some((block, rest))) = (run.block, keystream.split_first()) {
                streams.one_time_keys[run.packet] = block[0];
                keystream = rest;
            }
            apply(packet, run.block.saturating_sub(1), keystream, Direction::Seal);
            let end = run.block + run.count;
            let whole = end == plan.blocks[run.packet];
            if whole {
                packet.apply_patch();
            }
            let bytes = if whole { packet.text.len() } else { 64 * (end - 1) };
            if whole || packet.patch.is_none() {
                streams.may_read(run.packet, bytes, whole);
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
}

/// Opens a group.
#[target_feature(enable = "avx2,bmi2")]
pub(super) fn open(group: &mut Group<'_, '_>) {
    let mut start = Start::new();
    let mut stash = [const { Pass::new() }; STASH];
    let mut streams = Streams::new(group.len());
    let mut plan = Plan::new(group, &mut start, Direction::Open);
    // Passes made and passes applied; packets whose tag is known, and those whose tag is right, a bit each.
    let (mut made, mut applied) = (0, 0);
    let (mut known, mut authentic) = (0_u32, 0_u32);
    loop {
        let pass = &mut stash[made % STASH];
        let forged = known & !authentic;
        if made - applied < STASH && plan.fill(group, &mut start, pass, |packet| forged >> packet & 1 == 0) {
            run(&mut start, pass, &mut streams, group, Direction::Open);
            for run in pass.runs[..pass.count].iter().filter(|run| run.block == 0) {
                streams.one_time_keys[run.packet] = pass.keystream[run.lane][0];
                let len = group.get(run.packet).map_or(0, |packet| packet.text.len());
                streams.may_read(run.packet, len, true);
            }
            made += 1;
        } else if applied < made {
            let missing = stash[applied % STASH].texts & !known;
            let texts = Texts { group, direction: Direction::Open };
            streams.finish_up_to(31 - (missing | 1).leading_zeros() as usize, &texts);
        } else {
            break;
        }
        while let Some(packet) = streams.next_tagged() {
            let tag = &streams.tags[packet];
            let Some(packet_of) = group.get_mut(packet) else { continue };
            packet_of.authentic = packet_of.tag.ct_eq(tag).into();
            known |= 1 << packet;
            authentic |= u32::from(packet_of.authentic) << packet;
        }
        while applied < made && stash[applied % STASH].texts & !known == 0 {
            let pass = &stash[applied % STASH];
            for run in &pass.runs[..pass.count] {
                let Some(packet) = group.get_mut(run.packet) else { continue };
                if let (Some(block), true) = (run.block.checked_sub(1), packet.authentic) {
                    let keystream = &pass.keystream[run.lane..run.lane + run.count];
                    apply(packet, block, keystream, Direction::Open);
                }
            }
            applied += 1;
        }
    }
    streams.finish(&Texts { group, direction: Direction::Open });
    while let Some(packet) = streams.next_tagged() {
        let Some(packet_of) = group.get_mut(packet) else { continue };
        packet_of.authentic = packet_of.tag.ct_eq(&streams.tags[packet]).into();
    }
    streams.wipe();
    for pass in &mut stash[..made.min(STASH)] {
        pass.wipe();
    }
    start.wipe();
}

/// Makes the keystream of a pass, and absorbs what can be absorbed meanwhile.
#[inline(never)]
#[target_feature(enable = "avx2,bmi2")]
fn run(start: &mut Start, pass: &mut Pass, streams: &mut Streams, group: &Group<'_, '_>, direction: Direction) {
    let texts = Texts { group, direction };
    let mut beside = streams.resume(&texts);
    let Start { keys, inputs, kept } = start;
    chacha20::eight(keys, inputs, kept, &mut pass.keystream, &mut beside);
    beside.pause();
}

impl Start {
    #[inline]
    fn new() -> Self {
        const ROW: Row = Row([0; 8]);
        Self { inputs: Inputs { block: ROW, counter_low: ROW, counter_high: ROW }, keys: [ROW; 8], kept: [ROW; 4] }
    }

    #[inline]
    #[target_feature(enable = "avx2,bmi2")]
    fn wipe(&mut self) {
        for row in self.keys.iter_mut().chain(&mut self.kept) {
            wipe_row(row);
        }
    }
}

impl Pass {
    const fn new() -> Self {
        Self {
            keystream: [[Half([0; 32]); 2]; LANES],
            runs: [Run { packet: 0, block: 0, lane: 0, count: 0 }; LANES],
            count: 0,
            texts: 0,
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

impl Plan {
    #[inline]
    #[target_feature(enable = "avx2,bmi2")]
    fn new(group: &Group<'_, '_>, start: &mut Start, direction: Direction) -> Self {
        let first = usize::from(direction == Direction::Open);
        let mut plan = Self {
            count: group.len(),
            blocks: [0; GROUP],
            keyed: if direction == Direction::Open { 0 } else { group.len() },
            turns: [Turn { packet: 0, block: first }, Turn { packet: 1, block: first }],
            first,
            one_key: true,
        };
        let mut one = None;
        for at in 0..plan.count {
            let Some(packet) = group.get(at) else { break };
            plan.blocks[at] = packet.blocks() + 1;
            let key = packet.key.words();
            plan.one_key &= core::ptr::eq(*one.get_or_insert(key), key);
        }
        if let (true, Some(key)) = (plan.one_key, one) {
            start.set_one_key(key);
        }
        plan
    }

    /// Fills the lanes of a pass with the next blocks of the packets that are wanted; false if there are none.
    #[target_feature(enable = "avx2,bmi2")]
    fn fill(
        &mut self,
        group: &Group<'_, '_>,
        start: &mut Start,
        pass: &mut Pass,
        wanted: impl Fn(usize) -> bool,
    ) -> bool {
        (pass.count, pass.texts) = (0, 0);
        let mut lane = 0;
        while self.keyed < self.count && lane < LANES {
            pass.push(Run { packet: self.keyed, block: 0, lane, count: 1 });
            lane += 1;
            self.keyed += 1;
        }
        for (turn, end) in [(0, lane.midpoint(LANES)), (1, LANES), (0, LANES)] {
            let turn = &mut self.turns[turn];
            while lane < end && turn.packet < self.count {
                let left = self.blocks[turn.packet] - turn.block;
                if left == 0 || !wanted(turn.packet) {
                    *turn = Turn { packet: turn.packet + 2, block: self.first };
                    continue;
                }
                let count = left.min(end - lane);
                pass.push(Run { packet: turn.packet, block: turn.block, lane, count });
                pass.texts |= 1 << turn.packet;
                lane += count;
                turn.block += count;
            }
        }
        start.set_inputs(group, &pass.runs[..pass.count], self.one_key);
        lane > 0
    }
}

impl Pass {
    #[inline]
    fn push(&mut self, run: Run) {
        // There are no more runs than lanes.
        self.runs[self.count % LANES] = run;
        self.count += 1;
    }
}

impl Start {
    /// Puts one key to all lanes.
    #[inline]
    #[target_feature(enable = "avx2,bmi2")]
    fn set_one_key(&mut self, key: &[u32; 8]) {
        for (row, word) in self.keys.iter_mut().zip(key) {
            store_row(row, _mm256_set1_epi32(word.cast_signed()));
        }
    }

    /// Puts packets and blocks to the lanes.
    #[inline]
    #[target_feature(enable = "avx2,bmi2")]
    fn set_inputs(&mut self, group: &Group<'_, '_>, runs: &[Run], one_key: bool) {
        let lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
        let zero = _mm256_setzero_si256();
        let (mut block, mut counter_low, mut counter_high) = (zero, zero, zero);
        let mut keys = [zero; LANES];
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
            if !one_key {
                let key = load_key(packet.key.words());
                keys[run.lane..run.lane + run.count].fill(key);
            }
        }
        store_row(&mut self.inputs.block, block);
        store_row(&mut self.inputs.counter_low, counter_low);
        store_row(&mut self.inputs.counter_high, counter_high);
        if !one_key {
            for (row, words) in self.keys.iter_mut().zip(chacha20::transpose(keys)) {
                store_row(row, words);
            }
            for key in &mut keys {
                *key = zero;
            }
        }
    }
}

/// Puts keystream to the blocks of a text from `block` on.
#[inline]
#[target_feature(enable = "avx2,bmi2")]
fn apply(packet: &mut Packet<'_>, block: usize, keystream: &[Block], direction: Direction) {
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
        let (Some(first), Some(last)) = (from.first_chunk::<N>(), from.last_chunk::<N>()) else { return false };
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
// TIMING-BEGIN
#[cfg(test)]
mod timing {
    extern crate std;
    use super::*;
    use std::time::Instant;
    use std::hint::black_box;

    fn time(name: &str, per: f64, f: &mut dyn FnMut()) {
        let mut best = f64::MAX;
        for _ in 0..2000 {
            let t = Instant::now();
            for _ in 0..20 {
                f();
            }
            best = best.min(t.elapsed().as_nanos() as f64 / 20.0);
        }
        std::println!("{name}: {best:.1} ns = {:.0} cycles; per unit {:.2} cycles", best * 3.69, best * 3.69 / per);
    }

    #[target_feature(enable = "avx2,bmi2")]
    fn go() {
        let mut x = 1_u64;
        time("1000 dependent", 1000.0, &mut || {
            let mut y = black_box(x);
            for _ in 0..500 { y = y.wrapping_add(black_box(3)).rotate_left(7) ^ y; }
            x = y;
        });
        let key = crate::Key::new(&[3; 32]);
        let mut buffers = std::vec![std::vec![0_u8; 9000]; 16];
        for len in [8960_usize] {
            let mut packets: std::vec::Vec<_> = buffers.iter_mut().map(|b| Packet::new(&key, 1, &mut b[..len], len, &[], [0; 16])).collect();
            let mut group = Group::new();
            for p in &mut packets { group.push(p); }
            let mut start = Start::new();
            let mut pass = Pass::new();
            let mut streams = Streams::new(16);
            let mut plan = Plan::new(&group, &mut start, Direction::Open);
            for n in [1,4,16] {
            let mut packets: std::vec::Vec<_> = buffers.iter_mut().take(n).map(|b| Packet::new(&key, 1, &mut b[..64], 64, &[], [0; 16])).collect();
            let mut group = Group::new();
            for p in &mut packets { group.push(p); }
            time("seal 64", 1.0, &mut || unsafe { seal(&mut group) });
            time("open 64", 1.0, &mut || unsafe { open(&mut group) });
            }
            let mut packets: std::vec::Vec<_> = buffers.iter_mut().map(|b| Packet::new(&key, 1, &mut b[..len], len, &[], [0; 16])).collect();
            let mut group = Group::new();
            for p in &mut packets { group.push(p); }
            time("start", 1.0, &mut || { black_box(Start::new()); });
            time("pass", 1.0, &mut || { black_box(Pass::new()); });
            time("streams", 1.0, &mut || { black_box(Streams::new(1)); });
            time("wipe start", 1.0, &mut || unsafe { start.wipe(); });
            time("wipe pass", 1.0, &mut || unsafe { pass.wipe(); });
            time("wipe streams", 1.0, &mut || unsafe { streams.wipe(); });
            time("fill", 1.0, &mut || unsafe { plan.turns[0].block = 1; plan.turns[1].block = 1; plan.fill(&group, &mut start, &mut pass, |_| true); });
            time("empty pass", 10.0, &mut || unsafe { run(&mut start, &mut pass, &mut streams, &group, Direction::Open); });
            for p in 0..16 { streams.may_read(p, len, true); }
            let fresh = |s: &mut Streams| { let mut n = Streams::new(16); for p in 0..16 { n.may_read(p, len, true) }; *s = n; };
            let mut k = 0;
            time("full pass", 10.0, &mut || unsafe { if k % 20 == 0 { fresh(&mut streams) }; k += 1; run(&mut start, &mut pass, &mut streams, &group, Direction::Open); });
            time("finish 16", 560.0 * 16.0, &mut || unsafe { fresh(&mut streams); streams.finish( &Texts { group: &group, direction: Direction::Open }); });
            let mut s1 = Streams::new(1); s1.may_read(0, len, true);
            time("finish 1", 560.0, &mut || unsafe { s1 = Streams::new(1); s1.may_read(0, len, true); s1.finish( &Texts { group: &group, direction: Direction::Open }); });
            time("apply 8", 8.0, &mut || unsafe { apply(group.get_mut(0).unwrap(), 0, &pass.keystream, Direction::Open); });
            time("apply 4+4", 8.0, &mut || unsafe { apply(group.get_mut(0).unwrap(), 0, &pass.keystream[..4], Direction::Open);  apply(group.get_mut(1).unwrap(), 0, &pass.keystream[4..], Direction::Open);});
        }
    }

    #[test]
    #[ignore]
    fn timing() {
        unsafe { go() }
    }
}
// TIMING-END
