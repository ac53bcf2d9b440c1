//! The next thing to do among many peers: at most one deadline a peer, the earliest on top.
//!
//! A binary heap has to be searched to move a peer's deadline, and timers move with every packet; so each
//! peer's place in the heap is remembered. Four children a node keep the heap flat. Equal deadlines come in
//! the order of the slots, so the same calls give the same schedule (C131).

use alloc::vec::Vec;

use wg_proto::Instant;

use crate::allowed_ips::PeerSlot;

/// Children of a node.
const ARITY: usize = 4;

/// The place of a peer without a deadline.
const NOWHERE: u32 = u32::MAX;

/// Deadlines keyed by peer.
///
/// # Examples
///
/// ```
/// use wg_datapath::{Deadlines, PeerSlot};
/// use wg_proto::Instant;
///
/// let at = Instant::from_nanos;
/// let mut deadlines = Deadlines::default();
/// deadlines.set(PeerSlot::new(1), Some(at(30)));
/// deadlines.set(PeerSlot::new(2), Some(at(20)));
/// deadlines.set(PeerSlot::new(2), Some(at(40)));
/// assert_eq!(deadlines.peek(), Some((at(30), PeerSlot::new(1))));
/// assert_eq!(deadlines.pop_due(at(29)), None);
/// assert_eq!(deadlines.pop_due(at(30)), Some(PeerSlot::new(1)));
/// ```
#[derive(Clone, Debug, Default)]
pub struct Deadlines {
    heap: Vec<(Instant, PeerSlot)>,
    /// Where each slot is in `heap`.
    places: Vec<u32>,
}

impl Deadlines {
    /// Makes room for slots below `slots`; setting their deadlines then never allocates.
    pub fn reserve(&mut self, slots: usize) {
        if slots > self.places.len() {
            self.places.resize(slots, NOWHERE);
        }
        self.heap.reserve(self.places.len().saturating_sub(self.heap.len()));
    }

    /// Sets, moves or (with `None`) removes the deadline of a slot.
    pub fn set(&mut self, slot: PeerSlot, deadline: Option<Instant>) {
        let Some(deadline) = deadline else { return self.remove(slot) };
        self.reserve(slot.index() + 1);
        let place = match self.place(slot) {
            Some(place) => place,
            None => {
                self.heap.push((deadline, slot));
                self.heap.len() - 1
            }
        };
        self.settle(place, (deadline, slot));
    }

    /// Removes the deadline of a slot, if it has one.
    pub fn remove(&mut self, slot: PeerSlot) {
        let Some(place) = self.place(slot) else { return };
        self.places[slot.index()] = NOWHERE;
        let Some(last) = self.heap.pop() else { return };
        if place < self.heap.len() {
            self.settle(place, last);
        }
    }

    /// The earliest deadline and whose it is.
    #[must_use]
    pub fn peek(&self) -> Option<(Instant, PeerSlot)> {
        self.heap.first().copied()
    }

    /// Removes the earliest deadline if it has come.
    pub fn pop_due(&mut self, now: Instant) -> Option<PeerSlot> {
        let (deadline, slot) = self.peek()?;
        if deadline > now {
            return None;
        }
        self.remove(slot);
        Some(slot)
    }

    /// The deadline of one slot.
    #[must_use]
    pub fn get(&self, slot: PeerSlot) -> Option<Instant> {
        self.place(slot).map(|place| self.heap[place].0)
    }

    /// How many slots have a deadline.
    #[must_use]
    pub fn len(&self) -> usize {
        self.heap.len()
    }

    /// Whether no slot has a deadline.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }

    fn place(&self, slot: PeerSlot) -> Option<usize> {
        self.places.get(slot.index()).copied().filter(|&place| place != NOWHERE).map(|place| place as usize)
    }

    /// Puts `entry` where it belongs, starting from the free place `hole`.
    fn settle(&mut self, mut hole: usize, entry: (Instant, PeerSlot)) {
        while hole > 0 {
            let parent = (hole - 1) / ARITY;
            if self.heap[parent] <= entry {
                break;
            }
            self.fill(hole, self.heap[parent]);
            hole = parent;
        }
        loop {
            let kids = hole * ARITY + 1;
            let least = (kids..self.heap.len().min(kids + ARITY)).min_by_key(|&kid| self.heap[kid]);
            match least {
                Some(kid) if self.heap[kid] < entry => {
                    self.fill(hole, self.heap[kid]);
                    hole = kid;
                }
                _ => break,
            }
        }
        self.fill(hole, entry);
    }

