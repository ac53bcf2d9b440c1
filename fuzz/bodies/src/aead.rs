//! A batch of jobs through every backend of `wg-aead`, beside RustCrypto's cipher and a checksum by the letter of RFC 1071.
//!
//! Each buffer is an allocation of its own that ends where the buffer does, so that a sanitizer sees what is read or written
//! beyond it.

use chacha20poly1305::{AeadInOut, ChaCha20Poly1305, KeyInit};
use wg_aead::{AeadError, Backend, Checksum, Key, OpenJob, SealJob, TAG_LEN};

use crate::input::Input;
use crate::rfc1071::sum;

/// More than two groups of the widest kernel, and an odd one.
const MEMBERS: usize = 37;
/// What buffers hold where nothing may be written.
const UNTOUCHED: u8 = 0xa5;

/// One packet, as the input chose it.
#[derive(Debug)]
struct Member {
    key: u8,
    counter: u64,
    text: Vec<u8>,
    /// In place, from one buffer into another, or gathered from two.
    form: u8,
    head: usize,
    /// What the buffers begin behind.
    before: usize,
    /// Zeros behind the text.
    padding: usize,
    /// Sealing: where a checksum belongs.
    checksum: Option<Checksum>,
    /// Bytes that the buffer is short of.
    short: usize,
    /// Opening: the byte that is another, and how.
    forgery: Option<(usize, u8)>,
}

impl Member {
    fn read(input: &mut Input<'_>) -> Self {
        let kind = input.byte();
        let len = match input.below(8) {
            0 => 0,
            1..4 => input.byte().into(),
            // To either side of a block's end.
            4..6 => (64 * usize::from(input.below(24)) + usize::from(input.below(3))).saturating_sub(1),
            _ => usize::from(input.u16() % 2049),
        };
        let seed = input.counted();
        let text = (0..len).map(|at| seed.get(at % seed.len().max(1)).copied().unwrap_or(0)).collect();
        let mut member = Self {
            key: input.below(3),
            counter: if kind & 1 == 0 { input.byte().into() } else { input.u64() },
            text,
            form: (kind >> 1) % 3,
            head: input.byte().into(),
            before: usize::from(input.below(64)),
            padding: 0,
            checksum: None,
            short: 0,
            forgery: None,
        };
        match kind >> 5 {
            0 => member.padding = usize::from(input.below(130)),
            1 | 2 => {
                let (start, offset) = (input.byte().into(), input.below(20).into());
                member.checksum = Some(Checksum { start, offset });
            }
            3 => member.short = 1 + usize::from(input.byte()),
            4 => member.forgery = Some((input.u16().into(), input.byte())),
            _ => {}
        }
        member
    }

    fn key_bytes(&self) -> [u8; 32] {
        key_bytes(self.key)
    }

    /// Ciphertext and tag of a text, by the oracle.
    fn sealed(&self, mut text: Vec<u8>) -> Vec<u8> {
        let mut nonce = [0; 12];
        nonce[4..].copy_from_slice(&self.counter.to_le_bytes());
        let cipher = ChaCha20Poly1305::new(&self.key_bytes().into());
        let tag = cipher.encrypt_inout_detached(&nonce.into(), &[], text.as_mut_slice().into());
        text.extend_from_slice(&tag.expect("less than the cipher's limit"));
        text
    }

    /// The buffer that is sealed in place or into.
    fn room(&self) -> Vec<u8> {
        let mut buffer = vec![UNTOUCHED; self.before];
        if self.form == 0 {
            buffer.extend_from_slice(&self.text);
            buffer.resize(buffer.len() + self.padding, 0);
        } else {
            buffer.resize(self.before + self.text.len() + self.padding, UNTOUCHED);
        }
        buffer.resize(buffer.len() + TAG_LEN, UNTOUCHED);
        buffer.truncate(buffer.len().saturating_sub(self.short).max(self.before));
        buffer.into_boxed_slice().into_vec()
    }

    /// What sealing must leave in the buffer, or why it is refused.
    fn expected(&self, room: usize) -> Result<Vec<u8>, AeadError> {
        let need = self.text.len() + TAG_LEN;
        if self.form == 0 {
            let Some(len) = room.checked_sub(TAG_LEN) else {
                return Err(AeadError::BufferTooSmall { need: TAG_LEN, have: room });
            };
            let mut text = self.text.clone();
            // Behind the text of a buffer that is not short stands its padding.
            text.resize(len, 0);
            return self.with_checksum(text);
        }
        if room < need {
            return Err(AeadError::BufferTooSmall { need, have: room });
        }
        let mut text = self.text.clone();
        text.resize(room - TAG_LEN, 0);
        self.with_checksum(text)
    }

    fn with_checksum(&self, mut text: Vec<u8>) -> Result<Vec<u8>, AeadError> {
        if let Some(Checksum { start, offset }) = self.checksum {
            let field = start + offset;
            let Some(covered) = text.get(start..).filter(|_| field + 2 <= text.len()) else {
                return Err(AeadError::ChecksumOutside);
            };
            let checksum = checksum(covered);
            text[field..field + 2].copy_from_slice(&checksum);
        }
        Ok(self.sealed(text))
    }
}

fn key_bytes(key: u8) -> [u8; 32] {
    core::array::from_fn(|at| key.wrapping_mul(77).wrapping_add(at.to_le_bytes()[0]).rotate_left(3))
}

/// The Internet checksum. Zero says that there is none (UDP).
fn checksum(bytes: &[u8]) -> [u8; 2] {
    match !sum(bytes) {
        0 => [0xff, 0xff],
        checksum => checksum.to_be_bytes(),
    }
}

