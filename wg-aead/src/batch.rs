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

/// Runs `kernel` over all jobs, one after the other.
#[cfg(any(feature = "ring", target_arch = "x86_64"))]
pub(crate) fn each<'a, J: Job<'a>>(jobs: &mut [J], mut kernel: impl FnMut(&mut Packet<'a>)) {
    for job in jobs {
        if let Some(packet) = job.pending() {
            kernel(packet);
            job.finish();
        }
    }
}

/// Runs `kernel` over all jobs, in groups of up to [`GROUP`] whose lengths are as close as can be.
pub(crate) fn run<'a, J: Job<'a>>(jobs: &mut [J], mut kernel: impl FnMut(&mut Group<'_, 'a>)) {
    for window in jobs.chunks_mut(WINDOW) {
        if are_alike(window) {
            for some in window.chunks_mut(GROUP) {
                let mut group = Group::new();
                for packet in some.iter_mut().filter_map(Job::pending) {
                    group.push(packet);
                }
                kernel(&mut group);
            }
        } else {
            in_order(window, &mut kernel);
        }
        for job in window {
            job.finish();
        }
    }
}

/// Whether all jobs are to be run and take as many blocks as each other.
fn are_alike<'a, J: Job<'a>>(window: &mut [J]) -> bool {
    let mut blocks = window.iter_mut().map(|job| job.pending().map(|packet| packet.blocks()));
    let Some(Some(first)) = blocks.next() else { return false };
    blocks.all(|blocks| blocks == Some(first))
}

/// Runs `kernel` over a window of jobs, longest first.
fn in_order<'a, J: Job<'a>>(window: &mut [J], kernel: &mut impl FnMut(&mut Group<'_, 'a>)) {
    // Six bits say which job it is; those that are not to be run are not among them.
    let mut keys = [0_u32; WINDOW];
    let mut packets = [const { None }; WINDOW];
    let mut count = 0;
    for (at, (slot, job)) in (0_u32..).zip(packets.iter_mut().zip(window)) {
        if let Some(packet) = job.pending() {
            let class = u32::MAX - u32::try_from(packet.blocks()).unwrap_or(0);
            keys[count] = (class << 6) | at;
            count += 1;
            *slot = Some(packet);
        }
    }
    let keys = &mut keys[..count];
    keys.sort_unstable();
    for some in keys.chunks(GROUP) {
        let mut group = Group::new();
        for key in some {
            if let Some(packet) = packets[(key & 63) as usize].take() {
                group.push(packet);
            }
        }
        kernel(&mut group);
    }
}
