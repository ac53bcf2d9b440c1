//! The slow loop: peers leave a lane that is busy for one that is not, see [`wg_sched::rebalance`], and where no move helps, other
//! lanes receive for it, see [`AutoSplit`].
//!
//! ```text
//!   lane thread:      worked so long | a busy period: wake the control thread
//!   control thread:   every 50 ms while a lane is busy: who is busy? --uneven--> all homes; whose packets? move; level again; split, or join
//! ```
//!
//! While no lane is busy nobody looks, and no timer runs. The peers are looked at only when lanes are uneven, or counters are, or might be,
//! split. What a peer costs its
//! lane is not measured but shared out by its packets and bytes.

use core::time::Duration;
use std::collections::HashMap;

use getrandom::SysRng;
use getrandom::rand_core::TryRng;
use wg_datapath::PeerId;
use wg_proto::Instant;
use wg_sched::{
    AutoSplit, Change, LaneLoad, NodeId, PeerFlow, PeerLoad, Signs, StrategyKind, is_uneven, rebalance,
};

use crate::cli::Splitting;
use crate::homes::{Homes, Part};
use crate::log::PeerName;
use crate::tunnel::{Activity, Configuring};

/// The time between two looks at the lanes.
pub(crate) const PERIOD: Duration = Duration::from_nanos(PERIOD_NANOS);
const PERIOD_NANOS: u64 = 50_000_000;
/// Periods without a busy lane after which nobody looks any more.
const CALM: u32 = 20;
/// Looks after which a peer that had nothing to do is forgotten, at the latest after twice as many.
const FORGOTTEN: u32 = 100;

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
    /// When the peers were last listed.
    listed_at: Option<Instant>,
    /// A split by the rule is to end that could not be ended, or not be changed.
    joins: bool,
    /// The peers that had something to do lately.
    peers: HashMap<PeerId, Seen>,
    looks: u32,
    /// Whether counters are to be split; none where that is for nobody but the user to say.
    auto_split: Option<AutoSplit>,
    /// Whether it is of no matter how long lanes wait for a processor; else how long each had waited at the last look, and the longest wait
    /// of the period, in thousandths of it, both as far as that is known.
    ignores_waits: bool,
    delays: Vec<Option<u64>>,
    waited: Option<u32>,
    /// Batches that were merged, and those that were late, when that was last looked at.
    merged: (u64, u64),
}

/// A peer when it was last looked at.
#[derive(Clone, Copy, Debug)]
struct Seen {
    /// The number of that look.
    at: u32,
    work: u64,
    received: u64,
    sent: u64,
    moved: Option<u64>,
}

/// About the nanoseconds that all packets of a peer took its home, as `cargo xtask bench stages` has them: 180 for one, and 0.3 for
/// each byte.
const fn work(bytes: u64, messages: u64) -> u64 {
    messages.wrapping_mul(180).wrapping_add(bytes / 10 * 3)
}

impl Balance {
    /// Looks after lanes on these nodes; `splits` tells when counters may be split without anybody having said so.
    pub(crate) fn new(nodes: impl Iterator<Item = NodeId>, splits: Splitting) -> Self {
        let lanes: Vec<_> = nodes.map(LaneLoad::idle).collect();
        let worked = vec![0; lanes.len()];
        let period = PERIOD_NANOS;
        Self {
            lanes,
            worked,
            looked_at: None,
            calm: 0,
            listed_at: None,
            joins: false,
            peers: HashMap::new(),
            looks: 0,
            auto_split: (splits != Splitting::Off).then(|| AutoSplit::new(period)),
            ignores_waits: splits == Splitting::On,
            delays: Vec::new(),
            waited: None,
            merged: (0, 0),
        }
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
        self.look_at_waits(homes, elapsed);
        let is_split = self.auto_split.as_ref().is_some_and(AutoSplit::is_split);
        let is_calm = !is_split && !self.joins && self.lanes.iter().all(|lane| lane.periods == 0);
        self.calm = if is_calm { self.calm + 1 } else { 0 };
        if self.calm >= CALM {
            (self.looked_at, self.calm) = (None, 0);
            self.listed_at = None;
            self.peers.clear();
            self.delays.clear();
            homes.unwatch();
        }
        let may_split = |rule: &AutoSplit| {
            let is_free = homes.strategy() == StrategyKind::Adaptive || is_split;
            is_free && rule.wants(&self.lanes, now.as_nanos())
        };
        self.joins || is_uneven(&self.lanes) || self.auto_split.as_ref().is_some_and(may_split)
    }

