//! What a core sees of the machine: a [`CoreIo`] of which every method charges the core's clock.

use wg_sched::{CoreId, CoreIo, Direction, Ticket};

use super::cost::Locality;
use super::engine::{OFFERS, State};
use super::setup::Egress;

/// A batch: lengths without bytes.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) peer: u32,
    pub(super) flow: usize,
    pub(super) number: u64,
    /// The counter of its first packet.
    pub(super) counter: u64,
    /// The lane it came to.
    pub(super) lane: usize,
    pub(super) packets: u32,
    pub(super) bytes: u32,
    /// The core whose cache has it.
    pub(super) core: usize,
}

impl Batch {
    /// The counter behind its last packet.
    pub(super) const fn next(&self) -> u64 {
        self.counter + self.packets as u64
    }
}

pub(super) struct View<'a> {
    state: &'a mut State,
    core: usize,
    begun: u64,
}

impl<'a> View<'a> {
    pub(super) fn new(state: &'a mut State, core: usize) -> Self {
        let begun = state.seats[core].clock;
        Self { state, core, begun }
    }

    fn clock(&self) -> u64 {
        self.state.seats[self.core].clock
    }

    fn charge_ns(&mut self, time: u64) {
        self.state.seats[self.core].clock += time;
    }

    fn locality(&self, other: usize) -> Locality {
        Locality::of(&self.state.seats[self.core].core, &self.state.seats[other].core)
    }

    /// A line goes from another core's cache to this one's, or to it.
    fn line(&self, other: usize) -> u64 {
        let [near, far] = self.state.setup.costs.line;
        match self.locality(other) {
            Locality::Same => 0,
            Locality::Node => near,
            Locality::Remote => far,
        }
    }

    /// Brings a batch into this core's cache; `stage` says which of the dearer ways it is.
    fn migrate(&mut self, batch: &mut Batch, stage: usize) {
        let costs = &self.state.setup.costs;
        let (remote, [near, far]) = (costs.remote[stage], costs.migrate_ps);
        let bytes = u64::from(batch.bytes);
        let time = match self.locality(batch.core) {
            Locality::Same => 0,
            Locality::Node => near * bytes / 1000,
            Locality::Remote => far * bytes / 1000 + remote * u64::from(batch.packets),
        };
        batch.core = self.core;
        self.charge_ns(time);
    }

    /// Changes to the duties of a home, or of a worker.
    fn turn_to(&mut self, receives: bool) {
        let was = core::mem::replace(&mut self.state.seats[self.core].receives, receives);
        if was && !receives {
            self.charge_ns(self.state.setup.costs.switch);
        }
    }

    /// Has another core look, and pays for that if it sleeps.
    fn ring(&mut self, other: usize, at: u64) {
        if other == self.core {
            return;
        }
        if self.state.seats[other].asleep {
            self.charge_ns(self.state.setup.costs.ipi);
            let wake = self.state.setup.costs.wake;
            self.state.wake(other, at + wake);
        }
    }

    fn send(&mut self, batch: &Batch) {
        let time = self.state.setup.costs.send.of(batch.packets, batch.bytes);
        self.charge_ns(time);
        self.state.delivered(self.core, batch);
    }

    /// Takes an offer that was there when this step began.
    fn take_offer(&mut self, home: usize, newest: bool) -> Option<(Ticket, Batch)> {
        let now = self.clock();
        let offers = &mut self.state.homes[home].offers;
        let end = if newest { offers.back() } else { offers.front() };
        if end.is_none_or(|(at, ..)| *at > now) {
            return None;
        }
        let (_, ticket, batch) = if newest { offers.pop_back() } else { offers.pop_front() }?;
        Some((ticket, batch))
    }

    /// Takes the next batch from the NIC ring of a lane.
    fn poll(&mut self, lane: usize) -> Option<Batch> {
        let now = self.clock();
        if self.state.homes[lane].queue.front().is_none_or(|(at, _)| *at > now) {
            return None;
        }
        let (_, mut batch) = self.state.homes[lane].queue.pop_front()?;
        self.state.homes[lane].queued -= batch.packets;
        self.turn_to(true);
        let costs = &self.state.setup.costs;
        let shared = if self.state.setup.contender.kind.shares_home() { costs.locked } else { 0 };
        let time = costs.receive.of(batch.packets, batch.bytes) + shared;
        self.charge_ns(time);
        // The NIC brought it to memory, not to a cache.
        batch.core = self.core;
        Some(batch)
    }

