//! The rings between the lanes of an interface whose counters are split.
//!
//! Between each two lanes and in each direction there are three, of one producer and one consumer: opened batches to their home, the same
//! boxes back, empty but for their slabs, and keys. A place in the first is taken before a batch is opened and free again
//! when its box is back, so neither of the two is ever full. That of keys may be, if a lane does not hear them for long. A home tells what
//! it could not tell once there is room, and until then says that something is missing: what the other finds no key for it then takes home.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;
use core::sync::atomic::{AtomicBool, Ordering};

use rtrb::{Consumer, Producer, RingBuffer};
use wg_sched::handoff::{Doorbell, Hands};

use super::PeerKeys;
use crate::allowed_ips::PeerSlot;
use crate::batch::InBatch;
use crate::home::HomeId;
use crate::slab::SlabClass;

/// Batches that may be under way from one lane to another: as many as one receive call may begin.
pub(crate) const WAY_BATCHES: usize = 64;
/// Slabs in them: those of a batch always fit.
pub(crate) const WAY_SMALL: usize = 512;
pub(crate) const WAY_LARGE: usize = 64;
/// Peers whose keys may be told and not yet heard.
const WAY_KEYS: usize = 256;
/// What a ring takes besides its items: head and tail in cache lines of their own, and their count.
const RING: usize = 512;

/// What a lane has to do with one other.
struct Way<A> {
    home: HomeId,
    bell: Arc<Doorbell>,
    /// What the other has in its hands.
    hands: Arc<Hands>,
    batches_out: Producer<Box<InBatch<A>>>,
    batches_in: Consumer<Box<InBatch<A>>>,
    boxes_out: Producer<Box<InBatch<A>>>,
    boxes_in: Consumer<Box<InBatch<A>>>,
    keys_out: Producer<PeerKeys<A>>,
    keys_in: Consumer<PeerKeys<A>>,
    /// Batches that are on their way there, there, or on their way back, and their slabs.
    lent: usize,
    small: usize,
    large: usize,
    /// The other receives for this home.
    receives: bool,
    /// The slots of the peers whose keys the other may not have been told.
    missed: Range<u32>,
    /// Whether there are any: this home writes it, and the other reads. Its Release pairs with the Acquire of [`Ways::look_behind`]; what was
    /// told before it is false again is heard by who reads that.
    misses: Arc<AtomicBool>,
    /// The same of the other home, and what was read last.
    other_misses: Arc<AtomicBool>,
    was_missing: bool,
    /// Keys were told, or boxes given back, of which the other has not been told.
    untold: bool,
}

/// The part of one lane in what a split of counters needs.
pub struct Ways<A> {
    home: HomeId,
    bell: Arc<Doorbell>,
    /// What this lane has in its hands.
    pub(crate) hands: Arc<Hands>,
    ways: Vec<Way<A>>,
}

impl<A> Ways<A> {
    /// Makes the parts of as many lanes as there are bells, in the order of their homes. The bells are those of their
    /// [`Exchange`](crate::Exchange).
    ///
    /// # Panics
    ///
    /// If there are more than [`HomeId::MOST`].
    #[must_use]
    pub fn between(bells: &[Arc<Doorbell>]) -> Vec<Self> {
        assert!(bells.len() <= HomeId::MOST, "no more homes than there are numbers");
        let mut parts: Vec<Self> = (0..)
            .zip(bells)
            .map(|(home, bell)| Self {
                home: HomeId::from_index(home),
                bell: Arc::clone(bell),
                hands: Arc::new(Hands::new(bells.len())),
                ways: Vec::with_capacity(bells.len().saturating_sub(1)),
            })
            .collect();
        for one in 0..parts.len() {
            for other in one + 1..parts.len() {
                let ([there, here], [back, forth]) = (pair(WAY_BATCHES), pair(WAY_BATCHES));
                let [told, heard] = pair(WAY_KEYS);
                let first = (there.0, here.1, back.0, forth.1, told.0, heard.1);
                let second = (here.0, there.1, forth.0, back.1, heard.0, told.1);
                let flags = [(); 2].map(|()| Arc::new(AtomicBool::new(false)));
                for (side, (from, to, ends)) in
                    [(one, other, first), (other, one, second)].into_iter().enumerate()
                {
                    let (batches_out, batches_in, boxes_out, boxes_in, keys_out, keys_in) = ends;
                    let (bell, hands) = (Arc::clone(&parts[to].bell), Arc::clone(&parts[to].hands));
                    parts[from].ways.push(Way {
                        home: HomeId::from_index(to),
                        bell,
                        hands,
                        batches_out,
                        batches_in,
                        boxes_out,
                        boxes_in,
                        keys_out,
                        keys_in,
                        lent: 0,
                        small: 0,
                        large: 0,
                        receives: false,
                        missed: 0..0,
                        misses: Arc::clone(&flags[side]),
                        other_misses: Arc::clone(&flags[1 - side]),
                        was_missing: false,
                        untold: false,
                    });
                }
            }
        }
        parts
    }

