//! Every backend makes the same of every job, and leaves alone what it refuses.

extern crate std;
use std::vec;
use std::vec::Vec;

use proptest::collection::vec as several;
use proptest::prelude::*;
use wg_proto::aead::{RingAead, RustCryptoAead};

use super::*;
use crate::MultiBufferAead;

const KEYS: [[u8; 32]; 3] = [[1; 32], [0x42; 32], [0xfe; 32]];
/// What a buffer holds where nothing was written.
const UNTOUCHED: u8 = 0xa5;
/// Bytes before and behind a buffer.
const AROUND: usize = 5;

#[derive(Clone, Debug)]
struct Case {
    key: usize,
    counter: u64,
    packet: Vec<u8>,
    head_len: usize,
    /// Bytes between the packet and the tag.
    padding: usize,
    /// Bytes that the buffer lacks.
    short: usize,
    checksum: Option<Checksum>,
}

impl Case {
    fn new(number: usize, len: usize, head_len: usize) -> Self {
        Self {
            key: number % KEYS.len(),
            counter: (number as u64).wrapping_mul(0x0123_4567_89ab_cdef),
            packet: text(len, number),
            head_len,
            padding: 0,
            short: 0,
            checksum: None,
        }
    }

    /// Ciphertext and tag, made in one piece; or why there is none.
    fn expected(&self) -> Result<Vec<u8>, AeadError> {
        let packet = self.packet.len();
        let need = packet + TAG_LEN;
        let have = (need + self.padding).saturating_sub(self.short);
        if have < need {
            return Err(AeadError::BufferTooSmall { need, have });
        }
        let mut text = self.packet.clone();
        if let Some(Checksum { start, offset }) = self.checksum {
            let field = start.saturating_add(offset);
            if field.saturating_add(2) > packet {
                return Err(AeadError::BufferTooSmall { need: field.saturating_add(2), have: packet });
            }
            let checksum = checksum(&text[start..]);
            text[field..field + 2].copy_from_slice(&checksum);
        }
        text.resize(have - TAG_LEN, 0);
        Ok(sealed(&KEYS[self.key], self.counter, &text))
    }
}

fn text(len: usize, seed: usize) -> Vec<u8> {
    let mut state = (seed as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..len)
        .map(|_| {
            state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
            state.to_be_bytes()[1]
        })
        .collect()
}

/// The checksum of RFC 1071, a word at a time; 0 is written as 0xffff.
fn checksum(bytes: &[u8]) -> [u8; 2] {
    let sum = bytes.chunks(2).fold(0, |sum, word| {
        let sum: u32 = sum + (u32::from(word[0]) << 8) + u32::from(word.get(1).copied().unwrap_or(0));
        (sum & 0xffff) + (sum >> 16)
    });
    let checksum = !u16::try_from(sum).unwrap();
    if checksum == 0 { [0xff; 2] } else { checksum.to_be_bytes() }
}

fn sealed(key: &[u8; 32], counter: u64, text: &[u8]) -> Vec<u8> {
    let mut out = text.to_vec();
    out.resize(text.len() + TAG_LEN, 0);
    RustCryptoAead::new(key).seal_in_place(counter, &mut out).unwrap();
    out
}

fn seal_with<A: BatchAead>(cases: &[Case]) {
    let keys = KEYS.each_ref().map(A::new);
    let mut rooms: Vec<Vec<u8>> = cases
        .iter()
        .map(|case| {
            let len = (case.packet.len() + TAG_LEN + case.padding).saturating_sub(case.short);
            let mut room = vec![UNTOUCHED; AROUND + len + AROUND];
            let head = case.head_len.min(len);
            room[AROUND..AROUND + head].copy_from_slice(&case.packet[..head]);
            room
        })
        .collect();
    let before = rooms.clone();
    let mut jobs: Vec<SealSegment<'_, A>> = cases
        .iter()
        .zip(&mut rooms)
        .map(|(case, room)| {
            let len = room.len() - 2 * AROUND;
            SealSegment {
                key: &keys[case.key],
                counter: case.counter,
                out: &mut room[AROUND..AROUND + len],
                head_len: case.head_len,
                body: &case.packet[case.head_len..],
                checksum: case.checksum,
                result: Err(AeadError::TagMismatch),
            }
        })
        .collect();
    A::seal_segments(&mut jobs);
    let results: Vec<_> = jobs.iter().map(|job| job.result).collect();
    for (((case, room), result), before) in cases.iter().zip(rooms).zip(results).zip(before) {
        let name = core::any::type_name::<A>();
        match case.expected() {
            Ok(expected) => {
                assert_eq!(result, Ok(()), "{name}: {case:?}");
                assert!(room[AROUND..room.len() - AROUND] == expected, "{name}: {case:?}");
                let around = room[..AROUND].iter().chain(&room[room.len() - AROUND..]);
                assert!(around.copied().all(|byte| byte == UNTOUCHED), "{name} outside: {case:?}");
            }
            Err(error) => {
                assert_eq!(result, Err(error), "{name}: {case:?}");
                assert!(room == before, "{name} writes for a refused job: {case:?}");
            }
        }
    }
}

