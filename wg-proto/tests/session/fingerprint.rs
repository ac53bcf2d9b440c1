//! Copies and fingerprints of a peer, which the model check stands on: a copy does what its original does, what changes the
//! future changes the fingerprint, and nothing else does.

use core::hash::{BuildHasher, BuildHasherDefault, Hasher};
use core::time::Duration;
use std::collections::HashMap;
use std::hash::DefaultHasher;

use wg_proto::aead::RustCryptoAead;
use wg_proto::{Endpoint, Fingerprint, Handled, Instant, Load, Named, Peer, PrivateKey, UnixTime};

use crate::host::{TestRng, address};
use crate::pair::{A, B, Kind, Pair, Side};

type Plain = Pair<RustCryptoAead>;

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// The fingerprint with the names that things have on the wire.
fn exact(peer: &Peer<PrivateKey, RustCryptoAead>, now: Instant) -> u64 {
    fingerprint(peer, now, &mut |named| match named {
        Named::LocalIndex(index) | Named::RemoteIndex(index) => index.get().into(),
        Named::Mac1(mac1) => u64::from_le_bytes(mac1[..8].try_into().unwrap()),
        Named::StampSent(stamp) | Named::GreatestStamp(stamp) => {
            BuildHasherDefault::<DefaultHasher>::default().hash_one(stamp)
        }
    })
}

/// The fingerprint with things named in the order in which they are written, and jitter fixed.
fn by_order(peer: &Peer<PrivateKey, RustCryptoAead>, now: Instant) -> u64 {
    let mut names = HashMap::new();
    fingerprint(peer, now, &mut |named| {
        let next = names.len() as u64;
        *names.entry(format!("{named:?}")).or_insert(next)
    })
}

