//! The outer packets as they stand on the wire, read from a TUN that plays the network. Skipped without root.

use std::path::Path;

use rustix::event::PollFlags;
use wg_datapath::io::{IoError, RecvSlot, Segment, SendReport, SendStatus, Transmit, TunIo, UdpIo};
use wg_datapath::slab::{SlabClass, SlabPool};
use wg_proto::Endpoint;
use wg_sys_linux::{Events, Poller, Token, Tun, Udp, clock};

#[path = "support/namespace.rs"]
mod namespace;
use namespace::{Namespace, wait_for};

/// A namespace whose only network is a TUN.
fn network(test: &str) -> Option<(Namespace, Tun)> {
    if !Path::new("/dev/net/tun").exists() {
        println!("SKIPPED {test}: there is no /dev/net/tun (modprobe tun)");
        return None;
    }
    let namespace = Namespace::new(test)?;
    let tun = namespace.run(|| Tun::open("wire")).unwrap();
    namespace.ip(&["link", "set", "wire", "addrgenmode", "none"]);
    namespace.ip(&["addr", "add", "10.4.0.1/24", "dev", "wire"]);
    namespace.ip(&["addr", "add", "fd04::1/64", "dev", "wire", "nodad"]);
    namespace.ip(&["link", "set", "wire", "up"]);
    Some((namespace, tun))
}

fn send(udp: &mut Udp, to: &str, tos: u8, len: usize) {
    let endpoint = Endpoint::new(to.parse().unwrap());
    let segments = [Segment { offset: 0, len: u32::try_from(len).unwrap() }];
    let report =
        udp.send(&Transmit { endpoint: &endpoint, tos, buffer: &vec![0xa5; len], segments: &segments });
    assert_eq!(report, SendReport { sent: 1, status: SendStatus::Done });
}

