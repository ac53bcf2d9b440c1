//! Handshake messages that wait, and whether there are too many of them.
//!
//! ```text
//!   MAC1 right --not under load--------------------> waiting --> public-key work
//!        `-----under load, MAC2 right, a token left-> proven ---> public-key work
//!        `-----under load, no MAC2------------------> waiting --> cookie reply
//! ```
//!
//! Who has proven where he is has a queue of his own, so that those who have not cannot fill it (60 of the known defects).
//! Both are bounded and allocated once.

use alloc::collections::VecDeque;

use wg_proto::limits::UNDER_LOAD_HOLD;
use wg_proto::wire::INITIATION_LEN;
use wg_proto::{Endpoint, HandshakeMessage, Instant, Load};

use crate::drop::DropReason;

/// A message that waits, with where it came from.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) bytes: heapless::Vec<u8, INITIATION_LEN>,
    pub(super) from: Endpoint,
}

/// The queues of handshake messages.
#[derive(Debug)]
pub(in crate::device) struct HandshakeQueue {
    waiting: VecDeque<Waiting>,
    proven: VecDeque<Waiting>,
    capacity: usize,
    load: LoadGauge,
}

impl HandshakeQueue {
    /// For each message that may wait there is a place in both queues.
    pub(in crate::device) const BYTES_PER_MESSAGE: usize = 2 * size_of::<Waiting>();

    pub(in crate::device) fn new(capacity: usize) -> Self {
        let capacity = capacity.max(8);
        Self {
            waiting: VecDeque::with_capacity(capacity),
            proven: VecDeque::with_capacity(capacity),
            capacity,
            load: LoadGauge { threshold: capacity / 8, until: None, since: Instant::default(), vain: 0 },
        }
    }

    pub(in crate::device) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.proven.is_empty()
    }

    /// Drops all that waits and returns how many there were.
    pub(in crate::device) fn clear(&mut self) -> u64 {
        let dropped = self.waiting.len() + self.proven.len();
        self.waiting.clear();
        self.proven.clear();
        dropped as u64
    }

    /// Decides whether the device is under load, from what waits now (C104).
    pub(super) fn load(&mut self, now: Instant) -> Load {
        if self.waiting.len() >= self.load.threshold {
            self.load.begin(now);
        }
        self.load.state(now)
    }

    /// Counts a message that was in vain.
    pub(in crate::device) fn in_vain(&mut self, now: Instant) {
        self.load.in_vain(now);
    }

    /// Takes in a message of somebody who has proven where he is. Each of them has one place for each kind of message, in
    /// which a newer one replaces the older: a thousand of them who use up their tokens do not fill the queue, and one more
    /// waits no longer than a thousand messages take.
    ///
    /// # Errors
    ///
    /// Why the message, or the one that it replaced, is dropped.
    pub(super) fn push_proven(&mut self, message: Waiting) -> Result<(), DropReason> {
        let same = |earlier: &&mut Waiting| {
            earlier.from.remote == message.from.remote && earlier.bytes.first() == message.bytes.first()
        };
        if let Some(earlier) = self.proven.iter_mut().find(same) {
            *earlier = message;
            return Err(DropReason::RateLimited);
        }
        if self.proven.len() >= self.capacity {
            return Err(DropReason::HandshakeQueueFull);
        }
        self.proven.push_back(message);
        Ok(())
    }

    /// Whether a message may be taken in at all. Where there is no room for those who have not proven where they are, one
    /// without a second MAC comes to nothing, so nothing is spent on it: a flood that fills the queue is dropped at the least
    /// cost.
    pub(super) fn has_room_for(&self, message: &HandshakeMessage<'_>) -> bool {
        !self.is_full() || message.has_mac2()
    }

    /// Whether there is no room for one who has not proven where he is.
    fn is_full(&self) -> bool {
        self.waiting.len() >= self.capacity
    }

    /// Takes in a message of anybody, if there is room.
    pub(super) fn push_waiting(&mut self, message: Waiting) -> bool {
        let room = !self.is_full();
        if room {
            self.waiting.push_back(message);
        }
        room
    }

    /// The next message that wants a cookie, as long as the device is under load.
    pub(super) fn pop_unproven(&mut self, now: Instant) -> Option<Waiting> {
        if self.load(now) == Load::Normal { None } else { self.waiting.pop_front() }
    }

    /// Whether there is a message to be worked on.
    pub(super) fn has_admitted(&mut self, now: Instant) -> bool {
        !self.proven.is_empty() || (!self.waiting.is_empty() && self.load(now) == Load::Normal)
    }

    /// The next message to be worked on: of those who have proven where they are, and of all while there is no load.
    pub(super) fn pop_admitted(&mut self, now: Instant) -> Option<Waiting> {
        let load = self.load(now);
        self.proven.pop_front().or_else(|| if load == Load::Normal { self.waiting.pop_front() } else { None })
    }
}

