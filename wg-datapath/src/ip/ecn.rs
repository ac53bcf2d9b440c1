//! ECN between the inner and the outer header (RFC 3168, RFC 6040; C98), and how a header is changed.

#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::panic)]

use super::{Header, ecn};

/// The ECN field of an IP header (RFC 3168).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ecn {
    /// The transport does not understand ECN.
    #[default]
    NotEct,
    /// ECN-capable, codepoint 1.
    Ect1,
    /// ECN-capable, codepoint 0.
    Ect0,
    /// Congestion was experienced on the way.
    Ce,
}

impl Ecn {
    /// Reads the low two bits of a TOS or traffic class byte.
    #[must_use]
    pub const fn from_tos(tos: u8) -> Self {
        match tos & 3 {
            0 => Self::NotEct,
            1 => Self::Ect1,
            2 => Self::Ect0,
            _ => Self::Ce,
        }
    }

    /// The two bits, as the low end of a TOS or traffic class byte.
    #[must_use]
    pub const fn bits(self) -> u8 {
        match self {
            Self::NotEct => 0,
            Self::Ect1 => 1,
            Self::Ect0 => 2,
            Self::Ce => 3,
        }
    }

    /// What the outer header of a packet with this inner field carries: the same, but no congestion that
    /// did not happen outside (RFC 3168, 9.1.1; C98).
    #[must_use]
    pub const fn outer(self) -> Self {
        match self {
            Self::Ce => Self::Ect0,
            other => other,
        }
    }

    /// What a packet with this inner field carries on, having come under an outer header with the field `outer`
    /// (RFC 6040, 4.2).
    #[must_use]
    pub const fn combined(self, outer: Self) -> Combined {
        let ecn = match (self, outer) {
            (Self::NotEct, _) => Self::NotEct,
            (Self::Ce, _) | (_, Self::Ce) => Self::Ce,
            (_, Self::Ect1) => Self::Ect1,
            (inner, _) => inner,
        };
        Combined { ecn, is_lost: matches!((self, outer), (Self::NotEct, Self::Ce)) }
    }
}

/// What becomes of the ECN field of a packet that leaves a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Combined {
    /// What the packet carries.
    pub ecn: Ecn,
    /// Congestion that the transport cannot be told of by a mark. RFC 6040 drops the packet; C98 delivers it as it is, as the
    /// kernel does.
    pub is_lost: bool,
}

/// Marks an ECN-capable packet as having experienced congestion, and mends the IPv4 checksum (C98).
///
/// True if the packet carries the mark afterwards. One that is not ECN-capable, or not IP, is left alone.
pub fn mark_ce(packet: &mut [u8]) -> bool {
    ecn(packet) != Ecn::NotEct && set_ecn(packet, Ecn::Ce)
}

/// Changes the ECN field of a packet, and mends the IPv4 checksum. False if it is not IP.
pub fn set_ecn(packet: &mut [u8], ecn: Ecn) -> bool {
    match Header::split(packet) {
        Ok(Header::V4(_)) => {
            let [first, tos, _, _, _, _, _, _, _, _, high, low, ..] = packet else { return false };
            let before = u16::from_be_bytes([*first, *tos]);
            *tos = *tos & !3 | ecn.bits();
            let after = u16::from_be_bytes([*first, *tos]);
            if after != before {
                let checksum = u16::from_be_bytes([*high, *low]);
                [*high, *low] = updated_checksum(checksum, before, after).to_be_bytes();
            }
            true
        }
        Ok(Header::V6(_)) => {
            let [_, class_and_flow, ..] = packet else { return false };
            *class_and_flow = *class_and_flow & !0x30 | ecn.bits() << 4;
            true
        }
        Err(_) => false,
    }
}

/// The Internet checksum after one 16-bit word of the data changed (RFC 1624, equation 3).
fn updated_checksum(checksum: u16, before: u16, after: u16) -> u16 {
    let add = |a: u16, b: u16| {
        let (sum, carry) = a.overflowing_add(b);
        sum.wrapping_add(u16::from(carry))
    };
    !add(add(!checksum, !before), after)
}
