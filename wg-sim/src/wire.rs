//! Datagrams under way, in the order in which they arrive.

use core::cmp::Ordering;
use core::net::SocketAddr;
use std::collections::BinaryHeap;

use crate::clock::Time;

/// A copy of a datagram under way.
#[derive(Debug)]
pub(crate) struct InFlight {
    pub(crate) bytes: Vec<u8>,
    pub(crate) from: SocketAddr,
    pub(crate) to: SocketAddr,
    /// The datagram it is a copy of; none if it was made of several, or of nothing.
    pub(crate) datagram: Option<u32>,
    /// Whether it is not what was sent.
    pub(crate) altered: bool,
    /// Whether the network carries it, and not the adversary: what becomes of it is what becomes of the datagram.
    pub(crate) counts: bool,
}

/// What happens at a time.
#[derive(Debug)]
pub(crate) enum Happening {
    Arrival(InFlight),
    /// A copy has been held back for long enough, by this link, under this number.
    Release {
        link: usize,
        number: u64,
    },
}

#[derive(Debug)]
struct Entry {
    at: Time,
    serial: u64,
    happening: Happening,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    /// The earliest is the greatest; of those at the same time, the one put in first.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.serial).cmp(&(self.at, self.serial))
    }
}

#[derive(Debug, Default)]
pub(crate) struct Wire {
    entries: BinaryHeap<Entry>,
    serial: u64,
    /// Buffers to use again.
    spare: Vec<Vec<u8>>,
}

impl Wire {
    pub(crate) fn put(&mut self, at: Time, happening: Happening) {
        self.serial += 1;
        self.entries.push(Entry { at, serial: self.serial, happening });
    }

    pub(crate) fn next(&self) -> Option<Time> {
        self.entries.peek().map(|entry| entry.at)
    }

    pub(crate) fn take_due(&mut self, now: Time) -> Option<Happening> {
        let due = self.entries.peek().is_some_and(|entry| entry.at <= now);
        due.then(|| self.entries.pop()).flatten().map(|entry| entry.happening)
    }

    /// Returns a copy of bytes, in a buffer that was used before if there is one.
    pub(crate) fn copy(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut buffer = self.spare.pop().unwrap_or_default();
        buffer.clear();
        buffer.extend_from_slice(bytes);
        buffer
    }

    pub(crate) fn recycle(&mut self, buffer: Vec<u8>) {
        if self.spare.len() < 64 {
            self.spare.push(buffer);
        }
    }
}
