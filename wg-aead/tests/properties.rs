//! Any batch, on every backend: each job gives what RustCrypto and `ring` give for it, whatever its form, place and company, or
//! is refused for its own fault alone.

use chacha20poly1305::{AeadInOut, ChaCha20Poly1305, KeyInit};
use proptest::collection::vec;
use proptest::prelude::*;
use ring::aead as ring_aead;
use wg_aead::{AeadError, Backend, Checksum, Key, MAX_LEN, OpenJob, SealJob, Sum, TAG_LEN};

/// Keys of a batch, at most.
const KEYS: usize = 6;
/// What buffers are filled with where nothing may be written.
const UNTOUCHED: u8 = 0xa5;
/// Bytes behind a buffer.
const BEHIND: usize = 70;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    InPlace,
    Copy,
    /// With a head of so many bytes, or all there are.
    Gather(usize),
    /// The same, with the head in place.
    Append(usize),
}

/// What is wrong with a job, or what else is asked of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Twist {
    None,
    /// Seal: the checksum at `start` and `offset`. Open: the sum.
    Summing {
        start: usize,
        offset: usize,
    },
    /// Seal: room that so many bytes of zeros fill. Open: none.
    Padding(usize),
    /// A buffer that is short by so many bytes, or by all it has.
    TooSmall(usize),
    /// A buffer for more than a packet can hold.
    TooLong,
    /// Open: this bit of ciphertext and tag is another. Seal: none.
    Forged(usize),
    /// Open: another counter. Seal: none.
    WrongCounter,
}

#[derive(Clone, Debug)]
struct Member {
    key: usize,
    counter: u64,
    text: Vec<u8>,
    form: Form,
    twist: Twist,
    /// Where the buffers stand, as [`Place::new`] takes it.
    source_at: usize,
    out_at: usize,
}

fn len() -> impl Strategy<Value = usize> {
    prop_oneof![
        4 => 0..200_usize,
        3 => (0..24_usize, 0..3_usize).prop_map(|(blocks, more)| (64 * blocks + more).saturating_sub(1)),
        2 => 1380..1460_usize,
        1 => 0..6000_usize,
    ]
}

fn form() -> impl Strategy<Value = Form> {
    prop_oneof![
        Just(Form::InPlace),
        Just(Form::Copy),
        (0..200_usize).prop_map(Form::Gather),
        (0..200_usize).prop_map(Form::Append)
    ]
}

fn twist() -> impl Strategy<Value = Twist> {
    prop_oneof![
        8 => Just(Twist::None),
        3 => (0..80_usize, 0..20_usize).prop_map(|(start, offset)| Twist::Summing { start, offset }),
        1 => any::<(usize, usize)>().prop_map(|(start, offset)| Twist::Summing { start, offset }),
        2 => (1..130_usize).prop_map(Twist::Padding),
        2 => (1..90_usize).prop_map(Twist::TooSmall),
        1 => Just(Twist::TooLong),
        3 => any::<usize>().prop_map(Twist::Forged),
        1 => Just(Twist::WrongCounter),
    ]
}

fn member() -> impl Strategy<Value = Member> {
    let counter = prop_oneof![any::<u64>(), 0..5_u64, Just(u64::MAX), Just(u64::from(u32::MAX))];
    let text = (len(), any::<u64>()).prop_map(|(len, seed)| text(len, seed));
    (0..KEYS, counter, text, form(), twist(), 0..64_usize, 0..64_usize).prop_map(
        |(key, counter, text, form, twist, source_at, out_at)| Member {
            key,
            counter,
            text,
            form,
            twist,
            source_at,
            out_at,
        },
    )
}

/// Batches of anything; and of one length and key, as a flow sends them, with a few others among them.
fn batch() -> impl Strategy<Value = Vec<Member>> {
    let alike = (vec(member(), 1..70), len(), 0..KEYS, 0..8_usize).prop_map(|(mut batch, len, key, odd)| {
        for (at, member) in batch.iter_mut().enumerate() {
            if at % 8 != odd {
                (member.key, member.twist) = (key, Twist::None);
                member.text = text(len, at as u64);
            }
        }
        batch
    });
    prop_oneof![vec(member(), 1..70), alike]
}

fn text(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut byte = || {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        state.to_le_bytes()[6]
    };
    (0..len).map(|_| byte()).collect()
}

fn key_bytes(key: usize) -> [u8; 32] {
    text(32, key as u64 * 977 + 5).try_into().unwrap()
}

fn nonce(counter: u64) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&counter.to_le_bytes());
    nonce
}

