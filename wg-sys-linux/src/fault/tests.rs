//! R4: a tunnel from end to end through the kernel, which refuses this and that. Whatever it is, the packets that do not
//! arrive are counted, no turn goes on for ever, and afterwards all is well.

use core::net::SocketAddr;
use std::net::UdpSocket;

use getrandom::SysRng;
use wg_datapath::{Config, Device, DropReason, IpPrefix, Lane, LaneIo, MultiBufferAead, Now};
use wg_proto::PrivateKey;
use wg_sched::{AnyStrategy, Budget, CoreId, Strategy, StrategyKind};

use super::*;
use crate::namespace::Namespace;
use crate::{Offloads, Tun, Udp, clock};

/// How often each fault happens, where it is to be more often than in a short run.
const ROUNDS_VARIABLE: &str = "WG_FAULT_ROUNDS";
/// Packets sent into each.
const PACKETS: u8 = 24;
/// Far more turns than anything takes: who needs more is stuck.
const TURNS: usize = 2000;
/// Turns without work after which there is none.
const QUIET: usize = 20;

/// A device with its lane, a TUN in a namespace of its own, and sockets in that of the test.
struct End {
    device: Device<MultiBufferAead, SysRng>,
    lane: Lane<MultiBufferAead>,
    tun: Tun,
    udp: Udp,
    strategy: AnyStrategy,
    socket: UdpSocket,
    _namespace: Namespace,
}

fn now() -> Now {
    Now { instant: clock::now(), wall: clock::wall() }
}

fn private_key(end: u8) -> PrivateKey {
    PrivateKey::from_bytes([end; 32])
}

impl End {
    fn new(test: &str, number: u8, offloads: Offloads) -> Option<Self> {
        let namespace = Namespace::new(test)?;
        let tun = namespace.run(|| Tun::open_with("wgt0", offloads)).unwrap();
        namespace.ip(&["link", "set", "wgt0", "addrgenmode", "none"]);
        namespace.ip(&["addr", "add", &format!("10.9.9.{number}/24"), "dev", "wgt0"]);
        namespace.ip(&["link", "set", "wgt0", "up"]);
        let socket = namespace.run(|| UdpSocket::bind(format!("10.9.9.{number}:7"))).unwrap();
        socket.set_nonblocking(true).unwrap();
        let mut device = Device::new(Config { mtu: 1500, ..Config::default() }, SysRng).unwrap();
        device.set_private_key(Some(private_key(number)), now());
        device.set_up(true, now());
        Some(Self {
            device,
            lane: Lane::new(),
            tun,
            udp: Udp::bind_with(0, 0, offloads).unwrap(),
            strategy: StrategyKind::default().build(),
            socket,
            _namespace: namespace,
        })
    }

    fn add(&mut self, other: u8, port: u16) {
        let peer = self.device.add_peer(private_key(other).public_key()).unwrap();
        let inside = IpPrefix::new([10, 9, 9, other].into(), 32).unwrap();
        self.device.add_allowed_ip(peer, inside).unwrap();
        self.device.set_endpoint(peer, SocketAddr::from(([127, 0, 0, 1], port)));
    }

    /// Takes one turn, as if everything were ready, and tells whether there was anything to do.
    fn turn(&mut self) -> bool {
        self.udp.writable();
        self.lane.readable(true, true);
        let mut io = LaneIo {
            device: &mut self.device,
            lane: &mut self.lane,
            tun: &mut self.tun,
            udp: &mut self.udp,
            now: now(),
        };
        let outcome = self.strategy.step(CoreId(0), Budget::default(), &mut io);
        assert_eq!(self.lane.fatal(), None);
        outcome.more || self.device.has_work()
    }

    /// What was dropped of what was sent; the kernel asks about groups that nobody has.
    fn dropped(&self) -> u64 {
        self.device.drops().total() - self.device.drops().get(DropReason::NoPeerForDestination)
    }
}

