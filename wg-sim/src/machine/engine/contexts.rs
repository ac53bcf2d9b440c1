//! The turn of a core under the kernel: which context is due, what it did, and where a drain is raised.

use wg_sched::{Budget, Strategy as _, StrategyKind};

use super::super::home::Home;
use super::super::io::View;
use super::super::kernel::{Context, Kernel, Pool};
use super::super::setup::{Egress, Setup};
use super::{Machine, Peer, Seat, State};

/// The kernel's devices: each tunnel is one, with workers on all cores, or on those of the node of its home.
pub(super) fn kernel(setup: &Setup, seats: &[Seat], peers: &[Peer], homes: &[Home]) -> Kernel {
    let by_node = matches!(setup.contender.kind, StrategyKind::NumaPools | StrategyKind::NumaPoolsNoOverlap);
    let pool = |peer: &Peer| {
        let node = seats[homes[peer.home].core].core.node;
        Pool::new((0..seats.len()).filter(|seat| !by_node || seats[*seat].core.node == node).collect())
    };
    let pools = peers.iter().map(pool).collect();
    Kernel::new(setup.contender.egress == Egress::Threaded, by_node, pools, seats.len(), setup.tunnels)
}

impl Machine {
    /// A step of the context that is due.
    pub(super) fn kernel_step(&mut self, core: usize, slept: bool) {
        let state = &mut self.state;
        let begun = state.seats[core].clock;
        let last = state.kernel.as_ref().and_then(|kernel| kernel.last(core));
        if let Some(context) = state.choose(core) {
            let switches = state.kernel.as_ref().is_some_and(|kernel| kernel.switches(core, last, context));
            let seat = &mut state.seats[core];
            if switches && !slept {
                seat.clock += state.setup.costs.switch;
            }
            seat.context = Some(context);
            let (id, polled) = (seat.core.id, seat.polled);
            let delivered = state.count.packets;
            let budget = Budget { batches: 1, ..Budget::default() };
            let outcome = self.strategies[core].step(id, budget, &mut View::new(state, core));
            let seat = &mut state.seats[core];
            let time = seat.clock - begun;
            seat.busy += time;
            let emptied = seat.home.is_none_or(|home| state.homes[home].queue.is_empty());
            if context == Context::Receive && emptied {
                seat.quiet = seat.clock + state.setup.costs.moderation;
            }
            let packets = seat
                .polled
                .wrapping_sub(polled)
                .max(u32::try_from(state.count.packets - delivered).unwrap_or(u32::MAX));
            if let Some(kernel) = &mut state.kernel {
                kernel.ran(core, context, time, packets, !outcome.idle());
            }
            state.wake(core, state.seats[core].clock.max(begun + 1));
            return;
        }
        state.seats[core].asleep = true;
        if let Some(next) = state.awaited(core) {
            state.wake(core, next.max(begun + 1));
        }
    }
}

impl State {
    /// What a core does next, under the kernel.
    fn choose(&mut self, core: usize) -> Option<Context> {
        let context = self.choose_own(core);
        if context.is_none() && self.pull(core) { self.choose_own(core) } else { context }
    }

    /// A core that is about to be idle takes a drain thread that waits for another one, of its own node if there is one.
    fn pull(&mut self, core: usize) -> bool {
        let (seats, node, now) = (&self.seats, self.seats[core].core.node, self.seats[core].clock);
        let Some(kernel) = self.kernel.as_mut().filter(|_| self.setup.contender.egress == Egress::Threaded)
        else {
            return false;
        };
        let of = |near: bool| (0..seats.len()).filter(move |other| (seats[*other].core.node == node) == near);
        kernel.pull(core, now, of(true)) || (!kernel.by_node && kernel.pull(core, now, of(false)))
    }

    /// The same, of what it has itself.
    fn choose_own(&mut self, core: usize) -> Option<Context> {
        let (now, came) = (self.seats[core].clock, self.came(core));
        let (peers, homes) = (&self.peers, &self.homes);
        let done = |peer: usize| homes[peers[peer].home].order.head(peer).map(|done| done.at);
        let kernel = self.kernel.as_mut()?;
        kernel.choose(core, now, came.is_some_and(|came| came <= now), done)
    }

    /// When a core is told of what the NIC brought.
    fn came(&self, core: usize) -> Option<u64> {
        let came = self.homes[self.seats[core].home?].came()?;
        Some(came.max(self.seats[core].quiet))
    }

    /// When a core that has nothing to do now will have, under the kernel.
    fn awaited(&self, core: usize) -> Option<u64> {
        let kernel = self.kernel.as_ref()?;
        let ring = kernel.crypts_at(core);
        let done = |peer: usize| self.homes[self.peers[peer].home].order.head(peer).map(|done| done.at);
        kernel.drains_of(core).filter_map(done).chain(ring).chain(self.came(core)).min()
    }

    /// Something of a peer was completed by a core: has its drain run, and tells where; a thread only if it is the head of the peer. One
    /// that runs stays where it is, and will look again.
    pub(in super::super) fn raise(&mut self, peer: usize, completer: usize, head: bool) -> Option<usize> {
        let threaded = self.setup.contender.egress == Egress::Threaded;
        let kernel = self.kernel.as_mut()?;
        if kernel.drains[peer].core.is_some() {
            kernel.miss(peer);
            return None;
        }
        let mut core = completer;
        if threaded {
            if !head {
                return None;
            }
            // Where it ran last if that is idle, else on an idle core, else where the fewest others are.
            let last = kernel.drains[peer].last;
            let pool = &kernel.pools[peer].cores;
            let seats = &self.seats;
            let idle = |core: usize| seats[core].asleep && !seats[core].called();
            let near = |core: usize| seats[core].core.node == seats[completer].core.node;
            core = if idle(last) && pool.contains(&last) {
                last
            } else {
                let all = || pool.iter().copied();
                let free = all().filter(|core| idle(*core)).min_by_key(|core| !near(*core));
                free.or_else(|| all().min_by_key(|core| (kernel.load(*core), *core != last)))?
            };
        }
        kernel.raise(peer, core);
        Some(core)
    }
}
