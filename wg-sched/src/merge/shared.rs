//! The merges of all tunnels of a home, in places that they share.
//!
//! A tunnel that holds nothing needs no more than its next counter, and as long as there are tunnels enough that hold nothing, that of the
//! oldest is forgotten: its next batch is then waited for as one behind a gap. So what it takes hangs on the batches that may be
//! under way, and not on the tunnels there are.
//!
//! ```text
//!   buckets --> tunnel 7: next, first, last        tunnel 9: next, first, last
//!                            |                                |
//!                         place --> place --> place        place       in the order of their counters
//!
//!   waiting: tunnels that hold something, in the order of their turns
//! ```
//!
//! The rule is that of [`CounterMerge`](crate::CounterMerge), in two steps: what is next without a doubt, by [`SharedMerge::pop`], and, once the
//! home has looked for what else comes, what is not worth the wait, by [`SharedMerge::pop_over_gap`].

use alloc::collections::VecDeque;
use alloc::vec;
use alloc::vec::Vec;

use super::{Gap, Span};

/// No place, or no tunnel.
const NONE: u32 = u32::MAX;

/// A batch that is held, or a free place.
#[derive(Debug)]
struct Place<T> {
    held: Option<(Span, T)>,
    lane: u32,
    before: u32,
    after: u32,
}

/// What is known of a tunnel.
#[derive(Clone, Copy, Debug)]
struct Tunnel {
    /// Whose it is, unless nothing is known of anybody.
    peer: Option<u64>,
    /// The keypair and the counter that come next.
    next: (u64, u64),
    /// What is missing before what is here, if it is known that something is.
    gap: Option<Gap>,
    /// The places of its first and its last batch.
    first: u32,
    last: u32,
    /// The next tunnel in the bucket.
    chained: u32,
}

impl Tunnel {
    const FREE: Self = Self { peer: None, next: (0, 0), gap: None, first: NONE, last: NONE, chained: NONE };
}

/// Merges the lanes of all tunnels of a home by counter.
#[derive(Debug)]
pub struct SharedMerge<T> {
    places: Vec<Place<T>>,
    free: Vec<u32>,
    /// The most that a lane has here, and how much each has.
    depth: u32,
    lanes: Vec<u32>,
    tunnels: Vec<Tunnel>,
    /// The first tunnel of each; a power of two.
    buckets: Vec<u32>,
    /// The tunnel to be forgotten next, if it holds nothing.
    oldest: usize,
    waiting: VecDeque<u32>,
    /// Which lanes have something of the tunnel that was looked at last: those with its mark.
    marks: Vec<u64>,
    mark: u64,
    /// Batches that were given, and those of them that came behind a later one.
    given: u64,
    late: u64,
}

impl<T> SharedMerge<T> {
    /// Makes it for so many lanes, with room for `depth` batches of each. Nothing allocates later.
    ///
    /// # Panics
    ///
    /// If there are 2^31 places or more.
    #[must_use]
    pub fn new(lanes: usize, depth: usize) -> Self {
        let count = lanes * depth;
        let end = u32::try_from(count).ok().filter(|end| *end < 1 << 31).expect("fewer places");
        // One more than may hold something, so that one is always to be forgotten.
        let tunnels = count + 1;
        Self {
            places: (0..end).map(|_| Place { held: None, lane: 0, before: NONE, after: NONE }).collect(),
            free: (0..end).rev().collect(),
            depth: u32::try_from(depth).unwrap_or(u32::MAX),
            lanes: vec![0; lanes],
            tunnels: vec![Tunnel::FREE; tunnels],
            buckets: vec![NONE; tunnels.next_power_of_two()],
            oldest: 0,
            waiting: VecDeque::with_capacity(count),
            marks: vec![0; lanes],
            mark: 0,
            given: 0,
            late: 0,
        }
    }

    /// The memory it takes on the heap.
    #[must_use]
    pub const fn memory_bytes(lanes: usize, depth: usize) -> usize {
        let count = lanes * depth;
        count * (size_of::<Place<T>>() + 2 * size_of::<u32>())
            + (count + 1) * size_of::<Tunnel>()
            + (count + 1).next_power_of_two() * size_of::<u32>()
            + lanes * (size_of::<u32>() + size_of::<u64>())
    }

    /// Takes the next batch that a lane has of a peer.
    ///
    /// # Errors
    ///
    /// The batch, if the lane has as many here as it may, or does not exist.
    pub fn push(&mut self, lane: usize, peer: u64, span: Span, batch: T) -> Result<(), T> {
        let (Some(count), Ok(number)) = (self.lanes.get_mut(lane), u32::try_from(lane)) else {
            return Err(batch);
        };
        if *count >= self.depth {
            return Err(batch);
        }
        let Some(at) = self.free.pop() else { return Err(batch) };
        *count += 1;
        let tunnel = self.tunnel(peer);
        let Tunnel { first, last, .. } = self.tunnels[tunnel as usize];
        if first == NONE {
            self.waiting.push_back(tunnel);
        }
        // A lane's batches rise, so it goes near the end.
        let mut before = last;
        while before != NONE && self.order(before) > (span.keypair, span.first) {
            before = self.places[before as usize].before;
        }
        let after = if before == NONE { first } else { self.places[before as usize].after };
        self.places[at as usize] = Place { held: Some((span, batch)), lane: number, before, after };
        match before {
            NONE => self.tunnels[tunnel as usize].first = at,
            before => self.places[before as usize].after = at,
        }
        match after {
            NONE => self.tunnels[tunnel as usize].last = at,
            after => self.places[after as usize].before = at,
        }
        Ok(())
    }

