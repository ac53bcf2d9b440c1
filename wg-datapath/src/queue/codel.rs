//! When a flow that keeps a standing queue is told so: CoDel (RFC 8289), by how long its frames have waited.
//!
//! Waiting longer than the target is no offence; never waiting less for a whole interval is. Then one frame signals, and the n-th
//! of an episode comes `interval / sqrt(n)` after the one before it, for the rate of a TCP goes with the inverse root of its losses.
//! In integers that is `isqrt(interval^2 / n)`: at most a nanosecond less than the real number, and computed only when there is a signal.

use core::time::Duration;

/// The first time of a flow that has not been above the target lately.
const NEVER: u64 = u64::MAX;

/// An episode that begins this many intervals after the last goes on where that had ended (RFC 8289, 5.5).
const MEMORY: u64 = 16;

/// What all flows are held to.
#[derive(Clone, Copy)]
pub(super) struct Law {
    target: u64,
    interval: u64,
}

impl Law {
    /// The interval is at most four seconds, so that its square fits 64 bits.
    pub(super) fn new(target: Duration, interval: Duration) -> Self {
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(NEVER).min(4_000_000_000);
        Self { target: nanos(target), interval: nanos(interval).max(1) }
    }

    /// How long after the signal before it the `count`-th comes.
    fn gap(&self, count: u32) -> u64 {
        (self.interval * self.interval / u64::from(count.max(1))).isqrt()
    }
}

/// What is remembered of a flow.
#[derive(Clone, Copy)]
pub(super) struct Codel {
    /// When the flow will have been above the target for an interval.
    above_from: u64,
    next_signal: u64,
    count: u32,
    /// `count` when the episode began.
    began_with: u32,
    signalling: bool,
}

impl Codel {
    pub(super) const fn new() -> Self {
        Self { above_from: NEVER, next_signal: 0, count: 0, began_with: 0, signalling: false }
    }

    /// Whether the frame that leaves at `now`, after `sojourn`, is to signal congestion. `is_last`: no more than a packet waits
    /// behind it.
    #[inline]
    pub(super) fn signals(&mut self, law: &Law, now: u64, sojourn: u64, is_last: bool) -> bool {
        if sojourn < law.target || is_last {
            self.above_from = NEVER;
            self.signalling = false;
            return false;
        }
        self.above(law, now)
    }

    #[cold]
    fn above(&mut self, law: &Law, now: u64) -> bool {
        if self.above_from == NEVER {
            self.above_from = now.saturating_add(law.interval);
        }
        if now < self.above_from {
            self.signalling = false;
            return false;
        }
        if self.signalling {
            if now < self.next_signal {
                return false;
            }
            self.count = self.count.saturating_add(1);
            self.next_signal = self.next_signal.saturating_add(law.gap(self.count));
            return true;
        }
        let signals = self.count.saturating_sub(self.began_with);
        let is_recent = now.saturating_sub(self.next_signal) < MEMORY * law.interval;
        self.signalling = true;
        self.count = if signals > 1 && is_recent { signals } else { 1 };
        self.began_with = self.count;
        self.next_signal = now.saturating_add(law.gap(self.count));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn law() -> Law {
        Law::new(Duration::from_millis(5), Duration::from_millis(100))
    }

    /// The milliseconds at which a flow signals that sends a frame every millisecond, each having waited `sojourn(ms)`.
    fn signals(
        codel: &mut Codel,
        times: core::ops::Range<u64>,
        sojourn: impl Fn(u64) -> u64,
    ) -> alloc::vec::Vec<u64> {
        times.filter(|&ms| codel.signals(&law(), ms * MS, sojourn(ms), false)).collect()
    }

    #[test]
    fn gaps_are_the_interval_by_the_root_of_the_count() {
        // 10^8 / sqrt(n), rounded down.
        let gaps = [1, 2, 3, 4, 7, 100, 1_000_000, u32::MAX].map(|count| law().gap(count));
        assert_eq!(
            gaps,
            [100_000_000, 70_710_678, 57_735_026, 50_000_000, 37_796_447, 10_000_000, 100_000, 1_525]
        );
        assert_eq!(Law::new(Duration::MAX, Duration::MAX).gap(1), 4_000_000_000);
    }

    #[test]
    fn a_standing_queue_signals_after_an_interval_and_then_ever_more_often() {
        let mut codel = Codel::new();
        // The first is above the target at 0 ms. 100, then 100 ms, 70.7, 57.7, 50, 44.7 later, at the next frame.
        assert_eq!(signals(&mut codel, 0..440, |_| 5 * MS), [100, 200, 271, 329, 379, 424]);
    }

    #[test]
    fn one_frame_below_the_target_starts_the_interval_again() {
        let mut codel = Codel::new();
        let sojourn = |ms| if ms == 99 { 5 * MS - 1 } else { 9 * MS };
        assert_eq!(signals(&mut codel, 0..250, sojourn), [200]);
    }

    #[test]
    fn the_last_frame_does_not_signal() {
        let mut codel = Codel::new();
        for ms in 0..1000 {
            assert!(!codel.signals(&law(), ms * MS, 900 * MS, true));
        }
    }

    #[test]
    fn an_episode_soon_after_another_goes_on_at_its_rate() {
        let mut codel = Codel::new();
        assert_eq!(signals(&mut codel, 0..440, |_| 5 * MS).len(), 6);
        assert_eq!(signals(&mut codel, 440..441, |_| 0), []);
        // After 6 signals, of which the first began it: 5, and 100 / sqrt(5) = 44.7 ms to the next.
        assert_eq!(signals(&mut codel, 441..590, |_| 5 * MS), [541, 586]);
        // An episode of two is no rate to go on with; nor is one that ended 1.6 s ago.
        assert_eq!(signals(&mut codel, 590..591, |_| 0), []);
        assert_eq!(signals(&mut codel, 591..800, |_| 5 * MS), [691, 791]);
        let mut codel = Codel::new();
        assert_eq!(signals(&mut codel, 0..440, |_| 5 * MS).len(), 6);
        assert_eq!(signals(&mut codel, 440..2000, |_| 0), []);
        assert_eq!(signals(&mut codel, 2000..2250, |_| 5 * MS), [2100, 2200]);
    }

    #[test]
    fn a_clock_that_stands_or_goes_back_does_no_harm() {
        let mut codel = Codel::new();
        for now in [u64::MAX, u64::MAX - 1, 0, 1, u64::MAX, 5, u64::MAX - 7] {
            codel.signals(&law(), now, u64::MAX, false);
        }
    }
}
