//! What one core moves packets with, and its turns.

use std::sync::Arc;

use getrandom::SysRng;
use wg_datapath::io::IoError;
use wg_datapath::{HomeState, LaneIo, SharedHome, SharedIo, Worker};
use wg_proto::Instant;
use wg_sched::{AnyStrategy, Budget, CoreId, Outcome, Strategy, StrategyKind};
use wg_sys_linux::{Error, Event, Interest, Poller, Token, Tun};

use crate::homes::Part;
use crate::lanes::{Placement, Rest};
use crate::sockets::Sockets;
use crate::tunnel::{TunnelAead, TunnelDevice, TunnelDh, read_clocks};

/// The queue of the TUN in a poller.
pub(crate) const TUN: Token = Token::new(0);
/// The sockets in a poller.
pub(crate) const UDP: Token = Token::new(1);

/// What is moved between two readings of the clock, and two looks at what is ready: a fraction of a millisecond's worth.
pub(crate) const BUDGET: Budget = Budget { batches: 16, packets: 128 };

/// A device and its lane.
pub(crate) type State = HomeState<TunnelAead, SysRng, TunnelDh>;

/// What one thread moves packets with.
#[derive(Debug)]
pub(crate) struct Home {
    pub(crate) seat: Seat,
    pub(crate) tun: Tun,
    pub(crate) sockets: Sockets,
}

/// Whose the peers are.
#[derive(Debug)]
pub(crate) enum Seat {
    /// Of this thread alone: where there are several, each is the home of some of the peers.
    Own(Box<State>),
    /// Of all threads.
    Shared(Box<Share>),
}

/// The part of a thread in a home that all share.
#[derive(Debug)]
pub(crate) struct Share {
    worker: Worker<TunnelAead>,
    home: Arc<SharedHome<TunnelAead, SysRng, TunnelDh>>,
    /// The home, while no thread takes a turn: with the first of them.
    taken: Option<Box<State>>,
}

impl Share {
    pub(crate) const fn new(
        worker: Worker<TunnelAead>,
        home: Arc<SharedHome<TunnelAead, SysRng, TunnelDh>>,
    ) -> Self {
        Self { worker, home, taken: None }
    }
}

/// When there is something to do again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// At once.
    Now,
    /// When a descriptor is ready, a bell rings, or this has come.
    At(Option<Instant>),
    /// When a bell rings, whatever descriptors are ready.
    Rung,
    /// Never: the interface is gone.
    Gone,
}

impl Home {
    /// The device, if it is here: that of a home that is shared is with the first thread while none takes a turn, and nowhere else.
    pub(crate) fn device(&self) -> Option<&TunnelDevice> {
        match &self.seat {
            Seat::Own(state) => Some(&state.device),
            Seat::Shared(share) => share.taken.as_ref().map(|state| &state.device),
        }
    }

    /// See [`Self::device`].
    pub(crate) fn device_mut(&mut self) -> Option<&mut TunnelDevice> {
        match &mut self.seat {
            Seat::Own(state) => Some(&mut state.device),
            Seat::Shared(share) => share.taken.as_mut().map(|state| &mut state.device),
        }
    }

    /// Tells whether the peers are of all threads.
    pub(crate) const fn is_shared(&self) -> bool {
        matches!(self.seat, Seat::Shared(_))
    }

    fn readable(&mut self, tun: bool, udp: bool) {
        match &mut self.seat {
            Seat::Own(state) => state.lane.readable(tun, udp),
            Seat::Shared(share) => share.worker.readable(tun, udp),
        }
    }

    /// Takes in what a poller told.
    pub(crate) fn see(&mut self, event: Event) {
        match event.token {
            TUN => self.readable(true, false),
            UDP => {
                self.readable(false, event.readable);
                if event.writable {
                    self.sockets.writable();
                }
            }
            _ => {}
        }
    }
}

impl Part for Home {
    fn taken(&mut self) {
        if let Seat::Shared(share) = &mut self.seat {
            share.taken = share.home.take();
        }
    }

    fn given_back(&mut self) {
        if let Seat::Shared(share) = &mut self.seat
            && let Some(state) = share.taken.take()
        {
            share.home.put(state);
        }
    }
}

/// Takes the turns of a home, always of the same one.
#[derive(Debug)]
pub(crate) struct Turns {
    strategy: AnyStrategy,
    /// The number of the thread, see [`Placement`].
    core: CoreId,
    /// Whether the strategy has its part in a plan.
    placed: bool,
    /// What the poller is asked for of the TUN.
    reads_tun: bool,
    /// How the thread sleeps between two turns.
    pub(crate) rest: Rest,
}

