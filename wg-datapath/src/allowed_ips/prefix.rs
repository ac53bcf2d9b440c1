//! One allowed IP: an address and how many of its leading bits count (C136).

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A block of addresses, written `address/length`; the host bits are always zero.
///
/// An IPv4-mapped IPv6 prefix stays IPv6: inside the tunnel the two are different packets.
/// The order is the family, the address, then the length.
///
/// # Examples
///
/// ```
/// use wg_datapath::IpPrefix;
///
/// let prefix = IpPrefix::new("10.1.2.3".parse().unwrap(), 24).unwrap();
/// assert_eq!(prefix.to_string(), "10.1.2.0/24");
/// assert!(prefix.contains("10.1.2.255".parse().unwrap()));
/// assert!(IpPrefix::new("10.1.2.3".parse().unwrap(), 33).is_err());
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IpPrefix {
    addr: IpAddr,
    len: u8,
}

impl IpPrefix {
    /// Makes the prefix of `len` bits that holds `addr`, with the host bits cleared.
    ///
    /// # Errors
    ///
    /// [`InvalidPrefix`] when `len` is more than the 32 or 128 bits of the address.
    pub const fn new(addr: IpAddr, len: u8) -> Result<Self, InvalidPrefix> {
        let addr = match addr {
            IpAddr::V4(v4) if len <= 32 => IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() & mask_v4(len))),
            IpAddr::V6(v6) if len <= 128 => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & mask_v6(len))),
            _ => return Err(InvalidPrefix { len }),
        };
        Ok(Self { addr, len })
    }

    /// The first address of the block.
    pub const fn addr(&self) -> IpAddr {
        self.addr
    }

    /// How many leading bits are fixed.
    #[expect(clippy::len_without_is_empty, reason = "a prefix length, not a number of elements")]
    pub const fn len(&self) -> u8 {
        self.len
    }

    /// Whether `addr` lies in the block.
    pub const fn contains(&self, addr: IpAddr) -> bool {
        match (self.addr, addr) {
            (IpAddr::V4(own), IpAddr::V4(other)) => own.to_bits() == other.to_bits() & mask_v4(self.len),
            (IpAddr::V6(own), IpAddr::V6(other)) => own.to_bits() == other.to_bits() & mask_v6(self.len),
            _ => false,
        }
    }
}

impl fmt::Display for IpPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.addr, self.len)
    }
}

impl fmt::Debug for IpPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A prefix length that the address family does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidPrefix {
    len: u8,
}

impl fmt::Display for InvalidPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "prefix length {} exceeds the address", self.len)
    }
}

impl core::error::Error for InvalidPrefix {}

const fn mask_v4(len: u8) -> u32 {
    match u32::MAX.checked_shl(32 - len as u32) {
        Some(mask) => mask,
        None => 0,
    }
}

const fn mask_v6(len: u8) -> u128 {
    match u128::MAX.checked_shl(128 - len as u32) {
        Some(mask) => mask,
        None => 0,
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::string::ToString;

    use super::*;

    fn prefix(addr: &str, len: u8) -> IpPrefix {
        IpPrefix::new(addr.parse().unwrap(), len).unwrap()
    }

    #[test]
    fn host_bits_are_masked_on_store_and_show() {
        for (addr, len, shown) in [
            ("192.168.4.77", 0, "0.0.0.0/0"),
            ("192.168.4.77", 1, "128.0.0.0/1"),
            ("192.168.4.77", 23, "192.168.4.0/23"),
            ("192.168.4.77", 31, "192.168.4.76/31"),
            ("192.168.4.77", 32, "192.168.4.77/32"),
            ("2607:5300:60:6b0::c05f:543", 0, "::/0"),
            ("2607:5300:60:6b0::c05f:543", 36, "2607:5300::/36"),
            ("2607:5300:60:6b0::c05f:543", 127, "2607:5300:60:6b0::c05f:542/127"),
            ("2607:5300:60:6b0::c05f:543", 128, "2607:5300:60:6b0::c05f:543/128"),
        ] {
            assert_eq!(prefix(addr, len).to_string(), shown);
        }
    }

    #[test]
    fn lengths_past_the_address_are_refused() {
        assert!(IpPrefix::new("1.2.3.4".parse().unwrap(), 33).is_err());
        assert!(IpPrefix::new("::1".parse().unwrap(), 129).is_err());
        assert!(IpPrefix::new("::1".parse().unwrap(), 255).is_err());
    }

    #[test]
    fn a_mapped_prefix_stays_ipv6() {
        let mapped = prefix("::ffff:1.2.3.4", 128);
        assert!(mapped.addr().is_ipv6());
        assert!(!mapped.contains("1.2.3.4".parse().unwrap()));
        assert!(!prefix("0.0.0.0", 0).contains("::ffff:1.2.3.4".parse().unwrap()));
    }

    #[test]
    fn order_is_family_address_length() {
        let mut all = [prefix("::", 0), prefix("10.0.0.0", 16), prefix("10.0.0.0", 8), prefix("9.0.0.0", 24)];
        all.sort_unstable();
        assert_eq!(
            all,
            [prefix("9.0.0.0", 24), prefix("10.0.0.0", 8), prefix("10.0.0.0", 16), prefix("::", 0)]
        );
    }
}
