//! Counter split on the interleaved machine: the steering of what comes, and the merge at each home.
//!
//! The steering changes at once, whatever the cores are at, and what it dealt out before stays where it is: so a split lasts from
//! the change until nothing of it is left.

use alloc::vec::Vec;

use super::{Batch, State};
use crate::conformance::Case;
use crate::io::Direction;
use crate::merge::{CounterMerge, Span, WAIT};
use crate::strategy::StrategyKind;

/// Batches that have one keypair.
const REKEY: u64 = 50;
/// Nanoseconds of a turn.
const TURN: u64 = 1000;

/// Whether a home has a place for one more batch of a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    Free,
    /// No, as the lane has not yet brought what it has.
    InHand,
    Full,
}

#[derive(Debug)]
pub(super) struct Split {
    /// Whether what comes is steered by its number.
    steers: bool,
    /// How often that was said.
    steered: u32,
    /// The lanes that receive for each.
    receivers: Vec<Vec<usize>>,
    /// Batches that may be under way from a lane to a home.
    depth: u32,
    /// By peer; behind the lanes there is one for what was begun without a split.
    merges: Vec<CounterMerge<Batch>>,
    /// By lane and home: batches under way, and those of them that are in the lane's hands.
    under_way: Vec<u32>,
    in_hand: Vec<u32>,
    /// Batches that wait at another lane than their home.
    astray: i32,
    /// The last turn in which counters were split.
    last: Option<u32>,
    /// Whom the merge looks at first.
    cursor: u32,
    /// By home: whether the last look at its merges found something.
    found: Vec<bool>,
    pub(super) merged: u64,
    pub(super) late: u64,
}

impl Split {
    pub(super) fn new(case: &Case, receivers: Vec<Vec<usize>>) -> Self {
        let lanes = receivers.len();
        let merge = |_| CounterMerge::new(lanes + 1, case.ring as usize);
        let mut split = Self {
            steers: false,
            steered: 0,
            depth: case.ring,
            merges: (0..case.peers).map(merge).collect(),
            under_way: alloc::vec![0; lanes * lanes],
            in_hand: alloc::vec![0; lanes * lanes],
            receivers,
            astray: 0,
            last: None,
            cursor: 0,
            found: alloc::vec![false; lanes],
            merged: 0,
            late: 0,
        };
        split.steer(case.kind);
        split
    }

    /// Steers for a strategy from now on.
    pub(super) fn steer(&mut self, kind: StrategyKind) {
        self.steers = kind.splits_counters() && self.depth > 0;
        self.steered += 1;
    }

    /// The lane that a batch comes to: two in a row to the same.
    pub(super) fn lane(&self, home: usize, peer: u32, number: u64) -> usize {
        let receivers = &self.receivers[home];
        if !self.steers || receivers.is_empty() {
            return home;
        }
        let at = (number / 2 + u64::from(peer)) % receivers.len() as u64;
        receivers[usize::try_from(at).unwrap_or(0)]
    }

    /// Batches more or fewer wait at a lane.
    pub(super) fn queued(&mut self, lane: usize, home: usize, more: i32) {
        self.astray += if lane == home { 0 } else { more };
    }

    fn way(&self, lane: usize, home: usize) -> usize {
        lane * self.receivers.len() + home
    }

    pub(super) fn room(&self, lane: usize, home: usize) -> Room {
        let way = self.way(lane, home);
        match self.under_way[way] {
            count if count < self.depth => Room::Free,
            _ if self.in_hand[way] > 0 => Room::InHand,
            _ => Room::Full,
        }
    }

    /// A lane has a batch in its hands.
    pub(super) fn taken(&mut self, lane: usize, home: usize) {
        let way = self.way(lane, home);
        self.under_way[way] += 1;
        self.in_hand[way] += 1;
    }

    /// And brings it to its home.
    pub(super) fn brought(&mut self, home: usize, batch: Batch) {
        let lane = batch.lane.expect("it was polled as one of a split");
        let (way, number) = (self.way(lane, home), batch.tag.number);
        self.in_hand[way] -= 1;
        let pushed = self.merges[batch.tag.peer as usize].push(lane, span(number), batch);
        assert!(pushed.is_ok(), "lane {lane} brings more than there is room for");
    }

    /// A batch of a peer was sent, by whatever way.
    pub(super) fn passed(&mut self, peer: u32, number: u64) {
        self.merges[peer as usize].passed(span(number));
    }

    /// Tells whether a batch was waited for as long as one may be.
    pub(super) fn may_be_late(&self, batch: &Batch, turn: u32) -> bool {
        batch.tag.direction == Direction::In
            && self.last.is_some_and(|last| batch.came <= last)
            && u64::from(turn - batch.came) * TURN >= WAIT
    }

    /// Tells whether a home may not have all that it could send.
    pub(super) fn may_have_more(&self, home: usize) -> bool {
        self.found[home]
    }

    /// The turn in which a home is to look again.
    pub(super) fn deadline(&self, home: usize) -> Option<u32> {
        let of_home = self.merges.iter().skip(home).step_by(self.receivers.len());
        of_home.filter_map(CounterMerge::deadline).map(|at| u32::try_from(at / TURN).unwrap_or(0)).min()
    }
}

impl State {
    /// Tells whether counters are split, or something of it is left.
    pub(super) fn is_splitting(&mut self) -> bool {
        let split = &mut self.split;
        let left = split.steers || split.astray > 0 || split.under_way.iter().any(|count| *count > 0);
        if left {
            split.last = Some(self.turn);
        }
        left
    }

    /// Differs whenever what is polled may have changed between batches of a split and others.
    pub(super) fn split_phase(&mut self) -> (bool, u32) {
        (self.is_splitting(), self.split.steered)
    }

    /// Takes the next batch of a home that came by another core.
    pub(super) fn merge(&mut self, home: usize) -> Option<Batch> {
        let (split, homes, stopped) = (&mut self.split, &self.homes, self.stopped);
        let peers = u32::try_from(split.merges.len()).unwrap_or(0);
        let now = u64::from(self.turn) * TURN;
        for at in 0..peers {
            let peer = (split.cursor + at) % peers;
            if peer as usize % homes.len() != home {
                continue;
            }
            let in_hand = &split.in_hand;
            let comes = |lane: usize| match homes.get(lane) {
                Some(other) => {
                    (!stopped && !other.queues[0].is_empty()) || in_hand[lane * homes.len() + home] > 0
                }
                None => homes[home].has(peer, Direction::In),
            };
            if let Some(batch) = split.merges[peer as usize].pop(now, comes) {
                split.cursor = (peer + 1) % peers;
                let lane = batch.lane.unwrap_or(home);
                let way = split.way(lane, home);
                split.under_way[way] -= 1;
                split.merged += 1;
                split.found[home] = true;
                return Some(batch);
            }
        }
        split.found[home] = false;
        None
    }
}

/// The counter of a batch.
const fn span(number: u64) -> Span {
    Span { keypair: number / REKEY, first: number % REKEY, last: number % REKEY }
}
