//! Load: cookies both ways, what they cost, and what they must not move.

use core::net::SocketAddr;
use core::time::Duration;

use wg_proto::aead::RustCryptoAead;
use wg_proto::wire::{CookieReply, Initiation, Message, Response};
use wg_proto::{HandshakeError, Load, Mac1Key, ReceiveError};

use crate::host::address;
use crate::pair::{A, B, Kind, Pair, Side};

type Plain = Pair<RustCryptoAead>;

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn under_load(seed: u64, sides: &[Side]) -> Plain {
    let mut pair = Plain::new(seed);
    for side in sides {
        pair[*side].load = Load::UnderLoad;
    }
    pair
}

fn mac2(message: &[u8]) -> &[u8] {
    &message[message.len() - 16..]
}

#[test]
fn responder_under_load_wants_a_cookie_first() {
    // C106, C109, C110
    let mut pair = under_load(1, &[B]);
    pair.send(A);
    pair.run_until(secs(4));
    assert_eq!(
        pair.transcript(),
        [(A, Kind::Initiation), (B, Kind::CookieReply)],
        "no retransmission at once"
    );
    let asked = Initiation::parse(&pair.sent[0].datagram).unwrap().sender_index();
    let reply = CookieReply::parse(&pair.sent[1].datagram).unwrap().receiver_index();
    assert_eq!((asked, pair.sent[1].datagram.len()), (reply, 64));
    pair.run_until(secs(6));
    assert_eq!(mac2(&pair.sent[0].datagram), [0; 16]);
    assert_ne!(mac2(&pair.sent[2].datagram), [0; 16]);
    assert!(pair.sent[2].at >= secs(5), "the next scheduled message carries it");
    assert_eq!(pair.transcript()[2..], [(A, Kind::Initiation), (B, Kind::Response), (A, Kind::Data)]);
    assert_eq!(pair[B].delivered, [0]);
}

#[test]
fn initiator_under_load_wants_a_cookie_for_the_response() {
    // C112, C104: type 2 as well as type 1.
    let mut pair = under_load(2, &[A]);
    pair.send(A);
    pair.run_until(secs(6));
    assert_eq!(
        pair.transcript(),
        [
            (A, Kind::Initiation),
            (B, Kind::Response),
            (A, Kind::CookieReply),
            (A, Kind::Initiation),
            (B, Kind::Response),
            (A, Kind::Data),
        ]
    );
    assert_eq!(mac2(&pair.sent[1].datagram), [0; 16]);
    assert_ne!(mac2(&pair.sent[4].datagram), [0; 16]);
    let answered = CookieReply::parse(&pair.sent[2].datagram).unwrap().receiver_index();
    assert_eq!(Response::parse(&pair.sent[1].datagram).unwrap().sender_index(), answered);
}

#[test]
fn two_sides_under_load_meet_in_the_third_round() {
    let mut pair = under_load(3, &[A, B]);
    pair.send(A);
    pair.run_until(secs(12));
    assert_eq!(pair.sent_by(A, Kind::Initiation).len(), 3);
    assert_eq!(pair[B].delivered, [0]);
    pair.send(B);
    pair.run_for(secs(1));
    assert_eq!(pair[A].delivered, [0], "data is none of the limiter's business (C115)");
}

#[test]
fn cookies_are_used_for_115_seconds() {
    // C111: A goes on asking, and is answered nothing but the one cookie.
    let mut pair = under_load(4, &[B]);
    pair.send(A);
    pair.run_for(Duration::from_millis(10));
    pair.passes = Box::new(|_| false);
    for second in 1..200 {
        pair.run_until(secs(second));
        pair.send(A);
    }
    let received = Duration::from_millis(20);
    let initiations = pair.sent_by(A, Kind::Initiation);
    assert!(initiations.len() > 35);
    for sent in initiations {
        let held = (received..received + secs(115)).contains(&sent.at);
        assert_eq!(mac2(&sent.datagram) != [0; 16], held, "at {:?}", sent.at);
    }
}