    /// Which lane's part it is.
    pub(crate) const fn home(&self) -> HomeId {
        self.home
    }

    /// How many lanes there are.
    pub(crate) const fn lanes(&self) -> usize {
        self.ways.len() + 1
    }

    /// The memory it takes: that of its rings to others, without what is in them.
    pub(crate) const fn memory_bytes(&self) -> usize {
        let ring =
            2 * WAY_BATCHES * size_of::<Box<InBatch<A>>>() + WAY_KEYS * size_of::<PeerKeys<A>>() + 3 * RING;
        size_of::<Self>()
            + self.ways.capacity() * size_of::<Way<A>>()
            + self.ways.len() * (ring + RING)
            + self.lanes() * RING
    }

    /// Says which lanes receive for this home; they have been told nothing yet.
    pub(crate) fn name_receivers(&mut self, receives: impl Fn(HomeId) -> bool) {
        for way in &mut self.ways {
            way.receives = receives(way.home);
        }
        self.forget_missed();
    }

    /// Says which lanes receive for this home, too, and tells whether there is a new one, which has been told nothing yet.
    pub(crate) fn add_receivers(&mut self, receives: impl Fn(HomeId) -> bool) -> bool {
        let mut any = false;
        for way in &mut self.ways {
            let is_new = !way.receives && receives(way.home);
            way.receives |= is_new;
            any |= is_new;
        }
        any
    }

    /// Tells whether a lane may have something for this home in its sockets.
    pub(crate) fn is_receiver(&self, lane: HomeId) -> bool {
        lane == self.home || self.ways.iter().any(|way| way.home == lane && way.receives)
    }

    /// Takes a place on the way to the home of a batch, if there is one.
    pub(crate) fn reserve(&mut self, batch: &InBatch<A>) -> bool {
        let Some(way) = self.way(batch.home) else { return false };
        let (small, large) = slabs(batch);
        let fits = way.lent < WAY_BATCHES && way.small + small <= WAY_SMALL && way.large + large <= WAY_LARGE;
        if fits {
            (way.lent, way.small, way.large) = (way.lent + 1, way.small + small, way.large + large);
        }
        fits
    }

    /// Gives the place of a batch back that does not go.
    pub(crate) fn release(&mut self, batch: &InBatch<A>, home: HomeId) {
        let Some(way) = self.way(home) else { return };
        let (small, large) = slabs(batch);
        debug_assert!(way.lent > 0 && way.small >= small && way.large >= large, "it has a place");
        (way.lent, way.small, way.large) = (way.lent - 1, way.small - small, way.large - large);
    }

    /// Brings a batch that has a place to its home.
    pub(crate) fn bring(&mut self, batch: Box<InBatch<A>>) {
        let home = batch.home;
        if let Some(way) = self.way(home) {
            let pushed = way.batches_out.push(batch);
            debug_assert!(pushed.is_ok(), "it has a place");
        }
        self.hands.give(home.index());
        if let Some(way) = self.way(home) {
            way.bell.ring_if_asleep();
        }
    }

    /// Takes the next batch that a lane brought, and tells which.
    pub(crate) fn next_batch(&mut self) -> Option<Box<InBatch<A>>> {
        self.ways.iter_mut().find_map(|way| way.batches_in.pop().ok())
    }

    /// Gives the box of a batch that was brought here back.
    pub(crate) fn give_back(&mut self, batch: Box<InBatch<A>>) {
        if let Some(way) = self.way(batch.from) {
            let pushed = way.boxes_out.push(batch);
            debug_assert!(pushed.is_ok(), "there is room for all that were lent");
        }
    }

    /// Takes the next box that comes back.
    pub(crate) fn next_box(&mut self) -> Option<Box<InBatch<A>>> {
        let (home, batch) =
            self.ways.iter_mut().find_map(|way| Some((way.home, way.boxes_in.pop().ok()?)))?;
        self.release(&batch, home);
        Some(batch)
    }