    fn home(&self) -> Option<usize> {
        self.state.seats[self.core].home
    }
}

impl CoreIo for View<'_> {
    type Batch = Batch;

    fn poll_udp(&mut self) -> Option<Batch> {
        let home = self.home().filter(|_| !self.state.split.is_on())?;
        self.poll(home)
    }

    fn poll_tun(&mut self) -> Option<Batch> {
        None
    }

    fn packets(&self, batch: &Batch) -> u32 {
        batch.packets
    }

    fn bytes(&self, batch: &Batch) -> u32 {
        batch.bytes
    }

    fn crypt(&mut self, batches: &mut [Batch]) {
        for batch in batches {
            let time = self.state.setup.costs.crypt.of(batch.packets, batch.bytes);
            self.charge_ns(time);
        }
    }

    fn send_tun(&mut self, batch: Batch) {
        self.send(&batch);
    }

    fn send_udp(&mut self, batch: Batch) {
        self.send(&batch);
    }

    fn poll_control(&mut self) -> bool {
        false
    }

    fn now(&self) -> u64 {
        self.begun
    }

    fn begin(&mut self, batch: &Batch, _direction: Direction) -> Option<Ticket> {
        let home = self.home()?;
        let place = self.state.homes[home].begin(batch.peer)?;
        Some(Ticket { home: u32::try_from(home).ok()?, place })
    }

    fn room(&self) -> u32 {
        self.home().map_or(0, |home| self.state.homes[home].room())
    }

    fn is_head(&self, ticket: Ticket) -> bool {
        self.state.homes[ticket.home as usize].is_head(ticket.place)
    }

    fn pending(&self) -> u32 {
        self.home().map_or(0, |home| self.state.homes[home].pending())
    }

    fn push(&mut self, to: CoreId, ticket: Ticket, batch: Batch) -> Result<(), (Ticket, Batch)> {
        let Some(to) = self.state.seats.iter().position(|seat| seat.core.id == to) else {
            return Err((ticket, batch));
        };
        if self.state.seats[to].ring.len() >= super::engine::RING {
            return Err((ticket, batch));
        }
        let costs = &self.state.setup.costs;
        let far = self.locality(to) == Locality::Remote;
        let remote = if far { costs.remote[0] * u64::from(batch.packets) } else { 0 };
        let time = costs.push.of(batch.packets, batch.bytes) + remote;
        self.charge_ns(time);
        let at = self.clock() + self.line(to);
        self.state.seats[to].ring.push_back((at, ticket, batch));
        self.ring(to, at);
        Ok(())
    }

    fn pop(&mut self) -> Option<(Ticket, Batch)> {
        let now = self.clock();
        if self.state.seats[self.core].ring.front().is_none_or(|(at, ..)| *at > now) {
            return None;
        }
        let (_, ticket, mut batch) = self.state.seats[self.core].ring.pop_front()?;
        self.turn_to(false);
        let time = self.state.setup.costs.take.of(batch.packets, batch.bytes);
        self.charge_ns(time);
        self.migrate(&mut batch, 1);
        Some((ticket, batch))
    }

    fn offer(&mut self, ticket: Ticket, batch: Batch) -> Result<(), (Ticket, Batch)> {
        let at = self.clock();
        let offers = &mut self.state.homes[ticket.home as usize].offers;
        if offers.len() >= OFFERS {
            return Err((ticket, batch));
        }
        offers.push_back((at, ticket, batch));
        Ok(())
    }

    fn reclaim(&mut self) -> Option<(Ticket, Batch)> {
        self.take_offer(self.home()?, false)
    }

    fn reclaim_newest(&mut self) -> Option<(Ticket, Batch)> {
        self.take_offer(self.home()?, true)
    }

    fn steal(&mut self) -> Option<(Ticket, Batch)> {
        for at in 0..self.state.seats[self.core].helps.len() {
            let home = self.state.seats[self.core].helps[at];
            let Some((ticket, mut batch)) = self.take_offer(home, false) else { continue };
            let line = self.line(self.state.homes[home].core);
            let time = line + self.state.setup.costs.take.of(batch.packets, batch.bytes);
            self.charge_ns(time);
            self.migrate(&mut batch, 1);
            return Some((ticket, batch));
        }
        None
    }

    fn call(&mut self, helpers: u32) {
        let Some(home) = self.home() else { return };
        let mut left = helpers;
        for other in 0..self.state.seats.len() {
            let seat = &self.state.seats[other];
            if left > 0 && other != self.core && seat.asleep && seat.helps.contains(&home) && !seat.called() {
                left -= 1;
                let at = self.clock();
                self.ring(other, at);
            }
        }
    }

    fn complete(&mut self, ticket: Ticket, batch: Batch) {
        let home = ticket.home as usize;
        let time = self.line(self.state.homes[home].core);
        self.charge_ns(time);
        if self.state.setup.contender.egress == Egress::Worker {
            self.state.homes[home].leave(ticket.place, batch.peer);
            self.send(&batch);
            let own = self.state.homes[home].core;
            let at = self.clock();
            self.ring(own, at);
            return;
        }
        let (at, peer) = (self.clock(), batch.peer as usize);
        if !self.state.homes[home].complete(ticket.place, batch, at) {
            return;
        }
        if self.state.homes[home].streams[peer].drainer.is_none() {
            self.state.homes[home].streams[peer].drainer = self.state.choose_drainer(self.core, home);
        }
        let drainer = self.state.homes[home].streams[peer].drainer;
        self.ring(drainer.unwrap_or(self.state.homes[home].core), at);
    }

    fn drain(&mut self) -> Option<(Direction, Batch)> {
        let now = self.clock();
        let homes = match self.state.setup.contender.egress {
            Egress::Home | Egress::Worker => self.home().map_or(0..0, |home| home..home + 1),
            Egress::Softirq | Egress::Threaded => 0..self.state.homes.len(),
        };
        for home in homes {
            let core = self.state.drain_as(self.core, &self.state.homes[home]);
            let Some(mut batch) = self.state.homes[home].drain(core, now) else { continue };
            let time = self.state.setup.costs.drain.of(batch.packets, batch.bytes);
            self.charge_ns(time);
            self.migrate(&mut batch, 2);
            // The home may have waited for the place.
            let own = self.state.homes[home].core;
            if own != self.core && self.state.seats[own].asleep {
                let at = self.clock();
                self.state.wake(own, at);
            }
            return Some((Direction::In, batch));
        }
        None
    }

    fn poll_split(&mut self) -> Option<Batch> {
        let lane = self.home().filter(|_| self.state.split.is_on())?;
        loop {
            let batch = self.poll(lane)?;
            let home = self.state.peers[batch.peer as usize].home;
            if self.state.split.take(lane, home) {
                return Some(batch);
            }
            let now = self.clock();
            self.state.refused(&batch, now);
        }
    }

    /// It pays for the ring as who pushes does, and the home as for a batch that is brought back done.
    fn send_home(&mut self, batch: Batch) {
        let home = self.state.peers[batch.peer as usize].home;
        let own = self.state.homes[home].core;
        let costs = &self.state.setup.costs;
        let far = self.locality(own) == Locality::Remote;
        let remote = if far { costs.remote[0] * u64::from(batch.packets) } else { 0 };
        let time = if own == self.core { 0 } else { costs.push.of(batch.packets, batch.bytes) + remote };
        self.charge_ns(time);
        let at = self.clock() + self.line(own);
        self.state.split.bring(at, home, batch);
        self.ring(own, at);
    }

    fn merge(&mut self) -> Option<Batch> {
        let (home, now) = (self.home().filter(|_| self.state.split.is_on())?, self.clock());
        let mut batch = self.state.merge(home, now)?;
        let time = self.state.setup.costs.drain.of(batch.packets, batch.bytes);
        self.charge_ns(time);
        self.migrate(&mut batch, 2);
        Some(batch)
    }

    /// The lock is always had in the end: who finds it taken waits, and pays for that in its own way.
    fn try_acquire(&mut self) -> bool {
        if !self.state.setup.contender.kind.shares_home() {
            return true;
        }
        let Some(home) = self.home() else { return true };
        let (begun, costs) = (self.clock(), self.state.setup.costs);
        let (free, beside) = self.state.locks[home].free(begun);
        let time = if free == begun {
            costs.lock
        } else {
            let sleeps = self.state.setup.contender.kind == wg_sched::StrategyKind::LockedMutex;
            // Waiters that spin take the line from whoever has it; sleepers do not, but have to be woken.
            let handoff = if sleeps { costs.futex } else { costs.handoff * (beside + 1) };
            free - begun + handoff
        };
        self.state.locks[home].acquired(begun + time);
        self.state.seats[self.core].locking += time;
        self.charge_ns(time);
        true
    }

    fn release(&mut self) {
        if !self.state.setup.contender.kind.shares_home() {
            return;
        }
        let Some(home) = self.home() else { return };
        let now = self.clock();
        self.state.locks[home].released(now);
    }
}
