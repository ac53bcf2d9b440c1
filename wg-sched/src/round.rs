//! A round: as many batches as fill the lanes of the cipher, crypted together; and the steps of the walk that strategies share.
//!
//! Every strategy's turn begins with [`drain`] and [`settle`], or with the parts of them, so that batches of the strategy it took over from
//! find their way: what was pushed to this core, what it offered, and what came to it for other homes, is crypted by it, and what
//! is done is sent in order.

use crate::io::{CoreIo, Direction, Stage, Ticket};
use crate::strategy::{Budget, Outcome};

/// Batches of one round, at most.
pub(crate) const BATCHES: usize = 16;
/// Packets that are enough for a round.
pub(crate) const PACKETS: u32 = 32;
/// Batches of one direction in a row, before the other has its turn; more if the last round brings more.
pub(crate) const TURN: u32 = 4;
/// Packets of those batches: what waits at the other queue waits for no longer.
const TURN_PACKETS: u32 = 64;
/// Packets that are drained in a row, before the core looks after its other duties: a drain never runs on for as long as others
/// complete.
const DRAIN: u32 = 64;

/// A round of batches with tickets.
#[derive(Debug)]
pub(crate) struct Round<B> {
    tickets: heapless::Vec<Ticket, BATCHES>,
    batches: heapless::Vec<B, BATCHES>,
    packets: u32,
}

impl<B> Round<B> {
    pub(crate) const fn new() -> Self {
        Self { tickets: heapless::Vec::new(), batches: heapless::Vec::new(), packets: 0 }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.packets >= PACKETS || self.batches.is_full()
    }

    pub(crate) fn len(&self) -> u32 {
        count(self.batches.len())
    }

    /// Adds a batch to a round that is not full.
    pub(crate) fn add<I: CoreIo<Batch = B>>(&mut self, io: &I, ticket: Ticket, batch: B) {
        self.packets = self.packets.saturating_add(io.packets(&batch));
        let added = self.tickets.push(ticket).is_ok() && self.batches.push(batch).is_ok();
        debug_assert!(added, "there is room");
    }

    /// Crypts the batches and completes them, and tells how many there were.
    pub(crate) fn finish<I: CoreIo<Batch = B>>(mut self, io: &mut I) -> u32 {
        let count = self.len();
        if count > 0 {
            io.crypt(&mut self.batches);
            io.charge(Stage::Crypt, count);
            for (ticket, batch) in self.tickets.into_iter().zip(self.batches) {
                io.complete(ticket, batch);
            }
        }
        count
    }
}

/// Takes the next batch of a direction.
pub(crate) fn poll<I: CoreIo>(io: &mut I, direction: Direction) -> Option<I::Batch> {
    match direction {
        Direction::In => io.poll_udp(),
        Direction::Out => io.poll_tun(),
    }
}

fn send<I: CoreIo>(io: &mut I, direction: Direction, batch: I::Batch) {
    match direction {
        Direction::In => io.send_tun(batch),
        Direction::Out => io.send_udp(batch),
    }
}

/// Gives a batch its ticket, where [`CoreIo::room`] says that there is one. A home that says so and has none is wrong; its
/// batch is sent all the same.
pub(crate) fn ticket<I: CoreIo>(
    io: &mut I,
    mut batch: I::Batch,
    direction: Direction,
) -> Option<(Ticket, I::Batch)> {
    if let Some(ticket) = io.begin(&batch, direction) {
        return Some((ticket, batch));
    }
    debug_assert!(false, "room without a ticket");
    io.crypt(core::slice::from_mut(&mut batch));
    send(io, direction, batch);
    None
}

/// Polls up to a round, and tells whether that filled it.
pub(crate) fn gather<I: CoreIo>(
    io: &mut I,
    direction: Direction,
    batches: &mut heapless::Vec<I::Batch, BATCHES>,
) -> bool {
    gather_by(io, batches, |io| poll(io, direction))
}

fn gather_by<I: CoreIo>(
    io: &mut I,
    batches: &mut heapless::Vec<I::Batch, BATCHES>,
    mut poll: impl FnMut(&mut I) -> Option<I::Batch>,
) -> bool {
    let mut packets = 0_u32;
    while packets < PACKETS && !batches.is_full() {
        let Some(batch) = poll(io) else { return false };
        packets = packets.saturating_add(io.packets(&batch));
        let pushed = batches.push(batch);
        debug_assert!(pushed.is_ok(), "there is room");
    }
    true
}

/// Crypts and sends batches that have no ticket, and tells how many there were.
pub(crate) fn complete<I: CoreIo>(
    io: &mut I,
    direction: Direction,
    mut batches: heapless::Vec<I::Batch, BATCHES>,
) -> u32 {
    let count = count(batches.len());
    if count == 0 {
        return 0;
    }
    io.charge(Stage::Receive, count);
    io.crypt(&mut batches);
    io.charge(Stage::Crypt, count);
    for batch in batches {
        send(io, direction, batch);
    }
    io.charge(Stage::Send, count);
    count
}