impl Turns {
    /// Has the TUN polled, and makes the calling thread the one that takes the turns of a lane.
    pub(crate) fn new(
        placement: &Placement,
        lane: usize,
        home: &Home,
        poller: &Poller,
    ) -> Result<Self, Error> {
        poller.add(&home.tun, TUN, Interest::Readable)?;
        let rest = placement.settle(lane);
        let core = CoreId(u32::try_from(lane).unwrap_or(u32::MAX));
        Ok(Self { strategy: AnyStrategy::default(), core, placed: false, reads_tun: true, rest })
    }

    /// Spreads the work as it is to be spread now.
    pub(crate) fn follow(&mut self, kind: StrategyKind, placement: &Placement, home: &mut Home) {
        if self.placed && self.strategy.kind() == kind {
            return;
        }
        let plan = placement.plan(kind);
        if let Seat::Own(state) = &mut home.seat {
            state.lane.place(&plan);
        }
        self.strategy.switch(kind, &plan, self.core);
        self.placed = true;
    }

    /// Takes a turn, brings the poller up to date, and tells when the next is due.
    pub(crate) fn take(&mut self, home: &mut Home, poller: &Poller) -> Result<Next, Error> {
        let Home { seat, tun, sockets } = home;
        let turn = match seat {
            Seat::Own(state) => self.step_own(state, tun, sockets),
            Seat::Shared(share) => self.step_shared(share, tun, sockets),
        };
        if let Some(error) = turn.fatal {
            // A removed interface is the ordinary end of a tunnel; it is told here if the packets notice first.
            tracing::debug!("{error}");
            return Ok(Next::Gone);
        }
        if let Some(downgrade) = tun.take_downgrade().or_else(|| sockets.take_downgrade()) {
            tracing::warn!("{downgrade}");
        }
        // While its queue is full the lane does not read the TUN, so packets there must not wake the loop; its end still does.
        if self.reads_tun != turn.wants_readable {
            self.reads_tun = !self.reads_tun;
            let interest = if self.reads_tun { Interest::Readable } else { Interest::Errors };
            poller.modify(&*tun, TUN, interest)?;
        }
        sockets.register(poller, UDP)?;
        let busy = turn.outcome.more || (turn.has_work && !turn.wants_writable);
        // What a worker needs a lock for it has to wait for, however much of it there is.
        let waits = turn.outcome.pressure && turn.waits_for_lock;
        if (busy && !waits) || !seat.may_sleep() {
            return Ok(Next::Now);
        }
        if waits {
            return Ok(Next::Rung);
        }
        Ok(Next::At(seat.poll_timeout()))
    }

    fn step_own(&mut self, state: &mut State, tun: &mut Tun, udp: &mut Sockets) -> Turn {
        let HomeState { device, lane } = state;
        lane.awake();
        let before = lane.traffic();
        let outcome =
            self.strategy.step(self.core, BUDGET, &mut LaneIo { device, lane, tun, udp, now: read_clocks() });
        self.rest.worked(before, lane.traffic());
        Turn {
            outcome,
            fatal: lane.fatal(),
            wants_readable: lane.wants_readable(),
            wants_writable: lane.wants_writable(),
            has_work: device.has_work(),
            waits_for_lock: false,
        }
    }

    fn step_shared(&mut self, share: &mut Share, tun: &mut Tun, udp: &mut Sockets) -> Turn {
        let Share { worker, home, .. } = share;
        worker.awake();
        let outcome =
            self.strategy.step(self.core, BUDGET, &mut SharedIo::new(worker, home, tun, udp, read_clocks()));
        Turn {
            outcome,
            fatal: worker.fatal(),
            wants_readable: worker.wants_readable(),
            wants_writable: worker.wants_writable(),
            has_work: worker.has_work(),
            waits_for_lock: worker.waits_for_lock(),
        }
    }
}

impl Seat {
    fn may_sleep(&mut self) -> bool {
        match self {
            Self::Own(state) => state.lane.may_sleep(),
            Self::Shared(share) => share.worker.may_sleep(&share.home),
        }
    }

    fn poll_timeout(&mut self) -> Option<Instant> {
        match self {
            Self::Own(state) => {
                [state.device.poll_timeout(), state.lane.poll_timeout()].into_iter().flatten().min()
            }
            Self::Shared(share) => share.worker.poll_timeout(),
        }
    }
}

/// What a turn came to.
#[derive(Debug)]
struct Turn {
    outcome: Outcome,
    fatal: Option<IoError>,
    wants_readable: bool,
    wants_writable: bool,
    has_work: bool,
    waits_for_lock: bool,
}
