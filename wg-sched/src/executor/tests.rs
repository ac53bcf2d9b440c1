//! The executor on real threads, with a platform of the standard library.

extern crate std;

use alloc::sync::Arc;
use core::time::Duration;
use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex};
use std::thread;
use std::time::Instant;
use std::vec;

use super::*;
use crate::crew::{Capacity, Crew, Homes, Member};
use crate::handoff::Doorbell;
use crate::io::{Direction, Ticket};
use crate::strategy::{Outcome, StrategyKind};
use crate::topology::{Helper, Lane, LaneId, Limits, Topology};

/// Threads and condition variables.
struct Std {
    start: Instant,
    /// Whether each core was woken since it last returned.
    woken: Vec<(Mutex<bool>, Condvar)>,
    parked: AtomicU32,
}

impl Std {
    fn new(cores: usize) -> Arc<Self> {
        let woken = (0..cores).map(|_| Default::default()).collect();
        Arc::new(Self { start: Instant::now(), woken, parked: AtomicU32::new(0) })
    }

    fn bell(self: &Arc<Self>, core: CoreId) -> Arc<Doorbell> {
        let platform = Arc::clone(self);
        Arc::new(Doorbell::new(move || platform.wake(core)))
    }
}

impl Platform for Std {
    fn pin(&self, _: CoreId) {}

    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap()
    }

    fn park(&self, core: CoreId, deadline: Option<u64>) {
        self.parked.fetch_add(1, Ordering::Relaxed);
        let (woken, changed) = &self.woken[core.0 as usize];
        let guard = woken.lock().unwrap();
        let mut guard = match deadline {
            Some(deadline) => {
                let time = Duration::from_nanos(deadline.saturating_sub(self.now()));
                changed.wait_timeout_while(guard, time, |woken| !*woken).unwrap().0
            }
            None => changed.wait_while(guard, |woken| !*woken).unwrap(),
        };
        *guard = false;
    }

    fn wake(&self, core: CoreId) {
        let (woken, changed) = &self.woken[core.0 as usize];
        *woken.lock().unwrap() = true;
        changed.notify_one();
    }
}

/// A batch of a peer, with its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Batch {
    peer: u32,
    number: u32,
    crypted: bool,
}

/// A core whose packets come from nowhere.
struct Worker {
    member: Member<Batch>,
    /// Batches it still takes in; none on a core without a lane.
    left: u32,
    taken: u32,
    sent: Vec<Batch>,
    now: u64,
    crypt: fn(&Self),
}

const PEERS: u32 = 3;

impl Worker {
    fn new(member: Member<Batch>, left: u32) -> Self {
        Self { member, left, taken: 0, sent: Vec::new(), now: 0, crypt: |_| {} }
    }
}

impl CoreIo for Worker {
    type Batch = Batch;

    fn poll_udp(&mut self) -> Option<Batch> {
        self.left = self.left.checked_sub(1)?;
        let batch = Batch { peer: self.taken % PEERS, number: self.taken / PEERS, crypted: false };
        self.taken += 1;
        Some(batch)
    }
    fn poll_tun(&mut self) -> Option<Batch> {
        None
    }
    fn packets(&self, _: &Batch) -> u32 {
        1
    }
    fn crypt(&mut self, batches: &mut [Batch]) {
        (self.crypt)(self);
        batches.iter_mut().for_each(|batch| batch.crypted = true);
    }
    fn send_tun(&mut self, batch: Batch) {
        assert!(batch.crypted);
        self.sent.push(batch);
    }
    fn send_udp(&mut self, _: Batch) {}
    fn poll_control(&mut self) -> bool {
        false
    }
    fn now(&self) -> u64 {
        self.now
    }
    fn begin(&mut self, batch: &Batch, direction: Direction) -> Option<Ticket> {
        self.member.begin(batch.peer, direction, self.now)
    }
    fn is_head(&self, ticket: Ticket) -> bool {
        self.member.is_head(ticket)
    }
    fn pending(&self) -> u32 {
        self.member.pending()
    }
    fn push(&mut self, to: CoreId, ticket: Ticket, batch: Batch) -> Result<(), (Ticket, Batch)> {
        self.member.push(to, ticket, batch)
    }
    fn pop(&mut self) -> Option<(Ticket, Batch)> {
        self.member.pop()
    }
    fn offer(&mut self, ticket: Ticket, batch: Batch) -> Result<(), (Ticket, Batch)> {
        self.member.offer(ticket, batch)
    }
    fn reclaim(&mut self) -> Option<(Ticket, Batch)> {
        self.member.reclaim()
    }
    fn steal(&mut self) -> Option<(Ticket, Batch)> {
        self.member.steal()
    }
    fn call(&mut self, helpers: u32) {
        self.member.call(helpers);
    }
    fn complete(&mut self, ticket: Ticket, batch: Batch) {
        self.member.complete(ticket, batch);
    }
    fn drain(&mut self) -> Option<(Direction, Batch)> {
        self.member.drain()
    }
}

