//! Machines and plans as plain data: which cores there are, and which of them run a lane.

use alloc::vec::Vec;

/// A core, by the number the operating system gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CoreId(pub u32);

/// A NUMA node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u32);

/// A lane: a TUN queue with its UDP sockets, and the peers whose home it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LaneId(pub u32);

/// One core of a machine: a thread of execution, as the operating system counts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Core {
    /// Its number.
    pub id: CoreId,
    /// The node its memory is on.
    pub node: NodeId,
    /// The last-level cache it shares; the number is that of the first core that has it.
    pub cache: u32,
    /// The physical core it is a thread of (SMT); the number is that of the first of its threads.
    pub physical: u32,
}

impl Core {
    /// A core that shares nothing but its node.
    #[must_use]
    pub const fn alone(id: u32, node: u32) -> Self {
        Self { id: CoreId(id), node: NodeId(node), cache: id, physical: id }
    }

    /// Tells whether the two are threads of one physical core, or the same.
    #[must_use]
    pub const fn is_sibling(&self, other: &Self) -> bool {
        self.physical == other.physical
    }
}

/// The cores a process may run on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Topology {
    /// The cores, in any order.
    pub cores: Vec<Core>,
}

/// Bounds set by the user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The most lanes there may be; at least one is planned.
    pub lanes: u32,
    /// The most cores that may have any part; 0 for all of them.
    pub cores: u32,
}

/// One lane and the core it runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lane {
    /// The lane.
    pub id: LaneId,
    /// Its core.
    pub core: CoreId,
}

/// A core that does the crypt phase for lanes: of its own free will (stealing), or because it is pushed to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Helper {
    /// The core; it may run a lane, too.
    pub core: CoreId,
    /// The lanes it may take batches of, in the order of preference.
    pub lanes: Vec<LaneId>,
}

/// Which lane runs where, and who helps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The lanes, in the order of their numbers; never none. A lane is the home of its peers.
    pub lanes: Vec<Lane>,
    /// The helpers, in the order of their cores; none where each lane does everything itself.
    pub helpers: Vec<Helper>,
}

impl Plan {
    /// Returns the lane that runs on a core.
    #[must_use]
    pub fn lane_on(&self, core: CoreId) -> Option<LaneId> {
        self.lanes.iter().find(|lane| lane.core == core).map(|lane| lane.id)
    }

    /// Returns the lanes whose cores receive for a lane where its counters are split: those of its helpers that have one. If there are none,
    /// the lane receives for itself.
    pub fn receivers_of(&self, lane: LaneId) -> impl Iterator<Item = LaneId> {
        self.helpers_of(lane).filter_map(|core| self.lane_on(core)).filter(move |other| *other != lane)
    }

    /// Returns the cores that help a lane.
    pub fn helpers_of(&self, lane: LaneId) -> impl Iterator<Item = CoreId> {
        self.helpers.iter().filter(move |helper| helper.lanes.contains(&lane)).map(|helper| helper.core)
    }
}