/// What both libraries make of a text: ciphertext and tag.
fn sealed(key: usize, counter: u64, text: &[u8]) -> Vec<u8> {
    let (key, nonce) = (key_bytes(key), nonce(counter));
    let mut out = text.to_vec();
    let cipher = ChaCha20Poly1305::new(&key.into());
    let tag = cipher.encrypt_inout_detached(&nonce.into(), &[], out.as_mut_slice().into()).unwrap();
    out.extend_from_slice(&tag);
    let mut other = text.to_vec();
    let cipher = ring_aead::UnboundKey::new(&ring_aead::CHACHA20_POLY1305, &key).unwrap();
    ring_aead::LessSafeKey::new(cipher)
        .seal_in_place_append_tag(
            ring_aead::Nonce::assume_unique_for_key(nonce),
            ring_aead::Aad::empty(),
            &mut other,
        )
        .unwrap();
    assert!(out == other, "the libraries agree");
    out
}

/// Memory with a buffer at a chosen offset from a multiple of 64, and bytes around it that must stay as they are; or, with an odd
/// offset, an allocation that ends where the buffer does, for a sanitizer to see what is read beyond it.
struct Place {
    memory: Box<[u8]>,
    start: usize,
    len: usize,
}

impl Place {
    fn new(at: usize, content: &[u8], len: usize) -> Self {
        let is_exact = at % 2 == 1;
        let size = if is_exact { at / 2 + len } else { 64 + at + len + BEHIND };
        let mut memory = vec![UNTOUCHED; size].into_boxed_slice();
        let start = if is_exact { at / 2 } else { memory.as_ptr().align_offset(64) + at };
        memory[start..start + content.len()].copy_from_slice(content);
        Self { memory, start, len }
    }

    fn buffer(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..self.start + self.len]
    }

    fn get(&self) -> &[u8] {
        &self.memory[self.start..self.start + self.len]
    }

    fn is_untouched_around(&self) -> bool {
        let around = self.memory[..self.start].iter().chain(&self.memory[self.start + self.len..]);
        around.copied().all(|byte| byte == UNTOUCHED)
    }
}

/// What a seal job comes to: what its buffer holds, or why it is refused.
fn seal_outcome(member: &Member) -> Result<Vec<u8>, AeadError> {
    let Member { key, counter, text, form, twist, .. } = member;
    let need = text.len() + TAG_LEN;
    match *twist {
        // What is sealed in place is as long as its buffer: a buffer that is shorter is a shorter packet.
        Twist::TooSmall(less) if *form == Form::InPlace => {
            let have = need.saturating_sub(less);
            match have.checked_sub(TAG_LEN) {
                Some(len) => Ok(sealed(*key, *counter, &text[..len])),
                None => Err(AeadError::BufferTooSmall { need: TAG_LEN, have }),
            }
        }
        Twist::TooSmall(less) => Err(AeadError::BufferTooSmall { need, have: need.saturating_sub(less) }),
        Twist::TooLong => Err(AeadError::TooLong { have: MAX_LEN + 1 }),
        Twist::Padding(more) => {
            let mut text = text.clone();
            text.resize(text.len() + more, 0);
            Ok(sealed(*key, *counter, &text))
        }
        Twist::Summing { start, offset } => {
            let field =
                start.checked_add(offset).filter(|at| at.checked_add(2).is_some_and(|end| end <= text.len()));
            let Some(field) = field else { return Err(AeadError::ChecksumOutside) };
            let mut text = text.clone();
            let checksum = Sum::of(&text[start..]).checksum();
            text[field..field + 2].copy_from_slice(&checksum);
            Ok(sealed(*key, *counter, &text))
        }
        Twist::None | Twist::Forged(_) | Twist::WrongCounter => Ok(sealed(*key, *counter, text)),
    }
}

