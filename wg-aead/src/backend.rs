//! Which kernel does the work: found out once, at run time, and tested before it is trusted.

#[cfg(target_arch = "x86_64")]
mod choice;
#[cfg(test)]
mod edges;
mod selftest;

use core::sync::atomic::{AtomicU8, Ordering};

#[allow(unused_imports, reason = "some targets have no kernel of their own")]
use crate::arch;
use crate::batch;
use crate::job::{OpenJob, SealJob};
#[cfg(any(feature = "ring", feature = "rustcrypto"))]
use crate::library;
#[cfg(target_arch = "x86_64")]
use crate::packet::GROUP;
use crate::packet::Group;
use crate::portable;

/// An implementation that this machine can run.
///
/// [`Backend::best`] is what [`seal_batch`](crate::seal_batch) and the forms for one packet use. All others give the same bytes.
///
/// # Examples
///
/// ```
/// use wg_aead::{Backend, Key, SealJob};
///
/// let key = Key::new(&[7; 32]);
/// for backend in Backend::available() {
///     let mut tag = [0; 16];
///     backend.seal_batch(&mut [SealJob::in_place(&key, 0, &mut tag)]);
///     assert_eq!(tag[..4], [189, 250, 87, 231], "{backend}");
/// }
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Backend {
    kernel: Kernel,
    /// Whether packets that the kernel is slow with go to one that is faster with them.
    mixed: bool,
}

/// A kernel and, where it needs an instruction set, the proof that this machine has it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kernel {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx512(arch::avx512::Avx512),
    #[cfg(target_arch = "x86_64")]
    Avx2(arch::avx2::Avx2),
    #[cfg(all(target_arch = "aarch64", target_endian = "little", target_feature = "neon"))]
    Neon(arch::neon::Neon),
    #[cfg(all(any(target_arch = "x86", target_arch = "x86_64"), target_feature = "sse2"))]
    Sse2(arch::sse2::Sse2),
    #[cfg(feature = "ring")]
    Ring,
    #[cfg(feature = "rustcrypto")]
    RustCrypto,
    #[cfg(test)]
    Faulty(selftest::faulty::Fault),
}

/// The number of [`Backend::best`] plus one; 0 before it is known. Written by whoever comes first, and by
/// [`Backend::make_best`]; every value is as good as any other, so nothing is ordered by it.
static BEST: AtomicU8 = AtomicU8::new(0);

/// All that could be available, the best first.
const CANDIDATES: &[fn() -> Option<Kernel>] = &[
    #[cfg(test)]
    || Some(Kernel::Faulty(selftest::faulty::Fault::Ciphertext)),
    #[cfg(target_arch = "x86_64")]
    || arch::avx512::Avx512::detect().map(Kernel::Avx512),
    #[cfg(target_arch = "x86_64")]
    || arch::avx2::Avx2::detect().map(Kernel::Avx2),
    #[cfg(feature = "ring")]
    || Some(Kernel::Ring),
    #[cfg(all(target_arch = "aarch64", target_endian = "little", target_feature = "neon"))]
    || Some(Kernel::Neon(arch::neon::Neon)),
    #[cfg(all(any(target_arch = "x86", target_arch = "x86_64"), target_feature = "sse2"))]
    || Some(Kernel::Sse2(arch::sse2::Sse2)),
    || Some(Kernel::Portable),
    #[cfg(feature = "rustcrypto")]
    || Some(Kernel::RustCrypto),
];

impl Backend {
    /// The best backend of this machine. The first call finds it: it tests each in turn and takes the first that passes.
    #[must_use]
    pub fn best() -> Self {
        let known = usize::from(BEST.load(Ordering::Relaxed));
        if let Some(kernel) =
            known.checked_sub(1).and_then(|at| CANDIDATES.get(at)).and_then(|detect| detect())
        {
            return Self { kernel, mixed: true };
        }
        let best = Self::available().next().unwrap_or(Self { kernel: Kernel::Portable, mixed: true });
        best.make_best();
        best
    }

    /// All backends of this machine that pass the self-test, the best first.
    pub fn available() -> impl Iterator<Item = Self> {
        CANDIDATES
            .iter()
            .filter_map(|detect| detect())
            .map(|kernel| Self { kernel, mixed: true })
            .filter(|backend| backend.is_sound())
    }

    /// Whether the kernel passes the self-test, and the smaller one, if there is one that it leaves packets to.
    fn is_sound(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        if let Kernel::Avx512(kernel) = self.kernel
            && !(Self { kernel: Kernel::Avx2(kernel.avx2()), mixed: false }.passes())
        {
            return false;
        }
        self.pure().passes()
    }

    /// Makes this the one that [`Backend::best`] returns, for the whole process: for comparisons, and for those who trust another more.
    pub fn make_best(self) {
        let at = CANDIDATES.iter().position(|detect| detect() == Some(self.kernel));
        BEST.store(at.and_then(|at| u8::try_from(at + 1).ok()).unwrap_or(0), Ordering::Relaxed);
    }

    /// The same kernel for every packet. Otherwise packets that it is slow with go to a smaller one, or to `ring`, if the feature
    /// is on.
    #[must_use]
    pub const fn pure(self) -> Self {
        Self { kernel: self.kernel, mixed: false }
    }

