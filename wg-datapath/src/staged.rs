//! Packets that wait for a handshake: a queue per peer, in memory shared by the whole device.
//!
//! A peer stages [`MAX_STAGED_PER_PEER`] packets at most; the next one pushes out its oldest (C70). All peers
//! together stay under a number of bytes; when those are used up, the longest queue loses its oldest packet,
//! so a scan over many silent peers cannot starve the one that is about to answer. Order is kept, also when
//! packets come back because the session ran out under them (C55).
//!
//! Nothing is allocated once the chunks and the table of peers have grown to what the traffic needs.

mod store;

#[cfg(test)]
mod tests;

use alloc::vec::Vec;
use core::fmt;

use crate::allowed_ips::PeerSlot;

use store::{NIL, Store};

/// How many packets wait for one peer at most.
pub(crate) const MAX_STAGED_PER_PEER: usize = 128;

/// What became of a packet and of those it displaced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use = "what was displaced is a drop to count"]
pub struct Pushed {
    /// Whether the packet now waits.
    pub stored: bool,
    /// How many packets were lost: displaced ones, and the packet itself if it was not stored.
    pub dropped: usize,
    /// The peer that lost a packet it had staged earlier; the last one, if there were several.
    pub evicted: Option<PeerSlot>,
}

/// The staged packets of all peers of a device.
///
/// # Examples
///
/// ```
/// use wg_datapath::{PeerSlot, StagedPool};
///
/// let peer = PeerSlot::new(7);
/// let mut staged = StagedPool::new(1 << 20);
/// for number in 0..130_u8 {
///     let _ = staged.push(peer, &[number]);
/// }
/// assert_eq!(staged.len(peer), 128);
/// assert_eq!(staged.front(peer), Some(&[2][..]));
/// assert!(staged.pop_front(peer));
/// assert_eq!(staged.front(peer), Some(&[3][..]));
/// ```
pub struct StagedPool {
    store: Store,
    /// By peer slot.
    queues: Vec<Queue>,
    /// By queue length: the queues that have it, the one that has had it longest first.
    by_len: [Ring; MAX_STAGED_PER_PEER + 1],
    longest: usize,
    packets: usize,
}

impl StagedPool {
    /// A pool that keeps at most `max_bytes` of packet memory; allocates none of it yet.
    ///
    /// Packets occupy chunks of 256 bytes, 2, 16 or 64 KiB.
    #[must_use]
    pub fn new(max_bytes: usize) -> Self {
        let by_len = [Ring::EMPTY; MAX_STAGED_PER_PEER + 1];
        Self { store: Store::new(max_bytes), queues: Vec::new(), by_len, longest: 0, packets: 0 }
    }

    /// The most memory that a pool of `max_bytes` takes, without its table of peers.
    #[must_use]
    pub const fn max_memory(max_bytes: usize) -> usize {
        Store::max_memory(max_bytes)
    }

    /// Makes room in the table for peer slots below `slots`.
    pub fn reserve(&mut self, slots: usize) {
        if slots > self.queues.len() {
            self.queues.resize(slots, Queue::EMPTY);
        }
    }

    /// Stages a packet behind those that already wait for the peer.
    pub fn push(&mut self, peer: PeerSlot, packet: &[u8]) -> Pushed {
        let mut pushed = Pushed::default();
        if !self.store.could_hold(packet.len()) {
            return Pushed { dropped: 1, ..pushed };
        }
        self.reserve(peer.index() + 1);
        if self.len(peer) == MAX_STAGED_PER_PEER {
            self.evict(peer, &mut pushed);
        }
        loop {
            if let Some(chunk) = self.store.put(packet) {
                self.append(peer, chunk);
                return Pushed { stored: true, ..pushed };
            }
            let Some(longest) = self.longest() else { return pushed };
            self.evict(longest, &mut pushed);
        }
    }

    /// Stages a packet before those that already wait: one that was taken out and could not be sent (C55).
    ///
    /// To return several, start with the last. The packet is the oldest of its queue, so it is itself the
    /// one to go when the queue is full, or the memory is and no other queue is longer.
    pub fn push_front(&mut self, peer: PeerSlot, packet: &[u8]) -> Pushed {
        let mut pushed = Pushed::default();
        if !self.store.could_hold(packet.len()) || self.len(peer) == MAX_STAGED_PER_PEER {
            return Pushed { dropped: 1, ..pushed };
        }
        self.reserve(peer.index() + 1);
        loop {
            if let Some(chunk) = self.store.put(packet) {
                self.prepend(peer, chunk);
                return Pushed { stored: true, ..pushed };
            }
            match self.longest() {
                Some(longest) if self.len(longest) > self.len(peer) => self.evict(longest, &mut pushed),
                _ => return Pushed { dropped: pushed.dropped + 1, ..pushed },
            }
        }
    }

    /// The oldest packet that waits for the peer.
    #[must_use]
    pub fn front(&self, peer: PeerSlot) -> Option<&[u8]> {
        self.store.get(self.queues.get(peer.index())?.head)
    }

