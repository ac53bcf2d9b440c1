//! What it takes to have a batch crypted by another core, and what it saves: the figures [`crate::Adaptive`] decides by.

/// Times in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Costs {
    /// The crypt phase, for each packet.
    pub crypt_packet: u32,
    /// The crypt phase, for each KiB.
    pub crypt_kib: u32,
    /// To wake a core that sleeps, for the one that wakes it: what comes meanwhile the home does itself.
    pub wake: u32,
    /// To hand a batch over, once: a line with its ticket goes from cache to cache.
    pub line: u32,
    /// To bring a KiB from one cache to another.
    pub transfer_kib: u32,
}

impl Costs {
    /// Of the machine that the records in `benches/record` are of. Crypt: 52 ns for 64 bytes and 548 ns for 1424 in
    /// batches of sixteen. A line: half of the round trip of 455 ns. Transfer: 97 ns for 1424 bytes. To wake a core: 8.4 us under a
    /// hypervisor, of 15 to 22 until it runs, whether it was idle or busy (`io.json` there): so it is the interrupt, rather than the
    /// sleep of the core; without one, an estimated 1 us of 5. On a simulated machine of either kind
    /// `adaptive` does well with this figure; with 5 us it falls behind on the first, with 17 it gains less on the second (`docs/figures.md`).
    pub const REFERENCE: Self =
        Self { crypt_packet: 29, crypt_kib: 373, wake: 8400, line: 230, transfer_kib: 70 };

    /// What the crypt phase of so much takes.
    #[must_use]
    pub const fn crypt(&self, packets: u32, bytes: u32) -> u64 {
        self.crypt_packet as u64 * packets as u64 + self.crypt_kib as u64 * bytes as u64 / 1024
    }

    /// How many helpers are worth a call for a backlog of so much. Each has to save more than it costs: its wake-up, and the
    /// way of the batch to it and back.
    #[must_use]
    pub fn helpers(&self, packets: u32, bytes: u32) -> u32 {
        let moved = 2 * self.transfer_kib as u64 * bytes as u64 / 1024;
        let saved = self.crypt(packets, bytes).saturating_sub(moved);
        let each = self.wake as u64 + 2 * self.line as u64;
        u32::try_from(saved / each.max(1)).unwrap_or(u32::MAX)
    }
}

impl Default for Costs {
    fn default() -> Self {
        Self::REFERENCE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reference_gives_back_what_was_measured() {
        assert_eq!(Costs::REFERENCE.crypt(1, 64), 52);
        assert_eq!(Costs::REFERENCE.crypt(1, 1424), 29 + 518);
    }

    #[test]
    fn nobody_is_called_for_less_than_it_costs() {
        let costs = Costs::REFERENCE;
        assert_eq!(costs.helpers(0, 0), 0);
        // 24 packets of 1424 bytes take 13.1 us, of which 4.7 us are lost on the way.
        assert_eq!(costs.helpers(24, 24 * 1424), 0);
        assert_eq!(costs.helpers(28, 28 * 1424), 1);
        assert_eq!(costs.helpers(64, 64 * 1424), 2);
        assert_eq!(costs.helpers(64, 64 * 64), 0, "small packets are better kept");
        assert!(costs.helpers(u32::MAX, u32::MAX) > 1_000_000, "no overflow");
    }
}
