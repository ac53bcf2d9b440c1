//! A link from one host to another, in one direction: what it does to a datagram is drawn when it is sent.

use core::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use crate::clock::{MILLISECOND, Time};
use crate::draw::Draw;
use crate::script::Fault;
use crate::wire::InFlight;

/// How long a datagram is held back for others to overtake it, at most.
pub(crate) const HOLD: Time = 40_000 * MILLISECOND;

/// The ways in which a link behaves.
#[derive(Clone, Copy, Debug)]
struct Impairment {
    delay: Time,
    jitter: Time,
    loss: u16,
    burst: u16,
    duplicate: u16,
    reorder: u16,
    corrupt: u16,
    mtu: u16,
    cut: bool,
}

impl Default for Impairment {
    fn default() -> Self {
        let delay = 10 * MILLISECOND;
        Self { delay, jitter: 0, loss: 0, burst: 0, duplicate: 0, reorder: 0, corrupt: 0, mtu: 0, cut: false }
    }
}

/// What becomes of one copy of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Passage {
    Lost,
    /// It arrives so much later, perhaps corrupted.
    Passes {
        after: Time,
        corrupt: bool,
    },
    /// It is held back until so many others have passed.
    Held {
        others: u64,
        corrupt: bool,
    },
}

#[derive(Debug, Default)]
pub(crate) struct Link {
    impairment: Impairment,
    in_burst: bool,
    /// Datagrams that passed, to count by.
    passed: u64,
    held: BTreeMap<u64, InFlight>,
    /// When each of those held is overtaken by enough: the count of those that passed, and its number.
    releases: BinaryHeap<Reverse<(u64, u64)>>,
}

impl Link {
    pub(crate) fn set(&mut self, fault: Fault, amount: u16) {
        let millis = Time::from(amount) * MILLISECOND;
        match fault {
            Fault::None => {
                self.impairment = Impairment::default();
                self.in_burst = false;
            }
            Fault::Delay => self.impairment.delay = millis,
            Fault::Jitter => self.impairment.jitter = millis,
            Fault::Loss => self.impairment.loss = amount,
            Fault::Burst => self.impairment.burst = amount,
            Fault::Duplicate => self.impairment.duplicate = amount,
            Fault::Reorder => self.impairment.reorder = amount,
            Fault::Corrupt => self.impairment.corrupt = amount,
            Fault::Mtu => self.impairment.mtu = amount,
            Fault::Cut => self.impairment.cut = amount % 2 == 1,
        }
    }

    /// Decides how many copies of a datagram set out.
    pub(crate) fn copies(&self, draw: &mut Draw) -> u32 {
        1 + u32::from(draw.happens(self.impairment.duplicate))
    }

    /// Decides what becomes of a copy.
    pub(crate) fn passage(&mut self, len: usize, draw: &mut Draw) -> Passage {
        let now = self.impairment;
        if now.burst > 0 {
            self.in_burst = if self.in_burst { !draw.happens(100) } else { draw.happens(now.burst) };
        }
        let lost = now.cut
            || (now.mtu != 0 && len > usize::from(now.mtu))
            || draw.happens(now.loss)
            || (now.burst > 0 && self.in_burst && draw.happens(500));
        if lost {
            return Passage::Lost;
        }
        let corrupt = draw.happens(now.corrupt);
        if now.reorder > 0 && draw.happens(125) {
            return Passage::Held { others: draw.between(1, now.reorder.into()), corrupt };
        }
        let jitter = if now.jitter == 0 { 0 } else { draw.below(now.jitter + 1) };
        Passage::Passes { after: now.delay + jitter, corrupt }
    }

    /// Holds a copy back.
    pub(crate) fn hold(&mut self, number: u64, others: u64, copy: InFlight) {
        self.releases.push(Reverse((self.passed + others, number)));
        self.held.insert(number, copy);
    }

    /// A datagram passed; returns one of those that were overtaken by enough. To be called until there is none.
    pub(crate) fn overtaken(&mut self) -> Option<InFlight> {
        while let Some(Reverse((at, number))) = self.releases.peek().copied() {
            if at > self.passed {
                return None;
            }
            self.releases.pop();
            if let Some(copy) = self.held.remove(&number) {
                return Some(copy);
            }
        }
        None
    }

    pub(crate) const fn count_passed(&mut self) {
        self.passed += 1;
    }

    pub(crate) fn release(&mut self, number: u64) -> Option<InFlight> {
        self.held.remove(&number)
    }

    /// Returns all that is held back, in the order it was sent.
    pub(crate) fn release_all(&mut self) -> impl Iterator<Item = InFlight> {
        self.releases.clear();
        core::mem::take(&mut self.held).into_values()
    }

    /// What a datagram that sets out now is delayed by, if nothing else.
    pub(crate) const fn delay(&self) -> Time {
        self.impairment.delay
    }
}
