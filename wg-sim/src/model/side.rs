//! The two hosts of a model.

use core::net::SocketAddr;

/// One of two hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// The first.
    A,
    /// The second.
    B,
}

impl Side {
    pub(super) const BOTH: [Self; 2] = [Self::A, Self::B];

    pub(super) const fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    pub(super) const fn index(self) -> usize {
        self as usize
    }

    pub(super) fn address(self) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1 + self as u8], 51820))
    }
}

/// Where neither host is.
pub(super) fn elsewhere() -> SocketAddr {
    SocketAddr::from(([198, 51, 100, 7], 4500))
}
