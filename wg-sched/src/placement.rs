//! Where strategies put lanes and helpers: rules over a topology, all of them pure.
//!
//! * Lanes: one for each core, up to the limit. Physical cores come before their second threads, as a lane is the one duty
//!   that cannot be shared.
//! * Reach: a helper may serve the whole machine, its node, or only the lane on its own core.
//! * Overlap: the core that receives a tunnel is its bottleneck, so the crypt phase can be kept off it, and off the other thread
//!   of the same physical core, which shares its execution units (+14 % in the first paper). Where nobody would be left, the
//!   sibling helps all the same; and where there is but one core, nobody does.

use alloc::vec::Vec;

use crate::strategy::Strategy;
use crate::topology::{Core, CoreId, Helper, Lane, LaneId, Limits, Plan, Topology};

/// Whose batches a core may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Those of all lanes.
    Machine,
    /// Those of the lanes on its node.
    Node,
    /// Those of the lane on it.
    Itself,
}

/// Whether the core that receives a tunnel may do its crypt phase, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Overlap {
    /// It is a helper as any other.
    Allowed,
    /// Neither it nor its siblings are.
    Avoided,
}

/// Plans a lane for each core up to the limit, physical cores first, with the helpers that the strategy gives them.
pub(crate) fn plan(strategy: &impl Strategy, topology: &Topology, limits: &Limits) -> Plan {
    let lanes = lanes(cores(topology, limits).into_iter().map(|core| core.id), limits);
    let helpers = strategy.help(topology, &lanes, limits);
    Plan { lanes, helpers }
}

/// Puts a lane on each core of a list, up to the limits. The list may be empty, and may have a core twice.
pub(crate) fn lanes(cores: impl IntoIterator<Item = CoreId>, limits: &Limits) -> Vec<Lane> {
    let mut chosen: Vec<CoreId> = Vec::new();
    let most = if limits.cores == 0 { limits.lanes } else { limits.lanes.min(limits.cores) };
    for core in cores {
        if chosen.len() < most.max(1) as usize && !chosen.contains(&core) {
            chosen.push(core);
        }
    }
    if chosen.is_empty() {
        chosen.push(CoreId(0));
    }
    (0..).zip(chosen).map(|(lane, core)| Lane { id: LaneId(lane), core }).collect()
}

/// The cores that may have a part: first threads in the order of their numbers, then second ones, up to the limit.
pub(crate) fn cores(topology: &Topology, limits: &Limits) -> Vec<Core> {
    let mut cores = topology.cores.clone();
    cores.sort_unstable_by_key(|core| core.id);
    cores.dedup_by_key(|core| core.id);
    let threads: Vec<usize> = (0..cores.len())
        .map(|at| cores.iter().take(at).filter(|other| other.is_sibling(&cores[at])).count())
        .collect();
    let mut ranked: Vec<(usize, Core)> = threads.into_iter().zip(cores).collect();
    ranked.sort_by_key(|(thread, _)| *thread);
    let most = if limits.cores == 0 { usize::MAX } else { limits.cores as usize };
    ranked.into_iter().take(most).map(|(_, core)| core).collect()
}

/// Says who helps which lane. The lanes of a helper are in the order of preference: those that share its last-level cache, those
/// of its node, all others.
pub(crate) fn helpers(
    topology: &Topology,
    lanes: &[Lane],
    limits: &Limits,
    reach: Reach,
    overlap: Overlap,
) -> Vec<Helper> {
    let pool = cores(topology, limits);
    let mut helpers: Vec<Helper> =
        pool.iter().map(|core| Helper { core: core.id, lanes: Vec::new() }).collect();
    for lane in lanes {
        let home = topology.cores.iter().find(|core| core.id == lane.core).copied();
        let home = home.unwrap_or_else(|| Core::alone(lane.core.0, 0));
        let within = |core: &Core| match reach {
            Reach::Machine => true,
            Reach::Node => core.node == home.node,
            Reach::Itself => core.id == home.id,
        };
        let apart = pool.iter().any(|core| within(core) && !core.is_sibling(&home));
        for (core, helper) in pool.iter().zip(&mut helpers) {
            let overlaps = match overlap {
                Overlap::Allowed => false,
                Overlap::Avoided if apart => core.is_sibling(&home),
                Overlap::Avoided => core.id == home.id,
            };
            if within(core) && !overlaps {
                helper.lanes.push(lane.id);
            }
        }
    }
    for (core, helper) in pool.iter().zip(&mut helpers) {
        helper.lanes.sort_by_key(|lane| {
            let home = lanes.iter().find(|other| other.id == *lane).map(|lane| lane.core);
            let home = topology.cores.iter().find(|core| Some(core.id) == home);
            home.map_or(3, |home| u8::from(home.cache != core.cache) + u8::from(home.node != core.node))
        });
    }
    helpers.retain(|helper| !helper.lanes.is_empty());
    helpers.sort_by_key(|helper| helper.core);
    helpers
}

#[cfg(test)]
mod tests;
