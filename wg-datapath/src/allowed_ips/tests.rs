//! Tables of hand-picked cases; the random comparison with a linear scan is in `tests/allowed_ips_oracle.rs`.

extern crate std;
use std::vec::Vec;

use super::*;

fn peer(slot: u32) -> PeerSlot {
    PeerSlot::new(slot)
}

fn prefix(text: &str) -> IpPrefix {
    let (addr, len) = text.split_once('/').unwrap();
    IpPrefix::new(addr.parse().unwrap(), len.parse().unwrap()).unwrap()
}

fn table(entries: &[(&str, u32)]) -> AllowedIps {
    let mut ips = AllowedIps::new();
    for &(text, owner) in entries {
        ips.insert(prefix(text), peer(owner)).unwrap();
        ips.check();
    }
    ips
}

fn owner(ips: &AllowedIps, addr: &str) -> Option<u32> {
    ips.lookup(addr.parse().unwrap()).map(PeerSlot::get)
}

fn listed(ips: &AllowedIps, slot: u32) -> Vec<IpPrefix> {
    ips.prefixes_of(peer(slot)).collect()
}

impl AllowedIps {
    fn check(&self) {
        self.v4.table.check_invariants();
        self.v6.table.check_invariants();
        assert_eq!(self.v4.by_peer.len() + self.v6.by_peer.len(), self.len());
    }
}

#[test]
fn the_longest_prefix_decides() {
    // C64, C81: one answer for the whole device, whoever else has a prefix around the address.
    let ips = table(&[
        ("0.0.0.0/0", 0),
        ("10.0.0.0/8", 1),
        ("10.64.0.0/10", 2),
        ("10.64.0.0/16", 3),
        ("10.64.0.0/17", 4),
        ("10.64.3.0/24", 5),
        ("10.64.3.4/30", 6),
        ("10.64.3.5/32", 7),
        ("::/0", 8),
        ("fd00::/8", 9),
        ("fd00:1::/32", 10),
        ("fd00:1::/64", 11),
        ("fd00:1::2/127", 12),
        ("fd00:1::3/128", 13),
    ]);
    for (addr, expected) in [
        ("9.255.255.255", 0),
        ("10.0.0.0", 1),
        ("10.63.255.255", 1),
        ("10.65.0.0", 2),
        ("10.64.128.0", 3),
        ("10.64.127.255", 4),
        ("10.64.3.3", 5),
        ("10.64.3.4", 6),
        ("10.64.3.5", 7),
        ("10.64.3.8", 5),
        ("11.0.0.0", 0),
        ("fcff:ffff::", 8),
        ("fd00::1", 9),
        ("fd00:1:0:1::", 10),
        ("fd00:1::1", 11),
        ("fd00:1::2", 12),
        ("fd00:1::3", 13),
        ("fd00:1::4", 11),
        ("::ffff:10.64.3.5", 8),
    ] {
        assert_eq!(owner(&ips, addr), Some(expected), "{addr}");
    }
}

#[test]
fn every_length_of_both_families_is_told_apart() {
    // All prefixes of one address, and the address with each bit flipped in turn.
    let v4 = 0xac1f_5a96_u32;
    let v6 = 0x2001_0db8_85a3_08d3_1319_8a2e_0370_7344_u128;
    let mut ips = AllowedIps::new();
    for len in 0..=32 {
        ips.insert(IpPrefix::new(IpAddr::V4(v4.into()), len).unwrap(), peer(len.into())).unwrap();
    }
    for len in 0..=128 {
        ips.insert(IpPrefix::new(IpAddr::V6(v6.into()), len).unwrap(), peer(len.into())).unwrap();
    }
    ips.check();
    assert_eq!(ips.lookup_v4(v4.into()), Some(peer(32)));
    assert_eq!(ips.lookup_v6(v6.into()), Some(peer(128)));
    for bit in 0..32 {
        assert_eq!(ips.lookup_v4((v4 ^ 1 << (31 - bit)).into()), Some(peer(bit)));
    }
    for bit in 0..128 {
        assert_eq!(ips.lookup_v6((v6 ^ 1 << (127 - bit)).into()), Some(peer(bit)));
    }
}

