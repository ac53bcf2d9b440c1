//! A thread whose stack is looked at while it rests: whatever its steps left there is dead.

use core::hint::black_box;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

/// What lies between the frames in which the thread waits and those in which a step runs, so that waiting overwrites
/// nothing of what the step left.
const GAP: usize = 16 << 10;

/// A thread that takes the steps of something one by one.
#[derive(Debug)]
pub struct Worker {
    orders: Sender<usize>,
    done: Receiver<()>,
    thread: JoinHandle<()>,
    stack: usize,
}

impl Worker {
    /// Starts the thread. `state` is made there, and each step takes it further; both run with a stack that is not used
    /// for anything else.
    pub fn start<S: 'static>(
        make: impl FnOnce() -> Box<S> + Send + 'static,
        step: impl Fn(&mut S, usize) + Send + 'static,
    ) -> Self {
        let (orders, ordered) = channel();
        let (finished, done) = channel();
        let (place, at) = channel();
        let thread = std::thread::spawn(move || {
            let marker = 0_u8;
            let mut state = None;
            below_gap(|| state = Some(make()));
            let Some(mut state) = state else { return };
            // The scanner asks only for the place.
            if place.send(core::ptr::from_ref(black_box(&marker)).addr()).is_err() {
                return;
            }
            while let Ok(number) = ordered.recv() {
                below_gap(|| step(&mut state, number));
                if finished.send(()).is_err() {
                    return;
                }
            }
            below_gap(|| drop(state));
        });
        let stack = at.recv().unwrap_or_default();
        Self { orders, done, thread, stack }
    }

    /// Takes a step, and returns when the thread rests again.
    ///
    /// # Errors
    ///
    /// That it ended, by a panic.
    pub fn step(&self, number: usize) -> Result<(), String> {
        let ended = || "the worker ended".to_owned();
        self.orders.send(number).map_err(|_| ended())?;
        self.done.recv().map_err(|_| ended())
    }

    /// An address on its stack.
    #[must_use]
    pub const fn stack(&self) -> usize {
        self.stack
    }

    /// Ends the thread.
    ///
    /// # Errors
    ///
    /// That it panicked.
    pub fn end(self) -> Result<(), String> {
        drop(self.orders);
        self.thread.join().map_err(|_| "the worker panicked".to_owned())
    }
}

/// Runs something further down the stack.
#[inline(never)]
fn below_gap(work: impl FnOnce()) {
    let mut gap = [0_u8; GAP];
    black_box(&mut gap);
    run(work);
    black_box(&mut gap);
}

#[inline(never)]
fn run(work: impl FnOnce()) {
    work();
}