    /// Asks the kernel how long lanes waited for a processor, if that is of interest.
    fn look_at_waits<H: Part>(&mut self, homes: &Homes<H>, elapsed: u64) {
        if self.auto_split.is_none() || self.ignores_waits {
            return;
        }
        let before = core::mem::replace(&mut self.delays, homes.delays().collect());
        // What is not known of one lane, or not yet, is not known.
        self.waited = if before.len() == self.delays.len() {
            let waits = before.iter().zip(&self.delays).map(|(before, now)| {
                let nanos = now.as_ref()?.wrapping_sub(*before.as_ref()?).min(elapsed);
                u32::try_from(nanos.saturating_mul(1000) / elapsed).ok()
            });
            waits.collect::<Option<Vec<_>>>().and_then(|waits| waits.into_iter().max())
        } else {
            None
        };
    }

    /// How long lanes waited for a processor, as the rule is to know it: where nobody can tell, for all of the time.
    fn waited(&self) -> u32 {
        if self.ignores_waits { 0 } else { self.waited.unwrap_or(1000) }
    }

    /// Moves peers until the lanes are as level as they can be. Where nothing was to be moved, other lanes may begin to receive for a busy
    /// one, or no longer do so.
    pub(crate) fn level(&mut self, tunnel: &mut Configuring<'_>, now: Instant) {
        let Listed { ids, loads, flows } = self.list(&tunnel.take_active(), now);
        // Nobody moves while counters are split.
        let is_level = tunnel.is_split() || self.move_peers(tunnel, &ids, loads, now.as_nanos());
        self.split(tunnel, &flows, is_level, now.as_nanos());
    }

    /// Has other lanes receive for those that the rule names, or nobody any more.
    fn split(&mut self, tunnel: &mut Configuring<'_>, flows: &[PeerFlow], is_level: bool, now: u64) {
        let waited = self.waited();
        let Some(rule) = &mut self.auto_split else { return };
        if self.joins {
            // Once more, if nobody chose a strategy meanwhile.
            self.joins = tunnel.splits_itself() && tunnel.split_by_itself(None).is_err();
            return;
        }
        if rule.is_split() && !tunnel.splits_itself() {
            // Somebody chose a strategy meanwhile.
            rule.reset(now);
        }
        if !rule.is_split() && (tunnel.is_split() || tunnel.strategy() != StrategyKind::Adaptive) {
            return;
        }
        let merged = tunnel.merged();
        let before = core::mem::replace(&mut self.merged, merged);
        let signs = Signs { is_level, disorder: disorder_of(before, merged), waited };
        let Some(change) = rule.look(&self.lanes, flows, signs, now) else { return };
        let splits = matches!(change, Change::Split | Change::Resteer);
        let receivers = splits.then(|| rule.receivers(tunnel.receivers()));
        let done = tunnel.split_by_itself(receivers);
        match (&done, change) {
            (Ok(()), Change::Split) => {
                tracing::debug!("other lanes receive for {:?}, which have all they can do", rule.homes());
            }
            (Ok(()), Change::Resteer) => tracing::debug!("others receive for {:?}", rule.homes()),
            (Ok(()), Change::Join(reason)) => {
                tracing::debug!("each lane receives for itself again: {reason}")
            }
            (Err(error), _) => {
                tracing::warn!("steer datagrams by their counters: {error}");
                rule.reset(now);
                self.joins = true;
            }
        }
    }

