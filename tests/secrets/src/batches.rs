//! Batches through a backend of `wg-aead`, and all that a call computes in between and must not leave behind.
//!
//! What is looked for are the keys, the keystream, the one-time keys with their powers, and the sums: as bytes, as the words that
//! lanes of a vector hold side by side, and as limbs of 44 bits, which is how the kernels have them. Limbs of 26 bits are too
//! short to be told from chance.

use core::hint::black_box;

use chacha20::ChaCha20;
use chacha20::cipher::{KeyIvInit as _, StreamCipher as _};
use chacha20poly1305::{AeadInOut as _, ChaCha20Poly1305, KeyInit as _};
use wg_aead::{Backend, Key, OpenJob, SealJob, TAG_LEN};
use wg_proto::with_wiped_stack;

use crate::masked::{Kind, Masked};

/// What is done, step by step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Keys and packets were made.
    Made,
    /// A batch was sealed: the next would overwrite what it left.
    Sealed(usize),
    /// A batch was opened, but for one packet of many that was forged.
    Opened(usize),
    /// Keystream and one-time key were left on the stack, to see that they are found.
    Left,
}

impl Step {
    /// All of them, in order.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let sealed = (0..BATCHES.len()).map(Self::Sealed);
        let opened = (0..BATCHES.len()).map(Self::Opened);
        [Self::Made].into_iter().chain(sealed).chain(opened).chain([Self::Left]).collect()
    }
}

/// The lengths of the packets, batch by batch: full groups of one length, disorder, a few, and one alone.
const BATCHES: [&[usize]; 6] = [
    &[200; 20],
    &[0, 16, 1420, 64, 300, 77, 1, 0, 511, 129, 63, 700, 31, 90, 128, 8, 240, 512],
    &[500; 3],
    &[64; 16],
    &[100],
    &[1420],
];

/// A packet: which key it has, its counter and its length.
#[derive(Clone, Copy, Debug)]
struct Packet {
    key: usize,
    counter: u64,
    len: usize,
}

fn batches() -> impl Iterator<Item = Vec<Packet>> {
    let mut counter = 0x1234_5678_9abc;
    BATCHES.iter().enumerate().map(move |(number, lens)| {
        // The second batch is of two keys by turns.
        let packet = |(at, len): (usize, &usize)| {
            counter += 1;
            Packet { key: if number == 1 { at % 2 } else { 0 }, counter, len: *len }
        };
        lens.iter().enumerate().map(packet).collect()
    })
}

fn fill(bytes: &mut [u8], seed: u64) {
    // Not computed by the compiler, or the keys were in the program.
    let mut state = black_box(seed).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5bd1_e995_7a2f_0c31;
    for byte in bytes {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        *byte = state.to_le_bytes()[7];
    }
}

fn key_bytes(key: usize) -> zeroize::Zeroizing<[u8; 32]> {
    let mut bytes = zeroize::Zeroizing::new([0; 32]);
    fill(&mut *bytes, 1000 + key as u64);
    bytes
}

fn nonce(counter: u64) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&counter.to_le_bytes());
    nonce
}

fn text(packet: &Packet) -> Vec<u8> {
    let mut text = vec![0; packet.len];
    fill(&mut text, packet.counter);
    text
}

/// What a run works on, all of it on the heap.
#[derive(Debug)]
pub struct Batches {
    backend: Backend,
    keys: Vec<Key>,
    packets: Vec<Vec<Packet>>,
    texts: Vec<Vec<Vec<u8>>>,
    sealed: Vec<Vec<Vec<u8>>>,
}

impl Batches {
    /// Makes keys and packets.
    #[must_use]
    pub fn make(backend: Backend) -> Box<Self> {
        let packets: Vec<Vec<Packet>> = batches().collect();
        let texts: Vec<Vec<Vec<u8>>> = packets.iter().map(|batch| batch.iter().map(text).collect()).collect();
        let mut made =
            Box::new(Self { backend, keys: Vec::with_capacity(2), packets, texts, sealed: Vec::new() });
        with_wiped_stack(|| made.keys.extend([0, 1].map(|key| Key::new(&key_bytes(key)))));
        made
    }

    /// Takes a step.
    pub fn go(&mut self, step: Step) {
        match step {
            Step::Made => {}
            Step::Sealed(batch) => self.seal(batch),
            Step::Opened(batch) => self.open(batch),
            Step::Left => leave(),
        }
    }

