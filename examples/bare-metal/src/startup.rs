//! From reset to the main loop: the vector table, the floating-point unit, the memory, and what happens when all goes
//! wrong.
#![expect(unsafe_code, reason = "the first instructions of a processor, and what the linker calls things")]

use core::arch::global_asm;
use core::panic::PanicInfo;

use crate::board::{clock, host, stack, uart};
use crate::firmware;

// Before there is memory that Rust may use: the statics get their values, and the stack its paint (see `stack.rs`).
global_asm!(
    ".section .text.reset, \"ax\"",
    ".global reset",
    ".type reset, %function",
    ".thumb_func",
    "reset:",
    "ldr r0, =0xe000ed88", // CPACR: the floating-point unit is off after reset
    "ldr r1, [r0]",
    "orr r1, r1, #0xf00000",
    "str r1, [r0]",
    "dsb",
    "isb",
    "ldr r0, =__data_start",
    "ldr r1, =__data_end",
    "ldr r2, =__data_load",
    "1: cmp r0, r1",
    "bhs 2f",
    "ldr r3, [r2], #4",
    "str r3, [r0], #4",
    "b 1b",
    "2: ldr r0, =__bss_start",
    "ldr r1, =__bss_end",
    "movs r2, #0",
    "3: cmp r0, r1",
    "bhs 4f",
    "str r2, [r0], #4",
    "b 3b",
    "4: ldr r0, =__stack_low",
    "mov r1, sp",
    "ldr r2, ={paint}",
    "5: cmp r0, r1",
    "bhs 6f",
    "str r2, [r0], #4",
    "b 5b",
    "6: bl {main}",
    "b .",
    ".size reset, . - reset",
    paint = const stack::PAINT,
    main = sym main,
);

unsafe extern "C" {
    fn reset();
    static __stack_top: u32;
}

/// An entry of the vector table.
#[repr(C)]
union Vector {
    stack: *const u32,
    handler: unsafe extern "C" fn(),
    reserved: usize,
}

/// Everything in the table is an address that never changes.
#[repr(transparent)]
struct Vectors([Vector; 17]);

// SAFETY: the table is in flash and nothing writes to it.
unsafe impl Sync for Vectors {}

const NONE: Vector = Vector { reserved: 0 };
const FAULT: Vector = Vector { handler: fault };

/// The system's fifteen, then the interrupts: the first is that of the receiver.
#[used]
#[unsafe(link_section = ".vectors")]
static VECTORS: Vectors = Vectors([
    Vector { stack: &raw const __stack_top },
    Vector { handler: reset },
    FAULT,
    FAULT,
    FAULT,
    FAULT,
    FAULT,
    NONE,
    NONE,
    NONE,
    NONE,
    FAULT,
    FAULT,
    NONE,
    FAULT,
    Vector { handler: clock::tick },
    Vector { handler: uart::received },
]);

extern "C" fn main() {
    host::exit(firmware::run());
}

/// A fault of the processor: nothing is left to rely on. A product resets itself here.
unsafe extern "C" fn fault() {
    host::exit(4);
}

/// There is nothing to unwind to. A product resets itself here.
#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    if let Some(location) = info.location() {
        firmware::say(format_args!("panic at {}:{}", location.file(), location.line()));
    }
    host::exit(5)
}
