//! A host of many peers: `wg_datapath::Device` and `Lane` under a strategy, with edges that end in the simulator.

use core::net::{IpAddr, Ipv4Addr, SocketAddr};

use wg_datapath::io::{IoError, RecvSlot, SendReport, SendStatus, Transmit, TunIo, UdpIo};
use wg_datapath::sched::{AnyStrategy, Budget, CoreId, Strategy, StrategyKind};
use wg_datapath::{Config, Device, DropReason, IpPrefix, Lane, LaneIo, Now, PeerId};
use wg_proto::aead::RingAead;
use wg_proto::{Endpoint, Instant, PublicKey, Source, UnixTime};

use super::{Command, Node, NodeSpec, Outbox, PeerSpec};
use crate::draw::Entropy;

/// Turns without rest after which a device is taken to spin.
const TURNS: usize = 10_000;

/// A host of many peers.
#[derive(Debug)]
pub struct DeviceNode {
    device: Device<RingAead, Entropy>,
    lane: Lane<RingAead>,
    strategy: AnyStrategy,
    /// The drops that were told of.
    told: [u64; DropReason::ALL.len()],
}

impl DeviceNode {
    /// Makes a device that is up and knows the peers of `spec`.
    ///
    /// # Panics
    ///
    /// If the entropy is broken from the start.
    #[must_use]
    pub fn new(spec: NodeSpec) -> Self {
        let config =
            Config { max_peers: 64, staged_bytes: 1 << 20, handshake_queue: 64, ..Config::default() };
        let mut device = match Device::new(config, spec.entropy) {
            Ok(device) => device,
            Err(error) => panic!("{error}"),
        };
        device.set_private_key(Some(spec.private_key), spec.now);
        device.set_up(true, spec.now);
        let strategy = StrategyKind::default().build();
        let told = [0; DropReason::ALL.len()];
        let mut node = Self { device, lane: Lane::new(), strategy, told };
        for peer in &spec.peers {
            node.add(peer);
        }
        node
    }

    fn add(&mut self, spec: &PeerSpec) {
        // A full device or a broken source adds nobody, as it would in earnest.
        let Ok(peer) = self.device.add_peer(spec.public_key) else { return };
        self.allow(peer, spec.inner);
        self.device.set_endpoint(peer, spec.endpoint);
    }

    fn allow(&mut self, peer: PeerId, inner: Ipv4Addr) {
        if let Some(prefix) = host_prefix(inner) {
            // The peer was looked up just before.
            let given = self.device.add_allowed_ip(peer, prefix);
            debug_assert!(given.is_ok(), "{given:?}");
        }
    }

    /// Takes turns until there is nothing to do, and tells what became of it all.
    fn run(
        &mut self,
        packet: Option<&[u8]>,
        datagram: Option<(&[u8], SocketAddr)>,
        copy_from: Option<SocketAddr>,
        now: Now,
        out: &mut Outbox,
    ) {
        {
            let edge = core::cell::RefCell::new(&mut *out);
            let mut tun = Tun { packet, out: &edge };
            let mut udp = Udp { datagram, copy_from, out: &edge };
            self.lane.readable(true, true);
            for turn in 0.. {
                let mut io = LaneIo {
                    device: &mut self.device,
                    lane: &mut self.lane,
                    tun: &mut tun,
                    udp: &mut udp,
                    now,
                };
                if self.strategy.step(CoreId(0), Budget::default(), &mut io).idle() {
                    break;
                }
                assert!(turn < TURNS, "the device never comes to rest");
            }
            assert!(!self.device.has_work(), "work is left over");
        }
        for (reason, count) in self.device.drops().iter() {
            if let Some(told) = self.told.get_mut(reason.index()) {
                let news = count.wrapping_sub(core::mem::replace(told, count));
                if news > 0 {
                    out.dropped(reason, news);
                }
            }
        }
    }

    fn peer(&self, key: &PublicKey) -> Option<PeerId> {
        self.device.peer(key)
    }
}

impl Node for DeviceNode {
    fn datagram(&mut self, datagram: &mut [u8], from: SocketAddr, now: Now, out: &mut Outbox) {
        self.run(None, Some((datagram, from)), None, now, out);
    }

    fn twins(
        &mut self,
        datagram: &mut [u8],
        from: SocketAddr,
        copy_from: SocketAddr,
        now: Now,
        out: &mut Outbox,
    ) {
        self.run(None, Some((datagram, from)), Some(copy_from), now, out);
    }

    fn packet(&mut self, packet: &[u8], now: Now, out: &mut Outbox) {
        self.run(Some(packet), None, None, now, out);
    }

    fn timeout(&mut self, now: Now, out: &mut Outbox) {
        self.run(None, None, None, now, out);
    }