impl WorkerIo for Worker {
    fn begin_turn(&mut self, now: u64) {
        self.now = now;
    }
    fn may_sleep(&mut self) -> bool {
        // What comes from nowhere is there at once.
        self.left == 0 && self.member.may_sleep()
    }
    fn awake(&mut self) {
        self.member.awake();
    }
    fn deadline(&self) -> Option<u64> {
        None
    }
    fn close(&mut self) {
        self.left = 0;
    }
    fn is_drained(&self) -> bool {
        self.member.pending() == 0
    }
}

/// A strategy for these tests: each batch is pushed to a helper or offered, by turns, and crypted here if nobody takes it.
struct Spread {
    helpers: Vec<CoreId>,
    turn: usize,
}

impl Strategy for Spread {
    fn kind(&self) -> StrategyKind {
        StrategyKind::Inline
    }
    fn plan(&self, _: &Topology, _: &Limits) -> Plan {
        plan(1)
    }
    fn step<I: CoreIo>(&mut self, _: CoreId, budget: Budget, io: &mut I) -> Outcome {
        let mut outcome = Outcome::default();
        while outcome.batches < budget.batches {
            let before = outcome.batches;
            while let Some((_, batch)) = io.drain() {
                io.send_tun(batch);
                outcome.batches += 1;
            }
            if let Some((ticket, batch)) = io.pop().or_else(|| io.steal()) {
                finish(io, ticket, batch);
                outcome.batches += 1;
            }
            if io.pending() < 16
                && let Some(batch) = io.poll_udp()
            {
                let ticket = io.begin(&batch, Direction::In).unwrap();
                self.turn += 1;
                let to = self.helpers.get(self.turn % (self.helpers.len() + 1));
                let kept = match to {
                    Some(to) => io.push(*to, ticket, batch),
                    None => io.offer(ticket, batch).map(|()| io.call(1)),
                };
                if let Err((ticket, batch)) = kept {
                    finish(io, ticket, batch);
                }
                outcome.batches += 1;
            } else if let Some((ticket, batch)) = io.reclaim() {
                finish(io, ticket, batch);
                outcome.batches += 1;
            }
            if outcome.batches == before {
                return outcome;
            }
        }
        outcome.more = true;
        outcome
    }
}

fn finish<I: CoreIo>(io: &mut I, ticket: Ticket, batch: I::Batch) {
    let mut batches = [batch];
    io.crypt(&mut batches);
    let [batch] = batches;
    io.complete(ticket, batch);
}

/// So many lanes, and two cores that help them all.
fn plan(lanes: u32) -> Plan {
    let all: Vec<_> = (0..lanes).map(LaneId).collect();
    Plan {
        lanes: all.iter().map(|lane| Lane { id: *lane, core: CoreId(lane.0) }).collect(),
        helpers: [lanes, lanes + 1].map(|core| Helper { core: CoreId(core), lanes: all.clone() }).into(),
    }
}

/// Runs a plan, with `meanwhile` beside it, and returns how each core has ended, and with what.
fn run(
    plan: &Plan,
    batches: u32,
    change: impl Fn(&mut Worker),
    meanwhile: impl FnOnce(&Executor, &Std),
) -> (Vec<Option<(Ended, Worker)>>, Executor) {
    let executor = Executor::new(plan, Budget::default(), Idle::default());
    let platform = Std::new(executor.cores().len());
    let crew = Crew::new(plan, Homes::OfLanes, Capacity::default(), |core| platform.bell(core));
    let helpers: Vec<_> = plan.helpers.iter().map(|helper| helper.core).collect();
    let ended = thread::scope(|scope| {
        let threads: Vec<_> = crew
            .into_members()
            .map(|member| {
                let (executor, platform, core) = (&executor, &*platform, member.core());
                let left = if plan.lane_on(core).is_some() { batches } else { 0 };
                let mut worker = Worker::new(member, left);
                change(&mut worker);
                let mut strategy = Spread { helpers: helpers.clone(), turn: 0 };
                scope.spawn(move || (executor.run(platform, core, &mut strategy, &mut worker), worker))
            })
            .collect();
        meanwhile(&executor, &platform);
        threads.into_iter().map(|thread| thread.join().ok()).collect()
    });
    (ended, executor)
}