fn check_seal(backend: Backend, batch: &[Member]) {
    let keys: Vec<Key> = (0..KEYS).map(|key| Key::new(&key_bytes(key))).collect();
    let mut places: Vec<(Place, Place)> = batch
        .iter()
        .map(|member| {
            let need = member.text.len() + TAG_LEN;
            let len = match member.twist {
                Twist::TooSmall(less) => need.saturating_sub(less),
                Twist::TooLong => MAX_LEN + 1 + TAG_LEN,
                Twist::Padding(more) => need + more,
                _ => need,
            };
            // In place it is the caller who pads.
            let mut content = member.text.clone();
            if let Twist::Padding(more) = member.twist {
                content.resize(content.len() + more, 0);
            }
            content.truncate(len);
            let content = match member.form {
                Form::InPlace => &*content,
                Form::Append(head) => &member.text[..head.min(member.text.len()).min(len)],
                Form::Copy | Form::Gather(_) => &[],
            };
            let source = Place::new(member.source_at, &member.text, member.text.len());
            (source, Place::new(member.out_at, content, len))
        })
        .collect();
    let before: Vec<Vec<u8>> = places.iter().map(|(_, out)| out.get().to_vec()).collect();
    let mut jobs: Vec<SealJob<'_>> = batch
        .iter()
        .zip(&mut places)
        .map(|(member, (source, out))| {
            let key = &keys[member.key];
            let job = match member.form {
                Form::InPlace => SealJob::in_place(key, member.counter, out.buffer()),
                Form::Copy => SealJob::copy(key, member.counter, source.get(), out.buffer()),
                Form::Gather(head) => {
                    let (head, body) = source.get().split_at(head.min(member.text.len()));
                    SealJob::gather(key, member.counter, head, body, out.buffer())
                }
                Form::Append(head) => {
                    let head_len = head.min(member.text.len());
                    SealJob::append(key, member.counter, out.buffer(), head_len, &source.get()[head_len..])
                }
            };
            match member.twist {
                Twist::Summing { start, offset } => job.with_checksum(Checksum { start, offset }),
                _ => job,
            }
        })
        .collect();
    backend.seal_batch(&mut jobs);
    let results: Vec<_> = jobs.iter().map(SealJob::result).collect();
    for (((member, (source, out)), result), before) in batch.iter().zip(&places).zip(results).zip(before) {
        match seal_outcome(member) {
            Ok(expected) => {
                assert_eq!(result, Ok(()), "{backend:?}: {member:?}");
                assert!(out.get() == expected, "{backend:?}: {member:?}");
            }
            Err(error) => {
                assert_eq!(result, Err(error), "{backend:?}: {member:?}");
                // The first block may have been put together before the checksum was found to be outside.
                let copied = matches!(member.form, Form::Gather(_) | Form::Append(_))
                    && error == AeadError::ChecksumOutside;
                assert!(copied || out.get() == before, "{backend:?} writes for a refused job: {member:?}");
            }
        }
        assert!(source.get() == member.text, "{backend:?} changes a source: {member:?}");
        assert!(source.is_untouched_around() && out.is_untouched_around(), "{backend:?} outside: {member:?}");
    }
}

fn check_open(backend: Backend, batch: &[Member]) {
    let keys: Vec<Key> = (0..KEYS).map(|key| Key::new(&key_bytes(key))).collect();
    // What is received, and what it must come to.
    let received: Vec<(Vec<u8>, u64, Result<(), AeadError>)> = batch
        .iter()
        .map(|Member { key, counter, text, form, twist, .. }| {
            let mut bytes = sealed(*key, *counter, text);
            let (len, mut counter, mut expected) = (bytes.len(), *counter, Ok(()));
            match *twist {
                Twist::TooSmall(less) if *form == Form::InPlace => {
                    bytes.truncate(len.saturating_sub(less));
                    let have = bytes.len();
                    expected = Err(match have {
                        0..TAG_LEN => AeadError::BufferTooSmall { need: TAG_LEN, have },
                        _ => AeadError::TagMismatch,
                    });
                }
                Twist::TooSmall(less) if !text.is_empty() => {
                    let (need, have) = (text.len(), text.len().saturating_sub(less));
                    expected = Err(AeadError::BufferTooSmall { need, have });
                }
                Twist::TooLong => {
                    bytes.resize(MAX_LEN + 1 + TAG_LEN, 3);
                    expected = Err(AeadError::TooLong { have: MAX_LEN + 1 });
                }
                Twist::Forged(bit) => {
                    bytes[bit / 8 % len] ^= 1 << (bit % 8);
                    expected = Err(AeadError::TagMismatch);
                }
                Twist::WrongCounter => {
                    counter ^= 1 << 40;
                    expected = Err(AeadError::TagMismatch);
                }
                _ => {}
            }
            (bytes, counter, expected)
        })
        .collect();
    let mut places: Vec<(Place, Place)> = batch
        .iter()
        .zip(&received)
        .map(|(member, (bytes, ..))| {
            let room = match member.twist {
                Twist::TooSmall(less) => member.text.len().saturating_sub(less),
                _ => bytes.len() - TAG_LEN + member.out_at % 3,
            };
            (Place::new(member.source_at, bytes, bytes.len()), Place::new(member.out_at, &[], room))
        })
        .collect();
    let mut jobs: Vec<OpenJob<'_>> = batch
        .iter()
        .zip(&received)
        .zip(&mut places)
        .map(|((member, (_, counter, _)), (source, out))| {
            let key = &keys[member.key];
            let job = match member.form {
                Form::InPlace => OpenJob::in_place(key, *counter, source.buffer()),
                _ => OpenJob::copy(key, *counter, source.get(), out.buffer()),
            };
            if let Twist::Summing { .. } = member.twist { job.summing() } else { job }
        })
        .collect();
    backend.open_batch(&mut jobs);
    let results: Vec<_> = jobs.iter().map(|job| (job.result(), job.sum())).collect();
    for (((member, (source, out)), (bytes, _, expected)), (result, sum)) in
        batch.iter().zip(&places).zip(received).zip(results)
    {
        assert_eq!(result, expected, "{backend:?}: {member:?}");
        let in_place = member.form == Form::InPlace;
        let place = if in_place { source } else { out };
        let summing = matches!(member.twist, Twist::Summing { .. });
        assert_eq!(
            sum,
            (summing && result.is_ok()).then(|| Sum::of(&member.text)),
            "{backend:?}: {member:?}"
        );
        if result.is_ok() {
            assert!(place.get()[..member.text.len()] == member.text, "{backend:?}: {member:?}");
            if in_place {
                // The tag stays.
                assert!(place.get()[member.text.len()..] == bytes[member.text.len()..]);
            } else {
                assert!(place.get()[member.text.len()..].iter().all(|byte| *byte == UNTOUCHED));
            }
        } else {
            let before = if in_place { &*bytes } else { &vec![UNTOUCHED; place.len] };
            let zeroed = |place: &[u8]| place.iter().all(|byte| *byte == 0);
            let text = place.len.saturating_sub(if in_place { TAG_LEN } else { 0 });
            // The libraries write and take back; nothing is written for what is refused before.
            let taken_back = expected == Err(AeadError::TagMismatch)
                && zeroed(&place.get()[..text.min(bytes.len().saturating_sub(TAG_LEN))]);
            assert!(taken_back || place.get() == before, "{backend:?} leaves plaintext: {member:?}");
        }
        if !in_place {
            assert!(source.get() == bytes, "{backend:?} changes a source: {member:?}");
        }
        assert!(source.is_untouched_around() && out.is_untouched_around(), "{backend:?} outside: {member:?}");
    }
}

