//! A lock: from when to when it was held, and until when who waited did.
//!
//! A step is over before the next is taken, so it may have held the lock in what is another core's future. That core goes
//! into a gap that is long enough for any hold of late.

use std::collections::VecDeque;

#[derive(Debug, Default)]
pub(super) struct Lock {
    /// How long it remembers.
    memory: u64,
    held: VecDeque<(u64, u64)>,
    waits: VecDeque<(u64, u64)>,
    begun: u64,
    /// Who waited beside the last one that got it: what a holder has to expect.
    pub(super) beside: u64,
}

impl Lock {
    pub(super) fn new(memory: u64) -> Self {
        Self { memory, ..Self::default() }
    }

    /// When one who comes now may have it, and how many wait beside it.
    pub(super) fn free(&mut self, now: u64) -> (u64, u64) {
        while self.held.front().is_some_and(|(_, end)| end + self.memory < now) {
            self.held.pop_front();
        }
        self.waits.retain(|(_, end)| *end + self.memory > now);
        let hold = self.held.iter().map(|(begin, end)| end - begin).max().unwrap_or(0);
        let mut at = now;
        for (begin, end) in &self.held {
            if at + hold > *begin && at < *end {
                at = *end;
            }
        }
        self.beside = self.waits.iter().filter(|(begin, end)| *begin <= at && at <= *end).count() as u64;
        if at > now {
            self.waits.push_back((now, at));
        }
        (at, self.beside)
    }

    /// It is had from now on.
    pub(super) const fn acquired(&mut self, now: u64) {
        self.begun = now;
    }

    /// It is given back.
    pub(super) fn released(&mut self, now: u64) {
        let held = (self.begun, now);
        let place = self.held.partition_point(|other| *other <= held);
        self.held.insert(place, held);
    }
}
