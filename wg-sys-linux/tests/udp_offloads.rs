//! Trains of datagrams through the real kernel: sent with `UDP_SEGMENT`, received with `UDP_GRO` and without.

use core::net::SocketAddr;
use std::net::UdpSocket;
use std::os::fd::AsFd;

use rustix::event::PollFlags;
use wg_datapath::io::{IoError, RecvSlot, Segment, SendReport, SendStatus, Transmit, TunIo, UdpIo};
use wg_datapath::slab::{SlabClass, SlabPool};
use wg_proto::{Endpoint, Source};
use wg_sys_linux::{Offloads, Tun, Udp};

#[path = "support/namespace.rs"]
mod namespace;
use namespace::{Namespace, wait_for};

fn slots(count: usize) -> Vec<RecvSlot> {
    let mut pool = SlabPool::new(0, count);
    (0..count).map(|_| RecvSlot::new(pool.take(SlabClass::Large).unwrap())).collect()
}

fn bind(offloads: Offloads) -> Udp {
    Udp::bind_with(0, 0, offloads).unwrap()
}

/// The loopback addresses of the families this machine has.
fn families(udp: &Udp) -> Vec<&'static str> {
    if udp.socket_v6().is_some() && UdpSocket::bind("[::1]:0").is_ok() {
        return vec!["127.0.0.1", "::1"];
    }
    println!("SKIPPED the IPv6 half: no IPv6 here");
    vec!["127.0.0.1"]
}

/// What the datagram of this number is filled with.
fn fill(n: usize) -> u8 {
    u8::try_from(n % 251).unwrap()
}

/// Datagrams of these lengths in one buffer, each filled with its number.
fn pack(lengths: &[usize]) -> (Vec<u8>, Vec<Segment>) {
    let mut buffer = Vec::new();
    let mut segments = Vec::new();
    for (n, &len) in lengths.iter().enumerate() {
        let offset = u32::try_from(buffer.len()).unwrap();
        segments.push(Segment { offset, len: u32::try_from(len).unwrap() });
        buffer.resize(buffer.len() + len, fill(n));
    }
    (buffer, segments)
}

fn send(udp: &mut Udp, endpoint: &Endpoint, tos: u8, lengths: &[usize]) -> SendReport {
    let (buffer, segments) = pack(lengths);
    udp.send(&Transmit { endpoint, tos, buffer: &buffer, segments: &segments })
}

const fn done(sent: usize) -> SendReport {
    SendReport { sent, status: SendStatus::Done }
}

fn recv(udp: &mut Udp, slots: &mut [RecvSlot]) -> usize {
    for slot in &mut *slots {
        slot.segment_size = 0;
    }
    loop {
        match udp.recv(slots) {
            Ok(count) => return count,
            Err(IoError::WouldBlock) => {
                use rustix::event::epoll;
                let set = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
                for socket in [udp.socket_v4(), udp.socket_v6()].into_iter().flatten() {
                    epoll::add(&set, socket, epoll::EventData::new_u64(0), epoll::EventFlags::IN).unwrap();
                }
                wait_for(set.as_fd(), PollFlags::IN);
            }
            Err(error) => panic!("{error}"),
        }
    }
}

/// Receives datagrams of these lengths, as [`pack`] fills them, in as many trains as they come. Returns how many.
fn recv_all(udp: &mut Udp, from: &Endpoint, ecn: u8, lengths: &[usize]) -> usize {
    let mut slots = slots(4);
    let mut datagrams: Vec<(usize, u8)> = Vec::new();
    let mut trains = 0;
    while datagrams.len() < lengths.len() {
        let count = recv(udp, &mut slots);
        for slot in &slots[..count] {
            assert!(!slot.truncated);
            assert_eq!((slot.endpoint, slot.ecn), (Some(*from), ecn));
            let train = &slot.slab[..slot.len];
            if slot.segment_size == 0 {
                assert!(train.iter().all(|byte| Some(byte) == train.first()));
                datagrams.push((train.len(), train.first().copied().unwrap_or(0)));
            } else {
                assert!(slot.segment_size < slot.len, "a train of one is a datagram");
                for datagram in train.chunks(slot.segment_size) {
                    assert!(datagram.iter().all(|byte| *byte == datagram[0]));
                    datagrams.push((datagram.len(), datagram[0]));
                }
            }
            trains += 1;
        }
    }
    let expected = lengths.iter().enumerate().map(|(n, &len)| (len, if len == 0 { 0 } else { fill(n) }));
    assert_eq!(datagrams, expected.collect::<Vec<_>>());
    assert_eq!(udp.recv(&mut slots), Err(IoError::WouldBlock), "nothing more came");
    trains
}

fn at(udp: &Udp, ip: &str) -> Endpoint {
    Endpoint::new(SocketAddr::new(ip.parse().unwrap(), udp.port()))
}

/// Runs of datagrams of all kinds.
fn runs() -> Vec<Vec<usize>> {
    vec![
        vec![1000; 40],
        vec![96; 300],
        [vec![1452; 44], vec![700]].concat(),
        [vec![1452; 100], vec![96; 100], vec![97, 1, 1, 1, 2000]].concat(),
        vec![0, 0, 5, 0, 5, 5, 0],
        vec![32_000, 32_000, 32_000],
        vec![40_000, 40_000],
        vec![1],
        (1..100).collect(),
    ]
}

