extern crate std;

use super::*;
use crate::strategy::{Strategy, StrategyKind};
use crate::topology::{NodeId, Plan};

/// Nodes of so many physical cores with so many threads each; second threads are numbered after all first ones, as Linux
/// does. A cache is shared by `cache` cores.
fn machine(nodes: u32, cores: u32, threads: u32, cache: u32) -> Topology {
    let physical = nodes * cores;
    let all = (0..physical * threads).map(|id| {
        let first = id % physical;
        Core { id: CoreId(id), node: NodeId(first / cores), cache: first / cache * cache, physical: first }
    });
    Topology { cores: all.collect() }
}

fn machines() -> Vec<(&'static str, Topology)> {
    let server = machine(2, 8, 2, 8);
    let restricted = Topology {
        cores: server.cores.iter().filter(|core| [3, 9, 19, 25].contains(&core.id.0)).copied().collect(),
    };
    let odd = Topology { cores: [7, 101, 5, 7, 64].map(|id| Core::alone(id, id % 2)).to_vec() };
    std::vec![
        ("nothing", Topology::default()),
        ("one core", machine(1, 1, 1, 1)),
        ("two cores", machine(1, 2, 1, 2)),
        ("two threads", machine(1, 1, 2, 1)),
        ("two nodes", server),
        ("many caches", machine(1, 32, 2, 4)),
        ("restricted", restricted),
        ("odd numbers", odd),
    ]
}

fn lane_numbers(plan: &Plan) -> Vec<u32> {
    plan.lanes.iter().map(|lane| lane.core.0).collect()
}

fn helpers_of(plan: &Plan, lane: u32) -> Vec<u32> {
    plan.helpers_of(LaneId(lane)).map(|core| core.0).collect()
}

#[test]
fn every_plan_is_sound_on_every_machine() {
    for (name, topology) in machines() {
        for kind in StrategyKind::ALL {
            for limits in
                [Limits { lanes: 4, cores: 0 }, Limits { lanes: 99, cores: 3 }, Limits { lanes: 0, cores: 0 }]
            {
                let plan = kind.build().plan(&topology, &limits);
                let what = std::format!("{kind} on {name} within {limits:?}: {plan:?}");
                let known = |core: CoreId| topology.cores.iter().any(|other| other.id == core);
                assert!(!plan.lanes.is_empty() && plan.lanes.len() <= limits.lanes.max(1) as usize, "{what}");
                for (at, lane) in plan.lanes.iter().enumerate() {
                    assert_eq!(lane.id.0 as usize, at, "{what}");
                    assert!(topology.cores.is_empty() || known(lane.core), "{what}");
                    assert_eq!(plan.lane_on(lane.core), Some(lane.id), "one lane a core: {what}");
                }
                assert!(plan.helpers.is_sorted_by(|one, next| one.core < next.core), "{what}");
                for helper in &plan.helpers {
                    assert!(known(helper.core) && !helper.lanes.is_empty(), "{what}");
                    for (at, lane) in helper.lanes.iter().enumerate() {
                        assert!(plan.lanes.iter().any(|other| other.id == *lane), "{what}");
                        assert!(!helper.lanes[..at].contains(lane), "{what}");
                    }
                }
                let mut used: Vec<CoreId> = plan.lanes.iter().map(|lane| lane.core).collect();
                used.extend(plan.helpers.iter().map(|helper| helper.core));
                used.sort_unstable();
                used.dedup();
                assert!(limits.cores == 0 || used.len() <= limits.cores as usize, "{what}");
                assert_eq!(plan, kind.build().plan(&topology, &limits), "pure");
                let help = kind.build().help(&topology, &plan.lanes, &limits);
                assert_eq!(help, plan.helpers, "help is that of the plan: {what}");
            }
        }
    }
}

#[test]
fn lanes_take_physical_cores_before_second_threads() {
    let topology = machine(1, 2, 2, 2);
    let mut shuffled = topology.clone();
    shuffled.cores.reverse();
    for topology in [topology, shuffled] {
        let plan = |lanes| StrategyKind::Adaptive.build().plan(&topology, &Limits { lanes, cores: 0 });
        assert_eq!(lane_numbers(&plan(2)), [0, 1]);
        assert_eq!(lane_numbers(&plan(9)), [0, 1, 2, 3]);
        assert_eq!(
            lane_numbers(&StrategyKind::Adaptive.build().plan(&topology, &Limits { lanes: 9, cores: 3 })),
            [0, 1, 2]
        );
    }
}

