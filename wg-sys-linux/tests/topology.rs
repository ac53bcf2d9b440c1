//! The processors of machines whose files were kept, of this one, and of none that there is.

#[path = "support/tree.rs"]
mod tree;

use proptest::prelude::*;
use tree::Tree;
use wg_sched::{Core, CoreId, NodeId, Topology};
use wg_sys_linux::{affinity, topology};

const LAPTOP: &str = include_str!("trees/laptop.txt");
const TWO_SOCKETS: &str = include_str!("trees/two-sockets.txt");
const MANY_CACHES: &str = include_str!("trees/many-caches.txt");
const ARM: &str = include_str!("trees/arm.txt");
const VIRTUAL: &str = include_str!("trees/virtual.txt");

/// The cores as (number, node, cache, physical core).
fn cores(topology: &Topology) -> Vec<(u32, u32, u32, u32)> {
    topology.cores.iter().map(|core| (core.id.0, core.node.0, core.cache, core.physical)).collect()
}

#[test]
fn laptop_has_siblings_beside_lone_cores_and_one_cache() {
    let physical = [0, 0, 2, 2, 4, 4, 6, 6, 8, 9, 10, 11, 12, 13];
    let expected: Vec<_> = (0..).zip(physical).map(|(number, physical)| (number, 0, 0, physical)).collect();
    assert_eq!(cores(&Tree::read(LAPTOP).topology()), expected);
    // Without its third level the small ones share the second by fours, the large ones by twos.
    let mut tree = Tree::read(LAPTOP);
    tree.files.retain(|name, _| !name.contains("index3"));
    let caches: Vec<_> = tree.topology().cores.iter().map(|core| core.cache).collect();
    assert_eq!(caches, [0, 0, 2, 2, 4, 4, 6, 6, 8, 8, 8, 8, 12, 12]);
    // What is for instructions does not count, whatever level it has.
    tree.files.retain(|name, _| !name.contains("index2"));
    for number in 0..14 {
        tree.files.insert(format!("cpu/cpu{number}/cache/index1/level"), "3\n".to_owned());
        tree.files.insert(format!("cpu/cpu{number}/cache/index1/shared_cpu_list"), "0-13\n".to_owned());
    }
    let caches: Vec<_> = tree.topology().cores.iter().map(|core| core.cache).collect();
    assert_eq!(caches, [0, 0, 2, 2, 4, 4, 6, 6, 8, 9, 10, 11, 12, 13]);
}

#[test]
fn two_sockets_are_two_nodes_whose_siblings_are_far_apart() {
    let topology = Tree::read(TWO_SOCKETS).topology();
    let expected = |number| {
        let node = u32::from(number % 32 >= 16);
        (number, node, 16 * node, number % 32)
    };
    assert_eq!(cores(&topology), (0..64).map(expected).collect::<Vec<_>>());
    assert!(topology.cores[5].is_sibling(&topology.cores[37]));
}

#[test]
fn nodes_with_several_caches_are_told_apart_from_them() {
    let expected = |number| {
        let first = number % 64;
        (number, first / 16, first / 8 * 8, first)
    };
    assert_eq!(cores(&Tree::read(MANY_CACHES).topology()), (0..128).map(expected).collect::<Vec<_>>());
}

#[test]
fn without_files_of_caches_a_cluster_is_what_is_close() {
    let expected = |number| (number, 0, if number < 16 { number } else { number / 4 * 4 }, number);
    assert_eq!(cores(&Tree::read(ARM).topology()), (0..32).map(expected).collect::<Vec<_>>());
}

#[test]
fn container_has_its_own_processors_of_a_machine_it_sees_all_of() {
    let mut tree = Tree::read(TWO_SOCKETS);
    tree.allowed = vec![49, 20, 3, 35, 20];
    // The sibling of 49 is not among them, and still gives the core its number.
    assert_eq!(cores(&tree.topology()), [(3, 0, 0, 3), (20, 1, 16, 20), (35, 0, 0, 3), (49, 1, 16, 17)]);
    // Nor need it see anything.
    tree.files.clear();
    let alone: Vec<_> = [3, 20, 35, 49].map(|number| Core::alone(number, 0)).to_vec();
    assert_eq!(tree.topology(), Topology { cores: alone });
}

