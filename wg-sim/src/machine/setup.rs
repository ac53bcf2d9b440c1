//! What is to be run, and what came of it.

use wg_sched::{Core, CoreId, NodeId, StrategyKind, Topology};

use super::cost::Costs;

/// A machine of so many cores, evenly over its nodes, without sibling threads; a node has one last-level cache.
#[must_use]
pub fn topology(cores: u32, nodes: u32) -> Topology {
    let each = cores.div_ceil(nodes.max(1)).max(1);
    let core = |id| Core { id: CoreId(id), node: NodeId(id / each), cache: id / each * each, physical: id };
    Topology { cores: (0..cores).map(core).collect() }
}

/// The same with two threads on each core, numbered as Linux does: first threads first.
#[must_use]
pub fn threads(cores: u32, nodes: u32) -> Topology {
    let first = topology(cores, nodes).cores;
    let second = first.iter().map(|core| Core { id: CoreId(core.id.0 + cores), ..*core });
    Topology { cores: first.iter().copied().chain(second).collect() }
}

/// Where what is done is sent from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Egress {
    /// From the home, as the shipped strategies do.
    Home,
    /// From the core that crypted it, at once and in no order: MoonWire's variant 3.
    Worker,
    /// From the core that received it, at once: MoonWire's variant 2. The NIC deals flows out to all cores (RSS), each does all there is to
    /// do for what it gets, and for each packet passes the lock of its tunnel's state.
    Receiver(Wait),
    /// The kernel's: rings that drop, contexts that share a core, and drains in the softirq of the core on which the head of
    /// the peer was done.
    Softirq,
    /// The same, with drains in threads that the scheduler places (threaded NAPI).
    Threaded,
}

/// What a core does while another has a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// It sleeps: a mutex.
    Sleep,
    /// It spins.
    Spin,
}

/// What is compared: a strategy, and where it sends from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contender {
    /// Whose steps the cores take.
    pub kind: StrategyKind,
    /// Where is sent from.
    pub egress: Egress,
}

impl Contender {
    /// Tells whether it is the kernel's, see [`Egress`].
    #[must_use]
    pub const fn is_kernel(self) -> bool {
        matches!(self.egress, Egress::Softirq | Egress::Threaded)
    }

    /// How its cores wait for the state of a tunnel, if they share that.
    #[must_use]
    pub const fn waits(self) -> Option<Wait> {
        match self.egress {
            Egress::Receiver(wait) => Some(wait),
            _ => None,
        }
    }

    /// A strategy as it is shipped.
    #[must_use]
    pub const fn shipped(kind: StrategyKind) -> Self {
        Self { kind, egress: Egress::Home }
    }

    /// The kernel's pipeline with softirq drains.
    pub const SOFTIRQ: Self = Self { kind: StrategyKind::Pipelined, egress: Egress::Softirq };
    /// The same with threaded ones.
    pub const THREADED: Self = Self { kind: StrategyKind::Pipelined, egress: Egress::Threaded };
    /// MoonWire's variant 2 with a mutex.
    pub const VARIANT_2_MUTEX: Self =
        Self { kind: StrategyKind::Inline, egress: Egress::Receiver(Wait::Sleep) };
    /// MoonWire's variant 2 with a spin lock.
    pub const VARIANT_2_SPIN: Self =
        Self { kind: StrategyKind::Inline, egress: Egress::Receiver(Wait::Spin) };
    /// MoonWire's variant 3.
    pub const VARIANT_3: Self = Self { kind: StrategyKind::PipelinedNoOverlap, egress: Egress::Worker };
    /// With a pool for each node, and softirq drains.
    pub const NUMA_SOFTIRQ: Self = Self { kind: StrategyKind::NumaPools, egress: Egress::Softirq };
    /// With a pool for each node, and threaded ones.
    pub const NUMA_THREADED: Self = Self { kind: StrategyKind::NumaPools, egress: Egress::Threaded };
}

/// What the flows send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Load {
    /// A window that gives way to loss, of at most so many packets.
    Windowed {
        /// The most packets under way.
        most: u32,
    },
    /// So many packets a second from each flow, whatever becomes of them.
    Constant {
        /// Packets a second.
        rate: u64,
    },
}