/// Takes up to a round of one direction through all three phases here, and tells how many batches there were. While batches
/// of this home are under way elsewhere they take tickets, so as not to overtake.
pub(crate) fn own<I: CoreIo>(io: &mut I, direction: Direction) -> u32 {
    if io.pending() == 0 {
        let mut batches = heapless::Vec::new();
        gather(io, direction, &mut batches);
        return complete(io, direction, batches);
    }
    let mut round = Round::new();
    while !round.is_full() && io.room() > 0 {
        let Some(batch) = poll(io, direction) else { break };
        if let Some((ticket, batch)) = ticket(io, batch, direction) {
            round.add(io, ticket, batch);
        }
    }
    io.charge(Stage::Receive, round.len());
    let moved = round.finish(io);
    drain(io);
    moved
}

/// Takes rounds of one direction until it was its turn, and tells how many batches there were.
pub(crate) fn turn<I: CoreIo>(io: &mut I, mut round: impl FnMut(&mut I) -> u32) -> u32 {
    let (mut moved, from) = (0, io.polled());
    while moved < TURN && io.polled().wrapping_sub(from) < TURN_PACKETS {
        match round(io) {
            0 => break,
            batches => moved += batches,
        }
    }
    moved
}

/// Sends what is done and next in its order, and tells how many batches that were. It may leave some.
pub(crate) fn drain<I: CoreIo>(io: &mut I) -> u32 {
    drain_by(io, I::drain) + drain_by(io, |io| io.merge().map(|batch| (Direction::In, batch)))
}

fn drain_by<I: CoreIo>(io: &mut I, mut next: impl FnMut(&mut I) -> Option<(Direction, I::Batch)>) -> u32 {
    let (mut moved, mut packets) = (0, 0_u32);
    while packets < DRAIN {
        let Some((direction, batch)) = next(io) else { break };
        packets = packets.saturating_add(io.packets(&batch).max(1));
        send(io, direction, batch);
        moved += 1;
    }
    io.charge(Stage::Send, moved);
    moved
}

/// Crypts and completes up to a round of batches that have tickets, and tells how many there were.
pub(crate) fn work<I: CoreIo>(io: &mut I, mut take: impl FnMut(&mut I) -> Option<(Ticket, I::Batch)>) -> u32 {
    let mut round = Round::new();
    while !round.is_full() {
        let Some((ticket, batch)) = take(io) else { break };
        round.add(io, ticket, batch);
    }
    round.finish(io)
}

/// Opens up to a round of what came here because counters are split, and brings it to its homes. Tells how many batches there were.
pub(crate) fn split<I: CoreIo>(io: &mut I) -> u32 {
    let mut batches = heapless::Vec::new();
    gather_by(io, &mut batches, I::poll_split);
    let count = count(batches.len());
    if count > 0 {
        io.charge(Stage::Receive, count);
        io.crypt(&mut batches);
        io.charge(Stage::Crypt, count);
        batches.into_iter().for_each(|batch| io.send_home(batch));
    }
    count
}

/// Does what others left to this core: sends what is done, crypts what was pushed to it, and what came to it for other homes. Tells
/// how many batches it moved.
pub(crate) fn left<I: CoreIo>(io: &mut I) -> u32 {
    drain(io) + work(io, I::pop) + split(io)
}

/// Does what was left to this core, whatever the strategy, and takes nothing new: the same, and crypts what this core offered. Tells how
/// many batches it moved.
pub fn settle<I: CoreIo>(io: &mut I) -> u32 {
    left(io) + work(io, I::reclaim)
}

/// Tells whether a home is to leave its sockets alone until something was drained.
pub(crate) fn pressed<I: CoreIo>(io: &I) -> bool {
    io.pending() > 0 && io.room() == 0
}

/// Takes a core's turn in rounds, until one finds nothing to do or the budget is spent. What a round says of `more` and `pressure`
/// counts if it found nothing: that the core is to come back at once, and else that it waits for another.
pub(crate) fn rounds<I: CoreIo>(
    io: &mut I,
    budget: Budget,
    mut round: impl FnMut(&mut I) -> Outcome,
) -> Outcome {
    let (mut all, from) = (Outcome::default(), io.polled());
    loop {
        let one = round(io);
        all.batches += one.batches;
        all.control += one.control;
        if one.idle() {
            return Outcome { more: one.more, pressure: one.pressure && !one.more, ..all };
        }
        let packets = io.polled().wrapping_sub(from);
        if all.batches.max(all.control) >= budget.batches || packets >= budget.packets {
            return Outcome { more: true, ..all };
        }
    }
}

/// Does the piece of control work of a round, and tells whether there was one.
pub(crate) fn control<I: CoreIo>(io: &mut I) -> u32 {
    let control = u32::from(io.poll_control());
    io.charge(Stage::Control, control);
    control
}

fn count(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
