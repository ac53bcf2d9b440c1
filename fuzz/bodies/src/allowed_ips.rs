//! Any sequence of changes and lookups in the table of allowed IPs, beside a list that is scanned (C64, C136, C137).

use core::net::IpAddr;

use wg_datapath::{AllowedIps, IpPrefix, PeerSlot};

use crate::input::Input;

/// A prefix with its owner; the address is written out as 128 bits, the family apart.
type Entry = (bool, u128, u8, u32);

#[derive(Default)]
struct List(Vec<Entry>);

/// The bits of an address, at the upper end.
fn bits(addr: IpAddr) -> (bool, u128) {
    match addr {
        IpAddr::V4(addr) => (false, u128::from(addr.to_bits()) << 96),
        IpAddr::V6(addr) => (true, addr.to_bits()),
    }
}

fn mask(len: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(len)).unwrap_or(0)
}

impl List {
    fn owner(&self, v6: bool, addr: u128, len: u8) -> Option<usize> {
        self.0.iter().position(|entry| (entry.0, entry.1, entry.2) == (v6, addr & mask(len), len))
    }

    fn insert(&mut self, (v6, addr): (bool, u128), len: u8, peer: u32) -> Option<u32> {
        let before = self.owner(v6, addr, len).map(|at| self.0.swap_remove(at).3);
        self.0.push((v6, addr & mask(len), len, peer));
        before
    }

    fn remove(&mut self, (v6, addr): (bool, u128), len: u8, peer: u32) -> bool {
        let at = self.owner(v6, addr, len).filter(|at| self.0[*at].3 == peer);
        at.map(|at| self.0.swap_remove(at)).is_some()
    }

    fn lookup(&self, (v6, addr): (bool, u128)) -> Option<u32> {
        let holds = |entry: &&Entry| entry.0 == v6 && addr & mask(entry.2) == entry.1;
        self.0.iter().filter(holds).max_by_key(|entry| entry.2).map(|entry| entry.3)
    }

    fn of(&self, peer: u32) -> Vec<Entry> {
        let mut all: Vec<Entry> = self.0.iter().filter(|entry| entry.3 == peer).copied().collect();
        all.sort_unstable();
        all
    }
}

/// An address, often near one of a few.
fn address(input: &mut Input<'_>) -> IpAddr {
    match input.below(6) {
        0 => IpAddr::from(input.array::<4>()),
        1 => IpAddr::from(input.array::<16>()),
        2 => IpAddr::from([10, 0, input.byte() & 3, input.byte() & 0x83]),
        3 => IpAddr::from([input.byte() & 0xc0, 0, 0, input.byte()]),
        4 => {
            let mut addr = [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
            let at = usize::from(input.byte() & 15);
            addr[at] = input.byte();
            IpAddr::from(addr)
        }
        _ => {
            let [a, b, c, d] = input.array();
            IpAddr::from([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d])
        }
    }
}

/// Changes both and looks into both.
///
/// # Panics
///
/// If table and list disagree.
pub fn allowed_ips(data: &[u8]) {
    let mut input = Input::new(data);
    let (mut table, mut list) = (AllowedIps::new(), List::default());
    let mut asked = Vec::new();
    for _ in 0..300 {
        if input.is_empty() {
            break;
        }
        let what = input.below(8);
        let peer = u32::from(input.below(5));
        let slot = PeerSlot::new(peer);
        if what == 0 {
            assert_eq!(table.remove_peer(slot), list.of(peer).len());
            list.0.retain(|entry| entry.3 != peer);
            continue;
        }
        let addr = address(&mut input);
        asked.push(addr);
        if what >= 6 {
            assert_eq!(table.lookup(addr).map(PeerSlot::get), list.lookup(bits(addr)), "{addr}");
            continue;
        }
        let len = input.byte();
        let widest = if addr.is_ipv4() { 32 } else { 128 };
        let Ok(prefix) = IpPrefix::new(addr, len) else {
            assert!(len > widest, "{addr}/{len} is a prefix");
            continue;
        };
        assert!(len <= widest, "{addr}/{len} is none");
        assert_eq!((bits(prefix.addr()).1, prefix.len()), (bits(addr).1 & mask(len), len));
        if what == 1 {
            assert_eq!(table.remove(prefix, slot), list.remove(bits(addr), len, peer), "-{prefix}");
        } else {
            let before = table.insert(prefix, slot).expect("few prefixes").map(PeerSlot::get);
            assert_eq!(before, list.insert(bits(addr), len, peer), "+{prefix}");
        }
        assert_eq!(table.len(), list.0.len());
    }
    for addr in asked {
        assert_eq!(table.lookup(addr).map(PeerSlot::get), list.lookup(bits(addr)), "{addr}");
    }
    for peer in 0..5 {
        let mut listed: Vec<Entry> = table
            .prefixes_of(PeerSlot::new(peer))
            .map(|prefix| (bits(prefix.addr()).0, bits(prefix.addr()).1, prefix.len(), peer))
            .collect();
        listed.sort_unstable();
        assert_eq!(listed, list.of(peer));
    }
    assert_eq!(table.is_empty(), list.0.is_empty());
}