#[test]
fn processors_that_are_offline_have_no_part() {
    let mut tree = Tree::read(TWO_SOCKETS);
    tree.files.insert("cpu/online".to_owned(), "0-2,16\n".to_owned());
    let ids = |tree: &Tree| tree.topology().cores.iter().map(|core| core.id.0).collect::<Vec<_>>();
    assert_eq!(ids(&tree), [0, 1, 2, 16]);
    tree.allowed = vec![2, 3];
    assert_eq!(ids(&tree), [2]);
    // A file that leaves none is wrong.
    tree.allowed = vec![3, 4];
    assert_eq!(ids(&tree), [3, 4]);
}

#[test]
fn kernel_without_nodes_has_one() {
    let mut tree = Tree::read(TWO_SOCKETS);
    tree.files.retain(|name, _| !name.starts_with("node/"));
    assert!(tree.topology().cores.iter().all(|core| core.node == NodeId(0)));
    // A processor that no node names is on the first that has any.
    let mut tree = Tree::read(TWO_SOCKETS);
    tree.files.insert("node/node0/cpulist".to_owned(), "\n".to_owned());
    assert!(tree.topology().cores.iter().all(|core| core.node == NodeId(1)));
}

#[test]
fn content_that_makes_no_sense_counts_as_missing() {
    let everywhere = |content: &str| {
        let mut tree = Tree::read(MANY_CACHES);
        tree.files.values_mut().for_each(|file| *file = content.to_owned());
        cores(&tree.topology())
    };
    let alone: Vec<_> = (0..128).map(|number| (number, 0, number, number)).collect();
    for content in ["", "\n", "x", "-1", "99999999999999999999", "\u{0}", "3-1"] {
        assert_eq!(everywhere(content), alone, "{content:?}");
    }
    // A list that leaves out whose it is says nothing of it.
    assert_eq!(everywhere("500\n"), alone);
    // As does an endless one of everything but the level of a cache.
    assert!(everywhere("0-4294967295\n").iter().all(|&(_, node, _, physical)| (node, physical) == (0, 0)));
}

#[test]
fn machine_at_hand_is_found() {
    let found = topology::probe().unwrap();
    let ids: Vec<_> = found.cores.iter().map(|core| core.id.0).collect();
    assert_eq!(ids, affinity::processors().unwrap());
    assert_eq!(
        Tree::read(VIRTUAL).topology().cores.iter().map(|core| core.cache).collect::<Vec<_>>(),
        [0, 0]
    );
    std::thread::spawn(move || {
        let last = *found.cores.last().unwrap();
        affinity::pin(last.id.0).unwrap();
        assert_eq!(topology::probe().unwrap(), Topology { cores: vec![last] }, "the rest stays as it was");
    })
    .join()
    .unwrap();
}

proptest! {
    #[test]
    fn any_content_gives_each_processor_once(
        contents in prop::collection::vec("[0-9,x-]{0,8}\n?", 1..40),
        allowed in prop::collection::vec(0_u32..160, 0..20),
    ) {
        let mut tree = Tree::read(MANY_CACHES);
        let mut contents = contents.iter().cycle();
        let mut names: Vec<_> = tree.files.keys().cloned().collect();
        names.sort_unstable();
        for name in names.into_iter().filter(|name| name != "cpu/online") {
            tree.files.insert(name, contents.next().unwrap().clone());
        }
        tree.files.remove("cpu/online");
        tree.allowed.clone_from(&allowed);
        let topology = tree.topology();
        let mut expected: Vec<_> = allowed.iter().copied().map(CoreId).collect();
        expected.sort_unstable();
        expected.dedup();
        prop_assert_eq!(topology.cores.iter().map(|core| core.id).collect::<Vec<_>>(), expected);
    }
}
