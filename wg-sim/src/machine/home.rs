//! A home: the ring of its NIC queue, the order of its peers, and what it offers.

use std::collections::VecDeque;

use wg_sched::Ticket;
use wg_sched::conformance::Order;

use super::io::Batch;

/// Packets of one poll of a NIC's queue.
const POLL: u32 = 64;

/// A batch that is done, and since when.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) batch: Batch,
    pub(super) at: u64,
}

#[derive(Debug)]
pub(super) struct Home {
    pub(super) core: usize,
    /// What the NIC brought, and when.
    pub(super) queue: VecDeque<(u64, Batch)>,
    pub(super) queued: u32,
    /// A stream is a peer.
    pub(super) order: Order<Done>,
    pub(super) offers: VecDeque<(u64, Ticket, Batch)>,
    /// When it last called helpers, and how many that was more than were asleep when the step began.
    pub(super) called: (u64, u32),
}

impl Home {
    pub(super) fn new(core: usize, peers: u32, tickets: u32) -> Self {
        Self {
            core,
            queue: VecDeque::new(),
            queued: 0,
            order: Order::new(peers, tickets),
            offers: VecDeque::new(),
            called: (0, 0),
        }
    }

    /// The last batch of a peer that waits, if one poll of the NIC would find it together with what comes now: GRO joins what is of one
    /// tunnel in a poll, whatever came in between.
    pub(super) fn last_of(&mut self, peer: u32) -> Option<&mut Batch> {
        let mut packets = 0;
        let near = self.queue.iter_mut().rev().take_while(|(_, batch)| {
            let before = packets;
            packets += batch.packets;
            before < POLL
        });
        near.map(|(_, batch)| batch).find(|batch| batch.peer == peer)
    }

    /// Fills a place, and tells whether it is the head of its stream.
    pub(super) fn complete(&mut self, place: u32, batch: Batch, at: u64) -> bool {
        self.order.complete(place, Some(Done { batch, at }))
    }

    /// The next batch that may be sent by now.
    pub(super) fn drain(&mut self, now: u64) -> Option<Batch> {
        self.order.drain(|done| done.at <= now).map(|done| done.batch)
    }

    /// When something that may be sent is done, at the earliest.
    pub(super) fn ready(&self) -> Option<u64> {
        self.order.heads().map(|done| done.at).min()
    }

    /// When what NIC brought first came.
    pub(super) fn came(&self) -> Option<u64> {
        self.queue.front().map(|(at, _)| *at)
    }
}
