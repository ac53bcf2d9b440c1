//! The order of a home: batches that went to other cores leave in the order they came, each stream for itself.
//!
//! ```text
//!   streams, known to the home alone          places, shared
//!   (peer 7, out)   3 -> 0 -> 5               0        1        2       3       4        5
//!   (peer 9, in)    2                         [done]   [free]   [out]   [out]   [free]   [done]
//!                   ^ heads
//! ```
//!
//! `begin` gives a batch a place and appends the place to its stream. Whoever has crypted the batch puts it into its place and sets
//! the bit of the place in `done`. The home collects those bits, and takes what is done and the head of its stream; then the
//! next of the stream is the head: here nothing can leave before place 3 or place 2 is done, and after place 3 two more can.
//!
//! All streams share the places, so that memory is bounded by what may be under way, however many peers there are; a ring
//! for each peer would not be. The home never looks through places or streams: a place is looked at when its bit is set, and
//! when the one before it leaves.
//!
//! # Sleep
//!
//! A home that is about to sleep publishes which places are heads, and does not sleep if one of them is done. Who
//! completes a batch rings only if the home sleeps and the place is one of those; heads do not change while the home sleeps.
//! The rest is as `doorbell.rs` says.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::sync::atomic::Ordering;

use crossbeam_utils::CachePadded;
use heapless::index_map::FnvIndexMap;

use crate::handoff::doorbell::Doorbell;
use crate::handoff::slot::Slot;
use crate::io::Direction;
use crate::sync::AtomicU64;

/// Words of bits: one for each place.
const WORDS: usize = OrderTable::<()>::MOST as usize / 64;
/// Twice as many as there can be streams with a batch under way, so that they are found soon.
const BUCKETS: usize = 2 * 64 * WORDS;
/// No place.
const NONE: u16 = u16::MAX;

type Bits = [u64; WORDS];

/// What is kept in order: the batches of one peer in one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Stream {
    /// The peer, by any number that its home gives it.
    pub peer: u32,
    /// Which way.
    pub direction: Direction,
}

/// Where batches come back to their home: the shared side of an [`OrderTable`].
pub struct Completions<T> {
    slots: Box<[CachePadded<Slot<T>>]>,
    /// The places that were completed and not collected. Set by whoever completes (Release), cleared by the home (Acquire).
    done: CachePadded<[AtomicU64; WORDS]>,
    /// The heads, as of when the home last published them. Written by the home, and ordered by the fences of the doorbell.
    heads: CachePadded<[AtomicU64; WORDS]>,
}

impl<T> Completions<T> {
    /// Brings a batch to its place, and rings the bell of the home if it sleeps and waits for this one. Any core may do so, once
    /// for each place that was begun.
    pub fn complete(&self, place: u32, batch: T, home: Option<&Doorbell>) {
        self.put(place, batch);
        self.finish(place, home);
    }

    /// Says that the batch of a place was lost by the core that had it: the order goes on without it.
    pub fn abandon(&self, place: u32, home: Option<&Doorbell>) {
        self.finish(place, home);
    }

    fn put(&self, place: u32, batch: T) {
        let put = self.slots.get(place as usize).is_some_and(|slot| slot.put(batch).is_ok());
        debug_assert!(put, "place {place} is empty until its batch comes");
    }

    fn finish(&self, place: u32, home: Option<&Doorbell>) {
        let (word, bit) = bit(place);
        let Some(done) = self.done.get(word) else { return };
        // Release: whoever sees the bit finds the batch in its slot.
        done.fetch_or(bit, Ordering::Release);
        if let Some(home) = home {
            home.ring_if(|| self.heads[word].load(Ordering::Relaxed) & bit != 0);
        }
    }

    /// Tells whether a head, of those that were published, is done and was not collected.
    #[must_use]
    pub fn has_head(&self) -> bool {
        self.words().any(|word| {
            self.done[word].load(Ordering::Relaxed) & self.heads[word].load(Ordering::Relaxed) != 0
        })
    }

    /// The words that are in use.
    fn words(&self) -> core::ops::Range<usize> {
        0..self.slots.len().div_ceil(64)
    }
}

/// Batches that have been under way for long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Overdue {
    /// How many.
    pub batches: u32,
    /// The stream of the oldest, which waits for it.
    pub stream: Option<Stream>,
    /// When the oldest was begun.
    pub since: u64,
}

/// The order of a home, and its side of the [`Completions`].
pub struct OrderTable<T> {
    shared: Arc<Completions<T>>,
    places: Box<[Place]>,
    free: Vec<u16>,
    /// The streams that have a batch under way.
    streams: Box<FnvIndexMap<Stream, Queue, BUCKETS>>,
    /// The places that were begun, those that are the first of their stream, and those that were collected.
    begun: Bits,
    heads: Bits,
    done: Bits,
    /// Those that the home gave up: none of them is given again before its batch has come back, so that nobody can take the one
    /// batch for the other.
    lost: Bits,
    /// Of those, the ones that have left their stream.
    quarantined: u32,
    /// Heads that are done, in the order they became so.
    ready: VecDeque<u16>,
}

