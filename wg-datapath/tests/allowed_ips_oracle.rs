//! The allowed-IPs table against a linear scan over a list of prefixes, and at its largest (C64, C136, C137).

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;
use proptest::sample::Index;
use wg_datapath::{AllowedIps, IpPrefix, PeerSlot};

/// The obvious implementation: a list, scanned.
#[derive(Default)]
struct Linear(Vec<(IpPrefix, PeerSlot)>);

impl Linear {
    fn insert(&mut self, prefix: IpPrefix, peer: PeerSlot) -> Option<PeerSlot> {
        let previous = self.0.iter().position(|&(own, _)| own == prefix).map(|at| self.0.remove(at).1);
        self.0.push((prefix, peer));
        previous
    }

    fn remove(&mut self, prefix: IpPrefix, peer: PeerSlot) -> bool {
        let before = self.0.len();
        self.0.retain(|&entry| entry != (prefix, peer));
        self.0.len() < before
    }

    fn remove_peer(&mut self, peer: PeerSlot) -> usize {
        let before = self.0.len();
        self.0.retain(|&(_, owner)| owner != peer);
        before - self.0.len()
    }

    fn lookup(&self, addr: IpAddr) -> Option<PeerSlot> {
        let holding = self.0.iter().filter(|(prefix, _)| prefix.contains(addr));
        holding.max_by_key(|(prefix, _)| prefix.len()).map(|&(_, owner)| owner)
    }

    fn pick(&self, which: Index) -> Option<(IpPrefix, PeerSlot)> {
        let youngest = &self.0[self.0.len().saturating_sub(60)..];
        (!youngest.is_empty()).then(|| youngest[which.index(youngest.len())])
    }

    fn prefixes_of(&self, peer: PeerSlot) -> Vec<IpPrefix> {
        let mut own: Vec<_> = self.0.iter().filter(|&&(_, owner)| owner == peer).map(|&(p, _)| p).collect();
        own.sort_unstable();
        own
    }
}

#[derive(Clone, Debug)]
enum Op {
    Insert(IpPrefix, PeerSlot),
    Remove(IpPrefix, PeerSlot),
    /// Of the youngest entries this one, from its owner.
    RemoveExisting(Index),
    /// Of the youngest entries this one, to this peer.
    Move(Index, PeerSlot),
    RemovePeer(PeerSlot),
    /// As many prefixes side by side as bring the direct tables in, all of one peer.
    Fill(u32),
    Lookup(IpAddr),
}

/// Addresses from a few clusters, so that prefixes nest, touch and share nodes.
fn v4() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        4 => any::<u16>().prop_map(|low| 0x0a01_0000 | u32::from(low)),
        2 => any::<u32>().prop_map(|low| 0x0a00_0000 | low & 0x00ff_ffff),
        2 => any::<u32>(),
        1 => prop_oneof![Just(0), Just(u32::MAX)],
    ]
    .prop_map(|bits| IpAddr::V4(Ipv4Addr::from_bits(bits)))
}

fn v6() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        4 => any::<u16>().prop_map(|low| 0xfd00_0001 << 96 | u128::from(low)),
        2 => any::<u64>().prop_map(|mid| 0xfd00_0001 << 96 | u128::from(mid) << 30),
        1 => any::<u32>().prop_map(|mapped| 0xffff << 32 | u128::from(mapped)),
        2 => any::<u128>(),
        1 => prop_oneof![Just(0), Just(u128::MAX)],
    ]
    .prop_map(|bits| IpAddr::V6(Ipv6Addr::from_bits(bits)))
}

fn prefix() -> impl Strategy<Value = IpPrefix> {
    prop_oneof![(v4(), 0..=32_u8), (v6(), 0..=128_u8)]
        .prop_map(|(addr, len)| IpPrefix::new(addr, len).expect("the length fits"))
}

fn peer() -> impl Strategy<Value = PeerSlot> {
    (0..6_u32).prop_map(PeerSlot::new)
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        12 => (prefix(), peer()).prop_map(|(prefix, peer)| Op::Insert(prefix, peer)),
        3 => (prefix(), peer()).prop_map(|(prefix, peer)| Op::Remove(prefix, peer)),
        4 => any::<Index>().prop_map(Op::RemoveExisting),
        3 => (any::<Index>(), peer()).prop_map(|(which, peer)| Op::Move(which, peer)),
        1 => peer().prop_map(Op::RemovePeer),
        4 => prop_oneof![v4(), v6()].prop_map(Op::Lookup),
    ]
}

/// The first and last address of a prefix and their outer neighbours.
fn edges(prefix: IpPrefix) -> [IpAddr; 4] {
    match prefix.addr() {
        IpAddr::V4(addr) => {
            let first = addr.to_bits();
            let last = first | u32::MAX.checked_shr(prefix.len().into()).unwrap_or(0);
            [first, last, first.wrapping_sub(1), last.wrapping_add(1)]
                .map(|bits| Ipv4Addr::from_bits(bits).into())
        }
        IpAddr::V6(addr) => {
            let first = addr.to_bits();
            let last = first | u128::MAX.checked_shr(prefix.len().into()).unwrap_or(0);
            [first, last, first.wrapping_sub(1), last.wrapping_add(1)]
                .map(|bits| Ipv6Addr::from_bits(bits).into())
        }
    }
}

fn filler(n: u32) -> [IpPrefix; 2] {
    let v4 = Ipv4Addr::from_bits(0x0a00_0000 + n * 0x1_0001);
    let v6 = Ipv6Addr::from_bits(0xfd00 << 112 | u128::from(n) << 59);
    [(v4.into(), 30), (v6.into(), 96)].map(|(addr, len)| IpPrefix::new(addr, len).expect("the length fits"))
}

