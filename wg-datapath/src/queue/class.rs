//! Deficit round robin over classes, those that have just woken first (RFC 8290, 4.1 and 4.2): peers, and the flows of a peer.
//!
//! ```text
//!             new                     old
//! wakes up -> [c] [b]   its quantum   [x] [y] [z]
//!              |        is used up     |
//!              `---- or it is empty -->`-- empty: idle
//! ```
//!
//! The first of `new`, else of `old`, sends until its deficit is used up; then it gets a quantum and goes to the end of `old`. A
//! class that ran empty in `new` also goes there, not away: one that sends a packet, waits for it to leave and sends the next would
//! be new forever. An idle class keeps its name and state until another needs its place, the one that has been idle longest first.
//!
//! There are more places than frames, so that classes can be empty and wait for their turn. When the idle ones are down to as many
//! as there are frames, the next that runs empty is idle at once. So there is always a place for the class of a frame that has one:
//! idle ones and those with frames are never fewer than `spare` together, as only that rule could make them fewer.

use alloc::vec;
use alloc::vec::Vec;

/// No class, no frame.
pub(super) const NIL: u32 = u32::MAX;

/// The name of a place that was never used.
const NAMELESS: u64 = u64::MAX;

/// Who is before and after whom: the ends of a list linked by [`Class::before`] and [`Class::after`].
#[derive(Clone, Copy)]
struct List {
    first: u32,
    last: u32,
}

impl List {
    const EMPTY: Self = Self { first: NIL, last: NIL };
}

/// The classes that take turns with each other.
#[derive(Clone, Copy)]
pub(super) struct Turns {
    new: List,
    old: List,
}

impl Turns {
    pub(super) const EMPTY: Self = Self { new: List::EMPTY, old: List::EMPTY };

    fn first(&self) -> u32 {
        if self.new.first != NIL { self.new.first } else { self.old.first }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Idle,
    New,
    Old,
}

/// A class: what it holds, what it may still send, and `state`.
#[derive(Clone, Copy)]
pub(super) struct Class<S> {
    name: u64,
    pub(super) frames: u32,
    pub(super) bytes: usize,
    /// What it may still send in its turn, in bytes; less than nothing, if its last frame was larger than that.
    pub(super) deficit: i64,
    before: u32,
    after: u32,
    /// The next whose name falls into the same bucket.
    chain: u32,
    place: Place,
    pub(super) state: S,
}

impl<S> Class<S> {
    pub(super) const fn name(&self) -> u64 {
        self.name
    }

    /// For comparison; a frame counts although it may have no bytes.
    pub(super) const fn size(&self) -> (usize, u32) {
        (self.bytes, self.frames)
    }
}

/// All classes of one kind, by number and by name.
pub(super) struct Classes<S> {
    /// Those that were ever needed: the memory of the others is not touched.
    classes: Vec<Class<S>>,
    places: usize,
    /// By the hash of a name.
    buckets: Vec<u32>,
    /// Everything that takes no turns; the first has not for longest. Those that were never needed have not for longer.
    idle: List,
    /// How many that are, with those.
    idle_len: usize,
    spare: usize,
    quantum: i64,
    fresh: S,
}

impl<S: Copy> Classes<S> {
    /// `places` classes, a power of two and at least `spare`, the most that hold frames at a time.
    pub(super) fn new(places: usize, spare: usize, quantum: i64, fresh: S) -> Self {
        Self {
            classes: Vec::with_capacity(places),
            places,
            buckets: vec![NIL; places],
            idle: List::EMPTY,
            idle_len: places,
            spare,
            quantum,
            fresh,
        }
    }

    pub(super) fn at(&self, id: u32) -> &Class<S> {
        &self.classes[id as usize]
    }

    pub(super) fn at_mut(&mut self, id: u32) -> &mut Class<S> {
        &mut self.classes[id as usize]
    }

    /// The class of that name, if it takes turns.
    #[inline]
    pub(super) fn awake(&self, name: u64) -> Option<u32> {
        self.find(name).filter(|(_, class)| class.place != Place::Idle).map(|(id, _)| id)
    }

    /// The class of that name, which does not take turns yet, is a new one of `turns`.
    pub(super) fn wake(&mut self, name: u64, turns: &mut Turns) -> u32 {
        let id = match self.find(name) {
            Some((id, _)) => id,
            None => self.rename(name),
        };
        self.idle = self.without(self.idle, id);
        self.idle_len -= 1;
        turns.new = self.appended(turns.new, id);
        let quantum = self.quantum;
        let class = self.at_mut(id);
        (class.place, class.deficit) = (Place::New, quantum);
        id
    }

    /// The class whose turn it is; `asleep` is told the state of each that goes idle.
    #[inline]
    pub(super) fn turn(&mut self, turns: &mut Turns, mut asleep: impl FnMut(&mut S)) -> Option<u32> {
        loop {
            let id = turns.first();
            let class = self.classes.get_mut(id as usize)?;
            if class.frames != 0 && class.deficit > 0 {
                return Some(id);
            }
            let is_old = class.place == Place::Old;
            let is_alone = class.after == NIL && (is_old || turns.old.first == NIL);
            if class.frames == 0 && (is_old || is_alone) {
                asleep(&mut class.state);
                self.sleep(turns, id);
                continue;
            }
            if class.frames != 0 {
                // What many rounds would come to, for one that is alone.
                class.deficit = if is_alone { self.quantum } else { class.deficit + self.quantum };
            }
            if is_old && is_alone {
                return Some(id);
            }
            self.unlink(turns, id);
            turns.old = self.appended(turns.old, id);
            self.at_mut(id).place = Place::Old;
        }
    }