/// A place, as the home knows it.
#[derive(Clone, Copy, Debug)]
struct Place {
    stream: Stream,
    begun: u64,
    /// The next of the stream.
    next: u16,
}

/// The places of a stream, first and last.
#[derive(Clone, Copy, Debug)]
struct Queue {
    head: u16,
    tail: u16,
}

impl<T> OrderTable<T> {
    /// The most places there may be.
    pub const MOST: u32 = 256;

    /// Makes so many places, up to [`Self::MOST`].
    #[must_use]
    pub fn new(places: u32) -> Self {
        let count = places.clamp(1, Self::MOST);
        let bits = || CachePadded::new(core::array::from_fn(|_| AtomicU64::new(0)));
        let slots = (0..count).map(|_| CachePadded::new(Slot::new())).collect();
        let place = Place { stream: Stream { peer: 0, direction: Direction::In }, begun: 0, next: NONE };
        Self {
            shared: Arc::new(Completions { slots, done: bits(), heads: bits() }),
            places: (0..count).map(|_| place).collect(),
            free: (0..u16::try_from(count).unwrap_or(NONE)).rev().collect(),
            streams: Box::new(FnvIndexMap::new()),
            begun: [0; WORDS],
            heads: [0; WORDS],
            done: [0; WORDS],
            lost: [0; WORDS],
            quarantined: 0,
            ready: VecDeque::with_capacity(count as usize),
        }
    }

