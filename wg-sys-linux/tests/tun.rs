//! TUN interfaces in namespaces of their own: packets, events, moves, removal. Skipped without root and `/dev/net/tun`.

use std::net::UdpSocket;
use std::path::Path;

use rustix::event::PollFlags;
use wg_datapath::io::{IoError, TunIo};
use wg_sys_linux::{Events, Interest, Link, Poller, Token, Tun, TunEvent, TunEvents};

#[path = "support/namespace.rs"]
mod namespace;
use namespace::{Namespace, wait_for};

/// Makes a namespace if this test can run here.
fn namespace(test: &str) -> Option<Namespace> {
    if !Path::new("/dev/net/tun").exists() {
        println!("SKIPPED {test}: there is no /dev/net/tun (modprobe tun)");
        return None;
    }
    let namespace = Namespace::new(test)?;
    // Router solicitations would mix with the packets of the test.
    namespace.run(|| {
        let _ = std::fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1");
    });
    Some(namespace)
}

/// The next event, waiting for it.
fn next(events: &mut TunEvents) -> TunEvent {
    loop {
        if let Some(event) = events.next_event() {
            return event;
        }
        wait_for(&*events, PollFlags::IN);
    }
}

fn read(tun: &mut Tun) -> Vec<u8> {
    let mut packet = vec![0; 65_535];
    loop {
        match tun.read(&mut packet) {
            Ok(len) => {
                packet.truncate(len);
                return packet;
            }
            Err(IoError::WouldBlock) => wait_for(&*tun, PollFlags::IN),
            Err(error) => panic!("{error}"),
        }
    }
}

/// Swaps the addresses and ports of an IPv4 UDP packet, which leaves its checksums right.
fn answer(packet: &[u8]) -> Vec<u8> {
    let mut answer = packet.to_vec();
    answer[12..16].copy_from_slice(&packet[16..20]);
    answer[16..20].copy_from_slice(&packet[12..16]);
    answer[20..22].copy_from_slice(&packet[22..24]);
    answer[22..24].copy_from_slice(&packet[20..22]);
    answer
}

/// Sends a datagram into the tunnel and has it answered.
fn exchange(namespace: &Namespace, tun: &mut Tun) {
    namespace.run(|| {
        let socket = UdpSocket::bind("10.9.9.1:0").unwrap();
        socket.send_to(b"over the tunnel", "10.9.9.2:7").unwrap();
        let packet = read(tun);
        assert_eq!(packet.len(), 28 + 15, "one bare IP packet");
        assert_eq!(packet[0], 0x45);
        assert_eq!(packet[28..], *b"over the tunnel");
        tun.write(&answer(&packet)).unwrap();
        let mut datagram = [0; 64];
        let (len, from) = socket.recv_from(&mut datagram).unwrap();
        assert_eq!((&datagram[..len], from), (&b"over the tunnel"[..], "10.9.9.2:7".parse().unwrap()));
    });
}

fn bring_up(namespace: &Namespace, name: &str) {
    namespace.ip(&["addr", "add", "10.9.9.1/24", "dev", name]);
    namespace.ip(&["link", "set", name, "up"]);
}

#[test]
fn packets_go_both_ways() {
    let Some(namespace) = namespace("packets_go_both_ways") else { return };
    let mut tun = namespace.run(|| Tun::open("wgt%d")).unwrap();
    assert_eq!(tun.name().unwrap(), "wgt0", "the kernel picks the number");
    bring_up(&namespace, "wgt0");
    assert_eq!(tun.read(&mut [0; 2000]), Err(IoError::WouldBlock));
    exchange(&namespace, &mut tun);
}

#[test]
fn name_in_use_is_busy() {
    let Some(namespace) = namespace("name_in_use_is_busy") else { return };
    namespace.run(|| {
        let _first = Tun::open("wgt0").unwrap();
        assert_eq!(Tun::open("wgt0").unwrap_err().raw_os_error(), Some(libc::EBUSY));
    });
}

#[test]
fn mtu_is_set_and_absurd_ones_are_refused() {
    // C99
    let Some(namespace) = namespace("mtu_is_set_and_absurd_ones_are_refused") else { return };
    let mut tun = namespace.run(|| Tun::open("wgt0")).unwrap();
    tun.set_mtu(1420).unwrap();
    assert_eq!(tun.link().unwrap(), Link { up: false, mtu: 1420 });
    for absurd in [0, 67, 65_536, u32::MAX] {
        assert_eq!(tun.set_mtu(absurd).unwrap_err().raw_os_error(), Some(libc::EINVAL), "{absurd}");
    }
    tun.set_mtu(65_535).unwrap();
    assert_eq!(tun.link().unwrap().mtu, 65_535);
}

