//! Packets of any lengths and keys, to be sealed and opened by a backend of `wg-aead` or by a library that takes them one by
//! one.
//!
//! All subjects work on the same memory, which fits the first-level cache where a batch does.

use core::array;
use core::fmt;

use chacha20poly1305::{AeadInOut, ChaCha20Poly1305, KeyInit};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use wg_aead::{Backend, Key, OpenJob, SealJob, TAG_LEN};

/// Bytes of a message in front of what the AEAD seals.
const HEADER: usize = 16;
/// Packets are repeated until they take as much, or one batch takes more.
const MEMORY: usize = 32 * 1024;
/// What the start of the memory is aligned to.
const ALIGNMENT: usize = 64;

/// Sizes of batches that can be measured.
pub const BATCHES: [usize; 7] = [1, 2, 4, 8, 16, 32, 64];

/// Who seals and opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A backend of `wg-aead`, by batches.
    Backend(Backend, Mix),
    /// `ring`, packet by packet.
    Ring,
    /// `aws-lc-rs`, packet by packet.
    AwsLc,
    /// RustCrypto's `chacha20poly1305`, packet by packet.
    RustCrypto,
}

/// Whether a backend passes packets on to `ring` that it is slow with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mix {
    /// As users get it.
    Mixed,
    /// Its own kernel only.
    Pure,
}

impl Subject {
    /// All of this machine: the libraries first, then the backends, each as users get it and, where it could differ, pure.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let mut all = vec![Self::Ring, Self::AwsLc, Self::RustCrypto];
        for backend in Backend::available() {
            match backend.name() {
                // The library of that name is measured by itself.
                "rustcrypto" => {}
                "ring" | "portable" => all.push(Self::Backend(backend, Mix::Mixed)),
                _ => {
                    all.extend([Self::Backend(backend, Mix::Mixed), Self::Backend(backend.pure(), Mix::Pure)])
                }
            }
        }
        all
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Backend(backend, Mix::Mixed) => write!(f, "wg-aead/{backend}"),
            Self::Backend(backend, Mix::Pure) => write!(f, "wg-aead/{backend}-pure"),
            Self::Ring => f.write_str("ring"),
            Self::AwsLc => f.write_str("aws-lc-rs"),
            Self::RustCrypto => f.write_str("rustcrypto"),
        }
    }
}

/// Buffers and keys: packets in batches, sealed and opened in place.
pub struct Packets {
    keys: Vec<Keys>,
    lens: Vec<usize>,
    batch: usize,
    start: usize,
    sealed: Vec<u8>,
    work: Vec<u8>,
}

/// One key, prepared by each.
struct Keys {
    ours: Key,
    ring: LessSafeKey,
    aws_lc: aws_lc_rs::aead::LessSafeKey,
    rustcrypto: ChaCha20Poly1305,
}