    /// The memory it takes, all of it from the start; what batches own is not in it.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        let count = self.places.len();
        size_of::<Self>()
            // Behind its two counts, which stand apart as far as it is aligned.
            + size_of::<Completions<T>>()
            + align_of::<Completions<T>>()
            + count * (size_of::<CachePadded<Slot<T>>>() + size_of::<Place>())
            + (self.free.capacity() + self.ready.capacity()) * size_of::<u16>()
            + size_of::<FnvIndexMap<Stream, Queue, BUCKETS>>()
    }

    /// Returns what others complete into.
    #[must_use]
    pub const fn completions(&self) -> &Arc<Completions<T>> {
        &self.shared
    }

    /// Gives the next batch of a stream its place. None if all are under way.
    pub fn begin(&mut self, stream: Stream, now: u64) -> Option<u32> {
        let place = self.free.pop()?;
        self.places[usize::from(place)] = Place { stream, begun: now, next: NONE };
        set(&mut self.begun, place);
        if let Some(queue) = self.streams.get_mut(&stream) {
            self.places[usize::from(queue.tail)].next = place;
            queue.tail = place;
        } else {
            let inserted = self.streams.insert(stream, Queue { head: place, tail: place });
            debug_assert!(inserted.is_ok(), "there is room for a stream for each place");
            set(&mut self.heads, place);
        }
        Some(place.into())
    }

    /// Tells whether a place is the first of its stream.
    #[must_use]
    pub fn is_head(&self, place: u32) -> bool {
        let (word, bit) = bit(place);
        self.heads.get(word).is_some_and(|heads| heads & bit != 0)
    }

    /// How many more can be begun now.
    #[must_use]
    pub fn room(&self) -> u32 {
        u32::try_from(self.free.len()).unwrap_or(u32::MAX)
    }

    /// Batches that were begun, and neither drained nor given up.
    #[must_use]
    pub fn pending(&self) -> u32 {
        u32::try_from(self.places.len() - self.free.len()).unwrap_or(u32::MAX) - self.quarantined
    }

    /// Brings a batch that never left the home to its place: no bell, no fence.
    pub fn complete(&mut self, place: u32, batch: T) {
        self.shared.put(place, batch);
        let (word, bit) = bit(place);
        if word < WORDS {
            self.note(word, bit);
        }
    }

    /// Takes the next batch that may leave: one of each stream in turn.
    pub fn drain(&mut self) -> Option<(Stream, T)> {
        loop {
            let place = match self.ready.pop_front() {
                Some(place) => place,
                None => {
                    self.collect();
                    self.ready.pop_front()?
                }
            };
            let stream = self.advance(place);
            if is_set(&self.lost, place) {
                continue;
            }
            // Nothing is there if its core abandoned it.
            if let Some(batch) = self.shared.slots[usize::from(place)].take() {
                return Some((stream, batch));
            }
        }
    }

    /// Tells whether a batch may leave, of those that were collected.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Publishes which places are heads, for those who complete while the home sleeps.
    pub fn publish_heads(&self) {
        for word in self.shared.words() {
            self.shared.heads[word].store(self.heads[word], Ordering::Relaxed);
        }
    }

    /// Counts the batches that were begun before `since` and have not come back: their cores are slow, or dead. It looks at
    /// every place, so it is not for each turn.
    pub fn overdue(&mut self, since: u64) -> Overdue {
        self.collect();
        let mut overdue = Overdue::default();
        for (at, place) in (0..).zip(self.places.iter()) {
            let (word, bit) = bit(at);
            let out = self.begun[word] & !self.done[word] & bit != 0;
            if !out || place.begun >= since {
                continue;
            }
            overdue.batches += 1;
            if overdue.stream.is_none() || place.begun < overdue.since {
                (overdue.stream, overdue.since) = (Some(place.stream), place.begun);
            }
        }
        overdue
    }

    /// Gives up the batches that [`Self::overdue`] counts, and returns how many: their streams go on without them. One that comes
    /// back nevertheless is dropped, and only then is its place free again.
    pub fn give_up(&mut self, since: u64) -> u32 {
        self.collect();
        let mut count = 0;
        for at in 0..u16::try_from(self.places.len()).unwrap_or(NONE) {
            let out = is_set(&self.begun, at) && !is_set(&self.done, at);
            if out && self.places[usize::from(at)].begun < since {
                set(&mut self.lost, at);
                let (word, bit) = bit(at.into());
                self.note(word, bit);
                count += 1;
            }
        }
        count
    }

    /// Takes note of what others have completed.
    fn collect(&mut self) {
        for word in self.shared.words() {
            if self.shared.done[word].load(Ordering::Relaxed) != 0 {
                let done = self.shared.done[word].swap(0, Ordering::Acquire);
                let late = done & self.lost[word];
                self.note(word, done & !late);
                if late != 0 {
                    self.take_back(word, late);
                }
            }
        }
    }

    /// Drops batches that were given up and came back, and frees their places, at once or when it is their turn.
    #[cold]
    fn take_back(&mut self, word: usize, late: u64) {
        self.lost[word] &= !late;
        for bit in (0..64).filter(|bit| late & (1 << bit) != 0) {
            let place = u16::try_from(64 * word + bit).unwrap_or(NONE);
            drop(self.shared.slots[usize::from(place)].take());
            if !is_set(&self.begun, place) {
                self.quarantined -= 1;
                self.free.push(place);
            }
        }
    }

    fn note(&mut self, word: usize, done: u64) {
        debug_assert_eq!(done & (self.done[word] | !self.begun[word]), 0, "each place is completed once");
        self.done[word] |= done;
        let mut heads = done & self.heads[word];
        while heads != 0 {
            let place = 64 * word + heads.trailing_zeros() as usize;
            self.ready.push_back(u16::try_from(place).unwrap_or(NONE));
            heads &= heads - 1;
        }
    }

    /// Frees a head that is done; the next of its stream is the head.
    fn advance(&mut self, place: u16) -> Stream {
        let Place { stream, next, .. } = self.places[usize::from(place)];
        clear(&mut self.begun, place);
        clear(&mut self.heads, place);
        clear(&mut self.done, place);
        if is_set(&self.lost, place) {
            self.quarantined += 1;
        } else {
            self.free.push(place);
        }
        if next == NONE {
            self.streams.swap_remove(&stream);
            return stream;
        }
        if let Some(queue) = self.streams.get_mut(&stream) {
            queue.head = next;
        }
        set(&mut self.heads, next);
        if is_set(&self.done, next) {
            self.ready.push_back(next);
        }
        stream
    }

    /// Checks that all of it fits together.
    #[cfg(all(test, not(loom)))]
    fn check_invariants(&self) {
        let mut seen = 0;
        for (stream, queue) in &*self.streams {
            let mut place = queue.head;
            assert!(self.is_head(place.into()));
            loop {
                seen += 1;
                assert!(is_set(&self.begun, place));
                assert_eq!(self.places[usize::from(place)].stream, *stream);
                let next = self.places[usize::from(place)].next;
                if next == NONE {
                    break;
                }
                assert!(!self.is_head(next.into()));
                place = next;
            }
            assert_eq!(place, queue.tail);
        }
        assert_eq!(seen, self.pending());
        let heads: u32 = self.heads.iter().map(|word| word.count_ones()).sum();
        assert_eq!(heads as usize, self.streams.len());
    }
}

/// Where the bit of a place is.
const fn bit(place: u32) -> (usize, u64) {
    (place as usize / 64, 1 << (place % 64))
}

fn set(bits: &mut Bits, place: u16) {
    bits[usize::from(place / 64)] |= 1 << (place % 64);
}

fn clear(bits: &mut Bits, place: u16) {
    bits[usize::from(place / 64)] &= !(1 << (place % 64));
}

const fn is_set(bits: &Bits, place: u16) -> bool {
    bits[(place / 64) as usize] & (1 << (place % 64)) != 0
}

impl<T> fmt::Debug for Completions<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Completions").field("places", &self.slots.len()).finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for OrderTable<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OrderTable")
            .field("places", &self.places.len())
            .field("pending", &self.pending())
            .field("streams", &self.streams.len())
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