#[test]
fn events_tell_the_first_state_and_each_change() {
    let Some(namespace) = namespace("events_tell_the_first_state_and_each_change") else { return };
    let tun = namespace.run(|| Tun::open("wgt0")).unwrap();
    let mut events = namespace.run(|| tun.events()).unwrap();
    assert_eq!(events.next_event(), Some(TunEvent::Mtu(1500)));
    assert_eq!(events.next_event(), Some(TunEvent::Down));
    assert_eq!(events.next_event(), None);

    namespace.ip(&["link", "set", "wgt0", "up"]);
    assert_eq!(next(&mut events), TunEvent::Up);
    namespace.ip(&["link", "set", "wgt0", "mtu", "1300"]);
    assert_eq!(next(&mut events), TunEvent::Mtu(1300));
    namespace.ip(&["link", "set", "wgt0", "down"]);
    assert_eq!(next(&mut events), TunEvent::Down);
    assert_eq!(events.link(), Some(Link { up: false, mtu: 1300 }));
    namespace.ip(&["link", "set", "wgt0", "name", "renamed"]);
    namespace.ip(&["link", "set", "renamed", "mtu", "1301"]);
    assert_eq!(next(&mut events), TunEvent::Mtu(1301));
    assert_eq!(tun.name().unwrap(), "renamed");
}

#[test]
fn neighbours_make_no_events() {
    let Some(namespace) = namespace("neighbours_make_no_events") else { return };
    let tun = namespace.run(|| Tun::open("wgt0")).unwrap();
    let mut events = namespace.run(|| tun.events()).unwrap();
    while events.next_event().is_some() {}
    namespace.ip(&["link", "add", "other", "type", "veth", "peer", "name", "another"]);
    namespace.ip(&["link", "set", "other", "up"]);
    wait_for(&events, PollFlags::IN);
    assert_eq!(events.next_event(), None);
}

#[test]
fn write_fails_while_down_and_passes_again() {
    let Some(namespace) = namespace("write_fails_while_down_and_passes_again") else { return };
    let mut tun = namespace.run(|| Tun::open("wgt0")).unwrap();
    let mut packet = [0; 28];
    packet[0] = 0x45;
    assert_eq!(tun.write(&packet), Err(IoError::Transient(libc::EIO)));
    bring_up(&namespace, "wgt0");
    assert_eq!(tun.write(&packet), Ok(()));
    assert_eq!(tun.write(&[0; 28]), Err(IoError::Transient(libc::EINVAL)), "not an IP packet");
    exchange(&namespace, &mut tun);
}

#[test]
fn interface_is_followed_into_another_namespace() {
    let test = "interface_is_followed_into_another_namespace";
    let (Some(born), Some(moved)) = (namespace(test), namespace(test)) else { return };
    let mut tun = born.run(|| Tun::open("wgt0")).unwrap();
    let mut events = born.run(|| tun.events()).unwrap();
    bring_up(&born, "wgt0");
    while events.link() != Some(Link { up: true, mtu: 1500 }) {
        next(&mut events);
    }
    while events.next_event().is_some() {}

    born.ip(&["link", "set", "wgt0", "netns", &moved.to_string()]);
    assert_eq!(next(&mut events), TunEvent::Down, "moving takes it down");
    // Another interface of the same name where it was, in another state, must not be mistaken for it.
    born.ip(&["link", "add", "wgt0", "mtu", "1111", "type", "veth", "peer", "name", "decoy"]);
    born.ip(&["link", "set", "wgt0", "up"]);

    moved.ip(&["link", "set", "wgt0", "mtu", "1300"]);
    assert_eq!(next(&mut events), TunEvent::Mtu(1300));
    bring_up(&moved, "wgt0");
    assert_eq!(next(&mut events), TunEvent::Up);
    assert_eq!(tun.link().unwrap(), Link { up: true, mtu: 1300 });
    exchange(&moved, &mut tun);
    tun.set_mtu(1280).unwrap();
    assert_eq!(next(&mut events), TunEvent::Mtu(1280));

    moved.ip(&["link", "set", "wgt0", "name", "elsewhere"]);
    assert_eq!(tun.name().unwrap(), "elsewhere");
    moved.ip(&["link", "set", "elsewhere", "down"]);
    assert_eq!(next(&mut events), TunEvent::Down);
    moved.ip(&["link", "del", "elsewhere"]);
    assert_eq!(next(&mut events), TunEvent::Removed);
}

