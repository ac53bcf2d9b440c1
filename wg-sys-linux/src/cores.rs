//! The threads of a plan on this machine: how each is kept on its core, gets memory of its node, sleeps and is woken.

use std::sync::{Mutex, PoisonError};

use wg_proto::Instant;
use wg_sched::{CoreId, NodeId, Platform, Topology};

use crate::{Error, Parker, Poller, affinity, clock, memory_policy};

/// Whether threads stay on their cores.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pinning {
    /// They run where the kernel wants them, with memory of the node of their core.
    #[default]
    Floating,
    /// Each runs on its core, and so gets memory of its node.
    Pinned,
}

/// The [`Platform`] of a plan's threads. What the kernel refuses is told by [`Self::take_error`] and changes nothing else.
#[derive(Debug)]
pub struct Cores {
    seats: Vec<Seat>,
    pinning: Pinning,
    /// Whether it matters which node memory comes from.
    has_nodes: bool,
    /// Written by any of the threads, read by whoever logs.
    errors: Mutex<Vec<(CoreId, Error)>>,
}

/// What belongs to one core.
#[derive(Debug)]
struct Seat {
    core: CoreId,
    node: Option<NodeId>,
    parker: Parker,
}

/// Errors that wait to be told. More of them say nothing new.
const MOST_ERRORS: usize = 16;

impl Cores {
    /// Makes a place to sleep for each of `cores`, those of [`Executor::cores`](wg_sched::Executor::cores).
    ///
    /// # Errors
    ///
    /// The process is out of descriptors, of which each core takes two.
    pub fn new(cores: &[CoreId], topology: &Topology, pinning: Pinning) -> Result<Self, Error> {
        let node_of = |core| topology.cores.iter().find(|known| known.id == core).map(|known| known.node);
        let seat = |&core| Ok(Seat { core, node: node_of(core), parker: Parker::new()? });
        Ok(Self {
            seats: cores.iter().map(seat).collect::<Result<_, Error>>()?,
            pinning,
            has_nodes: topology.cores.windows(2).any(|pair| pair[0].node != pair[1].node),
            errors: Mutex::new(Vec::new()),
        })
    }

    /// Has a core woken, too, while a descriptor of `poller` is ready. It is the part of its thread to look then, and not to sleep
    /// again before it did.
    ///
    /// # Errors
    ///
    /// The process is out of descriptors.
    pub fn watch(&mut self, core: CoreId, poller: &Poller) -> Result<(), Error> {
        match self.seats.iter_mut().find(|seat| seat.core == core) {
            Some(seat) => seat.parker.watch(poller),
            None => Ok(()),
        }
    }

    /// Takes one of the things that the kernel refused, the last first, and for which core.
    pub fn take_error(&self) -> Option<(CoreId, Error)> {
        self.errors.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    fn seat(&self, core: CoreId) -> Option<&Seat> {
        self.seats.iter().find(|seat| seat.core == core)
    }

    fn note(&self, core: CoreId, result: Result<(), Error>) {
        let Err(error) = result else { return };
        let mut errors = self.errors.lock().unwrap_or_else(PoisonError::into_inner);
        if errors.len() < MOST_ERRORS {
            errors.push((core, error));
        }
    }
}

impl Platform for Cores {
    fn pin(&self, core: CoreId) {
        if self.pinning == Pinning::Pinned {
            self.note(core, affinity::pin(core.0));
        }
    }

    fn prefer_local_memory(&self, core: CoreId) {
        // A pinned thread touches its memory where it is.
        let node = self.seat(core).and_then(|seat| seat.node);
        if let Some(node) = node.filter(|_| self.has_nodes && self.pinning == Pinning::Floating) {
            self.note(core, memory_policy::prefer(node));
        }
    }

    fn now(&self) -> u64 {
        clock::now().as_nanos()
    }

    fn park(&self, core: CoreId, deadline: Option<u64>) {
        if let Some(seat) = self.seat(core) {
            let woken = seat.parker.park(deadline.map(Instant::from_nanos));
            self.note(core, woken.map(drop));
        }
    }

