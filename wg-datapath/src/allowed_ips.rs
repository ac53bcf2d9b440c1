//! Cryptokey routing: which peer owns an inner address (C64, C81, C136, C137).
//!
//! A prefix has one owner at most; giving it to another peer moves it. The longest prefix that holds an
//! address decides, over the whole device, for the destination of a packet going out and for the source of
//! one coming in. Lookups do not allocate and touch a handful of cache lines; see [`table`] for the form.
//!
//! Beside the compiled table stands a set ordered by peer, so that one peer's prefixes can be listed or
//! removed without a scan of all others.

mod blocks;
mod key;
mod prefix;
mod table;

#[cfg(test)]
mod tests;

use alloc::collections::BTreeSet;
use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::ops::RangeInclusive;

pub use prefix::{InvalidPrefix, IpPrefix};

use key::Address;
use table::Table;

/// A peer's place in the device's tables: small, dense, and reused after the peer is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerSlot(u32);

impl PeerSlot {
    /// The slot number `slot`.
    ///
    /// # Panics
    ///
    /// On `u32::MAX`, which no device reaches.
    #[must_use]
    pub const fn new(slot: u32) -> Self {
        assert!(slot != u32::MAX, "slot numbers are dense");
        Self(slot)
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The number as an index into a table with one row per peer.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// The allowed IPs of all peers of a device.
///
/// # Examples
///
/// ```
/// use wg_datapath::{AllowedIps, IpPrefix, PeerSlot};
///
/// let [office, laptop] = [PeerSlot::new(0), PeerSlot::new(1)];
/// let mut ips = AllowedIps::new();
/// ips.insert(IpPrefix::new([10, 0, 0, 0].into(), 8)?, office)?;
/// ips.insert(IpPrefix::new([10, 0, 0, 7].into(), 32)?, laptop)?;
/// assert_eq!(ips.lookup([10, 0, 0, 7].into()), Some(laptop));
/// assert_eq!(ips.lookup([10, 0, 0, 8].into()), Some(office));
/// assert_eq!(ips.lookup([11, 0, 0, 8].into()), None);
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
#[derive(Clone, Default)]
pub struct AllowedIps {
    v4: Family<u32>,
    v6: Family<[u8; 16]>,
}

impl AllowedIps {
    /// An empty table; allocates nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Gives `prefix` to `peer` and returns who had it before, `peer` itself included.
    ///
    /// # Errors
    ///
    /// [`TooManyPrefixes`] if nobody has it and there are 2^24 of its address family; nothing changes.
    pub fn insert(&mut self, prefix: IpPrefix, peer: PeerSlot) -> Result<Option<PeerSlot>, TooManyPrefixes> {
        match prefix.addr() {
            IpAddr::V4(addr) => self.v4.insert(addr.to_bits(), prefix.len(), peer),
            IpAddr::V6(addr) => self.v6.insert(addr.octets(), prefix.len(), peer),
        }
    }

    /// Takes `prefix` away from `peer`; false, and nothing changes, unless it is theirs.
    pub fn remove(&mut self, prefix: IpPrefix, peer: PeerSlot) -> bool {
        match prefix.addr() {
            IpAddr::V4(addr) => self.v4.remove(addr.to_bits(), prefix.len(), peer),
            IpAddr::V6(addr) => self.v6.remove(addr.octets(), prefix.len(), peer),
        }
    }

    /// Removes every prefix of `peer` and returns how many there were.
    pub fn remove_peer(&mut self, peer: PeerSlot) -> usize {
        self.v4.remove_peer(peer) + self.v6.remove_peer(peer)
    }

    /// The owner of the longest prefix that holds `addr`.
    #[inline]
    #[must_use]
    pub fn lookup(&self, addr: IpAddr) -> Option<PeerSlot> {
        match addr {
            IpAddr::V4(addr) => self.lookup_v4(addr),
            IpAddr::V6(addr) => self.lookup_v6(addr),
        }
    }

    /// [`AllowedIps::lookup`] for an IPv4 address.
    #[inline]
    #[must_use]
    pub fn lookup_v4(&self, addr: Ipv4Addr) -> Option<PeerSlot> {
        self.v4.table.lookup(addr.to_bits().key())
    }

    /// [`AllowedIps::lookup`] for an IPv6 address, IPv4-mapped ones included.
    #[inline]
    #[must_use]
    pub fn lookup_v6(&self, addr: Ipv6Addr) -> Option<PeerSlot> {
        self.v6.table.lookup(addr.octets().key())
    }

    /// The prefixes of `peer` in order, whatever order they were inserted in.
    pub fn prefixes_of(&self, peer: PeerSlot) -> impl Iterator<Item = IpPrefix> + '_ {
        let v4 = self.v4.prefixes_of(peer).map(|(addr, len)| (IpAddr::from(addr.to_be_bytes()), len));
        let v6 = self.v6.prefixes_of(peer).map(|(addr, len)| (IpAddr::from(addr), len));
        v4.chain(v6).filter_map(|(addr, len)| IpPrefix::new(addr, len).ok())
    }

    /// How many prefixes have an owner.
    #[must_use]
    pub fn len(&self) -> usize {
        self.v4.table.len() + self.v6.table.len()
    }

    /// Whether no prefix has an owner.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// An upper bound of the memory held, the value itself included.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        size_of::<Self>() + self.v4.memory_bytes() + self.v6.memory_bytes()
    }
}

