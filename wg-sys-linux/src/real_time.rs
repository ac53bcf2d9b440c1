//! Real-time priority for a thread that rests between the pieces of its work.
//!
//! The fair scheduler lets whoever it finds running go on for a while, whatever the niceness of who wakes, so a packet may
//! wait for a core for milliseconds. A real-time thread runs at once. One that never sleeps would take all of its core, so the
//! priority is lent:
//!
//! ```text
//!   real time --- slept less than a 16th of 10 ms --> fair
//!        ^------- slept a quarter of 10 ms or more ----'
//! ```
//!
//! Where packets come singly and fast, a thread that runs at once has one in hand each time, and whoever sends them is
//! interrupted by each. So it paces itself, as network cards do: when it has done all there is, it sleeps for a fifth of a
//! millisecond whatever comes, and then has a batch. As a fair thread it would have batches, too, but wait for a core for so long
//! that the queues before it overflow.
//!
//! Trains of packets that programs here send fast are moderated, too, for a shorter time: two or three of them are then worth one
//! change of threads, and those who make them run on meanwhile. More TCP passes so, and an echo beside it takes longer (`docs/experiments.md`
//! has figures). Trains from the network are taken at once: two together may overflow the socket of the program that they are for.
//!
//! ```text
//!             in 10 ms      as from            until          sleeps for
//!   at once --- single ---> 250 pieces ------> 150 ---------> 200 us
//!   at once --- trains ---> 100 pieces ------>  60 --------->  50 us
//! ```
//!
//! So the longest that others wait for it is one such window and what follows of the piece of work at hand, and a thread that is
//! flooded shares its core as its niceness says. The processor quota of a control group does not hold for real-time threads, so it
//! is not lent to who is under one.

use core::time::Duration;
use std::fs;
use std::io;
use std::path::Path;

use wg_proto::Instant;

use crate::Error;
use crate::sched_attr::{Attributes, SCHED_OTHER, SCHED_RR, read, write};

/// What is looked at to decide.
const WINDOW: Duration = Duration::from_millis(10);
/// Packets in a piece, on average, from which on it is a train.
const TRAIN: u32 = 4;
/// Single packets: what a queue of 500, as a TUN has, holds at 2.5 million a second.
const SINGLE: Pace = Pace { many: 250, few: 150, sleep: Duration::from_micros(200) };
/// Trains: as network cards moderate their interrupts.
const TRAINS: Pace = Pace { many: 100, few: 60, sleep: Duration::from_micros(50) };
/// How long who is under a quota is not asked about it again.
const PAUSE: Duration = Duration::from_secs(1);
/// The lowest there is: above all threads of the fair scheduler, and below whatever else is real-time.
const PRIORITY: u32 = 1;

/// How a thread paces itself by what comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pace {
    /// Pieces in a window from which on a thread that is woken by each is in the way of those who send them.
    many: u32,
    /// Pieces below which it is not.
    few: u32,
    /// How long it lets them come.
    sleep: Duration,
}

/// What a thread moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Packets.
    pub packets: u32,
    /// What they came in, each with one packet or many.
    pub pieces: u32,
    /// Packets that came from the network among them.
    pub received: u32,
}

/// The priority of the calling thread, see the [module](self). To be used by this thread only.
#[derive(Debug)]
pub struct RealTime {
    share: Share,
    /// What the thread is when it is not real-time.
    fair: Attributes,
    /// Not to be lent again before.
    refused_until: Instant,
}

impl RealTime {
    /// Makes the calling thread a real-time one.
    ///
    /// # Errors
    ///
    /// The thread is not of the fair scheduler or is under a quota (`Unsupported`), the system forbids it (EPERM), or has no such
    /// call (ENOSYS). The thread stays what it was.
    pub fn request(now: Instant) -> Result<Self, Error> {
        let error = Error::during("ask for real-time priority");
        let fair = read().map_err(&error)?;
        if fair.policy != SCHED_OTHER || is_under_quota() {
            return Err(Error::new("ask for real-time priority", io::ErrorKind::Unsupported));
        }
        switch(&fair, true).map_err(error)?;
        Ok(Self {
            share: Share { since: now, is_real_time: true, ..Share::default() },
            fair,
            refused_until: now,
        })
    }

    /// Accounts for work.
    pub const fn worked(&mut self, work: Work) {
        let all = &mut self.share.work;
        all.packets = all.packets.saturating_add(work.packets);
        all.pieces = all.pieces.saturating_add(work.pieces);
        all.received = all.received.saturating_add(work.received);
    }

    /// Sleeps for a moment, whatever comes, if the thread is to pace itself. To be called when it has done all there is, before it
    /// waits for more.
    pub fn pace(&self) {
        if let Some(time) = self.share.pace() {
            std::thread::sleep(time);
        }
    }

