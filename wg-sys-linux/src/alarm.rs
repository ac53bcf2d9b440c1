//! A descriptor that is readable from an instant on, by the clock that counts suspended time.
//!
//! The time-outs of `epoll_wait`, `poll` and of futexes stand still while the machine sleeps, so that a keepalive would come
//! late by as much, and the first is rounded to milliseconds before Linux 5.11. This is exact to the nanosecond on every
//! kernel.

use core::time::Duration;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::Timespec;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime,
};
use wg_proto::Instant;

use crate::Error;

/// A `CLOCK_BOOTTIME` timerfd.
#[derive(Debug)]
pub(crate) struct Alarm(OwnedFd);

impl Alarm {
    /// Makes one that is not set.
    pub(crate) fn new() -> Result<Self, Error> {
        timerfd_create(TimerfdClockId::Boottime, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)
            .map(Self)
            .map_err(Error::during("make a timer"))
    }

    /// Sets it to ring at `at`. It is silent until then, also if it rang before.
    pub(crate) fn set(&self, at: Instant) -> Result<(), Error> {
        // Zero would switch the timer off; the clock is past one nanosecond, so that rings at once.
        let at = Duration::from_nanos(at.as_nanos().max(1));
        let setting = Itimerspec {
            it_interval: Timespec::default(),
            it_value: Timespec::try_from(at).unwrap_or(Timespec { tv_sec: i64::MAX, tv_nsec: 0 }),
        };
        timerfd_settime(&self.0, TimerfdTimerFlags::ABSTIME, &setting)
            .map(drop)
            .map_err(Error::during("set a timer"))
    }

    /// Silences it, if it rang.
    pub(crate) fn clear(&self) {
        let mut rings = [0; 8];
        let _ = rustix::io::read(&self.0, &mut rings);
    }
}

impl AsFd for Alarm {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
