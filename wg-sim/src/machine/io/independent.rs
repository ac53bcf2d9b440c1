//! What MoonWire's variant 2, independent workers, does otherwise than `Inline`, whose steps it runs.
//!
//! ```text
//!   NIC --flows dealt out--> a burst | for each packet: lock of the tunnel's state, crypt | send the burst
//! ```
//!
//! * A step is one packet, so that the lock is asked for in the order of time.
//! * A burst is received and sent as one: its first packet pays for that. So locks are asked for in quick succession, and then for a
//!   while not at all.
//! * Packets do not take the same time each: without that cores would find a turn in which none meets another at the lock, up to seven
//!   of them, and keep to it.

use super::super::cost::Locality;
use super::{Batch, View};

/// Packets of a burst, at most: what is usual with DPDK. The paper names no figure.
const BURST: u32 = 32;

impl View<'_> {
    /// Tells whether cores receive and send bursts, of packets that they take one by one.
    pub(super) fn pays_by_burst(&self) -> bool {
        self.state.setup.contender.waits().is_some()
    }

    /// The next packet of this step, if it had none yet.
    pub(super) fn poll_burst(&mut self, lane: usize) -> Option<Batch> {
        if self.taken > 0 {
            return None;
        }
        let batch = self.poll(lane)?;
        self.taken += 1;
        if self.state.seats[self.core].burst == 0 {
            let now = self.clock();
            let behind = self.state.homes[lane].queue.iter().take_while(|(at, _)| *at <= now);
            let packets = behind.map(|(_, batch)| batch.packets).take(BURST as usize - 1).sum::<u32>() + 1;
            let (costs, bytes) = (&self.state.setup.costs, packets * self.state.setup.packet);
            let time = costs.receive.of(packets, bytes) + costs.send.of(packets, bytes);
            self.state.seats[self.core].burst = packets;
            self.charge_ns(time);
        }
        self.state.seats[self.core].burst -= 1;
        Some(batch)
    }

    /// Passes the lock of a tunnel's state, where cores share that.
    pub(super) fn pass_state(&mut self, peer: usize) {
        let Some(wait) = self.state.setup.contender.waits() else { return };
        let (now, own, costs) = (self.clock(), self.core, self.state.setup.costs);
        let seats = &self.state.seats;
        let line = |last: usize| Locality::of(&seats[own].core, &seats[last].core).of_three(costs.line);
        let time = self.state.states[peer].pass(now, own, wait, &costs, line) - now;
        self.state.seats[own].locking += time;
        self.charge_ns(time);
    }

    /// The time that a crypt phase takes, if it takes so much in the mean.
    pub(super) fn varied(&mut self, mean: u64) -> u64 {
        let percent = self.state.setup.costs.variation;
        if percent == 0 || !(self.pays_by_burst() || self.state.kernel.is_some()) {
            return mean;
        }
        let most = mean * percent / 100;
        mean - most + self.state.random() % (2 * most + 1)
    }
}
