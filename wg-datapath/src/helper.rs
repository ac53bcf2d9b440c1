//! A core that has no lane: it does the crypt phase for those that have.

use wg_sched::{CoreId, CoreIo, Direction, Member, Ticket};

use crate::batch::Batch;
use crate::batch_aead::BatchAead;

/// What a strategy may touch on a core that only helps.
pub struct HelperIo<'a, A> {
    /// Its part in the crew.
    pub crew: &'a mut Member<Batch<A>>,
    /// The time of this turn, in nanoseconds.
    pub now: u64,
}

impl<A> core::fmt::Debug for HelperIo<'_, A> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("HelperIo").field("crew", &self.crew).finish_non_exhaustive()
    }
}

impl<A: BatchAead> CoreIo for HelperIo<'_, A> {
    type Batch = Batch<A>;

    fn poll_udp(&mut self) -> Option<Batch<A>> {
        None
    }

    fn poll_tun(&mut self) -> Option<Batch<A>> {
        None
    }

    fn packets(&self, batch: &Batch<A>) -> u32 {
        u32::try_from(batch.len()).unwrap_or(u32::MAX)
    }

    fn bytes(&self, batch: &Batch<A>) -> u32 {
        batch.bytes()
    }

    fn crypt(&mut self, batches: &mut [Batch<A>]) {
        Batch::crypt(batches);
    }

    fn send_tun(&mut self, _batch: Batch<A>) {
        debug_assert!(false, "only a home drains");
    }

    fn send_udp(&mut self, _batch: Batch<A>) {
        debug_assert!(false, "only a home drains");
    }

    fn poll_control(&mut self) -> bool {
        false
    }

    fn now(&self) -> u64 {
        self.now
    }

    fn push(&mut self, to: CoreId, ticket: Ticket, batch: Batch<A>) -> Result<(), (Ticket, Batch<A>)> {
        self.crew.push(to, ticket, batch)
    }

    fn pop(&mut self) -> Option<(Ticket, Batch<A>)> {
        self.crew.pop()
    }

    fn steal(&mut self) -> Option<(Ticket, Batch<A>)> {
        self.crew.steal()
    }

    fn complete(&mut self, ticket: Ticket, batch: Batch<A>) {
        self.crew.complete(ticket, batch);
    }

    fn drain(&mut self) -> Option<(Direction, Batch<A>)> {
        None
    }
}
