//! To wake a thread that sleeps on another processor.

use core::time::Duration;
use std::io;

use super::{Sample, Source, two_processors};
use crate::wake::{Meanwhile, Sleep, wake};

pub(super) fn sources() -> Vec<(&'static str, Box<dyn Source>)> {
    vec![("wake-up", Box::new(wakes))]
}

fn wakes() -> io::Result<Vec<Sample>> {
    let Some(processors) = two_processors() else {
        return Err(io::Error::other("this machine has one processor"));
    };
    let mut samples = Vec::new();
    for (sleep, how) in [(Sleep::Poll, "eventfd, epoll"), (Sleep::Futex, "futex")] {
        for (slept, meanwhile, state) in [
            (Duration::from_micros(50), Meanwhile::Idle, "idle for 50 us"),
            (Duration::from_millis(2), Meanwhile::Idle, "idle for 2 ms"),
            (Duration::from_millis(2), Meanwhile::Busy, "not idle"),
        ] {
            let woken = wake(processors, slept, sleep, meanwhile);
            let sample = |subject, nanoseconds| Sample {
                subject,
                case: format!("{how}, its core {state}"),
                nanoseconds,
                segments: None,
            };
            samples.push(sample("wake-up, until the other runs", woken.latency));
            samples.push(sample("wake-up, for who calls", woken.call));
        }
    }
    // Those of a kind beside each other.
    samples.sort_by(|one, other| other.subject.cmp(one.subject));
    Ok(samples)
}
