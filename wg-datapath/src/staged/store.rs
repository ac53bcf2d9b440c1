//! Memory for staged packets: chunks of a few sizes, reused, and together never more than the bound.

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;

/// No chunk.
pub(super) const NIL: u32 = u32::MAX;

/// Sizes of a chunk: acknowledgements, ordinary packets, jumbo frames, and anything IP can carry.
pub(super) const CLASSES: [usize; 4] = [256, 2048, 16 << 10, 64 << 10];

/// The smallest chunk size that holds `len` bytes.
pub(super) fn class_for(len: usize) -> Option<usize> {
    CLASSES.iter().position(|&bytes| bytes >= len)
}

/// A place for one packet, in a queue or in a free list.
#[derive(Debug, Default)]
struct Chunk {
    bytes: Box<[u8]>,
    len: u32,
    next: u32,
}

/// Chunks by number. A chunk that is freed keeps its memory until another size needs it.
pub(super) struct Store {
    chunks: Vec<Chunk>,
    /// Free chunks of each class, linked by `next`.
    free: [u32; CLASSES.len()],
    /// Chunk numbers without memory, linked by `next`.
    blank: u32,
    held: usize,
    max_bytes: usize,
}

impl Store {
    pub(super) fn new(max_bytes: usize) -> Self {
        let chunks = Vec::with_capacity(max_bytes / CLASSES[0]);
        Self { chunks, free: [NIL; CLASSES.len()], blank: NIL, held: 0, max_bytes }
    }

    /// Whether a packet of `len` bytes fits an empty store.
    pub(super) fn could_hold(&self, len: usize) -> bool {
        class_for(len).is_some_and(|class| CLASSES[class] <= self.max_bytes)
    }

    /// Copies a packet into a chunk; `None` if the chunks in use leave no room.
    #[expect(clippy::cast_possible_truncation, reason = "no packet is longer than the largest class")]
    pub(super) fn put(&mut self, packet: &[u8]) -> Option<u32> {
        let class = class_for(packet.len())?;
        if self.free[class] == NIL {
            self.add(class)?;
        }
        let number = self.free[class];
        let chunk = &mut self.chunks[number as usize];
        self.free[class] = chunk.next;
        chunk.bytes[..packet.len()].copy_from_slice(packet);
        chunk.len = packet.len() as u32;
        chunk.next = NIL;
        Some(number)
    }

    pub(super) fn get(&self, number: u32) -> Option<&[u8]> {
        self.chunks.get(number as usize).map(|chunk| &chunk.bytes[..chunk.len as usize])
    }

    pub(super) fn next(&self, number: u32) -> u32 {
        self.chunks[number as usize].next
    }

    pub(super) fn set_next(&mut self, number: u32, next: u32) {
        self.chunks[number as usize].next = next;
    }

    /// Puts a chunk on its free list.
    pub(super) fn release(&mut self, number: u32) {
        let chunk = &mut self.chunks[number as usize];
        if let Some(class) = class_for(chunk.bytes.len()) {
            chunk.next = self.free[class];
            self.free[class] = number;
        }
    }

    /// Gives the memory of all free chunks back.
    pub(super) fn release_unused(&mut self) {
        while self.shed() {}
    }

    /// All chunks, and a place for each of the least of them.
    pub(super) const fn max_memory(max_bytes: usize) -> usize {
        max_bytes.saturating_add(max_bytes / CLASSES[0] * size_of::<Chunk>())
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.held + self.chunks.capacity() * size_of::<Chunk>()
    }

    /// Makes one free chunk of `class`, with memory from free chunks of other classes if need be.
    #[expect(clippy::cast_possible_truncation, reason = "chunks are far fewer than 2^32 bytes / 256")]
    fn add(&mut self, class: usize) -> Option<()> {
        while self.held + CLASSES[class] > self.max_bytes {
            if !self.shed() {
                return None;
            }
        }
        if self.blank == NIL {
            self.blank = self.chunks.len() as u32;
            self.chunks.push(Chunk { next: NIL, ..Chunk::default() });
        }
        let number = self.blank;
        let chunk = &mut self.chunks[number as usize];
        self.blank = chunk.next;
        *chunk = Chunk { bytes: vec![0; CLASSES[class]].into_boxed_slice(), len: 0, next: self.free[class] };
        self.free[class] = number;
        self.held += CLASSES[class];
        Some(())
    }

    /// Frees the memory of one free chunk, a large one if there is one.
    fn shed(&mut self) -> bool {
        let Some(class) = self.free.iter().rposition(|&number| number != NIL) else { return false };
        let number = self.free[class];
        let chunk = &mut self.chunks[number as usize];
        self.free[class] = chunk.next;
        *chunk = Chunk { next: self.blank, ..Chunk::default() };
        self.blank = number;
        self.held -= CLASSES[class];
        true
    }
}
