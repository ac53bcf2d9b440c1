//! Both sides of the cookie, without a handshake: the jar of a sender and the guard of a receiver under load, beside the
//! paper's formulas (C18, C105-C113).

use core::net::SocketAddr;
use core::time::Duration;
use std::collections::HashMap;

use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;
use wg_proto::wire::{CookieReply, Message};
use wg_proto::{
    CookieJar, Guard, HandshakeMessage, Instant, InvalidCookieReply, Load, Mac1Key, PublicKey, RateLimiter,
    Verdict,
};

use crate::buckets::Buckets;
use crate::input::{Input, mutate};
use crate::paper;
use crate::side::{ALICE, BOB, address};

/// Sources that the limiter has places for.
const PLACES: usize = 3;

struct Scene {
    now: Instant,
    rng: ChaCha8Rng,
    jar: CookieJar,
    /// MAC1 of the last message, and the same until a reply to it was taken.
    mac1: [u8; 16],
    unanswered: Option<[u8; 16]>,
    held: Option<([u8; 16], Instant)>,
    guard: Guard,
    limiter: RateLimiter<PLACES>,
    /// The cookies given out under the secret of `born`.
    born: Option<Instant>,
    given: HashMap<SocketAddr, [u8; 16]>,
    buckets: Buckets,
}

/// Signs, challenges, answers and waits.
///
/// # Panics
///
/// If a side does not do what the formulas say.
pub fn cookie_reply(data: &[u8]) {
    let mut input = Input::new(data);
    let mut scene = Scene {
        now: Instant::from_nanos(1_000_000_000_000),
        rng: ChaCha8Rng::seed_from_u64(input.byte().into()),
        jar: CookieJar::default(),
        mac1: [0; 16],
        unanswered: None,
        held: None,
        guard: Guard::new(&PublicKey::from_bytes(BOB.public)),
        limiter: RateLimiter::new(),
        born: None,
        given: HashMap::new(),
        buckets: Buckets::new(PLACES),
    };
    for _ in 0..64 {
        if input.is_empty() {
            break;
        }
        match input.below(8) {
            0 => scene.wait(Duration::from_millis((input.u32() % 130_000).into())),
            1 => scene.wait(Duration::from_millis((input.byte() % 100).into())),
            2 | 3 => scene.answer(&mut input),
            _ => scene.send(&mut input),
        }
    }
}

impl Scene {
    fn wait(&mut self, by: Duration) {
        self.now = self.now.saturating_add(by);
    }

    /// A cookie reply comes to the jar.
    fn answer(&mut self, input: &mut Input<'_>) {
        let mac1 = if input.below(6) == 0 { input.array() } else { self.mac1 };
        let issuer = if input.below(8) == 0 { &ALICE.public } else { &BOB.public };
        let cookie = input.array();
        let honest = paper::cookie_reply(issuer, input.u32(), input.array(), &cookie, &mac1);
        let mut message = honest.clone();
        if input.below(3) == 0 {
            mutate(&mut message, input);
        }
        let Ok(Message::CookieReply(reply)) = Message::parse(&message) else { return };
        let authentic = message[8..] == honest[8..] && issuer == &BOB.public && self.unanswered == Some(mac1);
        self.take(&reply, authentic.then_some(cookie));
    }

    fn take(&mut self, reply: &CookieReply<'_>, cookie: Option<[u8; 16]>) {
        let taken = self.jar.consume_reply(&PublicKey::from_bytes(BOB.public), reply, self.now);
        assert_eq!(taken, if cookie.is_some() { Ok(()) } else { Err(InvalidCookieReply) });
        if let Some(cookie) = cookie {
            self.held = Some((cookie, self.now));
            self.unanswered = None;
        }
    }

