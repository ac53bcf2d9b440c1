//! What sends: flows that keep a window and give way to loss, and flows of a constant rate.

/// A flow.
#[derive(Debug)]
pub(super) struct Flow {
    pub(super) peer: u32,
    /// Packets that may be under way, in thousandths.
    window: u64,
    threshold: u64,
    pub(super) under_way: u32,
    /// Losses before this belong to the loss that was answered last.
    until: u64,
}

impl Flow {
    pub(super) const fn new(peer: u32) -> Self {
        Self { peer, window: 32_000, threshold: u64::MAX, under_way: 0, until: 0 }
    }

    /// Packets that may be sent now.
    pub(super) fn may_send(&self) -> u32 {
        u32::try_from(self.window / 1000).unwrap_or(u32::MAX).saturating_sub(self.under_way)
    }

    /// So many came back: one more for each in slow start, then one for each window.
    pub(super) fn acknowledged(&mut self, packets: u32, most: u32) {
        self.under_way -= packets;
        let more = if self.window < self.threshold {
            u64::from(packets) * 1000
        } else {
            u64::from(packets) * 1_000_000 / self.window
        };
        self.window = (self.window + more).min(u64::from(most) * 1000);
    }

    /// So many are lost: the window is halved once for each round trip.
    pub(super) fn lost(&mut self, packets: u32, now: u64, round_trip: u64) {
        self.under_way -= packets;
        if now >= self.until {
            self.window = (self.window / 2).max(2000);
            self.threshold = self.window;
            self.until = now + round_trip;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn window_grows_and_is_halved_once_a_round_trip() {
        let mut flow = Flow::new(0);
        flow.under_way = 32;
        flow.acknowledged(32, 1000);
        assert_eq!(flow.may_send(), 64);
        flow.under_way = 64;
        flow.lost(1, 1000, 500);
        flow.lost(1, 1400, 500);
        assert_eq!((flow.may_send(), flow.under_way), (0, 62));
        flow.acknowledged(62, 1000);
        assert_eq!(flow.may_send(), 33, "one more for a window, not twice as many");
        flow.under_way = 33;
        flow.lost(33, 1600, 500);
        assert_eq!(flow.may_send(), 16);
    }
}
