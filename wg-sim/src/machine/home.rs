//! A home: the ring of its NIC queue, the order of its peers, and what it offers.

use std::collections::VecDeque;

use wg_sched::Ticket;

use super::io::Batch;

/// A place of the order.
#[derive(Debug)]
enum Place {
    Free,
    Pending,
    Done { batch: Batch, at: u64 },
}

/// The order of one peer.
#[derive(Debug, Default)]
pub(super) struct Stream {
    places: VecDeque<u32>,
    /// The core that drains it, while its drain runs; else that of the home.
    pub(super) drainer: Option<usize>,
}

#[derive(Debug)]
pub(super) struct Home {
    pub(super) core: usize,
    /// What the NIC brought, and when.
    pub(super) queue: VecDeque<(u64, Batch)>,
    pub(super) queued: u32,
    places: Vec<Place>,
    free: Vec<u32>,
    pub(super) streams: Vec<Stream>,
    pub(super) offers: VecDeque<(u64, Ticket, Batch)>,
    cursor: usize,
}

impl Home {
    pub(super) fn new(core: usize, peers: u32, tickets: u32) -> Self {
        Self {
            core,
            queue: VecDeque::new(),
            queued: 0,
            places: (0..tickets).map(|_| Place::Free).collect(),
            free: (0..tickets).rev().collect(),
            streams: (0..peers).map(|_| Stream::default()).collect(),
            offers: VecDeque::new(),
            cursor: 0,
        }
    }

    pub(super) fn begin(&mut self, peer: u32) -> Option<u32> {
        let place = self.free.pop()?;
        self.places[place as usize] = Place::Pending;
        self.streams[peer as usize].places.push_back(place);
        Some(place)
    }

    pub(super) fn room(&self) -> u32 {
        u32::try_from(self.free.len()).unwrap_or(u32::MAX)
    }

    pub(super) fn pending(&self) -> u32 {
        u32::try_from(self.places.len() - self.free.len()).unwrap_or(u32::MAX)
    }

    pub(super) fn is_head(&self, place: u32) -> bool {
        self.streams.iter().any(|stream| stream.places.front() == Some(&place))
    }

    /// Fills a place, and tells whether it is the head of its stream.
    pub(super) fn complete(&mut self, place: u32, batch: Batch, at: u64) -> bool {
        let peer = batch.peer as usize;
        self.places[place as usize] = Place::Done { batch, at };
        self.streams[peer].places.front() == Some(&place)
    }

    /// Frees the place of a batch that keeps no order.
    pub(super) fn leave(&mut self, place: u32, peer: u32) {
        self.streams[peer as usize].places.retain(|other| *other != place);
        self.places[place as usize] = Place::Free;
        self.free.push(place);
    }

    /// When the head of a stream was done; none while it is not.
    fn done(&self, stream: usize) -> Option<u64> {
        let place = *self.streams[stream].places.front()?;
        match self.places[place as usize] {
            Place::Done { at, .. } => Some(at),
            Place::Free | Place::Pending => None,
        }
    }

    /// When something that a core drains is done, at the earliest.
    pub(super) fn ready(&self, core: usize) -> Option<u64> {
        (0..self.streams.len())
            .filter(|stream| self.drained_by(*stream) == core)
            .filter_map(|at| self.done(at))
            .min()
    }

    fn drained_by(&self, stream: usize) -> usize {
        self.streams[stream].drainer.unwrap_or(self.core)
    }

    /// The next batch that a core may send. A drain that finds its stream empty ends.
    pub(super) fn drain(&mut self, core: usize, now: u64) -> Option<Batch> {
        let count = self.streams.len();
        let first = self.cursor;
        for at in (0..count).map(|at| (first + at) % count) {
            if self.drained_by(at) != core {
                continue;
            }
            if self.done(at).is_none_or(|done| done > now) {
                if self.done(at).is_none() {
                    self.streams[at].drainer = None;
                }
                continue;
            }
            let place = self.streams[at].places.pop_front()?;
            self.free.push(place);
            self.cursor = (at + 1) % count;
            if let Place::Done { batch, .. } =
                core::mem::replace(&mut self.places[place as usize], Place::Free)
            {
                return Some(batch);
            }
        }
        None
    }
}
