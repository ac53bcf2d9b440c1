//! Batches: jobs into groups of similar lengths, groups through a kernel.

use crate::backend::Backend;
use crate::job::{OpenJob, SealJob};
use crate::packet::{GROUP, Group, Packet};

/// How many jobs are put into order at a time.
const WINDOW: usize = 64;

/// Seals a batch with the best backend of this machine; each job reports for itself.
pub fn seal_batch(jobs: &mut [SealJob<'_>]) {
    Backend::best().seal_batch(jobs);
}

/// Opens a batch with the best backend of this machine; each job reports for itself, and nothing of a packet whose tag does
/// not verify is written.
pub fn open_batch(jobs: &mut [OpenJob<'_>]) {
    Backend::best().open_batch(jobs);
}

/// What both kinds of job have in common.
pub(crate) trait Job<'a> {
    /// The packet, if it is to be worked on.
    fn pending(&mut self) -> Option<&mut Packet<'a>>;
    /// Takes over what the kernel left in the packet.
    fn finish(&mut self);
}

impl<'a> Job<'a> for SealJob<'a> {
    fn pending(&mut self) -> Option<&mut Packet<'a>> {
        self.is_pending().then_some(&mut self.packet)
    }

    fn finish(&mut self) {
        if self.is_pending() {
            Self::finish(self);
        }
    }
}

impl<'a> Job<'a> for OpenJob<'a> {
    fn pending(&mut self) -> Option<&mut Packet<'a>> {
        self.is_pending().then_some(&mut self.packet)
    }

    fn finish(&mut self) {
        if self.is_pending() {
            Self::finish(self);
        }
    }
}

/// Runs `kernel` over all jobs, in groups of up to [`GROUP`] whose lengths are as close as can be.
pub(crate) fn run<'a, J: Job<'a>>(jobs: &mut [J], mut kernel: impl FnMut(&mut Group<'_, 'a>)) {
    for window in jobs.chunks_mut(WINDOW) {
        let (mut keys, mut count, mut mixed) = ([0_u32; WINDOW], 0, false);
        for (at, (slot, job)) in (0_u32..).zip(keys.iter_mut().zip(&mut *window)) {
            // Longest first; what is not pending at the end, behind what has no blocks at all.
            let class = match job.pending() {
                Some(packet) => {
                    count += 1;
                    (u32::MAX - 1) - u32::try_from(packet.blocks()).unwrap_or(0)
                }
                None => u32::MAX,
            };
            *slot = (class << 6) | at;
        }
        let keys = &mut keys[..window.len()];
        if let Some(first) = keys.first().copied() {
            mixed = keys.iter().any(|key| key >> 6 != first >> 6);
        }
        if mixed {
            in_order(window, keys, count, &mut kernel);
        } else {
            for some in window.chunks_mut(GROUP) {
                let mut group = Group::new();
                for packet in some.iter_mut().filter_map(Job::pending) {
                    group.push(packet);
                }
                if group.len() > 0 {
                    kernel(&mut group);
                }
            }
        }
        for job in window {
            job.finish();
        }
    }
}

/// Runs `kernel` over a window of jobs in the order of `keys`, whose low six bits say which.
fn in_order<'a, J: Job<'a>>(
    window: &mut [J],
    keys: &mut [u32],
    count: usize,
    kernel: &mut impl FnMut(&mut Group<'_, 'a>),
) {
    keys.sort_unstable();
    let mut packets = [const { None }; WINDOW];
    for (slot, job) in packets.iter_mut().zip(window) {
        *slot = job.pending();
    }
    for some in keys[..count].chunks(GROUP) {
        let mut group = Group::new();
        for key in some {
            if let Some(packet) = packets[(key & 63) as usize].take() {
                group.push(packet);
            }
        }
        kernel(&mut group);
    }
}
