//! Bytes from nobody in particular: no panic, no answer, no trace, and the next good packet passes.

#[path = "session/host.rs"]
#[expect(dead_code, reason = "shared with the session tests, which use more of it")]
mod host;
#[path = "session/netem.rs"]
mod netem;
#[path = "session/pair.rs"]
#[expect(dead_code, reason = "shared with the session tests, which use more of it")]
mod pair;

use core::net::SocketAddr;
use core::time::Duration;

use proptest::prelude::*;
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use wg_proto::aead::{Aead, RingAead, RustCryptoAead};
use wg_proto::wire::{Message, ParseError};
use wg_proto::{Load, Mac1Key, ReceiveError, SessionIndex};

use host::address;
use pair::{A, B, Kind, Pair, Side};

fn elsewhere() -> SocketAddr {
    "203.0.113.66:666".parse().unwrap()
}

/// A pair with a session, a pending handshake on A's side, and one message of each kind to tamper with: recorded, and
/// not delivered.
struct Scene<C> {
    pair: Pair<C>,
    initiation: Vec<u8>,
    response: Vec<u8>,
    cookie_reply: Vec<u8>,
    data: Vec<u8>,
    keepalive: Vec<u8>,
}

impl<C: Aead> Scene<C> {
    fn new(seed: u64) -> Self {
        let mut pair = Pair::<C>::connected(seed);
        pair.run_until(Duration::from_secs(120));
        // A begins to rekey; B answers with a cookie reply first and with a response then; nothing arrives.
        pair.passes = Box::new(|_| false);
        pair.run_for(Duration::from_secs(1));
        pair.send(A);
        let (data, initiation) = (pair.last(A, Kind::Data), pair.last(A, Kind::Initiation));
        pair[B].load = Load::UnderLoad;
        pair.inject(B, &initiation, address(0));
        pair[B].load = Load::Normal;
        pair.inject(B, &initiation, address(0));
        let (cookie_reply, response) = (pair.last(B, Kind::CookieReply), pair.last(B, Kind::Response));
        let now = pair[A].clock.now(pair.time);
        let mut keepalive = vec![0; 32];
        pair[A].peer.seal(&[], &mut keepalive, now).unwrap();
        // B is as it was before the initiation, so that a good one passes.
        let mut fresh = Pair::connected(seed);
        fresh.run_until(pair.time);
        pair.replace(B, fresh);
        pair[B].seen.clear();
        Self { pair, initiation, response, cookie_reply, data, keepalive }
    }

    /// What is sent to a side, by kind.
    fn messages(&self) -> [(Side, Vec<u8>); 5] {
        [
            (B, self.initiation.clone()),
            (A, self.response.clone()),
            (A, self.cookie_reply.clone()),
            (B, self.data.clone()),
            (B, self.keepalive.clone()),
        ]
    }

    /// Gives a datagram that must come to nothing, from its true address and from elsewhere.
    fn nothing_comes_of(&mut self, side: Side, datagram: &[u8]) {
        let before = self.state(side);
        for from in [address(side.other() as u8), elsewhere()] {
            self.pair[side].refused.clear();
            self.pair.inject(side, datagram, from);
            assert_eq!(self.pair[side].refused.len(), 1, "{datagram:02x?} was taken");
        }
        assert_eq!(self.state(side), before, "{datagram:02x?}");
    }

    fn state(&self, side: Side) -> impl PartialEq + core::fmt::Debug + use<C> {
        let host = &self.pair[side];
        (
            self.pair.sent.len(),
            host.peer.endpoint().copied(),
            self.pair.deadline(side),
            host.delivered.len(),
            host.keepalives,
            (host.events.clone(), host.peer.control().pending_index(), host.peer.control().last_handshake()),
        )
    }