fn seal_with_all(cases: &[Case]) {
    seal_with::<MultiBufferAead>(cases);
    seal_with::<RingAead>(cases);
    seal_with::<RustCryptoAead>(cases);
}

#[derive(Clone, Debug)]
struct Received {
    key: usize,
    counter: u64,
    plain: Vec<u8>,
    /// A bit that is another, counted modulo the length; and bytes that are missing from the end.
    forged: Option<usize>,
    cut: usize,
}

fn open_with<A: BatchAead>(received: &[Received]) {
    let keys = KEYS.each_ref().map(A::new);
    let mut buffers: Vec<Vec<u8>> = received
        .iter()
        .map(|Received { key, counter, plain, forged, cut }| {
            let mut buffer = sealed(&KEYS[*key], *counter, plain);
            buffer.truncate(buffer.len().saturating_sub(*cut));
            if let Some(bit) = forged
                && !buffer.is_empty()
            {
                let at = bit / 8 % buffer.len();
                buffer[at] ^= 1 << (bit % 8);
            }
            buffer
        })
        .collect();
    let before = buffers.clone();
    let mut jobs: Vec<OpenSegment<'_, A>> = received
        .iter()
        .zip(&mut buffers)
        .map(|(Received { key, counter, .. }, buffer)| OpenSegment {
            key: &keys[*key],
            counter: *counter,
            buffer,
            sum: Sum::of(&[1]),
            result: Err(AeadError::TagMismatch),
        })
        .collect();
    A::open_segments(&mut jobs);
    let results: Vec<_> = jobs.iter().map(|job| (job.result, job.sum)).collect();
    for (((case, buffer), (result, sum)), before) in received.iter().zip(&buffers).zip(results).zip(before) {
        let name = core::any::type_name::<A>();
        let (plain, have) = (&case.plain, buffer.len());
        if have < TAG_LEN {
            assert_eq!(result, Err(AeadError::BufferTooSmall { need: TAG_LEN, have }), "{name}: {case:?}");
            assert!(*buffer == before);
        } else if case.forged.is_some() || case.cut > 0 {
            assert_eq!(result, Err(AeadError::TagMismatch), "{name}: {case:?}");
            let wiped = buffer[..have - TAG_LEN].iter().all(|byte| *byte == 0);
            assert!(wiped || *buffer == before, "{name} leaves something of a forgery: {case:?}");
        } else {
            assert_eq!(result, Ok(()), "{name}: {case:?}");
            assert!(buffer[..plain.len()] == *plain, "{name}: {case:?}");
        }
        let expected = if result.is_ok() { Sum::of(plain) } else { Sum::default() };
        assert_eq!(sum, expected, "{name}: {case:?}");
        if result.is_ok() {
            assert_eq!(sum.checksum(), checksum(plain), "{name}: {case:?}");
        }
    }
}

fn open_with_all(received: &[Received]) {
    open_with::<MultiBufferAead>(received);
    open_with::<RingAead>(received);
    open_with::<RustCryptoAead>(received);
}

#[test]
fn every_head_is_followed_by_its_body() {
    let mut cases = Vec::new();
    for head_len in 0..=192 {
        for body in [0, 1, 15, 16, 63, 64, 65, 200] {
            cases.push(Case::new(cases.len(), head_len + body, head_len));
        }
    }
    for (len, head_len) in [(1420, 40), (1420, 52), (1420, 1420), (9000, 60), (65_535, 66)] {
        cases.push(Case::new(cases.len(), len, head_len));
    }
    seal_with_all(&cases);
    // Alone, too.
    for case in cases.iter().step_by(7) {
        seal_with_all(core::slice::from_ref(case));
    }
}

#[test]
fn what_is_between_packet_and_tag_becomes_zeros() {
    let mut cases = Vec::new();
    for len in 0..=150 {
        for (padding, head_len) in
            [(1, 0), (15, 40), (16, 20), (40, len), (64, 64), (130, 28), ((16 - len % 16) % 16, 40)]
        {
            let case = Case::new(cases.len(), len, head_len.min(len));
            cases.push(Case { padding, ..case });
        }
    }
    seal_with_all(&cases);
}

#[test]
fn checksum_is_that_of_all_behind_its_start() {
    let mut cases = Vec::new();
    let spots = [(20, 6), (20, 16), (40, 6), (40, 16), (60, 16), (0, 10), (21, 6), (23, 7), (62, 1), (61, 2)];
    for (start, offset) in spots {
        for len in [start + offset + 2, start + offset + 3, 99, 128, 129, 600, 1400, 1411] {
            for head_len in [0, start, start + offset + 1, start + offset + 2, 63, 64, len] {
                let case = Case::new(cases.len(), len, head_len.min(len));
                let checksum = Some(Checksum { start, offset });
                cases.push(Case { checksum, padding: (16 - len % 16) % 16, ..case });
            }
        }
    }
    // One that comes to zero, which no sender writes.
    for len in [28, 48, 148] {
        let case = Case { packet: vec![0; len], ..Case::new(cases.len(), len, 28) };
        let mut packet = case.packet;
        packet[20..22].fill(0xff);
        cases.push(Case { packet, checksum: Some(Checksum { start: 20, offset: 6 }), ..case });
    }
    seal_with_all(&cases);
}

