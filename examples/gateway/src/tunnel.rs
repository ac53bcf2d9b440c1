//! The devices with their sockets, as the configuration protocol sees them: as one.
//!
//! Every home has a device that knows all peers, and everything is set in all of them, in the same order. Of a peer only
//! the device at its home has more than key and allowed IPs, and the others take no notice of the rest.

use core::net::SocketAddr;
use core::time::Duration;
use std::sync::Arc;

use getrandom::SysRng;
use getrandom::rand_core::TryRng;
use wg_datapath::{
    Batch, Config, ConfigError, Device, Discipline, Exchange, HomeId, HomeState, IpPrefix, Lane, LaneIo, Now,
    PeerId, RehomeError, SharedHome, Ways, Worker, begin_split, end_split, rehome,
};
use wg_proto::{Endpoint, Instant, PresharedKey, PrivateKey, PublicKey, SessionIndex};
use wg_sched::handoff::Doorbell;
use wg_sched::{Member, StrategyKind};
use wg_sys_linux::{Egress, Error, Offloads, Steering, Tun, Waker, clock, interface_index};

use crate::drops;
use crate::home::{Home, Seat, Share};
use crate::homes::{AllHomes, Homes};
use crate::log::PeerName;
use crate::offloads::Egresses;
use crate::sockets::{Port, Sockets};
use crate::uapi::{Configure, Errno, PeerSnapshot, Snapshot};

/// The time between two looks whether a split of counters has ended: long after the last datagram that the kernel was just steering.
const SPLIT_ENDS: Duration = Duration::from_millis(50);

/// The backend of transport data.
pub(crate) type TunnelAead = wg_datapath::MultiBufferAead;

/// The backend of X25519.
#[cfg(feature = "aws-lc")]
pub(crate) type TunnelDh = wg_proto::dh::AwsLcDh;
#[cfg(not(feature = "aws-lc"))]
pub(crate) type TunnelDh = PrivateKey;

/// The device as the gateway makes it.
pub(crate) type TunnelDevice = Device<TunnelAead, SysRng, TunnelDh>;

/// What of the tunnel no home has for itself. Whoever moves packets does not need it.
#[derive(Debug)]
pub(crate) struct Tunnel {
    port: Port,
    egresses: Egresses,
    /// The interface is up. The devices are too, unless their port could not be had.
    interface_up: bool,
    /// How many peers changed their home.
    moves: u64,
    /// The strategy that was chosen.
    chosen: StrategyKind,
    /// The lanes that could receive for each where counters are split, and those that do, if they are.
    receivers: Vec<Vec<usize>>,
    steered: Option<Vec<Vec<usize>>>,
    /// Counters are split by the rule.
    splits_itself: bool,
    /// When to look whether a split of counters has ended.
    split_due: Option<Instant>,
}

/// The part of a thread in the crew.
pub(crate) type Part = Member<Batch<TunnelAead>>;

/// The tunnel with all its homes, between two turns of theirs.
#[derive(Debug)]
pub(crate) struct Configuring<'a> {
    tunnel: &'a mut Tunnel,
    all: AllHomes<'a>,
}

/// Reads both clocks.
pub(crate) fn read_clocks() -> Now {
    Now { instant: clock::now(), wall: clock::wall() }
}

/// Makes the homes, as many as there are queues: each with a device that has no key, knows no peers, and is down. Bells wake
/// the thread of each; `members` are the parts of the threads in a crew, if there is one. Returned are also those of threads
/// without a queue.
pub(crate) fn make_homes(
    queues: Vec<Tun>,
    bells: &[Waker],
    members: Vec<Part>,
    offloads: Offloads,
    discipline: Discipline,
) -> Result<(Tunnel, Vec<Home>, Vec<Part>), getrandom::Error> {
    let count = queues.len();
    let steering = steering(count)?;
    let bells = bells.iter().take(count).cloned().map(|bell| Arc::new(Doorbell::new(move || bell.wake())));
    let bells: Vec<_> = bells.collect();
    let ways = Ways::between(&bells);
    let parts = Exchange::between(bells).into_iter().zip(ways);
    let mut members = members.into_iter();
    let homes = queues.into_iter().zip(parts).map(|(tun, (exchange, ways))| {
        let home = exchange.home();
        let (mut device, steering) = (device()?, steering.clone());
        device.set_home(home, count, move |index| steering.member_of(index.get()) == home.index());
        let lane = if count > 1 { Lane::among(exchange) } else { Lane::new() };
        let mut lane = lane.with_discipline(discipline);
        if count > 1 {
            lane.join_ways(ways);
        }
        if let Some(member) = members.next() {
            lane.join(member);
        }
        let seat = Seat::Own(Box::new(HomeState { device, lane }));
        Ok(Home { seat, tun, sockets: Sockets::default() })
    });
    let homes = homes.collect::<Result<_, _>>()?;
    Ok((Tunnel::new(offloads, steering), homes, members.collect()))
}

