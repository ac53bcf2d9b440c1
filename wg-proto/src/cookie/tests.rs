//! Cookies both ways.

use core::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use super::*;
use crate::wire::MessageType;

const ISSUER: PublicKey = PublicKey::from_bytes([9; 32]);

fn source() -> SocketAddr {
    "192.0.2.1:51820".parse().unwrap()
}

fn at(seconds: u64) -> Instant {
    Instant::from_nanos(seconds * 1_000_000_000)
}

fn message() -> [u8; 148] {
    let mut message = [0x33; 148];
    message[0] = MessageType::Initiation as u8;
    message
}

/// A checker, a jar, and the reply to the message the jar sent.
fn challenged() -> (CookieChecker, CookieJar, [u8; COOKIE_REPLY_LEN]) {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let (mut checker, mut jar) = (CookieChecker::new(&ISSUER), CookieJar::default());
    let mut message = message();
    jar.write_macs(&Mac1Key::new(&ISSUER), &mut message, at(1000));
    assert_eq!(message[132..], [0; 16].map(|_: u8| 0x33), "no MAC2 without a cookie");
    let mac1 = message[116..132].try_into().unwrap();
    let reply = checker.create_reply(SessionIndex::new(7), &mac1, source(), at(1000), &mut rng).unwrap();
    (checker, jar, reply)
}

#[test]
fn cookie_is_known_again_from_its_address_and_port_only() {
    // C107, C109, C110
    let (checker, mut jar, reply) = challenged();
    let view = CookieReply::parse(&reply).unwrap();
    assert_eq!(view.receiver_index(), SessionIndex::new(7));
    jar.consume_reply(&ISSUER, &view, at(1001)).unwrap();
    let mut next = message();
    jar.write_macs(&Mac1Key::new(&ISSUER), &mut next, at(1001));
    assert!(checker.verify_mac2(&next, source(), at(1001)));
    assert!(!checker.verify_mac2(&next, "192.0.2.1:51821".parse().unwrap(), at(1001)));
    assert!(!checker.verify_mac2(&next, "192.0.2.2:51820".parse().unwrap(), at(1001)));
    assert!(!checker.verify_mac2(&next, "[2001:db8::1]:51820".parse().unwrap(), at(1001)));
}

#[test]
fn one_reply_is_accepted_for_each_message() {
    // C110, defect 28
    let (_, mut jar, reply) = challenged();
    let view = CookieReply::parse(&reply).unwrap();
    assert_eq!(jar.consume_reply(&ISSUER, &view, at(1001)), Ok(()));
    assert_eq!(jar.consume_reply(&ISSUER, &view, at(1001)), Err(InvalidCookieReply));
}

#[test]
fn forged_reply_changes_nothing() {
    let (_, mut jar, reply) = challenged();
    for at_byte in 8..COOKIE_REPLY_LEN {
        let mut forged = reply;
        forged[at_byte] ^= 4;
        let view = CookieReply::parse(&forged).unwrap();
        assert_eq!(jar.consume_reply(&ISSUER, &view, at(1001)), Err(InvalidCookieReply), "byte {at_byte}");
    }
    let other = PublicKey::from_bytes([8; 32]);
    let view = CookieReply::parse(&reply).unwrap();
    assert_eq!(jar.consume_reply(&other, &view, at(1001)), Err(InvalidCookieReply));
    assert_eq!(jar.consume_reply(&ISSUER, &view, at(1001)), Ok(()), "the good one still counts");
}

#[test]
fn secret_lives_two_minutes_and_cookie_115_seconds() {
    // C108, C111
    let (checker, mut jar, reply) = challenged();
    jar.consume_reply(&ISSUER, &CookieReply::parse(&reply).unwrap(), at(1000)).unwrap();
    let signed = |jar: &mut CookieJar, now: Instant| {
        let mut next = message();
        next[132..].fill(0);
        jar.write_macs(&Mac1Key::new(&ISSUER), &mut next, now);
        next
    };
    let early = signed(&mut jar, at(1000));
    let just_before = Instant::from_nanos(at(1120).as_nanos() - 1);
    assert!(checker.verify_mac2(&early, source(), just_before));
    assert!(!checker.verify_mac2(&early, source(), at(1120)));
    let last = at(1000).saturating_add(Duration::from_nanos(115 * 1_000_000_000 - 1));
    assert_ne!(signed(&mut jar, last)[132..], [0; 16]);
    assert_eq!(signed(&mut jar, at(1115))[132..], [0; 16]);
}

#[test]
fn new_secret_voids_old_cookies() {
    let mut rng = ChaCha20Rng::seed_from_u64(2);
    let (mut checker, mut jar, reply) = challenged();
    jar.consume_reply(&ISSUER, &CookieReply::parse(&reply).unwrap(), at(1000)).unwrap();
    let mut next = message();
    jar.write_macs(&Mac1Key::new(&ISSUER), &mut next, at(1000));
    checker.create_reply(SessionIndex::new(1), &[0; 16], source(), at(1120), &mut rng).unwrap();
    assert!(!checker.verify_mac2(&next, source(), at(1120)));
}

#[test]
fn checker_without_a_secret_accepts_nothing() {
    let checker = CookieChecker::new(&ISSUER);
    let mut forged = message();
    mac::write_mac2(&keyed(&[0; 32], &[192, 0, 2, 1, 0xca, 0x6c]), &mut forged);
    assert!(!checker.verify_mac2(&forged, source(), at(0)));
}
