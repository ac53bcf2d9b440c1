//! The lock of a tunnel's state, which the cores of MoonWire's variant 2 pass for each packet, as the counter in it is written for each.
//!
//! They ask for it in the order of time, and one that waits does not know who will come meanwhile. It takes as many as it finds: in the
//! long run who comes finds as many as who leaves leaves behind.

use std::collections::VecDeque;

use super::cost::Costs;
use super::setup::Wait;

#[derive(Debug, Default)]
pub(super) struct StateLock {
    /// From when to when somebody has it, or is the one to get it, and who; in the order of time.
    held: VecDeque<(u64, u64, usize)>,
    /// Until when those who came wait.
    waits: Vec<u64>,
}

impl StateLock {
    /// A core comes for it at `now`, writes what it guards, and gives it back; tells when it goes on. `line` is what a line costs from the
    /// core that had the lock last.
    pub(super) fn pass(
        &mut self,
        now: u64,
        core: usize,
        wait: Wait,
        costs: &Costs,
        line: impl Fn(usize) -> u64,
    ) -> u64 {
        self.waits.retain(|end| *end > now);
        let waiting = self.waits.len() as u64;
        // The last one stays, for where the line is.
        while self.held.get(1).is_some_and(|(_, end, _)| *end <= now) {
            self.held.pop_front();
        }
        match wait {
            Wait::Spin => self.spin(now, core, waiting, costs, line),
            Wait::Sleep => self.sleep(now, core, waiting, costs, line),
        }
    }

    /// Who spins takes the line of the lock from whoever has it, and that of what it guards is the same.
    fn spin(
        &mut self,
        now: u64,
        core: usize,
        waiting: u64,
        costs: &Costs,
        line: impl Fn(usize) -> u64,
    ) -> u64 {
        let hold = costs.lock + costs.guarded * waiting;
        let free = self.free(now, hold);
        let way = if free == now { self.way(now, core, line) } else { costs.handoff * (waiting + 1) };
        let begin = free + way;
        if free > now {
            self.waits.push(begin);
        }
        // Nobody gets in between.
        self.hold(free, begin + hold, core);
        begin + hold
    }

    /// Who sleeps has to be woken, and until it is awake whoever comes may have the lock. One that slept, or found sleepers, makes the system
    /// call that wakes the next when it gives the lock back: half of what a futex costs.
    fn sleep(
        &mut self,
        now: u64,
        core: usize,
        waiting: u64,
        costs: &Costs,
        line: impl Fn(usize) -> u64,
    ) -> u64 {
        let hold = costs.lock;
        let free = self.free(now, hold);
        if free == now {
            let end = now + self.way(now, core, line) + hold;
            self.hold(now, end, core);
            return end + if waiting > 0 { costs.futex / 2 } else { 0 };
        }
        let begin = self.free(free + costs.futex + costs.sleeper * waiting, hold);
        self.waits.push(begin);
        self.hold(begin, begin + hold, core);
        begin + hold + costs.futex / 2
    }

    /// The first time from `now` on from which nobody has it for so long.
    fn free(&self, now: u64, hold: u64) -> u64 {
        let apart = |at: u64, begin: u64, end: u64| at >= end || at + hold <= begin;
        self.held.iter().fold(now, |at, (begin, end, _)| if apart(at, *begin, *end) { at } else { *end })
    }

    /// What it costs to have the line of a lock that is free.
    fn way(&self, now: u64, core: usize, line: impl Fn(usize) -> u64) -> u64 {
        let last = self.held.iter().rev().find(|(_, end, _)| *end <= now);
        last.map_or(0, |(_, _, last)| if *last == core { 0 } else { line(*last) })
    }

    fn hold(&mut self, begin: u64, end: u64, core: usize) {
        let place = self.held.partition_point(|(other, ..)| *other <= begin);
        self.held.insert(place, (begin, end, core));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Calibration;

    const COSTS: Costs = Calibration::MoonWire.costs();

    /// When those go on who come at these times, each a core of its own.
    fn pass(wait: Wait, times: &[u64]) -> Vec<u64> {
        let mut lock = StateLock::default();
        times.iter().enumerate().map(|(core, now)| lock.pass(*now, core, wait, &COSTS, |_| 60)).collect()
    }

    #[test]
    fn a_lock_that_is_free_costs_its_line() {
        for wait in [Wait::Sleep, Wait::Spin] {
            assert_eq!(pass(wait, &[0, 1000]), [20, 1080], "the second brings it from the first");
            let mut lock = StateLock::default();
            for now in [0, 1000] {
                assert_eq!(lock.pass(now, 7, wait, &COSTS, |_| 60), now + 20, "it is here");
            }
        }
    }

    #[test]
    fn each_that_spins_makes_it_dearer() {
        // 120 to get it, and for each that waits 120 more to get it, and 120 to write.
        assert_eq!(pass(Wait::Spin, &[0, 1, 2, 3]), [20, 160, 540, 1160]);
    }

    #[test]
    fn who_sleeps_leaves_it_to_who_comes() {
        let times = pass(Wait::Sleep, &[0, 1, 500, 1600]);
        // It is free from 20 on; the second is awake at 1520, has it for 20, and wakes another in vain.
        assert_eq!(times[..2], [20, 1520 + 20 + 750]);
        assert_eq!(times[2], 500 + 60 + 20 + 750, "it comes first, and wakes the sleeper");
        assert_eq!(times[3], 1600 + 60 + 20, "nobody waits any more");
    }

    #[test]
    fn sleepers_do_not_meet_each_other() {
        let times = pass(Wait::Sleep, &[0, 1, 2]);
        // 300 for the sleeper beside it.
        assert_eq!(times, [20, 2290, 20 + 1500 + 300 + 20 + 750]);
    }
}
