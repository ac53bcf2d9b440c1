//! A group of sockets on one port: who gets which datagram, and who gets the port.

use core::net::IpAddr;
use std::net::UdpSocket;
use std::os::fd::AsFd;
use std::thread;

use rustix::event::PollFlags;
use wg_datapath::io::{RecvSlot, Segment, SendReport, SendStatus, Transmit, UdpIo};
use wg_datapath::slab::{SlabClass, SlabPool};
use wg_proto::Endpoint;
use wg_sys_linux::{Offloads, Steering, Udp};

#[path = "support/namespace.rs"]
mod namespace;
use namespace::{Namespace, wait_for};

const SECRET: u32 = 0x9e37_79b9;

fn group(members: u16) -> (Vec<Udp>, Steering) {
    let steering = Steering::new(members, SECRET);
    (Udp::bind_group(0, 0, Offloads::ALL, &steering).unwrap(), steering)
}

fn addresses() -> Vec<IpAddr> {
    if UdpSocket::bind("[::1]:0").is_ok() {
        return vec!["127.0.0.1".parse().unwrap(), "::1".parse().unwrap()];
    }
    println!("SKIPPED the IPv6 half: no IPv6 here");
    vec!["127.0.0.1".parse().unwrap()]
}

fn data(index: u32) -> Vec<u8> {
    [&[4, 0, 0, 0][..], &index.to_le_bytes(), &[0; 24]].concat()
}

/// Waits for a datagram and returns the number of the socket that got it.
fn receiver(group: &mut [Udp]) -> usize {
    let sockets = |udp: &Udp| {
        [udp.socket_v4(), udp.socket_v6()].map(|fd| fd.map(|fd| fd.try_clone_to_owned().unwrap()))
    };
    let all: Vec<_> = group.iter().flat_map(sockets).flatten().collect();
    let set = rustix::event::epoll::create(rustix::event::epoll::CreateFlags::CLOEXEC).unwrap();
    for socket in &all {
        use rustix::event::epoll;
        epoll::add(&set, socket, epoll::EventData::new_u64(0), epoll::EventFlags::IN).unwrap();
    }
    wait_for(set.as_fd(), PollFlags::IN);
    let slab = SlabPool::new(0, 1).take(SlabClass::Large).unwrap();
    let mut slots = [RecvSlot::new(slab)];
    // A family that was empty a moment ago may be passed over once.
    let got = (0..2 * group.len()).find(|n| group[n % group.len()].recv(&mut slots).is_ok()).unwrap();
    got % group.len()
}

#[test]
fn kernel_and_function_agree_on_who_gets_what_has_a_receiver_index() {
    for members in [1, 2, 3, 5] {
        let (mut group, steering) = group(members);
        let port = group[0].port();
        assert!(group.iter().all(|member| member.port() == port));
        let mut hit = vec![false; usize::from(members)];
        for address in addresses() {
            let client = UdpSocket::bind((address, 0)).unwrap();
            for n in 0..64_u32 {
                let index = n.wrapping_mul(0x85eb_ca6b) ^ n;
                let cookie_reply = [&[3, 0, 0, 0][..], &index.to_le_bytes(), &[0; 56]].concat();
                let response = [&[2, 0, 0, 0, 5, 5, 5, 5][..], &index.to_le_bytes(), &[0; 80]].concat();
                for message in [&data(index), &cookie_reply, &response] {
                    client.send_to(message, (address, port)).unwrap();
                    let member = receiver(&mut group);
                    assert_eq!(member, steering.member_of(index), "{index:#x} of {members}");
                    hit[member] = true;
                }
            }
            // Initiations, and whatever else there is, whoever sends it.
            for other in [
                &[][..],
                &[4],
                &[4, 0, 0, 0, 1, 2, 3],
                &[1; 148],
                &[2, 0, 0, 0, 9, 9, 9, 9],
                &[4, 1, 0, 0, 9, 9, 9, 9],
            ] {
                for _ in 0..3 {
                    let client = UdpSocket::bind((address, 0)).unwrap();
                    client.send_to(other, (address, port)).unwrap();
                    assert_eq!(receiver(&mut group), 0, "{other:?}");
                }
            }
        }
        assert!(hit.iter().all(|hit| *hit));
    }
}

#[test]
fn train_goes_to_the_member_of_its_first_datagram() {
    let (mut group, steering) = group(4);
    let mut here = Udp::bind_with(0, 0, Offloads::ALL).unwrap();
    let to = Endpoint::new(([127, 0, 0, 1], group[0].port()).into());
    for index in 0..32 {
        let buffer = data(index).repeat(10);
        let segments: Vec<_> = (0..10).map(|n| Segment { offset: n * 32, len: 32 }).collect();
        let report = here.send(&Transmit { endpoint: &to, tos: 0, buffer: &buffer, segments: &segments });
        assert_eq!(report, SendReport { sent: 10, status: SendStatus::Done });
        let member = steering.member_of(index);
        let mut got = 0;
        let slab = SlabPool::new(0, 1).take(SlabClass::Large).unwrap();
        let mut slots = [RecvSlot::new(slab)];
        while got < 10 {
            wait_for(group[member].socket_v4().unwrap(), PollFlags::IN);
            if group[member].recv(&mut slots).is_ok() {
                got += slots[0].len / 32;
            }
        }
    }
}

