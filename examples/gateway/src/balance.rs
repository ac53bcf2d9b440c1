//! The slow loop: peers leave a lane that is busy for one that is not, see [`wg_sched::rebalance`].
//!
//! ```text
//!   lane thread:      worked so long | a busy period: wake the control thread
//!   control thread:   every 50 ms while a lane is busy: who is busy? --uneven--> all homes; whose packets? move; level again
//! ```
//!
//! While no lane is busy nobody looks, and no timer runs. The peers are looked at only when lanes are uneven. What a peer costs its
//! lane is not measured but shared out by its packets and bytes.

use core::time::Duration;
use std::collections::HashMap;

use getrandom::SysRng;
use getrandom::rand_core::TryRng;
use wg_datapath::{PeerId, PeerStatus};
use wg_proto::Instant;
use wg_sched::{LaneLoad, NodeId, PeerLoad, is_uneven, rebalance};

use crate::homes::{Homes, Part};
use crate::log::PeerName;
use crate::tunnel::Configuring;

/// The time between two looks at the lanes.
pub(crate) const PERIOD: Duration = Duration::from_millis(50);
/// Periods without a busy lane after which nobody looks any more.
const CALM: u32 = 20;

/// What was found out about lanes and peers.
#[derive(Debug)]
pub(crate) struct Balance {
    lanes: Vec<LaneLoad>,
    /// What the thread of each lane had worked when it was last looked at.
    worked: Vec<u64>,
    /// When that was; none while nobody looks.
    looked_at: Option<Instant>,
    /// Periods in a row without a busy lane.
    calm: u32,
    peers: HashMap<PeerId, Seen>,
}

/// A peer when it was last looked at.
#[derive(Debug)]
struct Seen {
    work: u64,
    moved: Option<u64>,
}

/// About the nanoseconds that all packets of a peer took its home, as `cargo xtask bench stages` has them: 180 for one, and 0.3 for
/// each byte.
const fn work(peer: &PeerStatus<'_>) -> u64 {
    let bytes = peer.rx_bytes.wrapping_add(peer.tx_bytes);
    peer.messages.wrapping_mul(180).wrapping_add(bytes / 10 * 3)
}

impl Balance {
    pub(crate) fn new(nodes: impl Iterator<Item = NodeId>) -> Self {
        let lanes: Vec<_> = nodes.map(LaneLoad::idle).collect();
        let worked = vec![0; lanes.len()];
        Self { lanes, worked, looked_at: None, calm: 0, peers: HashMap::new() }
    }

