//! Which kernel does the work: found out once, at run time, and tested before it is trusted.

mod selftest;

use core::sync::atomic::{AtomicU8, Ordering};

use crate::arch;
use crate::batch;
use crate::job::{OpenJob, SealJob};
#[cfg(any(feature = "ring", feature = "rustcrypto"))]
use crate::library;
use crate::packet::Group;
use crate::portable;

/// An implementation that this machine can run.
///
/// [`Backend::best`] is what [`seal_batch`](crate::seal_batch) and the forms for one packet use. Every other is for tests and
/// benches: all give the same bytes.
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
    /// Whether packets that the kernel is slow with go to a library that is faster with them.
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
    #[cfg(feature = "ring")]
    Ring,
    #[cfg(feature = "rustcrypto")]
    RustCrypto,
}

/// The number of [`Backend::best`] plus one; 0 before it is known. Written by whoever comes first, and by
/// [`Backend::make_best`]; every value is as good as any other, so nothing is ordered by it.
static BEST: AtomicU8 = AtomicU8::new(0);

/// All that could be available, the best first.
const CANDIDATES: [fn() -> Option<Kernel>; 5] = [
    || {
        #[cfg(target_arch = "x86_64")]
        return arch::avx512::Avx512::detect().map(Kernel::Avx512);
        #[cfg(not(target_arch = "x86_64"))]
        None
    },
    || {
        #[cfg(target_arch = "x86_64")]
        return arch::avx2::Avx2::detect().map(Kernel::Avx2);
        #[cfg(not(target_arch = "x86_64"))]
        None
    },
    || {
        #[cfg(feature = "ring")]
        return Some(Kernel::Ring);
        #[cfg(not(feature = "ring"))]
        None
    },
    || Some(Kernel::Portable),
    || {
        #[cfg(feature = "rustcrypto")]
        return Some(Kernel::RustCrypto);
        #[cfg(not(feature = "rustcrypto"))]
        None
    },
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
            .filter(|backend| backend.pure().passes())
    }

    /// Makes this the one that [`Backend::best`] returns, for the whole process: for tests and benches.
    pub fn make_best(self) {
        let at = CANDIDATES.iter().position(|detect| detect() == Some(self.kernel));
        BEST.store(at.and_then(|at| u8::try_from(at + 1).ok()).unwrap_or(0), Ordering::Relaxed);
    }

    /// The same kernel for every packet. Otherwise packets that it is slow with go to `ring`, if the feature is on.
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
            #[cfg(feature = "ring")]
            Kernel::Ring => "ring",
            #[cfg(feature = "rustcrypto")]
            Kernel::RustCrypto => "rustcrypto",
        }
    }

    /// Seals a batch; each job reports for itself.
    pub fn seal_batch(self, jobs: &mut [SealJob<'_>]) {
        batch::run(jobs, |group| self.seal(group));
    }

    /// Opens a batch; each job reports for itself, and nothing of a packet whose tag does not verify is written.
    pub fn open_batch(self, jobs: &mut [OpenJob<'_>]) {
        batch::run(jobs, |group| self.open(group));
    }

    fn seal(self, group: &mut Group<'_, '_>) {
        match self.for_sealing(group) {
            Kernel::Portable => portable::seal(group),
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx512(kernel) => kernel.seal(group),
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx2(kernel) => kernel.seal(group),
            #[cfg(feature = "ring")]
            Kernel::Ring => library::ring::seal(group),
            #[cfg(feature = "rustcrypto")]
            Kernel::RustCrypto => library::rustcrypto::seal(group),
        }
    }

    fn open(self, group: &mut Group<'_, '_>) {
        match self.for_opening(group) {
            Kernel::Portable => portable::open(group),
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx512(kernel) => kernel.open(group),
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx2(kernel) => kernel.open(group),
            #[cfg(feature = "ring")]
            Kernel::Ring => library::ring::open(group),
            #[cfg(feature = "rustcrypto")]
            Kernel::RustCrypto => library::rustcrypto::open(group),
        }
    }

    /// The kernel that seals a group fastest, by the measured break-even points.
    fn for_sealing(self, group: &Group<'_, '_>) -> Kernel {
        #[cfg(feature = "ring")]
        match self.kernel {
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx512(_) if self.mixed && group.len() == 1 => return Kernel::Ring,
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx2(_) if self.mixed && arch::avx2::Avx2::leaves_sealing_to_ring(group) => {
                return Kernel::Ring;
            }
            _ => {}
        }
        _ = group;
        self.kernel
    }

    /// The kernel that opens a group fastest, by the measured break-even points.
    fn for_opening(self, group: &Group<'_, '_>) -> Kernel {
        #[cfg(feature = "ring")]
        match self.kernel {
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx512(_) if self.mixed && group.len() == 1 => return Kernel::Ring,
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx2(_) if self.mixed && arch::avx2::Avx2::leaves_opening_to_ring(group) => {
                return Kernel::Ring;
            }
            _ => {}
        }
        _ = group;
        self.kernel
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
