//! The kernel's WireGuard on the machine: what it does otherwise than the shipped pipeline, whose steps it runs.
//!
//! ```text
//!   softirq: NIC --> rings of the workers, in turn --> a kworker of the device on each core
//!                                                        | something of a peer is done
//!            softirq on the core it was done on, or a thread that the scheduler places <--'
//! ```
//!
//! * Rings push back on nobody: what finds the device's queue or the peer's full is dropped, after it was received.
//! * A core has several contexts and runs one at a time, and a step of the pipeline does the part of that context alone. Each
//!   packet goes to the next worker in turn, so a core that receives has its share of the crypt phase of all tunnels.
//! * Each tunnel is a device: two gateways that each have one key have one tunnel. So each has a ring with its locks, its own turn, and
//!   on each core a worker, and as these are `WQ_CPU_INTENSIVE`, those of several devices share a core like any other threads.
//! * Softirqs run on the back of whatever runs. What goes on for longer than they may take is left to `ksoftirqd`, a thread
//!   like the workers and the drain threads: they share the core by virtual run time, in slices, and one that
//!   slept may go first. A poll is not interrupted.
//! * The drain of a peer ends when it finds the head of its peer not done, unless something of that peer was done since it last found
//!   so (`NAPI_STATE_MISSED`): then it looks again, on the same core. Under load there is always something, so a drain does not leave a
//!   core that it has too much to do on, and one that does end may be raised there: that is the black hole.
//! * A drain that ended is raised anew where something of its peer is done: as a softirq on that core, and looks in vain if that is not the
//!   head. A thread is woken for the head only, where the kernel wakes it for all: it goes where it was last if that core is idle, else to an
//!   idle one, else to the one with the fewest others. A core that would be idle takes a drain thread that has waited for another.

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
/// A thread that ran within this time is not moved (`sysctl_sched_migration_cost`).
const HOT: u64 = 500_000;
/// How long the lock of a ring remembers.
const MEMORY: u64 = 20_000;

/// What a core runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Context {
    /// The softirq of the NIC's queue, or `ksoftirqd`.
    Receive,
    /// The worker of a device.
    Crypt(usize),
    /// The drain of a peer.
    Drain(usize),
}

/// The contexts of a core.
#[derive(Debug, Default)]
struct Tasks {
    /// The softirqs that have something to do, in turn: the NIC's queue, and drains.
    raised: VecDeque<Context>,
    /// Drain threads that run or want to.
    threads: Vec<usize>,
    /// The workers that were woken and did not come to an end, by their devices.
    crypts: Vec<usize>,
    /// The virtual run time of `ksoftirqd`.
    time: u64,
    /// Those of the workers, by device.
    times: Vec<u64>,
    /// The least of those who ran, ever.
    least: u64,
    current: Option<Context>,
    slice: u64,
    polled: u32,
    /// The time of softirqs since there was none to do: past their share they are those of `ksoftirqd`.
    softirq: u64,
}

/// The drain of a peer.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Drain {
    /// Where it runs, if it does.
    pub(super) core: Option<usize>,
    /// Where it ran last.
    pub(super) last: usize,
    /// It was raised, and has not looked yet.
    fresh: bool,
    /// Something was done since its last look (`NAPI_STATE_MISSED`).
    missed: bool,
    time: u64,
    /// When it ran last.
    ran: u64,
}

/// A device, which has one peer: the cores of its workers, and what they were given.
#[derive(Debug)]
pub(super) struct Pool {
    pub(super) packets: u32,
    pub(super) cores: Vec<usize>,
    /// What waits for the worker on each core of the machine.
    pub(super) rings: Vec<VecDeque<(u64, Ticket, Batch)>>,
    next: usize,
    /// The locks of those who put and of those who take.
    pub(super) locks: [Lock; 2],
    /// The cores that had them last, and so their lines.
    pub(super) holders: [usize; 2],
}

