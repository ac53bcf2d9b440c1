//! What one period tells: what the peers of each lane brought, which lanes are heavy, and what would be split.

use alloc::vec;
use alloc::vec::Vec;

use super::{PERIODS, PeerFlow};
use crate::rebalance::LaneLoad;
use crate::topology::NodeId;

/// A busy lane is above this, in thousandths of its time, as for [`rebalance`](crate::rebalance).
const BUSY: u32 = 900;
/// Of a home's time, in thousandths, what its peers send takes at least: else it is busy with what a split does not take from it.
const RECEIVED: u32 = 500;
/// Lanes that are not heavy, on a node, for each that is: with fewer they receive less than a home and its helpers get done.
const RECEIVERS: usize = 2;
/// How busy the lanes of a node are at most, on average, in thousandths: for lanes that are not heavy to receive there has to be time.
const TAKEN: u32 = 750;
/// Who brings less than one in so many of what the fullest lane gets done, and is busy, is so by helping.
const OWN: u64 = 4;
/// Lanes of a node for each heavy one where all receive for each other.
const LANES: usize = 2;

/// A lane that is busy for long.
pub(super) const fn is_hot(lane: &LaneLoad) -> bool {
    lane.periods >= PERIODS && lane.busy > BUSY
}

/// What the peers of each lane brought.
pub(super) struct Rates {
    received: Vec<u64>,
    all: Vec<u64>,
    share: Vec<u32>,
}

impl Rates {
    pub(super) fn of(lanes: usize, peers: &[PeerFlow]) -> Self {
        let mut rates = Self { received: vec![0; lanes], all: vec![0; lanes], share: vec![0; lanes] };
        for peer in peers.iter().filter(|peer| peer.home < lanes) {
            let at = peer.home;
            rates.received[at] = rates.received[at].saturating_add(peer.received);
            rates.all[at] = rates.all[at].saturating_add(peer.all);
            rates.share[at] = rates.share[at].saturating_add(peer.share);
        }
        rates
    }

    pub(super) fn received_of(&self, homes: &[usize]) -> u64 {
        let received = homes.iter().filter_map(|home| self.received.get(*home));
        received.fold(0, |sum, received| sum.saturating_add(*received))
    }

    pub(super) fn all_but(&self, homes: &[usize]) -> u64 {
        let others = self.all.iter().enumerate().filter(|(lane, _)| !homes.contains(lane));
        others.fold(0, |sum, (_, all)| sum.saturating_add(*all))
    }

    /// The most that a lane gets done. Who has all he can do may do most of it for others.
    pub(super) fn fullest(&self) -> u64 {
        self.all.iter().copied().max().unwrap_or(0)
    }

    /// Which lanes are heavy, where this is what a full one gets done.
    pub(super) fn heavy(&self, full: u64) -> Vec<bool> {
        self.all.iter().map(|all| full > 0 && all.saturating_mul(2) >= full).collect()
    }

    /// The homes that are to be split, as far as can be told from one period.
    pub(super) fn wanted(&self, lanes: &[LaneLoad]) -> Wanted {
        let full = self.fullest();
        let heavy = self.heavy(full);
        let nodes = |at: &usize| Node::of(lanes[*at].node, lanes, &heavy);
        let is_wanted = |at: &usize| {
            is_hot(&lanes[*at]) && heavy[*at] && self.share[*at] >= RECEIVED && nodes(at).may_split()
        };
        let homes: Vec<usize> = (0..lanes.len()).filter(is_wanted).collect();
        // Whose datagrams go the way of a split and are not, nobody helps to open them. Who is busy by helping needs no help.
        let has_own = |all: u64| full > 0 && all.saturating_mul(OWN) >= full;
        let busy = lanes.iter().zip(&self.all).filter(|(lane, all)| is_hot(lane) && has_own(**all));
        if homes.len() != busy.count() {
            return Wanted::default();
        }
        let is_wide = homes.iter().any(|at| !nodes(at).has_time());
        let can_widen = homes.iter().any(|at| nodes(at).is_shared());
        Wanted { homes, is_wide, can_widen }
    }
}

/// What is to be split, if anything.
#[derive(Default)]
pub(super) struct Wanted {
    pub(super) homes: Vec<usize>,
    /// Whether heavy lanes are to receive from the start, and whether they can.
    pub(super) is_wide: bool,
    pub(super) can_widen: bool,
}

/// The lanes of a node.
struct Node {
    lanes: usize,
    heavy: usize,
    /// How busy they are, in thousandths, in all.
    busy: u64,
}

impl Node {
    fn of(node: NodeId, lanes: &[LaneLoad], heavy: &[bool]) -> Self {
        let of_node = lanes.iter().zip(heavy).filter(|(lane, _)| lane.node == node);
        of_node.fold(Self { lanes: 0, heavy: 0, busy: 0 }, |sum, (lane, heavy)| Self {
            lanes: sum.lanes + 1,
            heavy: sum.heavy + usize::from(*heavy),
            busy: sum.busy + u64::from(lane.busy),
        })
    }

    /// Tells whether lanes that are not heavy can receive for those that are.
    const fn has_time(&self) -> bool {
        self.heavy * (1 + RECEIVERS) <= self.lanes && self.busy <= TAKEN as u64 * self.lanes as u64
    }

    /// Tells whether heavy ones can receive for each other, too. One alone has nobody to.
    const fn is_shared(&self) -> bool {
        self.heavy > 1 && self.heavy * LANES <= self.lanes
    }

    const fn may_split(&self) -> bool {
        self.has_time() || self.is_shared()
    }
}
