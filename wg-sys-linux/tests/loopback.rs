//! The UDP sockets against the real kernel: batches, sizes, sources, ports, errors.
//!
//! Tests that change addresses, routes or queues run in namespaces of their own and are skipped without root.

use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::net::UdpSocket;
use std::os::fd::AsFd;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use wg_datapath::io::{IoError, RecvSlot, Segment, SendReport, SendStatus, Transmit, UdpIo};
use wg_datapath::slab::{SlabClass, SlabPool};
use wg_proto::{Endpoint, Source};
use wg_sys_linux::{Events, Poller, RouteWatch, Token, Udp};

#[path = "support/namespace.rs"]
mod namespace;
use namespace::{Namespace, wait_for};

fn slots(count: usize, class: SlabClass) -> Vec<RecvSlot> {
    let mut pool = SlabPool::new(count, count);
    let slot = |_| RecvSlot::new(pool.take(class).unwrap());
    (0..count).map(slot).collect()
}

/// Waits on both sockets and receives.
fn recv(udp: &mut Udp, slots: &mut [RecvSlot]) -> usize {
    loop {
        match udp.recv(slots) {
            Ok(count) => return count,
            Err(IoError::WouldBlock) => wait_for(epoll_of(udp), PollFlags::IN),
            Err(error) => panic!("{error}"),
        }
    }
}

/// Has `send` called until something arrives: an IPv6 address takes a moment to be usable after it was added.
fn deliver(mut send: impl FnMut(), udp: &mut Udp, slots: &mut [RecvSlot]) {
    for _ in 0..500 {
        send();
        let pause = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
        let _ = poll(&mut [PollFd::new(&epoll_of(udp), PollFlags::IN)], Some(&pause));
        if udp.recv(slots).is_ok() {
            return;
        }
    }
    panic!("nothing came");
}

/// One descriptor that is readable when either socket is.
fn epoll_of(udp: &Udp) -> impl AsFd {
    use rustix::event::epoll;
    let set = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
    for socket in [udp.socket_v4(), udp.socket_v6()].into_iter().flatten() {
        epoll::add(&set, socket, epoll::EventData::new_u64(0), epoll::EventFlags::IN).unwrap();
    }
    set
}

/// Lays payloads out in one buffer.
fn pack(payloads: &[Vec<u8>]) -> (Vec<u8>, Vec<Segment>) {
    let mut buffer = Vec::new();
    let mut segments = Vec::new();
    for payload in payloads {
        let offset = u32::try_from(buffer.len()).unwrap();
        segments.push(Segment { offset, len: u32::try_from(payload.len()).unwrap() });
        buffer.extend_from_slice(payload);
    }
    (buffer, segments)
}

fn send(udp: &mut Udp, endpoint: &Endpoint, tos: u8, payloads: &[Vec<u8>]) -> SendReport {
    let (buffer, segments) = pack(payloads);
    udp.send(&Transmit { endpoint, tos, buffer: &buffer, segments: &segments })
}

fn send_one(udp: &mut Udp, endpoint: &Endpoint) -> SendReport {
    send(udp, endpoint, 0, &[b"x".to_vec()])
}

const fn done(sent: usize) -> SendReport {
    SendReport { sent, status: SendStatus::Done }
}

fn endpoint(text: &str) -> Endpoint {
    Endpoint::new(text.parse().unwrap())
}

fn local(udp: &Udp, ip: &str) -> Endpoint {
    Endpoint::new(SocketAddr::new(ip.parse().unwrap(), udp.port()))
}

/// The loopback addresses of the families this machine has.
fn families(udp: &Udp) -> Vec<&'static str> {
    if udp.socket_v6().is_some() && UdpSocket::bind("[::1]:0").is_ok() {
        return vec!["127.0.0.1", "::1"];
    }
    println!("SKIPPED the IPv6 half: no IPv6 here");
    vec!["127.0.0.1"]
}

