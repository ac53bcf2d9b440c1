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

/// One core of a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Core {
    /// Its number.
    pub id: CoreId,
    /// The node its memory is on.
    pub node: NodeId,
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
}

/// One lane and the core it runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lane {
    /// The lane.
    pub id: LaneId,
    /// Its core.
    pub core: CoreId,
}

/// Which lane runs where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The lanes, in the order of their numbers; never none.
    pub lanes: Vec<Lane>,
}
