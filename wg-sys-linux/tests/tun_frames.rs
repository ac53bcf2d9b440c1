//! Frames of a TUN with offloads, and its queues, through the real kernel. Skipped without root and `/dev/net/tun`.

use core::sync::atomic::{AtomicBool, Ordering};
use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Barrier;
use std::thread;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use wg_datapath::io::{Frame, IoError, TunIo};
use wg_datapath::offload::{Offload, SegmentationKind, TunOffloads};
use wg_sys_linux::{Offloads, Tun};

#[path = "support/namespace.rs"]
mod namespace;
use namespace::{Namespace, wait_for};

const ALL: TunOffloads = TunOffloads { checksum: true, tcp4: true, tcp6: true, udp4: true, udp6: true };

/// What is sent in one go: more than a frame holds.
const LONG: usize = 1 << 20;

fn namespace(test: &str) -> Option<Namespace> {
    if !Path::new("/dev/net/tun").exists() {
        println!("SKIPPED {test}: there is no /dev/net/tun (modprobe tun)");
        return None;
    }
    Namespace::new(test)
}

fn bring_up(namespace: &Namespace, name: &str, last: u8) {
    namespace.ip(&["link", "set", name, "addrgenmode", "none"]);
    namespace.ip(&["addr", "add", &format!("10.9.9.{last}/24"), "dev", name]);
    namespace.ip(&["addr", "add", &format!("fd09::{last}/64"), "dev", name, "nodad"]);
    namespace.ip(&["link", "set", name, "up"]);
}

fn read_frame(tun: &mut Tun, small: &mut [u8], large: &mut [u8]) -> Frame {
    loop {
        match tun.read_frame(small, large) {
            Ok(frame) => return frame,
            Err(IoError::WouldBlock) => wait_for(&*tun, PollFlags::IN),
            Err(error) => panic!("{error}"),
        }
    }
}

/// Carries frames between two interfaces until `done`, and returns what was left to be done with them and the longest.
fn carry(tuns: &mut [Tun; 2], done: &AtomicBool) -> (HashSet<&'static str>, usize) {
    let mut large = vec![0; 65_600];
    let (mut kinds, mut longest) = (HashSet::new(), 0);
    while !done.load(Ordering::Acquire) {
        let pause = Timespec { tv_sec: 0, tv_nsec: 10_000_000 };
        let readable = |tun| PollFd::from_borrowed_fd(AsFd::as_fd(tun), PollFlags::IN);
        poll(&mut tuns.each_ref().map(readable), Some(&pause)).unwrap();
        for _ in 0..2 {
            // Once each way.
            tuns.rotate_left(1);
            let [from, to] = &mut *tuns;
            while let Ok(Frame { len, offload }) = from.read_frame(&mut [], &mut large) {
                kinds.insert(match offload.segmentation.map(|segmentation| segmentation.kind) {
                    Some(SegmentationKind::Tcp4) => "TCP in IPv4",
                    Some(SegmentationKind::Tcp6) => "TCP in IPv6",
                    Some(SegmentationKind::Udp) => "UDP",
                    None if offload.checksum.is_some() => "checksum",
                    None => "packet",
                });
                longest = longest.max(len);
                to.write_frame(&large[..len], offload).unwrap();
            }
        }
    }
    (kinds, longest)
}

/// Two namespaces and their interfaces.
fn pair(test: &str, offloads: Offloads) -> Option<([Namespace; 2], [Tun; 2])> {
    let (left, right) = (namespace(test)?, namespace(test)?);
    let tuns = [&left, &right].map(|namespace| namespace.run(|| Tun::open_with("wgt0", offloads)).unwrap());
    bring_up(&left, "wgt0", 1);
    bring_up(&right, "wgt0", 2);
    Some(([left, right], tuns))
}

/// Sends [`LONG`] bytes by TCP to `address` in the second namespace, and has them compared there.
fn stream(namespaces: &[Namespace; 2], address: &str) {
    let [left, right] = namespaces;
    let listener = right.run(|| TcpListener::bind((address, 0))).unwrap();
    let to = listener.local_addr().unwrap();
    let sent: Vec<u8> = (0..LONG).map(|n| u8::try_from(n * 7 % 251).unwrap()).collect();
    thread::scope(|scope| {
        let receiver = scope.spawn(|| {
            let mut received = Vec::new();
            listener.accept().unwrap().0.read_to_end(&mut received).unwrap();
            received
        });
        left.run(|| TcpStream::connect(to).unwrap().write_all(&sent)).unwrap();
        assert!(receiver.join().unwrap() == sent, "{address}");
    });
}