/// The next packet on the wire that carries UDP, or a fragment of it.
fn outer(tun: &mut Tun) -> Vec<u8> {
    let mut packet = vec![0; 65_535];
    loop {
        match tun.read(&mut packet) {
            Ok(len) => {
                let protocol = if packet[0] >> 4 == 4 { packet[9] } else { packet[6] };
                if protocol == 17 || protocol == 44 {
                    packet.truncate(len);
                    return packet;
                }
            }
            Err(IoError::WouldBlock) => wait_for(&*tun, PollFlags::IN),
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn ipv4_packets_may_be_fragmented_and_carry_their_tos() {
    // C92, C97, C98
    let test = "ipv4_packets_may_be_fragmented_and_carry_their_tos";
    let Some((namespace, mut tun)) = network(test) else { return };
    let mut udp = namespace.run(|| Udp::bind(0, 0)).unwrap();
    for tos in [0, 0x88, 0x03] {
        send(&mut udp, "10.4.0.2:9", tos, 100);
        let packet = outer(&mut tun);
        assert_eq!(packet.len(), 20 + 8 + 100);
        assert_eq!(packet[1], tos);
        assert_eq!(packet[6] & 0x40, 0, "DF is clear");
        assert_eq!(packet[8], 64, "default TTL");
        assert_ne!(packet[26..28], [0, 0], "UDP checksum");
    }
    send(&mut udp, "10.4.0.2:9", 0, 2000);
    let (first, last) = (outer(&mut tun), outer(&mut tun));
    assert_eq!(first[6] & 0x60, 0x20, "more fragments, DF clear");
    assert_eq!(last[6] & 0x60, 0);
    assert_eq!(first.len() + last.len(), 2 * 20 + 8 + 2000);
}

#[test]
fn ipv6_packets_have_no_flow_label_and_carry_their_class() {
    // C97, C98
    let test = "ipv6_packets_have_no_flow_label_and_carry_their_class";
    let Some((namespace, mut tun)) = network(test) else { return };
    let mut udp = namespace.run(|| Udp::bind(0, 0)).unwrap();
    for tos in [0, 0x88, 0x03_u8] {
        send(&mut udp, "[fd04::2]:9", tos, 100);
        let packet = outer(&mut tun);
        let class_and_label = u32::from_be_bytes(*packet.first_chunk().unwrap()) & 0x0fff_ffff;
        assert_eq!(class_and_label, u32::from(tos) << 20, "class {tos:#x}, label 0");
        assert_eq!(packet.len(), 40 + 8 + 100);
        assert_ne!(packet[46..48], [0, 0], "UDP checksum");
    }
    send(&mut udp, "[fd04::2]:9", 0, 2000);
    let (first, last) = (outer(&mut tun), outer(&mut tun));
    assert_eq!((first[6], last[6]), (44, 44), "fragmented here");
}

/// What a router says of an IPv6 packet that is too big for its next link.
fn packet_too_big(packet: &[u8], mtu: u32) -> Vec<u8> {
    let quoted = &packet[..packet.len().min(1000)];
    let mut message = vec![2, 0, 0, 0];
    message.extend(mtu.to_be_bytes());
    message.extend(quoted);
    let router = [0xfd, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9];
    let len = u16::try_from(message.len()).unwrap();
    let mut covered =
        [&router[..], &packet[8..24], &u32::from(len).to_be_bytes(), &[0, 0, 0, 58], &message].concat();
    covered.resize(covered.len().next_multiple_of(2), 0);
    let mut sum: u32 = covered.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    message[2..4].copy_from_slice(&(!u16::try_from(sum).unwrap()).to_be_bytes());
    [&[0x60, 0, 0, 0][..], &len.to_be_bytes(), &[58, 64], &router, &packet[8..24], &message].concat()
}

#[test]
fn narrow_path_is_news_that_costs_no_datagram() {
    let test = "narrow_path_is_news_that_costs_no_datagram";
    let Some((namespace, mut tun)) = network(test) else { return };
    let mut udp = namespace.run(|| Udp::bind(0, 0)).unwrap();
    let mut poller = Poller::new().unwrap();
    let mut events = Events::with_capacity(4);
    udp.register(&poller, Token::new(1)).unwrap();
    let slab = SlabPool::new(1, 0).take(SlabClass::Small).unwrap();
    let mut slots = [RecvSlot::new(slab)];
    for (last, mtu) in [(2, 1400), (3, 1300), (4, 1280)] {
        let to = format!("[fd04::{last}]:9");
        send(&mut udp, &to, 0, 1440);
        let packet = outer(&mut tun);
        assert_eq!(packet.len(), 1488);
        tun.write(&packet_too_big(&packet, mtu)).unwrap();
        if last == 3 {
            // The report meets a send, to somebody else, of several datagrams.
            let endpoint = Endpoint::new("[fd04::7]:9".parse().unwrap());
            let segments = [0, 1000, 2000].map(|offset| Segment { offset, len: 1000 });
            let report =
                udp.send(&Transmit { endpoint: &endpoint, tos: 0, buffer: &[0; 3000], segments: &segments });
            assert_eq!(report, SendReport { sent: 3, status: SendStatus::Done });
            (0..3).for_each(|_| assert_eq!(outer(&mut tun).len(), 1048));
        } else if last == 4 {
            send(&mut udp, "[fd04::7]:9", 0, 1000);
            assert_eq!(outer(&mut tun).len(), 1048);
        }
        poller.wait(&mut events, None).unwrap();
        assert_eq!(udp.recv(&mut slots), Err(IoError::WouldBlock));
        assert_eq!(udp.take_path_mtu(), Some((to.parse().unwrap(), u16::try_from(mtu).unwrap())));
        assert_eq!(udp.take_path_mtu(), None);
        poller.wait(&mut events, Some(clock::now())).unwrap();
        assert_eq!(events.iter().count(), 0, "nothing is left that would wake the loop");
        send(&mut udp, &to, 0, 1440);
        let fragments = [outer(&mut tun), outer(&mut tun)];
        assert!(fragments.iter().all(|fragment| fragment[6] == 44), "fragmented here from now on");
        assert!(fragments.iter().all(|fragment| fragment.len() <= usize::try_from(mtu).unwrap()));
    }
    assert_eq!(udp.take_downgrade(), None);
}