    /// Takes a charge back.
    pub(super) fn refund(&mut self, id: u32, bytes: usize) {
        let quantum = self.quantum;
        let class = self.at_mut(id);
        class.deficit = class.deficit.saturating_add_unsigned(bytes as u64).min(quantum);
    }

    /// Whether a class that ran empty must not wait for its turn, lest there be no place for others.
    pub(super) fn is_tight(&self) -> bool {
        self.idle_len < self.spare
    }

    /// The class takes no more turns.
    pub(super) fn sleep(&mut self, turns: &mut Turns, id: u32) {
        self.unlink(turns, id);
        self.idle = self.appended(self.idle, id);
        self.idle_len += 1;
        self.at_mut(id).place = Place::Idle;
    }

    /// None of these takes any more turns.
    pub(super) fn sleep_all(&mut self, turns: &mut Turns) {
        while turns.first() != NIL {
            self.sleep(turns, turns.first());
        }
    }

    /// All that take turns, in no particular order.
    pub(super) fn each(&self, turns: &Turns) -> impl Iterator<Item = u32> {
        let mut id = turns.new.first;
        let mut then = turns.old.first;
        core::iter::from_fn(move || {
            if id == NIL {
                (id, then) = (then, NIL);
            }
            let class = self.classes.get(id as usize)?;
            Some(core::mem::replace(&mut id, class.after))
        })
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.classes.capacity() * size_of::<Class<S>>() + self.buckets.capacity() * size_of::<u32>()
    }

    /// How many were ever needed.
    #[cfg(test)]
    pub(super) fn touched(&self) -> usize {
        self.classes.len()
    }

    /// Asserts that every place is found by its name and that idle ones and the `used` are never fewer than `spare`.
    #[cfg(test)]
    pub(super) fn check(&self, used: usize) {
        let ids = 0..number(self.classes.len());
        let named = ids.clone().filter(|&id| self.at(id).name != NAMELESS);
        assert!(named.clone().all(|id| self.find(self.at(id).name).is_some_and(|(found, _)| found == id)));
        let idle = ids.filter(|&id| self.at(id).place == Place::Idle);
        assert!(idle.clone().all(|id| self.at(id).frames == 0));
        assert_eq!(idle.count() + self.places - self.classes.len(), self.idle_len);
        assert!(self.idle_len + used >= self.spare, "{} idle, {used} used", self.idle_len);
    }

    fn bucket(&self, name: u64) -> usize {
        // The bits from the middle of the product depend on all bits of the name.
        let mixed = name.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        mixed as usize & (self.buckets.len() - 1)
    }

    #[inline]
    fn find(&self, name: u64) -> Option<(u32, &Class<S>)> {
        let mut id = self.buckets[self.bucket(name)];
        loop {
            let class = self.classes.get(id as usize)?;
            if class.name == name {
                return Some((id, class));
            }
            id = class.chain;
        }
    }

    /// One that was never needed.
    fn unused(&mut self) -> Option<u32> {
        if self.classes.len() >= self.places {
            return None;
        }
        let id = number(self.classes.len());
        self.classes.push(Class {
            name: NAMELESS,
            frames: 0,
            bytes: 0,
            deficit: 0,
            before: NIL,
            after: NIL,
            chain: NIL,
            place: Place::Idle,
            state: self.fresh,
        });
        self.idle = self.appended(self.idle, id);
        Some(id)
    }

    /// The class that has been idle longest forgets what it was.
    fn rename(&mut self, name: u64) -> u32 {
        let id = self.unused().unwrap_or(self.idle.first);
        let Class { name: old, chain, .. } = *self.at(id);
        if old != NAMELESS {
            let bucket = self.bucket(old);
            if self.buckets[bucket] == id {
                self.buckets[bucket] = chain;
            } else {
                let mut other = self.buckets[bucket];
                while self.at(other).chain != id {
                    other = self.at(other).chain;
                }
                self.at_mut(other).chain = chain;
            }
        }
        let bucket = self.bucket(name);
        let chain = core::mem::replace(&mut self.buckets[bucket], id);
        let fresh = self.fresh;
        let class = self.at_mut(id);
        (class.name, class.chain, class.state) = (name, chain, fresh);
        id
    }

    fn unlink(&mut self, turns: &mut Turns, id: u32) {
        if self.at(id).place == Place::New {
            turns.new = self.without(turns.new, id);
        } else {
            turns.old = self.without(turns.old, id);
        }
    }

    fn without(&mut self, mut list: List, id: u32) -> List {
        let Class { before, after, .. } = *self.at(id);
        match self.classes.get_mut(before as usize) {
            Some(class) => class.after = after,
            None => list.first = after,
        }
        match self.classes.get_mut(after as usize) {
            Some(class) => class.before = before,
            None => list.last = before,
        }
        list
    }

    fn appended(&mut self, mut list: List, id: u32) -> List {
        match self.classes.get_mut(list.last as usize) {
            Some(class) => class.after = id,
            None => list.first = id,
        }
        let class = self.at_mut(id);
        (class.before, class.after) = (list.last, NIL);
        list.last = id;
        list
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the queue has fewer places than 2^32")]
pub(super) fn number(id: usize) -> u32 {
    id as u32
}
