//! The outer packets as they stand on the wire, read from a TUN that plays the network. Skipped without root.

use std::path::Path;

use rustix::event::PollFlags;
use wg_datapath::io::{IoError, Segment, SendReport, SendStatus, Transmit, TunIo, UdpIo};
use wg_proto::Endpoint;
use wg_sys_linux::{Tun, Udp};

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