    /// The messages as they were sent do pass, after all that.
    fn good_messages_pass(mut self) {
        self.pair[B].refused.clear();
        self.pair[A].refused.clear();
        for (side, message) in self.messages() {
            // The response ends the handshake that a cookie reply is for, so the cookie comes first.
            if message != self.response {
                self.pair.inject(side, &message, address(side.other() as u8));
            }
        }
        assert_eq!(self.pair[B].delivered.len(), 2, "the first packet of all, and this one");
        assert_eq!(self.pair[B].keepalives, 1);
        let answer = self.pair.last(B, Kind::Response);
        self.pair.inject(A, &answer, address(1));
        assert_eq!((&self.pair[A].refused[..], &self.pair[B].refused[..]), (&[][..], &[][..]));
    }
}

fn every_truncation_and_extension_is_nothing<C: Aead>(seed: u64) {
    let mut scene = Scene::<C>::new(seed);
    for (side, message) in scene.messages() {
        for len in 0..message.len() {
            scene.nothing_comes_of(side, &message[..len]);
        }
        for more in [1, 15, 16, 1000] {
            let mut longer = message.clone();
            longer.resize(message.len() + more, 0);
            scene.nothing_comes_of(side, &longer);
        }
    }
    scene.good_messages_pass();
}

#[test]
fn truncated_and_extended_messages_are_nothing() {
    // C2-C5, S3
    every_truncation_and_extension_is_nothing::<RustCryptoAead>(1);
    every_truncation_and_extension_is_nothing::<RingAead>(2);
}

#[test]
fn messages_with_one_bit_changed_are_nothing() {
    // S3. MAC2 is not looked at without load (C105), so it is left out.
    let mut scene = Scene::<RingAead>::new(3);
    for (side, message) in scene.messages() {
        let handshake = [148, 92].contains(&message.len()) && message[0] < 3;
        let end = if handshake { message.len() - 16 } else { message.len() };
        for bit in 0..end * 8 {
            let mut changed = message.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            scene.nothing_comes_of(side, &changed);
        }
    }
    scene.good_messages_pass();
}

#[test]
fn handshake_messages_with_one_bit_changed_and_mac1_mended_are_nothing() {
    // An attacker who knows the public key can make MAC1. Each of these costs public-key work, so it is one bit a byte.
    let mut scene = Scene::<RingAead>::new(4);
    for (side, message) in [(B, scene.initiation.clone()), (A, scene.response.clone())] {
        let mac1 = Mac1Key::new(&scene.pair.public_key(side));
        // The sender's own index is covered by nothing else: its change is a message of the same worth.
        for byte in 8..message.len() - 32 {
            let mut changed = message.clone();
            changed[byte] ^= 1 << (byte % 7);
            mac1.write(&mut changed);
            scene.nothing_comes_of(side, &changed);
        }
    }
    scene.good_messages_pass();
}

#[test]
fn ciphertext_of_one_session_is_nothing_in_another() {
    // S3: splices of header and body, and of two sessions.
    let mut scene = Scene::<RingAead>::new(5);
    let mut other = Pair::<RingAead>::connected(6);
    other.send(A);
    let foreign = other.last(A, Kind::Data);
    let spliced = |header: &[u8], body: &[u8]| [&header[..16], &body[16..]].concat();
    let (data, keepalive) = (scene.data.clone(), scene.keepalive.clone());
    for datagram in
        [spliced(&data, &foreign), spliced(&data, &keepalive), spliced(&keepalive, &data), foreign]
    {
        scene.nothing_comes_of(B, &datagram);
    }
    scene.good_messages_pass();
}

#[test]
fn datagrams_of_every_size_are_nothing() {
    // C6, defect 35: each type and some that are none, from empty to more than UDP can carry.
    let mut scene = Scene::<RingAead>::new(7);
    let mut rng = ChaCha20Rng::seed_from_u64(7);
    let mut noise = vec![0; 70_000];
    rng.fill_bytes(&mut noise);
    let near: Vec<usize> = [32, 64, 92, 148, 1280, 1420, 1500, 9000, 65_507, 65_527, 65_535]
        .into_iter()
        .flat_map(|len| len - 2..=len + 2)
        .collect();
    let sizes = (0..200).chain(near).chain((200..70_000).step_by(997)).chain([70_000]);
    for len in sizes {
        for kind in [0, 1, 2, 3, 4, 5, 0x0104, u32::MAX] {
            let datagram = &mut noise[..len];
            for (byte, of_kind) in datagram.iter_mut().zip(u32::to_le_bytes(kind)) {
                *byte = of_kind;
            }
            for side in [A, B] {
                let datagram = noise[..len].to_vec();
                scene.nothing_comes_of(side, &datagram);
            }
        }
    }
    scene.good_messages_pass();
}

