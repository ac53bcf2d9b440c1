//! Readiness: an epoll set with tokens, and an alarm that also counts suspended time.
//!
//! Level-triggered throughout: a loop with a budget stops before a socket is drained and must be told again. Ask for
//! writability only while a send would block, or the loop spins.
//!
//! Deadlines go to an alarm rather than to the time-out of the wait, see `alarm`. It is moved only when the next deadline is
//! earlier than the one it is set for, so most waits make no extra system call.

use core::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;
use wg_proto::Instant;

use crate::alarm::Alarm;
use crate::{Error, clock};

/// The alarm's mark in the epoll set, out of reach of a [`Token`].
const ALARM: u64 = u64::MAX;

/// Names a descriptor in the events of a [`Poller`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(u32);

impl Token {
    /// Makes a token; several descriptors may share one.
    #[must_use]
    pub const fn new(value: u32) -> Self {
        Self(value)
    }

    /// Returns the value it was made from.
    #[must_use]
    pub const fn value(self) -> u32 {
        self.0
    }
}

/// What to be told about a descriptor. Errors and hang-ups are always told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// Nothing else.
    Errors,
    /// That it can be read.
    Readable,
    /// That it can be written.
    Writable,
    /// Either.
    ReadableOrWritable,
}

impl Interest {
    const fn flags(self) -> epoll::EventFlags {
        match self {
            Self::Errors => epoll::EventFlags::empty(),
            Self::Readable => epoll::EventFlags::IN,
            Self::Writable => epoll::EventFlags::OUT,
            Self::ReadableOrWritable => epoll::EventFlags::IN.union(epoll::EventFlags::OUT),
        }
    }
}

/// One ready descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// The token it was added with.
    pub token: Token,
    /// Reading makes progress: there is data, an end, or an error to be had.
    pub readable: bool,
    /// Writing makes progress.
    pub writable: bool,
    /// The other end is gone or the descriptor is in error; a TUN whose interface was removed says so here.
    pub closed: bool,
}

/// Room for the events of one wait. Made once, reused.
pub struct Events {
    ready: Vec<epoll::Event>,
}

impl Events {
    /// Makes room for `capacity` events (at least one); further ready descriptors are told by the next wait.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        Self { ready: Vec::with_capacity(capacity.max(1)) }
    }

    /// Returns the events of the last wait.
    pub fn iter(&self) -> impl Iterator<Item = Event> + '_ {
        self.ready.iter().filter_map(|event| {
            let (flags, mark) = (event.flags, event.data.u64());
            let token = Token(u32::try_from(mark).ok()?);
            let closed = flags.intersects(epoll::EventFlags::ERR | epoll::EventFlags::HUP);
            Some(Event {
                token,
                readable: closed || flags.intersects(epoll::EventFlags::IN | epoll::EventFlags::RDHUP),
                writable: flags.intersects(epoll::EventFlags::OUT),
                closed,
            })
        })
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// An epoll set.
///
/// # Examples
///
/// ```
/// use wg_sys_linux::{Events, Interest, Poller, Token, Waker};
///
/// let bell = Waker::new()?;
/// let mut poller = Poller::new()?;
/// poller.add(&bell, Token::new(7), Interest::Readable)?;
///
/// bell.wake();
/// let mut events = Events::with_capacity(16);
/// poller.wait(&mut events, None)?;
/// assert_eq!(events.iter().next().map(|event| event.token), Some(Token::new(7)));
/// # Ok::<(), wg_sys_linux::Error>(())
/// ```
#[derive(Debug)]
pub struct Poller {
    epoll: OwnedFd,
    alarm: Alarm,
    /// What the alarm is set for; it may have rung since.
    alarm_at: Option<Instant>,
}

impl Poller {
    /// Makes an empty set.
    ///
    /// # Errors
    ///
    /// The process is out of descriptors.
    pub fn new() -> Result<Self, Error> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(Error::during("make an epoll set"))?;
        let alarm = Alarm::new()?;
        epoll::add(&epoll, &alarm, epoll::EventData::new_u64(ALARM), epoll::EventFlags::IN)
            .map_err(Error::during("poll a timer"))?;
        Ok(Self { epoll, alarm, alarm_at: None })
    }

    /// Adds a descriptor. It leaves the set when it and all its duplicates are closed.
    ///
    /// # Errors
    ///
    /// It is in the set already (EEXIST), or cannot be polled (EPERM).
    pub fn add(&self, fd: impl AsFd, token: Token, interest: Interest) -> Result<(), Error> {
        epoll::add(&self.epoll, fd, data(token), interest.flags()).map_err(Error::during("poll a descriptor"))
    }

    /// Changes what is told about a descriptor in the set.
    ///
    /// # Errors
    ///
    /// It is not in the set (ENOENT).
    pub fn modify(&self, fd: impl AsFd, token: Token, interest: Interest) -> Result<(), Error> {
        epoll::modify(&self.epoll, fd, data(token), interest.flags())
            .map_err(Error::during("change the interest in a descriptor"))
    }

    /// Removes a descriptor.
    ///
    /// # Errors
    ///
    /// It is not in the set (ENOENT).
    pub fn remove(&self, fd: impl AsFd) -> Result<(), Error> {
        epoll::delete(&self.epoll, fd).map_err(Error::during("stop polling a descriptor"))
    }

    /// Waits until a descriptor is ready or `deadline` has come; `None` waits without limit.
    ///
    /// It may return earlier with no event, after a signal or an alarm set for an earlier deadline: the caller reads
    /// the clock and waits again.
    ///
    /// # Errors
    ///
    /// The set is unusable; a signal is not an error.
    pub fn wait(&mut self, events: &mut Events, deadline: Option<Instant>) -> Result<(), Error> {
        let poll_once = Timespec::default();
        let timeout = match deadline {
            Some(deadline) if deadline <= clock::now() => Some(&poll_once),
            Some(deadline) => {
                self.set_alarm(deadline)?;
                None
            }
            None => None,
        };
        events.ready.clear();
        match epoll::wait(&self.epoll, spare_capacity(&mut events.ready), timeout) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(Error::new("wait for events", error)),
        }
        if events.ready.iter().any(|event| event.data.u64() == ALARM) {
            self.alarm.clear();
            self.alarm_at = None;
        }
        Ok(())
    }

    /// Sees to it that the alarm rings no later than `deadline`.
    fn set_alarm(&mut self, deadline: Instant) -> Result<(), Error> {
        if self.alarm_at.is_some_and(|at| at <= deadline) {
            return Ok(());
        }
        self.alarm.set(deadline)?;
        self.alarm_at = Some(deadline);
        Ok(())
    }
}

