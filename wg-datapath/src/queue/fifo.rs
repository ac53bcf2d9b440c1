//! A plain queue within the same bounds: frames leave in the order in which they came, whoever they are of. Nothing signals
//! congestion, and what finds no room is lost itself.
//!
//! It has what a batch needs: [`Fifo::pop_of`] gives only the head, so where frames of several peers alternate, so do their batches.

use alloc::collections::VecDeque;

use wg_proto::Instant;

use super::{Cause, Loss, Popped, QueueConfig, Queued};
use crate::allowed_ips::PeerSlot;

/// Frames in the order in which they came.
#[derive(Debug)]
pub(crate) struct Fifo<T> {
    /// Each with its bytes as they are counted.
    frames: VecDeque<(Popped<T>, usize)>,
    bytes: usize,
    config: QueueConfig,
}

impl<T: Queued> Fifo<T> {
    /// An empty queue with all the memory it will ever need.
    pub(super) fn new(config: QueueConfig) -> Self {
        Self { frames: VecDeque::with_capacity(config.capacity_frames), bytes: 0, config }
    }

    pub(super) fn push(
        &mut self,
        frame: T,
        peer: PeerSlot,
        flow: u32,
        now: Instant,
        lost: &mut impl FnMut(PeerSlot, Loss<T>),
    ) {
        let bytes = frame.bytes();
        if !self.has_room(bytes) {
            return lost(peer, Loss::Frame(frame, Cause::Overflow));
        }
        self.bytes += bytes;
        self.frames.push_back((Popped { frame, peer, flow, pushed_at: now }, bytes));
    }

    pub(super) fn push_front(&mut self, popped: Popped<T>) -> Result<(), Popped<T>> {
        let bytes = popped.frame.bytes();
        if !self.has_room(bytes) {
            return Err(popped);
        }
        self.bytes += bytes;
        self.frames.push_front((popped, bytes));
        Ok(())
    }

    pub(super) fn pop(&mut self) -> Option<Popped<T>> {
        let (popped, bytes) = self.frames.pop_front()?;
        self.bytes -= bytes;
        Some(popped)
    }

    pub(super) fn pop_of(&mut self, peer: PeerSlot, fits: impl FnOnce(&T) -> bool) -> Option<Popped<T>> {
        self.frames.front().filter(|(popped, _)| popped.peer == peer && fits(&popped.frame))?;
        self.pop()
    }

    pub(super) fn is_full(&self) -> bool {
        !self.has_room(self.config.frame_bytes.min(self.config.capacity_bytes))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.frames.len()
    }

    /// How many frames of a peer wait.
    pub(super) fn len_of(&self, peer: PeerSlot) -> usize {
        self.frames.iter().filter(|(popped, _)| popped.peer == peer).count()
    }

    /// Takes all frames of a peer out.
    pub(super) fn drop_peer(&mut self, peer: PeerSlot, mut dropped: impl FnMut(T)) {
        // Round once: what is of others goes to the back again.
        for _ in 0..self.frames.len() {
            let Some((popped, bytes)) = self.frames.pop_front() else { return };
            if popped.peer == peer {
                self.bytes -= bytes;
                dropped(popped.frame);
            } else {
                self.frames.push_back((popped, bytes));
            }
        }
    }

    pub(super) fn memory_bytes(&self) -> usize {
        size_of::<Self>() + self.frames.capacity() * size_of::<(Popped<T>, usize)>()
    }

    fn has_room(&self, bytes: usize) -> bool {
        self.frames.len() < self.config.capacity_frames && bytes <= self.config.capacity_bytes - self.bytes
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::vec::Vec;

    use super::super::Signal;
    use super::*;

    struct Frame(usize);

    impl Queued for Frame {
        fn bytes(&self) -> usize {
            self.0
        }

        fn signal(&mut self) -> Signal {
            panic!("nothing signals here")
        }
    }

    fn fifo(capacity_frames: usize, capacity_bytes: usize) -> Fifo<Frame> {
        Fifo::new(QueueConfig { capacity_frames, capacity_bytes, ..QueueConfig::default() })
    }

    fn push(fifo: &mut Fifo<Frame>, bytes: usize, peer: u32) -> usize {
        let mut lost = 0;
        fifo.push(Frame(bytes), PeerSlot::new(peer), 0, Instant::default(), &mut |_, loss| {
            assert!(
                matches!(loss, Loss::Frame(Frame(len), Cause::Overflow) if len == bytes),
                "the newest goes"
            );
            lost += 1;
        });
        lost
    }

    #[test]
    fn frames_of_all_peers_leave_in_the_order_in_which_they_came() {
        let mut fifo = fifo(8, 1 << 20);
        for (bytes, peer) in [(1, 0), (2, 1), (3, 1), (4, 0)] {
            assert_eq!(push(&mut fifo, bytes, peer), 0);
        }
        let [first, other] = [0, 1].map(PeerSlot::new);
        assert!(fifo.pop_of(other, |_| true).is_none(), "it is not at the head");
        assert_eq!(fifo.pop_of(first, |_| true).unwrap().frame.0, 1);
        assert!(fifo.pop_of(other, |_| false).is_none(), "it does not fit");
        let popped = fifo.pop().unwrap();
        assert_eq!((popped.frame.0, popped.peer), (2, other));
        assert!(fifo.push_front(Popped { frame: Frame(9), ..popped }).is_ok());
        let rest = core::iter::from_fn(|| fifo.pop()).map(|popped| popped.frame.0);
        assert_eq!(rest.collect::<Vec<_>>(), [9, 3, 4]);
        assert!(fifo.is_empty() && fifo.bytes == 0);
    }

    #[test]
    fn frames_of_one_peer_are_taken_out_and_the_others_keep_their_order() {
        let mut fifo = fifo(8, 1 << 20);
        for (bytes, peer) in [(1, 0), (2, 1), (3, 1), (4, 0)] {
            push(&mut fifo, bytes, peer);
        }
        let other = PeerSlot::new(1);
        assert_eq!((fifo.len(), fifo.len_of(other)), (4, 2));
        let mut taken = Vec::new();
        fifo.drop_peer(other, |frame| taken.push(frame.0));
        assert_eq!(taken, [2, 3]);
        assert_eq!((fifo.len(), fifo.len_of(other), fifo.bytes), (2, 0, 5));
        let rest = core::iter::from_fn(|| fifo.pop()).map(|popped| popped.frame.0);
        assert_eq!(rest.collect::<Vec<_>>(), [1, 4]);
    }

    #[test]
    fn what_finds_no_room_is_lost() {
        let mut frames = fifo(2, 1 << 20);
        assert_eq!([push(&mut frames, 1, 0), push(&mut frames, 1, 0), push(&mut frames, 1, 0)], [0, 0, 1]);
        assert!(frames.is_full());
        let mut bytes = fifo(8, 100_000);
        assert_eq!([push(&mut bytes, 34_464, 0), push(&mut bytes, 65_537, 0)], [0, 1]);
        assert!(!bytes.is_full(), "the largest frame fits exactly");
        assert_eq!(push(&mut bytes, 1, 0), 0);
        assert!(bytes.is_full());
        let popped =
            Popped { frame: Frame(65_536), peer: PeerSlot::new(0), flow: 0, pushed_at: Instant::default() };
        assert!(bytes.push_front(popped).is_err());
    }
}
