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
//! * A lane is heavy if its peers bring at least half of what the fullest lane gets done. Only busy homes are split, all of them or
//!   none; who brings less than a quarter of that is taken to be busy by helping.
//!   All others are received as before, but nobody helps them to open it meanwhile.
//! * Who receives for them is tried in turn. First it is the lanes that are not heavy, if of the lanes of a node no more than a third are, so
//!   that there are two others for each, and a quarter of their time is left. Where that gains nothing, or there are more, up to a half, it
//!   is all that may, so heavy ones for each other. Beyond a half, what all have to do leaves too little time to gain anything
//!   (`docs/figures.md`).
//! * What came in before the split is measured in the same unit during it. So whether it gains is not believed but seen, on this machine,
//!   with this load: without a twentieth more, or where others lose a tenth, it ends. It has three trials in a row, as the home first has to
//!   open what waited at its sockets, without anybody's help, and all else waits behind that (`docs/figures.md`), and one more where other
//!   lanes take over. And it ends whenever less comes in than before though a lane is busy: else it is who sends that brings less.
//! * Nothing is split where lanes wait for a processor, as what they have received by then is waited for: it may come home too late to be
//!   put in order. A split ends when they begin to, or when batches come too late all the same.
//! * After each end there is a rest, twice as long as the last one if the split was short. So changes are few whatever the load does.
//!
//! Only the receiving side changes: counters are given, and datagrams sent, by the home alone, as before. The other end cannot tell.

mod rates;

use alloc::vec::Vec;

use self::rates::{Rates, Wanted, is_hot};
use crate::rebalance::LaneLoad;

/// Periods for which a lane is busy, and then for which what comes in is measured.
const PERIODS: u32 = 3;
/// What has to come in for a split to stay, in twentieths of what came before; and how much is enough not to look for more.
const GAIN: u64 = 21;
const AMPLE: u64 = 25;
/// Periods after a split before what comes in is measured, those of a trial, and how many trials there are until one gains.
const SETTLE: u32 = 4;
const TRIAL: u32 = 8;
const TRIALS: u32 = 3;
/// Periods in a row after which something that is no longer as it was ends a split.
const LEAVE: u32 = 10;
/// Periods without a split after one. Twice as many for each short split in a row, up to the exponent.
const REST: u64 = 20;
const LONGEST_REST: u32 = 8;
/// Periods until the next look after one that found nothing to split: one, then one more each time, up to this many.
const LONGEST_LOOK: u32 = 20;
/// Periods up to which a split was a short one.
const SHORT: u32 = 200;
/// Batches out of order, in thousandths, from which on a period is disorderly, and how many more of those than of others end a split.
const DISORDER: u32 = 5;
const DISORDERLY: u32 = 3;
/// How long a lane may wait for a processor, in thousandths of the time, and how many more periods in which one did so for longer end a split.
const WAITED: u32 = 20;
const CROWDED: u32 = 3;

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