    /// Accounts for a pause of the thread: when it began and when it ended, which is the same if there was none. To be told after each
    /// piece of work.
    ///
    /// # Errors
    ///
    /// The system forbids the change that is due. It is tried again: to be fair, in the next window; to be real-time, after a second.
    pub fn rested(&mut self, from: Instant, until: Instant) -> Result<(), Error> {
        let Some(real_time) = self.share.rested(from, until) else { return Ok(()) };
        if real_time {
            if until < self.refused_until {
                return Ok(());
            }
            self.refused_until = until.saturating_add(PAUSE);
            if is_under_quota() {
                return Ok(());
            }
        }
        switch(&self.fair, real_time).map_err(Error::during("change the priority of a thread"))?;
        self.refused_until = until;
        self.share.is_real_time = real_time;
        Ok(())
    }

    /// Tells whether the thread is a real-time one now.
    #[must_use]
    pub const fn is_lent(&self) -> bool {
        self.share.is_real_time
    }
}

fn switch(fair: &Attributes, real_time: bool) -> Result<(), rustix::io::Errno> {
    if real_time {
        write(&Attributes { policy: SCHED_RR, priority: PRIORITY, nice: 0, runtime: 0, ..*fair })
    } else {
        write(fair)
    }
}

/// How much of the time a thread sleeps, and what it does for the rest.
#[derive(Debug, Default)]
struct Share {
    since: Instant,
    slept: Duration,
    work: Work,
    is_real_time: bool,
    pace: Option<Pace>,
}

impl Share {
    /// How long the thread is to sleep when it has done all there is. A fair one waits for its core anyway.
    fn pace(&self) -> Option<Duration> {
        self.pace.filter(|_| self.is_real_time).map(|pace| pace.sleep)
    }

    /// Tells whether the thread is to become a real-time one or a fair one, if that is not what it is.
    fn rested(&mut self, from: Instant, until: Instant) -> Option<bool> {
        self.slept = self.slept.saturating_add(until.saturating_duration_since(from));
        let window = until.saturating_duration_since(self.since);
        if window < WINDOW {
            return None;
        }
        let wanted = window / if self.is_real_time { 16 } else { 4 };
        let Work { packets, pieces, received } = self.work;
        let pace = if packets / TRAIN < pieces { SINGLE } else { TRAINS };
        let bound = if self.pace.is_some() { pace.few } else { pace.many };
        // A window is longer than it has to be if its end was slept through.
        let are_many = u128::from(pieces) * WINDOW.as_nanos() >= u128::from(bound) * window.as_nanos();
        let real_time = self.slept >= wanted;
        let is_due = are_many && (pace == SINGLE || received < packets / 2);
        let pace = is_due.then_some(pace);
        *self = Self { since: until, is_real_time: self.is_real_time, pace, ..Self::default() };
        (real_time != self.is_real_time).then_some(real_time)
    }
}

/// Tells whether a control group of this process, or one around it, has a quota of processor time.
fn is_under_quota() -> bool {
    fs::read_to_string("/proc/self/cgroup")
        .is_ok_and(|groups| has_quota(&groups, Path::new("/sys/fs/cgroup")))
}

