//! What the kernel refused although it had been asked for: told once, to be logged, and done without from then on.

use core::fmt;

/// Something the kernel may do for this crate, or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Feature {
    /// The TUN completes transport checksums.
    TunChecksum,
    /// The TUN splits TCP in IPv4.
    TunTcp4,
    /// The TUN splits TCP in IPv6.
    TunTcp6,
    /// The TUN splits UDP in IPv4.
    TunUdp4,
    /// The TUN splits UDP in IPv6.
    TunUdp6,
    /// A UDP send is split into more than 64 datagrams.
    UdpLongTrains,
    /// A UDP send is split into datagrams (`UDP_SEGMENT`).
    UdpGso,
    /// Received datagrams are joined (`UDP_GRO`).
    UdpGro,
}

impl fmt::Display for Feature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TunChecksum => "checksums by the TUN",
            Self::TunTcp4 => "split of TCP in IPv4 by the TUN",
            Self::TunTcp6 => "split of TCP in IPv6 by the TUN",
            Self::TunUdp4 => "split of UDP in IPv4 by the TUN",
            Self::TunUdp6 => "split of UDP in IPv6 by the TUN",
            Self::UdpLongTrains => "UDP segmentation into more than 64 datagrams",
            Self::UdpGso => "UDP segmentation",
            Self::UdpGro => "UDP receive offload",
        })
    }
}

/// A feature that was switched off, and the error number it was refused with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Downgrade {
    /// What is done without from now on.
    pub feature: Feature,
    /// Why.
    pub errno: i32,
}

impl fmt::Display for Downgrade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { feature, errno } = self;
        write!(f, "the kernel refuses {feature} (error {errno}), it is switched off")
    }
}

/// Downgrades that are still to be told, oldest first. Each feature is switched off once, so there is room for all.
#[derive(Clone, Debug, Default)]
pub(crate) struct Downgrades {
    untold: [Option<Downgrade>; 8],
}

impl Downgrades {
    pub(crate) fn push(&mut self, feature: Feature, errno: i32) {
        if let Some(free) = self.untold.iter_mut().find(|slot| slot.is_none()) {
            *free = Some(Downgrade { feature, errno });
        }
    }

    pub(crate) fn take(&mut self) -> Option<Downgrade> {
        let first = self.untold[0].take();
        self.untold.rotate_left(1);
        first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn downgrades_are_told_once_and_in_order() {
        let mut downgrades = Downgrades::default();
        downgrades.push(Feature::UdpLongTrains, 22);
        downgrades.push(Feature::UdpGso, 5);
        assert_eq!(downgrades.take(), Some(Downgrade { feature: Feature::UdpLongTrains, errno: 22 }));
        downgrades.push(Feature::UdpGro, 1);
        assert_eq!(downgrades.take(), Some(Downgrade { feature: Feature::UdpGso, errno: 5 }));
        assert_eq!(downgrades.take(), Some(Downgrade { feature: Feature::UdpGro, errno: 1 }));
        assert_eq!(downgrades.take(), None);
        for errno in 0..8 {
            downgrades.push(Feature::UdpGro, errno);
        }
        for errno in 0..8 {
            assert_eq!(downgrades.take().map(|downgrade| downgrade.errno), Some(errno));
        }
    }
}
