//! A bounded ring of batches from one core to one other, in order.
//!
//! It is that of the crate `rtrb`: between two cores it takes a fifth of what the simplest ring of slots takes
//! (`benches/record/amd-epyc-zen4-2vcpu/2026-11-29/handoff.json`). What is pushed is published with Release and found with Acquire, which is all that
//! [`Doorbell`](super::Doorbell) asks for. loom does not see into another crate: for it there stands a ring of slots in its
//! place, which publishes no more strongly.

use core::fmt;

#[cfg(not(all(loom, test)))]
use rtrb as ends;

/// The end that one core pushes to.
pub struct Producer<T>(ends::Producer<T>);

/// The end that one core pops from.
pub struct Consumer<T>(ends::Consumer<T>);

/// Makes a ring for so many batches.
#[must_use]
pub fn ring<T>(capacity: usize) -> (Producer<T>, Consumer<T>) {
    let (producer, consumer) = ends::RingBuffer::new(capacity);
    (Producer(producer), Consumer(consumer))
}

impl<T> Producer<T> {
    /// Appends a batch.
    ///
    /// # Errors
    ///
    /// The batch, if the ring is full.
    #[inline]
    pub fn push(&mut self, batch: T) -> Result<(), T> {
        self.0.push(batch).map_err(|ends::PushError::Full(batch)| batch)
    }
}

impl<T> Consumer<T> {
    /// Takes the first batch.
    #[inline]
    pub fn pop(&mut self) -> Option<T> {
        self.0.pop().ok()
    }

    /// Tells whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<T> fmt::Debug for Producer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer").finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for Consumer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer").field("is_empty", &self.is_empty()).finish()
    }
}

#[cfg(all(loom, test))]
mod ends {
    use alloc::sync::Arc;
    use alloc::vec::Vec;

    use crate::handoff::slot::Slot;

    #[derive(Debug)]
    pub(super) enum PushError<T> {
        Full(T),
    }

    pub(super) struct RingBuffer;
    pub(super) struct Producer<T>(Arc<[Slot<T>]>, usize);
    pub(super) struct Consumer<T>(Arc<[Slot<T>]>, usize);

    impl RingBuffer {
        #[expect(clippy::new_ret_no_self, reason = "as in rtrb")]
        pub(super) fn new<T>(capacity: usize) -> (Producer<T>, Consumer<T>) {
            let slots: Arc<[_]> = (0..capacity).map(|_| Slot::new()).collect::<Vec<_>>().into();
            (Producer(Arc::clone(&slots), 0), Consumer(slots, 0))
        }
    }

    impl<T> Producer<T> {
        pub(super) fn push(&mut self, batch: T) -> Result<(), PushError<T>> {
            self.0[self.1].put(batch).map_err(PushError::Full)?;
            self.1 = (self.1 + 1) % self.0.len();
            Ok(())
        }
    }

    impl<T> Consumer<T> {
        pub(super) fn pop(&mut self) -> Result<T, ()> {
            let batch = self.0[self.1].take().ok_or(())?;
            self.1 = (self.1 + 1) % self.0.len();
            Ok(batch)
        }

        pub(super) fn is_empty(&self) -> bool {
            !self.0[self.1].is_full()
        }
    }
}