/// Sends datagrams in one piece from the first namespace to `address` in the second.
fn train(namespaces: &[Namespace; 2], address: &str, from: &str, bytes: usize) {
    let [left, right] = namespaces;
    let receiver = right.run(|| UdpSocket::bind((address, 0))).unwrap();
    let sender = left.run(|| UdpSocket::bind((from, 0))).unwrap();
    let segment = 1000;
    rustix::net::sockopt::set_socket_recv_buffer_size_force(&receiver, 1 << 20).unwrap();
    set_segment_size(&sender, segment);
    let payload: Vec<u8> = (0..bytes).map(|n| u8::try_from(n / segment).unwrap()).collect();
    sender.send_to(&payload, receiver.local_addr().unwrap()).unwrap();
    let mut datagram = vec![0; 2000];
    for expected in payload.chunks(segment) {
        let len = receiver.recv(&mut datagram).unwrap();
        assert!(&datagram[..len] == expected, "{address}");
    }
}

fn set_segment_size(socket: &UdpSocket, size: usize) {
    let size = libc::c_int::try_from(size).unwrap();
    // SAFETY: the kernel reads an int, which `size` is, and keeps no pointer.
    let set = unsafe {
        libc::setsockopt(
            std::os::fd::AsRawFd::as_raw_fd(socket),
            libc::SOL_UDP,
            libc::UDP_SEGMENT,
            (&raw const size).cast(),
            4,
        )
    };
    assert_eq!(set, 0);
}

/// Runs `body` while frames are carried.
fn carried(tuns: &mut [Tun; 2], body: impl FnOnce()) -> (HashSet<&'static str>, usize) {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let carrier = scope.spawn(|| carry(tuns, &done));
        let result = std::panic::catch_unwind(core::panic::AssertUnwindSafe(body));
        done.store(true, Ordering::Release);
        let seen = carrier.join().unwrap();
        result.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        seen
    })
}

fn all_traffic(namespaces: &[Namespace; 2]) {
    stream(namespaces, "10.9.9.2");
    stream(namespaces, "fd09::2");
    train(namespaces, "10.9.9.2", "10.9.9.1", 40_500);
    train(namespaces, "fd09::2", "fd09::1", 40_500);
}

#[test]
fn long_frames_of_every_kind_pass_from_one_interface_to_another() {
    let test = "long_frames_of_every_kind_pass_from_one_interface_to_another";
    let Some((namespaces, mut tuns)) = pair(test, Offloads::ALL) else { return };
    if tuns[0].offloads() != ALL {
        return println!("SKIPPED {test}: this kernel does not have all offloads: {:?}", tuns[0].offloads());
    }
    let (kinds, longest) = carried(&mut tuns, || all_traffic(&namespaces));
    for kind in ["TCP in IPv4", "TCP in IPv6", "UDP", "checksum"] {
        assert!(kinds.contains(kind), "{kind} did not come: {kinds:?}");
    }
    assert!(longest > 30_000, "{longest}");
    assert!(tuns.iter_mut().all(|tun| tun.take_downgrade().is_none()));
}

#[test]
fn what_was_not_asked_for_does_not_come() {
    let test = "what_was_not_asked_for_does_not_come";
    let cases: [(&str, &[&str]); 4] = [
        ("tun=off", &["packet"]),
        ("tun-tso=off,tun-uso=off", &["packet", "checksum"]),
        ("tun-tso=off", &["packet", "checksum", "UDP"]),
        ("tun-uso=off", &["packet", "checksum", "TCP in IPv4", "TCP in IPv6"]),
    ];
    for (offloads, expected) in cases {
        let Some((namespaces, mut tuns)) = pair(test, offloads.parse().unwrap()) else { return };
        let (kinds, _) = carried(&mut tuns, || all_traffic(&namespaces));
        assert!(kinds.iter().all(|kind| expected.contains(kind)), "{offloads}: {kinds:?}");
    }
}