impl Pool {
    pub(super) fn new(cores: Vec<usize>) -> Self {
        let locks = [Lock::new(MEMORY), Lock::new(MEMORY)];
        let holders = [cores.first().copied().unwrap_or(0); 2];
        let rings = (0..cores.iter().max().map_or(0, |core| core + 1)).map(|_| VecDeque::new()).collect();
        Self { packets: 0, cores, rings, next: 0, locks, holders }
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
    /// Whether the workers of a device are on one node.
    pub(super) by_node: bool,
    pub(super) pools: Vec<Pool>,
    tasks: Vec<Tasks>,
    pub(super) drains: Vec<Drain>,
}

impl Kernel {
    pub(super) fn new(threaded: bool, by_node: bool, pools: Vec<Pool>, cores: usize, peers: u32) -> Self {
        Self {
            threaded,
            by_node,
            pools,
            tasks: (0..cores).map(|_| Tasks { times: vec![0; peers as usize], ..Tasks::default() }).collect(),
            drains: (0..peers).map(|_| Drain::default()).collect(),
        }
    }

    /// Wakes the worker of a device on a core.
    pub(super) fn wake_worker(&mut self, core: usize, device: usize) {
        let tasks = &mut self.tasks[core];
        if !tasks.crypts.contains(&device) {
            tasks.crypts.push(device);
            tasks.times[device] = tasks.times[device].max(tasks.least.saturating_sub(SLEEPER));
        }
    }

    /// When what is first in the ring of a device for its worker on a core was put there.
    fn waits(&self, core: usize, device: usize) -> Option<u64> {
        self.pools[device].rings.get(core)?.front().map(|(at, ..)| *at)
    }

    /// When one of the workers of a core has something to do.
    pub(super) fn crypts_at(&self, core: usize) -> Option<u64> {
        self.tasks[core].crypts.iter().filter_map(|device| self.waits(core, *device)).min()
    }

    /// Has the drain of a peer run on a core.
    pub(super) fn raise(&mut self, peer: usize, core: usize) {
        let tasks = &mut self.tasks[core];
        let drain = &mut self.drains[peer];
        (drain.core, drain.last) = (Some(core), core);
        (drain.fresh, drain.missed) = (true, false);
        if self.threaded {
            drain.time = tasks.least.saturating_sub(SLEEPER);
            tasks.threads.push(peer);
        } else {
            self.raise_softirq(core, Context::Drain(peer));
        }
    }

    /// An idle core takes a drain thread that has waited for one of these, from where most threads are. Of one that ran a moment ago
    /// the cache there still has something.
    pub(super) fn pull(&mut self, core: usize, now: u64, from: impl Iterator<Item = usize>) -> bool {
        let waits = |other: usize| {
            let tasks = &self.tasks[other];
            let waits = |peer: &usize| {
                tasks.current != Some(Context::Drain(*peer)) && self.drains[*peer].ran + HOT <= now
            };
            tasks.threads.iter().copied().find(waits)
        };
        let waiting = from.filter_map(|other| Some((other, waits(other)?)));
        let most =
            waiting.filter(|(other, _)| self.load(*other) > 1).max_by_key(|(other, _)| self.load(*other));
        let Some((other, peer)) = most else { return false };
        self.tasks[other].threads.retain(|thread| *thread != peer);
        let (from, to) = (self.tasks[other].least, &mut self.tasks[core]);
        to.threads.push(peer);
        let drain = &mut self.drains[peer];
        // It is as far from the least there as it was here.
        drain.time = (drain.time + to.least).saturating_sub(from);
        (drain.core, drain.last) = (Some(core), core);
        true
    }

    fn raise_softirq(&mut self, core: usize, context: Context) {
        let tasks = &mut self.tasks[core];
        if tasks.raised.is_empty() {
            tasks.time = tasks.time.max(tasks.least.saturating_sub(SLEEPER));
            tasks.softirq = 0;
        }
        tasks.raised.push_back(context);
    }

    /// The threads that want a core.
    pub(super) fn load(&self, core: usize) -> usize {
        let tasks = &self.tasks[core];
        tasks.threads.len() + tasks.crypts.len() + usize::from(!tasks.raised.is_empty())
    }