/// Checks that each peer's batches were sent in order, from the first on, and returns how many.
fn sent_in_order(worker: &Worker) -> u32 {
    let mut next = BTreeMap::new();
    for batch in &worker.sent {
        let next: &mut u32 = next.entry(batch.peer).or_default();
        assert_eq!(batch.number, *next);
        *next += 1;
    }
    u32::try_from(worker.sent.len()).unwrap()
}

/// Until all cores but those that spin have been asleep.
fn wait_for_sleep(platform: &Std, times: u32) {
    while platform.parked.load(Ordering::Relaxed) < times {
        thread::yield_now();
    }
}

#[test]
fn all_batches_leave_in_order_and_then_all_cores_sleep_until_the_end() {
    let batches = if std::env::var_os("WG_FEWER_CASES").is_some() { 2_000 } else { 20_000 };
    let (ended, executor) = run(
        &plan(2),
        batches,
        |_| {},
        |executor, platform| {
            // It ends by itself once they sleep: nothing is left that would wake them.
            wait_for_sleep(platform, 4);
            executor.stop(platform, u64::MAX);
        },
    );
    let sent: Vec<u32> = ended
        .iter()
        .map(|ended| {
            let (ended, worker) = ended.as_ref().unwrap();
            assert_eq!(*ended, Ended::Drained);
            assert_eq!(sent_in_order(worker), worker.taken);
            worker.taken
        })
        .collect();
    assert_eq!(sent[2..], [0, 0], "helpers send nothing");
    assert_eq!(executor.lost(), 0);
}

#[test]
fn a_stop_under_load_loses_nothing_that_was_taken_in() {
    let (ended, _) = run(
        &plan(2),
        u32::MAX,
        |_| {},
        |executor, platform| {
            thread::sleep(Duration::from_millis(20));
            executor.stop(platform, u64::MAX);
        },
    );
    for ended in ended {
        let (ended, worker) = ended.unwrap();
        assert_eq!((ended, sent_in_order(&worker)), (Ended::Drained, worker.taken));
    }
}

#[test]
fn a_helper_that_dies_is_counted_and_the_end_comes_at_its_time() {
    // The first helper dies of its first batch.
    let dies = |worker: &mut Worker| {
        if worker.member.core() == CoreId(1) {
            worker.crypt = |_| std::panic::resume_unwind(alloc::boxed::Box::new("killed"));
        }
    };
    let (ended, executor) = run(&plan(1), u32::MAX, dies, |executor, platform| {
        while executor.lost() == 0 {
            thread::yield_now();
        }
        executor.stop(platform, platform.now() + 1_000_000);
    });
    assert_eq!(executor.lost(), 1);
    assert!(ended[1].is_none());
    let (how, mut worker) = ended.into_iter().flatten().next().unwrap();
    assert_eq!(how, Ended::TimedOut);
    assert!(worker.taken > sent_in_order(&worker));
    let overdue = worker.member.overdue(u64::MAX, 0);
    assert!(overdue.batches > 0 && overdue.stream.is_some(), "{overdue:?}");
}

#[test]
fn inline_runs_on_the_executor_as_it_is() {
    let plan = Plan { helpers: vec![], ..plan(1) };
    let executor = Executor::new(&plan, Budget::default(), Idle::default());
    let platform = Std::new(1);
    let mut crew = Crew::new(&plan, Homes::OfLanes, Capacity::default(), |core| platform.bell(core));
    let mut worker = Worker::new(crew.take(CoreId(0)).unwrap(), 100);
    let ended = thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let mut strategy = StrategyKind::Inline.build();
            executor.run(&*platform, CoreId(0), &mut strategy, &mut worker)
        });
        wait_for_sleep(&platform, 1);
        executor.stop(&*platform, u64::MAX);
        thread.join().unwrap()
    });
    assert_eq!((ended, sent_in_order(&worker)), (Ended::Drained, 100));
}
