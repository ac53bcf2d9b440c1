//! The kernel's WireGuard on the machine: what it does otherwise than the shipped pipeline, whose steps it runs.
//!
//! ```text
//!   softirq: NIC --> one ring for all peers and all workers --> kworkers, each until it finds nothing
//!                                                                  | the head of a peer is done
//!            softirq on the core it was done on, or a thread that the scheduler places <--'
//! ```
//!
//! * Rings push back on nobody: what finds one full is dropped, after it was received.
//! * A core has several contexts and runs one at a time, and a step of the pipeline does the part of the context alone. Each
//!   packet wakes the next worker in turn, but any that runs takes it: who runs on a core that receives goes on for as
//!   long as other cores fill the ring.
//! * What is received for longer than a softirq may take is left to `ksoftirqd`, a thread like the workers and the drains: they
//!   share the core by virtual run time, in slices, and who has slept for long may go first. A poll is not interrupted.
//! * A softirq drain is raised by a worker, runs on its back, and goes first: the worker gets on by one packet when the softirq has had
//!   its time. It ends when it finds the head of its peer not done, and is raised anew wherever that head is done.

use std::collections::VecDeque;

use wg_sched::Ticket;

use super::io::Batch;
use super::lock::Lock;

/// Packets of a ring, and of the queue of a peer (`MAX_QUEUED_PACKETS`).
pub(super) const QUEUE: u32 = 1024;
/// Packets of one poll (`NAPI_POLL_WEIGHT`).
const WEIGHT: u32 = 64;
/// How long softirqs go before threads (`MAX_SOFTIRQ_TIME`).
const SOFTIRQ: u64 = 2_000_000;
/// The slice of a thread, on eight cores and more.
const SLICE: u64 = 3_000_000;
/// How much a thread that slept is ahead at most: half the period of the scheduler.
const SLEEPER: u64 = 12_000_000;
/// How long the lock of a ring remembers.
const MEMORY: u64 = 20_000;

/// What a core runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Context {
    /// The softirq of the NIC's queue, or `ksoftirqd`.
    Receive,
    /// The worker.
    Crypt,
    /// The drain of a peer.
    Drain(usize),
}

/// The contexts of a core.
#[derive(Debug, Default)]
struct Tasks {
    /// What was raised, in turn: drains, and the NIC's queue beside them.
    raised: VecDeque<Context>,
    /// Drain threads that run or want to.
    threads: Vec<usize>,
    /// Whether the worker was woken and did not come to an end.
    crypts: bool,
    received: bool,
    /// Virtual run times of `ksoftirqd` and of the worker.
    times: [u64; 2],
    /// The least of those who ran, ever.
    least: u64,
    current: Option<Context>,
    slice: u64,
    polled: u32,
    /// Softirq time since a thread got on.
    softirq: u64,
}

/// The drain of a peer.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Drain {
    /// Where it runs, if it does.
    pub(super) core: Option<usize>,
    /// Where it ran last.
    pub(super) last: usize,
    time: u64,
}

/// A ring, and who takes from it.
#[derive(Debug)]
pub(super) struct Pool {
    pub(super) ring: VecDeque<(u64, Ticket, Batch)>,
    pub(super) packets: u32,
    pub(super) cores: Vec<usize>,
    next: usize,
    /// The locks of those who put and of those who take.
    pub(super) locks: [Lock; 2],
}

impl Pool {
    pub(super) fn new(cores: Vec<usize>) -> Self {
        let locks = [Lock::new(MEMORY), Lock::new(MEMORY)];
        Self { ring: VecDeque::new(), packets: 0, cores, next: 0, locks }
    }

    /// The worker whose turn it is, of those who may.
    pub(super) fn worker(&mut self, may: impl Fn(usize) -> bool) -> Option<usize> {
        let count = self.cores.len();
        let at = (self.next..count).chain(0..self.next).find(|at| may(self.cores[*at]))?;
        self.next = if at + 1 < count { at + 1 } else { 0 };
        Some(self.cores[at])
    }
}

