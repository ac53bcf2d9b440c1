//! The homes of all peers, shared by the threads that move packets and the one that configures.
//!
//! ```text
//!   lane thread i:    gate, if it is wanted; lock home i; one turn; unlock; wait for descriptors, deadline or bell
//!   control thread:   wanted; gate; lock homes 0, 1, ..; configure; unlock all; ring all bells
//! ```
//!
//! A lane thread locks its own home once a turn and no other, so nobody waits for a lock but when the control thread has
//! them all: configuration happens between two turns of every lane, and takes effect for all of them at once. As a lock
//! goes to whoever comes first, and a busy lane always would, the control thread says that it wants them, and each lane
//! waits for the gate before its next turn. And the control thread, which may want them again at once, lets those that wait
//! there have a turn first.

use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;

use wg_sched::StrategyKind;
use wg_sys_linux::{RunDelay, Waker};

use crate::home::Home;

/// What a thread has for its turns.
pub(crate) trait Part {
    /// All parts are taken, and this is the first: what all share is here until [`Self::given_back`].
    fn taken(&mut self) {}

    /// The threads go on.
    fn given_back(&mut self) {}
}

/// The homes.
#[derive(Debug)]
pub(crate) struct Homes<H = Home> {
    homes: Vec<Slot<H>>,
    /// What wakes the thread of each, then those of the helpers.
    bells: Vec<Waker>,
    /// Held by the control thread as long as it wants or has the homes.
    gate: Mutex<()>,
    /// Written by the control thread, read by the others once a turn; a hint, which the gate orders.
    wanted: AtomicBool,
    /// How many wait at the gate, or have not got their home since.
    waiting: AtomicUsize,
    /// How the work is spread, by number; written by the control thread, read by the others once a turn.
    strategy: AtomicUsize,
    /// Whether the control thread looks after the load of the lanes. Set by a lane that finds itself busy, which then wakes it, and
    /// cleared when none is.
    watched: AtomicBool,
    /// Set once, by whoever ends; read by all others once a turn, after their bell rang.
    ending: AtomicBool,
}

/// A home, and what its thread says of itself.
#[derive(Debug)]
struct Slot<H> {
    home: Mutex<H>,
    /// Nanoseconds that its thread worked so far; written by it alone, once a turn, read by the control thread.
    worked: AtomicU64,
    /// What the kernel says of how long that thread waited for a processor; it puts it here when it begins, if it can.
    delay: OnceLock<RunDelay>,
}

/// All homes, none of which takes a turn meanwhile.
#[derive(Debug)]
pub(crate) struct AllHomes<'a, H: Part = Home> {
    pub(crate) homes: Vec<MutexGuard<'a, H>>,
    shared: &'a Homes<H>,
    _gate: MutexGuard<'a, ()>,
}

impl<H: Part> Homes<H> {
    /// Shares homes, with what wakes the thread of each; there may be more bells, for threads that help.
    pub(crate) fn new(homes: Vec<H>, bells: Vec<Waker>) -> Self {
        Self {
            homes: homes
                .into_iter()
                .map(|home| Slot {
                    home: Mutex::new(home),
                    worked: AtomicU64::new(0),
                    delay: OnceLock::new(),
                })
                .collect(),
            bells,
            gate: Mutex::new(()),
            wanted: AtomicBool::new(false),
            waiting: AtomicUsize::new(0),
            strategy: AtomicUsize::new(0),
            watched: AtomicBool::new(false),
            ending: AtomicBool::new(false),
        }
    }

    /// How the work is to be spread.
    pub(crate) fn strategy(&self) -> StrategyKind {
        StrategyKind::ALL.get(self.strategy.load(Ordering::Relaxed)).copied().unwrap_or_default()
    }

    /// Has the work spread so from the next turn of each thread on.
    pub(crate) fn set_strategy(&self, kind: StrategyKind) {
        let number = StrategyKind::ALL.iter().position(|other| *other == kind).unwrap_or_default();
        self.strategy.store(number, Ordering::Relaxed);
        self.bells.iter().for_each(Waker::wake);
    }

    pub(crate) const fn count(&self) -> usize {
        self.homes.len()
    }

    /// Tells whether there are several, so that a peer could be at home elsewhere.
    pub(crate) fn are_several(&self) -> bool {
        self.count() > 1 && !self.strategy().shares_home()
    }

    /// What wakes a thread.
    pub(crate) fn bell(&self, at: usize) -> Option<&Waker> {
        self.bells.get(at)
    }