    /// Gives the next batch of any tunnel behind which nothing is missing.
    pub fn pop(&mut self) -> Option<T> {
        self.find(|merge, tunnel| {
            let Tunnel { next, first, .. } = merge.tunnels[tunnel as usize];
            merge.order(first) <= next
        })
    }

    /// Gives the next batch of any tunnel before which something is missing, if none of the lanes that may have it brings more, as
    /// `comes` says of each, or it was waited for long enough.
    ///
    /// It is called when [`Self::pop`] gave none after what the lanes had brought before they were looked at was pushed.
    pub fn pop_over_gap(&mut self, now: u64, comes: &[bool]) -> Option<T> {
        self.find(|merge, tunnel| {
            let gap = merge.tunnels[tunnel as usize].gap.get_or_insert_with(|| Gap::new(now));
            gap.is_over(now) || !merge.lags(tunnel, comes)
        })
    }

    /// Tells whether a lane that has nothing of a tunnel here may bring something.
    fn lags(&mut self, tunnel: u32, comes: &[bool]) -> bool {
        self.mark += 1;
        let mut at = self.tunnels[tunnel as usize].first;
        while let Some(place) = self.places.get(at as usize) {
            self.marks[place.lane as usize] = self.mark;
            at = place.after;
        }
        self.marks.iter().zip(comes).any(|(mark, comes)| *comes && *mark != self.mark)
    }

    /// Takes the first batch of the next tunnel that `is_next`.
    fn find(&mut self, mut is_next: impl FnMut(&mut Self, u32) -> bool) -> Option<T> {
        for _ in 0..self.waiting.len() {
            let tunnel = self.waiting.pop_front()?;
            if !is_next(self, tunnel) {
                self.waiting.push_back(tunnel);
                continue;
            }
            let state = &mut self.tunnels[tunnel as usize];
            let at = state.first;
            let place = &mut self.places[at as usize];
            let (span, batch) = place.held.take()?;
            self.given += 1;
            self.late += u64::from((span.keypair, span.first) < state.next);
            (state.first, state.gap) = (place.after, None);
            state.next = state.next.max(span.end());
            self.lanes[place.lane as usize] -= 1;
            self.free.push(at);
            match state.first {
                NONE => state.last = NONE,
                first => {
                    self.places[first as usize].before = NONE;
                    self.waiting.push_back(tunnel);
                }
            }
            return Some(batch);
        }
        None
    }

    /// When a gap is given up, if nothing else comes before: then [`Self::pop_over_gap`] is to be called again.
    #[must_use]
    pub fn deadline(&self) -> Option<u64> {
        let gaps = self.waiting.iter().filter_map(|tunnel| self.tunnels[*tunnel as usize].gap.as_ref());
        gaps.map(Gap::deadline).min()
    }

    /// How many batches were given so far, and how many of those came too late to be before what came behind them.
    #[must_use]
    pub const fn given(&self) -> (u64, u64) {
        (self.given, self.late)
    }

    /// Tells whether nothing is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Tells whether there is room for one more batch of a lane.
    #[must_use]
    pub fn has_room(&self, lane: usize) -> bool {
        self.lanes.get(lane).is_some_and(|count| *count < self.depth)
    }

    /// Where a batch is in the order of its tunnel.
    fn order(&self, at: u32) -> (u64, u64) {
        let held = self.places.get(at as usize).and_then(|place| place.held.as_ref());
        held.map_or((u64::MAX, u64::MAX), |(span, _)| (span.keypair, span.first))
    }

    fn bucket(&self, peer: u64) -> usize {
        // The lower half of the numbers of peers is dense.
        let mixed = peer ^ (peer >> 32);
        usize::try_from(mixed & (self.buckets.len() as u64 - 1)).unwrap_or(0)
    }

    /// Finds the tunnel of a peer, or makes it in the place of one that holds nothing.
    fn tunnel(&mut self, peer: u64) -> u32 {
        let bucket = self.bucket(peer);
        let mut at = self.buckets[bucket];
        while let Some(tunnel) = self.tunnels.get(at as usize) {
            if tunnel.peer == Some(peer) {
                return at;
            }
            at = tunnel.chained;
        }
        // There is one tunnel more than places.
        let count = self.tunnels.len();
        let oldest = (0..count).map(|step| (self.oldest + step) % count);
        let at = oldest.clone().find(|at| self.tunnels[*at].first == NONE).unwrap_or(self.oldest);
        self.oldest = (at + 1) % count;
        self.forget(at);
        self.tunnels[at] = Tunnel { peer: Some(peer), chained: self.buckets[bucket], ..Tunnel::FREE };
        let at = u32::try_from(at).unwrap_or(NONE);
        self.buckets[bucket] = at;
        at
    }

    /// Takes a tunnel out of its bucket.
    fn forget(&mut self, at: usize) {
        let Tunnel { peer: Some(peer), chained, .. } = self.tunnels[at] else { return };
        let bucket = self.bucket(peer);
        if self.buckets[bucket] as usize == at {
            self.buckets[bucket] = chained;
            return;
        }
        let mut before = self.buckets[bucket] as usize;
        while let Some(tunnel) = self.tunnels.get_mut(before) {
            if tunnel.chained as usize == at {
                tunnel.chained = chained;
                return;
            }
            before = tunnel.chained as usize;
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
