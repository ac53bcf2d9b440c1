//! What a core sees of the interleaved machine. Nearly every effect first lets other cores come in between.

use super::split::Room;
use super::{Batch, Come, Interleaved, State};
use crate::io::{CoreIo, Direction, Ticket};
use crate::topology::{CoreId, LaneId};

/// The most batches that a core may have in its hands at once: a round and what came behind it, and what found no ring.
const HANDS: i32 = 2 * 16 + 1;

/// What a core sees of the machine.
pub(super) struct View<'a> {
    pub(super) machine: &'a Interleaved,
    pub(super) core: usize,
}

impl View<'_> {
    /// The home this core may work on now; none if it shares it, and another has its lock.
    fn home(&self, state: &State) -> Option<usize> {
        let kind = state.seats[self.core].kind;
        let home = self.machine.home_of(self.core, kind)?;
        (!kind.shares_home() || state.locks[home] == Some(self.core)).then_some(home)
    }

    fn hold(&self, state: &mut State, more: i32) {
        let hands = &mut state.seats[self.core].hands;
        *hands += more;
        assert!(
            (0..=HANDS).contains(hands),
            "core {} has {hands} batches: {:?}",
            self.core,
            self.machine.case
        );
    }

    fn poll(&self, direction: Direction) -> Option<Batch> {
        self.machine.mesh();
        let mut state = self.machine.state.borrow_mut();
        let home = self.home(&state)?;
        if direction == Direction::In && state.is_splitting() {
            return None;
        }
        while !state.stopped {
            let come = state.homes[home].queues[usize::from(direction == Direction::Out)].pop_front()?;
            if !state.present[come.peer as usize] {
                state.refused += 1;
                continue;
            }
            return Some(self.polled(&mut state, come, direction, None));
        }
        None
    }

    /// Has a batch in its hands from now on.
    fn polled(&self, state: &mut State, come: Come, direction: Direction, lane: Option<usize>) -> Batch {
        self.hold(state, 1);
        let tag = state.account.polled(come.peer, direction, come.number);
        Batch { tag, packets: come.packets, bytes: come.bytes, came: come.turn, lane }
    }

    fn send(&self, batch: Batch, direction: Direction) {
        self.machine.mesh();
        let mut state = self.machine.state.borrow_mut();
        let state = &mut *state;
        self.hold(state, -1);
        if direction == Direction::In {
            state.split.passed(batch.tag.peer, batch.tag.number);
        }
        if !state.present[batch.tag.peer as usize] {
            state.account.dropped(batch.tag);
        } else if state.account.is_late(&batch.tag) && state.split.may_be_late(&batch, state.turn) {
            state.split.late += 1;
            state.account.sent_late(batch.tag);
        } else {
            state.account.sent(batch.tag, direction);
        }
    }

    /// Takes one thing into this core's hands.
    fn take(&self, from: impl Fn(&mut State) -> Option<(Ticket, Batch)>) -> Option<(Ticket, Batch)> {
        self.machine.mesh();
        let mut state = self.machine.state.borrow_mut();
        let taken = from(&mut state)?;
        self.hold(&mut state, 1);
        Some(taken)
    }
}