#[test]
fn batches_arrive_whole_and_in_order_over_both_families() {
    let (mut here, mut there) = (Udp::bind(0, 0).unwrap(), Udp::bind(0, 0).unwrap());
    for ip in families(&here) {
        // More than one system call's worth each way.
        let payloads: Vec<Vec<u8>> = (0..150_u8).map(|n| vec![n; usize::from(n) * 3]).collect();
        let to = local(&there, ip);
        assert_eq!(send(&mut here, &to, 0, &payloads), done(150), "{ip}");

        let mut slots = slots(200, SlabClass::Small);
        let mut filled = 0;
        while filled < 150 {
            filled += recv(&mut there, &mut slots[filled..]);
        }
        assert_eq!(filled, 150);
        for (slot, payload) in slots.iter().zip(&payloads) {
            assert_eq!(slot.slab[..slot.len], payload[..]);
            assert!(!slot.truncated);
            let expected =
                Endpoint { source: Some(Source { addr: to.remote.ip(), interface: 1 }), ..local(&here, ip) };
            assert_eq!(slot.endpoint, Some(expected));
        }
        assert_eq!(there.recv(&mut slots), Err(IoError::WouldBlock));
    }
}

#[test]
fn smallest_and_largest_datagrams_pass() {
    // C6
    let (mut here, mut there) = (Udp::bind(0, 0).unwrap(), Udp::bind(0, 0).unwrap());
    for ip in families(&here) {
        let to = local(&there, ip);
        let sizes = if ip == "::1" { [0, 65_527, 1] } else { [0, 65_507, 1] };
        let mut slots = slots(1, SlabClass::Large);
        for size in sizes {
            assert_eq!(send(&mut here, &to, 0, &[vec![7; size]]), done(1), "{ip} {size}");
            assert_eq!(recv(&mut there, &mut slots), 1);
            assert_eq!((slots[0].len, slots[0].truncated), (size, false), "{ip}");
            assert!(slots[0].slab[..size].iter().all(|&byte| byte == 7));
        }
    }
}

#[test]
fn datagram_longer_than_its_slab_is_marked() {
    // C6
    let (mut here, mut there) = (Udp::bind(0, 0).unwrap(), Udp::bind(0, 0).unwrap());
    let to = local(&there, "127.0.0.1");
    assert_eq!(send(&mut here, &to, 0, &[vec![1; 5000], vec![2; 10]]), done(2));
    let mut slots = slots(2, SlabClass::Small);
    let mut filled = 0;
    while filled < 2 {
        filled += recv(&mut there, &mut slots[filled..]);
    }
    assert!(slots[0].truncated && slots[0].len == 2048);
    assert_eq!((slots[1].len, slots[1].truncated), (10, false), "the next one is unharmed");
}

#[test]
fn answers_leave_from_the_address_that_was_asked() {
    // C90
    let mut udp = Udp::bind(0, 0).unwrap();
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut slots = slots(1, SlabClass::Small);
    for asked in ["127.0.0.2", "127.0.0.77", "127.0.0.1"] {
        client.send_to(b"?", (asked, udp.port())).unwrap();
        recv(&mut udp, &mut slots);
        let learnt = slots[0].endpoint.unwrap();
        assert_eq!(learnt.source, Some(Source { addr: asked.parse().unwrap(), interface: 1 }));
        assert_eq!(send_one(&mut udp, &learnt), done(1));
        assert!(!udp.take_stale_source());
        let (_, from) = client.recv_from(&mut [0; 8]).unwrap();
        assert_eq!(from, SocketAddr::new(asked.parse().unwrap(), udp.port()));
    }
}

