//! An arena of short runs: each node of the table keeps its kids, and its owners, side by side.
//!
//! A run of `n` values occupies a block of the smallest size class that holds `n`; released
//! blocks wait in one free list per class. Where a run moves, the new start is returned.
//!
//! Whoever keeps runs bounds their values by [`MAX_VALUES`]: places are then numbers of 32 bits. A block of each class holds
//! two thirds of what it has room for at least, and there are twelve classes; so an arena has less than 18 places for each
//! value that was ever in it at once, even if all of them were in blocks of every class in turn.

use alloc::vec::Vec;

/// Block sizes; a run has at most 64 values, one per bit of a bitmap.
const CLASSES: [u32; 12] = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64];

/// The most values that may be in an arena at once.
pub(super) const MAX_VALUES: usize = 1 << 25;

const _: () = assert!(MAX_VALUES as u64 * 18 < u32::MAX as u64);

/// Arenas below this size are never worth compacting.
const COMPACT_MIN: usize = 256;

#[derive(Clone, Default)]
pub(super) struct Blocks<T> {
    items: Vec<T>,
    free: [Vec<u32>; CLASSES.len()],
    live: usize,
}

impl<T: Copy + Default> Blocks<T> {
    #[inline]
    pub(super) fn get(&self, at: u32) -> Option<&T> {
        self.items.get(at as usize)
    }

    pub(super) fn get_mut(&mut self, at: u32) -> Option<&mut T> {
        self.items.get_mut(at as usize)
    }

    /// Adds `value` as element `at` of the run of `len` values that starts at `start`.
    pub(super) fn insert(&mut self, start: u32, len: u32, at: u32, value: T) -> u32 {
        let start = if len == 0 {
            self.alloc(class(1))
        } else if class(len) == class(len + 1) {
            start
        } else {
            self.relocate(start, len, len, class(len + 1))
        };
        let run = start as usize..(start + len + 1) as usize;
        let at = at as usize;
        if let Some(run) = self.items.get_mut(run) {
            run.copy_within(at..len as usize, at + 1);
            run[at] = value;
        }
        start
    }

    /// Takes element `at` out of the run of `len` values that starts at `start`.
    pub(super) fn remove(&mut self, start: u32, len: u32, at: u32) -> u32 {
        let run = start as usize..(start + len) as usize;
        if let Some(run) = self.items.get_mut(run) {
            run.copy_within(at as usize + 1.., at as usize);
        }
        if len == 1 {
            self.release(start, 1);
            0
        } else if class(len - 1) == class(len) {
            start
        } else {
            self.relocate(start, len, len - 1, class(len - 1))
        }
    }

    /// Gives back the block of a run of `len` values.
    pub(super) fn release(&mut self, start: u32, len: u32) {
        self.free[class(len)].push(start);
        self.live -= CLASSES[class(len)] as usize;
    }

    /// Whether most of the arena is free blocks.
    pub(super) fn is_sparse(&self) -> bool {
        self.items.len() > COMPACT_MIN && self.live < self.items.len() / 4
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.items.capacity() * size_of::<T>()
            + self.free.iter().map(|list| list.capacity() * size_of::<u32>()).sum::<usize>()
    }

    /// Moves the first `keep` of `len` values to a block of another class.
    fn relocate(&mut self, start: u32, len: u32, keep: u32, to: usize) -> u32 {
        let new = self.alloc(to);
        self.items.copy_within(start as usize..(start + keep) as usize, new as usize);
        self.release(start, len);
        new
    }

    #[expect(clippy::cast_possible_truncation, reason = "less than 18 places for each of `MAX_VALUES`")]
    fn alloc(&mut self, class: usize) -> u32 {
        let size = CLASSES[class] as usize;
        self.live += size;
        if let Some(start) = self.free[class].pop() {
            return start;
        }
        let start = self.items.len();
        self.items.resize(start + size, T::default());
        start as u32
    }
}

#[cfg(test)]
impl<T> Blocks<T> {
    pub(super) fn live(&self) -> usize {
        self.live
    }

    /// Size of the block that a run of `len` values occupies.
    pub(super) fn block_len(len: u32) -> usize {
        if len == 0 { 0 } else { CLASSES[class(len)] as usize }
    }
}

/// Index of the smallest class that holds `len` values.
const fn class(len: u32) -> usize {
    const OF: [u8; 65] = {
        let mut of = [0_u8; 65];
        let mut len = 0_usize;
        let mut class = 0_u8;
        while len < of.len() {
            if len > CLASSES[class as usize] as usize {
                class += 1;
            }
            of[len] = class;
            len += 1;
        }
        of
    };
    OF[len as usize] as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_class_holds_its_lengths() {
        for len in 1..=64 {
            assert!(CLASSES[class(len)] >= len);
            assert!(class(len) == 0 || CLASSES[class(len) - 1] < len);
            assert!(len * 3 >= CLASSES[class(len)] * 2, "two thirds full");
        }
    }

    #[test]
    fn a_run_keeps_its_order_through_growth_and_shrinkage() {
        let mut blocks = Blocks::<u32>::default();
        let mut start = 0;
        for len in 0..64 {
            start = blocks.insert(start, len, len / 2, len);
        }
        let mut model = Vec::new();
        for value in 0..64_u32 {
            model.insert(value as usize / 2, value);
        }
        for len in (1..=64).rev() {
            let run: Vec<u32> = (start..start + len).map(|at| *blocks.get(at).unwrap()).collect();
            assert_eq!(run, model);
            start = blocks.remove(start, len, len / 3);
            model.remove(len as usize / 3);
        }
        assert_eq!(blocks.live, 0);
    }

    #[test]
    fn released_blocks_are_used_again() {
        let mut blocks = Blocks::<u32>::default();
        for _ in 0..1000 {
            let start = blocks.insert(0, 0, 0, 7);
            let start = blocks.insert(start, 1, 1, 8);
            blocks.release(start, 2);
        }
        assert_eq!(blocks.items.len(), 3);
    }
}