/// Makes one home that is shared, with a part for each queue.
pub(crate) fn make_shared_home(
    queues: Vec<Tun>,
    members: Vec<Part>,
    offloads: Offloads,
    discipline: Discipline,
) -> Result<(Tunnel, Vec<Home>), getrandom::Error> {
    // Whichever sockets a session comes to, its peer is at home there.
    let steering = steering(queues.len())?;
    let mut device = device()?;
    device.set_home(HomeId::default(), 1, |_| true);
    let lane = Lane::new().with_discipline(discipline);
    let home = Arc::new(SharedHome::new(Box::new(HomeState { device, lane })));
    let share = |member| Box::new(Share::new(Worker::new(member), Arc::clone(&home)));
    let homes = queues.into_iter().zip(members).map(|(tun, member)| Home {
        seat: Seat::Shared(share(member)),
        tun,
        sockets: Sockets::default(),
    });
    Ok((Tunnel::new(offloads, steering), homes.collect()))
}

fn steering(members: usize) -> Result<Steering, getrandom::Error> {
    Ok(Steering::new(u16::try_from(members).unwrap_or(u16::MAX), SysRng.try_next_u32()?))
}

fn device() -> Result<TunnelDevice, getrandom::Error> {
    // The MTU comes with the first event of the interface.
    TunnelDevice::new(Config { mtu: 0, ..Config::default() }, SysRng)
}

/// Where a peer is at home, and its traffic so far.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Activity {
    pub(crate) home: usize,
    pub(crate) id: PeerId,
    /// In bytes, both.
    pub(crate) received: u64,
    pub(crate) sent: u64,
    /// Of both.
    pub(crate) messages: u64,
}

impl Tunnel {
    const fn new(offloads: Offloads, steering: Steering) -> Self {
        let egresses = Egresses::new(offloads);
        let port = Port::new(offloads, steering);
        Self {
            port,
            egresses,
            interface_up: false,
            moves: 0,
            chosen: StrategyKind::Adaptive,
            receivers: Vec::new(),
            steered: None,
            splits_itself: false,
            split_due: None,
        }
    }

    /// Names the lanes that are to receive for each where counters are split; nobody, unless it was said.
    pub(crate) fn name_receivers(&mut self, receivers: Vec<Vec<usize>>) {
        self.receivers = receivers;
    }

    /// When to look whether a split of counters has ended, if one is about to.
    pub(crate) const fn split_due(&self) -> Option<Instant> {
        self.split_due
    }

    /// Waits until no home takes a turn, and configures them then.
    pub(crate) fn configure<'a>(&'a mut self, homes: &'a Homes) -> Configuring<'a> {
        Configuring { tunnel: self, all: homes.all() }
    }

    /// How many peers changed their home.
    pub(crate) const fn moves(&self) -> u64 {
        self.moves
    }

    /// Says which devices the endpoints configured since are behind. The homes take their turns meanwhile.
    pub(crate) fn report_egresses(&mut self) {
        let mark = self.port.mark();
        self.egresses.report(|address| Egress::find(address, mark));
    }
}