#[test]
fn stale_source_is_dropped_within_the_call_and_told_once() {
    // C91: no such address here.
    let mut udp = Udp::bind(0, 0).unwrap();
    for ip in families(&udp) {
        let peer = UdpSocket::bind((ip, 0)).unwrap();
        let gone: IpAddr =
            if ip == "::1" { "2001:db8::77".parse().unwrap() } else { "192.0.2.77".parse().unwrap() };
        let source = Some(Source { addr: gone, interface: 1 });
        let to = Endpoint { remote: peer.local_addr().unwrap(), source };
        let payloads: Vec<Vec<u8>> = (0..70_u8).map(|n| vec![n]).collect();
        assert_eq!(send(&mut udp, &to, 3, &payloads), done(70), "{ip}");
        assert!(udp.take_stale_source());
        assert!(!udp.take_stale_source(), "told once");
        let mut byte = [0];
        for n in 0..70_u8 {
            let (_, from) = peer.recv_from(&mut byte).unwrap();
            assert_eq!((byte[0], from.ip()), (n, ip.parse().unwrap()), "all of them arrive, once each");
        }
        assert_eq!(send_one(&mut udp, &Endpoint::new(to.remote)), done(1));
        assert!(!udp.take_stale_source(), "no source, nothing stale");
    }
}

#[test]
fn source_of_the_other_family_is_stale() {
    let mut udp = Udp::bind(0, 0).unwrap();
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    let source = Some(Source { addr: "::1".parse().unwrap(), interface: 1 });
    let to = Endpoint { remote: peer.local_addr().unwrap(), source };
    assert_eq!(send_one(&mut udp, &to), done(1));
    assert!(udp.take_stale_source());
}

#[test]
fn tos_and_ecn_travel_both_ways() {
    // C98
    let (mut here, mut there) = (Udp::bind(0, 0).unwrap(), Udp::bind(0, 0).unwrap());
    let mut slots = slots(1, SlabClass::Small);
    for ip in families(&here) {
        let to = local(&there, ip);
        for tos in [0, 1, 2, 3, 0x88, 0x8a, 0xff] {
            assert_eq!(send(&mut here, &to, tos, &[vec![0; 32]]), done(1));
            recv(&mut there, &mut slots);
            assert_eq!(slots[0].ecn, tos & 3, "{ip} {tos:#x}");
        }
    }
}

#[test]
fn mapped_endpoint_is_reached_over_ipv4() {
    // C94
    let mut udp = Udp::bind(0, 0).unwrap();
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    let to = endpoint(&format!("[::ffff:127.0.0.1]:{}", peer.local_addr().unwrap().port()));
    assert_eq!(send_one(&mut udp, &to), done(1));
    let (_, from) = peer.recv_from(&mut [0; 8]).unwrap();
    assert_eq!(from.ip(), IpAddr::from(Ipv4Addr::LOCALHOST));
}

#[test]
fn port_that_is_taken_is_refused_by_either_family() {
    // C92
    let first = Udp::bind(0, 0).unwrap();
    let error = Udp::bind(first.port(), 0).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EADDRINUSE));

    let Ok(v6_only) = UdpSocket::bind("[::1]:0") else { return println!("SKIPPED the rest: no IPv6 here") };
    let port = v6_only.local_addr().unwrap().port();
    let error = Udp::bind(port, 0).unwrap_err();
    assert_eq!((error.raw_os_error(), error.operation()), (Some(libc::EADDRINUSE), "open the IPv6 socket"));
    assert!(UdpSocket::bind(("127.0.0.1", port)).is_ok(), "the IPv4 socket was closed again");
}

#[test]
fn port_that_is_free_in_one_family_only_is_not_picked() {
    // C92
    let test = "port_that_is_free_in_one_family_only_is_not_picked";
    let Some(namespace) = Namespace::new(test) else { return };
    namespace.run(|| {
        // Two ports to pick from.
        std::fs::write("/proc/sys/net/ipv4/ip_local_port_range", "40000 40001").unwrap();
        let Ok(_taken) = UdpSocket::bind("[::1]:40000") else {
            return println!("SKIPPED {test}: no IPv6 here");
        };
        for _ in 0..20 {
            assert_eq!(Udp::bind(0, 0).unwrap().port(), 40001);
        }
        let _taken_too = UdpSocket::bind("[::1]:40001").unwrap();
        assert_eq!(Udp::bind(0, 0).unwrap_err().raw_os_error(), Some(libc::EADDRINUSE), "it gives up");
    });
}

