//! A place for one item that any core may put there and any core may take: the only file of the crate with `unsafe`.
//!
//! ```text
//!             put: compare-exchange            store (Release)
//!   EMPTY ---------------------------> BUSY --------------------> FULL
//!     ^                                                             |
//!     `-------------------------- BUSY <----------------------------'
//!           store (Release)             take: compare-exchange
//! ```
//!
//! Who has made it busy has the item for itself, until it stores what comes next. Each store is with Release and each
//! compare-exchange with Acquire, so what one did with the item comes before what the next does.

#![expect(unsafe_code, reason = "the item is shared between cores; the state says whose it is")]

use core::fmt;
use core::sync::atomic::Ordering;

use crate::sync::{AtomicU8, UnsafeCell};

const EMPTY: u8 = 0;
const BUSY: u8 = 1;
const FULL: u8 = 2;

/// A place for one item.
///
/// ```
/// use wg_sched::handoff::Slot;
///
/// let slot = Slot::new();
/// assert_eq!(slot.put(1), Ok(()));
/// assert_eq!(slot.put(2), Err(2), "it is taken");
/// assert_eq!(slot.take(), Some(1));
/// assert_eq!(slot.take(), None);
/// ```
pub struct Slot<T> {
    /// Written by whoever puts or takes, see the drawing above.
    state: AtomicU8,
    /// Touched only by the one who has made the state busy. Something if the state is full, nothing if it is empty.
    item: UnsafeCell<Option<T>>,
}

// SAFETY: a shared slot gives no reference to its item. It moves items in and out, from one thread to another, which `T: Send`
// allows, and never by two threads at once: see `put` and `take`.
unsafe impl<T: Send> Sync for Slot<T> {}

impl<T> Slot<T> {
    /// Makes an empty one.
    #[must_use]
    pub fn new() -> Self {
        Self { state: AtomicU8::new(EMPTY), item: UnsafeCell::new(None) }
    }

    /// Puts an item there.
    ///
    /// # Errors
    ///
    /// The item, if there is one already, or just another at work.
    #[inline]
    pub fn put(&self, item: T) -> Result<(), T> {
        if self.state.compare_exchange(EMPTY, BUSY, Ordering::Acquire, Ordering::Relaxed).is_err() {
            return Err(item);
        }
        self.item.with_mut(|place| {
            // SAFETY: the pointer is that of the cell, so it is valid and aligned. We alone made the state busy, nobody else
            // touches the item before the store below, and the Acquire above saw the store of whoever did before us.
            unsafe { *place = Some(item) }
        });
        self.state.store(FULL, Ordering::Release);
        Ok(())
    }

    /// Takes the item, if there is one and nobody else is just taking it.
    #[inline]
    pub fn take(&self) -> Option<T> {
        // The look costs nothing, and leaves the cache line to others while there is nothing.
        let full = self.state.load(Ordering::Relaxed) == FULL;
        if !full || self.state.compare_exchange(FULL, BUSY, Ordering::Acquire, Ordering::Relaxed).is_err() {
            return None;
        }
        let item = self.item.with_mut(|place| {
            // SAFETY: as in `put`: valid, aligned, and ours alone from the exchange above to the store below. `take` leaves
            // nothing behind and runs no code of `T`.
            unsafe { (*place).take() }
        });
        self.state.store(EMPTY, Ordering::Release);
        item
    }

    /// Tells whether it holds an item; by the time one looks at the answer, it may not.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.state.load(Ordering::Acquire) == FULL
    }
}

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> fmt::Debug for Slot<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state.load(Ordering::Relaxed) {
            EMPTY => "empty",
            FULL => "full",
            _ => "busy",
        };
        f.debug_struct("Slot").field("state", &state).finish_non_exhaustive()
    }
}
