//! The clocks of a host: a monotonic one and a wall clock, each of which steps, stands still and loses time on its own.

use core::time::Duration;

use wg_datapath::Now;
use wg_proto::{Instant, UnixTime};

/// The virtual time since the run began, in nanoseconds. Hosts do not see it; they see their clocks.
pub type Time = u64;

/// One second of virtual time.
pub const SECOND: Time = 1_000_000_000;

/// One millisecond of virtual time.
pub const MILLISECOND: Time = 1_000_000;

/// One clock: how far it is ahead of the virtual time, or where it stands still.
#[derive(Clone, Copy, Debug)]
struct Hand {
    offset: i128,
    stands_at: Option<i128>,
}

impl Hand {
    fn read(self, time: Time) -> i128 {
        self.stands_at.unwrap_or_else(|| i128::from(time) + self.offset)
    }

    fn step(&mut self, nanos: i128) {
        match &mut self.stands_at {
            Some(at) => *at += nanos,
            None => self.offset += nanos,
        }
    }

    fn stop(&mut self, stop: bool, time: Time) {
        match (self.stands_at, stop) {
            (None, true) => self.stands_at = Some(self.read(time)),
            (Some(at), false) => *self = Self { offset: at - i128::from(time), stands_at: None },
            _ => {}
        }
    }
}

/// Which of the clocks of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhichClock {
    /// The one that timers go by.
    Monotonic,
    /// The one that stamps of initiations go by.
    Wall,
}

/// Both clocks of a host.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    monotonic: Hand,
    wall: Hand,
    /// Both as they were made.
    right: (i128, i128),
}

impl Clock {
    /// Makes the clocks of a host, right and running; no two hosts have the same.
    #[must_use]
    pub fn new(host: u8) -> Self {
        let monotonic = (1 + i128::from(host)) * 1_000_000_000_000_000;
        let wall = 1_700_000_000_000_000_000 + i128::from(host) * 77_000_000_000;
        let hand = |offset| Hand { offset, stands_at: None };
        Self { monotonic: hand(monotonic), wall: hand(wall), right: (monotonic, wall) }
    }

    /// Reads both.
    #[must_use]
    pub fn now(&self, time: Time) -> Now {
        let wall = u128::try_from(self.wall.read(time)).unwrap_or(0);
        let secs = u64::try_from(wall / 1_000_000_000).unwrap_or(u64::MAX);
        let nanos = u32::try_from(wall % 1_000_000_000).unwrap_or(0);
        Now { instant: self.instant(time), wall: UnixTime::new(secs, nanos) }
    }

    /// Reads the monotonic clock.
    #[must_use]
    pub fn instant(&self, time: Time) -> Instant {
        let nanos = self.monotonic.read(time).clamp(0, i128::from(u64::MAX));
        Instant::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// Returns the virtual time at which the monotonic clock will show `instant`, if it runs and gets there.
    #[must_use]
    pub fn time_of(&self, instant: Instant) -> Option<Time> {
        if let Some(at) = self.monotonic.stands_at {
            return (at >= i128::from(instant.as_nanos())).then_some(0);
        }
        let time = i128::from(instant.as_nanos()) - self.monotonic.offset;
        u64::try_from(time.max(0)).ok()
    }

    /// Lets a clock jump, ahead or back.
    pub fn step(&mut self, which: WhichClock, seconds: i64) {
        self.hand(which).step(i128::from(seconds) * i128::from(SECOND));
    }

    /// Lets a clock stand still, or run on from where it stands.
    pub fn stop(&mut self, which: WhichClock, stop: bool, time: Time) {
        self.hand(which).stop(stop, time);
    }

    /// Lets the monotonic clock forget a time, as one that does not count suspend does.
    pub fn lose(&mut self, time: Duration) {
        self.monotonic.step(-i128::try_from(time.as_nanos()).unwrap_or(0));
    }

    /// Puts both clocks right.
    pub fn correct(&mut self) {
        let hand = |offset| Hand { offset, stands_at: None };
        (self.monotonic, self.wall) = (hand(self.right.0), hand(self.right.1));
    }

    const fn hand(&mut self, which: WhichClock) -> &mut Hand {
        match which {
            WhichClock::Monotonic => &mut self.monotonic,
            WhichClock::Wall => &mut self.wall,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_step_and_stand_independently() {
        let mut clock = Clock::new(0);
        let before = clock.now(5 * SECOND);
        clock.step(WhichClock::Wall, -3600);
        let after = clock.now(5 * SECOND);
        assert_eq!(before.instant, after.instant);
        assert_eq!(before.wall.secs() - after.wall.secs(), 3600);
        clock.stop(WhichClock::Monotonic, true, 6 * SECOND);
        let later = clock.now(60 * SECOND);
        assert_eq!(later.instant, clock.instant(6 * SECOND));
        assert_eq!(later.wall.secs() - after.wall.secs(), 55);
        let next = later.instant.saturating_add(Duration::from_nanos(1));
        assert_eq!((clock.time_of(next), clock.time_of(later.instant)), (None, Some(0)));
        clock.stop(WhichClock::Monotonic, false, 60 * SECOND);
        assert_eq!(clock.time_of(clock.instant(61 * SECOND)), Some(61 * SECOND));
        clock.correct();
        assert_eq!(clock.now(5 * SECOND), before);
    }

    #[test]
    fn clock_stays_in_its_range() {
        let mut clock = Clock::new(0);
        clock.step(WhichClock::Monotonic, -1_000_000_000);
        clock.step(WhichClock::Wall, -2_000_000_000);
        assert_eq!(clock.now(0), Now { instant: Instant::from_nanos(0), wall: UnixTime::new(0, 0) });
    }
}