#[test]
fn second_move_is_followed_too() {
    // The third namespace gets no id from the first move.
    let test = "second_move_is_followed_too";
    let (Some(first), Some(second), Some(third)) = (namespace(test), namespace(test), namespace(test)) else {
        return;
    };
    let tun = first.run(|| Tun::open("wgt0")).unwrap();
    let mut events = first.run(|| tun.events()).unwrap();
    while events.next_event().is_some() {}
    first.ip(&["link", "set", "wgt0", "netns", &second.to_string()]);
    second.ip(&["link", "set", "wgt0", "up"]);
    assert_eq!(next(&mut events), TunEvent::Up);
    second.ip(&["link", "set", "wgt0", "netns", &third.to_string()]);
    assert_eq!(next(&mut events), TunEvent::Down);
    third.ip(&["link", "set", "wgt0", "up"]);
    assert_eq!(next(&mut events), TunEvent::Up);
    third.ip(&["link", "set", "wgt0", "netns", &first.to_string()]);
    assert_eq!(next(&mut events), TunEvent::Down);
    first.ip(&["link", "set", "wgt0", "mtu", "1400"]);
    assert_eq!(next(&mut events), TunEvent::Mtu(1400));
}

#[test]
fn adopted_descriptor_works_from_another_namespace() {
    let test = "adopted_descriptor_works_from_another_namespace";
    let (Some(born), Some(process)) = (namespace(test), namespace(test)) else { return };
    let made = born.run(|| Tun::open("wgt0")).unwrap();
    process.ip(&["link", "add", "wgt0", "mtu", "1111", "type", "veth", "peer", "name", "decoy"]);
    rustix::io::ioctl_fionbio(&made, false).unwrap();
    let mut tun = process.run(|| Tun::adopt(rustix::io::dup(&made).unwrap())).unwrap();
    let flags = rustix::fs::fcntl_getfl(&tun).unwrap();
    assert!(flags.contains(rustix::fs::OFlags::NONBLOCK));
    let mut events = process.run(|| tun.events()).unwrap();
    drop(made);
    assert_eq!(next(&mut events), TunEvent::Mtu(1500));
    assert_eq!(next(&mut events), TunEvent::Down);
    tun.set_mtu(1420).unwrap();
    assert_eq!(next(&mut events), TunEvent::Mtu(1420));
    bring_up(&born, "wgt0");
    assert_eq!(next(&mut events), TunEvent::Up);
    exchange(&born, &mut tun);
}

#[test]
fn removal_is_told_and_fatal() {
    // U4
    let Some(namespace) = namespace("removal_is_told_and_fatal") else { return };
    let mut tun = namespace.run(|| Tun::open("wgt0")).unwrap();
    let mut events = namespace.run(|| tun.events()).unwrap();
    while events.next_event().is_some() {}
    namespace.ip(&["link", "del", "wgt0"]);
    assert_eq!(next(&mut events), TunEvent::Removed);
    events.refresh();
    assert_eq!(events.next_event(), None, "nothing follows");
    assert_eq!(tun.read(&mut [0; 100]), Err(IoError::Fatal(libc::EBADFD)));
    assert_eq!(tun.write(&[0x45; 28]), Err(IoError::Fatal(libc::EBADFD)));
    assert_eq!(tun.link().unwrap_err().raw_os_error(), Some(libc::EBADFD));
}

#[test]
fn end_of_its_namespace_is_seen_on_the_descriptor() {
    let test = "end_of_its_namespace_is_seen_on_the_descriptor";
    let (Some(born), Some(doomed)) = (namespace(test), namespace(test)) else { return };
    let mut tun = born.run(|| Tun::open("wgt0")).unwrap();
    let mut events = born.run(|| tun.events()).unwrap();
    born.ip(&["link", "set", "wgt0", "netns", &doomed.to_string()]);
    while events.next_event().is_some() {}
    let mut poller = Poller::new().unwrap();
    poller.add(&tun, Token::new(1), Interest::Readable).unwrap();
    drop(doomed);
    let mut ready = Events::with_capacity(4);
    loop {
        poller.wait(&mut ready, None).unwrap();
        if ready.iter().any(|event| event.closed) {
            break;
        }
        let _ = tun.read(&mut [0; 2000]);
    }
    assert_eq!(tun.read(&mut [0; 2000]), Err(IoError::Fatal(libc::EBADFD)));
    events.refresh();
    assert_eq!(next(&mut events), TunEvent::Removed);
}