#[test]
fn live_index_with_forged_content_is_nothing() {
    // C75, C76, C86: the attacker has seen the index.
    let mut scene = Scene::<RingAead>::new(8);
    let mut rng = ChaCha20Rng::seed_from_u64(8);
    for len in (32..200).chain([1452, 65_535]) {
        for counter in [0, 1, 2, 1 << 13, u64::MAX >> 1, u64::MAX] {
            let mut datagram = vec![0; len];
            rng.fill_bytes(&mut datagram);
            datagram[..8].copy_from_slice(&scene.data[..8]);
            datagram[8..16].copy_from_slice(&counter.to_le_bytes());
            scene.nothing_comes_of(B, &datagram);
        }
    }
    scene.good_messages_pass();
}

/// A datagram that is nothing: noise, a message with its head right, or one with its MAC1 right as well.
fn forged(rng: &mut ChaCha20Rng, template: &[u8], mac1: &Mac1Key, expensive: bool) -> Vec<u8> {
    let len = match rng.next_u32() % 4 {
        0 => rng.next_u32() as usize % 300,
        _ => template.len(),
    };
    let mut datagram = vec![0; len];
    rng.fill_bytes(&mut datagram);
    if !rng.next_u32().is_multiple_of(8) {
        for (byte, template) in datagram.iter_mut().zip(&template[..8]) {
            *byte = *template;
        }
    }
    if expensive && [148, 92].contains(&len) {
        mac1.write(&mut datagram);
    }
    datagram
}

#[test]
fn flood_of_forged_datagrams_gets_no_answer() {
    // C7 at the scale of CI: 10^5, one in a thousand of them worth public-key work.
    let mut scene = Scene::<RingAead>::new(9);
    let mut rng = ChaCha20Rng::seed_from_u64(9);
    let messages = scene.messages();
    let macs = [A, B].map(|side| Mac1Key::new(&scene.pair.public_key(side)));
    let before = scene.pair.sent.len();
    for number in 0..100_000 {
        let (side, template) = &messages[number % messages.len()];
        let datagram = forged(&mut rng, template, &macs[*side as usize], number.is_multiple_of(200));
        scene.pair.inject(*side, &datagram, elsewhere());
    }
    assert_eq!(scene.pair.sent.len(), before);
    let refused = scene.pair[A].refused.len() + scene.pair[B].refused.len();
    assert_eq!(refused, 100_000);
    scene.good_messages_pass();
}

#[test]
fn flood_under_load_gets_cookie_replies_and_nothing_else() {
    // C7, C106: 64 bytes for a message of 148 or 92 whose MAC1 is right; no public-key work, so all of them may have it.
    let mut scene = Scene::<RingAead>::new(10);
    let mut rng = ChaCha20Rng::seed_from_u64(10);
    let messages = scene.messages();
    let macs = [A, B].map(|side| Mac1Key::new(&scene.pair.public_key(side)));
    for side in [A, B] {
        scene.pair[side].load = Load::UnderLoad;
    }
    let (mut bytes_in, mut challenged) = (0, 0);
    scene.pair.sent.clear();
    for number in 0..20_000 {
        let (side, template) = &messages[number % messages.len()];
        let datagram = forged(&mut rng, template, &macs[*side as usize], number.is_multiple_of(2));
        scene.pair[*side].refused.clear();
        scene.pair.inject(*side, &datagram, elsewhere());
        if scene.pair[*side].refused == [ReceiveError::Challenged] {
            bytes_in += datagram.len();
            challenged += 1;
        }
    }
    assert!(challenged > 1000, "{challenged}");
    assert_eq!(scene.pair.sent.len(), challenged);
    assert!(scene.pair.sent.iter().all(|sent| sent.kind() == Kind::CookieReply && sent.to == elsewhere()));
    assert!(challenged * 64 < bytes_in);
    for side in [A, B] {
        scene.pair[side].load = Load::Normal;
    }
    scene.good_messages_pass();
}