#[test]
fn the_pool_is_all_cores_or_all_but_the_receiver_and_its_siblings() {
    let topology = machine(2, 8, 2, 8);
    let limits = Limits { lanes: 2, cores: 0 };
    let all: Vec<u32> = (0..32).collect();
    let plan = StrategyKind::Pipelined.build().plan(&topology, &limits);
    assert_eq!(helpers_of(&plan, 0), all);
    let plan = StrategyKind::PipelinedNoOverlap.build().plan(&topology, &limits);
    let apart: Vec<u32> = all.iter().copied().filter(|core| ![1, 17].contains(core)).collect();
    assert_eq!(helpers_of(&plan, 1), apart, "the other lane's core helps");
}

#[test]
fn numa_pools_stay_on_their_node() {
    let topology = machine(2, 8, 2, 8);
    let limits = Limits { lanes: 9, cores: 0 };
    let plan = StrategyKind::NumaPools.build().plan(&topology, &limits);
    let node_1: Vec<u32> = (8..16).chain(24..32).collect();
    assert_eq!(lane_numbers(&plan)[8], 8);
    assert_eq!(helpers_of(&plan, 8), node_1);
    let plan = StrategyKind::NumaPoolsNoOverlap.build().plan(&topology, &limits);
    let apart: Vec<u32> = node_1.into_iter().filter(|core| ![8, 24].contains(core)).collect();
    assert_eq!(helpers_of(&plan, 8), apart);
    let adaptive = StrategyKind::Adaptive.build().plan(&topology, &limits);
    assert_eq!(helpers_of(&adaptive, 8), apart, "thieves are of the same node");
}

#[test]
fn siblings_help_where_nobody_else_can_and_nobody_where_there_is_one_core() {
    let limits = Limits { lanes: 1, cores: 0 };
    let plan = StrategyKind::PipelinedNoOverlap.build().plan(&machine(1, 1, 2, 1), &limits);
    assert_eq!(helpers_of(&plan, 0), [1]);
    let plan = StrategyKind::PipelinedNoOverlap.build().plan(&machine(1, 1, 1, 1), &limits);
    assert!(plan.helpers.is_empty());
    let plan = StrategyKind::EmulatedInline.build().plan(&machine(1, 2, 1, 1), &limits);
    assert_eq!(helpers_of(&plan, 0), [0]);
}

#[test]
fn helpers_prefer_lanes_that_share_their_cache_then_their_node() {
    let topology = machine(2, 8, 1, 4);
    let plan = StrategyKind::Pipelined.build().plan(&topology, &Limits { lanes: 16, cores: 0 });
    let preferred: Vec<u32> = plan.helpers[13].lanes.iter().map(|lane| lane.0).collect();
    assert_eq!(preferred, [12, 13, 14, 15, 8, 9, 10, 11, 0, 1, 2, 3, 4, 5, 6, 7]);
}

#[test]
fn the_other_lanes_of_a_node_receive_for_a_home() {
    let receivers = |topology: &Topology, lanes, lane| {
        let plan = StrategyKind::CounterSplit.build().plan(topology, &Limits { lanes, cores: 0 });
        plan.receivers_of(LaneId(lane)).map(|lane| lane.0).collect::<Vec<_>>()
    };
    let server = machine(2, 4, 2, 4);
    // Lanes 0 to 3 and 8 to 11 are on the first node, and 8 is on the other thread of 0.
    assert_eq!(receivers(&server, 16, 0), [1, 2, 3, 9, 10, 11]);
    assert_eq!(receivers(&server, 16, 13), [4, 6, 7, 12, 14, 15]);
    assert_eq!(receivers(&server, 3, 1), [0, 2]);
    assert_eq!(receivers(&machine(1, 1, 2, 1), 2, 0), [1], "a sibling where there is nobody else");
    assert_eq!(receivers(&machine(2, 1, 1, 1), 2, 0), [1], "and then the other node");
    assert_eq!(receivers(&machine(2, 4, 1, 4), 1, 0), []);
}

#[test]
fn locked_workers_share_one_home() {
    let plan = StrategyKind::LockedSpin.build().plan(&machine(1, 4, 1, 4), &Limits { lanes: 4, cores: 0 });
    assert_eq!(lane_numbers(&plan), [0]);
    assert_eq!(helpers_of(&plan, 0), [1, 2, 3]);
    // Where the lanes stand already, each other core works for one of them.
    let lanes = lanes([CoreId(0), CoreId(1)], &Limits { lanes: 2, cores: 0 });
    let help =
        StrategyKind::LockedMutex.build().help(&machine(1, 4, 1, 4), &lanes, &Limits { lanes: 2, cores: 0 });
    let help: Vec<_> = help.iter().map(|helper| (helper.core.0, helper.lanes[0].0)).collect();
    assert_eq!(help, [(2, 0), (3, 1)]);
}