#[test]
fn a_prefix_moves_to_its_last_owner() {
    // C136
    let mut ips = table(&[("10.0.0.0/24", 1), ("fd00::/64", 1)]);
    assert_eq!(ips.insert(prefix("10.0.0.77/24"), peer(2)), Ok(Some(peer(1))));
    assert_eq!(ips.insert(prefix("10.0.0.0/24"), peer(2)), Ok(Some(peer(2))));
    assert_eq!(ips.insert(prefix("10.0.0.0/25"), peer(3)), Ok(None));
    assert_eq!(owner(&ips, "10.0.0.200"), Some(2));
    assert_eq!(listed(&ips, 1), [prefix("fd00::/64")]);
    assert_eq!(listed(&ips, 2), [prefix("10.0.0.0/24")]);
    assert_eq!(ips.len(), 3);
    ips.check();
}

#[test]
fn a_full_family_takes_no_prefix_more_and_stays_as_it_was() {
    let mut ips = table(&[("10.0.0.0/24", 1), ("10.0.1.0/24", 1), ("fd00::/64", 1)]);
    ips.v4.table.pretend_len(table::MAX_PREFIXES);
    // In a node of its own, behind a new fork, and in a node that is there.
    for text in ["192.0.2.0/24", "10.0.0.0/32", "10.0.0.128/25", "10.0.2.0/24", "0.0.0.0/0"] {
        let full = ips.insert(prefix(text), peer(2));
        assert_eq!(full, Err(TooManyPrefixes { max: 16_777_216 }), "{text}");
    }
    assert_eq!(ips.insert(prefix("10.0.1.0/24"), peer(2)), Ok(Some(peer(1))), "it is none more");
    assert_eq!(ips.insert(prefix("fd00::/65"), peer(2)), Ok(None), "the families are apart");
    ips.v4.table.pretend_len(2);
    ips.check();
    assert_eq!((listed(&ips, 1).len(), listed(&ips, 2).len()), (2, 2));
    assert_eq!((owner(&ips, "192.0.2.1"), owner(&ips, "10.0.1.1")), (None, Some(2)));
}

#[test]
fn removing_what_another_peer_owns_changes_nothing() {
    // C136
    let mut ips = table(&[("10.0.0.0/24", 1), ("10.0.0.0/16", 2)]);
    assert!(!ips.remove(prefix("10.0.0.0/24"), peer(2)));
    assert!(!ips.remove(prefix("10.0.0.0/23"), peer(1)));
    assert!(!ips.remove(prefix("::/0"), peer(1)));
    assert_eq!(owner(&ips, "10.0.0.1"), Some(1));
    assert!(ips.remove(prefix("10.0.0.9/24"), peer(1)));
    assert_eq!(owner(&ips, "10.0.0.1"), Some(2));
    assert!(!ips.remove(prefix("10.0.0.0/24"), peer(1)));
    ips.check();

    let mut alone = table(&[("10.1.2.3/32", 1)]);
    assert!(!alone.remove(prefix("10.9.2.3/32"), peer(1)));
    assert!(!alone.remove(prefix("10.1.2.0/24"), peer(1)));
    assert_eq!(owner(&alone, "10.1.2.3"), Some(1));
}

#[test]
fn a_peer_is_listed_in_order_and_removed_whole() {
    let entries = [
        ("fd00::/64", 1),
        ("10.9.0.0/16", 1),
        ("10.0.0.0/16", 2),
        ("10.0.0.0/8", 1),
        ("::/0", 1),
        ("10.9.0.0/15", 1),
    ];
    let sorted = ["10.0.0.0/8", "10.8.0.0/15", "10.9.0.0/16", "::/0", "fd00::/64"].map(prefix);
    let mut ips = table(&entries);
    assert_eq!(listed(&ips, 1), sorted);
    let mut reversed = entries;
    reversed.reverse();
    assert_eq!(listed(&table(&reversed), 1), sorted);

    assert_eq!(ips.remove_peer(peer(1)), 5);
    ips.check();
    assert_eq!(listed(&ips, 1), []);
    assert_eq!((owner(&ips, "10.9.0.1"), owner(&ips, "10.0.0.1"), ips.len()), (None, Some(2), 1));
    assert_eq!(ips.remove_peer(peer(1)), 0);
}

