//! Any strategy, chosen at run time by its name, and changed while batches are under way.
//!
//! A strategy has no batches of its own: whatever is under way is in rings, steal slots and the order, where the next finds it. So
//! a change needs no stop. Each core changes by itself, between two of its steps, and for a time cores run different ones:
//!
//! * every step begins with what is left: it sends what is done, crypts what was pushed to this core, and takes back what this core offered;
//! * while a home has batches under way, new ones take tickets, whatever the strategy, and so do not overtake;
//! * a thief may come late: a slot is taken once.
//!
//! Only strategies with a shared home ([`StrategyKind::shares_home`]) need all cores to change between the same steps.

use alloc::vec::Vec;

use crate::adaptive::Adaptive;
use crate::counter_split::CounterSplit;
use crate::inline::Inline;
use crate::io::CoreIo;
use crate::locked::Locked;
use crate::pipelined::Pipelined;
use crate::strategy::{Budget, Outcome, Strategy, StrategyKind};
use crate::topology::{CoreId, Helper, Lane, Limits, Plan, Topology};

impl StrategyKind {
    /// Makes the strategy.
    #[must_use]
    pub const fn build(self) -> AnyStrategy {
        match self {
            Self::Inline => AnyStrategy::Inline(Inline::new()),
            Self::Adaptive => AnyStrategy::Adaptive(Adaptive::new()),
            Self::CounterSplit => AnyStrategy::CounterSplit(CounterSplit::new()),
            Self::Pipelined => AnyStrategy::Pipelined(Pipelined::new()),
            Self::PipelinedNoOverlap => AnyStrategy::Pipelined(Pipelined::without_overlap()),
            Self::NumaPools => AnyStrategy::Pipelined(Pipelined::numa_pools()),
            Self::NumaPoolsNoOverlap => AnyStrategy::Pipelined(Pipelined::numa_pools_without_overlap()),
            Self::EmulatedInline => AnyStrategy::Pipelined(Pipelined::emulated_inline()),
            Self::LockedMutex => AnyStrategy::Locked(Locked::mutex()),
            Self::LockedSpin => AnyStrategy::Locked(Locked::spin()),
        }
    }
}

/// A strategy chosen at run time.
#[derive(Debug)]
#[non_exhaustive]
pub enum AnyStrategy {
    /// See [`Inline`].
    Inline(Inline),
    /// See [`Adaptive`].
    Adaptive(Adaptive),
    /// See [`CounterSplit`].
    CounterSplit(CounterSplit),
    /// See [`Pipelined`].
    Pipelined(Pipelined),
    /// See [`Locked`].
    Locked(Locked),
}

impl Default for AnyStrategy {
    fn default() -> Self {
        StrategyKind::default().build()
    }
}

impl AnyStrategy {
    /// Becomes the strategy of another kind, on the same core. The lanes of the plan are those of the one before, and its helpers
    /// what [`Strategy::help`] of the new strategy says. It allocates, once.
    pub fn switch(&mut self, kind: StrategyKind, plan: &Plan, core: CoreId) {
        *self = kind.build();
        self.place(plan, core);
    }
}

impl Strategy for AnyStrategy {
    fn kind(&self) -> StrategyKind {
        match self {
            Self::Inline(strategy) => strategy.kind(),
            Self::Adaptive(strategy) => strategy.kind(),
            Self::CounterSplit(strategy) => strategy.kind(),
            Self::Pipelined(strategy) => strategy.kind(),
            Self::Locked(strategy) => strategy.kind(),
        }
    }

    fn plan(&self, topology: &Topology, limits: &Limits) -> Plan {
        match self {
            Self::Inline(strategy) => strategy.plan(topology, limits),
            Self::Adaptive(strategy) => strategy.plan(topology, limits),
            Self::CounterSplit(strategy) => strategy.plan(topology, limits),
            Self::Pipelined(strategy) => strategy.plan(topology, limits),
            Self::Locked(strategy) => strategy.plan(topology, limits),
        }
    }

    fn help(&self, topology: &Topology, lanes: &[Lane], limits: &Limits) -> Vec<Helper> {
        match self {
            Self::Inline(strategy) => strategy.help(topology, lanes, limits),
            Self::Adaptive(strategy) => strategy.help(topology, lanes, limits),
            Self::CounterSplit(strategy) => strategy.help(topology, lanes, limits),
            Self::Pipelined(strategy) => strategy.help(topology, lanes, limits),
            Self::Locked(strategy) => strategy.help(topology, lanes, limits),
        }
    }

    fn place(&mut self, plan: &Plan, core: CoreId) {
        match self {
            Self::Inline(strategy) => strategy.place(plan, core),
            Self::Adaptive(strategy) => strategy.place(plan, core),
            Self::CounterSplit(strategy) => strategy.place(plan, core),
            Self::Pipelined(strategy) => strategy.place(plan, core),
            Self::Locked(strategy) => strategy.place(plan, core),
        }
    }

    fn step<I: CoreIo>(&mut self, core: CoreId, budget: Budget, io: &mut I) -> Outcome {
        match self {
            Self::Inline(strategy) => strategy.step(core, budget, io),
            Self::Adaptive(strategy) => strategy.step(core, budget, io),
            Self::CounterSplit(strategy) => strategy.step(core, budget, io),
            Self::Pipelined(strategy) => strategy.step(core, budget, io),
            Self::Locked(strategy) => strategy.step(core, budget, io),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_builds_the_strategy_it_names() {
        for kind in StrategyKind::ALL {
            assert_eq!(kind.build().kind(), *kind);
        }
    }
}
