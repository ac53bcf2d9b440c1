//! The serial line: a UART of ARM's CMSDK (DDI 0479, section 4.3), with the receiver on an interrupt.
//!
//! ```text
//!   device --> received (interrupt) --> ring of 2 KiB --> read (main loop)
//!   device <------------------------- waits its turn <-- write (main loop)
//! ```
//!
//! A handshake keeps the main loop for some 100 ms, in which 115,200 baud bring 1.2 KiB. When the ring is full the
//! interrupt is switched off until there is room: an emulator holds its bytes back then, a line loses them, and with each a
//! datagram, which is what the network does too.
#![expect(unsafe_code, reason = "names registers, and orders accesses to them")]

use core::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

use super::register::Register;

const BASE: usize = 0x4000_4000;
// SAFETY: the first UART of the board, ARM DAI 0386, section 3.
const DATA: Register = unsafe { Register::at(BASE) };
// SAFETY: as above.
const STATE: Register = unsafe { Register::at(BASE + 4) };
// SAFETY: as above.
const CONTROL: Register = unsafe { Register::at(BASE + 8) };
// SAFETY: as above.
const INTERRUPT: Register = unsafe { Register::at(BASE + 12) };
// SAFETY: as above.
const DIVIDER: Register = unsafe { Register::at(BASE + 16) };
// SAFETY: interrupts 0 to 31 of the interrupt controller, ARM DDI 0403, section B3.4.
const ENABLE: Register = unsafe { Register::at(0xe000_e100) };
// SAFETY: as above.
const DISABLE: Register = unsafe { Register::at(0xe000_e180) };

const TRANSMIT_FULL: u32 = 1;
const RECEIVE_FULL: u32 = 2;
const RECEIVED: u32 = 2;
/// Transmitter, receiver, and the receiver's interrupt, which is number 0 of the board.
const ON: u32 = 0b1011;
const LINE: u32 = 1;

const HERTZ: u32 = 25_000_000;
const BAUD: u32 = 115_200;

const RING: usize = 2048;
static BYTES: [AtomicU8; RING] = [const { AtomicU8::new(0) }; RING];
/// How many bytes came in, modulo 2^32. Written by the interrupt, after the byte (release); read by the main loop (acquire).
static WRITTEN: AtomicUsize = AtomicUsize::new(0);
/// How many were taken out. Written by the main loop, after the byte was read (release); read by the interrupt (acquire).
static TAKEN: AtomicUsize = AtomicUsize::new(0);

pub(crate) fn start() {
    DIVIDER.write(HERTZ / BAUD);
    CONTROL.write(ON);
    ENABLE.write(LINE);
}

/// The interrupt of the receiver: takes what is there while there is room.
pub(crate) extern "C" fn received() {
    INTERRUPT.write(RECEIVED);
    while STATE.read() & RECEIVE_FULL != 0 {
        let written = WRITTEN.load(Ordering::Relaxed);
        if written.wrapping_sub(TAKEN.load(Ordering::Acquire)) >= RING {
            DISABLE.write(LINE);
            return;
        }
        if let Some(place) = BYTES.get(written % RING) {
            place.store(DATA.read() as u8, Ordering::Relaxed);
        }
        WRITTEN.store(written.wrapping_add(1), Ordering::Release);
    }
}

/// Takes the next byte that came.
pub(crate) fn read() -> Option<u8> {
    if is_empty() {
        return None;
    }
    let taken = TAKEN.load(Ordering::Relaxed);
    let byte = BYTES.get(taken % RING)?.load(Ordering::Relaxed);
    TAKEN.store(taken.wrapping_add(1), Ordering::Release);
    if is_empty() && STATE.read() & RECEIVE_FULL != 0 {
        // There is room again; the byte that waits comes by software, as its interrupt may be gone. Not while the interrupt
        // may come too: both write to the ring.
        DISABLE.write(LINE);
        barrier();
        received();
        ENABLE.write(LINE);
    }
    Some(byte)
}

/// Waits until what was written to the interrupt controller holds (ARM DDI 0403, section B3.4: DSB, then ISB).
fn barrier() {
    // SAFETY: orders what comes before and after, and changes nothing.
    unsafe { core::arch::asm!("dsb", "isb", options(nostack, preserves_flags)) };
}

fn is_empty() -> bool {
    WRITTEN.load(Ordering::Acquire) == TAKEN.load(Ordering::Relaxed)
}

/// Sends a byte, when the device has room for it.
pub(crate) fn write(byte: u8) {
    while STATE.read() & TRANSMIT_FULL != 0 {}
    DATA.write(byte.into());
}