impl Configuring<'_> {
    fn devices(&mut self) -> impl Iterator<Item = &mut TunnelDevice> {
        self.all.homes.iter_mut().filter_map(|home| home.device_mut())
    }

    /// Any device: what all of them know.
    fn any(&self) -> Option<&TunnelDevice> {
        self.all.homes.first().and_then(|home| home.device())
    }

    /// The device at the home of a peer.
    fn home_of(&mut self, peer: PeerId) -> Option<&mut TunnelDevice> {
        self.devices().find(|device| device.status(peer).is_some())
    }

    /// Does something to the port and the sockets of all homes.
    fn with_sockets<T>(&mut self, work: impl FnOnce(&mut Port, &mut [&mut Sockets]) -> T) -> T {
        let mut sockets: Vec<_> = self.all.homes.iter_mut().map(|home| &mut home.sockets).collect();
        work(&mut self.tunnel.port, &mut sockets)
    }

    /// The peers that data came from or went to since the last call.
    pub(crate) fn take_active(&mut self) -> Vec<Activity> {
        let mut active = Vec::new();
        for (home, device) in self.all.homes.iter_mut().enumerate() {
            let Some(device) = device.device_mut() else { continue };
            device.take_active(|peer| {
                active.push(Activity {
                    home,
                    id: peer.id,
                    received: peer.rx_bytes,
                    sent: peer.tx_bytes,
                    messages: peer.messages,
                });
            });
        }
        active
    }

    /// The public key of a peer.
    pub(crate) fn key_of(&self, peer: PeerId) -> Option<PublicKey> {
        let mut devices = self.all.homes.iter().filter_map(|home| home.device());
        devices.find_map(|device| device.status(peer)).map(|peer| peer.public_key)
    }

    /// Gives a peer another home. There is none where all threads share one.
    pub(crate) fn rehome(&mut self, peer: PeerId, to: usize) -> Result<(), RehomeError> {
        let now = read_clocks();
        let to = HomeId::new(u8::try_from(to).map_err(|_| RehomeError::NoSuchHome)?);
        rehome(&mut self.lanes(now), peer, to)?;
        self.tunnel.moves += 1;
        Ok(())
    }

    /// The lanes of homes that are not shared.
    fn lanes(&mut self, now: Now) -> Vec<LaneIo<'_, TunnelAead, SysRng, Tun, Sockets, TunnelDh>> {
        let lanes = self.all.homes.iter_mut().filter_map(|home| match &mut **home {
            Home { seat: Seat::Own(state), tun, sockets } => {
                let HomeState { device, lane } = &mut **state;
                Some(LaneIo { device, lane, tun, udp: sockets, now })
            }
            Home { seat: Seat::Shared(_), .. } => None,
        });
        lanes.collect()
    }

    /// The homes that others receive for.
    fn split_homes(&self) -> Vec<usize> {
        let lists = self.tunnel.steered.iter().flatten().enumerate();
        lists.filter(|(_, receivers)| !receivers.is_empty()).map(|(home, _)| home).collect()
    }

    /// How many datagrams came to each lane, if there are several.
    fn received(&self) -> Vec<u64> {
        let lanes = self.all.homes.iter().filter_map(|home| match &home.seat {
            Seat::Own(state) => Some(state.lane.received()),
            Seat::Shared(_) => None,
        });
        let received: Vec<_> = lanes.collect();
        if received.len() > 1 { received } else { Vec::new() }
    }

    /// The strategy that runs: one thread does everything, whatever was chosen.
    fn in_effect(&self) -> StrategyKind {
        if self.all.threads() > 1 { self.all.strategy() } else { StrategyKind::Inline }
    }

    /// Has datagrams come to the threads as a strategy wants it that was chosen.
    pub(crate) fn follow(&mut self, kind: StrategyKind) -> Result<(), Error> {
        let splits = kind.splits_counters() && self.all.homes.len() > 1;
        self.steer(splits.then(|| self.tunnel.receivers.clone()))?;
        (self.tunnel.chosen, self.tunnel.splits_itself) = (kind, false);
        Ok(())
    }

    /// Has those lanes receive for each that the rule names, whatever was chosen, or nobody any more.
    pub(crate) fn split_by_itself(&mut self, receivers: Option<Vec<Vec<usize>>>) -> Result<(), Error> {
        let splits = receivers.is_some();
        self.steer(receivers)?;
        self.tunnel.splits_itself = splits;
        self.all.set_strategy(if splits { StrategyKind::CounterSplit } else { self.tunnel.chosen });
        Ok(())
    }

    /// The strategy that was chosen.
    pub(crate) const fn strategy(&self) -> StrategyKind {
        self.tunnel.chosen
    }

    /// Tells whether counters are split because of the rule.
    pub(crate) const fn splits_itself(&self) -> bool {
        self.tunnel.splits_itself
    }

    /// Tells whether counters are split, or something of that is left: then no peer moves.
    pub(crate) const fn is_split(&self) -> bool {
        self.tunnel.steered.is_some() || self.tunnel.split_due.is_some()
    }

    /// The lanes that could receive for each.
    pub(crate) fn receivers(&self) -> &[Vec<usize>] {
        &self.tunnel.receivers
    }

    /// How many batches all homes merged since counters are split, and how many of those came too late to be in order.
    pub(crate) fn merged(&self) -> (u64, u64) {
        let merged = self.all.homes.iter().map(|home| match &home.seat {
            Seat::Own(state) => state.lane.merged(),
            Seat::Shared(_) => (0, 0),
        });
        merged.fold((0, 0), |(all, late), (more, later)| (all + more, late + later))
    }

    fn steer(&mut self, receivers: Option<Vec<Vec<usize>>>) -> Result<(), Error> {
        if receivers == self.tunnel.steered {
            return Ok(());
        }
        let splits = receivers.is_some();
        self.with_sockets(|port, sockets| port.split(sockets, receivers.as_deref()))?;
        let (now, steering) = (read_clocks(), self.tunnel.port.steering().clone());
        let mut lanes = self.lanes(now);
        if splits {
            let receives = |home: HomeId, lane: HomeId| steering.is_receiver(home.index(), lane.index());
            let plain = steering.clone();
            let home_of = move |index: SessionIndex| {
                HomeId::new(u8::try_from(plain.member_of(index.get())).unwrap_or(u8::MAX))
            };
            begin_split(&mut lanes, receives, home_of);
        } else {
            lanes.iter_mut().for_each(|io| io.lane.counters_joined(io.udp.most_waiting()));
        }
        drop(lanes);
        // What other threads have is to come home first.
        self.tunnel.split_due = (!splits).then(|| now.instant.saturating_add(SPLIT_ENDS));
        self.tunnel.steered = receivers;
        Ok(())
    }

    /// Ends a split of counters if nothing of it is left, or looks again later.
    pub(crate) fn end_split(&mut self, now: Instant) {
        let ended = end_split(&mut self.lanes(read_clocks()));
        if ended {
            tracing::debug!("all datagrams come home");
        }
        self.tunnel.split_due = (!ended).then(|| now.saturating_add(SPLIT_ENDS));
    }

    /// Follows the interface up.
    pub(crate) fn up(&mut self) {
        self.tunnel.interface_up = true;
        // Another port will be a new chance.
        let _ = self.start();
    }

    /// Opens the sockets, then starts the devices, so that what they send can leave.
    fn start(&mut self) -> Result<(), Error> {
        let opened = self.with_sockets(Port::open);
        let port = self.tunnel.port.number();
        match &opened {
            Ok(()) => {
                self.devices().for_each(|device| device.set_up(true, read_clocks()));
                tracing::debug!("device up, listening on port {port}");
            }
            Err(error) => tracing::error!("device stays down, port {port}: {error}"),
        }
        opened
    }

    /// Follows the interface down.
    pub(crate) fn down(&mut self) {
        self.tunnel.interface_up = false;
        for device in self.devices() {
            device.set_up(false, read_clocks());
            device.forget_sources();
        }
        self.with_sockets(|_, sockets| Port::close(sockets));
        tracing::debug!("device down");
    }

    /// Follows the MTU of the interface.
    pub(crate) fn set_mtu(&mut self, mtu: usize) {
        self.devices().for_each(|device| device.set_mtu(mtu));
    }

    /// Forgets the sticky sources that no longer fit; the mark of the sockets is part of the question.
    pub(crate) fn forget_stale_sources(&mut self, mut is_stale: impl FnMut(&Endpoint, u32) -> bool) {
        let mark = self.tunnel.port.mark();
        self.devices().for_each(|device| device.forget_sources_if(|endpoint| is_stale(endpoint, mark)));
    }

    #[cfg(feature = "key-log")]
    pub(crate) fn set_key_log(&mut self, log: &'static dyn wg_proto::KeyLog) {
        self.devices().for_each(|device| device.set_key_log(log));
    }
}

