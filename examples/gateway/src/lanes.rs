//! The threads that move packets, where there are several: each with a home, a queue of the TUN, and a pair of sockets. By
//! strategies that share homes all of them have one.

use core::time::Duration;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::thread;

use wg_datapath::{Batch, HelperIo, Traffic};
use wg_proto::Instant;
use wg_sched::handoff::Doorbell;
use wg_sched::{
    Capacity, Core, CoreId, Crew, Helper, Homes as CrewHomes, Lane, LaneId, Limits, Member, NodeId, Plan,
    Strategy as _, StrategyKind, Topology,
};
use wg_sys_linux::{
    Error, Events, Interest, Poller, RealTime, RunDelay, Token, Waker, Work, affinity, clock, slice,
};

use crate::balance::PERIOD;
use crate::home::{BUDGET, Next, TUN, Turns};
use crate::homes::Homes;
use crate::setup::Standing;
use crate::topology;
use crate::tunnel::TunnelAead;

const BELL: Token = Token::new(2);
/// How long a thread that moves packets has its turn where others want the processor, too: the shortest there is.
const SHORT_TURN: Duration = Duration::from_micros(100);
/// Batches of a home that may be under way. It has no more of them than about this many.
const PLACES: u32 = 96;

/// How the threads are to run. They have numbers, lanes before helpers, and the crew and the strategies know them by these, as if
/// each were a core; so there may be more of them than processors.
#[derive(Clone, Debug)]
pub(crate) struct Placement {
    /// The processor of each thread.
    processors: Vec<CoreId>,
    /// The threads, and how they stand to each other.
    threads: Topology,
    lanes: Vec<Lane>,
    standing: Standing,
}

impl Placement {
    /// Gives each of so many threads a processor, where they are more than those in turn; the first of them have lanes.
    pub(crate) fn new(
        strategy: StrategyKind,
        machine: &Topology,
        lanes: usize,
        threads: usize,
        standing: Standing,
    ) -> Self {
        // Who has the lock must not wait for those who spin for it.
        let standing = Standing { real_time: standing.real_time && !strategy.shares_home(), ..standing };
        let processors = topology::processors(strategy, machine, lanes, threads);
        let core = |(number, processor): (u32, &CoreId)| {
            let found = machine.cores.iter().find(|core| core.id == *processor);
            Core { id: CoreId(number), ..found.copied().unwrap_or(Core::alone(0, 0)) }
        };
        let cores = (0..).zip(&processors).map(core).collect();
        let lanes =
            (0..).take(lanes).map(|number| Lane { id: LaneId(number), core: CoreId(number) }).collect();
        Self { processors, threads: Topology { cores }, lanes, standing }
    }

    /// How many threads there are.
    pub(crate) const fn threads(&self) -> usize {
        self.processors.len()
    }

    /// The node of each lane.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = NodeId> {
        self.threads.cores.iter().take(self.lanes.len()).map(|core| core.node)
    }

    /// Who helps whom by a strategy.
    pub(crate) fn plan(&self, kind: StrategyKind) -> Plan {
        let count = |len| u32::try_from(len).unwrap_or(u32::MAX);
        let limits = Limits { lanes: count(self.lanes.len()), cores: count(self.threads()) };
        Plan { lanes: self.lanes.clone(), helpers: kind.build().help(&self.threads, &self.lanes, &limits) }
    }

    /// The lanes that receive for each where counters are split.
    pub(crate) fn receivers(&self) -> Vec<Vec<usize>> {
        let plan = self.plan(StrategyKind::CounterSplit);
        let of = |lane: &Lane| plan.receivers_of(lane.id).map(|LaneId(lane)| lane as usize).collect();
        plan.lanes.iter().map(of).collect()
    }

    /// Makes the crew, in which anybody can help anybody: the strategies say who does. Its parts, in the order of the threads; none if
    /// there is one thread.
    pub(crate) fn crew(&self, homes: CrewHomes, bells: &[Waker]) -> Vec<Member<Batch<TunnelAead>>> {
        if self.threads() < 2 {
            return Vec::new();
        }
        let ids: Vec<_> = self.lanes.iter().map(|lane| lane.id).collect();
        let helpers = self.threads.cores.iter().map(|core| Helper { core: core.id, lanes: ids.clone() });
        let plan = Plan { lanes: self.lanes.clone(), helpers: helpers.collect() };
        let bell = |CoreId(thread): CoreId| {
            let bell = bells.get(thread as usize).cloned();
            Arc::new(Doorbell::new(move || bell.iter().for_each(Waker::wake)))
        };
        let capacity = Capacity { places: PLACES, ..Capacity::default() };
        Crew::new(&plan, homes, capacity, bell).into_members().collect()
    }

    /// Lets the calling thread move packets: soon when there are some, before ordinary programs, and on its processor if that is
    /// wanted.
    pub(crate) fn settle(&self, thread: usize) -> Rest {
        // To be nicer than others takes a capability; short turns do not.
        let nice = self.standing.nice;
        let asked = slice::request(SHORT_TURN, Some(nice)).or_else(|_| slice::request(SHORT_TURN, None));
        if let Err(error) = asked {
            tracing::debug!("thread {thread}: {error}");
        }
        if self.standing.pin
            && let Some(CoreId(processor)) = self.processors.get(thread)
            && let Err(error) = affinity::pin(*processor)
        {
            tracing::warn!("thread {thread}: {error}");
        }
        let lent = self.standing.real_time.then(|| RealTime::request(clock::now())).transpose();
        Rest(lent.unwrap_or_else(|error| {
            tracing::debug!("thread {thread}: {error}");
            None
        }))
    }
}

