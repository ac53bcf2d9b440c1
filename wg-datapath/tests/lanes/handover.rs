//! Initiations come to the first lane, and are answered at the home of who sent them.

use core::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;

use wg_datapath::DropReason;
use wg_datapath::proto::{DhError, PrivateKey, PublicKey, SharedSecret, StaticIdentity};

use crate::rig::{Rig, inner, key, outer, packet, public};

/// A private key that counts multiplications.
struct Counting(PrivateKey, Arc<AtomicUsize>);

impl StaticIdentity for Counting {
    fn public_key(&self) -> PublicKey {
        self.0.public_key()
    }

    fn diffie_hellman(&self, their: &PublicKey) -> Result<SharedSecret, DhError> {
        self.1.fetch_add(1, Ordering::Relaxed);
        Ok(self.0.diffie_hellman(their)?)
    }
}

fn knock(rig: &mut Rig, number: usize) {
    rig.peer(number).members[0].tun.outgoing.push_back(packet(inner(number), inner(0), 84, 0));
}

/// Lets the peers run, and then the first lane of the hub, but none of its others.
fn run_first_lane(rig: &mut Rig) {
    let now = rig.now;
    rig.peers.iter_mut().for_each(|peer| while peer.members[0].step(now) {});
    while rig.hub.members[0].step(now) {}
}

#[test]
fn an_initiation_is_answered_at_home_with_one_multiplication() {
    let mut rig = Rig::new(3, 3);
    let count = Arc::new(AtomicUsize::new(0));
    let now = rig.now;
    rig.hub.configure(|device| {
        device.set_identity(Box::new(Counting(key(0), Arc::clone(&count))), now);
    });
    count.store(0, Ordering::Relaxed);
    for number in 1..=3 {
        let before = rig.hub.sent();
        knock(&mut rig, number);
        rig.settle();
        assert_eq!(rig.hub.delivered().len(), 1);
        assert_eq!(count.swap(0, Ordering::Relaxed), 1, "es, and no other");
        let sent: Vec<_> = rig.hub.sent().iter().zip(before).map(|(sent, before)| sent - before).collect();
        let home = rig.hub.home(number);
        assert!(sent[home] >= 1 && sent.iter().sum::<usize>() == sent[home], "{sent:?}");
        let status = rig.hub.members[home].device.peers().find(|peer| peer.public_key == public(number));
        assert!(status.is_some_and(|status| status.last_handshake.is_some() && status.rx_bytes > 148));
    }
    assert_eq!(rig.hub.drops(), 0);
}

#[test]
fn initiations_go_on_being_handed_over() {
    // More than there are boxes for.
    let mut rig = Rig::new(2, 2);
    for _ in 0..100 {
        knock(&mut rig, 2);
        rig.settle();
        rig.pass(200);
    }
    assert_eq!((rig.hub.delivered().len(), rig.hub.drops()), (100, 0));
}

#[test]
fn the_checks_are_made_again_at_home() {
    // C30: the same message twice, both of which the first lane hands over before the home sees any.
    let mut rig = Rig::new(2, 2);
    knock(&mut rig, 2);
    let now = rig.now;
    rig.peer(2).members[0].step(now);
    let initiation = rig.peer(2).members[0].socket.last().to_vec();
    assert_eq!(initiation.len(), 148);
    rig.wire.inject(outer(2), outer(0), &initiation);
    run_first_lane(&mut rig);
    assert_eq!(rig.hub.drops(), 0, "the first lane knows nothing of it");
    rig.settle();
    assert_eq!(rig.hub.members[1].dropped(DropReason::OldTimestamp), 1);
    assert_eq!(rig.hub.delivered().len(), 1);
}

#[test]
fn what_was_handed_over_under_another_key_is_dropped() {
    let mut rig = Rig::new(2, 2);
    knock(&mut rig, 2);
    run_first_lane(&mut rig);
    let now = rig.now;
    rig.hub.configure(|device| device.set_private_key(Some(key(99)), now));
    let mut hub = core::mem::take(&mut rig.hub.members);
    while hub[1].step(now) {}
    assert_eq!(hub[1].dropped(DropReason::InvalidMac1), 1);
    assert_eq!(hub[1].socket.sent, 0);
    rig.hub.members = hub;
    rig.settle();
}

#[test]
fn a_peer_that_was_removed_meanwhile_is_not_answered() {
    let mut rig = Rig::new(2, 2);
    knock(&mut rig, 2);
    run_first_lane(&mut rig);
    let id = rig.hub.members[0].device.peer(&public(2)).unwrap();
    rig.hub.configure(|device| device.remove_peer(id));
    rig.settle();
    assert_eq!(rig.hub.members[1].dropped(DropReason::UnknownPeer), 1);
    assert_eq!(rig.hub.sent(), [0, 0]);
}

#[test]
fn a_device_that_is_down_sends_the_boxes_back() {
    let mut rig = Rig::new(2, 2);
    let now = rig.now;
    for round in 0..80_u64 {
        knock(&mut rig, 2);
        run_first_lane(&mut rig);
        rig.hub.configure(|device| device.set_up(false, now));
        rig.settle();
        assert_eq!(rig.hub.members[1].dropped(DropReason::DeviceDown), round + 1);
        rig.hub.configure(|device| device.set_up(true, now));
        rig.pass(200);
    }
    assert_eq!(rig.hub.dropped(DropReason::HandshakeQueueFull), 0);
}
