//! The system's allocator, counting by thread.
#![expect(unsafe_code, reason = "an allocator that counts")]

use core::alloc::{GlobalAlloc, Layout};
use core::cell::Cell;
use std::alloc::System;

struct Counting;

thread_local! {
    static CALLS: Cell<u64> = const { Cell::new(0) };
    static LIVE: Cell<isize> = const { Cell::new(0) };
}

/// Returns how many times this thread has allocated.
#[must_use]
pub fn calls() -> u64 {
    CALLS.get()
}

/// Returns how many bytes this thread has allocated and not given back.
#[must_use]
pub fn live() -> isize {
    LIVE.get()
}

fn count(calls: u64, bytes: usize, freed: usize) {
    CALLS.set(CALLS.get() + calls);
    LIVE.set(LIVE.get() + bytes.cast_signed() - freed.cast_signed());
}

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(1, layout.size(), 0);
        // SAFETY: the caller keeps the contract of `GlobalAlloc::alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(1, layout.size(), 0);
        // SAFETY: the caller keeps the contract of `GlobalAlloc::alloc_zeroed`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(0, 0, layout.size());
        // SAFETY: the caller keeps the contract of `GlobalAlloc::dealloc`, and the pointer came from `System`.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(1, size, layout.size());
        // SAFETY: the caller keeps the contract of `GlobalAlloc::realloc`, and the pointer came from `System`.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counter_counts() {
        let (before, held) = (calls(), live());
        let bytes = core::hint::black_box(vec![1_u8; 1000]);
        assert_eq!((calls() - before, live() - held), (1, 1000));
        drop(bytes);
        assert_eq!((calls() - before, live() - held), (1, 0));
    }
}