/// Two ends.
fn tunnel(test: &str, offloads: Offloads) -> Option<[End; 2]> {
    if !std::path::Path::new("/dev/net/tun").exists() {
        println!("SKIPPED {test}: there is no /dev/net/tun (modprobe tun)");
        return None;
    }
    let mut ends = [End::new(test, 1, offloads)?, End::new(test, 2, offloads)?];
    let ports = ends.each_ref().map(|end| end.udp.port());
    ends[0].add(2, ports[1]);
    ends[1].add(1, ports[0]);
    Some(ends)
}

/// Turns until nothing is left to do.
fn settle(ends: &mut [End; 2]) {
    let mut quiet = 0;
    for _ in 0..TURNS {
        let busy = ends.iter_mut().map(End::turn).fold(false, |any, busy| any | busy);
        quiet = if busy { 0 } else { quiet + 1 };
        if quiet > QUIET {
            return;
        }
    }
    panic!("still at it after {TURNS} turns");
}

/// Sends packets through the tunnel, and returns how many arrived, each as it was sent and once.
fn exchange(ends: &mut [End; 2]) -> u64 {
    for number in 0..PACKETS {
        ends[0].socket.send_to(&[number; 1000], "10.9.9.2:7").unwrap();
    }
    settle(ends);
    let mut buffer = [0; 2000];
    let mut seen = [false; PACKETS as usize];
    while let Ok(len) = ends[1].socket.recv(&mut buffer) {
        let packet = &buffer[..len];
        assert!(len == 1000 && packet.iter().all(|byte| *byte == packet[0]));
        assert!(!core::mem::replace(&mut seen[usize::from(packet[0])], true), "twice");
    }
    seen.iter().filter(|seen| **seen).count() as u64
}

fn all_faults() -> Vec<(&'static str, Refusals)> {
    let none = Refusals::default();
    let mut all = vec![
        ("short sendmmsg", Refusals { take_messages: Some(1), ..none }),
        ("EIO on GSO", Refusals { segments_above: Some((1, libc::EIO)), ..none }),
        ("EINVAL on GSO", Refusals { segments_above: Some((1, libc::EINVAL)), ..none }),
        ("EMSGSIZE on GSO", Refusals { segment_size_above: Some((500, libc::EMSGSIZE)), ..none }),
    ];
    for errno in [libc::ENOBUFS, libc::ENOMEM, libc::EAGAIN, libc::EPERM, libc::EIO, libc::ECONNREFUSED] {
        all.push(("sends", Refusals { sends: Some((3, errno)), ..none }));
    }
    for errno in [libc::EINVAL, libc::EIO, libc::ENOMEM, libc::EAGAIN] {
        all.push(("writes", Refusals { writes: Some((3, errno)), ..none }));
    }
    for feature in [Feature::TunUdp4, Feature::TunChecksum] {
        all.push(("frames", Refusals { frames: Some((feature, libc::EINVAL)), ..none }));
    }
    all
}

fn every_fault_is_counted(test: &str, offloads: Offloads) {
    let rounds = std::env::var(ROUNDS_VARIABLE).ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(4);
    for (name, refusals) in all_faults() {
        // Some switch an offload off for good.
        let Some(mut ends) = tunnel(test, offloads) else { return };
        assert_eq!(exchange(&mut ends), u64::from(PACKETS), "before {name}");
        for round in 0..rounds {
            let before = ends.each_ref().map(End::dropped);
            let refusing = refuse(refusals);
            let arrived = exchange(&mut ends);
            drop(refusing);
            let dropped = ends.each_ref().map(End::dropped);
            let counted: u64 = dropped.iter().zip(before).map(|(now, before)| now - before).sum();
            assert_eq!(arrived + counted, PACKETS.into(), "{name} {refusals:?}, round {round}");
            assert_eq!(exchange(&mut ends), u64::from(PACKETS), "after {name}, round {round}");
        }
    }
}

#[test]
fn every_fault_with_offloads_is_counted_and_passes() {
    every_fault_is_counted("every_fault_with_offloads_is_counted_and_passes", Offloads::ALL);
}

#[test]
fn every_fault_without_offloads_is_counted_and_passes() {
    every_fault_is_counted("every_fault_without_offloads_is_counted_and_passes", Offloads::NONE);
}
