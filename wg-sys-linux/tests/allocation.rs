//! Nothing is allocated per packet: the counts of the allocator before and after traffic are equal.

use wg_datapath::io::{RecvSlot, Segment, SendReport, SendStatus, Transmit, TunIo, UdpIo};
use wg_datapath::slab::{SlabClass, SlabPool};
use wg_proto::{Endpoint, Source};
use wg_sys_linux::{Events, Offloads, Poller, Token, Tun, Udp, clock};
use wg_tally::allocator;

#[path = "support/namespace.rs"]
#[expect(dead_code, reason = "shared with the other tests against the kernel")]
mod namespace;
use namespace::Namespace;

#[test]
fn traffic_allocates_nothing() {
    let (mut here, mut there) = (Udp::bind(0, 0).unwrap(), Udp::bind(0, 0).unwrap());
    let mut pool = SlabPool::new(64, 0);
    let slot = |_| RecvSlot::new(pool.take(SlabClass::Small).unwrap());
    let mut slots: Vec<_> = (0..64).map(slot).collect();
    let buffer = [7; 1000];
    let segments = [Segment { offset: 0, len: 1000 }; 64];
    let source = Some(Source { addr: "127.0.0.1".parse().unwrap(), interface: 1 });
    let to = Endpoint { source, remote: ([127, 0, 0, 1], there.port()).into() };
    let stale = Endpoint { source: Some(Source { addr: "192.0.2.77".parse().unwrap(), interface: 1 }), ..to };
    let mut poller = Poller::new().unwrap();
    let mut events = Events::with_capacity(8);
    there.register(&poller, Token::new(1)).unwrap();

    let before = allocator::calls();
    for endpoint in [&to, &stale] {
        let report = here.send(&Transmit { endpoint, tos: 3, buffer: &buffer, segments: &segments });
        assert_eq!(report, SendReport { sent: 64, status: SendStatus::Done });
        let mut filled = 0;
        while filled < 64 {
            poller
                .wait(&mut events, Some(clock::now().saturating_add(core::time::Duration::from_secs(1))))
                .unwrap();
            there.register(&poller, Token::new(1)).unwrap();
            filled += there.recv(&mut slots[filled..]).unwrap_or(0);
        }
        assert!(there.recv(&mut slots).is_err());
    }
    assert_eq!(allocator::calls(), before);

    drop(core::hint::black_box(vec![1_u8; 10]));
    assert!(allocator::calls() > before, "the counter counts");
}

#[test]
fn trains_allocate_nothing() {
    let (mut here, mut there) =
        (Udp::bind_with(0, 0, Offloads::ALL).unwrap(), Udp::bind_with(0, 0, Offloads::ALL).unwrap());
    let mut pool = SlabPool::new(0, 4);
    let mut slots: Vec<_> = (0..4).map(|_| RecvSlot::new(pool.take(SlabClass::Large).unwrap())).collect();
    let buffer = [7; 40_000];
    let segments: Vec<_> = (0..40).map(|n| Segment { offset: n * 1000, len: 1000 }).collect();
    let long: Vec<_> = (0..2).map(|n| Segment { offset: n * 20_000, len: 20_000 }).collect();
    let to = Endpoint::new(([127, 0, 0, 1], there.port()).into());

    let before = allocator::calls();
    for run in [&segments, &long] {
        let report = here.send(&Transmit { endpoint: &to, tos: 3, buffer: &buffer, segments: run });
        assert_eq!(report, SendReport { sent: run.len(), status: SendStatus::Done });
        let mut bytes = 0;
        for _ in 0..1000 {
            slots.iter_mut().for_each(|slot| slot.segment_size = 0);
            let filled = there.recv(&mut slots).unwrap_or(0);
            bytes += slots[..filled].iter().map(|slot| slot.len).sum::<usize>();
        }
        assert_eq!(bytes, 40_000);
    }
    assert_eq!(allocator::calls(), before);
}

#[test]
fn frames_of_a_tun_allocate_nothing() {
    let test = "frames_of_a_tun_allocate_nothing";
    if !std::path::Path::new("/dev/net/tun").exists() {
        return println!("SKIPPED {test}: there is no /dev/net/tun (modprobe tun)");
    }
    let Some(namespace) = Namespace::new(test) else { return };
    let mut tun = namespace.run(|| Tun::open_with("wgt0", Offloads::ALL)).unwrap();
    namespace.ip(&["addr", "add", "10.9.9.1/24", "dev", "wgt0"]);
    namespace.ip(&["link", "set", "wgt0", "up"]);
    namespace.run(|| {
        let socket = std::net::UdpSocket::bind("10.9.9.1:0").unwrap();
        let (mut small, mut large) = (vec![0; 2048], vec![0; 65_600]);
        for _ in 0..10 {
            socket.send_to(&[1; 100], "10.9.9.2:7").unwrap();
        }
        let mut frames = 0;
        let before = allocator::calls();
        while let Ok(frame) = tun.read_frame(&mut small, &mut large) {
            tun.write_frame(&small[..frame.len], frame.offload).unwrap();
            frames += 1;
        }
        assert_eq!(allocator::calls(), before);
        assert!(frames > 0);
    });
}
