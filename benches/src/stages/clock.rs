//! Where the time of a turn goes: a clock that is read between stages, and not within.
//!
//! Each reading ends a stage, so that no time is lost between two. What a reading costs was measured when the clock was made,
//! and is taken off each. A clock that is off is not read, for totals that nothing disturbs.

use core::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Instant;

/// What time is spent on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Frames are read from the TUN, routed and queued.
    Read,
    /// Batches are taken out of the queue and get their counters.
    Begin,
    /// Split, checksum and seal.
    Seal,
    /// To the socket, and counted.
    Send,
    /// Datagrams are received, and sorted by keypair.
    Sort,
    /// Opened, and summed up.
    Open,
    /// Window, endpoint, timers, source.
    Commit,
    /// Merged, written, and counted.
    Write,
    /// Looks at the other direction and at control work: what a turn costs by itself.
    Turn,
}

impl Stage {
    const COUNT: usize = Self::Turn as usize + 1;
}

/// A clock that many hold.
#[derive(Clone, Debug)]
pub(super) struct Clock(Rc<State>);

#[derive(Debug)]
struct State {
    is_on: Cell<bool>,
    last: Cell<Instant>,
    /// Nanoseconds by stage.
    spent: RefCell<[f64; Stage::COUNT]>,
    reading: f64,
}

impl Clock {
    pub(super) fn new() -> Self {
        Self(Rc::new(State {
            is_on: Cell::new(false),
            last: Cell::new(Instant::now()),
            spent: RefCell::default(),
            reading: reading(),
        }))
    }

    /// Begins to measure; what was measured before is forgotten.
    pub(super) fn start(&self) {
        self.0.spent.replace([0.0; Stage::COUNT]);
        self.0.is_on.set(true);
        self.0.last.set(Instant::now());
    }

    /// A turn begins; what came before is nobody's.
    pub(super) fn begin(&self) {
        if self.0.is_on.get() {
            self.0.last.set(Instant::now());
        }
    }

    /// A stage ends, and the next one begins.
    pub(super) fn end(&self, stage: Stage) {
        if self.0.is_on.get() {
            let now = Instant::now();
            let time = now.duration_since(self.0.last.replace(now));
            self.0.spent.borrow_mut()[stage as usize] += time.as_secs_f64() * 1e9 - self.0.reading;
        }
    }

    /// Ends to measure.
    pub(super) fn stop(&self) {
        self.0.is_on.set(false);
    }

    /// Nanoseconds that were spent in a stage.
    pub(super) fn spent(&self, stage: Stage) -> f64 {
        self.0.spent.borrow()[stage as usize]
    }
}

/// What it costs to read the clock, in nanoseconds: the least of many means, as the rest is others' work.
fn reading() -> f64 {
    const READINGS: u32 = 1000;
    let mean = |_| {
        let start = Instant::now();
        for _ in 1..READINGS {
            core::hint::black_box(Instant::now());
        }
        start.elapsed().as_secs_f64() * 1e9 / f64::from(READINGS)
    };
    (0..50).map(mean).fold(f64::INFINITY, f64::min)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_belongs_to_the_stage_that_it_ends() {
        let clock = Clock::new();
        clock.end(Stage::Read);
        assert_eq!(clock.spent(Stage::Read), 0.0, "it is off");
        clock.start();
        let other = clock.clone();
        std::thread::sleep(core::time::Duration::from_millis(2));
        other.end(Stage::Seal);
        clock.stop();
        clock.end(Stage::Open);
        assert!(clock.spent(Stage::Seal) >= 1.9e6, "{}", clock.spent(Stage::Seal));
        assert_eq!(clock.spent(Stage::Open), 0.0);
        clock.start();
        assert_eq!(clock.spent(Stage::Seal), 0.0, "it begins anew");
    }
}
