//! What a strategy may touch: one core's view of the datapath.
//!
//! Every effect of a step goes through [`CoreIo`]. On a machine it moves slabs; in a simulator it moves lengths and charges
//! virtual time. The batch is the implementor's own type: a strategy moves batches and never looks inside.
//!
//! ```text
//!   home:    poll_* --> begin --> push or offer                        drain --> send_*
//!                                   |                                    ^
//!   helper:                        pop or steal --> crypt --> complete --'
//! ```
//!
//! Where counters are split, datagrams come to other cores than the home, which has the last phase only:
//!
//! ```text
//!   receiver:  poll_split --> crypt --> send_home
//!   home:                                  merge --> send_tun
//! ```
//!
//! A home that does all of it itself needs neither tickets nor hand-off: poll, crypt, send.

use crate::topology::CoreId;

/// A stage of the packet walk, for [`CoreIo::charge`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stage {
    /// Reading a batch from a queue, up to the end of its begin phase.
    Receive,
    /// The crypt phase.
    Crypt,
    /// Commit and delivery.
    Send,
    /// Handshakes and timers.
    Control,
}

/// Where a batch goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Datagrams to the TUN.
    In,
    /// Packets to the sockets.
    Out,
}

/// The place of a batch in the order of its home: of which home, and which place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ticket {
    /// The home that gave it, by its number in the order of the plan.
    pub home: u32,
    /// The place; it is given again once the batch was drained.
    pub place: u32,
}

/// One core's view of the datapath.
///
/// A batch that was polled has passed its begin phase: its session is known and its counters are reserved. It is then
/// owed exactly one `crypt` and one `send_*`, in this order; batches of one peer and direction are sent in the order
/// they were polled in. A batch with a ticket comes back for its send from [`Self::drain`], which keeps that order.
///
/// The second half of the methods hands batches to other cores. What they do by themselves is right for a core that is alone:
/// nobody takes anything, and no counters are split.
pub trait CoreIo {
    /// A batch of packets of one peer in one direction.
    type Batch;

    /// Takes the next batch of datagrams from the core's sockets, in arrival order. Never blocks.
    fn poll_udp(&mut self) -> Option<Self::Batch>;

    /// Takes the next batch of packets from the core's TUN queue, in arrival order. Never blocks. None while the
    /// sockets push back: then the kernel's queue fills, and its sender notices.
    fn poll_tun(&mut self) -> Option<Self::Batch>;

    /// The packets of a batch: what its crypt phase is worth.
    fn packets(&self, batch: &Self::Batch) -> u32;

    /// Opens or seals batches; small ones cost less together. Any core may do this, at any time between the poll and the send.
    fn crypt(&mut self, batches: &mut [Self::Batch]);

    /// Commits opened packets and delivers them to the TUN queue.
    fn send_tun(&mut self, batch: Self::Batch);

    /// Sends sealed datagrams.
    fn send_udp(&mut self, batch: Self::Batch);

    /// Does one piece of work that is not a packet: a handshake message, a timer. Tells whether there was any.
    fn poll_control(&mut self) -> bool;

    /// Accounts for work done. Free on a machine; in a simulator it moves the core's clock.
    fn charge(&mut self, _stage: Stage, _batches: u32) {}

    /// The bytes of a batch, which with its packets say what its crypt phase takes.
    fn bytes(&self, batch: &Self::Batch) -> u32 {
        self.packets(batch)
    }

    /// Packets that were polled here so far; it wraps. What bounds a turn where batches are large; 0 at all times leaves it to the
    /// batches alone.
    fn polled(&self) -> u32 {
        0
    }

    /// The time, in nanoseconds of a clock that never goes back; the same for all of a step.
    fn now(&self) -> u64 {
        0
    }

    /// Gives a batch that was polled here a place in the order of its peer and direction. None if the home has as many under
    /// way as it may; then nothing is to be polled before some are drained.
    fn begin(&mut self, _batch: &Self::Batch, _direction: Direction) -> Option<Ticket> {
        None
    }

