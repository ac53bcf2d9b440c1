//! What a core sees of the machine: a [`CoreIo`] of which every method charges the core's clock.

use wg_sched::{CoreId, CoreIo, Direction, Ticket};

use super::cost::Locality;
use super::engine::{OFFERS, RING, State};
use super::kernel::{Context, QUEUE};
use super::setup::Egress;

mod independent;

/// A batch: lengths without bytes.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) peer: u32,
    pub(super) flow: usize,
    pub(super) number: u64,
    /// The counter of its first packet.
    pub(super) counter: u64,
    /// The counter behind that of its last packet.
    pub(super) end: u64,
    /// The lane it came to.
    pub(super) lane: usize,
    pub(super) packets: u32,
    pub(super) bytes: u32,
    /// The core whose cache has it.
    pub(super) core: usize,
}

pub(super) struct View<'a> {
    state: &'a mut State,
    core: usize,
    begun: u64,
    /// Whether the other thread of the physical core works at the same time.
    beside: bool,
    /// Packets that were polled before this step.
    from: u32,
    /// Batches that this step popped or drained, under the kernel; or received, where cores share the state of a tunnel.
    taken: u32,
}

/// Batches that a lane receives in one call.
const READY: usize = 64;
/// Batches that one step drains under the kernel.
const DRAINED: u32 = 4;

impl<'a> View<'a> {
    pub(super) fn new(state: &'a mut State, core: usize) -> Self {
        let begun = state.seats[core].clock;
        let sibling =
            |other: &usize| *other != core && state.seats[*other].core.is_sibling(&state.seats[core].core);
        let beside = (0..state.seats.len()).filter(sibling).any(|other| !state.seats[other].asleep);
        let from = state.seats[core].polled;
        Self { state, core, begun, beside, from, taken: 0 }
    }

    fn clock(&self) -> u64 {
        self.state.seats[self.core].clock
    }

    fn charge_ns(&mut self, time: u64) {
        let percent = if self.beside { self.state.setup.costs.sibling } else { 100 };
        self.state.seats[self.core].clock += time * percent / 100;
    }

    fn locality(&self, other: usize) -> Locality {
        Locality::of(&self.state.seats[self.core].core, &self.state.seats[other].core)
    }

    /// A line goes from another core's cache to this one's, or to it.
    fn line(&self, other: usize) -> u64 {
        self.locality(other).of_three(self.state.setup.costs.line)
    }

    /// Brings a batch into this core's cache; `stage` says which of the dearer ways it is.
    fn migrate(&mut self, batch: &mut Batch, stage: usize) {
        let (costs, way) = (&self.state.setup.costs, self.locality(batch.core));
        let remote = if way == Locality::Remote { costs.remote[stage] } else { 0 };
        let bytes = u64::from(batch.bytes) * way.of_three(costs.migrate_ps) / 1000;
        batch.core = self.core;
        self.charge_ns(bytes + remote * u64::from(batch.packets));
    }

    /// Tells whether this step does the part of a context: all of it, but for the kernel's.
    fn does(&self, context: Context) -> bool {
        self.state.kernel.is_none() || self.state.seats[self.core].context == Some(context)
    }

    /// What writing to the home costs more while others spin for its lock.
    fn guarded(&self, packets: u32) -> u64 {
        if self.state.setup.contender.kind != wg_sched::StrategyKind::LockedSpin {
            return 0;
        }
        let beside = self.home().map_or(0, |home| self.state.locks[home].beside);
        beside * self.state.setup.costs.guarded * u64::from(packets)
    }

    /// Goes through one of the two locks of a ring of the kernel, of which the line is with whoever had it last.
    fn pass(&mut self, pool: usize, lock: usize) {
        let (now, own, costs) = (self.clock(), self.core, self.state.setup.costs);
        let Some(kernel) = &mut self.state.kernel else { return };
        let ring = &mut kernel.pools[pool];
        let last = core::mem::replace(&mut ring.holders[lock], own);
        let seats = &self.state.seats;
        let line = Locality::of(&seats[own].core, &seats[last].core).of_three(costs.line);
        let lock = &mut ring.locks[lock];
        let (free, _) = lock.free(now);
        // Waiters are in a queue: whoever is next has the line to itself.
        let time = free - now + line + costs.lock;
        lock.acquired(free);
        lock.released(now + time);
        self.state.seats[own].locking += time;
        self.charge_ns(time);
    }