fn backends() -> Vec<Backend> {
    Backend::available().flat_map(|backend| [backend, backend.pure()]).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    #[test]
    fn any_batch_is_sealed(batch in batch()) {
        for backend in backends() {
            check_seal(backend, &batch);
        }
    }

    #[test]
    fn any_batch_is_opened(batch in batch()) {
        for backend in backends() {
            check_open(backend, &batch);
        }
    }
}

#[test]
fn every_offset_from_a_multiple_of_64() {
    for at in 0..64 {
        let batch: Vec<Member> = (0..20)
            .map(|member| Member {
                key: member % 2,
                counter: member as u64,
                text: text([0, 5, 64, 100, 129, 300][member % 6], at as u64),
                form: [Form::InPlace, Form::Copy, Form::Gather(40), Form::Append(40)][member % 4],
                twist: Twist::None,
                source_at: at,
                out_at: (at * (member + 1)) % 64,
            })
            .collect();
        for backend in backends() {
            check_seal(backend, &batch);
            check_open(backend, &batch);
        }
    }
}

#[test]
fn refused_jobs_and_forgeries_stand_anywhere() {
    // Each twist at each place of a group, beside packets that are as they should be.
    let twists = [
        Twist::TooSmall(1),
        Twist::TooSmall(usize::MAX),
        Twist::TooLong,
        Twist::Forged(3),
        Twist::WrongCounter,
        Twist::Summing { start: usize::MAX, offset: 2 },
        Twist::Summing { start: 120, offset: 80 },
    ];
    for (twist, count) in twists.into_iter().flat_map(|twist| [1, 5, 16, 17, 40].map(|count| (twist, count)))
    {
        for place in (0..count).step_by(3) {
            let batch: Vec<Member> = (0..count)
                .map(|member| Member {
                    key: 1,
                    counter: member as u64,
                    // Packets of nothing, too, which no length tells from those that are left out.
                    text: text(
                        if (place + member) % 4 == 1 && member != place { 0 } else { 200 },
                        member as u64,
                    ),
                    form: [Form::InPlace, Form::Copy, Form::Gather(20), Form::Append(20)]
                        [(place + member) % 4],
                    twist: if member == place { twist } else { Twist::None },
                    source_at: 0,
                    out_at: 1,
                })
                .collect();
            for backend in backends() {
                check_seal(backend, &batch);
                check_open(backend, &batch);
            }
        }
    }
}
