//! Batches that a home offers to whoever is idle, and may take back.
//!
//! ```text
//!   home: offer --> slot, then its bit in `full`
//!   any:  clears the bit, and if it was set takes what is in the slot
//! ```
//!
//! A batch belongs to whoever cleared its bit, so it is taken once. The word of bits is one cache line: an idle core that looks
//! finds nothing at the price of one load. Slots are filled in turn, so that from the one which is next they are in the
//! order of their age.

use alloc::boxed::Box;
use core::fmt;
use core::sync::atomic::Ordering;

use crossbeam_utils::CachePadded;

use crate::handoff::slot::Slot;
use crate::sync::{AtomicU32, AtomicU64};

/// The offers of a home; a bounded number of them.
pub struct Offers<T> {
    /// The bits of the slots that hold a batch which nobody has claimed. Set by the home (Release), cleared by who takes (Acquire).
    full: CachePadded<AtomicU64>,
    /// The slot that is filled next. Written by the home; a hint to all others.
    next: AtomicU32,
    slots: Box<[CachePadded<Slot<T>>]>,
}

impl<T> Offers<T> {
    /// The most slots there may be.
    pub const MOST: u32 = 64;

    /// Makes so many slots, up to [`Self::MOST`].
    #[must_use]
    pub fn new(slots: u32) -> Self {
        let slots = (0..slots.min(Self::MOST)).map(|_| CachePadded::new(Slot::new())).collect();
        Self { full: CachePadded::new(AtomicU64::new(0)), next: AtomicU32::new(0), slots }
    }

    /// The memory that the slots take; what batches own is not in it.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.slots.len() * size_of::<CachePadded<Slot<T>>>()
    }

    /// Offers a batch. Only the home does.
    ///
    /// # Errors
    ///
    /// The batch, if no slot is free.
    pub fn offer(&self, batch: T) -> Result<(), T> {
        let (count, next) = (self.slots.len(), self.next.load(Ordering::Relaxed) as usize);
        let full = self.full.load(Ordering::Relaxed);
        let mut batch = batch;
        for slot in (next..count).chain(0..next).filter(|slot| full & (1 << slot) == 0) {
            match self.slots[slot].put(batch) {
                Ok(()) => {
                    let next = if slot + 1 == count { 0 } else { slot + 1 };
                    self.next.store(u32::try_from(next).unwrap_or(0), Ordering::Relaxed);
                    self.full.fetch_or(1 << slot, Ordering::Release);
                    return Ok(());
                }
                // Somebody has claimed what is there, and not taken it yet.
                Err(back) => batch = back,
            }
        }
        Err(batch)
    }

    /// Takes a batch, the oldest as far as one can tell.
    pub fn take(&self) -> Option<T> {
        self.take_one(|full, next| {
            let older = full & (u64::MAX << next);
            if older == 0 { full } else { older }.trailing_zeros()
        })
    }

    /// Takes the newest batch, as far as one can tell.
    pub fn take_newest(&self) -> Option<T> {
        self.take_one(|full, next| {
            let newer = full & !(u64::MAX << next);
            if newer == 0 { full } else { newer }.ilog2()
        })
    }

    /// Takes the one that `choose` says, of those whose bits are set and with the slot that is filled next.
    fn take_one(&self, choose: impl Fn(u64, u32) -> u32) -> Option<T> {
        let mut full = self.full.load(Ordering::Relaxed);
        while full != 0 {
            let slot = choose(full, self.next.load(Ordering::Relaxed));
            let before = self.full.fetch_and(!(1 << slot), Ordering::Acquire);
            if before & (1 << slot) != 0 {
                let batch = self.slots[slot as usize].take();
                debug_assert!(batch.is_some(), "the bit is set after the batch was put, and cleared by one");
                return batch;
            }
            full = before & !(1 << slot);
        }
        None
    }

    /// Tells whether nothing is offered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.full.load(Ordering::Relaxed) == 0
    }
}

impl<T> fmt::Debug for Offers<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let offered = self.full.load(Ordering::Relaxed).count_ones();
        f.debug_struct("Offers").field("slots", &self.slots.len()).field("offered", &offered).finish()
    }
}
