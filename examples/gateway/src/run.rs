//! The event loop of the control thread: signals, the state of the interface, routes and the configuration server.
//!
//! Packets are moved by the threads of `lanes`, one for each home, each with an event loop of its own. Where there is one
//! home, its turns are taken here, and this is the only thread that moves packets. Configuration happens while no home takes a
//! turn, see `homes`. The clients of the configuration socket have threads of their own, and reach this one by whole
//! requests through a bounded queue, and so does what is heard of the interface (`link`). The loop sleeps in one place, until a descriptor is ready or the next deadline has come.

use core::time::Duration;
use std::io;

use wg_datapath::slab::SlabClass;
use wg_proto::Instant;
use wg_sched::Homes as CrewHomes;
use wg_sys_linux::topology::probe;
use wg_sys_linux::{
    Error, Events, Interest, Poller, RouteWatch, Signals, Token, TunEvent, TunEvents, UapiSocket, Waker,
    clock, heap,
};

use crate::balance::Balance;
use crate::cli::{NoSuchKernel, Splitting};
use crate::drops;
use crate::home::{Next, TUN, Turns};
use crate::homes::Homes;
use crate::lanes::{Placement, run_beside};
use crate::link::LinkWatch;
use crate::offloads::tried;
use crate::setup::Setup;
use crate::tunnel::{Tunnel, TunnelAead, make_homes, make_shared_home};
use crate::uapi::{Limits, Op, Progress, Server, Transaction};

// Beside those of the home that may be polled here, too.
const SIGNALS: Token = Token::new(17);
const RUNG: Token = Token::new(18);
const SOCKET_FILE: Token = Token::new(19);
const ROUTES: Token = Token::new(20);

/// The time between two looks at the routes: each asks the kernel once for every peer with a sticky source.
const ROUTES_PAUSE: Duration = Duration::from_secs(1);
/// The largest MTU that still fits a datagram with everything around it (C99).
const MAX_MTU: usize = 65_535 - 32;
/// Lines of configuration applied between two turns of the datapath. A line that makes a peer costs a multiplication on
/// the curve, and packets must not wait for a thousand of them.
const CONFIG_LINES: usize = 64;

/// Runs the gateway until a signal, the end of the interface or the end of its socket.
///
/// `ready` is called once, when everything that a waiting parent promises works.
///
/// # Errors
///
/// What could not be set up, or the error that ended a loop.
pub fn run(setup: Setup, ready: impl FnOnce()) -> Result<(), Error> {
    let Setup { interface, queues, socket, threads, strategy, standing, offloads, .. } = setup;
    let Setup { aead, queue, configuration, host_bits, auto_split, .. } = setup;
    if let Some(kernel) = aead
        && !TunnelAead::take_kernel(kernel.name())
    {
        return Err(Error::new("choose the AEAD", io::Error::other(NoSuchKernel)));
    }
    let link = queues
        .first()
        .ok_or_else(|| Error::new("watch the TUN interface", io::ErrorKind::NotFound))?
        .events()?;
    // There may be fewer queues than were wanted, and then no more helpers.
    let threads = threads.max(queues.len());
    let shares = strategy.shares_home() && threads > 1;
    if shares && queues.len() < threads {
        let message = format!(
            "{strategy}: each of {threads} threads needs a queue of the interface, and there are {}",
            queues.len()
        );
        return Err(Error::new("spread the work", io::Error::other(message)));
    }
    let placement = Placement::new(strategy, &probe()?, queues.len(), threads, standing);
    let bells = (0..threads).map(|_| Waker::new()).collect::<Result<Vec<_>, _>>()?;
    // Buffers for packets are most of the memory, and most of them no packet reaches.
    heap::map_blocks_from(SlabClass::Large.bytes());
    let crew = placement.crew(if shares { CrewHomes::Shared } else { CrewHomes::OfLanes }, &bells);
    let made = if shares {
        make_shared_home(queues, crew, tried(offloads), queue)
            .map(|(tunnel, homes)| (tunnel, homes, Vec::new()))
    } else {
        make_homes(queues, &bells, crew, tried(offloads), queue)
    };
    let (mut tunnel, homes, helpers) =
        made.map_err(|error| Error::new("draw from the entropy source", error))?;
    let homes = Homes::new(homes, bells);
    homes.set_strategy(strategy);
    tunnel.name_receivers(placement.receivers());
    tunnel.configure(&homes).follow(strategy)?;
    #[cfg(feature = "key-log")]
    if let Some(log) = crate::key_log::KeyLogFile::from_environment()? {
        tunnel.configure(&homes).set_key_log(log);
    }

    configure(&mut tunnel, &homes, configuration, &host_bits)?;

    let bell = Waker::new()?;
    let balance = Balance::new(placement.nodes(), if shares { Splitting::Off } else { auto_split });
    let control = Control::new(tunnel, &homes, link, socket, bell.clone(), balance)?;
    tracing::debug!(
        "{interface}: strategy {strategy}, lanes {}, threads {threads}, configuration at {}",
        homes.count(),
        control.socket.path().display()
    );
    tracing::debug!("AEAD {}, queue {queue}", TunnelAead::kernel());
    if threads > 1 {
        let end = run_beside(&homes, &placement, helpers, &bell, || {
            ready();
            control.run(None)
        });
        drops::tell(&homes);
        return end;
    }
    let turns = homes.enter(0).map(|home| Turns::new(&placement, 0, &home, &control.poller)).transpose()?;
    ready();
    let end = control.run(turns);
    drops::tell(&homes);
    end
}

