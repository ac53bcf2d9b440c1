//! A home of the interleaved machine: its queues, its order, and what it offers.

use alloc::collections::VecDeque;

use super::interleaved::Batch;
use super::order::Order;
use crate::io::{Direction, Ticket};

/// Batches that wait in front of a home, in each direction.
pub(super) const QUEUE: usize = 128;

/// What has come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Come {
    pub(super) peer: u32,
    pub(super) number: u64,
    pub(super) packets: u32,
    pub(super) bytes: u32,
    /// The turn in which it came.
    pub(super) turn: u32,
}

#[derive(Debug)]
pub(super) struct Home {
    /// What has come, by direction.
    pub(super) queues: [VecDeque<Come>; 2],
    /// A stream is a peer and a direction.
    order: Order<Batch>,
    offers: VecDeque<(Ticket, Batch)>,
    slots: usize,
}

fn stream(peer: u32, direction: Direction) -> usize {
    peer as usize * 2 + usize::from(direction == Direction::Out)
}

impl Home {
    pub(super) fn new(peers: u32, tickets: u32, slots: u32) -> Self {
        Self {
            queues: [0, 1].map(|_| VecDeque::with_capacity(QUEUE)),
            order: Order::new(peers * 2, tickets),
            offers: VecDeque::with_capacity(slots as usize),
            slots: slots as usize,
        }
    }

    pub(super) fn begin(&mut self, batch: &Batch) -> Option<u32> {
        self.order.begin(stream(batch.tag.peer, batch.tag.direction))
    }

    pub(super) fn room(&self) -> u32 {
        self.order.room()
    }

    pub(super) fn pending(&self) -> u32 {
        self.order.pending()
    }

    pub(super) fn is_head(&self, place: u32) -> bool {
        self.order.is_head(place)
    }

    /// Fills a place, and tells whether it is the head of its stream.
    pub(super) fn complete(&mut self, place: u32, batch: Option<Batch>) -> bool {
        self.order.complete(place, batch)
    }

    pub(super) fn drain(&mut self) -> Option<Batch> {
        self.order.drain(|_| true)
    }

    /// Tells whether batches of a stream have places.
    pub(super) fn has(&self, peer: u32, direction: Direction) -> bool {
        self.order.pending_of(stream(peer, direction)) != 0
    }

    /// Tells whether there is something to drain.
    pub(super) fn is_ready(&self) -> bool {
        self.order.is_ready()
    }

    pub(super) fn offer(&mut self, ticket: Ticket, batch: Batch) -> Result<(), (Ticket, Batch)> {
        assert!(!self.is_head(ticket.place), "the head of a stream is offered: {:?}", batch.tag);
        if self.offers.len() == self.slots {
            return Err((ticket, batch));
        }
        self.offers.push_back((ticket, batch));
        Ok(())
    }

    pub(super) fn oldest(&mut self) -> Option<(Ticket, Batch)> {
        self.offers.pop_front()
    }

    pub(super) fn newest(&mut self) -> Option<(Ticket, Batch)> {
        self.offers.pop_back()
    }

    pub(super) fn offers(&self) -> usize {
        self.offers.len()
    }
}