/// Whether there are more handshake messages than can be worked on at once.
///
/// It is so from when an eighth of the queue waits, for a second after the last such moment (C104). A flood that is
/// worked on as fast as it comes never fills the queue, and what fills it no more once it is answered with cookies would
/// be let in again every second. So messages in vain count as well: those that cost public-key work and were from nobody
/// we know, and, under load, those without proof or token. As many within a second as the queue may hold are load, too. What a
/// flood of any pattern costs is thus no more than that much public-key work before it is held off, and none after that
/// but for those who prove where they are.
#[derive(Debug)]
struct LoadGauge {
    threshold: usize,
    until: Option<Instant>,
    /// When the second began in which those in vain are counted.
    since: Instant,
    vain: usize,
}

impl LoadGauge {
    fn begin(&mut self, now: Instant) {
        self.until = Some(now.saturating_add(UNDER_LOAD_HOLD));
        (self.since, self.vain) = (now, 0);
    }

    fn state(&self, now: Instant) -> Load {
        // A clock that has gone back since must not hold it up.
        let loaded = |until: Instant| now < until && now.abs_diff(until) <= UNDER_LOAD_HOLD;
        if self.until.is_some_and(loaded) { Load::UnderLoad } else { Load::Normal }
    }

    fn in_vain(&mut self, now: Instant) {
        if now.saturating_duration_since(self.since) >= UNDER_LOAD_HOLD {
            (self.since, self.vain) = (now, 0);
        }
        self.vain = self.vain.saturating_add(1);
        if self.vain >= self.threshold {
            self.begin(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::from_nanos(7_000_000_000 + millis * 1_000_000)
    }

    #[test]
    fn as_many_in_vain_within_a_second_as_the_queue_may_hold_are_load() {
        // C104, A1
        let mut queue = HandshakeQueue::new(80);
        for millis in 0..9 {
            queue.in_vain(at(millis));
        }
        assert_eq!(queue.load(at(9)), Load::Normal);
        queue.in_vain(at(9));
        assert_eq!(queue.load(at(9)), Load::UnderLoad);
        assert_eq!((queue.load(at(1008)), queue.load(at(1009))), (Load::UnderLoad, Load::Normal));
    }

    #[test]
    fn fewer_within_a_second_are_not() {
        let mut queue = HandshakeQueue::new(80);
        for millis in (0..100_000).step_by(112) {
            queue.in_vain(at(millis));
            assert_eq!(queue.load(at(millis)), Load::Normal, "{millis}");
        }
    }

    #[test]
    fn load_lasts_as_long_as_the_flood() {
        let mut queue = HandshakeQueue::new(80);
        for millis in (0..100_000).step_by(90) {
            queue.in_vain(at(millis));
            assert_eq!(queue.load(at(millis)) == Load::UnderLoad, millis >= 9 * 90, "{millis}");
        }
    }

    #[test]
    fn a_clock_that_goes_back_ends_no_load_and_begins_none() {
        // C132
        let mut queue = HandshakeQueue::new(80);
        (0..9).for_each(|_| queue.in_vain(at(5000)));
        assert_eq!(queue.load(at(0)), Load::Normal);
        queue.in_vain(at(0));
        assert_eq!(queue.load(at(0)), Load::UnderLoad);
    }
}
