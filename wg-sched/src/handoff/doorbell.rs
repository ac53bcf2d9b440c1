//! How a core that sleeps is woken, if and only if there is something for it.
//!
//! Whoever gives something to a core that sleeps rings its bell. No call is lost, and few are made:
//!
//! ```text
//!   giver                                      sleeper
//!   1. publish                                 1. asleep = true
//!   2. fence (SeqCst)                          2. fence (SeqCst)
//!   3. asleep? then asleep = false, ring       3. nothing there? then sleep until the bell; else do not
//! ```
//!
//! Of the two fences one is first. If it is the giver's, the sleeper sees what was published, and does not sleep. If it is
//! the sleeper's, the giver sees that it is asleep, and rings; the bell keeps ringing until the sleeper has heard it, so that
//! it may ring before the sleep begins. A sleeper that wakes for another reason says so, and a bell for which it was too late
//! costs it one look. Whoever clears the flag rings, so that of several givers one does.

use alloc::boxed::Box;
use core::fmt;
use core::sync::atomic::Ordering;

use crossbeam_utils::CachePadded;

use crate::sync::{AtomicBool, fence};

/// The bell of one core.
pub struct Doorbell {
    /// Written by the core before and after it sleeps, and by whoever rings. The fences order it, not its own accesses.
    asleep: CachePadded<AtomicBool>,
    ring: Box<dyn Fn() + Send + Sync>,
}

impl Doorbell {
    /// Makes a bell. `ring` may be called by any thread, and wakes the core also if it begins to sleep only afterwards.
    #[must_use]
    pub fn new(ring: impl Fn() + Send + Sync + 'static) -> Self {
        Self::from(Box::new(ring) as Box<dyn Fn() + Send + Sync>)
    }

    /// Rings if the core may sleep, and tells whether it did. What the core is to see is published.
    #[inline]
    pub fn ring_if_asleep(&self) -> bool {
        self.ring_if(|| true)
    }

    /// As [`Self::ring_if_asleep`], if what was published is what the core waits for: `waits` may look at what the core
    /// wrote before it called [`Self::may_sleep`].
    #[inline]
    pub fn ring_if(&self, waits: impl FnOnce() -> bool) -> bool {
        fence(Ordering::SeqCst);
        self.ring_fenced(waits)
    }

    /// As [`Self::ring_if`], after the fence: of several bells that are rung for one thing.
    pub(crate) fn ring_fenced(&self, waits: impl FnOnce() -> bool) -> bool {
        let rings = self.asleep.load(Ordering::Relaxed)
            && waits()
            // Nothing is written by who comes too late, so that it cannot be taken for the word of a later sleep.
            && self.asleep.compare_exchange(true, false, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if rings {
            (self.ring)();
        }
        rings
    }

    /// Says that the core is about to sleep, and tells whether it may: not if `is_idle` finds something. After the sleep the
    /// core calls [`Self::awake`].
    #[inline]
    pub fn may_sleep(&self, is_idle: impl FnOnce() -> bool) -> bool {
        self.asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let may = is_idle();
        if !may {
            self.awake();
        }
        may
    }

    /// Says that the core is awake.
    #[inline]
    pub fn awake(&self) {
        self.asleep.store(false, Ordering::Relaxed);
    }
}

impl From<Box<dyn Fn() + Send + Sync>> for Doorbell {
    fn from(ring: Box<dyn Fn() + Send + Sync>) -> Self {
        Self { asleep: CachePadded::new(AtomicBool::new(false)), ring }
    }
}

impl fmt::Debug for Doorbell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Doorbell")
            .field("asleep", &self.asleep.load(Ordering::Relaxed))
            .finish_non_exhaustive()
    }
}