    /// Puts a batch into the ring of the kernel, and wakes the next worker.
    fn enqueue(&mut self, ticket: Ticket, batch: Batch) -> Result<(), (Ticket, Batch)> {
        let Some(kernel) = &mut self.state.kernel else { return Err((ticket, batch)) };
        let pool = batch.peer as usize;
        let (seats, home) = (&self.state.seats, ticket.home as usize);
        let Some(worker) = kernel.pools[pool].worker(|core| seats[core].helps.contains(&home)) else {
            return Err((ticket, batch));
        };
        kernel.wake_worker(worker, pool);
        let costs = &self.state.setup.costs;
        let far = self.locality(worker) == Locality::Remote;
        let remote = if far { costs.remote[0] * u64::from(batch.packets) } else { 0 };
        let time = costs.push.of(batch.packets, batch.bytes) + remote;
        self.charge_ns(time);
        self.pass(pool, 0);
        let at = self.clock();
        if let Some(kernel) = &mut self.state.kernel {
            kernel.pools[pool].packets += batch.packets;
            kernel.pools[pool].rings[worker].push_back((at, ticket, batch));
        }
        self.ring(worker, at);
        Ok(())
    }

    /// Takes a batch out of the ring of a device of the kernel, if one is there for this core.
    fn dequeue(&mut self, device: usize) -> Option<(Ticket, Batch)> {
        let (now, own) = (self.clock(), self.core);
        if self.taken > 0 {
            return None;
        }
        let pool = &mut self.state.kernel.as_mut()?.pools[device];
        let there = |core: usize, now: u64| pool.rings[core].front().is_some_and(|(at, ..)| *at <= now);
        let whose = if there(own, now) {
            own
        } else {
            let before = now.saturating_sub(self.state.setup.costs.patience);
            *pool.cores.iter().find(|core| there(**core, before))?
        };
        let (_, ticket, mut batch) = pool.rings[whose].pop_front()?;
        pool.packets -= batch.packets;
        self.taken += 1;
        self.pass(device, 1);
        if batch.core != own {
            let time = self.state.setup.costs.take.of(batch.packets, batch.bytes);
            self.charge_ns(time);
        }
        self.migrate(&mut batch, 1);
        Some((ticket, batch))
    }