#[test]
fn new_secret_after_two_minutes_asks_for_a_new_cookie() {
    // C108
    let mut pair = under_load(5, &[B]);
    pair.send(A);
    pair.run_until(secs(6));
    let with_cookie = pair.last(A, Kind::Initiation);
    let verdict = |pair: &mut Plain| {
        pair[B].refused.clear();
        pair.inject(B, &with_cookie, address(0));
        pair[B].refused.clone()
    };
    pair.run_until(secs(120));
    assert_eq!(
        verdict(&mut pair),
        [ReceiveError::Handshake(HandshakeError::OldTimestamp)],
        "the cookie is good"
    );
    pair.run_for(Duration::from_millis(11));
    assert_eq!(verdict(&mut pair), [ReceiveError::Challenged]);
}

#[test]
fn cookie_is_bound_to_address_and_port() {
    // C107, defect 36
    let mut pair = under_load(6, &[B]);
    pair.send(A);
    pair.run_until(secs(6));
    let with_cookie = pair.last(A, Kind::Initiation);
    let replayed_from = |pair: &mut Plain, from: &str| {
        pair[B].refused.clear();
        pair.inject(B, &with_cookie, from.parse().unwrap());
        pair[B].refused.clone()
    };
    assert_eq!(
        replayed_from(&mut pair, "192.0.2.1:51820"),
        [ReceiveError::Handshake(HandshakeError::OldTimestamp)]
    );
    for from in ["192.0.2.1:51821", "192.0.2.3:51820", "[2001:db8::1]:51820"] {
        assert_eq!(replayed_from(&mut pair, from), [ReceiveError::Challenged], "{from}");
        assert_eq!(
            pair.sent.last().unwrap().to,
            from.parse::<SocketAddr>().unwrap(),
            "to where it came from"
        );
    }
}

#[test]
fn mac2_is_not_looked_at_without_load() {
    // C105
    let mut pair = Plain::new(7);
    pair.passes = Box::new(|_| false);
    pair.send(A);
    let mut initiation = pair.last(A, Kind::Initiation);
    initiation[132..].fill(0xab);
    pair.inject(B, &initiation, address(0));
    assert_eq!(pair[B].refused, []);
    assert_eq!(pair.sent_by(B, Kind::Response).len(), 1);
}

#[test]
fn mac1_is_looked_at_first_with_load_and_without() {
    // C105, C106, C7
    for load in [Load::Normal, Load::UnderLoad] {
        let mut pair = Plain::new(8);
        pair.passes = Box::new(|_| false);
        pair[B].load = load;
        pair.send(A);
        let mut initiation = pair.last(A, Kind::Initiation);
        initiation[116] ^= 1;
        pair.inject(B, &initiation, address(0));
        assert_eq!(pair[B].refused, [ReceiveError::InvalidMac1]);
        assert_eq!(pair.sent.len(), 1);
    }
}

#[test]
fn cookie_replies_move_nothing_but_the_cookie() {
    // C110, C87, defect 38: neither endpoint nor timer, whether they are good or not.
    let mut pair = under_load(9, &[B]);
    pair.send(A);
    let (endpoint, deadline) = (*pair[A].peer.endpoint().unwrap(), pair.deadline(A));
    pair.passes = Box::new(|_| false);
    pair.run_for(Duration::from_millis(10));
    let reply = pair.last(B, Kind::CookieReply);
    let elsewhere = "203.0.113.5:5".parse().unwrap();
    let mut forged = reply.clone();
    forged[40] ^= 1;
    pair.inject(A, &forged, elsewhere);
    assert_eq!(pair[A].refused, [ReceiveError::CookieReply]);
    let mut unasked = reply.clone();
    unasked[4] ^= 1;
    pair.inject(A, &unasked, elsewhere);
    assert_eq!(pair[A].refused.len(), 2, "its index is of nothing we have");
    pair.inject(A, &reply, elsewhere);
    assert_eq!(pair[A].refused.len(), 2, "the good one is good still");
    pair.inject(A, &reply, elsewhere);
    assert_eq!(pair[A].refused.len(), 3, "one reply for each message (defect 28)");
    assert_eq!((*pair[A].peer.endpoint().unwrap(), pair.deadline(A)), (endpoint, deadline));
    assert_eq!(pair.sent.len(), 2, "and nothing is sent");
}