    /// When to look again, if it is to be looked at all.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.looked_at.map(|at| at.saturating_add(PERIOD))
    }

    /// Looks at the lanes if it is time, and tells whether [`Self::level`] has something to do.
    pub(crate) fn look<H: Part>(&mut self, homes: &Homes<H>, now: Instant) -> bool {
        if !homes.is_watched() || self.due().is_some_and(|due| now < due) {
            return false;
        }
        let Some(before) = self.looked_at.replace(now) else {
            self.worked = homes.worked().collect();
            return false;
        };
        let elapsed = now.as_nanos().saturating_sub(before.as_nanos()).max(1);
        for ((lane, before), worked) in self.lanes.iter_mut().zip(&mut self.worked).zip(homes.worked()) {
            let nanos = worked.wrapping_sub(core::mem::replace(before, worked)).min(elapsed);
            lane.observe(u32::try_from(nanos.saturating_mul(1000) / elapsed).unwrap_or(1000));
        }
        let is_calm = self.lanes.iter().all(|lane| lane.periods == 0);
        self.calm = if is_calm { self.calm + 1 } else { 0 };
        if self.calm >= CALM {
            (self.looked_at, self.calm) = (None, 0);
            self.peers.clear();
            homes.unwatch();
        }
        is_uneven(&self.lanes)
    }

    /// Moves peers until the lanes are as level as they can be.
    pub(crate) fn level(&mut self, tunnel: &mut Configuring<'_>, now: Instant) {
        let now = now.as_nanos();
        let (ids, mut peers) = self.peers(tunnel);
        loop {
            let (Ok(one), Ok(other)) = (SysRng.try_next_u64(), SysRng.try_next_u64()) else { return };
            let Some(next) = rebalance(&self.lanes, &peers, [one, other], now) else { return };
            let (Some(id), Some(peer)) = (ids.get(next.peer).copied(), peers.get_mut(next.peer)) else {
                return;
            };
            let (from, share) = (peer.home, peer.share);
            if let Err(error) = tunnel.rehome(id, next.to) {
                tracing::trace!("a peer stays on lane {from}: {error}");
                // Another may do, and this one the next time.
                peer.pending = 1;
                continue;
            }
            next.note(&mut self.lanes, &mut peers, now);
            if let Some(seen) = self.peers.get_mut(&id) {
                seen.moved = Some(now);
            }
            if let Some(key) = tunnel.key_of(id) {
                let to = next.to;
                tracing::debug!(
                    "{} moves from lane {from} to lane {to}, of load {share} of 1000",
                    PeerName(&key)
                );
            }
        }
    }

    /// What each peer had of its home since it was last looked at; the first time, nothing.
    fn peers(&mut self, tunnel: &Configuring<'_>) -> (Vec<PeerId>, Vec<PeerLoad>) {
        let mut found = Vec::new();
        // Those that are gone are not taken over.
        let mut before = core::mem::take(&mut self.peers);
        let mut sums = vec![0_u64; self.lanes.len()];
        for (home, peer) in tunnel.peers() {
            let total = work(&peer);
            let seen = before.remove(&peer.id).unwrap_or(Seen { work: total, moved: None });
            let part = total.wrapping_sub(seen.work);
            if let Some(sum) = sums.get_mut(home).filter(|_| part > 0) {
                *sum = sum.saturating_add(part);
                found.push((peer.id, home, part, seen.moved));
            }
            self.peers.insert(peer.id, Seen { work: total, moved: seen.moved });
        }
        let load = |(id, home, part, moved): (PeerId, usize, u64, Option<u64>)| {
            let busy = self.lanes.get(home).map_or(0, |lane| u64::from(lane.busy));
            let sum = sums.get(home).copied().unwrap_or(0).max(1);
            let share = u32::try_from(u128::from(busy) * u128::from(part) / u128::from(sum)).unwrap_or(1000);
            (id, PeerLoad { home, share, pending: 0, moved })
        };
        found.into_iter().map(load).unzip()
    }
}

#[cfg(test)]
mod tests {
    use wg_sys_linux::Waker;

    use super::*;

    #[test]
    fn lanes_are_looked_at_while_one_of_them_is_busy_and_no_longer() {
        let homes = Homes::new(vec![(); 2], (0..2).map(|_| Waker::new().unwrap()).collect());
        let mut balance = Balance::new([NodeId(0); 2].into_iter());
        let at = |period: u64| Instant::from_nanos(1_000_000_000 + period * 50_000_000);
        assert!(!balance.look(&homes, at(0)));
        assert_eq!(balance.due(), None, "nobody asked");
        assert!(homes.watch());
        assert!(!homes.watch(), "it is watched already");
        let mut period = 0;
        let mut uneven = |busy: [u64; 2], periods: u64| {
            let mut found = Vec::new();
            for _ in 0..periods {
                (0..2).for_each(|lane| homes.add_work(lane, busy[lane] * 50_000));
                if balance.look(&homes, at(period)) {
                    found.push(period);
                }
                assert!(!balance.look(&homes, at(period)), "not twice in a period");
                period += 1;
            }
            found
        };
        assert_eq!(uneven([1000, 200], 6), [3, 4, 5], "after three periods");
        assert_eq!(uneven([1000, 950], 6), [0; 0], "both are busy");
        assert_eq!(uneven([500, 200], 19), [0; 0], "nobody is");
        assert!(homes.is_watched());
        assert_eq!(uneven([500, 200], 1), [0; 0]);
        assert!(!homes.is_watched());
        assert_eq!(balance.due(), None);
    }
}
