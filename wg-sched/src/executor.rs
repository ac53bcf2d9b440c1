//! What the thread of a core does: a turn after the other, a short wait when there is nothing to do, then sleep.
//!
//! ```text
//!   turn --> something done? --yes--> turn
//!               | no
//!               +--> a few rounds of back-off, each ended by a turn
//!               `--> may_sleep? --no--> turn
//!                       | yes
//!                       `--> park until the bell, I/O or a deadline --> awake --> turn
//! ```
//!
//! It starts no thread and makes no system call: the caller's threads call [`Executor::run`], one for each core of the plan, and the
//! [`Platform`] pins, parks and wakes them.
//!
//! # The end
//!
//! After [`Executor::stop`] no core takes anything in. Each goes on until what every lane had taken in has left, or until the
//! time that was given for it is over; so it ends in bounded time, whoever is stuck, and loses nothing if nobody is. A thread that
//! panics is counted, and the others do not wait for what it had.

use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use crossbeam_utils::{Backoff, CachePadded};

use crate::io::CoreIo;
use crate::platform::Platform;
use crate::strategy::{Budget, Strategy};
use crate::topology::{CoreId, Plan};

/// A [`CoreIo`] that an executor can drive.
pub trait WorkerIo: CoreIo {
    /// Begins a turn, at the time that is `now` for all of it.
    fn begin_turn(&mut self, now: u64);

    /// Says that the core is about to sleep, and tells whether it may; see [`Member::may_sleep`](crate::Member::may_sleep).
    fn may_sleep(&mut self) -> bool;

    /// Says that the core is awake.
    fn awake(&mut self);

    /// When there is the next thing to do without being woken.
    fn deadline(&self) -> Option<u64>;

    /// Takes in nothing more.
    fn close(&mut self);

    /// Tells whether all that this core took in has left, and what it gave to others is done. After [`Self::close`], nothing may
    /// come to it but from a core of which this is not so.
    fn is_drained(&self) -> bool;
}

/// How long a core that has nothing to do waits before it sleeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Idle {
    /// Rounds of back-off, each twice as long as the one before, from one spin to 64; then each of 64.
    pub rounds: u32,
}

impl Default for Idle {
    /// Up to 63 spins, a few microseconds: what a wake-up takes.
    fn default() -> Self {
        Self { rounds: 6 }
    }
}

/// Why a core has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// All that was taken in has left.
    Drained,
    /// The time for that was over.
    TimedOut,
}

/// What the threads of a plan have in common.
#[derive(Debug)]
pub struct Executor {
    cores: Vec<CoreId>,
    /// The lanes, each by its core.
    lanes: Vec<CoreId>,
    budget: Budget,
    idle: Idle,
    /// Written by `stop`, after the deadline (Release); read by all in each turn.
    stopping: CachePadded<AtomicBool>,
    deadline: AtomicU64,
    /// Lanes that have something left, or have not looked. Each lane takes itself off, once.
    open: CachePadded<AtomicU32>,
    /// Threads that panicked.
    lost: AtomicU32,
}

impl Executor {
    /// Makes what the threads of a plan have in common.
    #[must_use]
    pub fn new(plan: &Plan, budget: Budget, idle: Idle) -> Self {
        let lanes: Vec<_> = plan.lanes.iter().map(|lane| lane.core).collect();
        let mut cores = lanes.clone();
        cores.extend(plan.helpers.iter().map(|helper| helper.core));
        cores.sort_unstable();
        cores.dedup();
        let open = AtomicU32::new(u32::try_from(lanes.len()).unwrap_or(u32::MAX));
        Self {
            cores,
            lanes,
            budget,
            idle,
            stopping: CachePadded::new(AtomicBool::new(false)),
            deadline: AtomicU64::new(u64::MAX),
            open: CachePadded::new(open),
            lost: AtomicU32::new(0),
        }
    }

    /// The cores that have a thread, in order.
    #[must_use]
    pub fn cores(&self) -> &[CoreId] {
        &self.cores
    }

    /// Threads that panicked.
    #[must_use]
    pub fn lost(&self) -> u32 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Ends all threads: when everything has left, or at the deadline.
    pub fn stop<P: Platform>(&self, platform: &P, deadline: u64) {
        self.deadline.store(deadline, Ordering::Relaxed);
        self.stopping.store(true, Ordering::Release);
        self.wake_all(platform);
    }

    /// Runs the part of `core` on the calling thread until [`Self::stop`].
    pub fn run<P, S, I>(&self, platform: &P, core: CoreId, strategy: &mut S, io: &mut I) -> Ended
    where
        P: Platform,
        S: Strategy,
        I: WorkerIo,
    {
        platform.pin(core);
        platform.prefer_local_memory(core);
        let mut part = Part { executor: self, platform, open: self.lanes.contains(&core), ended: false };
        let mut closed = false;
        let mut backoff = Backoff::new();
        let mut rounds = 0;
        loop {
            let now = platform.now();
            io.begin_turn(now);
            if !closed && self.stopping.load(Ordering::Acquire) {
                closed = true;
                io.close();
            }
            let outcome = strategy.step(core, self.budget, io);
            if closed {
                if io.is_drained() {
                    part.close();
                }
                // Acquire: what the others did before they took themselves off is done.
                let drained = self.open.load(Ordering::Acquire) == 0;
                if drained || now >= self.deadline.load(Ordering::Relaxed) {
                    part.ended = true;
                    return if drained { Ended::Drained } else { Ended::TimedOut };
                }
            }
            if outcome.more || !outcome.idle() {
                (backoff, rounds) = (Backoff::new(), 0);
            } else if rounds < self.idle.rounds {
                rounds += 1;
                backoff.spin();
            } else {
                if io.may_sleep() {
                    let end = closed.then(|| self.deadline.load(Ordering::Relaxed));
                    let deadline = [io.deadline(), end].into_iter().flatten().min();
                    platform.park(core, deadline);
                    io.awake();
                }
                (backoff, rounds) = (Backoff::new(), 0);
            }
        }
    }

    fn wake_all<P: Platform>(&self, platform: &P) {
        self.cores.iter().for_each(|core| platform.wake(*core));
    }
}

/// The part of one thread, also if it panics.
struct Part<'a, P: Platform> {
    executor: &'a Executor,
    platform: &'a P,
    /// Whether this is a lane that did not take itself off.
    open: bool,
    ended: bool,
}

impl<P: Platform> Part<'_, P> {
    /// Says that this lane has nothing left; the last one wakes those who only help.
    fn close(&mut self) {
        if core::mem::take(&mut self.open) && self.executor.open.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.executor.wake_all(self.platform);
        }
    }
}

impl<P: Platform> Drop for Part<'_, P> {
    fn drop(&mut self) {
        if !self.ended {
            self.executor.lost.fetch_add(1, Ordering::Relaxed);
            self.close();
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