    /// Tells whether all receivers have room for what one more peer opens with.
    pub(crate) fn may_tell(&self) -> bool {
        self.ways.iter().all(|way| !way.receives || way.keys_out.slots() > 0)
    }

    /// Tells all receivers what a peer opens with, as far as they have room to hear it.
    pub(crate) fn tell(&mut self, slot: PeerSlot, keys: impl Fn() -> PeerKeys<A>) {
        for way in self.ways.iter_mut().filter(|way| way.receives) {
            if way.keys_out.slots() > 0 && way.keys_out.push(keys()).is_ok() {
                way.untold = true;
                continue;
            }
            let (from, to) = (slot.get(), slot.get() + 1);
            way.missed = if way.missed.is_empty() {
                from..to
            } else {
                way.missed.start.min(from)..way.missed.end.max(to)
            };
            way.misses.store(true, Ordering::Release);
        }
    }

    /// Tells what could not be told, as far as there is room now: of all peers between the first and the last of them.
    pub(crate) fn tell_missed(&mut self, keys: impl Fn(PeerSlot) -> PeerKeys<A>) {
        for way in self.ways.iter_mut().filter(|way| !way.missed.is_empty()) {
            while way.keys_out.slots() > 0
                && let Some(slot) = way.missed.next()
            {
                way.untold |= way.keys_out.push(keys(PeerSlot::new(slot))).is_ok();
            }
            if way.missed.is_empty() {
                way.misses.store(false, Ordering::Release);
            }
        }
    }

    /// Tells whether there is something that could not be told.
    pub(crate) fn has_missed(&self) -> bool {
        self.ways.iter().any(|way| !way.missed.is_empty())
    }

    /// Forgets what could not be told.
    pub(crate) fn forget_missed(&mut self) {
        for way in &mut self.ways {
            way.missed = 0..0;
            way.misses.store(false, Ordering::Release);
        }
    }

    /// Reads who has not told all of its keys. To be called before they are heard.
    pub(crate) fn look_behind(&mut self) {
        for way in &mut self.ways {
            way.was_missing = way.other_misses.load(Ordering::Acquire);
        }
    }

    /// Tells whether a home may have keys that were not heard, as of then.
    pub(crate) fn may_miss(&self, home: HomeId) -> bool {
        self.ways.iter().any(|way| way.home == home && way.was_missing)
    }

    /// Rings the bells of those who were told something.
    pub(crate) fn publish(&mut self) {
        for way in &mut self.ways {
            if core::mem::take(&mut way.untold) {
                way.bell.ring_if_asleep();
            }
        }
    }

    /// Takes what the next home told.
    pub(crate) fn next_keys(&mut self) -> Option<PeerKeys<A>> {
        self.ways.iter_mut().find_map(|way| way.keys_in.pop().ok())
    }

    /// Tells whether a lane whose sockets are empty has something for this one that it has not brought.
    pub(crate) fn holds(&self, lane: HomeId) -> bool {
        let hands = if lane == self.home {
            Some(&self.hands)
        } else {
            self.ways.iter().find(|way| way.home == lane).map(|way| &way.hands)
        };
        hands.is_some_and(|hands| hands.holds(self.home.index()))
    }

    /// Tells whether nothing of this lane is with another.
    pub(crate) fn is_idle(&self) -> bool {
        self.ways.iter().all(|way| way.lent == 0 && way.batches_in.is_empty())
    }

    /// Says that the lane is about to sleep, and tells whether it may.
    pub(crate) fn may_sleep(&self) -> bool {
        let waits = |way: &Way<A>| !way.batches_in.is_empty() || !way.keys_in.is_empty();
        self.bell.may_sleep(|| !self.ways.iter().any(waits))
    }

    fn way(&mut self, home: HomeId) -> Option<&mut Way<A>> {
        self.ways.iter_mut().find(|way| way.home == home)
    }
}

