//! Run to completion: a core takes a batch, opens or seals it, and sends it on, before it takes the next.
//!
//! No lock, no ring, no hand-off; order is kept because there is only one at work. Each core has its own lane, and a
//! peer lives on one lane. Data goes before control: while batches flow, one piece of control work is done in each round,
//! so a flood of handshakes cannot starve the tunnel, nor the tunnel the handshakes (C115).
//!
//! From "WireGuard Inline" of the first paper, and variant 1 of MoonWire.

use alloc::vec::Vec;

use crate::io::{CoreIo, Stage};
use crate::strategy::{Budget, Outcome, Strategy, StrategyKind};
use crate::topology::{CoreId, Lane, LaneId, Limits, Plan, Topology};

/// Batches of one direction in a row, before the other has its turn.
const TURN: u32 = 4;

/// The strategy; it has no state of its own.
#[derive(Debug, Default)]
pub struct Inline(());

impl Inline {
    /// Makes the strategy.
    #[must_use]
    pub const fn new() -> Self {
        Self(())
    }
}

impl Strategy for Inline {
    fn kind(&self) -> StrategyKind {
        StrategyKind::Inline
    }

    /// One lane for each core, in the order of their numbers, up to the limit.
    fn plan(&self, topology: &Topology, limits: &Limits) -> Plan {
        let mut cores: Vec<CoreId> = topology.cores.iter().map(|core| core.id).collect();
        cores.sort_unstable();
        cores.dedup();
        cores.truncate(limits.lanes.max(1) as usize);
        if cores.is_empty() {
            cores.push(CoreId(0));
        }
        let lanes = (0..).zip(cores).map(|(lane, core)| Lane { id: LaneId(lane), core }).collect();
        Plan { lanes }
    }

    fn step<I: CoreIo>(&mut self, _core: CoreId, budget: Budget, io: &mut I) -> Outcome {
        let mut outcome = Outcome::default();
        loop {
            let mut moved = 0;
            for _ in 0..TURN {
                let Some(mut batch) = io.poll_udp() else { break };
                io.charge(Stage::Receive, 1);
                io.crypt(&mut batch);
                io.charge(Stage::Crypt, 1);
                io.send_tun(batch);
                io.charge(Stage::Send, 1);
                moved += 1;
            }
            for _ in 0..TURN {
                let Some(mut batch) = io.poll_tun() else { break };
                io.charge(Stage::Receive, 1);
                io.crypt(&mut batch);
                io.charge(Stage::Crypt, 1);
                io.send_udp(batch);
                io.charge(Stage::Send, 1);
                moved += 1;
            }
            let control = u32::from(io.poll_control());
            io.charge(Stage::Control, control);
            outcome.batches += moved;
            outcome.control += control;
            if moved == 0 && control == 0 {
                return outcome;
            }
            if outcome.batches >= budget.batches || outcome.control >= budget.batches {
                outcome.more = true;
                return outcome;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::collections::VecDeque;
    use std::vec;

    use super::*;
    use crate::topology::{Core, NodeId};

    /// Batches are numbers; every effect is written down.
    #[derive(Default)]
    struct Script {
        udp: VecDeque<u32>,
        tun: VecDeque<u32>,
        control: u32,
        trace: Vec<(&'static str, u32)>,
    }

    impl CoreIo for Script {
        type Batch = u32;

        fn poll_udp(&mut self) -> Option<u32> {
            self.udp.pop_front()
        }
        fn poll_tun(&mut self) -> Option<u32> {
            self.tun.pop_front()
        }
        fn crypt(&mut self, batch: &mut u32) {
            self.trace.push(("crypt", *batch));
        }
        fn send_tun(&mut self, batch: u32) {
            self.trace.push(("tun", batch));
        }
        fn send_udp(&mut self, batch: u32) {
            self.trace.push(("udp", batch));
        }
        fn poll_control(&mut self) -> bool {
            let some = self.control > 0;
            if some {
                self.control -= 1;
                self.trace.push(("control", 0));
            }
            some
        }
    }

    fn sent(script: &Script, by: &str) -> Vec<u32> {
        script.trace.iter().filter(|(what, _)| *what == by).map(|(_, batch)| *batch).collect()
    }

    #[test]
    fn every_batch_is_crypted_then_sent_in_order() {
        let mut script = Script { udp: (0..50).collect(), tun: (100..150).collect(), ..Script::default() };
        let outcome = Inline::new().step(CoreId(0), Budget { batches: 1000 }, &mut script);
        assert_eq!(outcome, Outcome { batches: 100, control: 0, more: false });
        assert_eq!(sent(&script, "tun"), (0..50).collect::<Vec<_>>());
        assert_eq!(sent(&script, "udp"), (100..150).collect::<Vec<_>>());
        for pair in script.trace.chunks(2) {
            assert_eq!(pair[0], ("crypt", pair[1].1), "run to completion");
        }
    }

    #[test]
    fn directions_take_turns() {
        let mut script = Script { udp: (0..8).collect(), tun: (100..108).collect(), ..Script::default() };
        Inline::new().step(CoreId(0), Budget::default(), &mut script);
        let order: Vec<u32> =
            script.trace.iter().filter(|(what, _)| *what != "crypt").map(|(_, batch)| *batch).collect();
        assert_eq!(order, [0, 1, 2, 3, 100, 101, 102, 103, 4, 5, 6, 7, 104, 105, 106, 107]);
    }

    #[test]
    fn control_gets_one_piece_a_round_beside_data_and_all_when_idle() {
        // C115
        let mut script = Script { udp: (0..12).collect(), control: 10, ..Script::default() };
        let outcome = Inline::new().step(CoreId(0), Budget::default(), &mut script);
        assert_eq!((outcome.batches, outcome.control), (12, 10));
        let before_last_batch = script.trace.iter().take_while(|step| **step != ("tun", 11));
        assert_eq!(before_last_batch.filter(|(what, _)| *what == "control").count(), 2);
    }

    #[test]
    fn budget_ends_a_step_and_says_so() {
        let mut script = Script { udp: (0..1000).collect(), ..Script::default() };
        let outcome = Inline::new().step(CoreId(0), Budget { batches: 10 }, &mut script);
        assert!(outcome.more && !outcome.idle());
        assert_eq!(outcome.batches, 12, "whole turns");
        assert!(Inline::new().step(CoreId(0), Budget::default(), &mut Script::default()).idle());
    }

    #[test]
    fn plan_is_one_lane_for_each_core_up_to_the_limit() {
        let topology =
            Topology { cores: [5, 1, 3, 1].map(|id| Core { id: CoreId(id), node: NodeId(0) }).to_vec() };
        let cores = |lanes| -> Vec<u32> {
            let plan = Inline::new().plan(&topology, &Limits { lanes });
            plan.lanes.iter().map(|lane| lane.core.0).collect()
        };
        assert_eq!(cores(8), [1, 3, 5]);
        assert_eq!(cores(2), [1, 3]);
        assert_eq!(cores(0), [1]);
        let empty = Inline::new().plan(&Topology::default(), &Limits { lanes: 4 });
        assert_eq!(empty.lanes, vec![Lane { id: LaneId(0), core: CoreId(0) }]);
    }
}