    /// The same for the peers alone; tells whether none of them was to be moved.
    fn move_peers(
        &mut self,
        tunnel: &mut Configuring<'_>,
        ids: &[PeerId],
        mut peers: Vec<PeerLoad>,
        now: u64,
    ) -> bool {
        let mut is_level = true;
        loop {
            let (Ok(one), Ok(other)) = (SysRng.try_next_u64(), SysRng.try_next_u64()) else { return false };
            let Some(next) = rebalance(&self.lanes, &peers, [one, other], now) else { return is_level };
            let (Some(id), Some(peer)) = (ids.get(next.peer).copied(), peers.get_mut(next.peer)) else {
                return is_level;
            };
            is_level = false;
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
    fn list(&mut self, peers: &[Activity], now: Instant) -> Listed {
        // There may have been many periods in which nobody asked.
        let before = self.listed_at.replace(now);
        let elapsed = before.map_or(1, |before| now.as_nanos().saturating_sub(before.as_nanos()).max(1));
        self.looks = self.looks.wrapping_add(1);
        let looks = self.looks;
        if looks.is_multiple_of(FORGOTTEN) {
            self.peers.retain(|_, seen| looks.wrapping_sub(seen.at) < FORGOTTEN);
        }
        let mut active = Vec::new();
        let mut sums = vec![0_u64; self.lanes.len()];
        for &Activity { home, id, received, sent, messages } in peers {
            let total = work(received.wrapping_add(sent), messages);
            let seen =
                self.peers.entry(id).or_insert(Seen { at: looks, work: total, received, sent, moved: None });
            let part = total.wrapping_sub(seen.work);
            if let Some(sum) = sums.get_mut(home).filter(|_| part > 0) {
                *sum = sum.saturating_add(part);
                let bytes = [received.wrapping_sub(seen.received), sent.wrapping_sub(seen.sent)];
                active.push((id, home, part, bytes, seen.moved));
            }
            *seen = Seen { at: looks, work: total, received, sent, ..*seen };
        }
        let mut listed = Listed::default();
        for (id, home, part, [received, sent], moved) in active {
            let busy = self.lanes.get(home).map_or(0, |lane| u64::from(lane.busy));
            let sum = sums.get(home).copied().unwrap_or(0);
            let share = |part| u32::try_from(scaled(busy, part, sum)).unwrap_or(1000);
            // Of packets there is one number for both ways.
            let of_received = scaled(part, received, received.saturating_add(sent));
            listed.ids.push(id);
            listed.loads.push(PeerLoad { home, share: share(part), pending: 0, moved });
            listed.flows.push(PeerFlow {
                home,
                received: scaled(of_received, 1_000_000_000, elapsed),
                all: scaled(part, 1_000_000_000, elapsed),
                share: share(of_received),
            });
        }
        listed
    }
}

/// The peers that had something of their homes, and what it was.
#[derive(Debug, Default)]
struct Listed {
    ids: Vec<PeerId>,
    loads: Vec<PeerLoad>,
    flows: Vec<PeerFlow>,
}

/// A part of something: as much as `part` is of `whole`.
fn scaled(value: u64, part: u64, whole: u64) -> u64 {
    u64::try_from(u128::from(value) * u128::from(part) / u128::from(whole.max(1))).unwrap_or(u64::MAX)
}

/// Of a thousand batches that were merged between two looks, how many were late, rounded up. With a new split both begin anew.
fn disorder_of(before: (u64, u64), now: (u64, u64)) -> u32 {
    let before = if now.0 < before.0 { (0, 0) } else { before };
    let (merged, late) = (now.0 - before.0, now.1.saturating_sub(before.1));
    u32::try_from((late.saturating_mul(1000)).div_ceil(merged.max(1))).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use wg_datapath::Config;
    use wg_proto::PublicKey;
    use wg_sys_linux::{RunDelay, Waker};

    use super::*;
    use crate::tunnel::TunnelDevice;

    #[test]
    fn late_batches_are_counted_from_look_to_look() {
        assert_eq!(disorder_of((0, 0), (0, 0)), 0);
        assert_eq!(disorder_of((1000, 5), (3000, 7)), 1);
        assert_eq!(disorder_of((1000, 5), (3000, 8)), 2, "rounded up");
        assert_eq!(disorder_of((1000, 5), (100, 1)), 10, "another split");
        assert_eq!(disorder_of((1000, 5), (1001, 6)), 1000);
    }

    #[test]
    fn peers_are_known_again_that_had_nothing_to_do_for_a_while() {
        let mut device = TunnelDevice::new(Config::default(), SysRng).unwrap();
        let ids = [1, 2, 3].map(|byte| device.add_peer(PublicKey::from_bytes([byte; 32])).unwrap());
        let mut balance = Balance::new([NodeId(0); 2].into_iter(), Splitting::Off);
        let mut now = 0;
        let mut list = |peers: &[(usize, usize, u64)]| {
            let activity = |(home, peer, messages): &(usize, usize, u64)| Activity {
                home: *home,
                id: ids[*peer],
                received: messages * 90,
                sent: messages * 10,
                messages: *messages,
            };
            let active: Vec<_> = peers.iter().map(activity).collect();
            now += 50_000_000;
            let Listed { ids: listed, flows, loads } = balance.list(&active, Instant::from_nanos(now));
            let moved: Vec<_> = loads.iter().map(|load| load.moved).collect();
            let flow = |(id, flow): (PeerId, PeerFlow)| {
                assert_eq!(flow.received * 10 / 9, flow.all, "of a hundred bytes ninety were received");
                (ids.iter().position(|other| *other == id).unwrap(), flow.home, flow.all)
            };
            if let Some(seen) = balance.peers.get_mut(&ids[0]) {
                seen.moved.get_or_insert(7);
            }
            (listed.into_iter().zip(flows).map(flow).collect::<Vec<_>>(), moved, balance.peers.len())
        };
        // 180 and 30 ns for each message, twenty times a second.
        let all = |messages: u64| messages * 210 * 20;
        assert_eq!(list(&[(0, 0, 5), (1, 2, 7)]), (vec![], vec![], 2));
        let found = list(&[(0, 0, 15), (1, 2, 107)]);
        assert_eq!(found, (vec![(0, 0, all(10)), (2, 1, all(100))], vec![Some(7), None], 2));
        assert_eq!(list(&[(0, 1, 9)]), (vec![], vec![], 3), "the first time");
        for _ in 0..FORGOTTEN - 10 {
            list(&[]);
        }
        assert_eq!(list(&[(1, 0, 25)]), (vec![(0, 1, all(10))], vec![Some(7)], 3), "one that moved");
        for _ in 0..FORGOTTEN + 10 {
            list(&[(1, 0, 25)]);
        }
        assert_eq!(list(&[(1, 0, 35)]), (vec![(0, 1, all(10))], vec![Some(7)], 1), "others are forgotten");
        for _ in 0..2 * FORGOTTEN {
            list(&[]);
        }
        assert_eq!(list(&[(1, 0, 45), (1, 1, 45)]), (vec![], vec![], 2));
    }

    #[test]
    fn what_comes_in_is_measured_by_the_time_since_peers_were_listed() {
        let mut device = TunnelDevice::new(Config::default(), SysRng).unwrap();
        let id = device.add_peer(PublicKey::from_bytes([1; 32])).unwrap();
        let mut balance = Balance::new([NodeId(0)].into_iter(), Splitting::Off);
        let mut flow = |millis: u64| {
            let peer = Activity { home: 0, id, received: millis * 1000, sent: 0, messages: millis };
            let listed = balance.list(&[peer], Instant::from_nanos(millis * 1_000_000));
            listed.flows.first().map(|flow| flow.received)
        };
        assert_eq!(flow(1000), None);
        // A thousand messages a second, of a thousand bytes each, however seldom anybody asks.
        let each_second = Some(1000 * (180 + 300));
        for millis in [1050, 1100, 2100, 2150, 12_150, 12_151] {
            assert_eq!(flow(millis), each_second, "{millis}");
        }
    }

    #[test]
    fn where_nobody_tells_how_long_lanes_wait_they_count_as_waiting() {
        let waited = |splits, told: usize| {
            let homes = Homes::new(vec![(); 2], (0..2).map(|_| Waker::new().unwrap()).collect());
            (0..told).for_each(|lane| homes.note_delay(lane, RunDelay::of_this_thread().unwrap()));
            homes.watch();
            let mut balance = Balance::new([NodeId(0); 2].into_iter(), splits);
            let looks = (0..4_u64).map(|period| {
                balance.look(&homes, Instant::from_nanos(1_000_000_000 + period * 50_000_000));
                // As long as it takes for the kernel to have counted something.
                let begun = std::time::Instant::now();
                while begun.elapsed() < Duration::from_millis(5) {}
                (balance.waited(), balance.waited.is_some())
            });
            looks.collect::<Vec<_>>()
        };
        assert_eq!(waited(Splitting::On, 0), [(0, false); 4], "whatever they wait");
        assert_eq!(waited(Splitting::Auto, 0), [(1000, false); 4]);
        assert_eq!(waited(Splitting::Auto, 1), [(1000, false); 4], "one of two");
        let told = waited(Splitting::Auto, 2);
        assert_eq!(told[..2], [(1000, false); 2], "a period has a beginning and an end");
        assert!(told[3].1, "{told:?}");
    }

    #[test]
    fn one_busy_lane_of_four_is_of_interest_to_the_rule_unless_another_strategy_was_chosen() {
        let at = |period: u64| Instant::from_nanos(1_000_000_000 + period * 50_000_000);
        for (splits, kind, expected) in [
            (Splitting::On, StrategyKind::Adaptive, true),
            (Splitting::Auto, StrategyKind::Adaptive, true),
            (Splitting::On, StrategyKind::Inline, false),
            (Splitting::On, StrategyKind::CounterSplit, false),
            (Splitting::Off, StrategyKind::Adaptive, false),
        ] {
            let homes = Homes::new(vec![(); 4], (0..4).map(|_| Waker::new().unwrap()).collect());
            homes.set_strategy(kind);
            homes.watch();
            let mut balance = Balance::new([NodeId(0); 4].into_iter(), splits);
            // Level, as far as moves go.
            let looks: Vec<_> = (0..6)
                .map(|period| {
                    (0..4).for_each(|lane| homes.add_work(lane, [950, 940, 800, 800][lane] * 50_000));
                    balance.look(&homes, at(period))
                })
                .collect();
            assert_eq!(looks, [false, false, false, expected, expected, expected], "{kind}");
        }
    }

    #[test]
    fn lanes_are_looked_at_while_one_of_them_is_busy_and_no_longer() {
        let homes = Homes::new(vec![(); 2], (0..2).map(|_| Waker::new().unwrap()).collect());
        let mut balance = Balance::new([NodeId(0); 2].into_iter(), Splitting::Off);
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
