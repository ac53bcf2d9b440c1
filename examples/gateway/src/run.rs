//! The event loop: joins the TUN, the UDP sockets, the timers and the configuration server on one lane.
//!
//! One thread moves the packets and owns all state; the clients of the configuration socket have threads of their own, and
//! reach it by whole requests through a bounded queue. The loop sleeps in one place, until a descriptor is ready or the next
//! deadline of the device has come.

use core::time::Duration;
use std::io;

use wg_datapath::{Lane, LaneIo};
use wg_proto::Instant;
use wg_sched::{Budget, CoreId, Strategy};
use wg_sys_linux::{Error, Events, Interest, Poller, RouteWatch, Signals, Token, TunEvent, Waker, clock};

use crate::setup::Setup;
use crate::tunnel::{Tunnel, TunnelAead, read_clocks};
use crate::uapi::{Limits, Op, Progress, Server, Transaction};

const TUN: Token = Token::new(0);
const LINK: Token = Token::new(1);
const UDP: Token = Token::new(2);
const SIGNALS: Token = Token::new(3);
const UAPI: Token = Token::new(4);
const SOCKET_FILE: Token = Token::new(5);
const ROUTES: Token = Token::new(6);

/// The time between two looks at the routes: each asks the kernel once for every peer with a sticky source.
const ROUTES_PAUSE: Duration = Duration::from_secs(1);
/// The largest MTU that still fits a datagram with everything around it (C99).
const MAX_MTU: usize = 65_535 - 32;
/// Batches between two readings of the clock.
const BUDGET: Budget = Budget { batches: 16 };
/// Lines of configuration applied between two turns of the datapath. A line that makes a peer costs a multiplication on
/// the curve, and packets must not wait for a thousand of them.
const CONFIG_LINES: usize = 64;

/// Runs the gateway until a signal, the end of the interface or the end of its socket.
///
/// `ready` is called once, when everything that a waiting parent promises works.
///
/// # Errors
///
/// What could not be set up, or the error that ended the loop.
pub fn run(setup: Setup, ready: impl FnOnce()) -> Result<(), Error> {
    let Setup { interface, mut tun, mut socket, strategy, offloads, configuration, host_bits } = setup;
    let mut strategy = strategy.build();
    let mut lane = Lane::<TunnelAead>::new();
    let mut tunnel =
        Tunnel::new(0, offloads).map_err(|error| Error::new("draw from the entropy source", error))?;
    #[cfg(feature = "key-log")]
    if let Some(log) = crate::key_log::KeyLogFile::from_environment()? {
        tunnel.device.set_key_log(log);
    }

    configure(&mut tunnel, configuration, &host_bits)?;

    let mut signals = Signals::catch_termination()?;
    let mut link = tun.events()?;
    let mut routes = RouteWatch::open()?;
    let waker = Waker::new()?;
    let mut poller = Poller::new()?;
    poller.add(&tun, TUN, Interest::Readable)?;
    poller.add(&link, LINK, Interest::Readable)?;
    poller.add(&signals, SIGNALS, Interest::Readable)?;
    poller.add(&waker, UAPI, Interest::Readable)?;
    poller.add(socket.watch(), SOCKET_FILE, Interest::Readable)?;
    poller.add(&routes, ROUTES, Interest::Readable)?;
    let mut reads_tun = true;

    let wake = waker.clone();
    let mut server = Server::start(&socket, Limits::default(), move || wake.wake())
        .map_err(|error| Error::new("serve the configuration socket", error))?;
    tracing::debug!(
        "{interface}: strategy {}, configuration at {}",
        strategy.kind(),
        socket.path().display()
    );
    ready();

    let mut events = Events::with_capacity(16);
    let mut link_changed = true;
    let (mut look_at_routes, mut looked_at_routes) = (None::<Instant>, Instant::default());
    loop {
        while link_changed && let Some(event) = link.next_event() {
            match event {
                TunEvent::Up => tunnel.up(),
                TunEvent::Down => tunnel.down(),
                TunEvent::Mtu(mtu) => {
                    tracing::debug!("MTU {mtu}");
                    tunnel.device.set_mtu(usize::try_from(mtu).unwrap_or(usize::MAX).min(MAX_MTU));
                }
                _ => {
                    tracing::debug!("interface removed");
                    return Ok(());
                }
            }
        }
        link_changed = false;
        let now = clock::now();
        if look_at_routes.take_if(|at| *at <= now).is_some() {
            looked_at_routes = now;
            let mark = tunnel.sockets.mark();
            tunnel.device.forget_sources_if(|endpoint| routes.is_stale(endpoint, mark));
        }
        let configuring = server.serve(&mut tunnel, CONFIG_LINES) == Progress::More;

        let mut io = LaneIo {
            device: &mut tunnel.device,
            lane: &mut lane,
            tun: &mut tun,
            udp: &mut tunnel.sockets,
            now: read_clocks(),
        };
        let outcome = strategy.step(CoreId(0), BUDGET, &mut io);
        if let Some(error) = lane.fatal() {
            // A removed interface is the ordinary end of a tunnel; it is told here if the packets notice first.
            tracing::debug!("{error}");
            return Ok(());
        }

        if let Some(downgrade) = tun.take_downgrade().or_else(|| tunnel.sockets.take_downgrade()) {
            tracing::warn!("{downgrade}");
        }

        // While its queue is full the lane does not read the TUN, so packets there must not wake the loop; its end still does.
        if reads_tun != lane.wants_readable() {
            reads_tun = !reads_tun;
            let interest = if reads_tun { Interest::Readable } else { Interest::Errors };
            poller.modify(&tun, TUN, interest)?;
        }
        tunnel.sockets.register(&poller, UDP)?;
        let busy = configuring || outcome.more || (tunnel.device.has_work() && !lane.wants_writable());
        let deadline = if busy {
            Some(clock::now())
        } else {
            [tunnel.device.poll_timeout(), look_at_routes].into_iter().flatten().min()
        };
        poller.wait(&mut events, deadline)?;

        for event in events.iter() {
            match event.token {
                TUN if event.closed => {
                    tracing::debug!("interface gone");
                    return Ok(());
                }
                TUN => lane.readable(true, false),
                LINK => link_changed = true,
                UDP => {
                    lane.readable(false, event.readable);
                    if event.writable {
                        tunnel.sockets.writable();
                    }
                }
                SIGNALS if signals.received() => {
                    tracing::debug!("told to end");
                    return Ok(());
                }
                SOCKET_FILE if socket.removed() => {
                    tracing::debug!("configuration socket removed");
                    return Ok(());
                }
                UAPI => {
                    waker.clear();
                }
                ROUTES if routes.changed() => {
                    look_at_routes.get_or_insert_with(|| looked_at_routes.saturating_add(ROUTES_PAUSE));
                }
                _ => {}
            }
        }
    }
}

/// Applies the configuration file, all at once: the interface is down yet, and no packet waits.
fn configure(tunnel: &mut Tunnel, ops: Vec<Op>, host_bits: &[u32]) -> Result<(), Error> {
    for line in host_bits {
        tracing::warn!(
            "configuration, line {line}: an allowed IP has bits set behind its mask, which are dropped"
        );
    }
    let mut transaction = Transaction::new(ops, Ok(()));
    let answer = loop {
        if let Some(answer) = transaction.run(tunnel, usize::MAX) {
            break answer;
        }
    };
    answer.map_err(|errno| Error::new("apply the configuration", io::Error::other(errno)))
}