#[derive(Debug)]
pub(super) struct Kernel {
    threaded: bool,
    pub(super) pools: Vec<Pool>,
    tasks: Vec<Tasks>,
    pub(super) drains: Vec<Drain>,
}

impl Kernel {
    pub(super) fn new(threaded: bool, pools: Vec<Pool>, cores: usize, peers: u32) -> Self {
        Self {
            threaded,
            pools,
            tasks: (0..cores).map(|_| Tasks::default()).collect(),
            drains: (0..peers).map(|_| Drain::default()).collect(),
        }
    }

    /// The ring of a core.
    pub(super) fn pool_of(&self, core: usize) -> usize {
        self.pools.iter().position(|pool| pool.cores.contains(&core)).unwrap_or(0)
    }

    /// Wakes the worker of a core.
    pub(super) fn wake_worker(&mut self, core: usize) {
        let tasks = &mut self.tasks[core];
        if !tasks.crypts {
            tasks.crypts = true;
            tasks.times[1] = tasks.times[1].max(tasks.least.saturating_sub(SLEEPER));
        }
    }

    pub(super) fn worker_is_awake(&self, core: usize) -> bool {
        self.tasks[core].crypts
    }

    /// Has the drain of a peer run on a core.
    pub(super) fn raise(&mut self, peer: usize, core: usize) {
        let tasks = &mut self.tasks[core];
        let drain = &mut self.drains[peer];
        (drain.core, drain.last) = (Some(core), core);
        if self.threaded {
            drain.time = tasks.least.saturating_sub(SLEEPER);
            tasks.threads.push(peer);
        } else {
            tasks.raised.push_back(Context::Drain(peer));
        }
    }

    /// The threads that want a core.
    pub(super) fn load(&self, core: usize) -> usize {
        let tasks = &self.tasks[core];
        tasks.threads.len() + usize::from(tasks.crypts) + usize::from(tasks.received)
    }

    /// Ends the drain of a peer.
    fn end(&mut self, peer: usize) {
        if let Some(core) = self.drains[peer].core.take() {
            self.tasks[core].raised.retain(|raised| *raised != Context::Drain(peer));
            self.tasks[core].threads.retain(|thread| *thread != peer);
        }
    }

    /// What a core runs next. `receives` says whether its NIC queue has something, `crypts` when what its ring has was put
    /// there, `done` when the head of a peer was done: a drain that finds it not done ends.
    pub(super) fn choose(
        &mut self,
        core: usize,
        now: u64,
        receives: bool,
        crypts: Option<u64>,
        done: impl Fn(usize) -> Option<u64>,
    ) -> Option<Context> {
        let tasks = &mut self.tasks[core];
        if receives && !tasks.received {
            tasks.times[0] = tasks.times[0].max(tasks.least.saturating_sub(SLEEPER));
        }
        tasks.received = receives;
        let of_core = tasks.raised.iter().filter_map(|raised| match raised {
            Context::Drain(peer) => Some(*peer),
            _ => None,
        });
        let ended: Vec<usize> =
            of_core.chain(tasks.threads.iter().copied()).filter(|peer| done(*peer).is_none()).collect();
        ended.into_iter().for_each(|peer| self.end(peer));
        let tasks = &mut self.tasks[core];
        let crypts = tasks.crypts && crypts.is_none_or(|at| at <= now);
        let runs = |context: &Context| match *context {
            Context::Receive => receives,
            Context::Crypt => crypts,
            Context::Drain(peer) => done(peer).is_some_and(|at| at <= now),
        };
        if tasks.raised.iter().any(|raised| matches!(raised, Context::Drain(_))) {
            if receives && !tasks.raised.contains(&Context::Receive) {
                tasks.raised.push_back(Context::Receive);
            }
        } else {
            tasks.raised.clear();
        }
        let next = if tasks.softirq >= SOFTIRQ && crypts {
            tasks.softirq = 0;
            Some(Context::Crypt)
        } else {
            if tasks.polled >= WEIGHT && tasks.current == tasks.raised.front().copied() {
                tasks.raised.rotate_left(usize::from(!tasks.raised.is_empty()));
            }
            let raised = tasks.raised.iter().position(runs);
            raised.map(|at| {
                tasks.raised.rotate_left(at);
                tasks.raised[0]
            })
        };
        let next = next.or_else(|| self.fair(core, runs))?;
        let tasks = &mut self.tasks[core];
        if tasks.current != Some(next) {
            (tasks.slice, tasks.polled) = (0, 0);
        } else if tasks.polled >= WEIGHT {
            tasks.polled = 0;
        }
        tasks.current = Some(next);
        Some(next)
    }

