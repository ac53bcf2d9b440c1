//! The order of a home, as plain as can be: what the shipped order table must come to, and what the machines of the simulator go by.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

/// A place of the order.
#[derive(Debug)]
enum Place<B> {
    Free,
    /// Of a stream, whose batch is under way.
    Pending(usize),
    Done(B),
    /// Lost with the core that had it.
    Dead,
}

/// Places that are given to batches of streams, and given again once the batch was taken out in its turn.
#[derive(Debug)]
pub struct Order<B> {
    places: Vec<Place<B>>,
    free: Vec<u32>,
    /// The places of each stream, in order.
    streams: Vec<VecDeque<u32>>,
    /// The stream whose turn it is.
    cursor: usize,
}

impl<B> Order<B> {
    /// Makes an order of so many streams with so many places, and allocates what it will need.
    #[must_use]
    pub fn new(streams: u32, places: u32) -> Self {
        Self {
            places: (0..places).map(|_| Place::Free).collect(),
            free: (0..places).rev().collect(),
            streams: (0..streams).map(|_| VecDeque::with_capacity(places as usize)).collect(),
            cursor: 0,
        }
    }

    /// Gives the next batch of a stream its place. None if there is none left.
    pub fn begin(&mut self, stream: usize) -> Option<u32> {
        let place = self.free.pop()?;
        self.places[place as usize] = Place::Pending(stream);
        self.streams[stream].push_back(place);
        Some(place)
    }

    /// Places that are left.
    #[must_use]
    pub fn room(&self) -> u32 {
        u32::try_from(self.free.len()).unwrap_or(u32::MAX)
    }

    /// Places that are given.
    #[must_use]
    pub fn pending(&self) -> u32 {
        u32::try_from(self.places.len() - self.free.len()).unwrap_or(u32::MAX)
    }

    /// Batches of a stream that have a place.
    #[must_use]
    pub fn pending_of(&self, stream: usize) -> usize {
        self.streams[stream].len()
    }

    /// Tells whether a place, whose batch is under way, is the first of its stream.
    #[must_use]
    pub fn is_head(&self, place: u32) -> bool {
        match self.places[place as usize] {
            Place::Pending(stream) => self.streams[stream].front() == Some(&place),
            _ => false,
        }
    }

    /// Fills a place, or marks it as lost, and tells whether it is the first of its stream.
    ///
    /// # Panics
    ///
    /// If its batch is not under way.
    pub fn complete(&mut self, place: u32, batch: Option<B>) -> bool {
        let slot = &mut self.places[place as usize];
        let Place::Pending(stream) = *slot else { panic!("place {place} is completed twice") };
        *slot = batch.map_or(Place::Dead, Place::Done);
        self.streams[stream].front() == Some(&place)
    }

    /// Gives back the place of a batch that is under way and keeps no order.
    ///
    /// # Panics
    ///
    /// If its batch is not under way.
    pub fn leave(&mut self, place: u32) {
        let slot = core::mem::replace(&mut self.places[place as usize], Place::Free);
        let Place::Pending(stream) = slot else { panic!("place {place} is left twice") };
        self.streams[stream].retain(|other| *other != place);
        self.free.push(place);
    }

    /// The first batch of a stream, if it is done.
    #[must_use]
    pub fn head(&self, stream: usize) -> Option<&B> {
        match &self.places[*self.streams[stream].front()? as usize] {
            Place::Done(batch) => Some(batch),
            _ => None,
        }
    }

    /// Passes over places whose batches were lost, and takes the first batch of a stream if it is done and may leave.
    pub fn take(&mut self, stream: usize, may: impl Fn(&B) -> bool) -> Option<B> {
        loop {
            let place = *self.streams[stream].front()?;
            let slot = &mut self.places[place as usize];
            match slot {
                Place::Dead => {}
                Place::Done(batch) if may(batch) => {}
                _ => return None,
            }
            let was = core::mem::replace(slot, Place::Free);
            self.streams[stream].pop_front();
            self.free.push(place);
            if let Place::Done(batch) = was {
                return Some(batch);
            }
        }
    }

    /// Takes the next batch that is done and may leave: one of each stream in turn.
    pub fn drain(&mut self, may: impl Fn(&B) -> bool) -> Option<B> {
        let (count, first) = (self.streams.len(), self.cursor);
        for stream in (first..count).chain(0..first) {
            if let Some(batch) = self.take(stream, &may) {
                self.cursor = if stream + 1 < count { stream + 1 } else { 0 };
                return Some(batch);
            }
        }
        None
    }

    /// Tells whether there is something to drain.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.streams
            .iter()
            .filter_map(VecDeque::front)
            .any(|place| !matches!(self.places[*place as usize], Place::Pending(_)))
    }

    /// The first batches of all streams that are done.
    pub fn heads(&self) -> impl Iterator<Item = &B> {
        (0..self.streams.len()).filter_map(|stream| self.head(stream))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_of_a_stream_leave_in_the_order_of_their_places() {
        let mut order = Order::new(2, 4);
        let places: Vec<u32> = [0, 1, 0, 0].into_iter().filter_map(|stream| order.begin(stream)).collect();
        assert_eq!((order.room(), order.pending(), order.pending_of(0)), (0, 4, 3));
        assert_eq!(order.begin(1), None);
        assert!(order.is_head(places[0]) && order.is_head(places[1]) && !order.is_head(places[2]));
        assert!(!order.complete(places[2], Some('c')), "it is not the first");
        assert_eq!(order.drain(|_| true), None);
        assert!(order.complete(places[0], None), "lost");
        assert!(order.complete(places[1], Some('b')));
        assert_eq!(order.head(1), Some(&'b'));
        assert_eq!(order.take(1, |_| false), None);
        assert_eq!(order.drain(|_| true), Some('c'), "the lost one is passed over");
        order.leave(places[3]);
        assert_eq!((order.drain(|_| true), order.pending(), order.is_ready()), (Some('b'), 0, false));
    }

    #[test]
    #[should_panic(expected = "completed twice")]
    fn a_place_is_completed_once() {
        let mut order = Order::new(1, 1);
        let place = order.begin(0).expect("there is one");
        order.complete(place, Some(()));
        order.complete(place, Some(()));
    }
}
