//! Statics that are made when the program runs: the buffers and the peer, which would be too large for the stack.
#![expect(unsafe_code, reason = "hands out a mutable reference to a static, once")]

use core::cell::UnsafeCell;
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicBool, Ordering};

/// A place for one value, to be filled once.
pub(crate) struct Place<T> {
    value: UnsafeCell<MaybeUninit<T>>,
    filled: AtomicBool,
}

// SAFETY: the value is reached through `fill` alone, which hands it out once; `T` goes to whoever called, hence `Send`.
unsafe impl<T: Send> Sync for Place<T> {}

impl<T> Place<T> {
    pub(crate) const fn new() -> Self {
        Self { value: UnsafeCell::new(MaybeUninit::uninit()), filled: AtomicBool::new(false) }
    }

    /// Puts `value` here for good; none the second time.
    pub(crate) fn fill(&'static self, value: T) -> Option<&'static mut T> {
        if self.filled.swap(true, Ordering::AcqRel) {
            return None;
        }
        // SAFETY: the flag was false, so this is the first call and the only reference there will ever be.
        let place = unsafe { &mut *self.value.get() };
        Some(place.write(value))
    }
}
