//! The static key: none, one that comes later, one held elsewhere, a peer with a point of low order; and entropy that fails.

use core::cell::Cell;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::Arc;

use wg_datapath::proto::noise::create_initiation;
use wg_datapath::proto::{
    DhError, Mac1Key, PrivateKey, PublicKey, SessionIndex, SharedSecret, StaticIdentity, Tai64n,
};
use wg_datapath::{Config, ConfigError, Device, DropReason, Now};

use crate::edges::{Dry, Entropy};
use crate::forge::{datagram, initiation, stranger};
use crate::rig::{A, B, Rig, inner, millis, outer, packet, prefix, private_key, public_key, seconds};

/// A private key that answers from elsewhere, if it does.
struct Elsewhere {
    key: PrivateKey,
    asked: Arc<AtomicUsize>,
    gone: Arc<AtomicBool>,
}

impl Elsewhere {
    fn new(key: PrivateKey) -> (Box<Self>, Arc<AtomicUsize>, Arc<AtomicBool>) {
        let (asked, gone) = (Arc::default(), Arc::default());
        let this = Self { key, asked: Arc::clone(&asked), gone: Arc::clone(&gone) };
        (Box::new(this), asked, gone)
    }
}

impl StaticIdentity for Elsewhere {
    fn public_key(&self) -> PublicKey {
        self.key.public_key()
    }

    fn diffie_hellman(&self, their: &PublicKey) -> Result<SharedSecret, DhError> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        if self.gone.load(Ordering::Relaxed) {
            return Err(DhError::Unavailable);
        }
        self.key.diffie_hellman(their).map_err(DhError::from)
    }
}

/// The seven points of low order, as the test of the kernel has them.
fn low_order_points() -> [PublicKey; 7] {
    let mut one = [0; 32];
    one[0] = 1;
    let of_order_8 = [
        0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4, 0x6a, 0xda,
        0x09, 0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49, 0xb8, 0x00,
    ];
    let the_other = [
        0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1, 0x55, 0x9c, 0x83, 0xef, 0x5b, 0x04,
        0x44, 0x5c, 0xc4, 0x58, 0x1c, 0x8e, 0x86, 0xd8, 0x22, 0x4e, 0xdd, 0xd0, 0x9f, 0x11, 0x57,
    ];
    // p - 1, p and p + 1, where p = 2^255 - 19.
    let near_p = |low: u8| {
        let mut point = [0xff; 32];
        (point[0], point[31]) = (low, 0x7f);
        point
    };
    [[0; 32], one, of_order_8, the_other, near_p(0xec), near_p(0xed), near_p(0xee)].map(PublicKey::from_bytes)
}

#[test]
fn a_peer_of_low_order_is_configured_and_never_written_to() {
    // C21
    let mut rig = Rig::strangers(1, Config::default());
    let now = rig.now;
    for (last, key) in (10..).zip(low_order_points()) {
        let peer = rig[A].device.add_peer(key).unwrap();
        rig[A].device.add_allowed_ip(peer, prefix([10, 0, 0, last], 32)).unwrap();
        rig[A].device.set_endpoint(peer, stranger());
        rig[A].device.set_persistent_keepalive(peer, 1, now);
        rig[A].device.initiate(peer, now);
        rig[A].tun.inner.outgoing.push_back(packet(inner(A), [10, 0, 0, last], 84));
    }
    rig.pass(seconds(200));
    assert!(rig.sent().is_empty());
    assert_eq!(rig[A].dropped(DropReason::LowOrderPeer), 7);
    assert_eq!(rig.drops(A), 7);
}

#[test]
fn nothing_is_accepted_from_a_peer_of_low_order() {
    // C20, C21: whoever claims such a key knows every secret that comes of it.
    let mut rig = Rig::strangers(1, Config::default());
    for key in low_order_points() {
        let peer = rig[A].device.add_peer(key).unwrap();
        let known = SharedSecret::new([5; 32]).unwrap();
        let stamp = Tai64n::from_unix(rig.now.wall);
        let ephemeral = PrivateKey::from_bytes([6; 32]);
        let to = public_key(A);
        let (_, mut message) =
            create_initiation(&key, &to, &known, stamp, ephemeral, SessionIndex::new(1)).unwrap();
        Mac1Key::new(&to).write(&mut message);
        rig.network.inject(datagram(stranger(), outer(A), &message));
        rig.settle();
        assert!(rig[A].device.peers().all(|status| status.endpoint.is_none() && status.rx_bytes == 0));
        rig[A].device.remove_peer(peer);
    }
    assert!(rig.sent().is_empty());
    assert_eq!(rig.drops(A), 7);
}

