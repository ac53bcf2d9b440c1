//! Counter split: the NIC deals the packets of a tunnel out by `counter >> 6`, and its home merges what the receivers bring.

use std::collections::VecDeque;

use wg_sched::{CounterMerge, LaneId, Plan, Span, StrategyKind};

use super::engine::{RING, State};
use super::home::Home;
use super::io::Batch;

#[derive(Debug)]
pub(super) struct Split {
    on: bool,
    /// All come home again, but for what other lanes have yet.
    ending: bool,
    /// The lanes that receive for each, and those that do now.
    possible: Vec<Vec<usize>>,
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
    /// By peer: the first counter that was not merged, while merging is on; and, since the last look, batches that were merged and those
    /// that were late.
    next: Vec<u64>,
    merged: u64,
    late: u64,
}

impl Split {
    /// `plan` is that of a strategy that splits, if this one does or `may` at times.
    pub(super) fn new(plan: &Plan, kind: StrategyKind, may: bool, peers: u32) -> Self {
        let on = kind.splits_counters();
        let can = on || may;
        let lanes = if can { plan.lanes.len() } else { 0 };
        let possible = |lane: &wg_sched::Lane| {
            plan.receivers_of(lane.id).map(|LaneId(lane)| lane as usize).collect::<Vec<_>>()
        };
        let possible: Vec<_> = plan.lanes.iter().take(lanes).map(possible).collect();
        Self {
            on,
            ending: false,
            receivers: if on { possible.clone() } else { vec![Vec::new(); lanes] },
            possible,
            ways: (0..lanes).map(|_| VecDeque::new()).collect(),
            under_way: vec![0; lanes * lanes],
            merges: (0..peers).filter(|_| can).map(|_| CounterMerge::new(lanes, RING)).collect(),
            next: vec![0; if can { peers as usize } else { 0 }],
            merged: 0,
            late: 0,
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
        !self.on || last.end == counter
    }

    /// The lanes that could receive for each.
    pub(super) fn possible(&self) -> &[Vec<usize>] {
        &self.possible
    }

    /// Has these receive for each from now on.
    pub(super) fn begin(&mut self, receivers: Vec<Vec<usize>>) {
        (self.on, self.ending, self.receivers) = (true, false, receivers);
    }

    /// Has all come home from now on. It goes on until what others have is there, too.
    pub(super) fn end(&mut self) {
        self.receivers.iter_mut().for_each(Vec::clear);
        self.ending = true;
    }

    pub(super) const fn is_ending(&self) -> bool {
        self.ending
    }

    /// Tells whether no lane has anything for another home.
    fn has_come_home(&self) -> bool {
        let lanes = self.receivers.len();
        (0..lanes * lanes).all(|way| way / lanes == way % lanes || self.under_way[way] == 0)
    }

    /// Tells whether something that was split is yet to be merged at a home.
    pub(super) fn is_left(&self, home: usize) -> bool {
        let lanes = self.receivers.len();
        (0..lanes).any(|lane| self.under_way[lane * lanes + home] > 0)
    }

    /// How many of a thousand batches that were merged since the last call were late.
    pub(super) fn take_disorder(&mut self) -> u32 {
        let (merged, late) = (core::mem::take(&mut self.merged), core::mem::take(&mut self.late));
        u32::try_from((late * 1000).div_ceil(merged.max(1))).unwrap_or(u32::MAX)
    }

    /// Tells whether there is a place on the way from a lane to a home.
    pub(super) fn has_place(&self, lane: usize, home: usize) -> bool {
        self.under_way[lane * self.receivers.len() + home] < RING
    }

    /// Takes a place on the way from a lane to a home, if there is one.
    pub(super) fn take(&mut self, lane: usize, home: usize) -> bool {
        let free = self.has_place(lane, home);
        self.under_way[lane * self.receivers.len() + home] += usize::from(free);
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
    /// Ends a split if nothing of it is left at another lane than home.
    pub(super) fn end_split(&mut self) {
        let (homes, peers) = (&self.homes, &self.peers);
        let is_home = |(lane, home): (usize, &Home)| {
            home.queue.iter().all(|(_, batch)| peers[batch.peer as usize].home == lane)
        };
        if self.split.ending && self.split.has_come_home() && homes.iter().enumerate().all(is_home) {
            (self.split.on, self.split.ending) = (false, false);
        }
    }

    /// The next batch that a home may send.
    pub(super) fn merge(&mut self, home: usize, now: u64) -> Option<Batch> {
        // What was begun before the split is in the order of its tickets, and goes first.
        if self.homes[home].order.pending() > 0 {
            return None;
        }
        if !self.split.on && !self.split.is_left(home) {
            self.split.deadline.get_mut(home)?.take();
            return None;
        }
        let (split, homes) = (&mut self.split, &self.homes);
        while let Some((_, batch)) = split.ways[home].pop_front_if(|(at, _)| *at <= now) {
            let span = Span { keypair: 0, first: batch.counter, last: batch.end - 1 };
            let pushed = split.merges[batch.peer as usize].push(batch.lane, span, batch);
            assert!(pushed.is_ok(), "there is a place for what was taken");
        }
        let (ways, on) = (&split.ways[home], split.on);
        let comes = |lane: usize| {
            on && homes[lane].queue.front().is_some_and(|(at, _)| *at <= now)
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
                split.merged += 1;
                split.late += u64::from(batch.counter < split.next[peer]);
                split.next[peer] = split.next[peer].max(batch.end);
                return Some(batch);
            }
            let deadline = [split.deadline[home], split.merges[peer].deadline()];
            split.deadline[home] = deadline.into_iter().flatten().min();
        }
        None
    }
}