/// A run.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The machine.
    pub topology: Topology,
    /// What the plan is made for, if that is not the machine as it is.
    pub believed: Option<Topology>,
    /// What its work costs.
    pub costs: Costs,
    /// What [`StrategyKind::Adaptive`] takes work to cost until it is replaced, if not [`wg_sched::Costs::REFERENCE`].
    pub estimate: Option<wg_sched::Costs>,
    /// What runs on it.
    pub contender: Contender,
    /// Tunnels.
    pub tunnels: u32,
    /// Flows in each.
    pub flows: u32,
    /// Bytes of a packet.
    pub packet: u32,
    /// The most packets of a batch: what GRO joins.
    pub batch: u32,
    /// What the flows send.
    pub load: Load,
    /// Bits a second of the link.
    pub link: u64,
    /// Packets of the ring of a NIC queue.
    pub ring: u32,
    /// Batches that a home may have under way.
    pub tickets: u32,
    /// Whether workers that share a home may read its queues, as with kernel bypass; else only its own core does.
    pub shared_queues: bool,
    /// Whether all tunnels begin on the first lane, and are moved by [`wg_sched::rebalance`].
    pub converged: bool,
    /// At intervals of how many nanoseconds [`wg_sched::AutoSplit`] looks whether to split counters; never, if none are given. Its other
    /// times are multiples of it, so a short one shows in short runs what 50 ms do in long ones.
    pub auto: Option<u64>,
    /// Virtual nanoseconds before anything is counted.
    pub warmup: u64,
    /// Virtual nanoseconds that are counted.
    pub duration: u64,
    /// Virtual nanoseconds within which the flows begin.
    pub surge: u64,
    /// How many tunnels one node has before the next has any; then it goes on with the first.
    pub block: u32,
    /// Where chance begins.
    pub seed: u64,
}

impl Setup {
    /// A contender with tunnels of one flow each, under full load. The kernel's and MoonWire's second have no GRO for datagrams.
    #[must_use]
    pub fn new(topology: Topology, costs: Costs, contender: Contender, tunnels: u32) -> Self {
        Self {
            topology,
            believed: None,
            costs,
            estimate: None,
            contender,
            tunnels,
            flows: 1,
            packet: 1420,
            batch: if contender.is_kernel() || contender.waits().is_some() { 1 } else { 16 },
            load: Load::Windowed { most: 2048 },
            link: 400_000_000_000,
            ring: 4096,
            tickets: if contender.is_kernel() { 1024 } else { 128 },
            shared_queues: false,
            converged: false,
            auto: None,
            warmup: 5_000_000,
            duration: 10_000_000,
            surge: 20_000,
            block: 1,
            seed: 1,
        }
    }
}

/// What came of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Measured {
    /// Nanoseconds that were counted.
    pub duration: u64,
    /// Packets delivered.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Packets that found a ring full.
    pub dropped: u64,
    /// Packets that were sent, since the beginning.
    pub sent: u64,
    /// Packets that were delivered or dropped, since the beginning.
    pub accounted: u64,
    /// Packets that are in the machine at the end.
    pub inside: u64,
    /// Batches that left in another order than they came in.
    pub reordered: u64,
    /// Nanoseconds that each core worked.
    pub busy: Vec<u64>,
    /// Of these, nanoseconds for locks.
    pub locking: u64,
    /// Events, since the beginning.
    pub events: u64,
    /// A hash of all events and deliveries.
    pub trace: u64,
}

impl Measured {
    /// Gigabits a second.
    #[must_use]
    pub fn gigabits(&self) -> f64 {
        self.bytes as f64 * 8.0 / self.duration as f64
    }

    /// Packets a second, in millions.
    #[must_use]
    pub fn mpps(&self) -> f64 {
        self.packets as f64 * 1000.0 / self.duration as f64
    }

    /// The busiest core over the least busy one.
    #[must_use]
    pub fn spread(&self) -> f64 {
        let most = self.busy.iter().max().copied().unwrap_or(0);
        let least = self.busy.iter().min().copied().unwrap_or(0);
        most as f64 / least.max(1) as f64
    }
}