#[test]
fn change_of_port_keeps_the_old_one_until_the_new_one_is_open() {
    // C93
    let mut udp = Udp::bind(0, 0).unwrap();
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    let old = udp.port();
    let mut slots = slots(1, SlabClass::Small);

    let taken = peer.local_addr().unwrap().port();
    assert_eq!(udp.rebind(taken).unwrap_err().raw_os_error(), Some(libc::EADDRINUSE));
    assert_eq!(udp.port(), old);
    peer.send_to(b"still there?", ("127.0.0.1", old)).unwrap();
    recv(&mut udp, &mut slots);
    assert_eq!(send_one(&mut udp, &slots[0].endpoint.unwrap()), done(1));
    assert_eq!(peer.recv_from(&mut [0; 8]).unwrap().1.port(), old);

    assert_eq!(udp.rebind(old).unwrap(), old, "no change");
    let new = udp.rebind(0).unwrap();
    assert_ne!(new, old);
    assert_eq!(udp.port(), new);
    peer.send_to(b"and here?", ("127.0.0.1", new)).unwrap();
    recv(&mut udp, &mut slots);
    assert_eq!(slots[0].len, 9);
    drop(UdpSocket::bind(("0.0.0.0", old)).unwrap());
}

#[test]
fn batch_resumes_behind_a_refused_datagram() {
    // C102: the fourth is longer than UDP can carry.
    let mut udp = Udp::bind(0, 0).unwrap();
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    let to = Endpoint::new(peer.local_addr().unwrap());
    let mut payloads: Vec<Vec<u8>> = (0..6_u8).map(|n| vec![n]).collect();
    payloads[3] = vec![3; 65_508];
    let (buffer, segments) = pack(&payloads);
    let report = udp.send(&Transmit { endpoint: &to, tos: 0, buffer: &buffer, segments: &segments });
    assert_eq!(report, SendReport { sent: 3, status: SendStatus::Dropped(libc::EMSGSIZE) });
    let rest = &segments[report.sent + 1..];
    assert_eq!(udp.send(&Transmit { endpoint: &to, tos: 0, buffer: &buffer, segments: rest }), done(2));
    let mut byte = [0];
    for n in [0, 1, 2, 4, 5] {
        peer.recv_from(&mut byte).unwrap();
        assert_eq!(byte[0], n);
    }
}

#[test]
fn bad_requests_are_dropped_without_harm() {
    let mut udp = Udp::bind(0, 0).unwrap();
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    let to = Endpoint::new(peer.local_addr().unwrap());
    let outside = [Segment { offset: 0, len: 1 }, Segment { offset: 1, len: 1 }];
    let report = udp.send(&Transmit { endpoint: &to, tos: 0, buffer: b"x", segments: &outside });
    assert_eq!(report, SendReport { sent: 1, status: SendStatus::Dropped(libc::EFAULT) });
    let overflow = [Segment { offset: u32::MAX, len: u32::MAX }];
    let report = udp.send(&Transmit { endpoint: &to, tos: 0, buffer: b"x", segments: &overflow });
    assert_eq!(report, SendReport { sent: 0, status: SendStatus::Dropped(libc::EFAULT) });
    assert_eq!(udp.send(&Transmit { endpoint: &to, tos: 0, buffer: b"x", segments: &[] }), done(0));
    let report = send_one(&mut udp, &endpoint("127.0.0.1:0"));
    assert_eq!(report, SendReport { sent: 0, status: SendStatus::Dropped(libc::EINVAL) });
    assert_eq!(udp.recv(&mut []), Ok(0));
    assert_eq!(send_one(&mut udp, &to), done(1));
}

