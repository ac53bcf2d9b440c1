//! Counters: drops by reason, and traffic by peer.
//!
//! They have one writer, the thread that drives the device, and wrap like the kernel's.

use core::fmt;

use crate::drop::DropReason;

/// How many packets and datagrams died of each [`DropReason`].
///
/// # Examples
///
/// ```
/// use wg_datapath::{DropCounters, DropReason};
///
/// let mut drops = DropCounters::default();
/// drops.count(DropReason::Replay);
/// assert_eq!(drops.get(DropReason::Replay), 1);
/// assert_eq!(drops.total(), 1);
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct DropCounters([u64; DropReason::ALL.len()]);

impl DropCounters {
    /// Counts one drop.
    #[inline]
    pub const fn count(&mut self, reason: DropReason) {
        self.count_many(reason, 1);
    }

    /// Counts `n` drops of one reason.
    #[inline]
    pub const fn count_many(&mut self, reason: DropReason, n: u64) {
        let counter = &mut self.0[reason.index()];
        *counter = counter.wrapping_add(n);
    }

    /// The count of one reason.
    #[must_use]
    pub const fn get(&self, reason: DropReason) -> u64 {
        self.0[reason.index()]
    }

    /// All reasons with their counts, zeros included.
    pub fn iter(&self) -> impl Iterator<Item = (DropReason, u64)> + '_ {
        DropReason::ALL.iter().copied().zip(self.0)
    }

    /// The sum over all reasons.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().fold(0, |sum, count| sum.wrapping_add(*count))
    }

    /// Adds another set of counters, as when those of several lanes are shown as one.
    pub fn add(&mut self, other: &Self) {
        for (reason, n) in other.iter() {
            self.count_many(reason, n);
        }
    }
}

impl Default for DropCounters {
    fn default() -> Self {
        Self([0; DropReason::ALL.len()])
    }
}

/// Shows what was dropped, without the zeros.
impl fmt::Debug for DropCounters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dropped = self.iter().filter(|&(_, count)| count != 0);
        f.debug_map().entries(dropped.map(|(reason, count)| (reason.name(), count))).finish()
    }
}

/// The traffic of one peer, counted by the kernel's rules (C73, C74, C83).
///
/// Bytes are whole messages, handshakes included: sent when the socket took them, received when they were
/// handshakes, keepalives, or data that was delivered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PeerStats {
    /// UDP payload bytes received.
    pub rx_bytes: u64,
    /// UDP payload bytes sent.
    pub tx_bytes: u64,
    /// Messages received.
    pub rx_packets: u64,
    /// Messages sent.
    pub tx_packets: u64,
}

impl PeerStats {
    /// Counts one message received.
    #[inline]
    pub const fn received(&mut self, len: usize) {
        self.rx_bytes = self.rx_bytes.wrapping_add(len as u64);
        self.rx_packets = self.rx_packets.wrapping_add(1);
    }

    /// Counts messages received, by their number and their bytes.
    #[inline]
    pub const fn received_many(&mut self, messages: u64, bytes: u64) {
        self.rx_bytes = self.rx_bytes.wrapping_add(bytes);
        self.rx_packets = self.rx_packets.wrapping_add(messages);
    }

    /// Counts one message sent.
    #[inline]
    pub const fn sent(&mut self, len: usize) {
        self.tx_bytes = self.tx_bytes.wrapping_add(len as u64);
        self.tx_packets = self.tx_packets.wrapping_add(1);
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::format;

    use super::*;

    #[test]
    fn each_reason_has_its_own_counter() {
        let mut drops = DropCounters::default();
        for (n, &reason) in (1..).zip(DropReason::ALL) {
            drops.count_many(reason, n);
            drops.count(reason);
        }
        for ((n, &reason), counted) in (2..).zip(DropReason::ALL).zip(drops.iter()) {
            assert_eq!((drops.get(reason), counted), (n, (reason, n)));
        }
        let many = DropReason::ALL.len() as u64;
        assert_eq!(drops.total(), many * (many + 3) / 2);
    }

    #[test]
    fn counters_wrap() {
        let mut drops = DropCounters::default();
        drops.count_many(DropReason::Replay, u64::MAX);
        drops.count_many(DropReason::Replay, 3);
        assert_eq!(drops.get(DropReason::Replay), 2);
        let mut peer = PeerStats { tx_bytes: u64::MAX, rx_packets: u64::MAX, ..PeerStats::default() };
        peer.sent(1);
        peer.received(92);
        assert_eq!(peer, PeerStats { tx_packets: 1, rx_bytes: 92, ..PeerStats::default() });
    }

    #[test]
    fn lanes_add_up_and_zeros_are_not_shown() {
        let mut one = DropCounters::default();
        one.count(DropReason::BadSource);
        let mut sum = one.clone();
        sum.add(&one);
        assert_eq!(format!("{sum:?}"), r#"{"bad_source": 2}"#);
    }
}
