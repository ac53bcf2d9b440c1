//! When the adaptive strategy becomes [`CounterSplit`](crate::CounterSplit) for a while: the slow loop again, after [`rebalance`](crate::rebalance).
//!
//! A home that has all it can do with one large tunnel is bound by what it alone does, and no move helps. If other lanes of its node have
//! time, the datagrams of its peers can come in over them. It is not worth it in general, as each datagram then changes cores once, so:
//!
//! ```text
//!            a lane busy, nothing to move, few heavy lanes, time elsewhere: 3 periods
//!   joined ----------------------------------------------------------------------------> on trial
//!     ^  ^---- more did not come in than before; others lose; out of order ----------------'  |
//!     |                                                                        more came in   |
//!     '------ what comes would fit its home again; more heavy lanes; out of order ----- split <'
//! ```
//!
//! * A lane is heavy if its peers bring at least half of what the fullest busy lane gets done. No more than a third of the lanes of a
//!   node may be, so that there are two others to receive for each, and its lanes need a quarter of their time left: beyond that, what all
//!   have to do leaves too little time to gain anything (`docs/figures.md`).
//! * Only busy homes are split, all of them or none, and only lanes that are not heavy receive for them. All others are received as before,
//!   but nobody helps them to open it meanwhile.
//! * What came in before the split is measured in the same unit during it. So whether it gains is not believed but seen, on this machine,
//!   with this load: without a tenth more, or where others lose a tenth, it ends. It has three trials in a row, as the home first has to open
//!   what waited at its sockets, without anybody's help, and all else waits behind that (`docs/figures.md`). And it ends whenever less comes in
//!   than before though a lane is busy: else it is who sends that brings less.
//! * It ends, too, where batches come home too late to be put in order, which happens only where lanes wait for a processor.
//! * After each end there is a rest, twice as long as the last one if the split was short. So changes are few whatever the load does.
//!
//! Only the receiving side changes: counters are given, and datagrams sent, by the home alone, as before. The other end cannot tell.

use alloc::vec;
use alloc::vec::Vec;

use crate::rebalance::LaneLoad;
use crate::topology::NodeId;

/// A busy lane is above this, in thousandths of its time, as for [`rebalance`](crate::rebalance).
const BUSY: u32 = 900;
/// Periods for which a lane is busy, and then for which what comes in is measured.
const PERIODS: u32 = 3;
/// Of a home's time, in thousandths, what its peers send takes at least: else it is busy with what a split does not take from it.
const RECEIVED: u32 = 500;
/// Lanes that are not heavy, on a node, for each that is: with fewer they receive less than a home and its helpers get done.
const RECEIVERS: usize = 2;
/// How busy the lanes of a node are at most, on average, in thousandths: there has to be time.
const TAKEN: u32 = 750;
/// Periods after a split before what comes in is measured, those of a trial, and how many trials there are until one gains.
const SETTLE: u32 = 4;
const TRIAL: u32 = 8;
const TRIALS: u32 = 3;
/// Periods in a row after which something that is no longer as it was ends a split.
const LEAVE: u32 = 10;
/// Periods without a split after one. Twice as many for each short split in a row, up to the exponent.
const REST: u64 = 20;
const LONGEST_REST: u32 = 8;
/// Periods up to which a split was a short one.
const SHORT: u32 = 200;
/// Batches out of order, in thousandths, from which on a period is disorderly, and how many more of those than of others end a split.
const DISORDER: u32 = 5;
const DISORDERLY: u32 = 3;

/// What one peer brought in the last period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerFlow {
    /// Its lane, by its place in the list of lanes.
    pub home: usize,
    /// About the work of what it sent, for a fixed time: of any unit that does not depend on who does it.
    pub received: u64,
    /// The same with what was sent to it.
    pub all: u64,
    /// The time that its home worked for what it sent, in thousandths. Of no interest while its home is split.
    pub share: u32,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The homes of [`AutoSplit::homes`] are to be split: [`AutoSplit::receivers`] says who receives for whom.
    Split,
    /// All datagrams are to come home again.
    Join(Reason),
}

/// Why a split ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// No more came in than before.
    NoGain,
    /// Less came in for others than before.
    OthersLose,
    /// Batches came home too late.
    Disorder,
    /// What comes in would fit its home.
    Fits,
    /// There are more heavy lanes than there were.
    MoreHeavy,
}

impl core::fmt::Display for Reason {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::NoGain => "no more comes in than before",
            Self::OthersLose => "other peers lose",
            Self::Disorder => "batches come home too late",
            Self::Fits => "one lane is enough",
            Self::MoreHeavy => "more lanes have much to do",
        })
    }
}

/// What came in of a period.
#[derive(Clone, Copy, Debug, Default)]
struct Flow {
    /// By the homes that are, or are to be, split.
    homes: u64,
    /// By all others, with what went out.
    others: u64,
}

