//! AVX-512 with IFMA.

use crate::packet::Group;
use crate::portable;

cpufeatures::new!(features, "avx512f", "avx512bw", "avx512vl", "avx512dq", "avx512ifma");

/// The proof that this machine has AVX-512 F, BW, VL, DQ and IFMA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Avx512(());

impl Avx512 {
    pub(crate) fn detect() -> Option<Self> {
        features::get().then_some(Self(()))
    }

    pub(crate) fn seal(self, group: &mut Group<'_, '_>) {
        portable::seal(group);
    }

    pub(crate) fn open(self, group: &mut Group<'_, '_>) {
        portable::open(group);
    }
}