/// How a thread that moves packets sleeps: if it hardly does, it is no real-time thread for a while; if packets come singly and fast,
/// it lets some of them come.
#[derive(Debug)]
pub(crate) struct Rest(Option<RealTime>);

impl Rest {
    /// Accounts for a turn, before and after which this was the traffic of its lane.
    pub(crate) const fn worked(&mut self, before: Traffic, after: Traffic) {
        if let Some(lent) = &mut self.0 {
            lent.worked(Work {
                packets: after.packets.wrapping_sub(before.packets),
                pieces: after.pieces.wrapping_sub(before.pieces),
                received: after.received.wrapping_sub(before.received),
            });
        }
    }

    /// Waits as [`Poller::wait`] does.
    pub(crate) fn wait(
        &mut self,
        poller: &mut Poller,
        events: &mut Events,
        deadline: Option<Instant>,
    ) -> Result<(), Error> {
        let Some(lent) = &mut self.0 else { return poller.wait(events, deadline) };
        let from = clock::now();
        let sleeps = deadline.is_none_or(|deadline| deadline > from);
        if sleeps {
            lent.pace();
        }
        poller.wait(events, deadline)?;
        if let Err(error) = lent.rested(from, if sleeps { clock::now() } else { from }) {
            tracing::trace!("{error}");
        }
        Ok(())
    }
}

/// Runs `control` on this thread, and beside it a thread for each home and each helper, until `control` returns. When one of them
/// ends before, it rings `bell`.
pub(crate) fn run_beside<T>(
    homes: &Homes,
    placement: &Placement,
    helpers: Vec<Member<Batch<TunnelAead>>>,
    bell: &Waker,
    control: impl FnOnce() -> Result<T, Error>,
) -> Result<T, Error> {
    // Before anybody is told that all is ready: a thread that starts later finds all it needs.
    let beds = (0..homes.count()).map(|lane| Bed::of(homes, lane)).collect::<Result<Vec<_>, _>>()?;
    let with_bed = |crew: Member<_>| Ok((Bed::of(homes, crew.core().0 as usize)?, crew));
    let helpers = helpers.into_iter().map(with_bed).collect::<Result<Vec<_>, Error>>()?;
    thread::scope(|scope| {
        let _end = EndOnDrop { homes, bell };
        let mut lanes = Vec::with_capacity(homes.count());
        for (lane, bed) in beds.into_iter().enumerate() {
            let run = move || {
                let _end = EndOnDrop { homes, bell };
                run(homes, placement, lane, bed, bell)
            };
            let name = if homes.strategy().shares_home() { "worker" } else { "lane" };
            let started = thread::Builder::new().name(format!("{name}{lane}")).spawn_scoped(scope, run);
            lanes.push(started.map_err(|error| Error::new("start a thread", error))?);
        }
        for (bed, crew) in helpers {
            let thread = crew.core().0 as usize;
            let run = move || {
                let _end = EndOnDrop { homes, bell };
                help(homes, placement, thread, bed, crew)
            };
            let started = thread::Builder::new().name(format!("helper{thread}")).spawn_scoped(scope, run);
            lanes.push(started.map_err(|error| Error::new("start a thread", error))?);
        }
        let result = control();
        homes.end();
        for lane in lanes {
            lane.join().unwrap_or_else(|panicked| resume_unwind(panicked))?;
        }
        result
    })
}

/// What a thread sleeps on.
struct Bed {
    poller: Poller,
    /// For who waits for a lock, and has no use for anything else.
    bell_alone: Poller,
}

impl Bed {
    /// Makes that of a thread, which its bell wakes.
    fn of(homes: &Homes, thread: usize) -> Result<Self, Error> {
        let bed = Self { poller: Poller::new()?, bell_alone: Poller::new()? };
        for poller in [&bed.poller, &bed.bell_alone] {
            homes.bell(thread).map_or(Ok(()), |bell| poller.add(bell, BELL, Interest::Readable))?;
        }
        Ok(bed)
    }
}

/// Ends everything, also when its thread panics.
struct EndOnDrop<'a> {
    homes: &'a Homes,
    bell: &'a Waker,
}