/// The same for the lines of `/proc/self/cgroup`, with the hierarchies below `root`.
fn has_quota(groups: &str, root: &Path) -> bool {
    groups.lines().any(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { return false };
        let (hierarchy, file) = match controllers {
            "" => (root.to_path_buf(), "cpu.max"),
            _ if controllers.split(',').any(|name| name == "cpu") => (root.join("cpu"), "cpu.cfs_quota_us"),
            _ => return false,
        };
        // In a container the path may be that of the host; what is there then is the root of what it sees.
        Path::new(path.trim_start_matches('/')).ancestors().any(|group| {
            fs::read_to_string(hierarchy.join(group).join(file)).is_ok_and(|quota| {
                quota.split_whitespace().next().is_some_and(|first| first.parse::<u64>().is_ok())
            })
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(micros: u64) -> Instant {
        Instant::from_nanos(micros * 1000)
    }

    /// Works and rests in turn, for 30 ms, and tells what the thread was in the end, and how often that changed.
    fn run(mut share: Share, work: u64, rest: u64) -> (bool, u32) {
        let (mut now, mut changes) = (0, 0);
        while now < 30_000 {
            now += work;
            let until = now + rest;
            if let Some(real_time) = share.rested(at(now), at(until)) {
                share.is_real_time = real_time;
                changes += 1;
            }
            now = until;
        }
        (share.is_real_time, changes)
    }

    #[test]
    fn thread_that_hardly_sleeps_loses_it_and_one_that_does_gets_it_back() {
        let share = |is_real_time| Share { is_real_time, ..Share::default() };
        assert_eq!(run(share(true), 100, 0), (false, 1), "never sleeps");
        assert_eq!(run(share(true), 100, 5), (false, 1), "5 %");
        assert_eq!(run(share(true), 100, 10), (true, 0), "9 %");
        assert_eq!(run(share(false), 100, 10), (false, 0), "9 % is not enough to get it back");
        assert_eq!(run(share(false), 100, 50), (true, 1), "a third");
        assert_eq!(run(share(true), 10, 100_000), (true, 0), "idle");
    }

    #[test]
    fn pieces_of_work_before_the_window_is_over_decide_nothing() {
        let mut share = Share { is_real_time: true, ..Share::default() };
        assert_eq!(share.rested(at(9_999), at(9_999)), None);
        assert_eq!(share.rested(at(10_000), at(10_000)), Some(false));
        // A clock that goes back changes nothing.
        assert_eq!(share.rested(at(5), at(3)), None);
    }

    /// Work that came from the inner side.
    const fn work(packets: u32, pieces: u32) -> Work {
        Work { packets, pieces, received: 0 }
    }

    /// How a thread that sleeps half of its time paces itself after a window with such work.
    fn after(pace: Option<Pace>, work: Work) -> Option<Duration> {
        let mut share = Share { is_real_time: true, pace, work, ..Share::default() };
        assert_eq!(share.rested(at(5_000), at(10_000)), None, "it sleeps, so it stays real-time");
        share.pace()
    }

    const AT_ONCE: Option<Duration> = None;

    #[test]
    fn what_comes_fast_is_let_come_and_trains_for_a_shorter_time() {
        let (single, trains) = (Some(Duration::from_micros(200)), Some(Duration::from_micros(50)));
        let after = |pace, packets, pieces| after(pace, work(packets, pieces));
        assert_eq!([249, 250].map(|pieces| after(None, pieces, pieces)), [AT_ONCE, single]);
        assert_eq!([149, 150].map(|pieces| after(Some(SINGLE), pieces, pieces)), [AT_ONCE, single]);
        assert_eq!([99, 100].map(|pieces| after(None, 45 * pieces, pieces)), [AT_ONCE, trains]);
        assert_eq!([59, 60].map(|pieces| after(Some(TRAINS), 45 * pieces, pieces)), [AT_ONCE, trains]);
        // Four packets are a train, and one kind may follow the other.
        assert_eq!([999, 1_000].map(|packets| after(None, packets, 250)), [single, trains]);
        assert_eq!([399, 400].map(|packets| after(Some(SINGLE), packets, 100)), [AT_ONCE, trains]);
        // As many in ten times the time are few.
        let mut share = Share { is_real_time: true, work: work(300, 300), ..Share::default() };
        assert_eq!((share.rested(at(5_000), at(100_000)), share.pace), (None, None));
        // Those that leave no time to sleep.
        let mut share = Share { is_real_time: true, work: work(5_000, 5_000), ..Share::default() };
        assert_eq!(share.rested(at(10_000), at(10_000)), Some(false));
        share.is_real_time = false;
        assert_eq!((share.pace, share.pace()), (Some(SINGLE), None), "a fair one waits for its core");
    }

    #[test]
    fn trains_that_come_from_the_network_are_taken_at_once() {
        let trains = |received| Work { packets: 10_000, pieces: 300, received };
        assert_eq!(
            [4_999, 5_000, 10_000].map(|received| after(None, trains(received)).is_some()),
            [true, false, false]
        );
        assert_eq!(after(Some(TRAINS), trains(9_000)), AT_ONCE);
        // Single ones are paced wherever they come from.
        assert!(after(None, Work { packets: 300, pieces: 300, received: 300 }).is_some());
    }

    #[test]
    fn thread_becomes_what_it_is_to_be_and_what_it_was() {
        std::thread::spawn(|| {
            crate::slice::request(Duration::from_micros(300), Some(3)).unwrap();
            let before = read().unwrap();
            let Ok(mut lent) = RealTime::request(at(0)) else { return };
            assert!(lent.is_lent());
            assert_eq!((read().unwrap().policy, read().unwrap().priority), (SCHED_RR, 1));
            assert!(RealTime::request(at(0)).is_err(), "not twice");
            lent.rested(at(20_000), at(20_000)).unwrap();
            assert!(!lent.is_lent());
            let after = read().unwrap();
            assert_eq!((after.policy, after.nice, after.runtime), (SCHED_OTHER, 3, before.runtime));
            lent.rested(at(30_000), at(40_000)).unwrap();
            assert!(lent.is_lent() && read().unwrap().policy == SCHED_RR);
        })
        .join()
        .unwrap();
    }

    #[test]
    fn quota_of_a_group_or_of_one_around_it_is_found() {
        let root = std::env::temp_dir().join(format!("wg-quota-{}", std::process::id()));
        let groups = "9:name=systemd:/\n2:cpu,cpuacct:/a/b\n0::/c/d\n";
        let write = |file: &str, text: &str| {
            let path = root.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("cpu/a/b/cpu.cfs_quota_us", "-1\n");
        write("c/d/cpu.max", "max 100000\n");
        assert!(!has_quota(groups, &root));
        write("c/cpu.max", "50000 100000\n");
        assert!(has_quota(groups, &root));
        write("c/cpu.max", "max 100000\n");
        write("cpu/a/cpu.cfs_quota_us", "5000\n");
        assert!(has_quota(groups, &root));
        assert!(!has_quota("0::/c/d\n", &root) && !has_quota("garbage\n5:\n", &root));
        fs::remove_dir_all(root).unwrap();
    }
}