    /// Its name: the instruction set, or the library.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self.kernel {
            Kernel::Portable => "portable",
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx512(_) => "avx512",
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx2(_) => "avx2",
            #[cfg(all(target_arch = "aarch64", target_endian = "little", target_feature = "neon"))]
            Kernel::Neon(_) => "neon",
            #[cfg(all(any(target_arch = "x86", target_arch = "x86_64"), target_feature = "sse2"))]
            Kernel::Sse2(_) => "sse2",
            #[cfg(feature = "ring")]
            Kernel::Ring => "ring",
            #[cfg(feature = "rustcrypto")]
            Kernel::RustCrypto => "rustcrypto",
            #[cfg(test)]
            Kernel::Faulty(_) => "faulty",
        }
    }

    /// Seals a batch; each job reports for itself.
    pub fn seal_batch(self, jobs: &mut [SealJob<'_>]) {
        #[cfg(target_arch = "x86_64")]
        if let (Kernel::Avx512(kernel), [job]) = (self.kernel, &*jobs)
            && arch::avx512::Avx512::takes_one(&job.packet)
        {
            return batch::each(jobs, |packet| kernel.seal_one(packet));
        }
        #[cfg(feature = "ring")]
        if self.is_for_ring(jobs.len()) {
            return batch::each(jobs, library::ring::seal);
        }
        match self.kernel {
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx512(kernel) if jobs.len() <= GROUP => batch::run(jobs, |group| {
                choice::seal(kernel, self.mixed, group, |group| {
                    kernel.session(|mut session| session.seal(group));
                });
            }),
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx512(kernel) => kernel.session(|mut session| {
                batch::run(jobs, |group| {
                    if group.len() == GROUP {
                        session.seal(group);
                    } else {
                        choice::seal(kernel, self.mixed, group, |group| session.seal(group));
                    }
                });
            }),
            #[cfg(all(target_arch = "x86_64", feature = "ring"))]
            Kernel::Avx2(kernel) if self.mixed => batch::run(jobs, |group| {
                if arch::avx2::Avx2::leaves_sealing_to_ring(group) {
                    library::ring::seal_group(group);
                } else {
                    kernel.seal(group);
                }
            }),
            kernel => batch::run(jobs, |group| kernel.seal(group)),
        }
    }

    /// Opens a batch; each job reports for itself, and nothing of a packet whose tag does not verify is written.
    pub fn open_batch(self, jobs: &mut [OpenJob<'_>]) {
        #[cfg(target_arch = "x86_64")]
        if let (Kernel::Avx512(kernel), [job]) = (self.kernel, &*jobs)
            && arch::avx512::Avx512::takes_one(&job.packet)
        {
            return batch::each(jobs, |packet| kernel.open_one(packet));
        }
        #[cfg(feature = "ring")]
        if self.is_for_ring(jobs.len()) {
            return batch::each(jobs, library::ring::open);
        }
        match self.kernel {
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx512(kernel) if jobs.len() <= GROUP => batch::run(jobs, |group| {
                choice::open(kernel, self.mixed, group, |group| {
                    kernel.session(|mut session| session.open(group));
                });
            }),
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx512(kernel) => kernel.session(|mut session| {
                batch::run(jobs, |group| {
                    if group.len() == GROUP {
                        session.open(group);
                    } else {
                        choice::open(kernel, self.mixed, group, |group| session.open(group));
                    }
                });
            }),
            #[cfg(all(target_arch = "x86_64", feature = "ring"))]
            Kernel::Avx2(kernel) if self.mixed => batch::run(jobs, |group| {
                if arch::avx2::Avx2::leaves_opening_to_ring(group) {
                    library::ring::open_group(group);
                } else {
                    kernel.open(group);
                }
            }),
            kernel => batch::run(jobs, |group| kernel.open(group)),
        }
    }

    /// Whether a packet alone goes to `ring`: because that is the backend, or because it leaves the lanes of a vector kernel empty.
    #[cfg(feature = "ring")]
    const fn is_for_ring(self, jobs: usize) -> bool {
        jobs == 1
            && match self.kernel {
                Kernel::Ring => true,
                #[cfg(target_arch = "x86_64")]
                Kernel::Avx512(_) | Kernel::Avx2(_) => self.mixed,
                _ => false,
            }
    }
}

impl Kernel {
    fn seal(self, group: &mut Group<'_, '_>) {
        match self {
            Self::Portable => portable::seal(group),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(kernel) => kernel.session(|mut session| session.seal(group)),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(kernel) => kernel.seal(group),
            #[cfg(all(target_arch = "aarch64", target_endian = "little", target_feature = "neon"))]
            Self::Neon(kernel) => kernel.seal(group),
            #[cfg(all(any(target_arch = "x86", target_arch = "x86_64"), target_feature = "sse2"))]
            Self::Sse2(kernel) => kernel.seal(group),
            #[cfg(feature = "ring")]
            Self::Ring => library::ring::seal_group(group),
            #[cfg(feature = "rustcrypto")]
            Self::RustCrypto => library::rustcrypto::seal(group),
            #[cfg(test)]
            Self::Faulty(fault) => fault.seal(group),
        }
    }

    fn open(self, group: &mut Group<'_, '_>) {
        match self {
            Self::Portable => portable::open(group),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(kernel) => kernel.session(|mut session| session.open(group)),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(kernel) => kernel.open(group),
            #[cfg(all(target_arch = "aarch64", target_endian = "little", target_feature = "neon"))]
            Self::Neon(kernel) => kernel.open(group),
            #[cfg(all(any(target_arch = "x86", target_arch = "x86_64"), target_feature = "sse2"))]
            Self::Sse2(kernel) => kernel.open(group),
            #[cfg(feature = "ring")]
            Self::Ring => library::ring::open_group(group),
            #[cfg(feature = "rustcrypto")]
            Self::RustCrypto => library::rustcrypto::open(group),
            #[cfg(test)]
            Self::Faulty(fault) => fault.open(group),
        }
    }
}

impl core::fmt::Debug for Backend {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Backend").field("name", &self.name()).field("mixed", &self.mixed).finish()
    }
}

impl core::fmt::Display for Backend {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.name())
    }
}
