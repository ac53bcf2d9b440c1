//! A home of the interleaved machine: its queues, its order, and what it offers, as plain as can be.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use super::interleaved::Batch;
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

/// A place of the order.
#[derive(Debug)]
enum Place {
    Free,
    Pending,
    Done(Batch),
    /// Lost with the core that had it.
    Dead,
}

#[derive(Debug)]
pub(super) struct Home {
    /// What has come, by direction.
    pub(super) queues: [VecDeque<Come>; 2],
    places: Vec<Place>,
    free: Vec<u32>,
    /// The places of each peer and direction, in order.
    order: Vec<VecDeque<u32>>,
    offers: VecDeque<(Ticket, Batch)>,
    slots: usize,
    /// Where the drain looks first.
    cursor: usize,
}

fn stream(peer: u32, direction: Direction) -> usize {
    peer as usize * 2 + usize::from(direction == Direction::Out)
}

impl Home {
    pub(super) fn new(peers: u32, tickets: u32, slots: u32) -> Self {
        Self {
            queues: [0, 1].map(|_| VecDeque::with_capacity(QUEUE)),
            places: (0..tickets).map(|_| Place::Free).collect(),
            free: (0..tickets).collect(),
            order: (0..peers * 2).map(|_| VecDeque::with_capacity(tickets as usize)).collect(),
            offers: VecDeque::with_capacity(slots as usize),
            slots: slots as usize,
            cursor: 0,
        }
    }

    pub(super) fn begin(&mut self, batch: &Batch) -> Option<u32> {
        let place = self.free.pop()?;
        self.places[place as usize] = Place::Pending;
        self.order[stream(batch.tag.peer, batch.tag.direction)].push_back(place);
        Some(place)
    }

    pub(super) fn room(&self) -> u32 {
        u32::try_from(self.free.len()).unwrap_or(u32::MAX)
    }

    pub(super) fn pending(&self) -> u32 {
        u32::try_from(self.places.len() - self.free.len()).unwrap_or(u32::MAX)
    }

    pub(super) fn is_head(&self, place: u32) -> bool {
        self.order.iter().any(|order| order.front() == Some(&place))
    }

    /// Fills a place, and tells whether it is the head of its stream.
    pub(super) fn complete(&mut self, place: u32, batch: Option<Batch>) -> bool {
        let slot = &mut self.places[place as usize];
        assert!(matches!(slot, Place::Pending), "place {place} is completed twice");
        *slot = batch.map_or(Place::Dead, Place::Done);
        self.is_head(place)
    }

    /// Passes over places whose batches were lost, and gives the next batch that is to be sent.
    pub(super) fn drain(&mut self) -> Option<Batch> {
        let streams = self.order.len();
        for at in (0..streams).map(|at| (self.cursor + at) % streams) {
            while let Some(place) = self.order[at].front().copied() {
                let slot = &mut self.places[place as usize];
                if matches!(slot, Place::Pending) {
                    break;
                }
                let done = core::mem::replace(slot, Place::Free);
                self.order[at].pop_front();
                self.free.push(place);
                if let Place::Done(batch) = done {
                    self.cursor = at;
                    return Some(batch);
                }
            }
        }
        None
    }

    /// Tells whether batches of a stream have places.
    pub(super) fn has(&self, peer: u32, direction: Direction) -> bool {
        !self.order[stream(peer, direction)].is_empty()
    }

    /// Tells whether there is something to drain.
    pub(super) fn is_ready(&self) -> bool {
        self.order
            .iter()
            .filter_map(VecDeque::front)
            .any(|place| !matches!(self.places[*place as usize], Place::Pending))
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
