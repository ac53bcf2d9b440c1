//! Nothing is allocated per packet: the counts of the allocator before and after traffic are equal.

use wg_datapath::io::{RecvSlot, Segment, SendReport, SendStatus, Transmit, UdpIo};
use wg_datapath::slab::{SlabClass, SlabPool};
use wg_proto::{Endpoint, Source};
use wg_sys_linux::{Events, Poller, Token, Udp, clock};
use wg_tally::allocator;

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
