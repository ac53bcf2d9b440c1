//! A table of allowed IPs and the addresses to look up in it.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use wg_datapath::{AllowedIps, IpPrefix, PeerSlot};

/// Sizes of the table.
pub const PREFIXES: [usize; 3] = [1, 1000, 100_000];

/// How many addresses one pass looks up: more than a branch predictor learns by heart.
const ADDRESSES: usize = 1 << 14;

/// IPv4 or IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressFamily {
    /// Prefixes of 16 to 32 bits, anywhere.
    V4,
    /// Prefixes of 32 to 128 bits, in `2000::/3`.
    V6,
}

impl AddressFamily {
    /// Both.
    pub const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// The name in a report.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }

    fn draw(self, rng: &mut ChaCha8Rng) -> IpAddr {
        match self {
            Self::V4 => Ipv4Addr::from_bits(rng.next_u32()).into(),
            Self::V6 => {
                let bits = u128::from(rng.next_u64()) << 64 | u128::from(rng.next_u64());
                Ipv6Addr::from_bits(bits >> 3 | 1 << 125).into()
            }
        }
    }

    fn draw_len(self, rng: &mut ChaCha8Rng) -> u8 {
        let lens: [u8; 8] = match self {
            Self::V4 => [16, 20, 24, 24, 28, 32, 32, 32],
            Self::V6 => [32, 40, 48, 48, 56, 64, 64, 128],
        };
        lens[rng.next_u32() as usize % lens.len()]
    }

    /// An address that shares the first `len` bits with `prefix` and the others with `host`.
    fn join(prefix: IpAddr, len: u8, host: IpAddr) -> IpAddr {
        match (prefix, host) {
            (IpAddr::V4(prefix), IpAddr::V4(host)) => {
                let mask = u32::MAX.checked_shr(len.into()).unwrap_or(0);
                Ipv4Addr::from_bits(prefix.to_bits() | host.to_bits() & mask).into()
            }
            (IpAddr::V6(prefix), IpAddr::V6(host)) => {
                let mask = u128::MAX.checked_shr(len.into()).unwrap_or(0);
                Ipv6Addr::from_bits(prefix.to_bits() | host.to_bits() & mask).into()
            }
            _ => prefix,
        }
    }
}

/// Distinct random prefixes, the table of them, and addresses that all have an owner.
#[derive(Debug)]
pub struct Routes {
    table: AllowedIps,
    prefixes: Vec<IpPrefix>,
    addresses: Vec<IpAddr>,
}

impl Routes {
    /// Draws `count` prefixes; the same ones each time.
    ///
    /// # Panics
    ///
    /// If there are more than 2^24 prefixes.
    #[must_use]
    pub fn new(family: AddressFamily, count: usize) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let mut table = AllowedIps::new();
        let mut prefixes = Vec::with_capacity(count);
        while prefixes.len() < count {
            let (addr, len) = (family.draw(&mut rng), family.draw_len(&mut rng));
            let prefix = IpPrefix::new(addr, len).expect("the length fits");
            let owner = PeerSlot::new(u32::try_from(prefixes.len()).expect("few prefixes"));
            if table.insert(prefix, owner).expect("few prefixes").is_none() {
                prefixes.push(prefix);
            }
        }
        let draw = |_| {
            let prefix: IpPrefix = prefixes[rng.next_u32() as usize % count];
            AddressFamily::join(prefix.addr(), prefix.len(), family.draw(&mut rng))
        };
        let addresses = (0..ADDRESSES).map(draw).collect();
        Self { table, prefixes, addresses }
    }

    /// Looks every address up once; returns how many that was.
    ///
    /// # Panics
    ///
    /// If an address has no owner.
    pub fn lookup_all(&self) -> u64 {
        let found = self.addresses.iter().filter(|&&addr| self.table.lookup(addr).is_some()).count();
        assert_eq!(found, self.addresses.len());
        found as u64
    }

    /// Builds the table anew, prefix by prefix, and returns it.
    ///
    /// # Panics
    ///
    /// Never, as the prefixes have been in a table.
    #[must_use]
    pub fn build(&self) -> AllowedIps {
        let mut table = AllowedIps::new();
        for (slot, &prefix) in (0..).zip(&self.prefixes) {
            table.insert(prefix, PeerSlot::new(slot)).expect("as many as there are");
        }
        table
    }

    /// How many prefixes there are.
    #[must_use]
    pub const fn prefixes(&self) -> usize {
        self.prefixes.len()
    }

    /// The memory of the table in bytes.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.table.memory_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_has_an_owner() {
        for family in AddressFamily::ALL {
            for count in [1, 1000] {
                let routes = Routes::new(family, count);
                assert_eq!((routes.prefixes(), routes.build().len()), (count, count));
                assert_eq!(routes.lookup_all(), ADDRESSES as u64);
            }
        }
    }
}
