//! Counter split: one tunnel comes in over several receive cores, and its home puts it together again.
//!
//! The kernel spreads the datagrams by `counter >> 6`, so each lane has runs of counters, rising in themselves. The home takes
//! the lowest it has. A gap before it may mean that a datagram was lost, or that another lane has it:
//!
//! ```text
//!   lane 0:  0..63           192..255           next = 64
//!   lane 1:            .                        empty; is its socket, too?
//!   lane 2:        128..191                     yes: send 128..191    no: wait for lane 1, 0.5 ms
//! ```
//!
//! Counters begin anew with each keypair, so a newer keypair is behind all counters of an older one, and its first batch is waited for as one
//! behind a gap. A lane need not be a socket: what the home began by itself before the tunnel was split is one that is never
//! pushed to, and comes until it was sent.
//!
//! A lane that has something cannot bring anything lower, and one whose socket is empty has nothing to wait for. So a lone
//! lost datagram delays nobody but while a lane lags behind. Where the home itself looks later than the wait lasts, as it does when
//! somebody configures, it waits again, twice at most. What comes too late is passed on at once: the replay
//! window decides about it.

mod shared;

use alloc::collections::VecDeque;
use alloc::vec::Vec;

pub use shared::SharedMerge;

/// The longest wait for a gap, in nanoseconds, but for what [`Gap::is_over`] says.
pub(crate) const WAIT: u64 = 500_000;
/// Who looks so much later than the end of a wait was kept from looking, in nanoseconds.
const KEPT: u64 = WAIT / 4;
/// How often a wait for a gap begins anew, at most.
const ANEW: u8 = 2;

/// Something that is missing before what is there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gap {
    /// Since when it is waited for.
    since: u64,
    anew: u8,
}

impl Gap {
    pub(crate) const fn new(now: u64) -> Self {
        Self { since: now, anew: 0 }
    }

    /// Tells whether it was waited for long enough. Who was kept from looking, as all lanes are while somebody configures, cannot
    /// tell whether it would have come in time: then the wait begins anew.
    pub(crate) const fn is_over(&mut self, now: u64) -> bool {
        let waited = now.saturating_sub(self.since);
        if waited >= WAIT + KEPT && self.anew < ANEW {
            (self.since, self.anew) = (now, self.anew + 1);
            return false;
        }
        waited >= WAIT
    }

    /// When the wait is over.
    pub(crate) const fn deadline(&self) -> u64 {
        self.since.saturating_add(WAIT)
    }
}

/// The counters of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The keypair they belong to, by its number in the order in which those of the tunnel were made.
    pub keypair: u64,
    /// The first.
    pub first: u64,
    /// The last; not below the first.
    pub last: u64,
}

impl Span {
    /// What is after it.
    const fn end(&self) -> (u64, u64) {
        (self.keypair, self.last.saturating_add(1))
    }
}

/// Merges the lanes of one tunnel by counter.
#[derive(Debug)]
pub struct CounterMerge<T> {
    lanes: Vec<VecDeque<(Span, T)>>,
    /// The most that a lane holds.
    depth: usize,
    /// The keypair and the counter that come next.
    next: (u64, u64),
    /// What is missing before that, if it is known that something is.
    gap: Option<Gap>,
}

impl<T> CounterMerge<T> {
    /// Makes it for so many lanes, with room for `depth` batches of each. Nothing allocates later.
    #[must_use]
    pub fn new(lanes: usize, depth: usize) -> Self {
        let lanes = (0..lanes).map(|_| VecDeque::with_capacity(depth)).collect();
        Self { lanes, depth, next: (0, 0), gap: None }
    }

    /// Takes the next batch of a lane.
    ///
    /// # Errors
    ///
    /// The batch, if the lane is full or does not exist: then it is to stop reading.
    pub fn push(&mut self, lane: usize, span: Span, batch: T) -> Result<(), T> {
        match self.lanes.get_mut(lane) {
            Some(queue) if queue.len() < self.depth => {
                queue.push_back((span, batch));
                Ok(())
            }
            _ => Err(batch),
        }
    }

    /// Gives the batch that comes next, if it is there or not worth the wait. `comes` tells whether a lane's socket, or whatever is
    /// on the way from it, holds more.
    pub fn pop(&mut self, now: u64, comes: impl Fn(usize) -> bool) -> Option<T> {
        let heads = self.lanes.iter().enumerate().filter_map(|(lane, queue)| Some((queue.front()?.0, lane)));
        let Some((span, lane)) = heads.min_by_key(|(span, _)| (span.keypair, span.first)) else {
            self.gap = None;
            return None;
        };
        if (span.keypair, span.first) > self.next {
            let lags = self.lanes.iter().enumerate().any(|(lane, queue)| queue.is_empty() && comes(lane));
            let is_over = self.gap.get_or_insert_with(|| Gap::new(now)).is_over(now);
            if lags && !is_over {
                return None;
            }
        }
        self.gap = None;
        self.passed(span);
        self.lanes.get_mut(lane)?.pop_front().map(|(_, batch)| batch)
    }

    /// Takes note that a batch of this tunnel was sent that did not come by a lane.
    pub fn passed(&mut self, span: Span) {
        self.next = self.next.max(span.end());
    }

    /// When a gap is given up, if nothing else comes before: then `pop` is to be called again.
    #[must_use]
    pub fn deadline(&self) -> Option<u64> {
        self.gap.as_ref().map(Gap::deadline)
    }

    /// Batches that are held.
    #[must_use]
    pub fn held(&self) -> usize {
        self.lanes.iter().map(VecDeque::len).sum()
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