    /// How many tickets [`Self::begin`] would give now, whatever the peers and directions. A home whose batches are under way
    /// polls no more than that, as it could not keep what it polled.
    fn room(&self) -> u32 {
        0
    }

    /// Tells whether a ticket of this home is the first of its peer and direction that was not drained.
    fn is_head(&self, _ticket: Ticket) -> bool {
        false
    }

    /// Batches of this home that have a ticket and were not drained.
    fn pending(&self) -> u32 {
        0
    }

    /// Puts a batch into the ring of another core, and rings its bell if it sleeps.
    ///
    /// # Errors
    ///
    /// The batch, if that ring is full or does not exist.
    fn push(&mut self, _to: CoreId, ticket: Ticket, batch: Self::Batch) -> Result<(), (Ticket, Self::Batch)> {
        Err((ticket, batch))
    }

    /// Takes the next batch that another core pushed to this one.
    fn pop(&mut self) -> Option<(Ticket, Self::Batch)> {
        None
    }

    /// Puts a batch where an idle core may take it, and this one may take it back. Rings no bell, see [`Self::call`].
    ///
    /// # Errors
    ///
    /// The batch, if no place is free.
    fn offer(&mut self, ticket: Ticket, batch: Self::Batch) -> Result<(), (Ticket, Self::Batch)> {
        Err((ticket, batch))
    }

    /// Takes back the oldest batch that this core offered and nobody took.
    fn reclaim(&mut self) -> Option<(Ticket, Self::Batch)> {
        None
    }

    /// Takes back the newest of them.
    fn reclaim_newest(&mut self) -> Option<(Ticket, Self::Batch)> {
        self.reclaim()
    }

    /// Takes a batch that another core offers, if the plan lets this one help it.
    fn steal(&mut self) -> Option<(Ticket, Self::Batch)> {
        None
    }

    /// Wakes at most so many cores that sleep and may take what is offered here.
    fn call(&mut self, _helpers: u32) {}

    /// Brings a batch whose crypt phase is over to its home. Rings the home's bell if the home sleeps and waits for this one.
    ///
    /// What it does by itself is for a core that never has a ticket.
    fn complete(&mut self, _ticket: Ticket, _batch: Self::Batch) {
        debug_assert!(false, "there are no tickets here");
    }

    /// Takes the next batch that is to be sent: its crypt phase is over, and all before it of its peer and direction were
    /// drained.
    fn drain(&mut self) -> Option<(Direction, Self::Batch)> {
        None
    }

    /// Takes the next batch of datagrams that came to this core's sockets because counters are split, whatever core is the home of its
    /// peer; from then on to the end of the split [`Self::poll_udp`] gives none. Its key is known and its counters are, no session was
    /// looked at. It is owed one `crypt` and one [`Self::send_home`]. What a home has no place for is dropped and counted, before
    /// it costs a crypt phase: a home that is stuck keeps back nobody but its own peers.
    fn poll_split(&mut self) -> Option<Self::Batch> {
        None
    }

    /// Brings a batch of [`Self::poll_split`], opened, to its home, which may be this one, and rings its bell if it sleeps.
    ///
    /// What it does by itself is for a core that never has one.
    fn send_home(&mut self, _batch: Self::Batch) {
        debug_assert!(false, "no counters are split here");
    }

    /// Takes the next batch of this home's peers that came by [`Self::send_home`]: the lowest counters of its tunnel, unless lower ones are
    /// known to come and worth the wait ([`crate::CounterMerge`]). It is sent at once. The home
    /// does not sleep before this gave none, and wakes when a wait is over.
    fn merge(&mut self) -> Option<Self::Batch> {
        None
    }

    /// Takes the lock of the state that workers share, unless another has it. What is polled, begun, completed, drained, sent and
    /// done of control work between this and [`Self::release`] is that of the shared home.
    fn try_acquire(&mut self) -> bool {
        true
    }

    /// Gives the lock back, and rings the bell of a core that found it taken and sleeps.
    fn release(&mut self) {}
}
