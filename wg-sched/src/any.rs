//! Any strategy, chosen at run time by its name.

use alloc::vec::Vec;

use crate::inline::Inline;
use crate::io::CoreIo;
use crate::strategy::{Budget, Outcome, Strategy, StrategyKind};
use crate::topology::{CoreId, Helper, Lane, Limits, Plan, Topology};

impl StrategyKind {
    /// Makes the strategy.
    #[must_use]
    pub const fn build(self) -> AnyStrategy {
        match self {
            Self::Inline => AnyStrategy::Inline(Inline::new()),
        }
    }
}

/// A strategy chosen at run time.
#[derive(Debug)]
#[non_exhaustive]
pub enum AnyStrategy {
    /// See [`Inline`].
    Inline(Inline),
}

impl Strategy for AnyStrategy {
    fn kind(&self) -> StrategyKind {
        match self {
            Self::Inline(strategy) => strategy.kind(),
        }
    }

    fn plan(&self, topology: &Topology, limits: &Limits) -> Plan {
        match self {
            Self::Inline(strategy) => strategy.plan(topology, limits),
        }
    }

    fn help(&self, topology: &Topology, lanes: &[Lane], limits: &Limits) -> Vec<Helper> {
        match self {
            Self::Inline(strategy) => strategy.help(topology, lanes, limits),
        }
    }

    fn place(&mut self, plan: &Plan, core: CoreId) {
        match self {
            Self::Inline(strategy) => strategy.place(plan, core),
        }
    }

    fn step<I: CoreIo>(&mut self, core: CoreId, budget: Budget, io: &mut I) -> Outcome {
        match self {
            Self::Inline(strategy) => strategy.step(core, budget, io),
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
