//! Calls for help that come to a core after it went to sleep.
//!
//! A step is one event, and what a home does in it others see from the time on at which it does it. So when a step begins it is not
//! known which helpers will sleep by the time it calls: one that is awake may look before that, see no offer, and sleep. On a
//! machine such a helper is woken, and one that looks later sees the offers.

use super::State;

impl State {
    /// Wakes a core that has just gone to sleep, if a home that it helps calls somebody later, in a step that was taken already.
    pub(super) fn called_by(&mut self, core: usize) {
        let (clock, costs) = (self.seats[core].clock, self.setup.costs);
        let runs = self.seats[core].scheduled;
        for helps in 0..self.seats[core].helps.len() {
            let home = &mut self.homes[self.seats[core].helps[helps]];
            let (at, left) = home.called;
            if left == 0 || at <= clock || runs.is_some_and(|runs| runs <= at) {
                continue;
            }
            home.called = (at, left - 1);
            let caller = &mut self.seats[home.core];
            (caller.clock, caller.busy) = (caller.clock + costs.ipi, caller.busy + costs.ipi);
            self.wake(core, at + costs.wake);
            return;
        }
    }
}