#[test]
fn limited_frames_fit_one_send() {
    let Some((namespaces, mut tuns)) = pair("limited_frames_fit_one_send", Offloads::ALL) else { return };
    for tun in &mut tuns {
        tun.set_mtu(1420).unwrap();
        tun.limit_frames(1420, 32).unwrap();
    }
    let (_, longest) = carried(&mut tuns, || {
        stream(&namespaces, "10.9.9.2");
        stream(&namespaces, "fd09::2");
    });
    assert!(longest > 30_000, "{longest}");
    // 45 packets of 1420 bytes in one frame, and 32 bytes with each of them when they leave.
    assert!(longest <= 45 * 1368 + 52, "{longest}");
    // What is longer is split before it is read.
    for (bytes, whole) in [(62_000, true), (64_000, false)] {
        let (kinds, _) = carried(&mut tuns, || train(&namespaces, "10.9.9.2", "10.9.9.1", bytes));
        assert_eq!(kinds.contains("UDP"), whole, "{bytes}: {kinds:?}");
    }
}

#[test]
fn frame_goes_to_the_small_buffer_if_it_fits_there() {
    let test = "frame_goes_to_the_small_buffer_if_it_fits_there";
    let Some(namespace) = namespace(test) else { return };
    for (name, offloads) in [("wgt1", Offloads::ALL), ("wgt2", Offloads::NONE)] {
        let mut tun = namespace.run(|| Tun::open_with(name, offloads)).unwrap();
        bring_up(&namespace, name, 1);
        namespace.run(|| {
            let socket = UdpSocket::bind("10.9.9.1:0").unwrap();
            let payload: Vec<u8> = (0..200).collect();
            let expected = 28 + payload.len();
            for room in [0, 1, 28, expected - 1, expected, expected + 1, 300] {
                socket.send_to(&payload, "10.9.9.2:7").unwrap();
                let (mut small, mut large) = (vec![0xee; room], vec![0xdd; 400]);
                let frame = read_frame(&mut tun, &mut small, &mut large);
                assert_eq!(frame.len, expected, "{room}");
                if room >= expected {
                    assert_eq!(small[28..expected], payload, "{room}");
                    assert!(small[expected..].iter().all(|&byte| byte == 0xee));
                }
                if room <= expected {
                    assert_eq!(large[28..expected], payload, "{room}");
                    assert!(large[expected..].iter().all(|&byte| byte == 0xdd));
                }
            }
            socket.send_to(&payload, "10.9.9.2:7").unwrap();
            let frame = read_frame(&mut tun, &mut [0; 50], &mut [0; 100]);
            assert_eq!(frame.len, 100, "a frame as long as its buffer was cut");
            socket.send_to(&payload, "10.9.9.2:7").unwrap();
            let frame = read_frame(&mut tun, &mut [0; 100], &mut [0; 50]);
            assert_eq!(frame.len, 100, "also when the buffers have changed places");
        });
        namespace.ip(&["link", "del", name]);
    }
}

#[test]
fn packets_of_one_interface_without_offloads_are_read_and_written_plainly() {
    let test = "packets_of_one_interface_without_offloads_are_read_and_written_plainly";
    let Some(namespace) = namespace(test) else { return };
    let mut header =
        namespace.run(|| Tun::open_with("wgt0", "tun-tso=off,tun-uso=off".parse().unwrap())).unwrap();
    bring_up(&namespace, "wgt0", 1);
    // Adopted, it has a header and no offloads.
    let mut tun = namespace.run(|| Tun::adopt(rustix::io::dup(&header).unwrap())).unwrap();
    assert_eq!(tun.offloads(), TunOffloads::default());
    namespace.run(|| {
        let socket = UdpSocket::bind("10.9.9.1:0").unwrap();
        socket.send_to(b"over the tunnel", "10.9.9.2:7").unwrap();
        wait_for(&tun, PollFlags::IN);
        let mut packet = [0; 100];
        assert_eq!(tun.read(&mut packet), Ok(28 + 15));
        assert_eq!(packet[28..43], *b"over the tunnel");
        // Swapping the ends leaves the checksums right.
        let (source, destination) = ([10, 9, 9, 1], [10, 9, 9, 2]);
        packet[12..16].copy_from_slice(&destination);
        packet[16..20].copy_from_slice(&source);
        let ports: [u8; 4] = [packet[22], packet[23], packet[20], packet[21]];
        packet[20..24].copy_from_slice(&ports);
        tun.write(&packet[..43]).unwrap();
        assert_eq!(socket.recv_from(&mut [0; 64]).unwrap().0, 15);
        // What needs more than it has is refused before the kernel sees it.
        let offload = Offload {
            checksum: Some(wg_datapath::offload::Checksum { start: 20, offset: 6 }),
            segmentation: None,
        };
        assert_eq!(tun.write_frame(&packet[..43], offload), Err(IoError::Transient(libc::EINVAL)));
        assert_eq!(header.write_frame(&packet[..43], offload), Ok(()));
        assert_eq!(tun.take_downgrade(), None);
    });
}

