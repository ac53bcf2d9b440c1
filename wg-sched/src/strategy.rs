//! The seam between the datapath and the ways to spread it over cores.

use alloc::vec::Vec;
use core::str::FromStr;

use crate::io::CoreIo;
use crate::topology::{CoreId, Helper, Lane, Limits, Plan, Topology};

/// How much a step may do before it returns to its executor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Batches of either direction.
    pub batches: u32,
    /// Their packets, which bound the time of the step where batches are large: what waits at the other queue waits for no longer.
    pub packets: u32,
}

impl Default for Budget {
    /// Enough to make the return to the executor cheap, and little enough that timers are not late.
    fn default() -> Self {
        Self { batches: 64, packets: 4096 }
    }
}

/// What a step came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Batches moved.
    pub batches: u32,
    /// Pieces of control work done.
    pub control: u32,
    /// Whether the budget ended the step: there may be more to do, so do not sleep.
    pub more: bool,
    /// Whether the core waits for another: batches under way, or a lock. Until its bell rings it need not look at its
    /// sockets and its queue, so that what comes meanwhile pushes back on its sender.
    pub pressure: bool,
}

impl Outcome {
    /// Tells whether the step found nothing to do.
    #[must_use]
    pub const fn idle(&self) -> bool {
        self.batches == 0 && self.control == 0
    }
}

/// A way to place the phases of the datapath on cores.
///
/// `plan` is a pure function. `step` is one core's turn: it never blocks and never allocates, and whatever it does it does
/// through [`CoreIo`]. Order is the strategy's promise: batches of one peer and direction leave in the order they came.
pub trait Strategy {
    /// Names the strategy.
    fn kind(&self) -> StrategyKind;

    /// Places the lanes on the cores of a machine.
    fn plan(&self, topology: &Topology, limits: &Limits) -> Plan;

    /// Says who helps lanes that stand already: the helpers of [`Self::plan`], and those of a strategy that takes over from
    /// another while traffic flows, when the lanes stay.
    fn help(&self, _topology: &Topology, _lanes: &[Lane], _limits: &Limits) -> Vec<Helper> {
        Vec::new()
    }

    /// Takes its part in a plan, that of `core`. A strategy that moves nothing to other cores needs no plan.
    fn place(&mut self, _plan: &Plan, _core: CoreId) {}

    /// Takes one turn on `core`.
    fn step<I: CoreIo>(&mut self, core: CoreId, budget: Budget, io: &mut I) -> Outcome;
}

/// The strategies there are, by name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum StrategyKind {
    /// Each core runs its own batches to completion.
    Inline,
    /// The same, and idle cores take crypt phases from busy ones. On one core it is [`Self::Inline`].
    #[default]
    Adaptive,
    /// The same, and the datagrams of each tunnel come in over several cores.
    CounterSplit,
    /// Homes receive and send, a pool of all cores crypts.
    Pipelined,
    /// The same, and a tunnel's crypt phase stays off the core that receives it.
    PipelinedNoOverlap,
    /// A pool for each node.
    NumaPools,
    /// The same, and a tunnel's crypt phase stays off the core that receives it.
    NumaPoolsNoOverlap,
    /// A pipeline on one core.
    EmulatedInline,
    /// Workers around a shared home, who sleep while another has its lock.
    LockedMutex,
    /// Workers around a shared home, who spin while another has its lock.
    LockedSpin,
}

impl StrategyKind {
    /// All strategies.
    pub const ALL: &'static [Self] = &[
        Self::Inline,
        Self::Adaptive,
        Self::CounterSplit,
        Self::Pipelined,
        Self::PipelinedNoOverlap,
        Self::NumaPools,
        Self::NumaPoolsNoOverlap,
        Self::EmulatedInline,
        Self::LockedMutex,
        Self::LockedSpin,
    ];

    /// Returns the name it is selected by.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Inline => "inline",
            Self::Adaptive => "adaptive",
            Self::CounterSplit => "counter-split",
            Self::Pipelined => "pipelined",
            Self::PipelinedNoOverlap => "pipelined-no-overlap",
            Self::NumaPools => "numa-pools",
            Self::NumaPoolsNoOverlap => "numa-pools-no-overlap",
            Self::EmulatedInline => "emulated-inline",
            Self::LockedMutex => "locked-mutex",
            Self::LockedSpin => "locked-spin",
        }
    }

    /// Tells whether the datagrams of a tunnel are to be steered by their counters to the cores that [`Plan::receivers_of`] names, and not to
    /// its home alone.
    #[must_use]
    pub const fn splits_counters(self) -> bool {
        matches!(self, Self::CounterSplit)
    }

    /// Tells whether several cores act for one home, under its lock. Such a strategy is taken up, and left, by all cores
    /// between two steps of any of them: one without the lock would not see the others.
    #[must_use]
    pub const fn shares_home(self) -> bool {
        matches!(self, Self::LockedMutex | Self::LockedSpin)
    }
}

impl core::fmt::Display for StrategyKind {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.name())
    }
}

/// There is no strategy of this name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownStrategy;

impl core::fmt::Display for UnknownStrategy {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("unknown strategy; known are:")?;
        StrategyKind::ALL.iter().try_for_each(|kind| write!(f, " {kind}"))
    }
}

impl core::error::Error for UnknownStrategy {}

impl FromStr for StrategyKind {
    type Err = UnknownStrategy;

    fn from_str(name: &str) -> Result<Self, UnknownStrategy> {
        Self::ALL.iter().copied().find(|kind| kind.name() == name).ok_or(UnknownStrategy)
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::string::ToString;

    use super::*;

    #[test]
    fn every_strategy_is_found_by_its_name() {
        for kind in StrategyKind::ALL {
            assert_eq!(kind.to_string().parse(), Ok(*kind));
        }
        assert_eq!("in line".parse::<StrategyKind>(), Err(UnknownStrategy));
        let known = UnknownStrategy.to_string();
        assert!(known.starts_with("unknown strategy; known are: inline adaptive counter-split"), "{known}");
    }
}