#[test]
fn trains_arrive_whole_and_in_order_with_and_without_offloads() {
    // C103
    for (sender, receiver) in
        [("all=on", "all=on"), ("all=on", "all=off"), ("all=off", "all=on"), ("all=off", "all=off")]
    {
        let mut here = bind(sender.parse().unwrap());
        let mut there = bind(receiver.parse().unwrap());
        for ip in families(&here) {
            let to = at(&there, ip);
            let source = Some(Source { addr: ip.parse().unwrap(), interface: 1 });
            for (n, lengths) in runs().iter().enumerate() {
                let tos = [0, 1, 0x88, 0xff][n % 4];
                assert_eq!(send(&mut here, &to, tos, lengths), done(lengths.len()), "{ip} run {n}");
                recv_all(&mut there, &Endpoint { source, ..at(&here, ip) }, tos & 3, lengths);
            }
        }
        assert_eq!((here.take_downgrade(), there.take_downgrade()), (None, None));
    }
}

#[test]
fn trains_stay_together_from_end_to_end() {
    let (mut here, mut there) = (bind(Offloads::ALL), bind(Offloads::ALL));
    let source = Some(Source { addr: "127.0.0.1".parse().unwrap(), interface: 1 });
    if here.max_segments().0 < 64 || there.take_downgrade().is_some() {
        return println!("SKIPPED trains_stay_together_from_end_to_end: no UDP segmentation here");
    }
    let to = at(&there, "127.0.0.1");
    for lengths in [vec![1000; 60], [vec![1452; 44], vec![9]].concat()] {
        assert_eq!(send(&mut here, &to, 0, &lengths), done(lengths.len()));
        assert_eq!(recv_all(&mut there, &Endpoint { source, ..at(&here, "127.0.0.1") }, 0, &lengths), 1);
    }
}

#[test]
fn train_longer_than_its_slab_is_marked() {
    let (mut here, mut there) = (bind(Offloads::ALL), bind(Offloads::ALL));
    let to = at(&there, "127.0.0.1");
    assert_eq!(send(&mut here, &to, 0, &[1000, 1000, 1000]), done(3));
    assert_eq!(send(&mut here, &to, 0, &[10]), done(1));
    let slab = SlabPool::new(1, 0).take(SlabClass::Small).unwrap();
    let mut slots = [RecvSlot::new(slab)];
    assert_eq!(recv(&mut there, &mut slots), 1);
    assert!(slots[0].truncated && slots[0].len == 2048);
    assert_eq!(recv(&mut there, &mut slots), 1);
    assert_eq!((slots[0].len, slots[0].segment_size, slots[0].truncated), (10, 0, false));
}

#[test]
fn stale_source_is_dropped_from_a_train_within_the_call() {
    // C91
    let (mut here, mut there) = (bind(Offloads::ALL), bind(Offloads::ALL));
    for ip in families(&here) {
        let gone = if ip == "::1" { "2001:db8::77" } else { "192.0.2.77" };
        let source = Some(Source { addr: gone.parse().unwrap(), interface: 1 });
        let lengths = [vec![96; 90], vec![1000; 50]].concat();
        assert_eq!(send(&mut here, &Endpoint { source, ..at(&there, ip) }, 3, &lengths), done(140), "{ip}");
        assert!(here.take_stale_source() && !here.take_stale_source(), "told once");
        let source = Some(Source { addr: ip.parse().unwrap(), interface: 1 });
        recv_all(&mut there, &Endpoint { source, ..at(&here, ip) }, 3, &lengths);
        assert_eq!(here.take_downgrade(), None, "it was not the train");
    }
}

#[test]
fn link_too_narrow_for_a_train_takes_its_datagrams_in_fragments() {
    let test = "link_too_narrow_for_a_train_takes_its_datagrams_in_fragments";
    if !std::path::Path::new("/dev/net/tun").exists() {
        return println!("SKIPPED {test}: there is no /dev/net/tun (modprobe tun)");
    }
    let Some(namespace) = Namespace::new(test) else { return };
    let mut wire = namespace.run(|| Tun::open("wire")).unwrap();
    namespace.ip(&["link", "set", "wire", "addrgenmode", "none", "mtu", "1300"]);
    namespace.ip(&["addr", "add", "10.4.0.1/24", "dev", "wire"]);
    namespace.ip(&["addr", "add", "fd04::1/64", "dev", "wire", "nodad"]);
    namespace.ip(&["link", "set", "wire", "up"]);
    let mut udp = namespace.run(|| bind(Offloads::ALL));
    let before = udp.max_segments();
    let mut packet = vec![0; 2000];
    let mut packets = |wire: &mut Tun| {
        let mut lengths = Vec::new();
        while let Ok(len) = wire.read(&mut packet) {
            let protocol = if packet[0] >> 4 == 4 { packet[9] } else { packet[6] };
            if protocol == 17 || protocol == 44 {
                lengths.push(len);
            }
        }
        lengths
    };
    for (to, headers) in [("10.4.0.2:9", 28), ("[fd04::2]:9", 48)] {
        let to = Endpoint::new(to.parse().unwrap());
        for _ in 0..2 {
            assert_eq!(send(&mut udp, &to, 0, &[1400; 8]), done(8));
            assert_eq!(packets(&mut wire).len(), 16, "two fragments each");
            assert_eq!(send(&mut udp, &to, 0, &[1200; 8]), done(8));
            assert_eq!(packets(&mut wire), [1200 + headers; 8]);
        }
    }
    assert_eq!((udp.max_segments(), udp.take_downgrade()), (before, None), "others are not affected");
}
