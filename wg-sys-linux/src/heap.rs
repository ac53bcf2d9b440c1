//! How the allocator of the C library gets memory from the system.
//!
//! Memory of the system is zeros, and costs nothing before it is touched. glibc knows that of blocks that are mapped by
//! themselves. What it cuts from a heap that grew for others as well, it clears when zeros are asked for, and so touches all of it:
//! buffers for traffic would be resident before there is any.
#![expect(unsafe_code, reason = "mallopt, which no library has")]

/// Has blocks of so many bytes and more mapped by themselves, for the whole process, and tells whether the C library does that. To
/// be said before they are made, and while there is one thread.
#[cfg(target_env = "gnu")]
pub fn map_blocks_from(bytes: usize) -> bool {
    let Ok(bytes) = libc::c_int::try_from(bytes) else { return false };
    // SAFETY: two numbers, by value; the library checks them, and locks what it changes.
    unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, bytes) == 1 }
}

/// Other C libraries have rules of their own: nothing changes.
#[cfg(not(target_env = "gnu"))]
pub const fn map_blocks_from(_bytes: usize) -> bool {
    false
}

#[cfg(all(test, target_env = "gnu"))]
mod tests {
    use core::hint::black_box;
    use std::fs;

    use super::*;

    fn resident_pages() -> usize {
        let text = fs::read_to_string("/proc/self/statm").unwrap();
        text.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap()
    }

    #[test]
    fn blocks_that_nobody_touched_are_not_resident() {
        const BYTES: usize = 100_000;
        const BLOCKS: usize = 1000;
        assert!(map_blocks_from(BYTES) && !map_blocks_from(usize::MAX));
        let before = resident_pages();
        let blocks: Vec<Vec<u8>> = (0..BLOCKS).map(|_| black_box(vec![0; BYTES])).collect();
        let pages = resident_pages().saturating_sub(before);
        // One of each, which says how large it is, of the 24 that it has; other tests may take some meanwhile.
        assert!(pages < 8 * BLOCKS, "{pages}");
        drop(blocks);
    }
}
