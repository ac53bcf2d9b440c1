//! How a thread sleeps that others wake: until its bell is rung, something it watches is ready, or a deadline has come.
//!
//! An eventfd, and no futex: the deadlines are of a clock that counts suspended time, see `alarm`. A ring is one system call,
//! whether the thread sleeps or not; who rings often keeps a mark of who sleeps.

use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use wg_proto::Instant;

use crate::alarm::Alarm;
use crate::{Error, Poller, Waker, clock};

/// Where one thread sleeps.
///
/// # Examples
///
/// ```
/// use wg_sys_linux::{Parker, Woken};
///
/// let parker = Parker::new()?;
/// let bell = parker.bell();
/// std::thread::spawn(move || bell.wake());
/// assert_eq!(parker.park(None)?, Woken::Rung);
/// # Ok::<(), wg_sys_linux::Error>(())
/// ```
#[derive(Debug)]
pub struct Parker {
    bell: Waker,
    alarm: Alarm,
    /// The set of descriptors that also wakes it.
    watched: Option<OwnedFd>,
}

/// Why a thread is awake again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Woken {
    /// Its bell was rung, once or more often, since it was last told so.
    Rung,
    /// Something in the set that it watches is ready.
    Ready,
    /// The deadline has come.
    Due,
}

impl Parker {
    /// Makes a place with a bell that was not rung.
    ///
    /// # Errors
    ///
    /// The process is out of descriptors.
    pub fn new() -> Result<Self, Error> {
        Ok(Self { bell: Waker::new()?, alarm: Alarm::new()?, watched: None })
    }

    /// What wakes the thread. Clones of it may be rung from anywhere, also before it sleeps.
    #[must_use]
    pub fn bell(&self) -> Waker {
        self.bell.clone()
    }

    /// Rings the bell.
    pub fn wake(&self) {
        self.bell.wake();
    }

    /// Watches the descriptors of a poller, those that it has and those it will have. They are for whoever has the poller to see to:
    /// while one is ready, nobody sleeps here.
    ///
    /// # Errors
    ///
    /// The process is out of descriptors.
    pub fn watch(&mut self, poller: &Poller) -> Result<(), Error> {
        let watched = poller.as_fd().try_clone_to_owned().map_err(Error::during("watch an epoll set"))?;
        self.watched = Some(watched);
        Ok(())
    }

    /// Sleeps until the bell is rung, something watched is ready, or `deadline` has come; without one, for as long as it takes.
    ///
    /// # Errors
    ///
    /// The descriptors are unusable; a signal is not an error.
    pub fn park(&self, deadline: Option<Instant>) -> Result<Woken, Error> {
        if let Some(deadline) = deadline {
            self.alarm.set(deadline)?;
        }
        loop {
            if self.bell.clear() {
                return Ok(Woken::Rung);
            }
            if deadline.is_some_and(|deadline| deadline <= clock::now()) {
                return Ok(Woken::Due);
            }
            // In place of what is not there, the bell once more.
            let watched = self.watched.as_ref().map_or_else(|| self.bell.as_fd(), AsFd::as_fd);
            let alarm = if deadline.is_some() { self.alarm.as_fd() } else { self.bell.as_fd() };
            let mut fds =
                [watched, self.bell.as_fd(), alarm].map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
            match poll(&mut fds, None) {
                Ok(_) if self.watched.is_some() && !fds[0].revents().is_empty() => {
                    return Ok(if self.bell.clear() { Woken::Rung } else { Woken::Ready });
                }
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(Error::new("wait for a bell", error)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use core::sync::atomic::{AtomicU32, Ordering};
    use core::time::Duration;
    use std::sync::Arc;
    use std::thread;

    use super::*;

    fn soon(millis: u64) -> Instant {
        clock::now().saturating_add(Duration::from_millis(millis))
    }

    #[test]
    fn deadline_ends_it_never_early_and_also_when_it_is_over_already() {
        let parker = Parker::new().unwrap();
        for deadline in [soon(3), soon(0), Instant::from_nanos(0), soon(1)] {
            assert_eq!(parker.park(Some(deadline)).unwrap(), Woken::Due);
            assert!(clock::now() >= deadline);
        }
    }

    #[test]
    fn rings_from_before_are_told_once_and_before_a_deadline() {
        let parker = Parker::new().unwrap();
        parker.bell().wake();
        parker.bell().wake();
        assert_eq!(parker.park(Some(Instant::from_nanos(0))).unwrap(), Woken::Rung);
        assert_eq!(parker.park(Some(soon(1))).unwrap(), Woken::Due);
    }

    #[test]
    fn deadline_of_another_time_does_not_end_it() {
        let parker = Parker::new().unwrap();
        let early = soon(2);
        parker.bell().wake();
        // The bell, while the alarm goes on for a deadline that nobody waits for any more.
        assert_eq!(parker.park(Some(early)).unwrap(), Woken::Rung);
        let late = soon(10);
        assert_eq!(parker.park(Some(late)).unwrap(), Woken::Due);
        assert!(clock::now() >= late);
    }

    #[test]
    fn no_ring_is_lost_between_two_threads_that_wake_each_other() {
        const ROUNDS: u32 = 2_000;
        let (here, there) = (Parker::new().unwrap(), Parker::new().unwrap());
        let (wake_here, wake_there) = (here.bell(), there.bell());
        let count = Arc::new(AtomicU32::new(0));
        let seen = count.clone();
        let other = thread::spawn(move || {
            for round in 0..ROUNDS {
                while seen.load(Ordering::Acquire) <= 2 * round {
                    assert_eq!(there.park(None).unwrap(), Woken::Rung);
                }
                seen.fetch_add(1, Ordering::Release);
                wake_here.wake();
            }
        });
        for round in 0..ROUNDS {
            count.fetch_add(1, Ordering::Release);
            wake_there.wake();
            while count.load(Ordering::Acquire) < 2 * (round + 1) {
                assert_eq!(here.park(None).unwrap(), Woken::Rung);
            }
        }
        other.join().unwrap();
    }
}