    /// Takes one home for a turn. Whoever panicked had it for the last time, and ends all others.
    pub(crate) fn enter(&self, at: usize) -> Option<MutexGuard<'_, H>> {
        let home = &self.homes.get(at)?.home;
        if !self.wanted.load(Ordering::Relaxed) {
            return Some(home.lock().unwrap_or_else(PoisonError::into_inner));
        }
        self.waiting.fetch_add(1, Ordering::Relaxed);
        drop(self.gate.lock());
        let home = home.lock().unwrap_or_else(PoisonError::into_inner);
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        Some(home)
    }

    /// Takes all homes, once each has ended its turn.
    pub(crate) fn all(&self) -> AllHomes<'_, H> {
        while self.waiting.load(Ordering::Relaxed) > 0 {
            thread::yield_now();
        }
        let gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
        self.wanted.store(true, Ordering::Relaxed);
        let homes = self.homes.iter().map(|slot| slot.home.lock().unwrap_or_else(PoisonError::into_inner));
        let mut homes: Vec<_> = homes.collect();
        if let Some(first) = homes.first_mut() {
            first.taken();
        }
        AllHomes { homes, shared: self, _gate: gate }
    }

    /// Notes that the thread of a lane has worked for so many nanoseconds more.
    pub(crate) fn add_work(&self, lane: usize, nanos: u64) {
        if let Some(slot) = self.homes.get(lane) {
            let worked = slot.worked.load(Ordering::Relaxed);
            slot.worked.store(worked.wrapping_add(nanos), Ordering::Relaxed);
        }
    }

    /// How many nanoseconds the thread of each lane has worked.
    pub(crate) fn worked(&self) -> impl Iterator<Item = u64> {
        self.homes.iter().map(|slot| slot.worked.load(Ordering::Relaxed))
    }

    /// Notes where the kernel says how long the thread of a lane waited for a processor.
    pub(crate) fn note_delay(&self, lane: usize, delay: RunDelay) {
        if let Some(slot) = self.homes.get(lane) {
            // A lane has one thread, which notes it once.
            slot.delay.get_or_init(|| delay);
        }
    }

    /// How many nanoseconds the thread of each lane waited for a processor, as far as the kernel tells.
    pub(crate) fn delays(&self) -> impl Iterator<Item = Option<u64>> {
        self.homes.iter().map(|slot| slot.delay.get()?.nanos().ok().flatten())
    }

    /// Has the load of the lanes looked after, and tells whether it was not yet: then the control thread is to be woken.
    pub(crate) fn watch(&self) -> bool {
        !self.watched.load(Ordering::Relaxed) && !self.watched.swap(true, Ordering::Relaxed)
    }

    pub(crate) fn is_watched(&self) -> bool {
        self.watched.load(Ordering::Relaxed)
    }

    /// Ends that.
    pub(crate) fn unwatch(&self) {
        self.watched.store(false, Ordering::Relaxed);
    }

    /// Tells all threads to end.
    pub(crate) fn end(&self) {
        self.ending.store(true, Ordering::Release);
        self.bells.iter().for_each(Waker::wake);
    }

    pub(crate) fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Acquire)
    }
}

impl<H: Part> AllHomes<'_, H> {
    /// How many threads move packets, or help.
    pub(crate) fn threads(&self) -> usize {
        self.shared.bells.len()
    }

    /// See [`Homes::strategy`].
    pub(crate) fn strategy(&self) -> StrategyKind {
        self.shared.strategy()
    }

    /// See [`Homes::set_strategy`].
    pub(crate) fn set_strategy(&self, kind: StrategyKind) {
        self.shared.set_strategy(kind);
    }
}

impl<H: Part> Drop for AllHomes<'_, H> {
    fn drop(&mut self) {
        self.shared.wanted.store(false, Ordering::Relaxed);
        if let Some(first) = self.homes.first_mut() {
            first.given_back();
        }
        self.homes.clear();
        // Whatever was configured may be something to do for any of them. One alone is of this thread, which is awake.
        if self.shared.bells.len() > 1 {
            self.shared.bells.iter().for_each(Waker::wake);
        }
    }
}

#[cfg(test)]
mod tests {
    use core::sync::atomic::AtomicU64;

    use super::*;

    impl Part for u64 {}

    impl Part for () {}

    /// Each home is the number of times it was configured.
    fn homes(count: usize) -> Homes<u64> {
        Homes::new(vec![0; count], (0..count).map(|_| Waker::new().unwrap()).collect())
    }

    #[test]
    fn configuration_comes_between_turns_and_turns_between_configurations() {
        // The lanes are always busy, and so is the control thread: neither keeps the other out.
        const ROUNDS: u64 = 100;
        let homes = homes(3);
        let turns = [const { AtomicU64::new(0) }; 3];
        thread::scope(|scope| {
            for lane in 0..3 {
                let (homes, turns) = (&homes, &turns);
                scope.spawn(move || {
                    while !homes.is_ending() {
                        let configured = *homes.enter(lane).unwrap();
                        assert!(configured <= ROUNDS);
                        turns[lane].fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
            while turns.iter().any(|turns| turns.load(Ordering::Relaxed) == 0) {
                thread::yield_now();
            }
            for round in 0..ROUNDS {
                let mut all = homes.all();
                let before: Vec<_> = turns.iter().map(|turns| turns.load(Ordering::Relaxed)).collect();
                for home in &mut all.homes {
                    assert_eq!(**home, round, "all of them or none");
                    **home += 1;
                }
                thread::yield_now();
                // A turn that had ended before may be counted only now, and no other.
                for (turns, before) in turns.iter().zip(before) {
                    assert!(turns.load(Ordering::Relaxed) - before <= 1, "a turn while they were all taken");
                }
            }
            homes.end();
        });
    }

    #[test]
    fn those_who_wait_have_a_turn_before_all_are_taken_again() {
        let homes = homes(1);
        thread::scope(|scope| {
            for _ in 0..100 {
                let all = homes.all();
                let lane = scope.spawn(|| *homes.enter(0).unwrap());
                let waits = || homes.waiting.load(Ordering::Relaxed) > 0;
                let seen = (0..10_000_000).any(|_| {
                    thread::yield_now();
                    waits()
                });
                assert!(seen, "it does not wait at the gate");
                let configured = *all.homes[0];
                drop(all);
                **homes.all().homes.first_mut().unwrap() += 1;
                assert_eq!(lane.join().unwrap(), configured);
            }
        });
    }

    #[test]
    fn everybody_is_woken_after_a_configuration_and_at_the_end() {
        for (count, rung) in [(1, false), (2, true)] {
            let homes = homes(count);
            drop(homes.all());
            for lane in 0..count {
                assert_eq!(homes.bell(lane).unwrap().clear(), rung);
            }
            homes.end();
            assert!(homes.is_ending());
            assert!((0..count).all(|lane| homes.bell(lane).unwrap().clear()));
        }
    }
}