impl Packets {
    /// Makes packets whose lengths repeat `lens`, in batches of `batch`, with `keys` different keys in turns.
    ///
    /// # Panics
    ///
    /// If `batch` is none of [`BATCHES`], or `lens` or `keys` is nothing.
    #[must_use]
    pub fn new(lens: &[usize], batch: usize, keys: usize) -> Self {
        assert!(BATCHES.contains(&batch) && !lens.is_empty() && keys > 0);
        let one: Vec<usize> = lens.iter().copied().cycle().take(batch).collect();
        let bytes: usize = one.iter().map(|len| HEADER + len + TAG_LEN).sum();
        let times = (MEMORY / bytes).max(1);
        let mut work = vec![0; bytes * times + ALIGNMENT];
        let start = work.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT);
        // What is left behind them is another length each time.
        work.truncate(start + bytes * times);
        for (byte, at) in work[start..].iter_mut().zip(0_u32..) {
            *byte = at.wrapping_mul(0x9e37_79b1).to_le_bytes()[3];
        }
        let mut packets = Self {
            keys: (0..keys).map(Keys::new).collect(),
            lens: one.repeat(times),
            batch,
            start,
            sealed: Vec::new(),
            work,
        };
        packets.seal(Subject::Ring);
        packets.sealed = packets.work[packets.start..].to_vec();
        packets
    }

    /// How many packets a call works on.
    #[must_use]
    pub const fn count(&self) -> usize {
        self.lens.len()
    }

    /// How many bytes the texts of these have.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.lens.iter().sum()
    }

    /// Puts the sealed packets where [`Packets::open`] opens them; to be left out of the measurement.
    pub fn refill(&mut self) {
        self.work[self.start..].copy_from_slice(&self.sealed);
    }

    /// Seals all, whatever there is.
    ///
    /// # Panics
    ///
    /// If a packet cannot be sealed.
    pub fn seal(&mut self, subject: Subject) {
        match subject {
            Subject::Backend(backend, _) => match self.batch {
                1 => self.seal_batches::<1>(backend),
                2 => self.seal_batches::<2>(backend),
                4 => self.seal_batches::<4>(backend),
                8 => self.seal_batches::<8>(backend),
                16 => self.seal_batches::<16>(backend),
                32 => self.seal_batches::<32>(backend),
                _ => self.seal_batches::<64>(backend),
            },
            Subject::Ring => self.each(|key, nonce, packet| {
                let (text, tag) = packet.split_at_mut(packet.len() - TAG_LEN);
                let nonce = Nonce::assume_unique_for_key(nonce);
                let made =
                    key.ring.seal_in_place_separate_tag(nonce, Aad::empty(), text).expect("ring seals");
                tag.copy_from_slice(made.as_ref());
            }),
            Subject::AwsLc => self.each(|key, nonce, packet| {
                use aws_lc_rs::aead::{Aad, Nonce};
                let (text, tag) = packet.split_at_mut(packet.len() - TAG_LEN);
                let nonce = Nonce::assume_unique_for_key(nonce);
                let made =
                    key.aws_lc.seal_in_place_separate_tag(nonce, Aad::empty(), text).expect("aws-lc seals");
                tag.copy_from_slice(made.as_ref());
            }),
            Subject::RustCrypto => self.each(|key, nonce, packet| {
                let (text, tag) = packet.split_at_mut(packet.len() - TAG_LEN);
                let made = key.rustcrypto.encrypt_inout_detached(&nonce.into(), &[], text.into());
                tag.copy_from_slice(&made.expect("RustCrypto seals"));
            }),
        }
    }

    /// Opens all.
    ///
    /// # Panics
    ///
    /// If a packet does not open: call [`Packets::refill`] first.
    pub fn open(&mut self, subject: Subject) {
        match subject {
            Subject::Backend(backend, _) => match self.batch {
                1 => self.open_batches::<1>(backend),
                2 => self.open_batches::<2>(backend),
                4 => self.open_batches::<4>(backend),
                8 => self.open_batches::<8>(backend),
                16 => self.open_batches::<16>(backend),
                32 => self.open_batches::<32>(backend),
                _ => self.open_batches::<64>(backend),
            },
            Subject::Ring => self.each(|key, nonce, packet| {
                let nonce = Nonce::assume_unique_for_key(nonce);
                key.ring.open_in_place(nonce, Aad::empty(), packet).expect("ring opens");
            }),
            Subject::AwsLc => self.each(|key, nonce, packet| {
                use aws_lc_rs::aead::{Aad, Nonce};
                let nonce = Nonce::assume_unique_for_key(nonce);
                key.aws_lc.open_in_place(nonce, Aad::empty(), packet).expect("aws-lc opens");
            }),
            Subject::RustCrypto => self.each(|key, nonce, packet| {
                let (text, tag) = packet.split_last_chunk_mut::<TAG_LEN>().expect("room for a tag");
                let tag = (*tag).into();
                let opened = key.rustcrypto.decrypt_inout_detached(&nonce.into(), &[], text.into(), &tag);
                opened.expect("RustCrypto opens");
            }),
        }
    }

    fn seal_batches<const N: usize>(&mut self, backend: Backend) {
        let (mut packets, mut counter) = (&mut self.work[self.start..], 0);
        for lens in self.lens.chunks_exact(N) {
            let mut jobs: [SealJob<'_>; N] = array::from_fn(|at| {
                let key = &self.keys[at % self.keys.len()].ours;
                let job = SealJob::in_place(key, counter, next(&mut packets, lens[at]));
                counter += 1;
                job
            });
            backend.seal_batch(&mut jobs);
            assert!(jobs.iter().all(|job| job.result().is_ok()));
        }
    }

    fn open_batches<const N: usize>(&mut self, backend: Backend) {
        let (mut packets, mut counter) = (&mut self.work[self.start..], 0);
        for lens in self.lens.chunks_exact(N) {
            let mut jobs: [OpenJob<'_>; N] = array::from_fn(|at| {
                let key = &self.keys[at % self.keys.len()].ours;
                let job = OpenJob::in_place(key, counter, next(&mut packets, lens[at]));
                counter += 1;
                job
            });
            backend.open_batch(&mut jobs);
            assert!(jobs.iter().all(|job| job.result().is_ok()));
        }
    }

    fn each(&mut self, mut work: impl FnMut(&Keys, [u8; 12], &mut [u8])) {
        let (mut packets, mut counter) = (&mut self.work[self.start..], 0_u64);
        for lens in self.lens.chunks_exact(self.batch) {
            for (at, len) in lens.iter().enumerate() {
                let mut nonce = [0; 12];
                nonce[4..].copy_from_slice(&counter.to_le_bytes());
                counter += 1;
                work(&self.keys[at % self.keys.len()], nonce, next(&mut packets, *len));
            }
        }
    }
}

impl fmt::Debug for Packets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Packets").field("batch", &self.batch).field("count", &self.count()).finish()
    }
}

impl Keys {
    fn new(number: usize) -> Self {
        let mut bytes = [7; 32];
        bytes[..8].copy_from_slice(&(number as u64).to_le_bytes());
        Self {
            ours: Key::new(&bytes),
            ring: LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, &bytes).expect("a key of 32 bytes")),
            aws_lc: {
                use aws_lc_rs::aead::{CHACHA20_POLY1305, LessSafeKey, UnboundKey};
                LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, &bytes).expect("a key of 32 bytes"))
            },
            rustcrypto: ChaCha20Poly1305::new(&bytes.into()),
        }
    }
}

/// Text and tag of the next packet.
fn next<'m>(packets: &mut &'m mut [u8], len: usize) -> &'m mut [u8] {
    let (packet, rest) = core::mem::take(packets).split_at_mut(HEADER + len + TAG_LEN);
    *packets = rest;
    &mut packet[HEADER..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_subjects_seal_the_same_and_open_it() {
        for (lens, batch, keys) in [(&[64][..], 1, 1), (&[0, 1420, 77], 8, 1), (&[64, 300], 64, 16)] {
            let plain = {
                let mut packets = Packets::new(lens, batch, keys);
                packets.refill();
                packets.open(Subject::Ring);
                packets.work[packets.start..].to_vec()
            };
            for subject in Subject::all() {
                let mut packets = Packets::new(lens, batch, keys);
                packets.refill();
                packets.open(subject);
                assert!(packets.work[packets.start..] == plain, "{subject} opens {packets:?}");
                packets.seal(subject);
                assert!(packets.work[packets.start..] == packets.sealed, "{subject} seals {packets:?}");
            }
        }
    }
}