    fn wake(&self, core: CoreId) {
        if let Some(seat) = self.seat(core) {
            seat.parker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use core::sync::atomic::{AtomicU32, Ordering};
    use std::thread;

    use wg_sched::Core;

    use super::*;
    use crate::{Interest, Token, Waker, topology};

    const HERE: CoreId = CoreId(0);
    const THERE: CoreId = CoreId(1);

    fn two(pinning: Pinning) -> Cores {
        let topology = Topology { cores: vec![Core::alone(0, 0), Core::alone(1, 0)] };
        Cores::new(&[HERE, THERE], &topology, pinning).unwrap()
    }

    fn soon(cores: &Cores, millis: u64) -> u64 {
        cores.now() + millis * 1_000_000
    }

    #[test]
    fn each_core_is_woken_by_itself_before_its_sleep_and_in_it() {
        const ROUNDS: u32 = 1_000;
        let cores = two(Pinning::Floating);
        let count = AtomicU32::new(0);
        thread::scope(|scope| {
            scope.spawn(|| {
                for round in 0..ROUNDS {
                    while count.load(Ordering::Acquire) <= 2 * round {
                        cores.park(THERE, None);
                    }
                    count.fetch_add(1, Ordering::Release);
                    cores.wake(HERE);
                }
            });
            for round in 0..ROUNDS {
                count.fetch_add(1, Ordering::Release);
                cores.wake(THERE);
                while count.load(Ordering::Acquire) < 2 * (round + 1) {
                    cores.park(HERE, None);
                }
            }
        });
        // A last ring may have come when it was awake already.
        [HERE, THERE].iter().for_each(|core| cores.park(*core, Some(0)));
        let deadline = soon(&cores, 2);
        cores.wake(THERE);
        cores.park(HERE, Some(deadline));
        assert!(cores.now() >= deadline, "that was for the other");
        cores.park(THERE, None);
    }

    #[test]
    fn descriptor_that_is_ready_wakes_its_core() {
        let mut cores = two(Pinning::Floating);
        let poller = Poller::new().unwrap();
        let datagrams = Waker::new().unwrap();
        poller.add(&datagrams, Token::new(7), Interest::Readable).unwrap();
        cores.watch(THERE, &poller).unwrap();
        cores.watch(CoreId(9), &poller).unwrap();
        drop(poller);
        let deadline = soon(&cores, 2);
        cores.park(THERE, Some(deadline));
        assert!(cores.now() >= deadline, "nothing is ready");
        thread::scope(|scope| {
            scope.spawn(|| cores.park(THERE, None));
            datagrams.wake();
        });
        cores.park(THERE, None);
        datagrams.clear();
        let deadline = soon(&cores, 2);
        cores.park(THERE, Some(deadline));
        assert!(cores.now() >= deadline);
        assert!(cores.take_error().is_none());
    }

    #[test]
    fn pinned_thread_stays_on_its_core_and_a_floating_one_does_not() {
        let all = affinity::processors().unwrap();
        let core = CoreId(*all.last().unwrap());
        for (pinning, expected) in [(Pinning::Pinned, vec![core.0]), (Pinning::Floating, all)] {
            let cores = Cores::new(&[core], &topology::probe().unwrap(), pinning).unwrap();
            let run = || {
                cores.pin(core);
                cores.prefer_local_memory(core);
                affinity::processors().unwrap()
            };
            assert_eq!(thread::scope(|scope| scope.spawn(run).join().unwrap()), expected);
            assert!(cores.take_error().is_none());
        }
    }

    #[test]
    fn what_the_kernel_refuses_is_told_and_does_no_harm() {
        let nowhere = CoreId(1023);
        let cores = Cores::new(&[nowhere], &Topology::default(), Pinning::Pinned).unwrap();
        thread::scope(|scope| scope.spawn(|| (0..99).for_each(|_| cores.pin(nowhere))).join().unwrap());
        let told = core::iter::from_fn(|| cores.take_error());
        assert_eq!(told.map(|(core, _)| core).collect::<Vec<_>>(), [nowhere; MOST_ERRORS]);
        // A node that is not there, of a machine that has two.
        let topology = Topology { cores: vec![Core::alone(0, 0), Core::alone(1023, 1023)] };
        let cores = Cores::new(&[HERE, nowhere], &topology, Pinning::Floating).unwrap();
        thread::scope(|scope| scope.spawn(|| cores.prefer_local_memory(nowhere)).join().unwrap());
        assert!(cores.take_error().is_some_and(|(core, _)| core == nowhere));
        // Of a core without a place nothing is known.
        cores.wake(CoreId(5));
        cores.park(CoreId(5), None);
    }
}