    fn command(&mut self, command: Command, now: Now, out: &mut Outbox) -> bool {
        match command {
            Command::SetPrivateKey(key) => self.device.set_private_key(key, now),
            Command::SetUp(up) => self.device.set_up(up, now),
            Command::SetMtu(mtu) => self.device.set_mtu(mtu.into()),
            Command::ZeroKeys => self.device.zero_all_keys(),
            Command::GenerationChanged => self.device.on_vm_generation_change(),
            Command::AddPeer(spec) => {
                self.add(&spec);
                if let Some(peer) = self.peer(&spec.public_key) {
                    self.device.peer_configured(peer, now);
                }
            }
            Command::Initiate(key) => {
                if let Some(peer) = self.peer(&key) {
                    self.device.initiate(peer, now);
                }
            }
            Command::SetEndpoint(key, to) => {
                if let Some(peer) = self.peer(&key) {
                    self.device.set_endpoint(peer, to);
                    self.device.peer_configured(peer, now);
                }
            }
            Command::SetPersistentKeepalive(key, seconds) => {
                if let Some(peer) = self.peer(&key) {
                    self.device.set_persistent_keepalive(peer, seconds, now);
                }
            }
            Command::SetPresharedKey(key, psk) => {
                if let Some(peer) = self.peer(&key) {
                    self.device.set_preshared_key(peer, psk);
                }
            }
            Command::RemovePeer(key) => {
                if let Some(peer) = self.peer(&key) {
                    self.device.remove_peer(peer);
                }
            }
            Command::AllowIp(key, inner, allow) => {
                if let Some(peer) = self.peer(&key) {
                    if allow {
                        self.allow(peer, inner);
                    } else if let Some(prefix) = host_prefix(inner) {
                        self.device.remove_allowed_ip(peer, prefix);
                    }
                }
            }
            Command::SetCounter(key, counter) => {
                if let Some(peer) = self.peer(&key) {
                    self.device.set_next_counter(peer, counter);
                }
            }
            Command::SetUnderLoad(_) => return false,
        }
        self.run(None, None, None, now, out);
        true
    }

    fn next_timeout(&mut self) -> Option<Instant> {
        self.device.poll_timeout()
    }

    fn endpoint(&mut self, peer: &PublicKey) -> Option<SocketAddr> {
        let id = self.device.peer(peer)?;
        self.device.peers().find(|status| status.id == id)?.endpoint
    }

    fn last_handshake(&mut self, peer: &PublicKey) -> Option<UnixTime> {
        let id = self.device.peer(peer)?;
        self.device.peers().find(|status| status.id == id)?.last_handshake
    }

    fn peers(&mut self) -> usize {
        self.device.peer_count()
    }

    fn indices(&mut self) -> usize {
        self.device.index_count()
    }

    fn staged(&mut self) -> usize {
        self.device.staged_count()
    }

    fn decides_load(&self) -> bool {
        true
    }

    fn check(&self) {
        self.device.check_invariants();
    }
}

fn host_prefix(inner: Ipv4Addr) -> Option<IpPrefix> {
    IpPrefix::new(IpAddr::V4(inner), 32).ok()
}

type Edge<'a, 'b> = core::cell::RefCell<&'b mut Outbox>;

/// The inner side: one packet to read at most.
struct Tun<'a, 'b> {
    packet: Option<&'a [u8]>,
    out: &'a Edge<'a, 'b>,
}

impl TunIo for Tun<'_, '_> {
    fn read(&mut self, buf: &mut [u8]) -> Result<usize, IoError> {
        let packet = self.packet.take().ok_or(IoError::WouldBlock)?;
        let len = packet.len().min(buf.len());
        buf[..len].copy_from_slice(&packet[..len]);
        Ok(len)
    }

    fn write(&mut self, packet: &[u8]) -> Result<(), IoError> {
        self.out.borrow_mut().deliver(packet);
        Ok(())
    }
}

/// The outer side: one datagram to receive at most, and a copy of it.
struct Udp<'a, 'b> {
    datagram: Option<(&'a [u8], SocketAddr)>,
    copy_from: Option<SocketAddr>,
    out: &'a Edge<'a, 'b>,
}

impl UdpIo for Udp<'_, '_> {
    fn recv(&mut self, slots: &mut [RecvSlot]) -> Result<usize, IoError> {
        let (datagram, from) = self.datagram.ok_or(IoError::WouldBlock)?;
        let source = Source { addr: IpAddr::V4(Ipv4Addr::new(10, 255, 0, 1)), interface: 1 };
        let mut count = 0;
        for (slot, from) in slots.iter_mut().zip([Some(from), self.copy_from].into_iter().flatten()) {
            slot.len = datagram.len().min(slot.slab.len());
            slot.truncated = datagram.len() > slot.slab.len();
            slot.slab[..slot.len].copy_from_slice(&datagram[..slot.len]);
            (slot.endpoint, slot.ecn) = (Some(Endpoint { remote: from, source: Some(source) }), 0);
            count += 1;
        }
        self.datagram = None;
        Ok(count)
    }

    fn send(&mut self, transmit: &Transmit<'_>) -> SendReport {
        let mut out = self.out.borrow_mut();
        for segment in transmit.segments {
            let start = segment.offset as usize;
            let datagram = transmit.buffer.get(start..start + segment.len as usize).unwrap_or_default();
            out.transmit(transmit.endpoint.remote, datagram);
        }
        SendReport { sent: transmit.segments.len(), status: SendStatus::Done }
    }
}
