//! What one core moves packets with, and its turns.

use wg_datapath::{Lane, LaneIo};
use wg_proto::Instant;
use wg_sched::{AnyStrategy, Budget, CoreId, Strategy, StrategyKind};
use wg_sys_linux::{Error, Event, Interest, Poller, Token, Tun};

use crate::lanes::{Placement, Rest};
use crate::sockets::Sockets;
use crate::tunnel::{TunnelAead, TunnelDevice, read_clocks};

/// The queue of the TUN in a poller.
pub(crate) const TUN: Token = Token::new(0);
/// The sockets in a poller.
pub(crate) const UDP: Token = Token::new(1);

/// What is moved between two readings of the clock, and two looks at what is ready: a fraction of a millisecond's worth.
pub(crate) const BUDGET: Budget = Budget { batches: 16, packets: 128 };

/// A device with its lane and edges. Where there are several, each is the home of some of the peers.
#[derive(Debug)]
pub(crate) struct Home {
    pub(crate) device: TunnelDevice,
    pub(crate) lane: Lane<TunnelAead>,
    pub(crate) tun: Tun,
    pub(crate) sockets: Sockets,
}

/// When there is something to do again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// At once.
    Now,
    /// When a descriptor is ready, a bell rings, or this has come.
    At(Option<Instant>),
    /// Never: the interface is gone.
    Gone,
}

impl Home {
    /// Takes in what a poller told.
    pub(crate) fn see(&mut self, event: Event) {
        match event.token {
            TUN => self.lane.readable(true, false),
            UDP => {
                self.lane.readable(false, event.readable);
                if event.writable {
                    self.sockets.writable();
                }
            }
            _ => {}
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
        home.lane.place(&plan);
        self.strategy.switch(kind, &plan, self.core);
        self.placed = true;
    }

    /// Takes a turn, brings the poller up to date, and tells when the next is due.
    pub(crate) fn take(&mut self, home: &mut Home, poller: &Poller) -> Result<Next, Error> {
        home.lane.awake();
        let mut io = LaneIo {
            device: &mut home.device,
            lane: &mut home.lane,
            tun: &mut home.tun,
            udp: &mut home.sockets,
            now: read_clocks(),
        };
        let before = io.lane.traffic();
        let outcome = self.strategy.step(self.core, BUDGET, &mut io);
        self.rest.worked(before, home.lane.traffic());
        if let Some(error) = home.lane.fatal() {
            // A removed interface is the ordinary end of a tunnel; it is told here if the packets notice first.
            tracing::debug!("{error}");
            return Ok(Next::Gone);
        }
        if let Some(downgrade) = home.tun.take_downgrade().or_else(|| home.sockets.take_downgrade()) {
            tracing::warn!("{downgrade}");
        }
        // While its queue is full the lane does not read the TUN, so packets there must not wake the loop; its end still does.
        if self.reads_tun != home.lane.wants_readable() {
            self.reads_tun = !self.reads_tun;
            let interest = if self.reads_tun { Interest::Readable } else { Interest::Errors };
            poller.modify(&home.tun, TUN, interest)?;
        }
        home.sockets.register(poller, UDP)?;
        let busy = outcome.more || (home.device.has_work() && !home.lane.wants_writable());
        if busy || !home.lane.may_sleep() {
            return Ok(Next::Now);
        }
        Ok(Next::At(home.device.poll_timeout()))
    }
}
