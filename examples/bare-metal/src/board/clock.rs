//! Both clocks: milliseconds from the system timer of the processor, and the time of day from the debugger.
#![expect(unsafe_code, reason = "names registers, and waits for an interrupt")]

use core::sync::atomic::{AtomicU32, Ordering};
use core::time::Duration;

use wg_bare_metal::Now;
use wg_proto::{Instant, UnixTime};

use super::host;
use super::register::Register;

/// What the processor of this board runs at.
const HERTZ: u32 = 25_000_000;

// SAFETY: the system timer of every Cortex-M, ARM DDI 0403, section B3.3.
const CONTROL: Register = unsafe { Register::at(0xe000_e010) };
// SAFETY: as above.
const RELOAD: Register = unsafe { Register::at(0xe000_e014) };
// SAFETY: as above.
const CURRENT: Register = unsafe { Register::at(0xe000_e018) };

/// Milliseconds since the start, modulo 2^32. Written by the interrupt alone, read by the clock alone: nothing else is
/// ordered by it.
static TICKS: AtomicU32 = AtomicU32::new(0);

/// The interrupt of the system timer.
pub(crate) extern "C" fn tick() {
    TICKS.fetch_add(1, Ordering::Relaxed);
}

/// The clock. It must be read once in 49 days.
pub(crate) struct Clock {
    millis: u64,
    ahead: Duration,
}

impl Clock {
    /// Starts the system timer, which is on a processor that sleeps, but not on one whose clocks are off: a board that
    /// goes that far takes a timer that does not, or adds what it has slept.
    pub(crate) fn start() -> Self {
        RELOAD.write(HERTZ / 1000 - 1);
        CURRENT.write(0);
        // The processor's own clock, with interrupt.
        CONTROL.write(0b111);
        Self { millis: 0, ahead: Duration::ZERO }
    }

    pub(crate) fn now(&mut self) -> Now {
        let passed = TICKS.load(Ordering::Relaxed).wrapping_sub(self.millis as u32);
        self.millis = self.millis.saturating_add(passed.into());
        Now {
            monotonic: Instant::from_nanos(self.millis.saturating_mul(1_000_000)).saturating_add(self.ahead),
            wall: UnixTime::new(u64::from(host::seconds()).saturating_add(self.ahead.as_secs()), 0),
        }
    }

    /// Lets time pass at once, as if the board had slept.
    pub(crate) fn advance(&mut self, by: Duration) {
        self.ahead = self.ahead.saturating_add(by);
    }

    /// Sleeps until an interrupt: of this clock, or of a byte.
    pub(crate) fn sleep(&self) {
        // SAFETY: the instruction waits, and changes nothing.
        unsafe { core::arch::asm!("wfi", options(nomem, nostack, preserves_flags)) }
    }
}