#[test]
fn without_a_private_key_nothing_is_sent_or_accepted() {
    // C48
    let mut rig = Rig::new(2);
    let now = rig.now;
    rig[B].device.set_private_key(None, now);
    rig.send(B, A, 84);
    rig.send(A, B, 84);
    rig.settle();
    assert_eq!(rig.sent_lengths(), [148]);
    assert_eq!(rig[B].dropped(DropReason::NoPrivateKey), 1);
    assert_eq!(rig.drops(B), 1);
    assert_eq!(rig[B].device.public_key(), None);
}

#[test]
fn first_private_key_sends_what_is_staged_at_once() {
    // C48
    let mut rig = Rig::new(2);
    let now = rig.now;
    rig[A].device.set_private_key(None, now);
    rig.send(A, B, 84);
    rig.settle();
    assert!(rig.sent().is_empty());
    rig.pass(seconds(3));
    let now = rig.now;
    rig[A].device.set_private_key(Some(private_key(A)), now);
    rig.settle();
    assert_eq!(rig.sent_lengths(), [148, 92, 128]);
    assert_eq!(rig[B].delivered(), [packet(inner(A), inner(B), 84)]);
}

#[test]
fn first_private_key_starts_the_persistent_keepalive() {
    // C48, C129: configured before there was a key, the peer is not forgotten.
    let mut rig = Rig::new(2);
    let (peer, now) = (rig.peer(A, B), rig.now);
    rig[A].device.set_private_key(None, now);
    rig[A].device.set_persistent_keepalive(peer, 25, now);
    rig.pass(seconds(60));
    assert!(rig.sent().is_empty());
    let now = rig.now;
    rig[A].device.set_private_key(Some(private_key(A)), now);
    rig.settle();
    assert_eq!(rig.sent_lengths(), [148, 92, 32]);
}

#[test]
fn packets_staged_for_a_peer_of_low_order_do_not_outlast_the_first_key() {
    // C21, C48
    let mut rig = Rig::strangers(1, Config::default());
    let now = rig.now;
    rig[A].device.set_private_key(None, now);
    let peer = rig[A].device.add_peer(low_order_points()[0]).unwrap();
    rig[A].device.add_allowed_ip(peer, prefix(inner(B), 32)).unwrap();
    rig[A].device.set_endpoint(peer, stranger());
    rig.send(A, B, 84);
    rig.settle();
    assert_eq!(rig.drops(A), 0);
    rig[A].device.set_private_key(Some(private_key(A)), now);
    assert_eq!(rig[A].dropped(DropReason::LowOrderPeer), 1);
}

#[test]
fn a_key_held_elsewhere_does_for_both_roles() {
    let mut rig = Rig::new(2);
    let now = rig.now;
    let (identity, asked, _) = Elsewhere::new(private_key(B));
    rig[B].device.set_identity(identity, now);
    assert_eq!((rig[B].device.public_key(), rig[B].device.private_key()), (Some(public_key(B)), None));
    assert_eq!(asked.load(Ordering::Relaxed), 1, "static-static, once for the peer");
    rig.connect(A, B);
    assert_eq!(asked.load(Ordering::Relaxed), 2, "and one more as responder");
    rig.pass(seconds(181));
    rig.send(B, A, 84);
    rig.settle();
    assert_eq!(rig[A].delivered().len(), 1);
    assert_eq!(asked.load(Ordering::Relaxed), 3, "and one as initiator");

    let now = rig.now;
    rig[B].device.set_private_key(None, now);
    assert_eq!(rig[B].device.public_key(), None, "it can be removed like any key");
}

#[test]
fn a_key_holder_that_is_gone_costs_handshakes_and_nothing_else() {
    let mut rig = Rig::new(2);
    let now = rig.now;
    let (identity, _, gone) = Elsewhere::new(private_key(B));
    rig[B].device.set_identity(identity, now);
    rig.connect(A, B);
    gone.store(true, Ordering::Relaxed);
    assert_eq!(rig[B].device.add_peer(public_key(7)), Err(ConfigError::KeyUnavailable));
    assert_eq!(rig[B].device.peer_count(), 1);

    rig.pass(seconds(121));
    rig.sent();
    rig.send(A, B, 84);
    rig.settle();
    assert_eq!(rig.sent_lengths(), [128, 148], "the session goes on, the initiation is not answered");
    assert_eq!(rig[B].delivered().len(), 1);
    assert_eq!(rig[B].dropped(DropReason::NoPrivateKey), 1);

    gone.store(false, Ordering::Relaxed);
    rig.pass(millis(5334));
    let lengths = rig.sent_lengths();
    assert!(lengths.contains(&92), "{lengths:?}");
}

