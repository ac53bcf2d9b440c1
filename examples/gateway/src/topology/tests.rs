//! Tables of machines whose files were kept, see `wg-sys-linux/tests/trees`.

#[path = "../../../../wg-sys-linux/tests/support/tree.rs"]
mod tree;

use tree::Tree;
use wg_sched::Lane;

use super::*;

const LAPTOP: &str = include_str!("../../../../wg-sys-linux/tests/trees/laptop.txt");
const TWO_SOCKETS: &str = include_str!("../../../../wg-sys-linux/tests/trees/two-sockets.txt");
const VIRTUAL: &str = include_str!("../../../../wg-sys-linux/tests/trees/virtual.txt");

/// A plan with lanes on these cores, and helpers: a core, and the lanes it helps.
fn planned(lanes: &[u32], helpers: &[(u32, &[u32])]) -> Plan {
    let lane = |(id, core): (u32, &u32)| Lane { id: LaneId(id), core: CoreId(*core) };
    let helper = |(core, lanes): &(u32, &[u32])| Helper {
        core: CoreId(*core),
        lanes: lanes.iter().copied().map(LaneId).collect(),
    };
    Plan { lanes: (0..).zip(lanes).map(lane).collect(), helpers: helpers.iter().map(helper).collect() }
}

#[test]
fn each_core_says_what_it_does_and_why() {
    let topology = Tree::read(LAPTOP).topology();
    let plan = planned(&[0, 2, 3], &[(8, &[0, 2, 1]), (9, &[1])]);
    let expected = "\
14 cores: 10 physical cores, 1 last-level cache, 1 node
inline: 3 lanes, 2 helpers

core  node  cache  siblings  does         why
   0     0      0  1         lane 0       home of its peers
   1     0      0  0         -            left alone: a sibling has lane 0
   2     0      0  3         lane 1       shares a physical core with lane 2
   3     0      0  2         lane 2       shares a physical core with lane 1
   4     0      0  5         -            not needed
   5     0      0  4         -            not needed
   6     0      0  7         -            not needed
   7     0      0  6         -            not needed
   8     0      0  -         helps 0,2,1  0,2,1 of the same cache
   9     0      0  -         helps 1      1 of the same cache
  10     0      0  -         -            not needed
  11     0      0  -         -            not needed
  12     0      0  -         -            not needed
  13     0      0  -         -            not needed
";
    assert_eq!(table(StrategyKind::Inline, &topology, &plan, 3), expected);
}

#[test]
fn helpers_say_how_far_their_lanes_are() {
    let mut tree = Tree::read(TWO_SOCKETS);
    tree.allowed = vec![0, 1, 16, 32, 17];
    let mut topology = tree.topology();
    // A node with two caches.
    topology.cores[2].cache = 17;
    let plan = planned(&[0, 1, 16], &[(0, &[0, 1]), (17, &[2, 0, 1]), (32, &[0, 1, 2])]);
    let expected = "\
5 cores: 4 physical cores, 3 last-level caches, 2 nodes
inline: 3 lanes, 3 helpers

core  node  cache  siblings  does               why
   0     0      0  32        lane 0, helps 0-1  home of its peers; 0 of this core; 1 of the same cache
   1     0      0  -         lane 1             home of its peers
  16     1     17  -         lane 2             home of its peers
  17     1     16  -         helps 2,0-1        2 of the same node; 0-1 of another node
  32     0      0  0         helps 0-2          0 of a sibling; 1 of the same cache; 2 of another node
";
    assert_eq!(table(StrategyKind::Inline, &topology, &plan, 3), expected);
}

#[test]
fn more_lanes_than_cores_go_round_as_the_gateway_places_them() {
    let topology = Tree::read(VIRTUAL).topology();
    let plan = plan(StrategyKind::Inline, &topology, 5, 5);
    assert_eq!(cores(&plan, 5), [0, 1, 0, 1, 0].map(CoreId));
    let expected = "\
2 cores: 2 physical cores, 1 last-level cache, 1 node
inline: 5 lanes, 0 helpers

core  node  cache  siblings  does        why
   0     0      0  -         lane 0,2,4  home of its peers
   1     0      0  -         lane 1,3    home of its peers
";
    assert_eq!(table(StrategyKind::Inline, &topology, &plan, 5), expected);
}

#[test]
fn only_threads_that_there_are_help() {
    let mut tree = Tree::read(LAPTOP);
    tree.allowed = vec![0, 1, 2, 3, 8];
    let topology = tree.topology();
    let kind = StrategyKind::default();
    let expected = "\
5 cores: 3 physical cores, 1 last-level cache, 1 node
adaptive: 2 lanes, 2 helpers

core  node  cache  siblings  does             why
   0     0      0  1         lane 0, helps 1  home of its peers; 1 of the same cache
   1     0      0  0         -                left alone: a sibling has lane 0
   2     0      0  3         lane 1, helps 0  home of its peers; 0 of the same cache
   3     0      0  2         -                left alone: a sibling has lane 1
   8     0      0  -         -                not needed
";
    assert_eq!(table(kind, &topology, &plan(kind, &topology, 2, 2), 2), expected);
    assert_eq!(plan(kind, &topology, 1, 1).helpers, []);
    let helpers = plan(kind, &topology, 1, 3).helpers;
    assert_eq!(helpers.iter().map(|helper| helper.core.0).collect::<Vec<_>>(), [2, 3]);
}

#[test]
fn every_strategy_has_a_table_with_every_core_and_every_lane() {
    for kind in StrategyKind::ALL.iter().copied() {
        for (tree, lanes) in [(LAPTOP, 4), (TWO_SOCKETS, 8), (VIRTUAL, 1), (VIRTUAL, 256)] {
            let topology = Tree::read(tree).topology();
            let plan = plan(kind, &topology, lanes, lanes);
            assert_eq!(cores(&plan, lanes).len(), lanes);
            let table = table(kind, &topology, &plan, lanes);
            assert_eq!(table.lines().count(), 4 + topology.cores.len(), "{kind}");
            assert!(table.contains("lane 0") && !table.contains("unknown"), "{kind}: {table}");
        }
    }
}

#[test]
fn plan_that_makes_no_sense_is_shown_all_the_same() {
    let plan = planned(&[7], &[(0, &[9, u32::MAX])]);
    let shown = table(StrategyKind::Inline, &Tree::read(VIRTUAL).topology(), &plan, 1);
    assert!(shown.contains("9,4294967295 of unknown core"), "{shown}");
    let nothing = table(StrategyKind::Inline, &Topology::default(), &plan, 0);
    assert_eq!(nothing.lines().count(), 4);
}