    /// A message is signed by the jar and comes to the guard.
    fn send(&mut self, input: &mut Input<'_>) {
        let (kind, len) = if input.below(2) == 0 { (1, 148) } else { (2, 92) };
        let mut message = vec![input.byte(); len];
        message[..4].copy_from_slice(&[kind, 0, 0, 0]);
        message[4..8].copy_from_slice(&input.array::<4>());
        message[len - 32..].fill(0);
        self.jar.write_macs(&Mac1Key::new(&PublicKey::from_bytes(BOB.public)), &mut message, self.now);
        assert!(paper::mac1_is_right(&message, &BOB.public));
        let mac1: [u8; 16] = message[len - 32..len - 16].try_into().expect("16 bytes");
        (self.mac1, self.unanswered) = (mac1, Some(mac1));
        let fresh = |at: &Instant| self.now.saturating_duration_since(*at) < Duration::from_secs(115);
        let mac2 = self
            .held
            .filter(|(_, at)| fresh(at))
            .map_or([0; 16], |(cookie, _)| paper::mac(&cookie, &message[..len - 16]));
        assert_eq!(message[len - 16..], mac2, "MAC2 is of the cookie held, while it is fresh");

        // Sometimes somebody else has a hand in it.
        let mut from = address(input.below(6));
        from.set_port(51820 + u16::from(input.below(2)));
        if let Some(cookie) = self.given.get(&from).filter(|_| input.below(3) == 0) {
            let (covered, mac2) = message.split_at_mut(len - 16);
            mac2.copy_from_slice(&paper::mac(cookie, covered));
        }
        let (at, mask) = (usize::from(input.byte()), input.byte());
        if input.below(4) == 0 && (4..len).contains(&at) {
            message[at] ^= mask;
        }
        let load = if input.below(4) == 0 { Load::Normal } else { Load::UnderLoad };
        self.arrive(&message, from, load, input.below(3) != 0);
    }

    fn arrive(&mut self, message: &[u8], from: SocketAddr, load: Load, returned: bool) {
        let parsed = match Message::parse(message) {
            Ok(Message::Initiation(parsed)) => HandshakeMessage::Initiation(parsed),
            Ok(Message::Response(parsed)) => HandshakeMessage::Response(parsed),
            other => panic!("the head is as it was: {other:?}"),
        };
        let verdict = self.guard.check(&parsed, from, load, &mut self.limiter, self.now, &mut self.rng);
        let (covered, mac2) = message.split_at(message.len() - 16);
        let young = |born: &Instant| self.now.saturating_duration_since(*born) < Duration::from_secs(120);
        let current = self.born.filter(young);
        let knows = current.is_some()
            && self.given.get(&from).is_some_and(|cookie| paper::mac(cookie, covered) == mac2);
        if !paper::mac1_is_right(message, &BOB.public) {
            assert_eq!(verdict, Verdict::InvalidMac1);
        } else if load == Load::Normal {
            assert_eq!(verdict, Verdict::Admit);
        } else if knows {
            let expected =
                if self.buckets.take(from.ip(), self.now) { Verdict::Admit } else { Verdict::RateLimited };
            assert_eq!(verdict, expected);
        } else {
            let Verdict::Challenge(reply) = verdict else { panic!("{verdict:?} where a cookie is due") };
            if current.is_none() {
                self.born = Some(self.now);
                self.given.clear();
            }
            assert_eq!((&reply[..4], &reply[4..8]), (&[3, 0, 0, 0][..], &message[4..8]));
            let mac1 = covered[covered.len() - 16..].try_into().expect("16 bytes");
            let cookie = paper::open_cookie_reply(&BOB.public, &reply, mac1).expect("it is sealed for us");
            if let Some(known) = self.given.insert(from, cookie) {
                assert_eq!(known, cookie, "one cookie for an address and a secret");
            }
            assert!(
                self.given.iter().all(|(to, other)| *to == from || *other != cookie),
                "a cookie for each address and port"
            );
            if returned {
                let ours = self.unanswered == Some(*mac1);
                let Ok(Message::CookieReply(reply)) = Message::parse(&reply) else { panic!("it is one") };
                self.take(&reply, ours.then_some(cookie));
            }
        }
    }
}
