//! Points in time: a monotonic [`Instant`] for timers, a wall-clock [`UnixTime`] for TAI64N, and [`Tai64n`] itself.
//!
//! Nothing here reads a clock; the caller passes both. All arithmetic saturates, so a clock that jumps, in
//! either direction, freezes or fires timers but never panics.

use core::time::Duration;

/// A point on a monotonic clock that also counts suspended time (`CLOCK_BOOTTIME` on Linux).
///
/// The origin is the caller's; only differences matter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(u64);

impl Instant {
    /// Makes an instant from nanoseconds since the caller's origin.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Returns the nanoseconds since the caller's origin.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Returns the instant `by` later, or the end of time.
    #[must_use]
    pub const fn saturating_add(self, by: Duration) -> Self {
        Self(self.0.saturating_add(nanos_of(by)))
    }

    /// Returns the time from `earlier` to `self`, or zero if the clock went backwards between them.
    #[must_use]
    pub const fn saturating_duration_since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// Returns how far apart two instants are, whichever is the earlier.
    ///
    /// What happened long ago and what is said to have happened far ahead, by a clock that has gone back since, are both
    /// not recent. Who asks "how long ago" alone is told "just now" of the latter, until the clock has caught up (C132).
    #[must_use]
    pub const fn abs_diff(self, other: Self) -> Duration {
        Duration::from_nanos(self.0.abs_diff(other.0))
    }
}

/// `Duration` in nanoseconds, clamped to 64 bits (584 years).
const fn nanos_of(duration: Duration) -> u64 {
    let nanos = duration.as_nanos();
    if nanos > u64::MAX as u128 {
        u64::MAX
    } else {
        #[expect(clippy::cast_possible_truncation, reason = "compared with the maximum just above")]
        let nanos = nanos as u64;
        nanos
    }
}

/// A point on the wall clock: seconds and nanoseconds since 1970-01-01 UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixTime {
    secs: u64,
    nanos: u32,
}

impl UnixTime {
    /// Makes a wall-clock time; nanoseconds of a second or more are clamped to 999,999,999.
    #[must_use]
    pub const fn new(secs: u64, nanos: u32) -> Self {
        Self { secs, nanos: if nanos > 999_999_999 { 999_999_999 } else { nanos } }
    }

    /// Returns the whole seconds.
    #[must_use]
    pub const fn secs(self) -> u64 {
        self.secs
    }

    /// Returns the nanoseconds within the second, below 10^9.
    #[must_use]
    pub const fn nanos(self) -> u32 {
        self.nanos
    }
}

/// The TAI64 label of 1970-01-01 UTC: 2^62 plus the ten seconds TAI was ahead.
const TAI64_EPOCH: u64 = 0x4000_0000_0000_000a;

/// Nanoseconds are rounded down to a multiple of this: the largest power of two within 1/50 s (2^24 = 16.8 ms).
const WHITENING: u32 = 1 << 24;

/// A TAI64N timestamp, whitened so that it does not tell the sender's exact clock.
///
/// The order is that of the 12 bytes, big-endian: the order a responder compares in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tai64n([u8; 12]);

impl Tai64n {
    /// Takes 12 bytes from the wire; no format is checked, as only the order matters.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 12]) -> Self {
        Self(bytes)
    }

    /// Returns the 12 bytes for the wire.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 12] {
        &self.0
    }

    /// Labels a wall-clock time, its nanoseconds rounded down to a multiple of 2^24.
    #[must_use]
    pub fn from_unix(time: UnixTime) -> Self {
        Self::from_parts(TAI64_EPOCH.saturating_add(time.secs()), time.nanos() & !(WHITENING - 1))
    }

    /// Returns the next whitened stamp: one tick of 2^24 ns later, carried into the seconds.
    ///
    /// A sender whose clock stood still or stepped back uses it to stay monotone.
    #[must_use]
    pub fn next(self) -> Self {
        let [s0, s1, s2, s3, s4, s5, s6, s7, n0, n1, n2, n3] = self.0;
        let seconds = u64::from_be_bytes([s0, s1, s2, s3, s4, s5, s6, s7]);
        let nanos = (u32::from_be_bytes([n0, n1, n2, n3]) & !(WHITENING - 1)).saturating_add(WHITENING);
        if nanos >= 1_000_000_000 {
            Self::from_parts(seconds.saturating_add(1), 0)
        } else {
            Self::from_parts(seconds, nanos)
        }
    }

    fn from_parts(seconds: u64, nanos: u32) -> Self {
        let mut bytes = [0; 12];
        let (high, low) = bytes.split_at_mut(8);
        high.copy_from_slice(&seconds.to_be_bytes());
        low.copy_from_slice(&nanos.to_be_bytes());
        Self(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_of_a_known_second_matches_the_vector() {
        // C28, and the `tai64n` field of the handshake vector.
        let stamp = Tai64n::from_unix(UnixTime::new(1_700_000_000, 123_456_789));
        assert_eq!(
            stamp.as_bytes(),
            &[0x40, 0, 0, 0, 0x65, 0x53, 0xf1, 0x0a, 0x07, 0, 0, 0],
            "seconds big-endian after the label, nanoseconds whitened"
        );
    }

    #[test]
    fn nanoseconds_are_whitened_to_16_777_216() {
        // C29: the same stamp within a millisecond, a larger one after 20 ms.
        let at = |nanos| Tai64n::from_unix(UnixTime::new(5, nanos));
        assert_eq!(at(16_777_216), at(17_777_216));
        assert_eq!(at(0), at(16_777_215));
        assert!(at(16_777_215) < at(16_777_216));
        assert!(at(1_000_000) < at(21_000_000));
        assert_eq!(&at(999_999_999).as_bytes()[8..], &0x3b00_0000_u32.to_be_bytes());
    }

    #[test]
    fn next_is_larger_and_stays_a_valid_stamp() {
        let mut stamp = Tai64n::from_unix(UnixTime::new(9, 0));
        for _ in 0..200 {
            let next = stamp.next();
            assert!(next > stamp);
            let nanos = u32::from_be_bytes(next.as_bytes()[8..].try_into().unwrap());
            assert!(nanos < 1_000_000_000);
            stamp = next;
        }
        assert_eq!(Tai64n::from_bytes([0xff; 12]).next().as_bytes()[..8], [0xff; 8], "the end does not wrap");
    }

    #[test]
    fn instants_saturate_at_both_ends() {
        let start = Instant::from_nanos(3);
        assert_eq!(start.saturating_duration_since(Instant::from_nanos(9)), Duration::ZERO);
        assert_eq!(start.saturating_add(Duration::MAX).as_nanos(), u64::MAX);
        assert_eq!(UnixTime::new(1, u32::MAX).nanos(), 999_999_999);
    }
}