    fn seal(&mut self, batch: usize) {
        let (packets, texts) = (&self.packets[batch], &self.texts[batch]);
        let mut outs: Vec<Vec<u8>> = texts.iter().map(|text| [&text[..], &[0; TAG_LEN]].concat()).collect();
        let mut jobs: Vec<SealJob<'_>> = Vec::with_capacity(outs.len());
        for (at, ((packet, text), out)) in packets.iter().zip(texts).zip(&mut outs).enumerate() {
            let key = &self.keys[packet.key];
            jobs.push(match at % 3 {
                0 => SealJob::in_place(key, packet.counter, out),
                1 => SealJob::copy(key, packet.counter, text, out),
                _ => {
                    let (head, body) = text.split_at(text.len().min(40));
                    SealJob::gather(key, packet.counter, head, body, out)
                }
            });
        }
        self.backend.seal_batch(&mut jobs);
        assert!(jobs.iter().all(|job| job.result().is_ok()));
        self.sealed.push(outs);
    }

    fn open(&mut self, batch: usize) {
        let (packets, sealed) = (&self.packets[batch], &mut self.sealed[batch]);
        let forged = if sealed.len() > 1 { sealed.len() / 2 } else { usize::MAX };
        if let Some(sealed) = sealed.get_mut(forged) {
            sealed[0] ^= 1;
        }
        let mut outs: Vec<Vec<u8>> = packets.iter().map(|packet| vec![0; packet.len]).collect();
        let mut jobs: Vec<OpenJob<'_>> = Vec::with_capacity(outs.len());
        for (at, ((packet, sealed), out)) in packets.iter().zip(sealed).zip(&mut outs).enumerate() {
            let key = &self.keys[packet.key];
            jobs.push(match at % 2 {
                0 => OpenJob::in_place(key, packet.counter, sealed),
                _ => OpenJob::copy(key, packet.counter, sealed, out),
            });
        }
        self.backend.open_batch(&mut jobs);
        assert!(jobs.iter().enumerate().all(|(at, job)| job.result().is_ok() == (at != forged)));
    }
}

/// Does what no kernel may: returns with secrets on the stack.
#[inline(never)]
fn leave() {
    for packet in batches().flatten() {
        let mut stream = [0_u8; 256];
        ChaCha20::new(&(*key_bytes(packet.key)).into(), &nonce(packet.counter).into())
            .apply_keystream(&mut stream);
        black_box(&stream);
    }
}

/// All that is to be looked for. To be called in the process that learns.
#[must_use]
pub fn secrets() -> Vec<Masked> {
    let mut told = Vec::new();
    for key in 0..2 {
        let bytes = key_bytes(key);
        told.push(Masked::new(Kind::Transport, &format!("key {key}"), &*bytes));
        // The same word in every lane of a vector.
        for (at, word) in bytes.as_chunks::<4>().0.iter().enumerate() {
            let name = format!("key {key}, word {at} in lanes");
            told.push(Masked::new(Kind::Keystream, &name, &[*word, *word].concat()));
        }
    }
    for batch in batches() {
        let mut first_blocks = Vec::new();
        for packet in &batch {
            let Packet { key, counter, len } = *packet;
            let name = format!("packet {counter:x} of {len} bytes");
            let mut stream = vec![0; 64 + len.next_multiple_of(64)];
            ChaCha20::new(&(*key_bytes(key)).into(), &nonce(counter).into()).apply_keystream(&mut stream);
            let mut sealed = text(packet);
            let tag = ChaCha20Poly1305::new(&(*key_bytes(key)).into()).encrypt_inout_detached(
                &nonce(counter).into(),
                &[],
                sealed.as_mut_slice().into(),
            );
            let Ok(tag) = tag else { unreachable!("shorter than the cipher's limit") };
            told.push(Masked::new(Kind::Plaintext, &name, &text(packet)));
            // Behind the one-time key nothing of block 0 is used, but it is keystream, too.
            told.push(Masked::new(Kind::Keystream, &name, &stream[32..]));
            told.extend(rows(&stream[64..]).map(|row| Masked::new(Kind::Keystream, &name, &row)));
            told.extend(
                one_time(&stream[..32], &tag).map(|value| Masked::new(Kind::OneTimeKey, &name, &value)),
            );
            first_blocks.extend_from_slice(&stream[..64]);
        }
        told.extend(rows(&first_blocks).map(|row| Masked::new(Kind::OneTimeKey, "keys in lanes", &row)));
    }
    told
}