#[test]
fn neighbours_survive_each_removal_order() {
    let entries = [
        ("10.0.0.0/8", 1),
        ("10.1.0.0/16", 2),
        ("10.1.2.0/24", 3),
        ("10.1.2.3/32", 4),
        ("10.1.2.2/32", 5),
        ("10.200.0.0/16", 6),
        ("192.168.0.0/16", 7),
    ];
    for first in 0..entries.len() {
        for step in 1..entries.len() {
            let mut ips = table(&entries);
            let mut left: Vec<usize> = (0..entries.len()).collect();
            let mut at = first;
            while !left.is_empty() {
                at = (at + step) % left.len();
                let (text, owner) = entries[left.remove(at)];
                assert!(ips.remove(prefix(text), peer(owner)));
                ips.check();
                for &other in &left {
                    assert_eq!(listed(&ips, entries[other].1), [prefix(entries[other].0)]);
                    assert!(ips.lookup(prefix(entries[other].0).addr()).is_some());
                }
            }
            assert!(ips.is_empty());
        }
    }
}

#[test]
fn the_direct_table_comes_with_many_prefixes_and_goes_with_them() {
    let mut ips = table(&[("0.0.0.0/0", 0), ("10.0.0.0/9", 1), ("::/0", 0), ("fc00::/7", 1)]);
    let v4 = |n: u32| IpPrefix::new(IpAddr::V4((0x0a00_0000 + n * 64).into()), 26).unwrap();
    let v6 = |n: u32| IpPrefix::new(IpAddr::V6((0xfd00 << 112 | u128::from(n) << 64).into()), 64).unwrap();
    let small = ips.memory_bytes();
    assert!(small < 4096, "{small} bytes for four prefixes");
    for n in 0..5000 {
        ips.insert(v4(n), peer(2)).unwrap();
        ips.insert(v6(n), peer(2)).unwrap();
    }
    ips.check();
    assert!(ips.v4.table.has_direct() && ips.v6.table.has_direct());
    assert!(ips.memory_bytes() < 3 << 20, "{} bytes for 10,000 prefixes", ips.memory_bytes());
    for (addr, expected) in [
        ("10.0.0.1", 2),
        ("10.4.225.255", 2),
        ("10.4.226.0", 1),
        ("10.128.0.0", 0),
        ("9.0.0.0", 0),
        ("fd00:0:0:1387::1", 2),
        ("fd00:0:0:1388::1", 1),
        ("fe00::", 0),
    ] {
        assert_eq!(owner(&ips, addr), Some(expected), "{addr}");
    }
    for n in 0..5000 {
        assert!(ips.remove(v4(n), peer(2)) && ips.remove(v6(n), peer(2)));
    }
    ips.check();
    assert!(!ips.v4.table.has_direct() && !ips.v6.table.has_direct());
    assert!(ips.memory_bytes() < 64 << 10, "{} bytes left for four prefixes", ips.memory_bytes());
}

