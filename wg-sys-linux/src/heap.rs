//! How the allocator of the C library gets memory from the system.
//!
//! Memory of the system is zeros, and costs nothing before it is touched. glibc knows that of blocks that are mapped by
//! themselves. What it cuts from a heap that grew for others as well, it clears when zeros are asked for, and so touches all of it:
//! buffers for traffic would be resident before there is any. `tests/netns/tests/memory.rs` looks at a gateway; the threads of a test
//! have heaps of their own, which show nothing.
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