/// What the first bytes of a datagram mean, written down as naively as can be.
fn naive_parse(datagram: &[u8]) -> Result<(u8, Vec<u32>, u64), ParseError> {
    if datagram.len() < 4 {
        return Err(ParseError::TooShort);
    }
    let word = |at: usize| u32::from_le_bytes(datagram[at..at + 4].try_into().unwrap());
    let fits = match (word(0), datagram.len()) {
        (1, len) => len == 148,
        (2, len) => len == 92,
        (3, len) => len == 64,
        (4, len) => len >= 32,
        _ => return Err(ParseError::UnknownType),
    };
    if !fits {
        return Err(ParseError::WrongLength);
    }
    Ok(match word(0) {
        2 => (2, vec![word(4), word(8)], 0),
        4 => (4, vec![word(4)], u64::from(word(8)) | u64::from(word(12)) << 32),
        1 => (1, vec![word(4)], 0),
        _ => (3, vec![word(4)], 0),
    })
}

fn compare_parsers(datagram: &[u8]) {
    let numbers = |indices: &[SessionIndex]| indices.iter().map(|index| index.get()).collect::<Vec<_>>();
    let parsed = Message::parse(datagram).map(|message| match message {
        Message::Initiation(view) => {
            let fields: Vec<u8> = [
                &view.unencrypted_ephemeral()[..],
                view.encrypted_static(),
                view.encrypted_timestamp(),
                view.mac1(),
                view.mac2(),
            ]
            .concat();
            assert_eq!((&fields[..], &view.as_bytes()[..]), (&datagram[8..], datagram));
            (1, numbers(&[view.sender_index()]), 0)
        }
        Message::Response(view) => {
            let fields: Vec<u8> =
                [&view.unencrypted_ephemeral()[..], view.encrypted_nothing(), view.mac1(), view.mac2()]
                    .concat();
            assert_eq!((&fields[..], &view.as_bytes()[..]), (&datagram[12..], datagram));
            (2, numbers(&[view.sender_index(), view.receiver_index()]), 0)
        }
        Message::CookieReply(view) => {
            assert_eq!([&view.nonce()[..], view.encrypted_cookie()].concat(), datagram[8..]);
            (3, numbers(&[view.receiver_index()]), 0)
        }
        Message::TransportData(view) => {
            assert_eq!(view.ciphertext(), &datagram[16..]);
            (4, numbers(&[view.receiver_index()]), view.counter())
        }
    });
    assert_eq!(parsed, naive_parse(datagram));
}

/// Bytes that begin like a message and have about its length, or do not.
fn datagrams() -> impl Strategy<Value = Vec<u8>> {
    let len = prop_oneof![0_usize..8, 30_usize..34, 62_usize..66, 90_usize..94, 146_usize..150, 0_usize..300];
    let head = prop_oneof![1_u32..5, 0_u32..8, (1_u32..5).prop_map(|kind| kind | 1 << 24), any::<u32>()];
    (len, head, any::<u64>()).prop_map(|(len, head, seed)| {
        let mut datagram = vec![0; len];
        ChaCha20Rng::seed_from_u64(seed).fill_bytes(&mut datagram);
        for (byte, head) in datagram.iter_mut().zip(head.to_le_bytes()) {
            *byte = head;
        }
        datagram
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn parser_agrees_with_a_naive_one(datagram in datagrams()) {
        compare_parsers(&datagram);
    }

    #[test]
    fn any_bytes_at_all_parse_or_do_not(datagram in proptest::collection::vec(any::<u8>(), 0..300)) {
        compare_parsers(&datagram);
    }
}