    /// The thread that is due: that of the least virtual run time, if the one that runs may be stopped for it.
    fn fair(&self, core: usize, runs: impl Fn(&Context) -> bool) -> Option<Context> {
        let tasks = &self.tasks[core];
        let threads = tasks.threads.iter().map(|peer| Context::Drain(*peer));
        let all = [Context::Receive, Context::Crypt].into_iter().chain(threads).filter(|context| runs(context));
        let least = all.min_by_key(|context| self.time(core, *context))?;
        let Some(current) = tasks.current.filter(|current| self.is_thread(core, *current) && runs(current)) else {
            return Some(least);
        };
        let (mine, other) = (self.time(core, current), self.time(core, least));
        let polls = current == Context::Receive && tasks.polled < WEIGHT;
        let stopped = other + SLICE < mine || (tasks.slice >= SLICE && other < mine);
        Some(if stopped && !polls { least } else { current })
    }

    fn is_thread(&self, core: usize, context: Context) -> bool {
        match context {
            Context::Drain(peer) => self.tasks[core].threads.contains(&peer),
            _ => true,
        }
    }

    fn time(&self, core: usize, context: Context) -> u64 {
        match context {
            Context::Receive => self.tasks[core].times[0],
            Context::Crypt => self.tasks[core].times[1],
            Context::Drain(peer) => self.drains[peer].time,
        }
    }

    /// Accounts for what the chosen context did. A worker that took nothing sleeps.
    pub(super) fn ran(&mut self, core: usize, context: Context, time: u64, packets: u32, took: bool) {
        if context == Context::Crypt && !took {
            self.tasks[core].crypts = false;
        }
        let softirq = self.tasks[core].raised.front() == Some(&context);
        let tasks = &mut self.tasks[core];
        tasks.slice += time;
        tasks.polled += packets;
        tasks.softirq = if softirq { tasks.softirq + time } else { 0 };
        match context {
            Context::Receive => tasks.times[0] += time,
            Context::Crypt => tasks.times[1] += time,
            Context::Drain(peer) => self.drains[peer].time += time,
        }
        let tasks = &self.tasks[core];
        let threads = tasks.threads.iter().map(|peer| self.drains[*peer].time);
        let worker = tasks.crypts.then_some(tasks.times[1]);
        let receiver = tasks.received.then_some(tasks.times[0]);
        if let Some(least) = threads.chain(worker).chain(receiver).min() {
            let tasks = &mut self.tasks[core];
            tasks.least = tasks.least.max(least);
        }
    }

    /// What a core ran last.
    pub(super) fn last(&self, core: usize) -> Option<Context> {
        self.tasks[core].current
    }

    /// The drains of a core.
    pub(super) fn drains_of(&self, core: usize) -> impl Iterator<Item = usize> {
        let raised = self.tasks[core].raised.iter().filter_map(|raised| match raised {
            Context::Drain(peer) => Some(*peer),
            _ => None,
        });
        raised.chain(self.tasks[core].threads.iter().copied())
    }
}
