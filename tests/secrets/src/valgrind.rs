//! What this program tells the valgrind it runs under: which bytes are secret, and which are not any more.
//!
//! A client request is a sequence of instructions that does nothing on a processor and that valgrind knows (its manual,
//! "The Client Request mechanism"). Only for x86-64, which is where these checks run.

#![expect(unsafe_code, reason = "a client request is a sequence of instructions")]

use core::arch::asm;

const RUNNING_ON_VALGRIND: usize = 0x1001;
/// Requests of memcheck begin with its letters.
const MEMCHECK: usize = (b'M' as usize) << 24 | (b'C' as usize) << 16;
const MAKE_MEM_UNDEFINED: usize = MEMCHECK + 1;
const MAKE_MEM_DEFINED: usize = MEMCHECK + 2;

/// Whether valgrind runs this program.
#[must_use]
pub fn is_running() -> bool {
    request([RUNNING_ON_VALGRIND, 0, 0, 0, 0, 0]) != 0
}

/// Marks bytes as secret: whatever is computed of them is, and memcheck complains of each branch and address that depends
/// on it.
pub fn make_secret(bytes: &[u8]) {
    request([MAKE_MEM_UNDEFINED, bytes.as_ptr().addr(), bytes.len(), 0, 0, 0]);
}

/// Marks bytes as known to everyone.
pub fn make_public(bytes: &[u8]) {
    request([MAKE_MEM_DEFINED, bytes.as_ptr().addr(), bytes.len(), 0, 0, 0]);
}

/// Makes a request; 0 is the answer of a processor.
fn request(arguments: [usize; 6]) -> usize {
    let mut answer = 0_usize;
    // SAFETY: four rotations by 128 in all leave `rdi` as it was, and to exchange a register with itself changes nothing;
    // valgrind reads the six words that `rax` points to and writes `rdx`. The memory named in them is only marked.
    unsafe {
        asm!(
            "rol rdi, 3",
            "rol rdi, 13",
            "rol rdi, 61",
            "rol rdi, 51",
            "xchg rbx, rbx",
            in("rax") arguments.as_ptr(),
            inout("rdx") answer,
            options(nostack),
        );
    }
    answer
}