/// How a period went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signs {
    /// Whether no peer was moved, nor could be.
    pub is_level: bool,
    /// How many of a thousand merged batches were out of order.
    pub disorder: u32,
    /// How long that lane that waited longest for a processor did so, while it had something to do, in thousandths of the time.
    pub waited: u32,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The homes of [`AutoSplit::homes`] are to be split: [`AutoSplit::receivers`] says who receives for whom.
    Split,
    /// They stay split, but others receive for them, as [`AutoSplit::receivers`] says now.
    Resteer,
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
    /// Lanes waited for a processor.
    Crowded,
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
            Self::Crowded => "lanes wait for a processor",
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
    /// What a full lane got done before the split.
    full: u64,
    /// When nothing was split and it was looked at last.
    looked: u64,
    is_split: bool,
    /// Whether heavy lanes receive, too, and whether that would be anything else than if they do not.
    is_wide: bool,
    can_widen: bool,
    /// Trials that are left until one gains; none after that.
    trials: u32,
    /// What came in while heavy lanes did not receive, each period, if that was a gain.
    narrow: Option<u64>,
    /// Since it was so: periods, and what came in during those that count.
    periods: u32,
    sum: Flow,
    /// What came in before the split, each period.
    before: Flow,
    /// Periods in a row in which one lane would be enough, in which it did worse than one, and in which there were more heavy lanes.
    low: u32,
    worse: u32,
    more: u32,
    /// Periods, less those that were not so, in which batches were late, and in which lanes waited for a processor.
    disorderly: u32,
    crowded: u32,
    /// Looks in a row that found nothing to split.
    fruitless: u32,
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
            full: 0,
            looked: 0,
            is_split: false,
            is_wide: false,
            can_widen: false,
            trials: 0,
            narrow: None,
            periods: 0,
            sum: Flow { homes: 0, others: 0 },
            before: Flow { homes: 0, others: 0 },
            low: 0,
            worse: 0,
            more: 0,
            disorderly: 0,
            crowded: 0,
            fruitless: 0,
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
    /// that is not split, and for one that is, those that are not heavy, or all.
    #[must_use]
    pub fn receivers(&self, possible: &[Vec<usize>]) -> Vec<Vec<usize>> {
        let of = |(home, lanes): (usize, &Vec<usize>)| {
            let lanes = lanes.iter().copied().filter(|_| self.homes().contains(&home));
            lanes.filter(|lane| self.is_wide || self.heavy.get(*lane) == Some(&false)).collect()
        };
        possible.iter().enumerate().map(of).collect()
    }

    /// Takes note that nothing is split any more, and not by this rule. It rests as after any split.
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

    /// Looks at a period that is over: what the lanes did, what the peers brought, and how it went.
    pub fn look(&mut self, lanes: &[LaneLoad], peers: &[PeerFlow], signs: Signs, now: u64) -> Option<Change> {
        let rates = Rates::of(lanes.len(), peers);
        if self.is_split {
            let change = self.look_split(&rates, lanes, signs)?;
            if matches!(change, Change::Join(_)) {
                self.join(now);
            }
            return Some(change);
        }
        let may = signs.is_level && signs.waited <= WAITED && now >= self.rests;
        let wanted = if may { rates.wanted(lanes) } else { Wanted::default() };
        if !wanted.homes.is_empty() {
            self.fruitless = 0;
        } else if signs.is_level && now >= self.rests && lanes.iter().any(is_hot) {
            // To list the peers may stop all lanes.
            self.fruitless = (self.fruitless + 1).min(LONGEST_LOOK);
            self.rests = now.saturating_add(self.period.saturating_mul(u64::from(self.fruitless)));
        }
        // Periods that nobody looked at are no busy ones.
        let was_looked_at = now.saturating_sub(self.looked) < 2 * self.period;
        self.looked = now;
        if wanted.homes.is_empty() || wanted.homes != self.homes || !was_looked_at {
            self.start_over();
            self.homes = wanted.homes;
        }
        // What came in since it was looked at last is no period's.
        if self.homes.is_empty() || !was_looked_at {
            return None;
        }
        self.count(&rates);
        if self.periods < PERIODS {
            return None;
        }
        self.before = self.mean(PERIODS);
        self.full = rates.fullest();
        self.heavy = rates.heavy(self.full);
        (self.is_wide, self.can_widen) = (wanted.is_wide, wanted.can_widen);
        (self.is_split, self.trials, self.narrow) = (true, TRIALS, None);
        (self.periods, self.sum) = (0, Flow::default());
        Some(Change::Split)
    }

    fn look_split(&mut self, rates: &Rates, lanes: &[LaneLoad], signs: Signs) -> Option<Change> {
        self.periods = self.periods.saturating_add(1);
        let step = |count: u32, is: bool| if is { count + 1 } else { count.saturating_sub(1) };
        self.disorderly = step(self.disorderly, signs.disorder >= DISORDER && self.periods > SETTLE);
        self.crowded = step(self.crowded, signs.waited > WAITED);
        if self.disorderly >= DISORDERLY {
            return Some(Change::Join(Reason::Disorder));
        }
        if self.crowded >= CROWDED {
            return Some(Change::Join(Reason::Crowded));
        }
        if self.trials > 0 {
            return self.look_at_trial(rates);
        }
        let fits = rates.received_of(&self.homes).saturating_mul(4) < self.before.homes.saturating_mul(3);
        self.low = if fits { self.low + 1 } else { 0 };
        let is_worse = rates.received_of(&self.homes) < self.before.homes && lanes.iter().any(is_hot);
        self.worse = if is_worse { self.worse + 1 } else { 0 };
        let heavy = rates.heavy(self.full);
        let is_more = heavy.iter().zip(&self.heavy).any(|(now, before)| *now && !before);
        self.more = if is_more { self.more + 1 } else { 0 };
        let reason = match () {
            () if self.low >= LEAVE => Reason::Fits,
            () if self.worse >= LEAVE => Reason::NoGain,
            () if self.more >= LEAVE => Reason::MoreHeavy,
            () => return None,
        };
        Some(Change::Join(reason))
    }

    /// Ends a trial when it is time. Who gains little may do better with other receivers, and who gains nothing, too.
    fn look_at_trial(&mut self, rates: &Rates) -> Option<Change> {
        let periods = self.periods.checked_sub(SETTLE).filter(|periods| *periods > 0)?;
        self.add(rates);
        if !periods.is_multiple_of(TRIAL) {
            return None;
        }
        let (now, before) = (self.mean(TRIAL), self.before);
        self.sum = Flow::default();
        let brings =
            |twentieths: u64, than: u64| now.homes.saturating_mul(20) >= than.saturating_mul(twentieths);
        let reason = if !brings(GAIN, self.narrow.unwrap_or(before.homes)) {
            Reason::NoGain
        } else if now.others.saturating_mul(10) < before.others.saturating_mul(9) {
            Reason::OthersLose
        } else if self.is_wide || !self.can_widen || brings(AMPLE, before.homes) {
            self.trials = 0;
            return None;
        } else {
            return Some(self.resteer(Some(now.homes)));
        };
        self.trials -= 1;
        match (self.trials, self.is_wide) {
            (1.., _) => None,
            (0, false) if self.can_widen && reason == Reason::NoGain => Some(self.resteer(None)),
            (0, true) if self.narrow.is_some() => Some(self.resteer(None)),
            (0, _) => Some(Change::Join(reason)),
        }
    }

    /// Has all receive, or those again of which it is known what they bring. What waited at the homes is gone, so one trial is enough.
    fn resteer(&mut self, narrow: Option<u64>) -> Change {
        self.trials = u32::from(!self.is_wide);
        (self.is_wide, self.narrow, self.periods) = (!self.is_wide, narrow, 0);
        Change::Resteer
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
        (self.low, self.worse, self.more) = (0, 0, 0);
        (self.disorderly, self.crowded) = (0, 0);
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

#[cfg(all(test, not(loom)))]
mod tests;