    #[expect(clippy::cast_possible_truncation, reason = "a heap holds each 32-bit slot once at most")]
    fn fill(&mut self, place: usize, entry: (Instant, PeerSlot)) {
        self.heap[place] = entry;
        self.places[entry.1.index()] = place as u32;
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn at(nanos: u64) -> Instant {
        Instant::from_nanos(nanos)
    }

    fn slot(slot: u32) -> PeerSlot {
        PeerSlot::new(slot)
    }

    #[test]
    fn a_deadline_is_due_at_its_instant_and_once() {
        let mut deadlines = Deadlines::default();
        deadlines.set(slot(3), Some(at(180)));
        assert_eq!(deadlines.pop_due(at(179)), None);
        assert_eq!(deadlines.pop_due(at(180)), Some(slot(3)));
        assert_eq!(deadlines.pop_due(at(180)), None);
        assert!(deadlines.is_empty());
    }

    #[test]
    fn equal_deadlines_come_in_slot_order() {
        let mut deadlines = Deadlines::default();
        for n in [5, 1, 9, 3, 7, 0] {
            deadlines.set(slot(n), Some(at(8)));
        }
        let order: Vec<_> = core::iter::from_fn(|| deadlines.pop_due(at(9))).map(PeerSlot::get).collect();
        assert_eq!(order, [0, 1, 3, 5, 7, 9]);
    }

    #[test]
    fn nothing_is_allocated_after_reserve() {
        let mut deadlines = Deadlines::default();
        deadlines.reserve(1000);
        let before = (deadlines.heap.as_ptr(), deadlines.heap.capacity(), deadlines.places.as_ptr());
        for round in 0..3_u32 {
            for n in 0..1000 {
                deadlines.set(slot(n), Some(at(u64::from(n * 7919 % 1000 + round))));
            }
        }
        assert_eq!(deadlines.len(), 1000);
        assert_eq!((deadlines.heap.as_ptr(), deadlines.heap.capacity(), deadlines.places.as_ptr()), before);
    }

    #[test]
    fn unknown_slots_are_no_error() {
        let mut deadlines = Deadlines::default();
        deadlines.remove(slot(77));
        deadlines.set(slot(77), None);
        assert_eq!(
            (deadlines.get(slot(77)), deadlines.peek(), deadlines.pop_due(at(u64::MAX))),
            (None, None, None)
        );
    }

    #[derive(Clone, Debug)]
    enum Op {
        Set(u32, u64),
        Remove(u32),
        PopDue(u64),
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_sequence_matches_a_sorted_map(ops in prop::collection::vec(
            prop_oneof![
                6 => (0..40_u32, 0..50_u64).prop_map(|(slot, at)| Op::Set(slot, at)),
                2 => (0..40_u32).prop_map(Op::Remove),
                2 => (0..50_u64).prop_map(Op::PopDue),
            ],
            0..300,
        )) {
            let mut deadlines = Deadlines::default();
            let mut model = BTreeMap::new();
            for op in ops {
                match op {
                    Op::Set(n, nanos) => {
                        deadlines.set(slot(n), Some(at(nanos)));
                        model.insert(n, nanos);
                    }
                    Op::Remove(n) => {
                        deadlines.set(slot(n), None);
                        model.remove(&n);
                    }
                    Op::PopDue(now) => {
                        let first = model.iter().map(|(&n, &nanos)| (nanos, n)).min();
                        let due = first.filter(|&(nanos, _)| nanos <= now).map(|(_, n)| n);
                        prop_assert_eq!(deadlines.pop_due(at(now)), due.map(slot));
                        due.map(|n| model.remove(&n));
                    }
                }
                let first = model.iter().map(|(&n, &nanos)| (at(nanos), slot(n))).min();
                prop_assert_eq!((deadlines.peek(), deadlines.len()), (first, model.len()));
                for n in 0..40 {
                    prop_assert_eq!(deadlines.get(slot(n)), model.get(&n).copied().map(at));
                }
            }
        }
    }
}
