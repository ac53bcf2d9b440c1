//! What a core has in its hands of others: it took it from its sockets and has not yet put it into a ring.
//!
//! Where counters are split, a home that has a gap asks whether a receiver may bring what is missing. Things go one way, and the home
//! looks along it in the same direction, so that nothing slips past it:
//!
//! ```text
//!   receiver: 1. receiving = true               home: 1. sockets of the receiver: is something there?
//!             2. fence (SeqCst)                       2. fence (SeqCst)
//!             3. take from the sockets                3. receiving?
//!             4. held[home] += n                      4. held[home] > 0?
//!             5. receiving = false (Release)          5. the ring: pop all there is
//!             6. push into the ring
//!             7. held[home] -= n (Release)
//! ```
//!
//! Whatever came to the sockets before the home looked is seen in one of the four places. If it is gone from the sockets at 1., the fences
//! order 1. of the receiver before 3. of the home, which then sees `receiving`, or by Acquire what was stored before it was false
//! again; and if nothing is held at 4., it was pushed before.

use alloc::boxed::Box;
use core::sync::atomic::Ordering;

use crossbeam_utils::CachePadded;

use crate::sync::{AtomicBool, AtomicU32, fence};

/// What one core has in its hands. It writes, and homes read.
#[derive(Debug)]
pub struct Hands {
    /// Something was or is being taken from the sockets, and is not yet in `held`. Its Release pairs with the Acquire in [`Self::holds`].
    receiving: CachePadded<AtomicBool>,
    /// Batches for each home. Its Release pairs with the Acquire in [`Self::holds`].
    held: Box<[CachePadded<AtomicU32>]>,
}

impl Hands {
    /// Makes the hands of a core that may have something for so many homes.
    #[must_use]
    pub fn new(homes: usize) -> Self {
        let held = (0..homes).map(|_| CachePadded::new(AtomicU32::new(0))).collect();
        Self { receiving: CachePadded::new(AtomicBool::new(false)), held }
    }

    /// Says, as its core, that something is about to be taken from the sockets.
    #[inline]
    pub fn receive(&self) {
        self.receiving.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// Says, as its core, that there is one batch more for a home.
    #[inline]
    pub fn take(&self, home: usize) {
        if let Some(held) = self.held.get(home) {
            // Nobody else writes.
            held.store(held.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        }
    }

    /// Says, as its core, that all that was taken is told of.
    #[inline]
    pub fn received(&self) {
        self.receiving.store(false, Ordering::Release);
    }

    /// Says, as its core, that a batch for a home is in the ring, or was dropped.
    #[inline]
    pub fn give(&self, home: usize) {
        if let Some(held) = self.held.get(home) {
            let count = held.load(Ordering::Relaxed);
            debug_assert!(count > 0, "it was taken");
            held.store(count.saturating_sub(1), Ordering::Release);
        }
    }

    /// Asks, as a home that has looked at the core's sockets and found nothing there, whether the core has something for it. If not,
    /// all that had come to the sockets until then is in the ring, or was before.
    #[inline]
    pub fn holds(&self, home: usize) -> bool {
        fence(Ordering::SeqCst);
        self.receiving.load(Ordering::Acquire)
            || self.held.get(home).is_some_and(|held| held.load(Ordering::Acquire) > 0)
    }
}
