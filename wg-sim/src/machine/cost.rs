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
    /// The same core, or threads of one: they have all caches in common.
    Same,
    /// With a last-level cache in common.
    Cache,
    /// On one node.
    Node,
    /// On two nodes.
    Remote,
}

impl Locality {
    /// Of two cores.
    #[must_use]
    pub fn of(one: &Core, other: &Core) -> Self {
        if one.is_sibling(other) {
            Self::Same
        } else if one.node != other.node {
            Self::Remote
        } else if one.cache == other.cache {
            Self::Cache
        } else {
            Self::Node
        }
    }

    /// What it costs, of the costs from cache to cache.
    #[must_use]
    pub const fn of_three(self, [cache, node, remote]: [u64; 3]) -> u64 {
        match self {
            Self::Same => 0,
            Self::Cache => cache,
            Self::Node => node,
            Self::Remote => remote,
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
    /// A line with a ticket, from cache to cache: behind one last-level cache, behind two of a node, across nodes.
    pub line: [u64; 3],
    /// The payload, the same ways, in picoseconds for each byte.
    pub migrate_ps: [u64; 3],
    /// The time that work takes while the other thread of the physical core works, in percent of what it takes alone.
    pub sibling: u64,
    /// What a core pays to change from one context of the kernel to another.
    pub switch: u64,
    /// What a softirq drain of the kernel takes for each packet instead of `drain` and `send`, if it does: on the core that received it, and on
    /// another.
    pub forward: Option<[u64; 2]>,
    /// By how many percent the crypt phase of a packet is shorter or longer than the mean, at most: in the kernel, and where cores share the
    /// state of a tunnel.
    pub variation: u64,
    /// What a drain of the kernel pays to find that the head of its peer is not done.
    pub look: u64,
    /// How long a packet of the kernel's ring waits for its worker, before another that runs takes it.
    pub patience: u64,
    /// From the end of a poll of the NIC to its next interrupt.
    pub moderation: u64,
    /// For who wakes a core.
    pub ipi: u64,
    /// Until a core that was woken runs.
    pub wake: u64,
    /// To get a lock that nobody has.
    pub lock: u64,
    /// To get it from another, for each that spins: they all take the line, to look and then to try.
    pub handoff: u64,
    /// The line of the lock is that of what it guards: what a write to it costs the holder, for each packet and each that spins.
    pub guarded: u64,
    /// To go to sleep for a lock, to be woken by who gives it back, and for that one to wake: on the way from one to the other.
    pub futex: u64,
    /// What each further sleeper adds to that: it has to be queued, and was woken in vain.
    pub sleeper: u64,
}
