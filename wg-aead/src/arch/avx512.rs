//! The kernel for AVX-512 with IFMA: sixteen blocks of ChaCha20 and eight messages of Poly1305 to a register.
//!
//! A group of packets becomes one list of blocks, first the one that makes the one-time key of each packet, then those of the
//! text, packet by packet. The list is worked off 32 blocks at a time, whatever packets they belong to, so that lanes stay full
//! with any lengths and keys.
//!
//! ```text
//!   pass 1: | k k k k k k k k k k k k k k k k | 0 0 0 0 0 0 1 1 1 1 1 1 2 2 2 2 |    k: block 0 of packets 0 to 15
//!   pass 2: | 2 2 3 3 3 3 3 3 4 4 4 4 4 4 5 5 | 5 5 5 5 6 6 6 6 6 6 7 7 7 7 7 7 |    n: a block of packet n
//! ```

#![expect(unsafe_code, reason = "instructions of one processor family")]

mod chacha20;
mod lone;
mod memory;
mod passes;
mod poly1305;

use self::passes::Scratch;
use crate::arch::avx2::Avx2;
use crate::packet::{Group, Packet};

cpufeatures::new!(features, "avx512f", "avx512bw", "avx512vl", "avx512dq", "avx512ifma", "avx512vbmi2");

/// The proof that this machine has AVX-512 F, BW, VL, DQ, IFMA and VBMI2, and what the kernel for AVX2 needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Avx512(Avx2);

impl Avx512 {
    pub(crate) fn detect() -> Option<Self> {
        Avx2::detect().filter(|_| features::get()).map(Self)
    }

    pub(crate) const fn avx2(self) -> Avx2 {
        self.0
    }

    /// Whether a packet alone is one that `seal_one` and `open_one` take.
    pub(crate) const fn takes_one(packet: &Packet<'_>) -> bool {
        packet.text.len() <= lone::LONGEST
    }

    pub(crate) fn seal_one(self, packet: &mut Packet<'_>) {
        // SAFETY: only `detect` makes a token, where the machine has all features that the function is compiled for.
        unsafe { lone::seal(packet) }
    }

    pub(crate) fn open_one(self, packet: &mut Packet<'_>) {
        // SAFETY: only `detect` makes a token, where the machine has all features that the function is compiled for.
        unsafe { lone::open(packet) }
    }

    /// Lends the memory that a batch takes to `work`, and wipes it.
    pub(crate) fn session(self, work: impl FnOnce(Session<'_>)) {
        // SAFETY: only `detect` makes a token, where the machine has all features that the function is compiled for.
        let mut scratch = unsafe { Scratch::new() };
        work(Session { scratch: &mut scratch });
        // SAFETY: as above.
        unsafe { scratch.wipe() }
    }

    /// Tags under one-time keys that come from elsewhere: for the tests of the edges.
    #[cfg(test)]
    pub(crate) fn one_time_tags(self, keys: &[[u8; 32]], texts: &[&[u8]], tags: &mut [[u8; 16]]) {
        const MESSAGES: usize = poly1305::MESSAGES;
        for ((keys, texts), tags) in
            keys.chunks(2 * MESSAGES).zip(texts.chunks(2 * MESSAGES)).zip(tags.chunks_mut(2 * MESSAGES))
        {
            let mut words = [[memory::Row([0; 16]); 4]; 2];
            let mut messages = [[texts[0]; MESSAGES]; 2];
            for (at, (key, text)) in keys.iter().zip(texts).enumerate() {
                messages[at / MESSAGES][at % MESSAGES] = text;
                for (word, bytes) in key.as_chunks::<4>().0.iter().enumerate() {
                    words[at / MESSAGES][word / 2].0[2 * (at % MESSAGES) + word % 2] =
                        u32::from_le_bytes(*bytes);
                }
            }
            let mut out = [[[0; 16]; MESSAGES]; 2];
            // One register of messages where one is enough, as the passes do.
            if keys.len() > MESSAGES {
                // SAFETY: only `detect` makes a token, where the machine has all features that the function is compiled for.
                unsafe { poly1305::tags(&words, &messages, &mut out) };
            } else {
                let ([words, _], [messages, _], [out, _]) = (&words, &messages, &mut out);
                let out = core::array::from_mut(out);
                // SAFETY: as above.
                unsafe { poly1305::tags(&[*words], &[*messages], out) };
            }
            tags.copy_from_slice(&out.as_flattened()[..tags.len()]);
        }
    }
}

/// The kernel with its memory, for one batch. Only [`Avx512::session`] makes one.
pub(crate) struct Session<'s> {
    scratch: &'s mut Scratch,
}

impl Session<'_> {
    pub(crate) fn seal(&mut self, group: &mut Group<'_, '_>) {
        // SAFETY: there is a session only where there is a token: the machine has all features that the function is compiled for.
        unsafe { passes::seal(group, self.scratch) }
    }

    pub(crate) fn open(&mut self, group: &mut Group<'_, '_>) {
        // SAFETY: as for `seal`.
        unsafe { passes::open(group, self.scratch) }
    }
}
