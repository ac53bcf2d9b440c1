//! When a peer moves to another home: the slow loop, some ten to a hundred times a second.
//!
//! Where the drain of a tunnel runs is a choice that sticks, and a bad rule ends with all drains on one core (the "black hole"
//! of the first paper: whoever is running keeps draining, and the others join it). Here:
//!
//! * a drain has a home and a budget ([`crate::Strategy::step`] leaves after 64 packets to look after its other duties);
//! * a home moves only while nothing of it is under way, and at most once in 100 ms;
//! * it moves off a lane that was busy for three periods, to the less busy of two random ones, of its node if there is one
//!   that qualifies;
//! * the other lane must be clearly less busy, and must stay less busy than this one was. So each move makes the busiest
//!   lane less so: nothing draws two drains together, and nothing moves to and fro.

use crate::topology::NodeId;

/// A busy lane is above this, in thousandths of its time.
const BUSY: u32 = 900;
/// Periods for which a lane is busy before anything moves.
const PERIODS: u32 = 3;
/// Nanoseconds between two moves of a peer.
const REST: u64 = 100_000_000;

/// How busy a lane is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaneLoad {
    /// The node of its core.
    pub node: NodeId,
    /// The time its core worked in the last period, in thousandths.
    pub busy: u32,
    /// The periods in a row in which it was busy.
    pub periods: u32,
}

impl LaneLoad {
    /// A lane that has not worked yet.
    #[must_use]
    pub const fn idle(node: NodeId) -> Self {
        Self { node, busy: 0, periods: 0 }
    }

    /// Notes the busy time of a period.
    pub const fn observe(&mut self, busy: u32) {
        self.busy = busy;
        self.periods = if busy > BUSY { self.periods.saturating_add(1) } else { 0 };
    }
}

/// What a peer costs its home.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerLoad {
    /// The lane, by its place in the list of lanes.
    pub home: usize,
    /// The time its home worked for it in the last period, in thousandths.
    pub share: u32,
    /// Its batches under way.
    pub pending: u32,
    /// When its home moved last.
    pub moved: Option<u64>,
}

/// A peer that gets another home.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Move {
    /// The peer, by its place in the list of peers.
    pub peer: usize,
    /// The lane it is to have.
    pub to: usize,
}

/// Tells whether there is a lane that is busy for long and one that is clearly less so: only then are the peers of interest.
#[must_use]
pub fn is_uneven(lanes: &[LaneLoad]) -> bool {
    busiest(lanes).is_some_and(|(_, source)| lanes.iter().any(|lane| is_clearly_less(lane, source)))
}

/// The lane that has most to do of those that are busy for long.
fn busiest(lanes: &[LaneLoad]) -> Option<(usize, &LaneLoad)> {
    let hot = lanes.iter().enumerate().filter(|(_, lane)| lane.periods >= PERIODS && lane.busy > BUSY);
    hot.max_by_key(|(_, lane)| lane.busy)
}

/// Less busy by as much as level lanes may differ.
const fn is_clearly_less(lane: &LaneLoad, source: &LaneLoad) -> bool {
    lane.busy * 13 < source.busy * 10
}

/// Names the next move of a period; none when there is nothing more to move. The caller carries it out, in the lists, too, and
/// asks again: [`Move::note`] does that. `random` is two numbers of any range, new for each call.
#[must_use]
pub fn rebalance(lanes: &[LaneLoad], peers: &[PeerLoad], random: [u64; 2], now: u64) -> Option<Move> {
    let (from, source) = busiest(lanes)?;
    let fits = |lane: &LaneLoad| is_clearly_less(lane, source);
    let near = |lane: &LaneLoad| lane.node == source.node && fits(lane);
    let to = if lanes.iter().any(near) { choose(lanes, random, near) } else { choose(lanes, random, fits) }?;
    let target = lanes.get(to)?;
    let movable = peers.iter().enumerate().filter(|(_, peer)| {
        peer.home == from
            && peer.pending == 0
            && peer.share > 0
            && peer.moved.is_none_or(|moved| now.saturating_sub(moved) >= REST)
            && target.busy + peer.share < source.busy
    });
    // What levels the two best.
    let apart = |peer: &PeerLoad| (source.busy - peer.share).abs_diff(target.busy + peer.share);
    let (peer, _) = movable.min_by_key(|(_, peer)| apart(peer))?;
    Some(Move { peer, to })
}

/// The less busy of two random lanes among those that fit.
fn choose(lanes: &[LaneLoad], random: [u64; 2], fits: impl Fn(&LaneLoad) -> bool) -> Option<usize> {
    let count = lanes.iter().filter(|lane| fits(lane)).count() as u64;
    let pick = |random: u64| {
        let place = usize::try_from(random.checked_rem(count)?).ok()?;
        lanes.iter().enumerate().filter(|(_, lane)| fits(lane)).nth(place)
    };
    let (one, other) = (pick(random[0])?, pick(random[1])?);
    Some(if other.1.busy < one.1.busy { other.0 } else { one.0 })
}

impl Move {
    /// Writes the move down in the lists it was found in, so that the next is found with the load where it will be.
    pub fn note(self, lanes: &mut [LaneLoad], peers: &mut [PeerLoad], now: u64) {
        let Some(peer) = peers.get_mut(self.peer) else { return };
        if let Some(from) = lanes.get_mut(peer.home) {
            from.busy = from.busy.saturating_sub(peer.share);
        }
        if let Some(to) = lanes.get_mut(self.to) {
            to.busy = to.busy.saturating_add(peer.share);
        }
        peer.home = self.to;
        peer.moved = Some(now);
    }
}

#[cfg(test)]
mod tests;