#[test]
fn port_that_is_taken_is_refused_also_to_a_group() {
    // C92
    let (first, steering) = group(3);
    let port = first[0].port();
    let errno = |error: wg_sys_linux::Error| error.raw_os_error();
    let other = Udp::bind_group(port, 0, Offloads::ALL, &steering).map(drop).map_err(errno);
    assert_eq!(other, Err(Some(libc::EADDRINUSE)), "a second gateway");
    assert_eq!(Udp::bind(port, 0).map(drop).map_err(errno), Err(Some(libc::EADDRINUSE)));
    assert!(UdpSocket::bind(("127.0.0.1", port)).is_err());
    let single = Udp::bind(0, 0).unwrap();
    let other = Udp::bind_group(single.port(), 0, Offloads::ALL, &steering).map(drop).map_err(errno);
    assert_eq!(other, Err(Some(libc::EADDRINUSE)));
}

#[test]
fn group_moves_as_a_whole_or_not_at_all() {
    // C93
    let (mut group, steering) = group(3);
    let old = group[0].port();
    let errno = |error: wg_sys_linux::Error| error.raw_os_error();
    assert_eq!(group[1].rebind(0).map_err(errno), Err(Some(libc::EINVAL)));
    let taken = UdpSocket::bind("0.0.0.0:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    assert_eq!(Udp::rebind_group(&mut group, port, &steering).map_err(errno), Err(Some(libc::EADDRINUSE)));
    assert_eq!(Udp::rebind_group(&mut group[1..], 0, &steering).map_err(errno), Err(Some(libc::EINVAL)));
    assert_eq!(Udp::rebind_group(&mut group, old, &steering).unwrap(), old);
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    let check = |group: &mut [Udp], port| {
        for index in 0..16 {
            client.send_to(&data(index), ("127.0.0.1", port)).unwrap();
            assert_eq!(receiver(group), steering.member_of(index));
        }
    };
    check(&mut group, old);
    let new = Udp::rebind_group(&mut group, 0, &steering).unwrap();
    assert_ne!(new, old);
    assert!(group.iter().all(|member| member.port() == new));
    check(&mut group, new);
    // The members may live on different threads.
    thread::scope(|scope| {
        for mut member in group.drain(..) {
            scope.spawn(move || assert_eq!(member.take_downgrade(), None));
        }
    });
}

#[test]
fn mark_is_set_on_all_members() {
    // C95
    let Some(namespace) = Namespace::new("mark_is_set_on_all_members") else { return };
    namespace.run(|| {
        let (mut group, steering) = group(2);
        Udp::set_group_fwmark(&mut group, 7).unwrap();
        Udp::rebind_group(&mut group, 0, &steering).unwrap();
        for member in &group {
            for socket in [member.socket_v4(), member.socket_v6()].into_iter().flatten() {
                assert_eq!(socket2::SockRef::from(&socket).mark().unwrap(), 7);
            }
        }
    });
}

#[test]
fn counters_are_split_from_one_datagram_to_the_next_and_joined_again() {
    let many = group(64);
    let (mut group, plain) = group(3);
    let split = plain.split(true);
    let port = group[0].port();
    let data = |index: u32, counter: u64| {
        [&[4, 0, 0, 0][..], &index.to_le_bytes(), &counter.to_le_bytes(), &[0; 16]].concat()
    };
    for address in addresses() {
        let client = UdpSocket::bind((address, 0)).unwrap();
        let check = |group: &mut [Udp], steering: &Steering| {
            for n in 0..40_u32 {
                let (index, counter) = (n.wrapping_mul(0x85eb_ca6b), u64::from(n) << (n % 33));
                client.send_to(&data(index, counter), (address, port)).unwrap();
                assert_eq!(receiver(group), steering.receiver_of(index, counter), "{index:#x} {counter:#x}");
                let response = [&[2, 0, 0, 0, 5, 5, 5, 5][..], &index.to_le_bytes(), &[64; 80]].concat();
                client.send_to(&response, (address, port)).unwrap();
                assert_eq!(receiver(group), steering.member_of(index));
            }
            client.send_to(&[4, 0, 0, 0, 1, 2, 3, 4, 5], (address, port)).unwrap();
            let first = receiver(group);
            assert!(!steering.splits() || first == 0, "what is cut off goes to the first");
        };
        check(&mut group, &plain);
        group[1].steer(&split, &plain).unwrap();
        check(&mut group, &split);
        let among = plain.split_among(|home| if home == 1 { vec![2] } else { vec![1] });
        group[0].steer(&among, &split).unwrap();
        check(&mut group, &among);
        group[2].steer(&plain, &among).unwrap();
        check(&mut group, &plain);
    }
    // The longest program is one that the kernel takes.
    let alternating = many.1.split_among(|home| (home % 2..64).step_by(2).collect());
    many.0[0].steer(&alternating, &many.1).unwrap();
    let two = Steering::new(2, SECRET);
    assert!(group[0].steer(&two, &plain).is_err());
}

#[test]
fn a_member_sees_what_waits_at_another() {
    let (mut group, steering) = group(3);
    let port = group[0].port();
    for address in addresses() {
        let client = UdpSocket::bind((address, 0)).unwrap();
        let index = (0..).find(|index| steering.member_of(*index) == 2).unwrap();
        let seen = |group: &[Udp]| [0, 1, 2, 3].map(|member| group[0].waits_at(member));
        assert_eq!(seen(&group), [false; 4]);
        client.send_to(&data(index), (address, port)).unwrap();
        // On the loopback it is there when the call returns.
        assert_eq!(seen(&group), [false, false, true, false]);
        assert_eq!(receiver(&mut group), 2);
        assert_eq!(seen(&group), [false; 4]);
    }
    let alone = Udp::bind(0, 0).unwrap();
    assert!(!alone.waits_at(0));
}
