//! Whether to look for more behind the first frame of a queue, where not looking is no risk.
//!
//! The end of a TUN queue is met by a read in vain. Whoever is told by levels what waits may sleep without it: what came meanwhile
//! wakes him. But what waits belongs into the queue of the lane, where the sparse flow goes first, and not into that of the
//! kernel, where it stands behind the others. So the lane reads on, unless that was in vain lately; and looks again now and then.

/// Vain looks in a row from which on most are left out.
const SURE: u8 = 2;
/// One in so many is not.
const EVERY: u8 = 4;

/// What the last looks came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Probe {
    vain: u8,
    left_out: u8,
}

impl Probe {
    pub(super) const NEW: Self = Self { vain: 0, left_out: 0 };

    /// Tells whether to read on behind the first frame.
    pub(super) const fn is_due(&mut self) -> bool {
        if self.vain < SURE {
            return true;
        }
        self.left_out = (self.left_out + 1) % EVERY;
        self.left_out == 0
    }

    /// Learns whether there was a second frame.
    pub(super) const fn found(&mut self, more: bool) {
        self.vain = match more {
            true => 0,
            false if self.vain < SURE => self.vain + 1,
            false => SURE,
        };
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;

    /// How many of so many looks are taken, where a look finds what `waits` says of its number.
    fn taken(looks: u32, waits: impl Fn(u32) -> bool) -> std::vec::Vec<u32> {
        let mut probe = Probe::NEW;
        (0..looks)
            .filter(|look| {
                let due = probe.is_due();
                if due {
                    probe.found(waits(*look));
                }
                due
            })
            .collect()
    }

    #[test]
    fn vain_looks_become_few_and_never_none() {
        assert_eq!(taken(18, |_| false), [0, 1, 5, 9, 13, 17]);
    }

    #[test]
    fn a_backlog_is_found_within_a_few_frames_and_then_always_looked_at() {
        for since in 2..20 {
            let taken = taken(40, |look| look >= since);
            let found = taken.iter().position(|look| *look >= since).unwrap();
            assert!(taken[found] < since + u32::from(EVERY), "{since}: {taken:?}");
            assert_eq!(taken.len() - found, 40 - taken[found] as usize, "every one from then on");
        }
    }

    #[test]
    fn one_vain_look_is_no_habit() {
        assert_eq!(taken(40, |look| look % 2 == 0).len(), 40);
    }
}