    /// Tells whether the kernel drops what this home received.
    fn drops(&self, home: usize, batch: &Batch) -> bool {
        let Some(kernel) = &self.state.kernel else { return false };
        let order = &self.state.homes[home].order;
        kernel.pools[batch.peer as usize].packets >= QUEUE
            || order.room() == 0
            || order.pending_of(batch.peer as usize) >= QUEUE as usize
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

    /// What a softirq drain of the kernel takes to hand a batch on.
    fn forward(&self, batch: &Batch) -> Option<u64> {
        let softirq = self.state.setup.contender.egress == Egress::Softirq;
        let [own, other] = self.state.setup.costs.forward.filter(|_| softirq)?;
        let received = self.state.homes[self.state.peers[batch.peer as usize].home].core == self.core;
        Some(u64::from(batch.packets) * if received { own } else { other })
    }

    fn send(&mut self, batch: &Batch) {
        if !self.pays_by_burst() && self.forward(batch).is_none() {
            let time = self.state.setup.costs.send.of(batch.packets, batch.bytes);
            self.charge_ns(time);
        }
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

    /// Takes the next batch of a lane's queue, but for what its ring has no place for.
    fn poll(&mut self, lane: usize) -> Option<Batch> {
        loop {
            let now = self.clock();
            if self.state.homes[lane].came().is_none_or(|at| at > now) {
                return None;
            }
            let (_, mut batch) = self.state.homes[lane].queue.pop_front()?;
            self.state.homes[lane].queued -= batch.packets;
            if !self.pays_by_burst() {
                let time = self.state.setup.costs.receive.of(batch.packets, batch.bytes);
                let time = time + self.guarded(batch.packets);
                self.charge_ns(time);
            }
            let seat = &mut self.state.seats[self.core];
            seat.polled = seat.polled.wrapping_add(batch.packets);
            // The NIC brought it to memory, not to a cache.
            batch.core = self.core;
            if !self.drops(lane, &batch) {
                return Some(batch);
            }
            // It was worth the work of the sender's side of the ring, too, before it was dropped.
            self.pass(batch.peer as usize, 0);
            self.state.dropped(self.core, &batch);
            if self.polled().wrapping_sub(self.from) >= 4 {
                return None;
            }
        }
    }

    /// Puts the first batch that is for another home before those of its own, among those that a lane receives in one call; nothing if there
    /// is none.
    fn bring_forward(&mut self, lane: usize) -> Option<()> {
        let (now, peers) = (self.clock(), &self.state.peers);
        let queue = &mut self.state.homes[lane].queue;
        let of_other = |(came, batch): &(u64, Batch)| *came <= now && peers[batch.peer as usize].home != lane;
        let at = queue.iter().take(READY).position(of_other)?;
        let (came, batch) = queue.remove(at)?;
        queue.push_front((came, batch));
        Some(())
    }

    fn home(&self) -> Option<usize> {
        self.state.seats[self.core].home
    }
}

impl CoreIo for View<'_> {
    type Batch = Batch;

    fn poll_udp(&mut self) -> Option<Batch> {
        let home = self.home().filter(|_| self.does(Context::Receive))?;
        if self.state.split.is_on() || self.state.split.is_left(home) {
            return None;
        }
        if self.pays_by_burst() { self.poll_burst(home) } else { self.poll(home) }
    }

    fn polled(&self) -> u32 {
        self.state.seats[self.core].polled
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
            self.pass_state(batch.peer as usize);
            let time = self.state.setup.costs.crypt.of(batch.packets, batch.bytes);
            let time = self.varied(time);
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
        let place = self.state.homes[home].order.begin(batch.peer as usize)?;
        Some(Ticket { home: u32::try_from(home).ok()?, place })
    }

    fn room(&self) -> u32 {
        let room = self.home().map_or(0, |home| self.state.homes[home].order.room());
        // The kernel looks for room when it has received, and drops.
        if self.state.kernel.is_some() { room.max(1) } else { room }
    }

    fn is_head(&self, ticket: Ticket) -> bool {
        self.state.homes[ticket.home as usize].order.is_head(ticket.place)
    }

    fn pending(&self) -> u32 {
        self.home().map_or(0, |home| self.state.homes[home].order.pending())
    }

    fn push(&mut self, to: CoreId, ticket: Ticket, batch: Batch) -> Result<(), (Ticket, Batch)> {
        if self.state.kernel.is_some() {
            return self.enqueue(ticket, batch);
        }
        let Some(to) = self.state.seats.iter().position(|seat| seat.core.id == to) else {
            return Err((ticket, batch));
        };
        if self.state.seats[to].ring.len() >= RING {
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
        if self.state.kernel.is_some() {
            let Some(Context::Crypt(device)) = self.state.seats[self.core].context else { return None };
            return self.dequeue(device);
        }
        let now = self.clock();
        if self.state.seats[self.core].ring.front().is_none_or(|(at, ..)| *at > now) {
            return None;
        }
        let (_, ticket, mut batch) = self.state.seats[self.core].ring.pop_front()?;
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
        // Who is awake as yet, but sleeps by now, is called as well.
        let at = self.clock();
        self.state.homes[home].called = (at, left);
    }

    fn complete(&mut self, ticket: Ticket, batch: Batch) {
        let home = ticket.home as usize;
        let own = self.state.homes[home].core;
        let time = self.line(own);
        self.charge_ns(time);
        if self.state.setup.contender.egress == Egress::Worker {
            self.state.homes[home].order.leave(ticket.place);
            self.send(&batch);
            let at = self.clock();
            self.ring(own, at);
            return;
        }
        let (at, peer) = (self.clock(), batch.peer as usize);
        let head = self.state.homes[home].complete(ticket.place, batch, at);
        let kernel = self.state.kernel.is_some();
        let drains = if kernel { self.state.raise(peer, self.core, head) } else { head.then_some(own) };
        if let Some(drains) = drains {
            self.ring(drains, at);
        }
    }

    fn drain(&mut self) -> Option<(Direction, Batch)> {
        let now = self.clock();
        let mut batch = match self.state.seats[self.core].context {
            Some(Context::Drain(peer)) if self.taken < DRAINED => {
                let home = self.state.peers[peer].home;
                let Some(done) = self.state.homes[home].order.take(peer, |done| done.at <= now) else {
                    let look = if self.taken == 0 { self.state.setup.costs.look } else { 0 };
                    self.charge_ns(look);
                    return None;
                };
                self.taken += 1;
                done.batch
            }
            Some(_) => return None,
            None => {
                let home = self.home()?;
                self.state.homes[home].drain(now)?
            }
        };
        let time = self.state.setup.costs.drain.of(batch.packets, batch.bytes) + self.guarded(batch.packets);
        let time = self.forward(&batch).unwrap_or(time);
        self.charge_ns(time);
        self.migrate(&mut batch, 2);
        // The home may have waited for the place.
        let own = self.state.homes[self.state.peers[batch.peer as usize].home].core;
        if own != self.core && self.state.kernel.is_none() && self.state.seats[own].asleep {
            let at = self.clock();
            self.state.wake(own, at);
        }
        Some((Direction::In, batch))
    }

    /// What is for its own home waits until the merge has gone on; what is for another that has no place is dropped, as a lane does it.
    fn poll_split(&mut self) -> Option<Batch> {
        let lane = self.home().filter(|_| self.state.split.is_on())?;
        for _ in 0..READY {
            if !self.state.split.has_place(lane, lane) {
                self.bring_forward(lane)?;
            }
            let batch = self.poll(lane)?;
            let home = self.state.peers[batch.peer as usize].home;
            if self.state.split.take(lane, home) {
                return Some(batch);
            }
            let now = self.clock();
            self.state.refused(&batch, now);
        }
        None
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
        let (home, now) = (self.home()?, self.clock());
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
            let handoff =
                if sleeps { costs.futex + costs.sleeper * beside } else { costs.handoff * (beside + 1) };
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
