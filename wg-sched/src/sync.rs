//! The one switch between the atomics of the processor and those of loom, which tries every interleaving of the tests in
//! `interleavings.rs`.

#[cfg(not(all(loom, test)))]
mod switched {
    pub(crate) use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, fence};

    /// `core::cell::UnsafeCell`, with the interface of that of loom.
    #[derive(Debug)]
    pub(crate) struct UnsafeCell<T>(core::cell::UnsafeCell<T>);

    impl<T> UnsafeCell<T> {
        pub(crate) const fn new(value: T) -> Self {
            Self(core::cell::UnsafeCell::new(value))
        }

        #[inline]
        pub(crate) fn with_mut<R>(&self, with: impl FnOnce(*mut T) -> R) -> R {
            with(self.0.get())
        }
    }
}

#[cfg(all(loom, test))]
mod switched {
    pub(crate) use loom::cell::UnsafeCell;
    pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, fence};
}

pub(crate) use switched::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, UnsafeCell, fence};
