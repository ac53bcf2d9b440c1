//! What the work of a core costs: plain data, in nanoseconds, and in picoseconds for each byte.

use wg_sched::Core;

/// What one stage of the walk takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StageCost {
    /// For each batch: system calls, look-ups.
    pub batch: u64,
    /// For each packet.
    pub packet: u64,
    /// For each byte, in picoseconds.
    pub byte_ps: u64,
}

impl StageCost {
    /// The time for a batch.
    #[must_use]
    pub const fn of(&self, packets: u32, bytes: u32) -> u64 {
        self.batch + self.packet * packets as u64 + self.byte_ps * bytes as u64 / 1000
    }
}

/// How far two cores are from each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Locality {
    /// The same core.
    Same,
    /// On one node.
    Node,
    /// On two nodes.
    Remote,
}

impl Locality {
    /// Of two cores.
    #[must_use]
    pub fn of(one: &Core, other: &Core) -> Self {
        if one.id == other.id {
            Self::Same
        } else if one.node == other.node {
            Self::Node
        } else {
            Self::Remote
        }
    }
}

/// The costs of a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Costs {
    /// From the NIC to the end of the begin phase.
    pub receive: StageCost,
    /// The crypt phase.
    pub crypt: StageCost,
    /// Commit and delivery.
    pub send: StageCost,
    /// To put a batch into the ring of a core, for who puts it.
    pub push: StageCost,
    /// To take a batch that another core put there, and to bring it back done.
    pub take: StageCost,
    /// To take a done batch out of the order.
    pub drain: StageCost,
    /// What a push, a take and a drain cost more across nodes, for each packet.
    pub remote: [u64; 3],
    /// The line with a ticket, from cache to cache on a node, and across.
    pub line: [u64; 2],
    /// The payload, from cache to cache on a node, and across, in picoseconds for each byte.
    pub migrate_ps: [u64; 2],
    /// What it costs to change from the duties of a home to those of a worker, on one core.
    pub switch: u64,
    /// For who wakes a core.
    pub ipi: u64,
    /// Until a core that was woken runs.
    pub wake: u64,
    /// To get a lock that nobody has.
    pub lock: u64,
    /// To get it from another, for each that waits.
    pub handoff: u64,
    /// To sleep for a lock, and be woken.
    pub futex: u64,
    /// Work under the lock, for each batch that is taken.
    pub locked: u64,
}