impl fmt::Debug for AllowedIps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AllowedIps").field("prefixes", &self.len()).finish_non_exhaustive()
    }
}

/// There are as many prefixes of an address family as there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyPrefixes {
    max: usize,
}

impl fmt::Display for TooManyPrefixes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "there are {} prefixes of this family", self.max)
    }
}

impl core::error::Error for TooManyPrefixes {}

/// The prefixes of one address family.
#[derive(Clone)]
struct Family<A: Address> {
    table: Table<A::Key>,
    by_peer: BTreeSet<(PeerSlot, A, u8)>,
}

impl<A: Address> Default for Family<A> {
    fn default() -> Self {
        Self { table: Table::default(), by_peer: BTreeSet::new() }
    }
}

impl<A: Address> Family<A> {
    fn insert(&mut self, addr: A, len: u8, peer: PeerSlot) -> Result<Option<PeerSlot>, TooManyPrefixes> {
        let previous = self.table.insert(addr.key(), A::PAD + len, peer)?;
        if let Some(previous) = previous {
            self.by_peer.remove(&(previous, addr, len));
        }
        self.by_peer.insert((peer, addr, len));
        Ok(previous)
    }

    fn remove(&mut self, addr: A, len: u8, peer: PeerSlot) -> bool {
        let removed = self.table.remove(addr.key(), A::PAD + len, peer);
        if removed {
            self.by_peer.remove(&(peer, addr, len));
            if self.table.is_sparse() {
                self.rebuild();
            }
        }
        removed
    }

    fn remove_peer(&mut self, peer: PeerSlot) -> usize {
        let before = self.table.len();
        loop {
            let first = self.prefixes_of(peer).next();
            let Some((addr, len)) = first else { break };
            self.remove(addr, len, peer);
        }
        before - self.table.len()
    }

    fn prefixes_of(&self, peer: PeerSlot) -> impl Iterator<Item = (A, u8)> + '_ {
        self.by_peer.range(Self::range_of(peer)).map(|&(_, addr, len)| (addr, len))
    }

    fn range_of(peer: PeerSlot) -> RangeInclusive<(PeerSlot, A, u8)> {
        (peer, A::FIRST, 0)..=(peer, A::LAST, u8::MAX)
    }

    /// Inserts everything into a new table, which leaves no free blocks behind.
    fn rebuild(&mut self) {
        let mut table = Table::default();
        for &(peer, addr, len) in &self.by_peer {
            let inserted = table.insert(addr.key(), A::PAD + len, peer);
            debug_assert!(inserted.is_ok(), "as many as there were");
        }
        self.table = table;
    }

    fn memory_bytes(&self) -> usize {
        // A tree node has room for 11 values and holds at least five.
        const ROOM: usize = 11;
        const OVERHEAD: usize = 16;
        let nodes = self.by_peer.len().div_ceil(5);
        self.table.memory_bytes() + nodes * (ROOM * size_of::<(PeerSlot, A, u8)>() + OVERHEAD)
    }
}