#[test]
fn flood_on_one_family_does_not_starve_the_other() {
    let mut udp = Udp::bind(0, 0).unwrap();
    let (Ok(v4), Ok(v6)) = (UdpSocket::bind("127.0.0.1:0"), UdpSocket::bind("[::1]:0")) else {
        return println!("SKIPPED flood_on_one_family_does_not_starve_the_other: no IPv6 here");
    };
    let mut slots = slots(4, SlabClass::Small);
    for (flood, flooded, lone, asked) in [(&v4, "127.0.0.1", &v6, "::1"), (&v6, "::1", &v4, "127.0.0.1")] {
        // The lone family has been found empty before.
        flood.send_to(b"f", (flooded, udp.port())).unwrap();
        recv(&mut udp, &mut slots);
        assert_eq!(udp.recv(&mut slots), Err(IoError::WouldBlock));
        lone.send_to(b"lone", (asked, udp.port())).unwrap();
        let mut calls = 0;
        loop {
            for _ in 0..8 {
                flood.send_to(b"f", (flooded, udp.port())).unwrap();
            }
            let count = recv(&mut udp, &mut slots);
            if slots[..count].iter().any(|slot| slot.len == 4) {
                break;
            }
            calls += 1;
            assert!(calls < 20, "the lone datagram is passed over");
        }
        while udp.recv(&mut slots).is_ok() {}
    }
}

#[test]
fn unreachable_network_is_a_drop_and_passes_again() {
    // C101
    let Some(namespace) = Namespace::new("unreachable_network_is_a_drop_and_passes_again") else { return };
    namespace.run(|| {
        let mut udp = Udp::bind(0, 0).unwrap();
        let to = endpoint("192.0.2.1:9");
        let report = send_one(&mut udp, &to);
        assert_eq!(report, SendReport { sent: 0, status: SendStatus::Dropped(libc::ENETUNREACH) });
        assert_eq!(udp.recv(&mut slots(1, SlabClass::Small)), Err(IoError::WouldBlock));
        let with_source =
            Endpoint { source: Some(Source { addr: "127.0.0.1".parse().unwrap(), interface: 1 }), ..to };
        let report = send_one(&mut udp, &with_source);
        assert_eq!(report, SendReport { sent: 0, status: SendStatus::Dropped(libc::ENETUNREACH) });
        assert!(udp.take_stale_source());
        assert_eq!(udp.egress(to.remote), None);
        namespace.ip(&["route", "add", "default", "dev", "lo"]);
        assert_eq!(udp.egress(to.remote).unwrap().interface, "lo");
        assert_eq!(send_one(&mut udp, &to), done(1));
    });
}

#[test]
fn lost_address_is_no_source_any_more() {
    // C90, C91
    let Some(namespace) = Namespace::new("lost_address_is_no_source_any_more") else { return };
    namespace.run(|| {
        for (kept, lost, len) in [("10.7.0.1", "10.7.0.2", "32"), ("fd07::1", "fd07::2", "128")] {
            for address in [kept, lost] {
                namespace.ip(&["addr", "add", &format!("{address}/{len}"), "dev", "lo"]);
            }
            let mut udp = Udp::bind(0, 0).unwrap();
            let client = UdpSocket::bind((kept, 0)).unwrap();
            let asked = (lost, udp.port());
            let mut slots = slots(1, SlabClass::Small);
            deliver(|| drop(client.send_to(b"?", asked)), &mut udp, &mut slots);
            let learnt = slots[0].endpoint.unwrap();
            assert_eq!(learnt.source.map(|source| source.addr), Some(lost.parse().unwrap()));
            assert_eq!(send_one(&mut udp, &learnt), done(1));
            assert!(!udp.take_stale_source());
            assert_eq!(client.recv_from(&mut [0; 8]).unwrap().1.ip(), lost.parse::<IpAddr>().unwrap());

            namespace.ip(&["addr", "del", &format!("{lost}/{len}"), "dev", "lo"]);
            assert_eq!(send_one(&mut udp, &learnt), done(1));
            assert!(udp.take_stale_source());
            assert_eq!(client.recv_from(&mut [0; 8]).unwrap().1.ip(), kept.parse::<IpAddr>().unwrap());
        }
    });
}