impl<A> fmt::Debug for Ways<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lent = self.ways.iter().map(|way| (way.home, way.lent));
        f.debug_struct("Ways")
            .field("home", &self.home)
            .field("lent", &lent.collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

/// The slabs of a batch, small and large ones.
fn slabs<A>(batch: &InBatch<A>) -> (usize, usize) {
    let held = batch.trains.iter().filter(|train| !train.slab.is_empty());
    let all = held.clone().count();
    let small = held.filter(|train| train.slab.len() == SlabClass::Small.bytes()).count();
    (small, all - small)
}

/// Two rings, one for each direction.
fn pair<T>(capacity: usize) -> [(Producer<T>, Consumer<T>); 2] {
    [(); 2].map(|()| RingBuffer::new(capacity))
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::thread;

    use super::*;

    const LANES: usize = 3;
    const COUNT: u64 = if cfg!(miri) { 100 } else { 3000 };

    /// What one lane does with the others, until all has come and come back.
    fn exchange(mut part: Ways<()>) {
        let own = part.home();
        let others: Vec<_> = part.ways.iter().map(|way| way.home).collect();
        let (mut sent, mut got, mut heard) = ([0; LANES], [0; LANES], [0; LANES]);
        let (mut returned, mut told) = (0, 0);
        let all = COUNT * others.len() as u64;
        while returned < all
            || got.iter().sum::<u64>() < all
            || told < COUNT
            || part.has_missed()
            || heard.iter().sum::<u64>() < all
        {
            for home in &others {
                let sent = &mut sent[home.index()];
                let batch =
                    Box::new(InBatch { home: *home, from: own, keypair: *sent, ..InBatch::default() });
                if *sent < COUNT && part.reserve(&batch) {
                    part.hands.take(home.index());
                    part.bring(batch);
                    *sent += 1;
                }
            }
            while let Some(batch) = part.next_batch() {
                let got = &mut got[batch.from.index()];
                assert_eq!(batch.keypair, *got, "in order");
                *got += 1;
                part.give_back(batch);
            }
            while let Some(batch) = part.next_box() {
                assert_eq!(batch.from, own);
                returned += 1;
            }
            let keys = |slot| PeerKeys { slot, home: own, peer: None, keys: heapless::Vec::new() };
            if told < COUNT && !part.has_missed() {
                let slot = PeerSlot::new(u32::try_from(told).unwrap());
                part.tell(slot, || keys(slot));
                told += 1;
            }
            part.tell_missed(keys);
            part.look_behind();
            while let Some(keys) = part.next_keys() {
                let heard = &mut heard[keys.home.index()];
                assert_eq!(u64::from(keys.slot.get()), *heard, "each once");
                *heard += 1;
            }
            for home in &others {
                part.holds(*home);
                part.may_miss(*home);
            }
            thread::yield_now();
        }
        assert!(part.is_idle());
    }

    #[test]
    fn batches_boxes_and_keys_go_from_thread_to_thread_once_and_in_order() {
        let bells: Vec<_> = (0..LANES).map(|_| Arc::new(Doorbell::new(|| ()))).collect();
        thread::scope(|scope| {
            for mut part in Ways::between(&bells) {
                part.name_receivers(|_| true);
                scope.spawn(|| exchange(part));
            }
        });
    }

    #[test]
    fn what_a_lane_has_no_room_to_hear_is_told_later_and_known_to_be_missing() {
        let bells: Vec<_> = (0..2).map(|_| Arc::new(Doorbell::new(|| ()))).collect();
        let mut parts = Ways::<()>::between(&bells).into_iter();
        let (mut home, mut lane) = (parts.next().unwrap(), parts.next().unwrap());
        home.name_receivers(|_| true);
        let keys = |slot| PeerKeys { slot, home: HomeId::default(), peer: None, keys: heapless::Vec::new() };
        let tell = |home: &mut Ways<()>, slots: Range<u32>| {
            slots.map(PeerSlot::new).for_each(|slot| home.tell(slot, || keys(slot)));
        };
        let hear = |lane: &mut Ways<()>| -> Vec<u32> {
            lane.look_behind();
            core::iter::from_fn(|| lane.next_keys()).map(|keys| keys.slot.get()).collect()
        };
        let most = u32::try_from(WAY_KEYS).unwrap();
        tell(&mut home, 0..most);
        assert!(!home.has_missed());
        tell(&mut home, 9..10);
        tell(&mut home, 5..6);
        assert!(home.has_missed());
        assert_eq!(hear(&mut lane), (0..most).collect::<Vec<_>>());
        assert!(lane.may_miss(home.home()) && !home.may_miss(lane.home()));
        home.tell_missed(keys);
        assert!(!home.has_missed());
        assert_eq!(hear(&mut lane), [5, 6, 7, 8, 9]);
        assert!(!lane.may_miss(home.home()));
    }
}