/// The control thread.
struct Control<'a> {
    tunnel: Tunnel,
    homes: &'a Homes,
    link: LinkWatch,
    socket: UapiSocket,
    signals: Signals,
    routes: RouteWatch,
    bell: Waker,
    balance: Balance,
    server: Server<wg_datapath::PeerId>,
    poller: Poller,
    /// The interface may have news.
    link_changed: bool,
    /// Requests may wait in the queue of the server.
    requested: bool,
    /// When to look at the routes, and when that was last done.
    look_at_routes: Option<Instant>,
    looked_at_routes: Instant,
}

impl<'a> Control<'a> {
    fn new(
        tunnel: Tunnel,
        homes: &'a Homes,
        link: TunEvents,
        socket: UapiSocket,
        bell: Waker,
        balance: Balance,
    ) -> Result<Self, Error> {
        let signals = Signals::catch_termination()?;
        let routes = RouteWatch::open()?;
        let poller = Poller::new()?;
        poller.add(&signals, SIGNALS, Interest::Readable)?;
        poller.add(&bell, RUNG, Interest::Readable)?;
        poller.add(socket.watch(), SOCKET_FILE, Interest::Readable)?;
        poller.add(&routes, ROUTES, Interest::Readable)?;
        let wake = bell.clone();
        let link = LinkWatch::start(link, move || wake.wake())?;
        let wake = bell.clone();
        let server = Server::start(&socket, Limits::default(), move || wake.wake())
            .map_err(|error| Error::new("serve the configuration socket", error))?;
        Ok(Self {
            tunnel,
            homes,
            link,
            socket,
            signals,
            routes,
            bell,
            balance,
            server,
            poller,
            link_changed: true,
            requested: false,
            look_at_routes: None,
            looked_at_routes: Instant::default(),
        })
    }

    /// Runs until the end, and takes the turns of the first home if they are to be taken here.
    fn run(mut self, turns: Option<Turns>) -> Result<(), Error> {
        let end = self.run_until_end(turns);
        if self.tunnel.moves() > 0 {
            tracing::debug!("peers that moved to another lane: {}", self.tunnel.moves());
        }
        end
    }

