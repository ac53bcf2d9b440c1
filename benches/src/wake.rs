//! What it takes to wake a thread that sleeps on another processor, until it runs, and what that costs the one who wakes it.

use core::hint::spin_loop;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use core::time::Duration;
use std::sync::OnceLock;
use std::thread::{self, Thread};
use std::time::Instant;

use wg_netns::process::pin_thread;
use wg_sys_linux::{Events, Interest, Poller, Token, Waker, slice};

/// Wake-ups of one sample, of which the median is taken.
const WAKES: usize = 9;
/// As the gateway's threads ask for.
const SHORT_TURN: Duration = Duration::from_micros(100);

/// How a thread sleeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sleep {
    /// As a lane of the gateway: in `epoll_wait`, for an `eventfd`.
    Poll,
    /// In `futex`, as [`thread::park`] does.
    Futex,
}

/// What its processor does meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meanwhile {
    /// It has nothing to do, and sleeps as well.
    Idle,
    /// It runs another thread, the nicest there can be, which the one that is woken goes before.
    Busy,
}

/// Nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Wake {
    /// From before the call until the other runs.
    pub latency: f64,
    /// What the call takes.
    pub call: f64,
}

/// Wakes a thread on the second processor from the first, each time after it has slept for some time.
///
/// # Panics
///
/// When there are no file descriptors left.
#[must_use]
pub fn wake([here, there]: [usize; 2], slept: Duration, sleep: Sleep, meanwhile: Meanwhile) -> Wake {
    let bell = Waker::new().expect("a bell");
    // How often it was woken, how often it has woken, and when that was the last time.
    let (rung, back, awake) = (AtomicU32::new(0), AtomicU32::new(0), AtomicU64::new(0));
    let (base, over) = (Instant::now(), AtomicBool::new(false));
    let sleeper = OnceLock::<Thread>::new();
    let rounds = u32::try_from(WAKES).unwrap_or(u32::MAX);
    let (mut latencies, mut calls) = (Vec::new(), Vec::new());
    thread::scope(|scope| {
        if meanwhile == Meanwhile::Busy {
            scope.spawn(|| {
                pin_thread(Some(there));
                // Where that is refused the figures tell.
                slice::request(SHORT_TURN, Some(19)).ok();
                while !over.load(Ordering::Relaxed) {
                    spin_loop();
                }
            });
        }
        let spawned = scope.spawn(|| {
            pin_thread(Some(there));
            slice::request(SHORT_TURN, None).ok();
            let mut poller = Poller::new().expect("a set");
            poller.add(&bell, Token::new(0), Interest::Readable).expect("it can be polled");
            let mut events = Events::with_capacity(1);
            for round in 1..=rounds {
                match sleep {
                    Sleep::Poll => poller.wait(&mut events, None).expect("it can wait"),
                    Sleep::Futex => {
                        while rung.load(Ordering::Acquire) != round {
                            thread::park();
                        }
                    }
                }
                awake.store(nanos(base.elapsed()), Ordering::Relaxed);
                if sleep == Sleep::Poll {
                    bell.clear();
                }
                back.store(round, Ordering::Release);
            }
        });
        let sleeper = sleeper.get_or_init(|| spawned.thread().clone());
        let ringer = scope.spawn(|| {
            pin_thread(Some(here));
            for round in 1..=rounds {
                let wait = Instant::now();
                while wait.elapsed() < slept {
                    spin_loop();
                }
                let before = nanos(base.elapsed());
                match sleep {
                    Sleep::Poll => bell.wake(),
                    Sleep::Futex => {
                        rung.store(round, Ordering::Release);
                        sleeper.unpark();
                    }
                }
                let after = nanos(base.elapsed());
                while back.load(Ordering::Acquire) != round {
                    spin_loop();
                }
                latencies.push(awake.load(Ordering::Relaxed).saturating_sub(before) as f64);
                calls.push(after.saturating_sub(before) as f64);
            }
            over.store(true, Ordering::Relaxed);
        });
        ringer.join().expect("it only waits");
    });
    Wake { latency: median(&mut latencies), call: median(&mut calls) }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn median(samples: &mut [f64]) -> f64 {
    samples.sort_unstable_by(f64::total_cmp);
    samples.get(samples.len() / 2).copied().unwrap_or(f64::NAN)
}
