//! The two clocks of the gateway: boot time for timers, real time for handshake timestamps.
//!
//! `CLOCK_BOOTTIME` also counts suspended time, so that keys and sessions age while the machine sleeps (C62).

use rustix::time::{ClockId, clock_gettime};
use wg_proto::{Instant, UnixTime};

const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// Reads the monotonic clock that counts suspended time.
#[must_use]
pub fn now() -> Instant {
    let time = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
    Instant::from_nanos(seconds.saturating_mul(NANOS_PER_SECOND).saturating_add(nanos))
}

/// Reads the wall clock; times before 1970 read as 1970.
#[must_use]
pub fn wall() -> UnixTime {
    let time = clock_gettime(ClockId::Realtime);
    let nanos = u32::try_from(time.tv_nsec).unwrap_or(0);
    u64::try_from(time.tv_sec).map_or_else(|_| UnixTime::new(0, 0), |seconds| UnixTime::new(seconds, nanos))
}

#[cfg(test)]
mod tests {
    use std::time::{SystemTime, UNIX_EPOCH};

    use super::*;

    #[test]
    fn boot_time_agrees_with_the_uptime_file() {
        let uptime = || -> f64 {
            let text = std::fs::read_to_string("/proc/uptime").unwrap();
            text.split_whitespace().next().unwrap().parse().unwrap()
        };
        let (before, read, after) = (uptime(), now(), uptime());
        #[expect(clippy::cast_precision_loss, reason = "compared with a file that shows hundredths")]
        let read = read.as_nanos() as f64 / 1e9;
        assert!(before - 0.01 <= read && read <= after + 0.01, "{before} {read} {after}");
    }

    #[test]
    fn wall_time_lies_between_two_readings_of_std() {
        let std_now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let (before, read, after) = (std_now(), wall(), std_now());
        let read = core::time::Duration::new(read.secs(), read.nanos());
        assert!(before <= read && read <= after);
    }
}