    fn run_until_end(&mut self, mut turns: Option<Turns>) -> Result<(), Error> {
        let mut events = Events::with_capacity(16);
        loop {
            if !self.configure()? {
                tracing::debug!("interface removed");
                return Ok(());
            }
            let mut busy = self.requested;
            let deadlines = [self.look_at_routes, self.balance.due(), self.tunnel.split_due()];
            let mut deadline = deadlines.into_iter().flatten().min();
            if let Some(turns) = &mut turns
                && let Some(mut home) = self.homes.enter(0)
            {
                match turns.take(&mut home, &self.poller)? {
                    Next::Now => busy = true,
                    Next::At(next) => deadline = [deadline, next].into_iter().flatten().min(),
                    // There is nobody to share a home with.
                    Next::Rung => {}
                    Next::Gone => return Ok(()),
                }
            }
            if self.homes.is_ending() {
                return Ok(());
            }
            let deadline = if busy { Some(clock::now()) } else { deadline };
            match &mut turns {
                Some(turns) => turns.rest.wait(&mut self.poller, &mut events, deadline)?,
                None => self.poller.wait(&mut events, deadline)?,
            }
            for event in events.iter() {
                match event.token {
                    TUN if event.closed => {
                        tracing::debug!("interface gone");
                        return Ok(());
                    }
                    SIGNALS if self.signals.received() => {
                        tracing::debug!("told to end");
                        return Ok(());
                    }
                    SOCKET_FILE if self.socket.removed() => {
                        tracing::debug!("configuration socket removed");
                        return Ok(());
                    }
                    RUNG => {
                        self.bell.clear();
                        (self.requested, self.link_changed) = (true, true);
                    }
                    ROUTES if self.routes.changed() => {
                        let soonest = self.looked_at_routes.saturating_add(ROUTES_PAUSE);
                        self.look_at_routes.get_or_insert(soonest);
                    }
                    _ if turns.is_some() => {
                        if let Some(mut home) = self.homes.enter(0) {
                            home.see(event);
                        }
                    }
                    _ => {}
                }
            }
        }
    }

    /// Does what is to be done between two turns of the homes, if there is anything; `false` if the interface is gone.
    fn configure(&mut self) -> Result<bool, Error> {
        let now = clock::now();
        let looks_at_routes = self.look_at_routes.take_if(|at| *at <= now).is_some();
        let is_uneven = self.balance.look(self.homes, now);
        let may_end_split = self.tunnel.split_due().is_some_and(|due| due <= now);
        if !(self.link_changed || looks_at_routes || self.requested || is_uneven || may_end_split) {
            return Ok(true);
        }
        let mut tunnel = self.tunnel.configure(self.homes);
        if may_end_split {
            tunnel.end_split(now);
        }
        if is_uneven {
            self.balance.level(&mut tunnel, now);
        }
        while self.link_changed
            && let Some(event) = self.link.next_event()?
        {
            match event {
                TunEvent::Up => tunnel.up(),
                TunEvent::Down => tunnel.down(),
                TunEvent::Mtu(mtu) => {
                    tracing::debug!("MTU {mtu}");
                    tunnel.set_mtu(usize::try_from(mtu).unwrap_or(usize::MAX).min(MAX_MTU));
                }
                _ => return Ok(false),
            }
        }
        self.link_changed = false;
        if looks_at_routes {
            self.looked_at_routes = now;
            let routes = &mut self.routes;
            tunnel.forget_stale_sources(|endpoint, mark| routes.is_stale(endpoint, mark));
        }
        self.requested = self.requested && self.server.serve(&mut tunnel, CONFIG_LINES) == Progress::More;
        drop(tunnel);
        self.tunnel.report_egresses();
        Ok(true)
    }
}

/// Applies the configuration file, all at once: the interface is down yet, and no packet waits.
fn configure(tunnel: &mut Tunnel, homes: &Homes, ops: Vec<Op>, host_bits: &[u32]) -> Result<(), Error> {
    for line in host_bits {
        tracing::warn!(
            "configuration, line {line}: an allowed IP has bits set behind its mask, which are dropped"
        );
    }
    let mut tunnel = tunnel.configure(homes);
    let mut transaction = Transaction::new(ops, Ok(()));
    let answer = loop {
        if let Some(answer) = transaction.run(&mut tunnel, usize::MAX) {
            break answer;
        }
    };
    answer.map_err(|errno| Error::new("apply the configuration", io::Error::other(errno)))
}
