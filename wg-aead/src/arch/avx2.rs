//! The kernel for AVX2: eight blocks of ChaCha20 to a pass, and Poly1305 of two packets beside it.
#![expect(unsafe_code, reason = "instructions of one processor family")]
#![expect(
    clippy::cast_possible_truncation,
    reason = "words are cut out of wider ones; lanes and blocks are few"
)]

mod apply;
mod chacha20;
mod memory;
mod passes;
mod poly1305;
mod streams;

use crate::packet::Group;

cpufeatures::new!(features, "avx2", "bmi2");

/// The proof that this machine has AVX2 and BMI2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Avx2(());

impl Avx2 {
    pub(crate) fn detect() -> Option<Self> {
        features::get().then_some(Self(()))
    }

    pub(crate) fn seal(self, group: &mut Group<'_, '_>) {
        // SAFETY: only `detect` makes a token, where the machine has all features that the function is compiled for.
        unsafe { passes::seal(group) }
    }

    pub(crate) fn open(self, group: &mut Group<'_, '_>) {
        // SAFETY: only `detect` makes a token, where the machine has all features that the function is compiled for.
        unsafe { passes::open(group) }
    }
}