#[test]
fn refused_job_leaves_its_buffer_and_its_neighbours_alone() {
    let mut cases = Vec::new();
    let outside =
        [(20, 39), (20, 40), (58, 1), (60, 0), (61, 0), (1000, 6), (usize::MAX, 6), (7, usize::MAX)];
    for padding in [0, 4, 100] {
        for head_len in [0, 20, 40, 60] {
            for (start, offset) in outside {
                let case = Case::new(cases.len(), 60, head_len);
                let checksum = Some(Checksum { start, offset });
                cases.push(Case { padding, checksum, ..case });
                cases.push(Case::new(cases.len(), 60, head_len));
            }
        }
    }
    for len in [0, 1, 40, 64, 200] {
        for head_len in [0, len / 2, len] {
            for short in [1, 15, 16, 17, 1000] {
                let case = Case::new(cases.len(), len, head_len);
                cases.push(Case { short, checksum: Some(Checksum { start: 0, offset: 900 }), ..case });
                cases.push(Case::new(cases.len(), len, head_len));
            }
        }
    }
    seal_with_all(&cases);
}

#[test]
fn head_that_no_buffer_holds_is_refused() {
    fn refused<A: BatchAead>() {
        let (key, mut out) = (A::new(&KEYS[0]), [UNTOUCHED; 64]);
        for head_len in [49, 64, 65, usize::MAX - 16, usize::MAX] {
            let result = Err(AeadError::TagMismatch);
            let (out, body) = (&mut out[..], &[1, 2][..]);
            let mut jobs =
                [SealSegment { key: &key, counter: 0, out, head_len, body, checksum: None, result }];
            A::seal_segments(&mut jobs);
            let need = head_len.saturating_add(2 + TAG_LEN);
            match jobs[0].result {
                // In 32 bits.
                Err(AeadError::BufferTooSmall { need: got, have: 64 }) => {
                    assert!(got == need || got == u32::MAX as usize, "{got}");
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(out, [UNTOUCHED; 64]);
    }
    refused::<MultiBufferAead>();
    refused::<RingAead>();
    refused::<RustCryptoAead>();
}

#[test]
fn forgery_leaves_no_plaintext_no_sum_and_its_neighbours_alone() {
    // C26
    let received = |lens: &mut dyn Iterator<Item = usize>, every: usize| -> Vec<Received> {
        lens.enumerate()
            .map(|(at, len)| Received {
                key: at % KEYS.len(),
                counter: u64::MAX - at as u64,
                plain: text(len, at),
                forged: (at % every == 1).then_some(at * 37),
                cut: 0,
            })
            .collect()
    };
    open_with_all(&received(&mut (0..300), 3));
    open_with_all(&received(&mut core::iter::repeat_n(1420, 40), 5));
    open_with_all(&received(&mut [1420, 64, 9000, 0, 65_535].into_iter(), 2));
    open_with_all(&received(&mut core::iter::repeat_n(80, 130), usize::MAX));
    // What cannot hold a tag.
    let mut short = received(&mut (0..40), 2);
    for (at, received) in short.iter_mut().enumerate() {
        received.cut = at % 3 * at;
    }
    open_with_all(&short);
    for received in &short {
        open_with_all(core::slice::from_ref(received));
    }
}

fn case() -> impl Strategy<Value = Case> {
    let len = prop_oneof![3 => 0..200_usize, 1 => 1380..1430_usize, 1 => 0..3000_usize];
    let padding = prop_oneof![3 => Just(0), 3 => 0..16_usize, 1 => 0..200_usize];
    let checksum = prop_oneof![
        2 => Just(None),
        2 => (0..70_usize, 0..20_usize).prop_map(Some),
        1 => any::<(usize, usize)>().prop_map(Some),
    ];
    let short = prop_oneof![6 => Just(0), 1 => 1..300_usize];
    (0..KEYS.len(), any::<u64>(), len, 0..=192_usize, padding, checksum, short, any::<usize>()).prop_map(
        |(key, counter, len, head_len, padding, checksum, short, seed)| Case {
            key,
            counter,
            packet: text(len, seed),
            head_len: head_len.min(len),
            padding,
            short,
            checksum: checksum.map(|(start, offset)| Checksum { start, offset }),
        },
    )
}

fn received() -> impl Strategy<Value = Received> {
    let forged = prop_oneof![4 => Just(None), 1 => any::<usize>().prop_map(Some)];
    let cut = prop_oneof![8 => Just(0), 1 => 1..100_usize];
    (0..KEYS.len(), any::<u64>(), 0..1500_usize, forged, cut, any::<usize>()).prop_map(
        |(key, counter, len, forged, cut, seed)| Received {
            key,
            counter,
            plain: text(len, seed),
            forged,
            cut,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(60) })]

    #[test]
    fn backends_agree_on_any_batch(cases in several(case(), 1..140), received in several(received(), 1..140)) {
        seal_with_all(&cases);
        open_with_all(&received);
    }
}