#[test]
fn a_device_without_entropy_is_not_made_and_takes_no_peer() {
    // C27
    let entropy = Entropy::new(1);
    entropy.run_dry(true);
    let device = Device::<wg_datapath::proto::aead::RingAead, _>::new(Config::default(), entropy);
    assert_eq!(device.err(), Some(Dry));

    let mut rig = Rig::new(1);
    rig[A].entropy.run_dry(true);
    assert_eq!(rig[A].device.add_peer(public_key(B)), Err(ConfigError::Entropy));
    assert_eq!(rig[A].device.peer_count(), 0);
}

#[test]
fn without_entropy_no_handshake_begins_and_it_is_tried_again_like_any_other() {
    // C27, C120: one try in five seconds, and no new packet is needed when entropy is back.
    let mut rig = Rig::new(2);
    rig[A].entropy.run_dry(true);
    rig.send(A, B, 84);
    rig.settle();
    assert_eq!(rig[A].dropped(DropReason::NoEntropy), 1);
    for _ in 0..10 {
        rig.send(A, B, 84);
        rig.settle();
    }
    assert_eq!(rig[A].dropped(DropReason::NoEntropy), 1, "not asked again at once");
    rig.pass(seconds(20));
    let tries = rig[A].dropped(DropReason::NoEntropy);
    assert!((4..=5).contains(&tries), "{tries} tries in 20 s");
    assert!(rig.sent().is_empty());
    rig[A].entropy.run_dry(false);
    rig.pass(millis(5334));
    assert_eq!(rig[B].delivered().len(), 11);
}

#[test]
fn without_entropy_no_initiation_is_answered_and_none_is_used_up() {
    // C27, C32
    let mut rig = Rig::new(2);
    let message = initiation(&private_key(A), &public_key(B), rig.now.wall, 3);
    rig[B].entropy.run_dry(true);
    rig.network.inject(datagram(stranger(), outer(B), &message));
    rig.settle();
    assert!(rig.sent().is_empty());
    assert_eq!((rig[B].dropped(DropReason::NoEntropy), rig.drops(B)), (1, 1));
    assert_eq!(rig.status(B, A).endpoint, Some(outer(A)));
    rig[B].entropy.run_dry(false);
    rig.network.inject(datagram(stranger(), outer(B), &message));
    rig.settle();
    assert_eq!(rig.sent_lengths(), [92]);
}

#[test]
fn entropy_that_fails_in_the_middle_leaves_no_index_behind() {
    // C41, C43: the index is drawn, the ephemeral key is not. `check_invariants` looks after every step.
    thread_local!(static LEFT: Cell<u32> = const { Cell::new(u32::MAX) });
    struct Drying(Entropy);
    impl rand_core::TryRng for Drying {
        type Error = Dry;
        fn try_next_u32(&mut self) -> Result<u32, Dry> {
            self.0.try_next_u32()
        }
        fn try_next_u64(&mut self) -> Result<u64, Dry> {
            self.0.try_next_u64()
        }
        fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Dry> {
            LEFT.set(LEFT.get().checked_sub(1).ok_or(Dry)?);
            self.0.try_fill_bytes(out)
        }
    }
    impl rand_core::TryCryptoRng for Drying {}

    let mut rig = Rig::new(2);
    let now: Now = rig.now;
    let mut device =
        Device::<wg_datapath::proto::aead::RingAead, _>::new(Config::default(), Drying(Entropy::new(4)))
            .unwrap();
    device.set_private_key(Some(private_key(A)), now);
    let peer = device.add_peer(public_key(B)).unwrap();
    device.set_endpoint(peer, outer(B));
    device.set_up(true, now);
    LEFT.set(0);
    device.initiate(peer, now);
    let mut lane = wg_datapath::Lane::new();
    let end = &mut rig[A];
    let mut io = wg_datapath::LaneIo {
        device: &mut device,
        lane: &mut lane,
        tun: &mut end.tun,
        udp: &mut end.udp,
        now,
    };
    wg_datapath::sched::CoreIo::poll_control(&mut io);
    device.check_invariants();
    assert_eq!(device.drops().get(DropReason::NoEntropy), 1);
    assert!(rig.sent().is_empty());
}
