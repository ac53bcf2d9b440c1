//! What a backend must get right before it is trusted with a packet: known answers in every lane, and a forgery.
//!
//! One that does not is not used: where a processor or an emulator has an instruction wrong, nobody could open what is sent, or
//! what nobody sent would be opened.

#![expect(clippy::cast_possible_truncation, reason = "patterns are cut to bytes")]

mod answers;
#[cfg(test)]
pub(super) mod faulty;

use super::Backend;
use crate::TAG_LEN;
use crate::checksum::Sum;
use crate::error::AeadError;
use crate::job::{OpenJob, SealJob};
use crate::key::Key;

/// The plaintext of RFC 8439, section 2.8.2.
const EXAMPLE: &[u8; 114] = b"Ladies and Gentlemen of the class of '99: \
If I could offer you only one tip for the future, sunscreen would be it.";

/// Lengths of a batch around the blocks of both ciphers, in no order; and of packets that take many passes.
const SHORT: [usize; 16] = [65, 0, 128, 17, 64, 1, 129, 63, 16, 200, 15, 191, 48, 33, 256, 100];
const LONG: [usize; 2] = [1420, 1452];

impl Backend {
    /// Whether the backend passes.
    pub(super) fn passes(self) -> bool {
        self.seals_the_example() && self.agrees(&SHORT, &answers::SHORT) && self.agrees(&LONG, &answers::LONG)
    }

    /// RFC 8439, section 2.8.2, with a nonce that starts with four zeros and no associated data.
    fn seals_the_example(self) -> bool {
        let key = Key::new(&key(0x80));
        let mut out = [0; EXAMPLE.len() + TAG_LEN];
        let mut jobs = [SealJob::copy(&key, 0x4746_4544_4342_4140, EXAMPLE, &mut out)];
        self.seal_batch(&mut jobs);
        jobs[0].result().is_ok() && out == answers::EXAMPLE
    }

    /// Seals a batch whose tags are known, forges one of its packets, and opens it.
    fn agrees<const N: usize>(self, lens: &[usize; N], tags: &[[u8; TAG_LEN]; N]) -> bool {
        let keys = [key(1), key(2), key(3)].map(|key| Key::new(&key));
        let mut buffer = [0; LONG[0] + LONG[1] + 2 * TAG_LEN];
        let mut packets = cut(&mut buffer, lens);
        let mut at = 0..N;
        let mut jobs = packets.each_mut().map(|packet| {
            let at = at.next().unwrap_or(0);
            fill(at, &mut packet[..lens[at]]);
            SealJob::in_place(&keys[at % 3], counter(at), packet)
        });
        self.seal_batch(&mut jobs);
        let is_sealed = jobs.iter().all(|job| job.result().is_ok());
        if !is_sealed || !packets.iter().zip(tags).all(|(packet, tag)| packet.ends_with(tag)) {
            return false;
        }

        // One bit of the last byte of the text.
        let forged = N / 2;
        let mut forgery = [0; LONG[1]];
        let forgery = &mut forgery[..lens[forged]];
        packets[forged][lens[forged] - 1] ^= 0x80;
        forgery.copy_from_slice(&packets[forged][..lens[forged]]);
        let mut at = 0..N;
        let mut jobs = packets.each_mut().map(|packet| {
            let at = at.next().unwrap_or(0);
            OpenJob::in_place(&keys[at % 3], counter(at), packet).summing()
        });
        self.open_batch(&mut jobs);
        let results = jobs.each_ref().map(|job| (job.result(), job.sum()));
        results.into_iter().zip(packets).zip(lens).enumerate().all(|(at, ((result, packet), len))| {
            let text = &packet[..*len];
            if at == forged {
                let is_kept = text == &*forgery || text.iter().all(|byte| *byte == 0);
                return is_kept && result == (Err(AeadError::TagMismatch), None);
            }
            let mut expected = [0; LONG[1]];
            let expected = &mut expected[..*len];
            fill(at, expected);
            text == expected && result == (Ok(()), Some(Sum::of(expected)))
        })
    }
}

/// The bytes of a key, counted up.
fn key(first: u8) -> [u8; 32] {
    core::array::from_fn(|at| first.wrapping_add(at as u8))
}

/// The counter of a packet, with bits in all of its words.
const fn counter(at: usize) -> u64 {
    0x0123_4567_89ab_cdef_u64.rotate_left(4 * at as u32)
}

/// The plaintext of a packet.
fn fill(seed: usize, text: &mut [u8]) {
    for (at, byte) in text.iter_mut().enumerate() {
        *byte = (at * 7 + at / 64 + seed * 37) as u8;
    }
}

/// Cuts a buffer into packets with room for their tags.
fn cut<'b, const N: usize>(mut buffer: &'b mut [u8], lens: &[usize; N]) -> [&'b mut [u8]; N] {
    lens.map(|len| {
        let (packet, rest) = core::mem::take(&mut buffer).split_at_mut(len + TAG_LEN);
        buffer = rest;
        packet
    })
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::vec::Vec;

    use chacha20poly1305::{AeadInOut, ChaCha20Poly1305, KeyInit};

    use super::faulty::Fault;
    use super::*;
    use crate::backend::Kernel;

    #[test]
    fn answers_are_those_of_another_implementation() {
        let sealed = |key: [u8; 32], counter: u64, text: &[u8]| -> Vec<u8> {
            let mut nonce = [0; 12];
            nonce[4..].copy_from_slice(&counter.to_le_bytes());
            let mut out = text.to_vec();
            let cipher = ChaCha20Poly1305::new(&key.into());
            let tag = cipher.encrypt_inout_detached(&nonce.into(), &[], out.as_mut_slice().into()).unwrap();
            out.extend_from_slice(&tag);
            out
        };
        let tags = |lens: &[usize]| -> Vec<[u8; TAG_LEN]> {
            let tag = |(at, len): (usize, &usize)| {
                let mut text = [0; LONG[1]];
                fill(at, &mut text[..*len]);
                let out = sealed(key(1 + (at % 3) as u8), counter(at), &text[..*len]);
                *out.last_chunk().unwrap()
            };
            lens.iter().enumerate().map(tag).collect()
        };
        assert_eq!(sealed(key(0x80), 0x4746_4544_4342_4140, EXAMPLE), answers::EXAMPLE);
        assert_eq!(tags(&SHORT), answers::SHORT);
        assert_eq!(tags(&LONG), answers::LONG);
    }

    #[test]
    fn every_backend_passes() {
        // Not only those that are available, which have passed already.
        let kernels = crate::backend::CANDIDATES.iter().filter_map(|detect| detect());
        for kernel in kernels.filter(|kernel| !matches!(kernel, Kernel::Faulty(_))) {
            for mixed in [false, true] {
                let backend = Backend { kernel, mixed };
                assert!(backend.passes(), "{backend:?}");
            }
        }
    }

    #[test]
    fn a_kernel_that_gets_anything_wrong_is_refused() {
        for fault in Fault::ALL {
            let backend = Backend { kernel: Kernel::Faulty(fault), mixed: false };
            assert_eq!(backend.passes(), fault == Fault::None, "{fault:?}");
        }
    }

    #[test]
    fn a_kernel_that_is_refused_is_passed_over() {
        // It comes first of all.
        assert_eq!(crate::backend::CANDIDATES[0]().map(|_| ()), Some(()));
        assert!(Backend::available().all(|backend| backend.name() != "faulty"));
        assert!(Backend::available().any(|backend| backend.name() == "portable"));
        assert_ne!(Backend::best().name(), "faulty");
        assert_eq!(Some(Backend::best()), Backend::available().next());
    }
}