    /// Something of a peer was done while its drain runs: that looks once more before it ends.
    pub(super) fn miss(&mut self, peer: usize) {
        self.drains[peer].missed = true;
    }

    /// Ends the drain of a peer.
    fn end(&mut self, peer: usize) {
        if let Some(core) = self.drains[peer].core.take() {
            self.tasks[core].raised.retain(|raised| *raised != Context::Drain(peer));
            self.tasks[core].threads.retain(|thread| *thread != peer);
        }
    }

    /// What a core runs next. `receives` says whether its NIC queue has something, `done` when the head of a peer was done: a drain
    /// that finds it not done ends.
    pub(super) fn choose(
        &mut self,
        core: usize,
        now: u64,
        receives: bool,
        done: impl Fn(usize) -> Option<u64>,
    ) -> Option<Context> {
        let looks = |drain: &Drain| drain.fresh || drain.missed;
        let ended: Vec<usize> = self
            .drains_of(core)
            .filter(|peer| done(*peer).is_none() && !looks(&self.drains[*peer]))
            .collect();
        ended.into_iter().for_each(|peer| self.end(peer));
        let was = self.tasks[core].raised.contains(&Context::Receive);
        if receives && !was {
            self.raise_softirq(core, Context::Receive);
        } else if was && !receives {
            self.tasks[core].raised.retain(|raised| *raised != Context::Receive);
        }
        let due = |device: &usize| self.waits(core, *device).is_none_or(|at| at <= now);
        let crypts: Vec<usize> = self.tasks[core].crypts.iter().copied().filter(due).collect();
        let looks: Vec<bool> = self.drains.iter().map(looks).collect();
        let tasks = &mut self.tasks[core];
        let runs = |context: &Context| match *context {
            Context::Receive => receives,
            Context::Crypt(device) => crypts.contains(&device),
            Context::Drain(peer) => looks[peer] || done(peer).is_some_and(|at| at <= now),
        };
        // Between two polls another softirq has its turn.
        let mut raised = tasks.raised.iter().position(runs);
        if tasks.polled >= WEIGHT && raised == Some(0) && tasks.current == tasks.raised.front().copied() {
            tasks.raised.rotate_left(1);
            raised = tasks.raised.iter().position(runs);
        }
        let raised = raised.map(|at| {
            tasks.raised.rotate_left(at);
            tasks.raised[0]
        });
        let next = if tasks.softirq < SOFTIRQ { raised } else { None };
        let next = next.or_else(|| self.fair(core, raised, runs))?;
        let tasks = &mut self.tasks[core];
        if tasks.current != Some(next) {
            (tasks.slice, tasks.polled) = (0, 0);
        } else if tasks.polled >= WEIGHT {
            tasks.polled = 0;
        }
        tasks.current = Some(next);
        if let Context::Drain(peer) = next {
            let drain = &mut self.drains[peer];
            drain.missed &= drain.fresh || done(peer).is_some_and(|at| at <= now);
            (drain.fresh, drain.ran) = (false, now);
        }
        Some(next)
    }

    /// The thread that is due: that of the least virtual run time, if the one that runs may be stopped for it.
    fn fair(&self, core: usize, raised: Option<Context>, runs: impl Fn(&Context) -> bool) -> Option<Context> {
        let tasks = &self.tasks[core];
        let threads = tasks.threads.iter().map(|peer| Context::Drain(*peer));
        let workers = tasks.crypts.iter().map(|device| Context::Crypt(*device));
        let all = threads.chain(workers).filter(|context| runs(context)).chain(raised);
        let least = all.min_by_key(|context| self.time(core, *context))?;
        let Some(current) = tasks.current.filter(&runs) else { return Some(least) };
        let current = if self.is_softirq(core, current) { raised? } else { current };
        let (mine, other) = (self.time(core, current), self.time(core, least));
        let polls = tasks.current == Some(current) && self.is_softirq(core, current) && tasks.polled < WEIGHT;
        let stopped = other + SLICE < mine || (tasks.slice >= SLICE && other < mine);
        Some(if stopped && !polls { least } else { current })
    }