impl CoreIo for View<'_> {
    type Batch = Batch;

    fn poll_udp(&mut self) -> Option<Batch> {
        self.poll(Direction::In)
    }

    fn poll_tun(&mut self) -> Option<Batch> {
        self.poll(Direction::Out)
    }

    fn packets(&self, batch: &Batch) -> u32 {
        batch.packets
    }

    fn bytes(&self, batch: &Batch) -> u32 {
        batch.bytes
    }

    fn crypt(&mut self, batches: &mut [Batch]) {
        {
            let mut state = self.machine.state.borrow_mut();
            let seat = &mut state.seats[self.core];
            for batch in batches.iter_mut() {
                batch.tag.crypt();
                seat.crypting.push((batch.tag.peer, batch.tag.direction));
            }
        }
        self.machine.stall(self.core);
        self.machine.mesh();
        self.machine.state.borrow_mut().seats[self.core].crypting.clear();
    }

    fn send_tun(&mut self, batch: Batch) {
        self.send(batch, Direction::In);
    }

    fn send_udp(&mut self, batch: Batch) {
        self.send(batch, Direction::Out);
    }

    fn poll_control(&mut self) -> bool {
        let mut state = self.machine.state.borrow_mut();
        let some = self.home(&state).is_some() && state.control > 0 && state.below(4) == 0;
        state.control -= u32::from(some);
        some
    }

    fn now(&self) -> u64 {
        u64::from(self.machine.state.borrow().turn) * 1000
    }

    fn begin(&mut self, batch: &Batch, direction: Direction) -> Option<Ticket> {
        self.machine.mesh();
        let mut state = self.machine.state.borrow_mut();
        let home = self.home(&state)?;
        assert_eq!(batch.tag.direction, direction);
        let place = state.homes[home].begin(batch)?;
        state.tickets += 1;
        Some(Ticket { home: u32::try_from(home).ok()?, place })
    }

    fn room(&self) -> u32 {
        let state = self.machine.state.borrow();
        self.home(&state).map_or(0, |home| state.homes[home].room())
    }

    fn is_head(&self, ticket: Ticket) -> bool {
        self.machine.state.borrow().homes[ticket.home as usize].is_head(ticket.place)
    }

    fn pending(&self) -> u32 {
        let state = self.machine.state.borrow();
        self.home(&state).map_or(0, |home| state.homes[home].pending())
    }

    fn push(&mut self, to: CoreId, ticket: Ticket, batch: Batch) -> Result<(), (Ticket, Batch)> {
        self.machine.mesh();
        let mut state = self.machine.state.borrow_mut();
        let to = to.0 as usize;
        if state.seats[to].ring.len() == self.machine.case.ring as usize {
            return Err((ticket, batch));
        }
        state.seats[to].ring.push_back((ticket, batch));
        state.ring(to);
        self.hold(&mut state, -1);
        Ok(())
    }

    fn pop(&mut self) -> Option<(Ticket, Batch)> {
        self.take(|state| state.seats[self.core].ring.pop_front())
    }

    fn offer(&mut self, ticket: Ticket, batch: Batch) -> Result<(), (Ticket, Batch)> {
        self.machine.mesh();
        let mut state = self.machine.state.borrow_mut();
        state.homes[ticket.home as usize].offer(ticket, batch)?;
        self.hold(&mut state, -1);
        Ok(())
    }

    fn reclaim(&mut self) -> Option<(Ticket, Batch)> {
        self.take(|state| self.home(state).and_then(|home| state.homes[home].oldest()))
    }

    fn reclaim_newest(&mut self) -> Option<(Ticket, Batch)> {
        self.take(|state| self.home(state).and_then(|home| state.homes[home].newest()))
    }

    fn steal(&mut self) -> Option<(Ticket, Batch)> {
        self.take(|state| {
            let plan = self.machine.plan(state.seats[self.core].kind);
            let helper = plan.helpers.iter().find(|helper| helper.core.0 as usize == self.core)?;
            helper.lanes.iter().find_map(|lane| state.homes[lane.0 as usize].oldest())
        })
    }

    fn call(&mut self, helpers: u32) {
        let mut state = self.machine.state.borrow_mut();
        let kind = state.seats[self.core].kind;
        let Some(home) = self.home(&state) else { return };
        assert!(helpers > 0, "a call for nobody");
        let lane = LaneId(u32::try_from(home).unwrap_or(0));
        let asleep = self.machine.plan(kind).helpers_of(lane).map(|core| core.0 as usize);
        let mut left = helpers;
        for core in asleep {
            if left > 0 && state.seats[core].asleep && !state.seats[core].bell {
                state.ring(core);
                left -= 1;
            }
        }
    }

    fn complete(&mut self, ticket: Ticket, batch: Batch) {
        self.machine.mesh();
        let mut state = self.machine.state.borrow_mut();
        assert!(batch.tag.is_crypted(), "{:?} is completed without its crypt phase", batch.tag);
        self.hold(&mut state, -1);
        if state.seats[self.core].dead {
            // It died with the batch in its hands.
            self.machine.give_up(&mut state, ticket, batch);
            return;
        }
        let home = ticket.home as usize;
        state.helped += u64::from(self.machine.lanes[home].core.0 as usize != self.core);
        if state.homes[home].complete(ticket.place, Some(batch)) {
            self.machine.wake_home(&mut state, home);
        }
    }

    fn drain(&mut self) -> Option<(Direction, Batch)> {
        self.machine.mesh();
        let mut state = self.machine.state.borrow_mut();
        let home = self.home(&state)?;
        let batch = state.homes[home].drain()?;
        self.hold(&mut state, 1);
        Some((batch.tag.direction, batch))
    }

    fn poll_split(&mut self) -> Option<Batch> {
        self.machine.mesh();
        let mut state = self.machine.state.borrow_mut();
        let lane = self.home(&state)?;
        while !state.stopped && state.is_splitting() {
            let peer = state.homes[lane].queues[0].front()?.peer;
            let home = peer as usize % state.homes.len();
            let room = state.split.room(lane, home);
            if room == Room::InHand {
                return None;
            }
            let come = state.homes[lane].queues[0].pop_front()?;
            state.split.queued(lane, home, -1);
            if room == Room::Full || !state.present[peer as usize] {
                state.refused += 1;
                continue;
            }
            state.split.taken(lane, home);
            return Some(self.polled(&mut state, come, Direction::In, Some(lane)));
        }
        None
    }

    fn send_home(&mut self, batch: Batch) {
        self.machine.mesh();
        let mut state = self.machine.state.borrow_mut();
        assert!(batch.tag.is_crypted(), "{:?} is brought home without its crypt phase", batch.tag);
        self.hold(&mut state, -1);
        let home = batch.tag.peer as usize % state.homes.len();
        state.split.brought(home, batch);
        self.machine.wake_home(&mut state, home);
    }

    fn merge(&mut self) -> Option<Batch> {
        self.machine.mesh();
        let mut state = self.machine.state.borrow_mut();
        let home = self.home(&state)?;
        let batch = state.merge(home)?;
        self.hold(&mut state, 1);
        Some(batch)
    }

    fn try_acquire(&mut self) -> bool {
        self.machine.mesh();
        let mut state = self.machine.state.borrow_mut();
        let kind = state.seats[self.core].kind;
        let Some(home) = self.machine.home_of(self.core, kind) else { return true };
        if state.locks[home].is_some() {
            state.seats[self.core].waits = true;
            return false;
        }
        state.locks[home] = Some(self.core);
        true
    }

    fn release(&mut self) {
        let mut state = self.machine.state.borrow_mut();
        for lock in &mut state.locks {
            if *lock == Some(self.core) {
                *lock = None;
            }
        }
        for core in 0..state.seats.len() {
            if state.seats[core].waits {
                state.ring(core);
            }
        }
        drop(state);
        self.machine.mesh();
    }
}
