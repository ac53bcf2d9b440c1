//! What the debugger lends a board that has too little of its own: semihosting, ARM IHI 0100. A product has none of this,
//! and stops at the first instruction here if no debugger is attached.
#![expect(unsafe_code, reason = "asks the debugger, by a breakpoint")]

use core::arch::asm;

const OPEN: usize = 0x01;
const READ: usize = 0x06;
const TIME: usize = 0x11;
const COMMAND_LINE: usize = 0x15;
const EXIT_EXTENDED: usize = 0x20;
const APPLICATION_EXIT: usize = 0x2_0026;

/// Opens a file of the debugger's machine for reading, in binary; `name` ends with a zero.
pub(crate) fn open(name: &'static core::ffi::CStr) -> Option<usize> {
    let name = name.to_bytes();
    let handle = call(OPEN, &mut [name.as_ptr().expose_provenance(), 1, name.len()]);
    (handle != usize::MAX).then_some(handle)
}

/// Fills `bytes` from a file; tells whether that many were there.
pub(crate) fn read(handle: usize, bytes: &mut [u8]) -> bool {
    call(READ, &mut [handle, bytes.as_mut_ptr().expose_provenance(), bytes.len()]) == 0
}

/// The seconds since 1970.
pub(crate) fn seconds() -> u32 {
    u32::try_from(call(TIME, &mut [])).unwrap_or(u32::MAX)
}

/// The command line of the program; nothing if it does not fit.
pub(crate) fn command_line(buffer: &mut [u8]) -> &str {
    let mut block = [buffer.as_mut_ptr().expose_provenance(), buffer.len()];
    if call(COMMAND_LINE, &mut block) != 0 {
        return "";
    }
    buffer.get(..block[1]).and_then(|line| core::str::from_utf8(line).ok()).unwrap_or("")
}

/// Ends the emulation.
pub(crate) fn exit(status: u32) -> ! {
    loop {
        call(EXIT_EXTENDED, &mut [APPLICATION_EXIT, status as usize]);
    }
}

/// Hands a request and its block to the debugger, which may write to the block and to what it points at.
fn call(request: usize, block: &mut [usize]) -> usize {
    let mut result = request;
    // SAFETY: the debugger changes r0, and memory that the block names: the callers above name only their own buffers,
    // with their true lengths. That it may is said by the absence of `nomem`.
    unsafe {
        asm!("bkpt 0xab", inout("r0") result, in("r1") block.as_mut_ptr(), options(nostack));
    }
    result
}