    fn is_softirq(&self, core: usize, context: Context) -> bool {
        self.tasks[core].raised.contains(&context)
    }

    fn time(&self, core: usize, context: Context) -> u64 {
        match context {
            Context::Crypt(device) => self.tasks[core].times[device],
            Context::Drain(peer) if self.threaded => self.drains[peer].time,
            Context::Receive | Context::Drain(_) => self.tasks[core].time,
        }
    }

    /// Tells whether the chosen context takes the core from another thread.
    pub(super) fn switches(&self, core: usize, from: Option<Context>, to: Context) -> bool {
        let thread = |context: Context| match context {
            Context::Drain(_) if !self.threaded => Context::Receive,
            other => other,
        };
        let on_the_back = self.is_softirq(core, to) && self.tasks[core].softirq < SOFTIRQ;
        !on_the_back && from.is_some_and(|from| thread(from) != thread(to))
    }

    /// Accounts for what the chosen context did.
    pub(super) fn ran(&mut self, core: usize, context: Context, time: u64, packets: u32, took: bool) {
        if let Context::Crypt(device) = context
            && !took
        {
            self.tasks[core].crypts.retain(|other| *other != device);
        }
        let softirq = self.is_softirq(core, context);
        let tasks = &mut self.tasks[core];
        tasks.slice += time;
        tasks.polled += packets;
        match context {
            Context::Crypt(device) => tasks.times[device] += time,
            Context::Drain(peer) if !softirq => self.drains[peer].time += time,
            // On the back of others it is not accounted for.
            Context::Receive | Context::Drain(_) => {
                let share = tasks.softirq >= SOFTIRQ;
                tasks.time += if share { time } else { 0 };
                tasks.softirq += time;
            }
        }
        let tasks = &self.tasks[core];
        let threads = tasks.threads.iter().map(|peer| self.drains[*peer].time);
        let workers = tasks.crypts.iter().map(|device| tasks.times[*device]);
        let softirqs = (!tasks.raised.is_empty() && tasks.softirq >= SOFTIRQ).then_some(tasks.time);
        if let Some(least) = threads.chain(workers).chain(softirqs).min() {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_workers_of_two_devices_and_the_receiver_have_a_third_of_a_core_each() {
        let mut kernel = Kernel::new(true, false, vec![Pool::new(vec![0]), Pool::new(vec![0])], 1, 2);
        kernel.wake_worker(0, 0);
        kernel.wake_worker(0, 1);
        let (mut received, step) = (0, 100_000);
        for at in 0..3000 {
            let context = kernel.choose(0, at * step, true, |_| None).expect("all have something to do");
            received += u64::from(context == Context::Receive);
            kernel.ran(0, context, step, WEIGHT, true);
        }
        assert!((900..1100).contains(&received), "{received} of 3000");
    }

    #[test]
    fn an_idle_core_takes_a_drain_that_has_waited() {
        let mut kernel = Kernel::new(true, false, vec![Pool::new(vec![0, 1]), Pool::new(vec![0, 1])], 2, 2);
        kernel.raise(0, 0);
        kernel.raise(1, 0);
        assert_eq!(kernel.choose(0, HOT, false, |_| Some(0)), Some(Context::Drain(0)));
        kernel.drains[1].ran = 1;
        assert!(!kernel.pull(1, HOT, core::iter::once(0)), "it ran a moment ago");
        assert!(kernel.pull(1, HOT + 1, core::iter::once(0)));
        assert_eq!((kernel.drains[1].core, kernel.drains[1].last), (Some(1), 1));
        assert_eq!(
            (kernel.tasks[0].threads.as_slice(), kernel.tasks[1].threads.as_slice()),
            (&[0][..], &[1][..])
        );
        assert!(!kernel.pull(1, 9 * HOT, core::iter::once(0)), "the other one runs");
    }
}