/// The set itself, to be polled: it is readable while anything in it is ready.
impl AsFd for Poller {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}

fn data(token: Token) -> epoll::EventData {
    epoll::EventData::new_u64(u64::from(token.0))
}

#[cfg(test)]
mod tests {
    use core::time::Duration;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::Waker;

    fn soon(millis: u64) -> Instant {
        clock::now().saturating_add(Duration::from_millis(millis))
    }

    fn tokens(events: &Events) -> Vec<u32> {
        let mut tokens: Vec<_> = events.iter().map(|event| event.token.value()).collect();
        tokens.sort_unstable();
        tokens
    }

    #[test]
    fn wait_never_ends_before_its_deadline_when_nothing_happens() {
        let mut poller = Poller::new().unwrap();
        let mut events = Events::with_capacity(4);
        for millis in [0, 1, 7] {
            let deadline = soon(millis);
            poller.wait(&mut events, Some(deadline)).unwrap();
            assert!(clock::now() >= deadline);
            assert_eq!(events.iter().count(), 0, "the alarm is not an event of the caller");
        }
    }

    #[test]
    fn later_deadline_keeps_the_alarm_and_an_earlier_one_moves_it() {
        let mut poller = Poller::new().unwrap();
        let (early, late) = (soon(60_000), soon(120_000));
        poller.set_alarm(late).unwrap();
        poller.set_alarm(early).unwrap();
        assert_eq!(poller.alarm_at, Some(early));
        poller.set_alarm(late).unwrap();
        assert_eq!(poller.alarm_at, Some(early));
    }

    #[test]
    fn deadlines_at_both_ends_of_time_are_taken() {
        let bell = Waker::new().unwrap();
        let mut poller = Poller::new().unwrap();
        poller.add(&bell, Token::new(1), Interest::Readable).unwrap();
        bell.wake();
        let mut events = Events::with_capacity(4);
        poller.wait(&mut events, Some(Instant::from_nanos(0))).unwrap();
        assert_eq!(tokens(&events), [1]);
        poller.wait(&mut events, Some(Instant::from_nanos(u64::MAX))).unwrap();
        assert_eq!(tokens(&events), [1]);
    }

    #[test]
    fn readiness_is_told_until_it_is_used_up() {
        let (first, second) = (Waker::new().unwrap(), Waker::new().unwrap());
        let mut poller = Poller::new().unwrap();
        let mut events = Events::with_capacity(4);
        poller.add(&first, Token::new(1), Interest::Readable).unwrap();
        poller.add(&second, Token::new(2), Interest::Readable).unwrap();
        first.wake();
        second.wake();
        for _ in 0..2 {
            poller.wait(&mut events, None).unwrap();
            assert_eq!(tokens(&events), [1, 2]);
        }
        first.clear();
        poller.wait(&mut events, None).unwrap();
        assert_eq!(tokens(&events), [2]);
        poller.remove(&second).unwrap();
        poller.wait(&mut events, Some(soon(0))).unwrap();
        assert_eq!(tokens(&events), [0_u32; 0]);
    }

    #[test]
    fn what_is_told_is_what_was_asked_for_and_errors() {
        let (here, mut there) = UnixStream::pair().unwrap();
        let mut poller = Poller::new().unwrap();
        let mut events = Events::with_capacity(4);
        poller.add(&here, Token::new(3), Interest::Errors).unwrap();
        there.write_all(b"x").unwrap();
        poller.wait(&mut events, Some(soon(0))).unwrap();
        assert_eq!(events.iter().count(), 0);
        (&here).read_exact(&mut [0]).unwrap();
        poller.modify(&here, Token::new(3), Interest::Readable).unwrap();
        poller.wait(&mut events, Some(soon(0))).unwrap();
        assert_eq!(events.iter().count(), 0);
        poller.modify(&here, Token::new(3), Interest::ReadableOrWritable).unwrap();
        poller.wait(&mut events, None).unwrap();
        let event = events.iter().next().unwrap();
        assert!(event.writable && !event.readable && !event.closed);
        drop(there);
        for interest in [Interest::Readable, Interest::Errors] {
            poller.modify(&here, Token::new(3), interest).unwrap();
            poller.wait(&mut events, None).unwrap();
            let event = events.iter().next().unwrap();
            assert!(event.readable && event.closed && !event.writable);
        }
    }
}
