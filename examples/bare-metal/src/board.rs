//! The board: an ARM MPS2 with a Cortex-M4, as `qemu-system-arm -M mps2-an386` emulates it, under a debugger that lends it
//! entropy, the time of day and a command line (semihosting). Another board changes these files and nothing else.

pub(crate) mod clock;
pub(crate) mod entropy;
pub(crate) mod host;
pub(crate) mod memory;
pub(crate) mod register;
pub(crate) mod stack;
pub(crate) mod uart;