fn apply(table: &mut AllowedIps, model: &mut Linear, op: &Op) {
    match *op {
        Op::Insert(prefix, peer) => {
            assert_eq!(table.insert(prefix, peer), Ok(model.insert(prefix, peer)));
            for addr in edges(prefix) {
                assert_eq!(table.lookup(addr), model.lookup(addr), "{addr} around {prefix}");
            }
        }
        Op::Remove(prefix, peer) => {
            assert_eq!(table.remove(prefix, peer), model.remove(prefix, peer));
            for addr in edges(prefix) {
                assert_eq!(table.lookup(addr), model.lookup(addr), "{addr} around {prefix}");
            }
        }
        Op::RemoveExisting(which) => {
            if let Some((prefix, owner)) = model.pick(which) {
                apply(table, model, &Op::Remove(prefix, owner));
            }
        }
        Op::Move(which, peer) => {
            if let Some((prefix, _)) = model.pick(which) {
                apply(table, model, &Op::Insert(prefix, peer));
            }
        }
        Op::RemovePeer(peer) => assert_eq!(table.remove_peer(peer), model.remove_peer(peer)),
        Op::Fill(n) => {
            for prefix in (0..n).flat_map(filler) {
                assert_eq!(table.insert(prefix, PeerSlot::new(9)), Ok(None));
                model.0.push((prefix, PeerSlot::new(9)));
            }
        }
        Op::Lookup(addr) => assert_eq!(table.lookup(addr), model.lookup(addr), "{addr}"),
    }
    assert_eq!(table.len(), model.0.len());
}

fn compare_all(table: &AllowedIps, model: &Linear) {
    for &(prefix, _) in model.0.iter().take(300) {
        for addr in edges(prefix) {
            assert_eq!(table.lookup(addr), model.lookup(addr), "{addr} around {prefix}");
        }
    }
    for peer in (0..10).map(PeerSlot::new) {
        assert!(table.prefixes_of(peer).eq(model.prefixes_of(peer)), "prefixes of {peer:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    #[test]
    fn any_sequence_of_changes_matches_a_linear_scan(ops in prop::collection::vec(op(), 1..120)) {
        let (mut table, mut model) = (AllowedIps::new(), Linear::default());
        for op in &ops {
            apply(&mut table, &mut model, op);
        }
        compare_all(&table, &model);
        for peer in (0..6).map(PeerSlot::new) {
            table.remove_peer(peer);
        }
        prop_assert!(table.is_empty());
        prop_assert_eq!(table.memory_bytes(), AllowedIps::new().memory_bytes());
    }

    #[test]
    fn removing_in_any_order_leaves_the_rest(
        entries in prop::collection::vec((prefix(), peer()), 1..60),
        order in any::<Index>(),
    ) {
        let (mut table, mut model) = (AllowedIps::new(), Linear::default());
        for &(prefix, peer) in &entries {
            apply(&mut table, &mut model, &Op::Insert(prefix, peer));
        }
        while !model.0.is_empty() {
            let (prefix, peer) = model.0[order.index(model.0.len())];
            apply(&mut table, &mut model, &Op::Remove(prefix, peer));
            compare_all(&table, &model);
        }
        prop_assert!(table.is_empty());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(6) })]

    #[test]
    fn large_tables_match_a_linear_scan(
        before in prop::collection::vec(op(), 0..40),
        during in prop::collection::vec(op(), 40..100),
        after in prop::collection::vec(op(), 0..40),
    ) {
        let (mut table, mut model) = (AllowedIps::new(), Linear::default());
        let mut run = |ops: &[Op]| ops.iter().for_each(|op| apply(&mut table, &mut model, op));
        run(&before);
        run(&[Op::Fill(5000)]);
        run(&during);
        run(&[Op::RemovePeer(PeerSlot::new(9))]);
        run(&after);
        compare_all(&table, &model);
    }
}

/// The set of the kernel's own test script: 255 x 256 prefixes of each family.
fn largest_legal_set() -> impl Iterator<Item = IpPrefix> {
    let v4 = |a: u8, b: u8| IpPrefix::new(Ipv4Addr::new(a, b, 0, 0).into(), 16);
    let v6 = |a: u8, b: u8| {
        IpPrefix::new(Ipv6Addr::new(0xfd00, u16::from_be_bytes([a, b]), 0, 0, 0, 0, 0, 1).into(), 128)
    };
    (1..=255)
        .flat_map(move |a| (0..=255).flat_map(move |b| [v4(a, b), v6(a, b)]))
        .map(|p| p.expect("the length fits"))
}

#[test]
fn the_largest_legal_set_fits_a_small_stack() {
    // Defect 46: 130,560 allowed IPs with 256 KiB of stack, inserted one by one.
    let thread = std::thread::Builder::new().stack_size(256 << 10).spawn(|| {
        let mut table = AllowedIps::new();
        for (n, prefix) in (0..).zip(largest_legal_set()) {
            assert_eq!(table.insert(prefix, PeerSlot::new(n % 7)), Ok(None));
        }
        assert_eq!(table.len(), 130_560);
        for (n, prefix) in (0..).zip(largest_legal_set()) {
            assert_eq!(table.lookup(prefix.addr()), Some(PeerSlot::new(n % 7)));
        }
        let copy = table.clone();
        for peer in (0..7).map(PeerSlot::new) {
            assert!(table.prefixes_of(peer).is_sorted());
            assert_eq!(table.prefixes_of(peer).count(), table.remove_peer(peer));
        }
        assert!(table.is_empty());
        assert_eq!(copy.lookup([255, 255, 1, 1].into()), Some(PeerSlot::new(130_558 % 7)));
    });
    thread.expect("a thread").join().expect("no overflow");
}