#[test]
fn adopted_interface_with_a_header_has_the_offloads_asked_for() {
    let test = "adopted_interface_with_a_header_has_the_offloads_asked_for";
    let Some(namespace) = namespace(test) else { return };
    let made = namespace.run(|| Tun::open_with("wgt0", Offloads::ALL)).unwrap();
    let adopted = namespace.run(|| Tun::adopt_with(rustix::io::dup(&made).unwrap(), Offloads::ALL)).unwrap();
    assert_eq!(adopted.offloads(), made.offloads());
    let plain = namespace.run(|| Tun::open("wgt1")).unwrap();
    let adopted = namespace.run(|| Tun::adopt_with(rustix::io::dup(&plain).unwrap(), Offloads::ALL)).unwrap();
    assert_eq!(adopted.offloads(), TunOffloads::default(), "there is no header to say it in");
}

#[test]
fn interface_of_several_queues_is_busy_for_others() {
    let Some(namespace) = namespace("interface_of_several_queues_is_busy_for_others") else { return };
    namespace.run(|| {
        let queues = Tun::open_queues("wgt%d", 3, Offloads::ALL).unwrap();
        assert_eq!(queues.len(), 3);
        assert!(queues.iter().all(|queue| queue.name().unwrap() == "wgt0"));
        assert!(queues.iter().all(|queue| queue.offloads() == queues[0].offloads()));
        let errno = |error: wg_sys_linux::Error| error.raw_os_error();
        let refusal = |name, count| errno(Tun::open_queues(name, count, Offloads::ALL).unwrap_err());
        assert_eq!(refusal("wgt0", 2), Some(libc::EBUSY));
        assert_eq!(Tun::open("wgt0").map(drop).map_err(errno), Err(Some(libc::EINVAL)));
        // Other names from here on: a program that another test is just starting holds the descriptors for a moment.
        let one = Tun::open_queues("wgt1", 1, Offloads::ALL).unwrap();
        assert_eq!(one.len(), 1);
        assert_eq!(refusal("wgt1", 2), Some(libc::EINVAL));
        assert_eq!(Tun::open("wgt1").map(drop).map_err(errno), Err(Some(libc::EBUSY)));
        // One that is left over from before is used, if nobody does.
        namespace.ip(&["tuntap", "add", "dev", "wgt2", "mode", "tun", "multi_queue"]);
        let _queues = Tun::open_queues("wgt2", 2, Offloads::ALL).unwrap();
        assert_eq!(refusal("wgt2", 2), Some(libc::EBUSY));
    });
}

#[test]
fn of_two_programs_that_come_at_the_same_time_one_at_most_gets_the_interface() {
    let test = "of_two_programs_that_come_at_the_same_time_one_at_most_gets_the_interface";
    let Some(namespace) = namespace(test) else { return };
    for n in 0..20 {
        let (namespace, name, start) = (&namespace, &format!("wgt{n}"), &Barrier::new(2));
        let opened: Vec<_> = thread::scope(|scope| {
            let open = || {
                start.wait();
                Tun::open_queues(name, 2, Offloads::ALL).ok()
            };
            let programs = [0; 2].map(|_| scope.spawn(move || namespace.run(open)));
            programs.into_iter().filter_map(|program| program.join().unwrap()).collect()
        });
        assert!(opened.len() <= 1);
    }
}

#[test]
fn every_queue_gives_and_takes_packets() {
    let Some(namespace) = namespace("every_queue_gives_and_takes_packets") else { return };
    let mut queues = namespace.run(|| Tun::open_queues("wgt0", 2, Offloads::ALL)).unwrap();
    bring_up(&namespace, "wgt0", 1);
    namespace.run(|| {
        let mut seen = [0; 2];
        let mut large = vec![0; 65_600];
        for _ in 0..64 {
            // Each socket is another flow.
            let socket = UdpSocket::bind("10.9.9.1:0").unwrap();
            socket.send_to(b"?", "10.9.9.2:7").unwrap();
            let came = |queue: &mut Tun| queue.read_frame(&mut [], &mut large).ok();
            let (index, frame) =
                queues.iter_mut().map(came).enumerate().find_map(|(n, frame)| Some((n, frame?))).unwrap();
            seen[index] += 1;
            assert_eq!(frame.len, 29);
            queues[index].write_frame(&large[..29], frame.offload).unwrap();
        }
        assert!(seen[0] > 0 && seen[1] > 0, "{seen:?}");
    });
}