fn fingerprint(
    peer: &Peer<PrivateKey, RustCryptoAead>,
    now: Instant,
    names: &mut dyn FnMut(Named<'_>) -> u64,
) -> u64 {
    let mut hasher = DefaultHasher::new();
    peer.fingerprint(&mut Fingerprint::new(now, names, &mut hasher));
    hasher.finish()
}

fn now(pair: &Plain, side: Side) -> Instant {
    pair[side].clock.now(pair.time)
}

#[test]
fn a_copy_does_what_its_original_does() {
    // C59, C61: all of it, to the byte, which is why there are no copies but in tests.
    let mut pair = Plain::connected(1);
    pair.run_until(secs(121));
    pair.send(A);
    let now = now(&pair, A);
    let wall = UnixTime::new(1_900_000_000, 0);
    let run = |mut peer: Peer<PrivateKey, RustCryptoAead>| {
        let mut rng = TestRng::new(9);
        let mut sent = Vec::new();
        let mut at = now;
        for _ in 0..40 {
            let mut out = [0; 148];
            if let Ok(len) = peer.seal(b"twice", &mut out, at) {
                sent.push(out[..len].to_vec());
            }
            let Some(due) = peer.poll_timeout() else { break };
            at = due;
            peer.handle_timeout(at);
            while let Some(transmit) = peer.poll_transmit(&mut out, at, wall, &mut rng).unwrap() {
                sent.push(out[..transmit.len].to_vec());
            }
        }
        sent
    };
    let (peer, copy) = (pair[A].peer.clone(), pair[A].peer.clone());
    assert_eq!(exact(&peer, now), exact(&copy, now));
    let (original, copied) = (run(peer), run(copy));
    assert!(original.len() > 20, "{}", original.len());
    assert_eq!(original, copied);
}

#[test]
fn whatever_changes_the_future_changes_the_fingerprint() {
    let mut pair = Plain::new(2);
    let mut seen = HashMap::new();
    let mut differs = |pair: &Plain, side: Side, what: &str| {
        let earlier = seen.insert(exact(&pair[side].peer, now(pair, side)), what.to_owned());
        assert_eq!(earlier, None, "{what} is not seen");
    };
    differs(&pair, A, "nothing");
    pair[A].peer.set_mtu(1400);
    differs(&pair, A, "another MTU");
    pair[A].peer.set_endpoint(address(7));
    differs(&pair, A, "another endpoint");
    pair[A].peer.set_endpoint(address(1));
    let at = now(&pair, A);
    pair[A].peer.initiate(at);
    differs(&pair, A, "a wish for a session");
    pair.start();
    differs(&pair, A, "a pending handshake");
    pair.run_for(Duration::from_millis(10));
    differs(&pair, B, "a session that waits to be confirmed");
    pair.run_for(Duration::from_millis(10));
    differs(&pair, A, "a session");
    differs(&pair, B, "the same a while later");
    pair.run_for(Duration::from_millis(10));
    differs(&pair, B, "a session that was confirmed");
    pair.send(A);
    differs(&pair, A, "a counter");
    pair.run_for(Duration::from_millis(10));
    differs(&pair, B, "a replay window, and a keepalive that is due");
    pair.run_for(Duration::from_millis(1));
    differs(&pair, B, "a millisecond");
    pair[B].peer.set_persistent_keepalive(secs(3), at);
    differs(&pair, B, "a persistent keepalive");
    pair.start();
    differs(&pair, B, "the first of them");
    pair[B].peer.on_vm_generation_change();
    differs(&pair, B, "keys that may not send");
    pair[B].peer.reset();
    differs(&pair, B, "a reset");
}

#[test]
fn what_is_refused_changes_nothing() {
    // C32, C37, C76: in every state of a handshake, and of the session that comes of it.
    let mut pair = Plain::new(3);
    let mut refused = 0;
    pair.send(A);
    pair.send(B);
    for _ in 0..40 {
        for side in [A, B] {
            let (at, wall) = (now(&pair, side), pair[side].clock.wall(pair.time));
            let before = exact(&pair[side].peer, at);
            let mut peer = pair[side].peer.clone();
            for sent in pair.sent.clone().into_iter().filter(|sent| sent.from != side) {
                for bit in [1, 9, 41, 130, 243, sent.datagram.len() * 8 - 1] {
                    let mut forged = sent.datagram.clone();
                    forged[bit / 8] ^= 1 << (bit % 8);
                    let from = Endpoint::new(address(9));
                    let mut rng = TestRng::new(1);
                    let handled = peer.handle(&mut forged, from, Load::Normal, at, wall, &mut rng);
                    // MAC2 is not looked at without load.
                    if handled != Ok(Handled::Handshake) {
                        assert!(handled.is_err(), "{handled:?} {sent:?} bit {bit}");
                        assert_eq!(exact(&peer, at), before, "{sent:?} bit {bit}");
                        refused += 1;
                    } else {
                        peer = pair[side].peer.clone();
                    }
                }
            }
        }
        pair.run_for(Duration::from_millis(300));
    }
    assert!(refused > 1000, "{refused}");
    assert_eq!(
        (pair[A].delivered.as_slice(), pair[B].delivered.as_slice()),
        ([0].as_slice(), [0].as_slice())
    );
}

#[test]
fn what_was_drawn_and_when_do_not_matter() {
    // The same exchange with other keys, other entropy and another hour ends in the same state, by order of creation.
    let run = |seed: u64, began: u64| {
        let mut pair = Plain::new(seed);
        for side in [A, B] {
            pair[side].peer.fix_jitter(500);
        }
        pair.run_until(secs(began));
        pair.send(A);
        pair.run_for(secs(4));
        pair.send(B);
        pair.run_for(secs(3));
        assert_eq!(pair.times(A, Kind::Initiation).len(), 1);
        [A, B].map(|side| by_order(&pair[side].peer, now(&pair, side)))
    };
    // Which side yields after a crossing is a matter of the keys; take two pairs that agree.
    let yields = |seed: u64| {
        let pair = Plain::new(seed);
        pair.public_key(A) > pair.public_key(B)
    };
    let like_first = (5..).find(|seed| yields(*seed) == yields(4)).unwrap();
    assert_eq!(run(4, 1), run(like_first, 7000));
}

#[test]
fn fixed_jitter_is_the_share_that_was_asked_for() {
    for (thousandths, millis) in [(0, 5000), (500, 5166), (1000, 5333)] {
        let mut pair = Plain::new(6);
        pair[A].peer.fix_jitter(thousandths);
        pair.initiate(A);
        assert_eq!(pair.deadline(A).unwrap().as_millis(), millis);
    }
}