    /// Removes the oldest packet; false if there is none.
    pub fn pop_front(&mut self, peer: PeerSlot) -> bool {
        let Some(queue) = self.queues.get_mut(peer.index()).filter(|queue| queue.len != 0) else {
            return false;
        };
        let chunk = queue.head;
        queue.head = self.store.next(chunk);
        self.store.release(chunk);
        self.packets -= 1;
        self.set_len(peer.index(), self.len(peer) - 1);
        true
    }

    /// Drops all packets of a peer and returns how many there were.
    pub fn clear(&mut self, peer: PeerSlot) -> usize {
        let mut dropped = 0;
        while self.pop_front(peer) {
            dropped += 1;
        }
        dropped
    }

    /// Drops all packets of all peers and returns how many there were.
    pub fn clear_all(&mut self) -> usize {
        let mut dropped = 0;
        while let Some(longest) = self.longest() {
            dropped += self.clear(longest);
        }
        dropped
    }

    /// Gives back the memory that no packet occupies, as after a burst is over.
    pub fn release_unused(&mut self) {
        self.store.release_unused();
    }

    /// How many packets wait for the peer.
    #[must_use]
    pub fn len(&self, peer: PeerSlot) -> usize {
        self.queues.get(peer.index()).map_or(0, |queue| usize::from(queue.len))
    }

    /// How many packets wait for all peers together.
    #[must_use]
    pub const fn packets(&self) -> usize {
        self.packets
    }

    /// Whether nothing waits for any peer.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.packets == 0
    }

    /// The memory held, that of unoccupied chunks and of the tables included.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        size_of::<Self>() + self.store.memory_bytes() + self.queues.capacity() * size_of::<Queue>()
    }

    /// The peer with the longest queue.
    fn longest(&self) -> Option<PeerSlot> {
        (self.longest != 0).then(|| PeerSlot::new(self.by_len[self.longest].first))
    }

    fn evict(&mut self, peer: PeerSlot, pushed: &mut Pushed) {
        if self.pop_front(peer) {
            pushed.dropped += 1;
            pushed.evicted = Some(peer);
        }
    }

    fn append(&mut self, peer: PeerSlot, chunk: u32) {
        let queue = &mut self.queues[peer.index()];
        if queue.len == 0 {
            queue.head = chunk;
        } else {
            self.store.set_next(queue.tail, chunk);
        }
        queue.tail = chunk;
        self.packets += 1;
        self.set_len(peer.index(), self.len(peer) + 1);
    }

    fn prepend(&mut self, peer: PeerSlot, chunk: u32) {
        let queue = &mut self.queues[peer.index()];
        if queue.len == 0 {
            queue.tail = chunk;
        } else {
            self.store.set_next(chunk, queue.head);
        }
        queue.head = chunk;
        self.packets += 1;
        self.set_len(peer.index(), self.len(peer) + 1);
    }

    /// Notes a queue's new length: it moves to the end of the ring of queues of that length.
    #[expect(clippy::cast_possible_truncation, reason = "slots are 32 bits, lengths at most 128")]
    fn set_len(&mut self, slot: usize, len: usize) {
        let Queue { len: old, before, after, .. } = self.queues[slot];
        if old != 0 {
            let ring = &mut self.by_len[usize::from(old)];
            match self.queues.get_mut(before as usize) {
                Some(queue) => queue.after = after,
                None => ring.first = after,
            }
            match self.queues.get_mut(after as usize) {
                Some(queue) => queue.before = before,
                None => ring.last = before,
            }
        }
        let ring = &mut self.by_len[len];
        let before = if len == 0 { NIL } else { core::mem::replace(&mut ring.last, slot as u32) };
        match self.queues.get_mut(before as usize) {
            Some(queue) => queue.after = slot as u32,
            None if len != 0 => ring.first = slot as u32,
            None => {}
        }
        let queue = &mut self.queues[slot];
        *queue = Queue { len: len as u8, before, after: NIL, ..*queue };
        self.longest = self.longest.max(len);
        while self.longest != 0 && self.by_len[self.longest].first == NIL {
            self.longest -= 1;
        }
    }
}

impl fmt::Debug for StagedPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (packets, longest) = (self.packets, self.longest);
        f.debug_struct("StagedPool")
            .field("packets", &packets)
            .field("longest", &longest)
            .finish_non_exhaustive()
    }
}

/// The packets of one peer, oldest first, and its place among the queues of the same length.
#[derive(Clone, Copy)]
struct Queue {
    head: u32,
    tail: u32,
    before: u32,
    after: u32,
    len: u8,
}

impl Queue {
    const EMPTY: Self = Self { head: NIL, tail: NIL, before: NIL, after: NIL, len: 0 };
}

/// Queues of one length, linked by `before` and `after`.
#[derive(Clone, Copy)]
struct Ring {
    first: u32,
    last: u32,
}

impl Ring {
    const EMPTY: Self = Self { first: NIL, last: NIL };
}