/// The rule, and what it knows. The same looks give the same changes.
#[derive(Debug)]
pub struct AutoSplit {
    period: u64,
    /// The homes that are split, or would be; and the heavy lanes, by place.
    homes: Vec<usize>,
    heavy: Vec<bool>,
    is_split: bool,
    /// Whether no trial of it gained yet.
    on_trial: bool,
    /// Since it was so: periods, and what came in during those that count.
    periods: u32,
    sum: Flow,
    /// What came in before the split, each period.
    before: Flow,
    /// Periods in a row in which one lane would be enough, in which it did worse than one, and in which there were more heavy lanes.
    low: u32,
    worse: u32,
    more: u32,
    disorderly: u32,
    /// Nothing is split before.
    rests: u64,
    /// Short splits in a row.
    short: u32,
}

impl AutoSplit {
    /// Makes it for looks at intervals of so many nanoseconds.
    #[must_use]
    pub const fn new(period: u64) -> Self {
        Self {
            period,
            homes: Vec::new(),
            heavy: Vec::new(),
            is_split: false,
            on_trial: false,
            periods: 0,
            sum: Flow { homes: 0, others: 0 },
            before: Flow { homes: 0, others: 0 },
            low: 0,
            worse: 0,
            more: 0,
            disorderly: 0,
            rests: 0,
            short: 0,
        }
    }

    /// Tells whether homes are split by this rule.
    #[must_use]
    pub const fn is_split(&self) -> bool {
        self.is_split
    }

    /// The homes that are split, by their places; none if none is.
    #[must_use]
    pub fn homes(&self) -> &[usize] {
        if self.is_split { &self.homes } else { &[] }
    }

    /// Of the lanes that could receive for each ([`Plan::receivers_of`](crate::Plan::receivers_of)), by place, those that do: nobody for a home
    /// that is not split, and for one that is, those that are not heavy.
    #[must_use]
    pub fn receivers(&self, possible: &[Vec<usize>]) -> Vec<Vec<usize>> {
        let of = |(home, lanes): (usize, &Vec<usize>)| {
            let lanes = lanes.iter().copied().filter(|_| self.homes().contains(&home));
            lanes.filter(|lane| self.heavy.get(*lane) == Some(&false)).collect()
        };
        possible.iter().enumerate().map(of).collect()
    }

    /// Takes note that nothing is split any more, and not by this rule. It rests as after a short split.
    pub fn reset(&mut self, now: u64) {
        if self.is_split {
            self.join(now);
        }
        self.start_over();
    }

    /// Tells whether the peers are of interest: something is split, or a lane is busy for long and it is not the time to rest.
    #[must_use]
    pub fn wants(&self, lanes: &[LaneLoad], now: u64) -> bool {
        self.is_split || now >= self.rests && lanes.iter().any(is_hot)
    }

    /// Looks at a period that is over: what the lanes did, what the peers brought, and how many of a thousand merged batches were out of
    /// order. `is_level` tells whether no peer was moved, nor could be.
    pub fn look(
        &mut self,
        lanes: &[LaneLoad],
        peers: &[PeerFlow],
        disorder: u32,
        is_level: bool,
        now: u64,
    ) -> Option<Change> {
        let rates = Rates::of(lanes.len(), peers);
        if self.is_split {
            let reason = self.look_split(&rates, lanes, disorder)?;
            self.join(now);
            return Some(Change::Join(reason));
        }
        let wanted = if is_level && now >= self.rests { rates.wanted(lanes) } else { Vec::new() };
        if wanted.is_empty() || wanted != self.homes {
            self.start_over();
            self.homes = wanted;
        }
        if self.homes.is_empty() {
            return None;
        }
        self.count(&rates);
        if self.periods < PERIODS {
            return None;
        }
        self.before = self.mean(PERIODS);
        self.heavy = rates.heavy(rates.fullest(lanes));
        (self.is_split, self.on_trial) = (true, true);
        (self.periods, self.sum) = (0, Flow::default());
        Some(Change::Split)
    }

    fn look_split(&mut self, rates: &Rates, lanes: &[LaneLoad], disorder: u32) -> Option<Reason> {
        self.periods = self.periods.saturating_add(1);
        self.disorderly = if disorder >= DISORDER && self.periods > SETTLE {
            self.disorderly + 1
        } else {
            self.disorderly.saturating_sub(1)
        };
        if self.disorderly >= DISORDERLY {
            return Some(Reason::Disorder);
        }
        if self.on_trial {
            return self.look_at_trial(rates);
        }
        let fits = rates.received_of(&self.homes).saturating_mul(4) < self.before.homes.saturating_mul(3);
        self.low = if fits { self.low + 1 } else { 0 };
        let is_worse = rates.received_of(&self.homes) < self.before.homes && lanes.iter().any(is_hot);
        self.worse = if is_worse { self.worse + 1 } else { 0 };
        let each = self.before.homes / (self.homes.len() as u64).max(1);
        let heavy = rates.heavy(each);
        let is_more = heavy.iter().zip(&self.heavy).any(|(now, before)| *now && !before);
        self.more = if is_more { self.more + 1 } else { 0 };
        if self.low >= LEAVE {
            return Some(Reason::Fits);
        }
        if self.worse >= LEAVE {
            return Some(Reason::NoGain);
        }
        (self.more >= LEAVE).then_some(Reason::MoreHeavy)
    }