impl Drop for EndOnDrop<'_> {
    fn drop(&mut self) {
        self.homes.end();
        self.bell.wake();
    }
}

fn run(homes: &Homes, placement: &Placement, lane: usize, bed: Bed, control: &Waker) -> Result<(), Error> {
    let Bed { mut poller, mut bell_alone } = bed;
    let mut events = Events::with_capacity(8);
    let Some(bell) = homes.bell(lane) else { return Ok(()) };
    let Some(mut turns) =
        homes.enter(lane).map(|home| Turns::new(placement, lane, &home, &poller)).transpose()?
    else {
        return Ok(());
    };
    match RunDelay::of_this_thread() {
        Ok(delay) => homes.note_delay(lane, delay),
        Err(error) => tracing::debug!("thread {lane}: {error}"),
    }
    let mut meter = Meter::new(clock::now());
    loop {
        let Some(mut home) = homes.enter(lane) else { return Ok(()) };
        for event in events.iter() {
            match event.token {
                TUN if event.closed => return Ok(()),
                // Before the turn looks at what it was rung for.
                BELL => {
                    bell.clear();
                }
                _ => home.see(event),
            }
        }
        if homes.is_ending() {
            return Ok(());
        }
        turns.follow(homes.strategy(), placement, &mut home);
        let next = turns.take(&mut home, &poller)?;
        drop(home);
        let now = clock::now();
        let deadline = match next {
            Next::Now => Some(now),
            Next::At(deadline) => deadline,
            Next::Rung => {
                turns.rest.wait(&mut bell_alone, &mut events, None)?;
                meter.since = clock::now();
                continue;
            }
            Next::Gone => return Ok(()),
        };
        homes.add_work(lane, meter.worked(now));
        if meter.is_busy(now) && homes.are_several() && homes.watch() {
            control.wake();
        }
        turns.rest.wait(&mut poller, &mut events, deadline)?;
        if next != Next::Now {
            meter.since = clock::now();
        }
    }
}

/// How much of its time a thread works.
struct Meter {
    /// When it began with what it does now.
    since: Instant,
    /// The period under way, and what was worked in it.
    begun: Instant,
    worked: u64,
}

impl Meter {
    const fn new(now: Instant) -> Self {
        Self { since: now, begun: now, worked: 0 }
    }

    /// Ends a piece of work, and tells how long it took.
    fn worked(&mut self, now: Instant) -> u64 {
        let nanos = now.as_nanos().saturating_sub(core::mem::replace(&mut self.since, now).as_nanos());
        self.worked = self.worked.saturating_add(nanos);
        nanos
    }

    /// At the end of a period, tells whether it was a busy one.
    fn is_busy(&mut self, now: Instant) -> bool {
        let elapsed = now.as_nanos().saturating_sub(self.begun.as_nanos());
        if u128::from(elapsed) < PERIOD.as_nanos() {
            return false;
        }
        self.begun = now;
        core::mem::take(&mut self.worked) > elapsed / 10 * 9
    }
}

/// Does the crypt phase of what others have too much of.
fn help(
    homes: &Homes,
    placement: &Placement,
    thread: usize,
    mut bed: Bed,
    mut crew: Member<Batch<TunnelAead>>,
) -> Result<(), Error> {
    let mut events = Events::with_capacity(1);
    let Some(bell) = homes.bell(thread) else { return Ok(()) };
    let mut rest = placement.settle(thread);
    let core = crew.core();
    let mut strategy = homes.strategy().build();
    let mut kind = None;
    loop {
        bell.clear();
        if homes.is_ending() {
            return Ok(());
        }
        let wanted = homes.strategy();
        if kind.replace(wanted) != Some(wanted) {
            let plan = placement.plan(wanted);
            crew.place(&plan);
            strategy.switch(wanted, &plan, core);
        }
        crew.awake();
        let mut io = HelperIo { crew: &mut crew, now: clock::now().as_nanos() };
        while !strategy.step(core, BUDGET, &mut io).idle() {
            io.now = clock::now().as_nanos();
            if homes.is_ending() {
                return Ok(());
            }
        }
        if crew.may_sleep() {
            rest.wait(&mut bed.poller, &mut events, None)?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_period_is_busy_if_nine_tenths_of_it_were_worked() {
        let at = |millis: u64| Instant::from_nanos(millis * 1_000_000);
        let mut meter = Meter::new(at(0));
        assert_eq!(meter.worked(at(49)), 49_000_000);
        assert!(!meter.is_busy(at(49)), "it is not over");
        meter.worked(at(50));
        assert!(meter.is_busy(at(50)));
        for (slept, expected) in [(4, true), (6, false)] {
            let start = meter.since.as_nanos() / 1_000_000;
            meter.worked(at(start + 50 - slept));
            meter.since = at(start + 50);
            meter.worked(at(start + 50));
            assert_eq!(meter.is_busy(at(start + 50)), expected, "{slept} ms");
        }
    }
}
