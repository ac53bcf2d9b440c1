//! Counter split: the NIC deals the packets of a tunnel out by `counter >> 6`, and its home merges what the receivers bring.

use std::collections::VecDeque;

use wg_sched::{CounterMerge, LaneId, Plan, Span, StrategyKind};

use super::engine::{RING, State};
use super::io::Batch;

#[derive(Debug)]
pub(super) struct Split {
    on: bool,
    /// The lanes that receive for each.
    receivers: Vec<Vec<usize>>,
    /// By home: what is on the way there, and when it is there, in the order of that.
    ways: Vec<VecDeque<(u64, Batch)>>,
    /// By lane and home: batches that were taken and not yet merged.
    under_way: Vec<usize>,
    /// By peer.
    merges: Vec<CounterMerge<Batch>>,
    /// By home: whom the merge looks at first, and when it is to look again.
    cursor: Vec<usize>,
    deadline: Vec<Option<u64>>,
}

impl Split {
    pub(super) fn new(plan: &Plan, kind: StrategyKind, peers: u32) -> Self {
        let on = kind.splits_counters();
        let lanes = if on { plan.lanes.len() } else { 0 };
        let receivers = |lane: &wg_sched::Lane| {
            plan.receivers_of(lane.id).map(|LaneId(lane)| lane as usize).collect::<Vec<_>>()
        };
        Self {
            on,
            receivers: plan.lanes.iter().take(lanes).map(receivers).collect(),
            ways: (0..lanes).map(|_| VecDeque::new()).collect(),
            under_way: vec![0; lanes * lanes],
            merges: (0..peers).filter(|_| on).map(|_| CounterMerge::new(lanes, RING)).collect(),
            cursor: vec![0; lanes],
            deadline: vec![None; lanes],
        }
    }

    pub(super) const fn is_on(&self) -> bool {
        self.on
    }

    /// The lane whose NIC ring a packet goes to.
    pub(super) fn lane(&self, home: usize, counter: u64) -> usize {
        let receivers = self.receivers.get(home).map_or(&[][..], Vec::as_slice);
        let run = usize::try_from(counter >> 6).unwrap_or(0);
        run.checked_rem(receivers.len()).map_or(home, |at| receivers[at])
    }

    /// Tells whether packets may follow those that wait in a ring in one batch: where counters are split a batch has a run of them.
    pub(super) const fn joins(&self, last: &Batch, counter: u64) -> bool {
        !self.on || last.next() == counter
    }

    /// Takes a place on the way from a lane to a home, if there is one.
    pub(super) fn take(&mut self, lane: usize, home: usize) -> bool {
        let place = &mut self.under_way[lane * self.receivers.len() + home];
        let free = *place < RING;
        *place += usize::from(free);
        free
    }

    /// A batch is at its home from `at` on.
    pub(super) fn bring(&mut self, at: u64, home: usize, batch: Batch) {
        let way = &mut self.ways[home];
        let place = way.partition_point(|(other, _)| *other <= at);
        way.insert(place, (at, batch));
    }

    /// When a home has something to look at.
    pub(super) fn ready(&self, home: usize) -> Option<u64> {
        let next = self.ways.get(home)?.front().map(|(at, _)| *at);
        [next, self.deadline[home]].into_iter().flatten().min()
    }
}

impl State {
    /// The next batch that a home may send.
    pub(super) fn merge(&mut self, home: usize, now: u64) -> Option<Batch> {
        let (split, homes) = (&mut self.split, &self.homes);
        while let Some((_, batch)) = split.ways[home].pop_front_if(|(at, _)| *at <= now) {
            let span = Span { keypair: 0, first: batch.counter, last: batch.next() - 1 };
            let pushed = split.merges[batch.peer as usize].push(batch.lane, span, batch);
            assert!(pushed.is_ok(), "there is a place for what was taken");
        }
        let ways = &split.ways[home];
        let comes = |lane: usize| {
            homes[lane].queue.front().is_some_and(|(at, _)| *at <= now)
                || ways.iter().any(|(_, batch)| batch.lane == lane)
        };
        let count = split.merges.len();
        split.deadline[home] = None;
        for at in 0..count {
            let peer = (split.cursor[home] + at) % count;
            if self.peers[peer].home != home {
                continue;
            }
            if let Some(batch) = split.merges[peer].pop(now, comes) {
                split.cursor[home] = (peer + 1) % count;
                // There may be more.
                split.deadline[home] = Some(now);
                let lane = split.receivers.len() * batch.lane + home;
                split.under_way[lane] -= 1;
                return Some(batch);
            }
            let deadline = [split.deadline[home], split.merges[peer].deadline()];
            split.deadline[home] = deadline.into_iter().flatten().min();
        }
        None
    }
}