#[test]
fn source_goes_stale_when_the_route_moves_to_another_interface() {
    // C90
    let test = "source_goes_stale_when_the_route_moves_to_another_interface";
    let Some(namespace) = Namespace::new(test) else { return };
    namespace.run(|| {
        for (name, peer, address) in [("old", "old2", "10.1.0.1/24"), ("new", "new2", "10.2.0.1/24")] {
            namespace.ip(&["link", "add", name, "type", "veth", "peer", "name", peer]);
            namespace.ip(&["addr", "add", address, "dev", name]);
            namespace.ip(&["link", "set", name, "up"]);
            namespace.ip(&["link", "set", peer, "up"]);
        }
        namespace.ip(&["route", "add", "192.0.2.0/24", "dev", "old"]);
        let source = Some(Source { addr: "10.1.0.1".parse().unwrap(), interface: index_of("old") });
        let learnt = Endpoint { source, ..endpoint("192.0.2.1:9") };
        let mut routes = RouteWatch::open().unwrap();
        assert!(!routes.changed());
        assert!(!routes.is_stale(&learnt, 0));
        namespace.ip(&["route", "replace", "192.0.2.0/24", "dev", "new"]);
        wait_for(&routes, PollFlags::IN);
        assert!(routes.changed());
        assert!(routes.is_stale(&learnt, 0));
        // Marked packets may go another way.
        namespace.ip(&["route", "add", "192.0.2.0/24", "dev", "old", "table", "77"]);
        namespace.ip(&["rule", "add", "fwmark", "5", "table", "77"]);
        assert!(routes.changed());
        assert!(!routes.is_stale(&learnt, 5));
        assert!(routes.is_stale(&learnt, 0));
        namespace.ip(&["route", "del", "192.0.2.0/24"]);
        assert!(routes.is_stale(&learnt, 0), "no route at all");
    });
}

fn index_of(name: &str) -> u32 {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    rustix::net::netdevice::name_to_index(&socket, name).unwrap()
}

#[test]
fn link_local_peers_keep_their_scope() {
    // C96
    let test = "link_local_peers_keep_their_scope";
    let (Some(left), Some(right)) = (Namespace::new(test), Namespace::new(test)) else { return };
    left.ip(&["link", "add", "v", "type", "veth", "peer", "name", "v", "netns", &right.to_string()]);
    for (namespace, address) in [(&left, "fe80::1/64"), (&right, "fe80::2/64")] {
        namespace.ip(&["link", "set", "v", "addrgenmode", "none"]);
        namespace.ip(&["addr", "add", address, "dev", "v", "nodad"]);
        namespace.ip(&["link", "set", "v", "up"]);
    }
    let (mut here, here_index) = left.run(|| (Udp::bind(0, 0).unwrap(), index_of("v")));
    let (mut there, there_index) = right.run(|| (Udp::bind(0, 0).unwrap(), index_of("v")));
    let to = endpoint(&format!("[fe80::2%{here_index}]:{}", there.port()));
    let mut slots = slots(1, SlabClass::Small);
    deliver(|| _ = send_one(&mut here, &to), &mut there, &mut slots);
    let learnt = slots[0].endpoint.unwrap();
    let expected = Endpoint {
        source: Some(Source { addr: "fe80::2".parse().unwrap(), interface: there_index }),
        ..endpoint(&format!("[fe80::1%{there_index}]:{}", here.port()))
    };
    assert_eq!(learnt, expected);
    assert_eq!(send_one(&mut there, &learnt), done(1));
    assert!(!there.take_stale_source());
    recv(&mut here, &mut slots);
    assert_eq!(slots[0].endpoint.unwrap().remote, to.remote);
}

