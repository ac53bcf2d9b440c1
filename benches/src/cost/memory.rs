//! A system call that does nothing, copies, sums, and what another core has in its cache.

use core::hint::{black_box, spin_loop};
use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;
use std::sync::mpsc;
use std::thread;

use wg_aead::Sum;
use wg_netns::process::pin_thread;

use super::{Sample, Source, timed, two_processors};

const PACKET: usize = 1424;
const SLAB: usize = 64 * 1024;
/// A core that waits for another that does not run must not wait for long.
const SPINS: u32 = 100_000;

pub(super) fn sources() -> Vec<(&'static str, Box<dyn Source>)> {
    vec![
        ("system call", Box::new(system_call)),
        ("memory", Box::new(local())),
        ("another core", Box::new(across)),
    ]
}

fn system_call() -> std::io::Result<Vec<Sample>> {
    const CALLS: usize = 10_000;
    let (time, ()) = timed(|| {
        for _ in 0..CALLS {
            black_box(rustix::process::getppid());
        }
    });
    Ok(vec![Sample::new("system call", "empty", time, CALLS)])
}

fn local() -> impl FnMut() -> std::io::Result<Vec<Sample>> {
    const TIMES: usize = 10_000;
    const SLABS: usize = 200;
    let (from, mut to) = (vec![7_u8; SLAB], vec![0_u8; SLAB]);
    move || {
        let (packet, ()) = timed(|| {
            for _ in 0..TIMES {
                black_box(&mut to[..PACKET]).copy_from_slice(black_box(&from[..PACKET]));
            }
        });
        let (slab, ()) = timed(|| {
            for _ in 0..SLABS {
                black_box(&mut to[..]).copy_from_slice(black_box(&from[..]));
            }
        });
        let (sum, ()) = timed(|| {
            for _ in 0..TIMES {
                black_box(Sum::of(black_box(&from[..PACKET])).checksum());
            }
        });
        Ok(vec![
            Sample::new("copy", format!("{PACKET} B"), packet, TIMES),
            Sample::new("copy", "64 KiB", slab, SLABS),
            Sample::new("Internet checksum", format!("{PACKET} B"), sum, TIMES),
        ])
    }
}

fn across() -> std::io::Result<Vec<Sample>> {
    let Some(processors) = two_processors() else {
        return Err(std::io::Error::other("this machine has one processor"));
    };
    let mut samples = vec![ping_pong(processors)];
    samples.extend(read_slab(processors));
    Ok(samples)
}

/// A word that two cores write in turns.
fn ping_pong([here, there]: [usize; 2]) -> Sample {
    const STRETCH: u64 = 200;
    const STRETCHES: u64 = 25;
    const TRIPS: u64 = STRETCH * STRETCHES;
    let word = AtomicU64::new(0);
    let wait = |value: u64| {
        let mut spins = 0;
        while word.load(Ordering::Acquire) != value {
            spins += 1;
            if spins % SPINS == 0 {
                thread::yield_now();
            }
            spin_loop();
        }
    };
    let time = thread::scope(|scope| {
        scope.spawn(|| {
            pin_thread(Some(there));
            for trip in 0..=TRIPS {
                wait(2 * trip + 1);
                word.store(2 * trip + 2, Ordering::Release);
            }
        });
        let measuring = scope.spawn(|| {
            pin_thread(Some(here));
            let trip = |trip: u64| {
                word.store(2 * trip + 1, Ordering::Release);
                wait(2 * trip + 2);
            };
            // The first waits for the other thread to start.
            trip(0);
            let stretch = |number: u64| (number * STRETCH + 1)..=(number + 1) * STRETCH;
            let mut times: Vec<Duration> =
                (0..STRETCHES).map(|number| timed(|| stretch(number).for_each(trip)).0).collect();
            times.sort();
            // In some of them one of the two was kept from its processor.
            times[times.len() / 2]
        });
        measuring.join().unwrap_or_default()
    });
    Sample::new("line to and fro", "another core", time, usize::try_from(STRETCH).unwrap_or(1))
}

/// A slab that was just written, here or there.
fn read_slab([here, there]: [usize; 2]) -> Vec<Sample> {
    const TIMES: usize = 100;
    thread::scope(|scope| {
        let (ask, asked) = mpsc::channel::<Box<[u64]>>();
        let (answer, answered) = mpsc::channel();
        scope.spawn(move || {
            pin_thread(Some(there));
            for mut slab in asked {
                fill(&mut slab);
                if answer.send(slab).is_err() {
                    return;
                }
            }
        });
        let measuring = scope.spawn(move || {
            pin_thread(Some(here));
            let mut slab = vec![0_u64; SLAB / 8].into_boxed_slice();
            let (mut local, mut remote) = (Duration::ZERO, Duration::ZERO);
            for _ in 0..TIMES {
                fill(&mut slab);
                local += timed(|| read(&slab)).0;
                if ask.send(slab).is_err() {
                    return Vec::new();
                }
                let Ok(filled) = answered.recv() else { return Vec::new() };
                slab = filled;
                remote += timed(|| read(&slab)).0;
            }
            vec![
                Sample::new("read 64 KiB", "just written here", local, TIMES),
                Sample::new("read 64 KiB", "just written by another core", remote, TIMES),
            ]
        });
        measuring.join().unwrap_or_default()
    })
}

fn fill(slab: &mut [u64]) {
    for (word, value) in slab.iter_mut().zip(1..) {
        *word = value;
    }
    black_box(slab);
}

fn read(slab: &[u64]) -> u64 {
    black_box(slab).iter().fold(0, |sum, word| sum ^ word)
}