#[test]
fn cookie_reply_to_a_replaced_initiation_is_nothing() {
    // C110: A has begun anew, and so its last MAC1 is another.
    let mut pair = under_load(10, &[B]);
    pair.passes = Box::new(|sent| sent.from == A);
    pair.send(A);
    pair.run_until(secs(1));
    let late = pair.last(B, Kind::CookieReply);
    pair.run_until(secs(6));
    pair.inject(A, &late, address(1));
    assert_eq!(pair[A].refused, [ReceiveError::CookieReply]);
}

#[test]
fn verified_source_has_20_a_second_and_a_burst_of_5() {
    // C106, C113, C114: A's cookie from one address, then from another; each has its own bucket.
    let mut pair = under_load(11, &[B]);
    pair.send(A);
    pair.run_until(secs(8));
    let from_home = pair.last(A, Kind::Initiation);
    pair.run_until(secs(100));
    let roamed: SocketAddr = "198.51.100.7:7".parse().unwrap();
    pair[A].address = roamed;
    pair.initiate(A);
    pair.run_until(secs(107));
    let from_away = pair.last(A, Kind::Initiation);
    assert_ne!(mac2(&from_away), [0; 16]);
    pair.run_until(secs(109));

    let flood = |pair: &mut Plain, message: &[u8], from, count| {
        pair[B].refused.clear();
        for _ in 0..count {
            pair.inject(B, message, from);
        }
        let limited = |refused: &&ReceiveError| **refused == ReceiveError::RateLimited;
        pair[B].refused.iter().filter(|refused| !limited(refused)).count()
    };
    let before = pair.sent.len();
    assert_eq!(flood(&mut pair, &from_home, address(0), 50), 5, "the burst");
    assert_eq!(flood(&mut pair, &from_away, roamed, 50), 5, "another source has its own");
    pair.run_for(Duration::from_millis(50));
    assert_eq!(flood(&mut pair, &from_home, address(0), 50), 1);
    pair.run_for(Duration::from_millis(1000));
    assert_eq!(flood(&mut pair, &from_home, address(0), 50), 5);
    assert_eq!(pair.sent.len(), before, "and all of it in silence");
}

#[test]
fn challenge_is_smaller_than_its_cause() {
    // C7: 64 bytes for 148 or 92, one for one.
    let mut pair = under_load(12, &[A, B]);
    let to = pair.public_key(B);
    for number in 0..100 {
        let mut initiation =
            Initiation::write(wg_proto::SessionIndex::new(number), &[9; 32], &[0; 48], &[0; 28]);
        Mac1Key::new(&to).write(&mut initiation);
        let mut response = Response::write(
            wg_proto::SessionIndex::new(number),
            wg_proto::SessionIndex::new(number),
            &[9; 32],
            &[0; 16],
        );
        Mac1Key::new(&to).write(&mut response);
        for message in [&initiation[..], &response[..]] {
            pair.sent.clear();
            pair.inject(B, message, address(7));
            assert_eq!(pair.sent.len(), 1);
            assert_eq!(pair.sent[0].to, address(7));
            let Ok(Message::CookieReply(reply)) = Message::parse(&pair.sent[0].datagram) else {
                panic!("{:?}", pair.sent);
            };
            assert_eq!(reply.receiver_index().get(), number);
        }
    }
}