#[test]
fn full_queue_is_back_pressure_not_loss() {
    // C102: packets wait in a slow queue and fill the socket's send buffer.
    let Some(namespace) = Namespace::new("full_queue_is_back_pressure_not_loss") else { return };
    namespace.ip(&["link", "add", "slow", "type", "veth", "peer", "name", "end"]);
    namespace.ip(&["addr", "add", "10.3.0.1/24", "dev", "slow"]);
    for name in ["slow", "end"] {
        namespace.ip(&["link", "set", name, "up"]);
    }
    namespace.ip(&["neigh", "add", "10.3.0.2", "lladdr", "02:00:00:00:00:02", "dev", "slow"]);
    namespace.run(|| {
        let queue = "tc qdisc add dev slow root tbf rate 1mbit burst 10kb limit 100mb";
        let output = std::process::Command::new("sh").args(["-c", queue]).output().unwrap();
        if !output.status.success() {
            println!("SKIPPED full_queue_is_back_pressure_not_loss: no tbf queue here ({queue})");
            return;
        }
        let mut udp = Udp::bind(0, 0).unwrap();
        socket2::SockRef::from(&udp.socket_v4().unwrap()).set_send_buffer_size(20_000).unwrap();
        let mut poller = Poller::new().unwrap();
        let mut events = Events::with_capacity(4);
        udp.register(&poller, Token::new(1)).unwrap();
        let to = endpoint("10.3.0.2:9");
        let payloads = vec![vec![0; 1000]; 100];
        let (buffer, segments) = pack(&payloads);
        let mut sent = 0;
        let mut blocked = 0;
        while sent < segments.len() {
            let rest = &segments[sent..];
            let report = udp.send(&Transmit { endpoint: &to, tos: 0, buffer: &buffer, segments: rest });
            sent += report.sent;
            match report.status {
                SendStatus::Done => break,
                SendStatus::WouldBlock => {
                    blocked += 1;
                    assert!(udp.unsent() > Some(10_000), "{:?}", udp.unsent());
                    udp.register(&poller, Token::new(1)).unwrap();
                    poller.wait(&mut events, None).unwrap();
                    assert!(events.iter().any(|event| event.writable));
                    udp.writable();
                }
                status => panic!("{status:?}"),
            }
        }
        assert_eq!(sent, 100);
        assert!(blocked > 0, "the test did not test anything");
        assert_eq!(Udp::bind(0, 0).unwrap().unsent(), Some(0));
        udp.register(&poller, Token::new(1)).unwrap();
        poller.wait(&mut events, Some(wg_sys_linux::clock::now())).unwrap();
        assert_eq!(events.iter().count(), 0, "writability is asked for only while it is waited for");
    });
}

#[test]
fn fwmark_is_set_on_both_sockets_and_kept_over_a_change_of_port() {
    // C95
    let Some(namespace) = Namespace::new("fwmark_is_set_on_both_sockets_and_kept_over_a_change_of_port")
    else {
        return;
    };
    namespace.run(|| {
        let marks = |udp: &Udp| {
            let sockets = [udp.socket_v4(), udp.socket_v6()].into_iter().flatten();
            sockets.map(|fd| socket2::SockRef::from(&fd).mark().unwrap()).collect::<Vec<_>>()
        };
        let mut udp = Udp::bind(0, 7).unwrap();
        assert!(marks(&udp).iter().all(|&mark| mark == 7));
        udp.set_fwmark(u32::MAX).unwrap();
        assert!(marks(&udp).iter().all(|&mark| mark == u32::MAX));
        udp.rebind(0).unwrap();
        assert!(marks(&udp).iter().all(|&mark| mark == u32::MAX));
        udp.set_fwmark(0).unwrap();
        assert!(marks(&udp).iter().all(|&mark| mark == 0));
    });
}

#[test]
fn missing_ipv6_is_no_error() {
    // C92: a namespace can be without IPv6 addresses, but not without the family; binding still works there.
    let Some(namespace) = Namespace::new("missing_ipv6_is_no_error") else { return };
    namespace.run(|| {
        let _ = std::fs::write("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1");
        let mut udp = Udp::bind(0, 0).unwrap();
        let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
        assert_eq!(send_one(&mut udp, &Endpoint::new(peer.local_addr().unwrap())), done(1));
        let report = send_one(&mut udp, &endpoint("[::1]:9"));
        assert!(matches!(report, SendReport { sent: 0, status: SendStatus::Dropped(_) }), "{report:?}");
    });
}