#[test]
fn short_prefixes_change_under_the_direct_table() {
    let mut ips = AllowedIps::new();
    for n in 0..5000_u32 {
        ips.insert(IpPrefix::new(IpAddr::V4((n << 17).into()), 24).unwrap(), peer(9)).unwrap();
        ips.insert(IpPrefix::new(IpAddr::V6((u128::from(n) << 109).into()), 40).unwrap(), peer(9)).unwrap();
    }
    for (text, inside, slot) in [
        ("0.0.0.0/0", "200.1.2.3", 1),
        ("200.0.0.0/5", "200.1.2.3", 2),
        ("200.0.0.0/12", "200.1.2.3", 3),
        ("200.1.0.0/15", "200.1.2.3", 4),
        ("200.1.0.0/16", "200.1.2.3", 5),
        ("200.1.2.0/23", "200.1.2.3", 6),
        ("::/0", "ff02::1", 1),
        ("ff00::/8", "ff02::1", 2),
        ("ff00::/11", "ff02::1", 3),
        ("ff00::/12", "ff02::1", 4),
        ("ff02::/16", "ff02::1", 5),
    ] {
        ips.insert(prefix(text), peer(slot)).unwrap();
        ips.check();
        assert_eq!(owner(&ips, inside), Some(slot), "{text}");
    }
    for (text, inside, slot, next) in [
        ("200.0.0.0/12", "200.1.2.3", 3, 6),
        ("200.1.2.0/23", "200.1.2.3", 6, 5),
        ("200.1.0.0/16", "200.1.2.3", 5, 4),
        ("200.1.0.0/15", "200.1.2.3", 4, 2),
        ("200.0.0.0/5", "200.1.2.3", 2, 1),
        ("ff00::/11", "ff02::1", 3, 5),
        ("ff02::/16", "ff02::1", 5, 4),
        ("ff00::/12", "ff02::1", 4, 2),
        ("ff00::/8", "ff02::1", 2, 1),
    ] {
        assert!(ips.remove(prefix(text), peer(slot)));
        ips.check();
        assert_eq!(owner(&ips, inside), Some(next), "without {text}");
    }
}

#[test]
fn lone_subtrees_move_under_the_direct_table() {
    let mut ips = AllowedIps::new();
    for n in 0..4096_u32 {
        ips.insert(IpPrefix::new(IpAddr::V4((0x6000_0000 | n << 12).into()), 24).unwrap(), peer(9)).unwrap();
    }
    assert!(ips.v4.table.has_direct());
    // The /12 forks the way to the /16 without covering it; then each of them is left alone in turn.
    for (insert, text, inside, expected) in [
        (true, "10.32.0.0/16", "10.32.0.1", Some(1)),
        (true, "10.0.0.0/12", "10.32.0.1", Some(1)),
        (false, "10.0.0.0/12", "10.32.0.1", Some(1)),
        (true, "10.0.0.0/16", "10.32.0.1", Some(1)),
        (false, "10.0.0.0/16", "10.32.0.1", Some(1)),
        (true, "10.32.7.0/30", "10.32.7.1", Some(1)),
        (false, "10.32.0.0/16", "10.32.7.1", Some(1)),
        (false, "10.32.7.0/30", "10.32.7.1", None),
    ] {
        if insert {
            ips.insert(prefix(text), peer(1)).unwrap();
        } else {
            assert!(ips.remove(prefix(text), peer(1)));
        }
        ips.check();
        assert_eq!(owner(&ips, inside), expected, "after {text}");
    }
}

#[test]
fn the_direct_table_goes_at_half_of_what_brings_it() {
    let nth = |n: u32| IpPrefix::new(IpAddr::V4((n << 8).into()), 24).unwrap();
    let mut ips = AllowedIps::new();
    for n in 0..4095 {
        ips.insert(nth(n), peer(1)).unwrap();
    }
    assert!(!ips.v4.table.has_direct());
    ips.insert(nth(4095), peer(1)).unwrap();
    assert!(ips.v4.table.has_direct());
    for n in 2048..4096 {
        ips.remove(nth(n), peer(1));
    }
    assert!(ips.v4.table.has_direct());
    ips.remove(nth(0), peer(1));
    assert!(!ips.v4.table.has_direct());
    assert_eq!(owner(&ips, "0.0.1.1"), Some(1));
}

#[test]
fn emptied_tables_hold_no_memory() {
    // C137
    let mut ips = AllowedIps::new();
    let empty = ips.memory_bytes();
    assert_eq!(empty, size_of::<AllowedIps>());
    for n in 0..20_000_u32 {
        ips.insert(IpPrefix::new(IpAddr::V4(n.wrapping_mul(0x9e37_79b9).into()), 32).unwrap(), peer(n % 3))
            .unwrap();
        ips.insert(IpPrefix::new(IpAddr::V6((u128::from(n) << 77).into()), 64).unwrap(), peer(n % 3))
            .unwrap();
    }
    for slot in 0..3 {
        ips.remove_peer(peer(slot));
    }
    assert!(ips.is_empty());
    assert_eq!(ips.memory_bytes(), empty);
    assert_eq!(owner(&ips, "1.2.3.4"), None);
}