    /// Ends a trial when it is time, and after the last one the split if none gained.
    fn look_at_trial(&mut self, rates: &Rates) -> Option<Reason> {
        let periods = self.periods.checked_sub(SETTLE).filter(|periods| *periods > 0)?;
        self.add(rates);
        if !periods.is_multiple_of(TRIAL) {
            return None;
        }
        let (now, before) = (self.mean(TRIAL), self.before);
        self.sum = Flow::default();
        let reason = if now.homes.saturating_mul(10) < before.homes.saturating_mul(11) {
            Some(Reason::NoGain)
        } else {
            let loses = now.others.saturating_mul(10) < before.others.saturating_mul(9);
            loses.then_some(Reason::OthersLose)
        };
        self.on_trial = reason.is_some();
        reason.filter(|_| periods >= TRIALS * TRIAL)
    }

    fn join(&mut self, now: u64) {
        self.short = if self.periods <= SHORT { (self.short + 1).min(LONGEST_REST) } else { 0 };
        self.rests = now.saturating_add(self.period.saturating_mul(REST << self.short));
        self.is_split = false;
        self.start_over();
    }

    fn start_over(&mut self) {
        if !self.is_split {
            self.homes.clear();
        }
        (self.periods, self.sum) = (0, Flow::default());
        (self.low, self.worse, self.more, self.disorderly) = (0, 0, 0, 0);
    }

    fn count(&mut self, rates: &Rates) {
        self.periods += 1;
        self.add(rates);
    }

    fn add(&mut self, rates: &Rates) {
        self.sum.homes = self.sum.homes.saturating_add(rates.received_of(&self.homes));
        self.sum.others = self.sum.others.saturating_add(rates.all_but(&self.homes));
    }

    fn mean(&self, periods: u32) -> Flow {
        let periods = u64::from(periods);
        Flow { homes: self.sum.homes / periods, others: self.sum.others / periods }
    }
}

/// A lane that is busy for long.
const fn is_hot(lane: &LaneLoad) -> bool {
    lane.periods >= PERIODS && lane.busy > BUSY
}

/// What the peers of each lane brought.
struct Rates {
    received: Vec<u64>,
    all: Vec<u64>,
    share: Vec<u32>,
}

impl Rates {
    fn of(lanes: usize, peers: &[PeerFlow]) -> Self {
        let mut rates = Self { received: vec![0; lanes], all: vec![0; lanes], share: vec![0; lanes] };
        for peer in peers.iter().filter(|peer| peer.home < lanes) {
            let at = peer.home;
            rates.received[at] = rates.received[at].saturating_add(peer.received);
            rates.all[at] = rates.all[at].saturating_add(peer.all);
            rates.share[at] = rates.share[at].saturating_add(peer.share);
        }
        rates
    }

    fn received_of(&self, homes: &[usize]) -> u64 {
        let received = homes.iter().filter_map(|home| self.received.get(*home));
        received.fold(0, |sum, received| sum.saturating_add(*received))
    }

    fn all_but(&self, homes: &[usize]) -> u64 {
        let others = self.all.iter().enumerate().filter(|(lane, _)| !homes.contains(lane));
        others.fold(0, |sum, (_, all)| sum.saturating_add(*all))
    }

    /// The most that a lane gets done that has no time for more.
    fn fullest(&self, lanes: &[LaneLoad]) -> u64 {
        let hot = lanes.iter().zip(&self.all).filter(|(lane, _)| is_hot(lane));
        hot.map(|(_, all)| *all).max().unwrap_or(0)
    }

    /// Which lanes are heavy, where this is what a full one gets done.
    fn heavy(&self, full: u64) -> Vec<bool> {
        self.all.iter().map(|all| full > 0 && all.saturating_mul(2) >= full).collect()
    }

    /// The homes that are to be split, as far as can be told from one period.
    fn wanted(&self, lanes: &[LaneLoad]) -> Vec<usize> {
        let heavy = self.heavy(self.fullest(lanes));
        let has_time = |node: NodeId| {
            let of_node = || lanes.iter().zip(&heavy).filter(move |(lane, _)| lane.node == node);
            let (count, heavy) = (of_node().count(), of_node().filter(|(_, heavy)| **heavy).count());
            let busy: u64 = of_node().map(|(lane, _)| u64::from(lane.busy)).sum();
            heavy * (1 + RECEIVERS) <= count && busy <= u64::from(TAKEN) * count as u64
        };
        let is_wanted = |at: &usize| {
            is_hot(&lanes[*at]) && heavy[*at] && self.share[*at] >= RECEIVED && has_time(lanes[*at].node)
        };
        let wanted: Vec<usize> = (0..lanes.len()).filter(is_wanted).collect();
        // Whose datagrams go the way of a split and are not, nobody helps to open them.
        let all = lanes.iter().filter(|lane| is_hot(lane)).count();
        if wanted.len() == all { wanted } else { Vec::new() }
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