/// Seals a batch and opens what the oracle sealed, with every backend.
///
/// # Panics
///
/// If a backend and the oracle disagree, a refused job or a forgery changes anything, or bytes outside of a buffer are written.
pub fn aead(data: &[u8]) {
    let mut input = Input::new(data);
    let mut members = Vec::new();
    while members.len() < MEMBERS && !input.is_empty() {
        members.push(Member::read(&mut input));
    }
    let keys: [Key; 3] = [0, 1, 2].map(|key| Key::new(&key_bytes(key)));
    let expected: Vec<_> =
        members.iter().map(|member| member.expected(member.room().len() - member.before)).collect();
    let received: Vec<Vec<u8>> = members
        .iter()
        .map(|member| {
            let mut bytes = vec![UNTOUCHED; member.before];
            bytes.extend(member.sealed(member.text.clone()));
            if let Some((at, change)) = member.forgery {
                let at = member.before + at % (bytes.len() - member.before);
                bytes[at] ^= change;
            }
            bytes.into_boxed_slice().into_vec()
        })
        .collect();
    for backend in Backend::available() {
        seal(backend, &members, &keys, &expected);
        open(backend, &members, &keys, &received);
    }
}

fn seal(backend: Backend, members: &[Member], keys: &[Key; 3], expected: &[Result<Vec<u8>, AeadError>]) {
    let mut rooms: Vec<Vec<u8>> = members.iter().map(Member::room).collect();
    let mut jobs: Vec<SealJob<'_>> = Vec::with_capacity(members.len());
    for (member, room) in members.iter().zip(&mut rooms) {
        let (key, out) = (&keys[usize::from(member.key)], &mut room[member.before..]);
        let job = match member.form {
            0 => SealJob::in_place(key, member.counter, out),
            1 => SealJob::copy(key, member.counter, &member.text, out),
            _ => {
                let (head, body) = member.text.split_at(member.head.min(member.text.len()));
                SealJob::gather(key, member.counter, head, body, out)
            }
        };
        jobs.push(match member.checksum {
            Some(checksum) => job.with_checksum(checksum),
            None => job,
        });
    }
    backend.seal_batch(&mut jobs);
    let results: Vec<_> = jobs.iter().map(SealJob::result).collect();
    for (at, (member, room)) in members.iter().zip(&rooms).enumerate() {
        let (before, out) = room.split_at(member.before);
        assert!(before.iter().all(|byte| *byte == UNTOUCHED), "{backend} writes before {member:?}");
        match &expected[at] {
            Ok(sealed) => {
                assert_eq!(results[at], Ok(()), "{backend}: {member:?}");
                assert!(out == sealed, "{backend} seals otherwise: {member:?}");
            }
            Err(error) => {
                assert_eq!(results[at], Err(*error), "{backend}: {member:?}");
                // The head may have been gathered before the checksum was looked at.
                let gathered = member.form == 2 && *error == AeadError::ChecksumOutside;
                assert!(gathered || *room == member.room(), "{backend} writes for {member:?}");
            }
        }
    }
}

fn open(backend: Backend, members: &[Member], keys: &[Key; 3], received: &[Vec<u8>]) {
    let mut bytes = received.to_vec();
    let mut outs: Vec<Vec<u8>> = members
        .iter()
        .map(|member| vec![UNTOUCHED; member.text.len().saturating_sub(member.short)])
        .collect();
    let mut jobs: Vec<OpenJob<'_>> = Vec::with_capacity(members.len());
    for ((member, bytes), out) in members.iter().zip(&mut bytes).zip(&mut outs) {
        let (key, bytes) = (&keys[usize::from(member.key)], &mut bytes[member.before..]);
        let job = match member.form {
            0 => OpenJob::in_place(key, member.counter, bytes),
            _ => OpenJob::copy(key, member.counter, bytes, out),
        };
        jobs.push(if member.checksum.is_some() { job.summing() } else { job });
    }
    backend.open_batch(&mut jobs);
    let results: Vec<_> = jobs.iter().map(|job| (job.result(), job.sum())).collect();
    for (at, member) in members.iter().enumerate() {
        let (text_len, result) = (member.text.len(), results[at].0);
        let place = if member.form == 0 { &bytes[at][member.before..] } else { &*outs[at] };
        let forged = member.forgery.is_some_and(|(_, change)| change != 0);
        if member.form != 0 && member.short > 0 && text_len > 0 {
            let have = text_len.saturating_sub(member.short);
            assert_eq!(
                result,
                Err(AeadError::BufferTooSmall { need: text_len, have }),
                "{backend}: {member:?}"
            );
        } else if forged {
            assert_eq!(result, Err(AeadError::TagMismatch), "{backend}: {member:?}");
        } else {
            assert_eq!(result, Ok(()), "{backend}: {member:?}");
            assert!(place[..text_len] == member.text, "{backend} opens otherwise: {member:?}");
            let sum = results[at].1.map(|sum| sum.checksum());
            assert_eq!(sum, member.checksum.map(|_| checksum(&member.text)), "{backend}: {member:?}");
        }
        if result.is_err() {
            // Kernels of ours verify first. The libraries take back what they wrote.
            let before =
                if member.form == 0 { &received[at][member.before..] } else { &vec![UNTOUCHED; place.len()] };
            let taken_back = place.iter().take(text_len).all(|byte| *byte == 0);
            assert!(place == before || taken_back, "{backend} leaves plaintext of {member:?}");
            assert_eq!(results[at].1, None, "{backend}: {member:?}");
        }
        if member.form != 0 {
            assert!(bytes[at] == received[at], "{backend} changes its source: {member:?}");
        }
    }
}