/// Word by word of the state, what all blocks have there.
fn rows(blocks: &[u8]) -> impl Iterator<Item = Vec<u8>> + '_ {
    let blocks = blocks.as_chunks::<64>().0;
    (0..16).map(|word| blocks.iter().flat_map(|block| block[4 * word..][..4].iter().copied()).collect())
}

/// A one-time key, its powers up to the fourth and the sum that the tag is made of.
fn one_time(key: &[u8], tag: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let number =
        |bytes: &[u8]| bytes.iter().rev().fold(0_u128, |number, byte| number << 8 | u128::from(*byte));
    let (plain, s) = (number(&key[..16]), number(&key[16..]));
    let r = Number([plain & 0x0fff_fffc_0fff_fffc_0fff_fffc_0fff_ffff, 0]);
    let sum = number(tag).wrapping_sub(s);
    let mut values = vec![key.to_vec(), sum.to_le_bytes().to_vec()];
    let mut power = Number([1, 0]);
    for _ in 0..4 {
        power = power.times(r);
        values.push(power.0[0].to_le_bytes().to_vec());
        values.extend(power.limbs());
    }
    // Of the sum the two bits above a tag are not known, nor is its upper limb.
    values.extend(Number([sum, 0]).limbs().into_iter().take(2));
    // Zeros and small numbers are everywhere.
    values.into_iter().filter(|value| value.iter().filter(|byte| **byte != 0).count() > 4)
}

/// A number below 2^130 - 5: the lower 128 bits, and the upper two.
#[derive(Clone, Copy)]
struct Number([u128; 2]);

impl Number {
    fn plus(self, other: Self) -> Self {
        let (low, carry) = self.0[0].overflowing_add(other.0[0]);
        let high = self.0[1] + other.0[1] + u128::from(carry);
        // Adding 5 carries into bit 130 if it is not below.
        let (less, carry) = low.overflowing_add(5);
        let over = high + u128::from(carry);
        Self(if over > 3 { [less, over & 3] } else { [low, high] })
    }

    fn times(self, other: Self) -> Self {
        (0..130).rev().fold(Self([0, 0]), |sum, bit| {
            let double = sum.plus(sum);
            if other.0[bit / 128] >> (bit % 128) & 1 == 1 { double.plus(self) } else { double }
        })
    }

    /// 44, 44 and 42 bits, each in a word of 64.
    fn limbs(self) -> [Vec<u8>; 3] {
        const MASK: u128 = (1 << 44) - 1;
        let [low, high] = self.0;
        [low & MASK, low >> 44 & MASK, low >> 88 | high << 40].map(|limb| limb.to_le_bytes()[..8].to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_taken_modulo_the_prime() {
        let minus_one = Number([u128::MAX - 5, 3]);
        assert_eq!(minus_one.plus(Number([1, 0])).0, [0, 0]);
        assert_eq!(minus_one.times(minus_one).0, [1, 0]);
        assert_eq!(Number([1 << 127, 0]).times(Number([8, 0])).0, [5, 0]);
    }

    #[test]
    fn what_makes_the_tag_is_what_is_looked_for() {
        // (2^128 r + s) is the tag of nothing: the sum is 2^128 r.
        let (key, nonce) = ([7; 32], [0; 12]);
        let mut stream = [0; 64];
        ChaCha20::new(&key.into(), &nonce.into()).apply_keystream(&mut stream);
        let mut nothing: [u8; 0] = [];
        let tag = ChaCha20Poly1305::new(&key.into())
            .encrypt_inout_detached(&nonce.into(), &[], nothing.as_mut_slice().into())
            .unwrap();
        let r =
            u128::from_le_bytes(stream[..16].try_into().unwrap()) & 0x0fff_fffc_0fff_fffc_0fff_fffc_0fff_ffff;
        let sum = Number([0, 1]).times(Number([r, 0])).0[0].to_le_bytes().to_vec();
        assert!(one_time(&stream[..32], &tag).any(|value| value == sum));
    }
}
