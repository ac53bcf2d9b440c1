//! Run to completion: a core takes a batch, opens or seals it, and sends it on, before it takes the next. Only small batches are
//! taken a few at a time, as many as fill the lanes of the cipher.
//!
//! No lock, no ring, no hand-off (but for what a strategy before it left under way); order is kept because there is only one at work. Each core has its own lane, and a
//! peer lives on one lane. Data goes before control: while batches flow, one piece of control work is done in each round,
//! so a flood of handshakes cannot starve the tunnel, nor the tunnel the handshakes (C115).
//!
//! From "WireGuard Inline" of the first paper, and variant 1 of MoonWire.

use alloc::vec::Vec;

use crate::io::{CoreIo, Direction};
use crate::placement;
use crate::round::{control, own, pressed, rounds, settle, turn};
use crate::strategy::{Budget, Outcome, Strategy, StrategyKind};
use crate::topology::{CoreId, Limits, Plan, Topology};

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
        Plan { lanes: placement::lanes(cores, limits), helpers: Vec::new() }
    }

    fn step<I: CoreIo>(&mut self, _core: CoreId, budget: Budget, io: &mut I) -> Outcome {
        rounds(io, budget, |io| {
            let mut batches = settle(io);
            batches += turn(io, |io| own(io, Direction::In));
            batches += turn(io, |io| own(io, Direction::Out));
            let control = control(io);
            Outcome { batches, control, pressure: pressed(io), more: false }
        })
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::collections::VecDeque;
    use std::vec;

    use super::*;
    use crate::round::{BATCHES, PACKETS};
    use crate::topology::{Core, Lane, LaneId};

    /// Batches are numbers; every effect is written down.
    struct Script {
        udp: VecDeque<u32>,
        tun: VecDeque<u32>,
        control: u32,
        /// In each batch.
        packets: u32,
        polled: u32,
        trace: Vec<(&'static str, u32)>,
    }

    impl Default for Script {
        fn default() -> Self {
            Self {
                udp: VecDeque::new(),
                tun: VecDeque::new(),
                control: 0,
                packets: PACKETS,
                polled: 0,
                trace: Vec::new(),
            }
        }
    }

    impl CoreIo for Script {
        type Batch = u32;

        fn poll_udp(&mut self) -> Option<u32> {
            let batch = self.udp.pop_front()?;
            self.polled += self.packets;
            Some(batch)
        }
        fn poll_tun(&mut self) -> Option<u32> {
            let batch = self.tun.pop_front()?;
            self.polled += self.packets;
            Some(batch)
        }
        fn polled(&self) -> u32 {
            self.polled
        }
        fn packets(&self, _: &u32) -> u32 {
            self.packets
        }
        fn crypt(&mut self, batches: &mut [u32]) {
            self.trace.extend(batches.iter().map(|batch| ("crypt", *batch)));
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
        let outcome = Inline::new().step(CoreId(0), Budget { batches: 1000, packets: u32::MAX }, &mut script);
        assert_eq!(outcome, Outcome { batches: 100, control: 0, ..Outcome::default() });
        assert_eq!(sent(&script, "tun"), (0..50).collect::<Vec<_>>());
        assert_eq!(sent(&script, "udp"), (100..150).collect::<Vec<_>>());
        for pair in script.trace.chunks(2) {
            assert_eq!(pair[0], ("crypt", pair[1].1), "run to completion");
        }
    }

    #[test]
    fn small_batches_share_a_crypt_phase_up_to_a_round() {
        let (udp, tun) = ((0..50).collect(), (100..150).collect());
        let mut script = Script { udp, tun, packets: 3, ..Script::default() };
        let outcome = Inline::new().step(CoreId(0), Budget { batches: 1000, packets: u32::MAX }, &mut script);
        assert_eq!(outcome.batches, 100);
        assert_eq!(sent(&script, "tun"), (0..50).collect::<Vec<_>>());
        assert_eq!(sent(&script, "udp"), (100..150).collect::<Vec<_>>());
        // Eleven batches of three packets are the first to fill it.
        let first: Vec<_> = script.trace.iter().take(22).copied().collect();
        let expected: Vec<_> =
            (0..11).map(|batch| ("crypt", batch)).chain((0..11).map(|batch| ("tun", batch))).collect();
        assert_eq!(first, expected);

        let mut script = Script { udp: (0..50).collect(), packets: 1, ..Script::default() };
        Inline::new().step(CoreId(0), Budget { batches: 1000, packets: u32::MAX }, &mut script);
        let together = script.trace.iter().take_while(|(what, _)| *what == "crypt").count();
        assert_eq!(together, BATCHES);
    }

    #[test]
    fn directions_take_turns() {
        let mut script = Script { udp: (0..8).collect(), tun: (100..108).collect(), ..Script::default() };
        Inline::new().step(CoreId(0), Budget::default(), &mut script);
        let order: Vec<u32> =
            script.trace.iter().filter(|(what, _)| *what != "crypt").map(|(_, batch)| *batch).collect();
        assert_eq!(
            order,
            [0, 1, 100, 101, 2, 3, 102, 103, 4, 5, 104, 105, 6, 7, 106, 107],
            "64 packets each"
        );
        // Of smaller batches four.
        let mut script =
            Script { udp: (0..8).collect(), tun: (100..108).collect(), packets: 1, ..Script::default() };
        Inline::new().step(CoreId(0), Budget::default(), &mut script);
        let sent_first = script.trace.iter().filter(|(what, _)| *what == "tun" || *what == "udp").take(9);
        assert_eq!(sent_first.last(), Some(&("udp", 100)), "a round brings more than a turn's worth");
    }

    #[test]
    fn control_gets_one_piece_a_round_beside_data_and_all_when_idle() {
        // C115
        let mut script = Script { udp: (0..12).collect(), control: 10, ..Script::default() };
        let outcome = Inline::new().step(CoreId(0), Budget::default(), &mut script);
        assert_eq!((outcome.batches, outcome.control), (12, 10));
        let before_last_batch = script.trace.iter().take_while(|step| **step != ("tun", 11));
        assert_eq!(before_last_batch.filter(|(what, _)| *what == "control").count(), 5);
    }

    #[test]
    fn budget_ends_a_step_and_says_so() {
        let mut script = Script { udp: (0..1000).collect(), ..Script::default() };
        let outcome = Inline::new().step(CoreId(0), Budget { batches: 10, packets: u32::MAX }, &mut script);
        assert!(outcome.more && !outcome.idle());
        assert_eq!(outcome.batches, 10);
        let outcome =
            Inline::new().step(CoreId(0), Budget { batches: 1000, packets: 5 * PACKETS }, &mut script);
        assert!(outcome.more);
        assert_eq!(outcome.batches, 6, "whole turns");
        assert!(Inline::new().step(CoreId(0), Budget::default(), &mut Script::default()).idle());
    }

    #[test]
    fn plan_is_one_lane_for_each_core_up_to_the_limit() {
        let topology = Topology { cores: [5, 1, 3, 1].map(|id| Core::alone(id, 0)).to_vec() };
        let cores = |lanes| -> Vec<u32> {
            let plan = Inline::new().plan(&topology, &Limits { lanes, cores: 0 });
            plan.lanes.iter().map(|lane| lane.core.0).collect()
        };
        assert_eq!(cores(8), [1, 3, 5]);
        assert_eq!(cores(2), [1, 3]);
        assert_eq!(cores(0), [1]);
        let empty = Inline::new().plan(&Topology::default(), &Limits { lanes: 4, cores: 0 });
        assert_eq!(empty.lanes, vec![Lane { id: LaneId(0), core: CoreId(0) }]);
    }
}