impl Configure for Configuring<'_> {
    type Peer = PeerId;

    fn set_private_key(&mut self, key: Option<PrivateKey>) {
        let now = read_clocks();
        for device in self.devices() {
            device.set_private_key(key.as_ref().map(PrivateKey::duplicate), now);
        }
    }

    fn set_listen_port(&mut self, port: u16) -> Result<(), Errno> {
        self.with_sockets(|own, sockets| own.set_number(sockets, port)).map_err(|error| {
            tracing::error!("port {port}: {error}");
            Errno::IN_USE
        })?;
        self.devices().for_each(TunnelDevice::forget_sources);
        if self.tunnel.interface_up && !self.any().is_some_and(TunnelDevice::is_up) {
            self.start().map_err(|_| Errno::IN_USE)?;
        }
        Ok(())
    }

    fn set_firewall_mark(&mut self, mark: u32) -> Result<(), Errno> {
        self.with_sockets(|port, sockets| port.set_mark(sockets, mark)).map_err(|error| {
            tracing::error!("mark {mark:#x}: {error}");
            Errno::IN_USE
        })?;
        self.devices().for_each(TunnelDevice::forget_sources);
        Ok(())
    }

    fn set_strategy(&mut self, kind: StrategyKind) -> Result<(), Errno> {
        // One thread is all there is: it shares its home with nobody.
        let several = self.all.homes.len() > 1 || self.all.threads() > 1;
        let shares = self.all.homes.first().is_some_and(|home| home.is_shared());
        if several && kind.shares_home() != shares {
            let whose = if shares { "all threads have one home" } else { "threads have homes of their own" };
            tracing::error!("strategy {kind}: {whose}, which is chosen at the start, by --strategy");
            return Err(Errno::INVALID);
        }
        self.follow(kind).map_err(|error| {
            tracing::error!("strategy {kind}: {error}");
            Errno::INVALID
        })?;
        tracing::debug!("strategy {kind}");
        self.all.set_strategy(kind);
        Ok(())
    }

    fn remove_all_peers(&mut self) {
        self.devices().for_each(TunnelDevice::remove_all_peers);
    }

    fn public_key(&self) -> Option<PublicKey> {
        self.any()?.public_key()
    }

    fn peer(&self, key: &PublicKey) -> Option<PeerId> {
        self.any()?.peer(key)
    }

    fn add_peer(&mut self, key: PublicKey) -> Result<PeerId, Errno> {
        // First at its home, where it may fail; the others do no more than enter it.
        let home = self.any().map(TunnelDevice::next_home).unwrap_or_default();
        let at_home = self.all.homes.get_mut(home.index()).and_then(|home| home.device_mut());
        let added = at_home.ok_or(Errno::INVALID)?.add_peer(key).map_err(|error| match error {
            ConfigError::Entropy => Errno::IO,
            _ => Errno::INVALID,
        })?;
        for device in self.devices() {
            let entered = device.add_peer(key);
            debug_assert_eq!(entered, Ok(added), "all devices know the same peers");
        }
        tracing::debug!("{} added", PeerName(&key));
        Ok(added)
    }

    fn remove_peer(&mut self, peer: PeerId) {
        self.devices().for_each(|device| device.remove_peer(peer));
    }

    fn set_preshared_key(&mut self, peer: PeerId, key: PresharedKey) {
        if let Some(device) = self.home_of(peer) {
            device.set_preshared_key(peer, key);
        }
    }

    fn set_endpoint(&mut self, peer: PeerId, endpoint: SocketAddr) {
        self.devices().for_each(|device| device.set_endpoint(peer, endpoint));
        self.tunnel.egresses.add(endpoint);
    }

    fn set_persistent_keepalive(&mut self, peer: PeerId, seconds: u16) {
        let now = read_clocks();
        self.devices().for_each(|device| device.set_persistent_keepalive(peer, seconds, now));
    }

    fn clear_allowed_ips(&mut self, peer: PeerId) {
        self.devices().for_each(|device| device.clear_allowed_ips(peer));
    }

    fn add_allowed_ip(&mut self, peer: PeerId, prefix: IpPrefix) -> Result<(), Errno> {
        // The tables are alike: the first one that is full is full before any other was changed.
        self.devices().try_for_each(|device| device.add_allowed_ip(peer, prefix)).map_err(|_| Errno::INVALID)
    }

    fn remove_allowed_ip(&mut self, peer: PeerId, prefix: IpPrefix) {
        self.devices().for_each(|device| device.remove_allowed_ip(peer, prefix));
    }

    fn interface_index(&self, name: &str) -> Option<u32> {
        interface_index(name)
    }

    fn peer_configured(&mut self, peer: PeerId) {
        let now = read_clocks();
        self.devices().for_each(|device| device.peer_configured(peer, now));
    }

    fn snapshot(&self) -> Snapshot {
        let (homes, any) = (&self.all.homes, self.any());
        let peers = any.into_iter().flat_map(TunnelDevice::homes).filter_map(|(id, home)| {
            let device = homes.get(home.index())?.device()?;
            let peer = device.status(id)?;
            Some(PeerSnapshot {
                public_key: peer.public_key,
                preshared_key: (!peer.preshared_key.is_none())
                    .then(|| Box::new(peer.preshared_key.duplicate())),
                endpoint: peer.endpoint,
                last_handshake: peer.last_handshake,
                tx_bytes: peer.tx_bytes,
                rx_bytes: peer.rx_bytes,
                persistent_keepalive: peer.persistent_keepalive,
                allowed_ips: device.allowed_ips(id).collect(),
            })
        });
        Snapshot {
            private_key: any.and_then(TunnelDevice::private_key).map(|key| Box::new(key.duplicate())),
            listen_port: self.tunnel.port.number(),
            firewall_mark: self.tunnel.port.mark(),
            lane_moves: self.tunnel.moves,
            lane_received: self.received(),
            strategy: Some((self.tunnel.chosen, self.in_effect())),
            lane_split: self.split_homes(),
            dropped: Box::new(drops::of_all(homes.iter().filter_map(|home| home.device()))),
            peers: peers.collect(),
        }
    }
}
