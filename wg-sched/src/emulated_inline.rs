//! The pipeline with all roles of a peer on one core: receive, ring, crypt, order, send, each its own step as in
//! [`Pipelined`], but without another core. It is the first paper's cross-check: what it lacks to [`crate::Inline`] is the price
//! of the queues, and what [`Pipelined`] lacks to it is the price of the other cores.

use alloc::vec::Vec;

use crate::io::CoreIo;
use crate::pipelined::Pipelined;
use crate::placement::{Overlap, Reach};
use crate::strategy::{Budget, Outcome, Strategy, StrategyKind};
use crate::topology::{CoreId, Helper, Lane, Limits, Plan, Topology};

/// The strategy.
#[derive(Debug)]
pub struct EmulatedInline(Pipelined);

impl EmulatedInline {
    /// Makes the strategy.
    #[must_use]
    pub const fn new() -> Self {
        Self(Pipelined::with(StrategyKind::EmulatedInline, Reach::Itself, Overlap::Allowed))
    }
}

impl Default for EmulatedInline {
    fn default() -> Self {
        Self::new()
    }
}

impl Strategy for EmulatedInline {
    fn kind(&self) -> StrategyKind {
        self.0.kind()
    }

    fn plan(&self, topology: &Topology, limits: &Limits) -> Plan {
        self.0.plan(topology, limits)
    }

    fn help(&self, topology: &Topology, lanes: &[Lane], limits: &Limits) -> Vec<Helper> {
        self.0.help(topology, lanes, limits)
    }

    fn place(&mut self, plan: &Plan, core: CoreId) {
        self.0.place(plan, core);
    }

    fn step<I: CoreIo>(&mut self, core: CoreId, budget: Budget, io: &mut I) -> Outcome {
        self.0.step(core, budget, io)
    }
}
