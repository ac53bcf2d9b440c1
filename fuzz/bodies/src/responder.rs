//! A peer is sent initiations, good and otherwise, beside a responder of the white paper that says which are which.
//!
//! What is tried: ephemeral keys of low order, with a bit that does not count, of somebody else; strangers; old, equal and
//! strange timestamps; floods; load, with cookies and without; any change of any byte, MAC1 right all the same. What is
//! refused leaves no trace and no answer but a cookie reply under load (C7, C20, C30-C32, C47, C105-C107, C113); what is
//! accepted ends in a session that the other side can use (C14-C17, C44, C53).

use core::net::SocketAddr;
use core::time::Duration;

use wg_proto::wire::ParseError;
use wg_proto::{HandshakeError, Instant, Load, OpenError, ReceiveError};

use crate::buckets::Buckets;
use crate::input::{Input, mutate};
use crate::paper::{self, InitiationParts, Initiator, Keys};
use crate::side::{ALICE, BOB, Kind, LOW_ORDER, MALLORY, Outcome, Side, address, ephemeral};

/// What the peer must know, by the rules alone.
struct Model {
    psk: [u8; 32],
    greatest: Option<[u8; 12]>,
    accepted: Option<Instant>,
    /// When the cookie secret was made.
    born: Option<Instant>,
    /// The last cookie that was given out, to whom, and under the secret of when.
    cookie: Option<([u8; 16], SocketAddr, Instant)>,
    buckets: Buckets,
}

/// The verdict of the rules.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Accept,
    Challenge,
    Refuse(Option<ReceiveError>),
}

fn refuse(error: impl Into<ReceiveError>) -> Verdict {
    Verdict::Refuse(Some(error.into()))
}

impl Model {
    fn fresh_secret(&self, now: Instant) -> Option<Instant> {
        self.born.filter(|born| now.saturating_duration_since(*born) < Duration::from_secs(120))
    }

    fn judge(&mut self, message: &[u8], from: SocketAddr, load: Load, now: Instant) -> Verdict {
        if message.len() < 4 {
            return refuse(ParseError::TooShort);
        }
        let kind = u32::from_le_bytes([message[0], message[1], message[2], message[3]]);
        match (kind, message.len()) {
            (1, 148) | (2, 92) => {}
            (3, 64) | (4, 32..) => return Verdict::Refuse(None),
            (1..=4, _) => return refuse(ParseError::WrongLength),
            _ => return refuse(ParseError::UnknownType),
        }
        if !paper::mac1_is_right(message, &BOB.public) {
            return refuse_with(ReceiveError::InvalidMac1);
        }
        if load == Load::UnderLoad {
            let (covered, mac2) = message.split_at(message.len() - 16);
            let knows =
                self.cookie.filter(|(_, to, born)| *to == from && Some(*born) == self.fresh_secret(now));
            if knows.is_none_or(|(cookie, ..)| paper::mac(&cookie, covered) != mac2) {
                return Verdict::Challenge;
            }
            if !self.buckets.take(from.ip(), now) {
                return refuse_with(ReceiveError::RateLimited);
            }
        }
        if kind == 2 {
            return refuse(HandshakeError::Unexpected);
        }
        let es = paper::dh(&BOB.private, message[8..40].try_into().expect("32 bytes"));
        if es == [0; 32] {
            return refuse(HandshakeError::LowOrder);
        }
        let Some(read) = paper::Responder::new(message, &BOB) else { return Verdict::Refuse(None) };
        if read.initiator != ALICE.public {
            return Verdict::Refuse(None);
        }
        if self.greatest.is_some_and(|greatest| read.timestamp <= greatest) {
            return refuse(HandshakeError::OldTimestamp);
        }
        if self.accepted.is_some_and(|at| now.saturating_duration_since(at) < Duration::from_millis(20)) {
            return refuse(HandshakeError::TooSoon);
        }
        (self.greatest, self.accepted) = (Some(read.timestamp), Some(now));
        Verdict::Accept
    }
}

const fn refuse_with(error: ReceiveError) -> Verdict {
    Verdict::Refuse(Some(error))
}

/// Sends up to eight things to a peer that waits.
///
/// # Panics
///
/// If the peer and the rules disagree.
pub fn responder(data: &[u8]) {
    let mut input = Input::new(data);
    let psk = if input.below(2) == 0 { [0; 32] } else { [0x5a; 32] };
    let mut bob = Side::new(&BOB, &ALICE.public, psk, None, input.byte());
    let mut model =
        Model { psk, greatest: None, accepted: None, born: None, cookie: None, buckets: Buckets::new(16) };
    for _ in 0..8 {
        if input.is_empty() {
            return;
        }
        match input.below(8) {
            0 => drop(bob.pass(Duration::from_millis((input.u32() % 400_000).into()))),
            1 => drop(bob.pass(Duration::from_millis((input.byte() % 60).into()))),
            2 => raw(&mut bob, &mut model, &mut input),
            _ => initiation(&mut bob, &mut model, &mut input),
        }
    }
}

/// Bytes of a fuzzer's own, MAC1 right where there is one.
fn raw(bob: &mut Side, model: &mut Model, input: &mut Input<'_>) {
    let load = if input.below(2) == 0 { Load::Normal } else { Load::UnderLoad };
    let mut message = input.counted().to_vec();
    paper::fix_mac1(&mut message, &BOB.public);
    // Only the honest initiator can do better than to be refused.
    give(bob, model, &message, address(7), load, None);
}

fn initiation(bob: &mut Side, model: &mut Model, input: &mut Input<'_>) {
    let ephemeral = ephemeral(input);
    let stranger;
    let local = match input.below(6) {
        0 => &*MALLORY,
        1 => {
            stranger =
                paper::Pair { private: MALLORY.private, public: LOW_ORDER[usize::from(input.below(7))] };
            &stranger
        }
        _ => &*ALICE,
    };
    let timestamp = timestamp(model, input);
    let wrong_ss = input.below(6) == 0;
    let sender = input.u32();
    let es = match ephemeral.kind {
        Kind::Honest => paper::dh(&ephemeral.private, &BOB.public),
        Kind::LowOrder | Kind::Foreign => [0; 32],
    };
    let ss = if wrong_ss { [9; 32] } else { paper::dh(&local.private, &BOB.public) };
    let initiator = Initiator::new(&InitiationParts {
        local,
        responder: &BOB.public,
        ephemeral: (ephemeral.private, ephemeral.public),
        es,
        ss,
        timestamp,
        sender,
    });
    let mut message = initiator.message.clone();
    if input.below(3) == 0 {
        mutate(&mut message, input);
        if input.below(4) != 0 {
            paper::fix_mac1(&mut message, &BOB.public);
        }
    }
    let from = address(input.below(4));
    let load = if input.below(3) == 0 { Load::UnderLoad } else { Load::Normal };
    if let Some((cookie, ..)) = model.cookie
        && input.below(2) == 0
        && message.len() >= 16
    {
        let at = message.len() - 16;
        let (covered, mac2) = message.split_at_mut(at);
        mac2.copy_from_slice(&paper::mac(&cookie, covered));
    }
    let Some(keys) = give(bob, model, &message, from, load, Some(&initiator)) else { return };
    traffic(bob, &keys, from, input);
}

fn timestamp(model: &Model, input: &mut Input<'_>) -> [u8; 12] {
    let base = model.greatest.unwrap_or([0x40, 0, 0, 0, 0x65, 0, 0, 0, 0, 0, 0, 0]);
    match input.below(8) {
        0 => base,
        1 => input.array(),
        2 => {
            let mut stamp = base;
            stamp[usize::from(input.below(12))] = input.byte();
            stamp
        }
        _ => {
            let mut stamp = base;
            for byte in stamp.iter_mut().rev() {
                *byte = byte.wrapping_add(1);
                if *byte != 0 {
                    break;
                }
            }
            stamp
        }
    }
}

/// Gives a message to the peer and holds what comes of it against the verdict. An accepted one gives the session's keys
/// with the index to send to.
fn give(
    bob: &mut Side,
    model: &mut Model,
    message: &[u8],
    from: SocketAddr,
    load: Load,
    initiator: Option<&Initiator>,
) -> Option<(Keys, u32)> {
    let verdict = model.judge(message, from, load, bob.now);
    drop(bob.sent());
    let before = bob.state();
    let result = bob.handle(message, from, load);
    if verdict != Verdict::Accept {
        match (&verdict, &result) {
            (Verdict::Refuse(None), Err(error)) => assert_ne!(*error, ReceiveError::Challenged),
            (Verdict::Refuse(Some(expected)), Err(error)) => assert_eq!(error, expected),
            (Verdict::Challenge, Err(ReceiveError::Challenged)) => {}
            _ => panic!("{result:?} where the rules say {verdict:?}"),
        }
        let sent = bob.sent();
        assert_eq!(bob.state(), before, "what is refused leaves no trace");
        if verdict == Verdict::Challenge {
            let [reply] = &sent[..] else { panic!("one cookie reply, not {sent:?}") };
            let at = message.len() - 32;
            let mac1 = message[at..at + 16].try_into().expect("16 bytes");
            assert_eq!((reply.to, reply.bytes.len(), &reply.bytes[4..8]), (from, 64, &message[4..8]));
            let cookie =
                paper::open_cookie_reply(&BOB.public, &reply.bytes, mac1).expect("it is sealed for us");
            let born = model.fresh_secret(bob.now).unwrap_or(bob.now);
            if let Some((known, to, then)) = model.cookie {
                assert_eq!(
                    to == from && then == born,
                    known == cookie,
                    "a cookie is of its address and secret"
                );
            }
            model.born = Some(born);
            model.cookie = Some((cookie, from, born));
        } else {
            assert!(sent.is_empty(), "silence: {sent:?}");
        }
        return None;
    }
    assert_eq!(result, Ok(Outcome::Handshake));
    let sent = bob.sent();
    let [response] = &sent[..] else { panic!("one response, not {sent:?}") };
    assert_eq!((response.to, response.bytes.len()), (from, 92));
    assert_eq!(bob.peer.endpoint().map(|endpoint| endpoint.remote), Some(from));
    assert!(paper::mac1_is_right(&response.bytes, &ALICE.public));
    assert_eq!(response.bytes[76..], [0; 16], "no cookie is held");
    assert_eq!(response.bytes[8..12], message[4..8]);
    let initiator = initiator.expect("only an initiation is accepted");
    Some(initiator.finish(&response.bytes, &model.psk).expect("the response is for us"))
}

/// The first packets of a session: nothing is sent before the initiator has spoken; then both ways work.
fn traffic(bob: &mut Side, (keys, index): &(Keys, u32), from: SocketAddr, input: &mut Input<'_>) {
    let counter = u64::from(input.u16());
    let packet = input.counted();
    let message = paper::data(&keys.initiator, *index, counter, packet);
    if input.below(2) == 0 {
        let mut forged = message.clone();
        let at = usize::from(input.u16()) % forged.len();
        forged[at] ^= 1 << input.below(8);
        let before = bob.state();
        assert!(bob.handle(&forged, address(9), Load::Normal).is_err(), "a forgery is taken");
        assert!(bob.sent().is_empty());
        assert_eq!(bob.state(), before, "a forgery leaves no trace");
    }
    let expected = if packet.is_empty() { Outcome::Keepalive } else { Outcome::Packet(packet.to_vec()) };
    assert_eq!(bob.handle(&message, from, Load::Normal), Ok(expected));
    drop(bob.sent());
    let before = bob.state();
    let again = bob.handle(&message, address(9), Load::Normal);
    assert_eq!(again, Err(ReceiveError::Open(OpenError::Replayed)));
    drop(bob.sent());
    assert_eq!(bob.state(), before, "a replay leaves no trace");
    let answer = bob.seal(b"an answer of some length").expect("the session is confirmed");
    let (_, counter, opened) = paper::open_data(&keys.responder, &answer).expect("it is for us");
    assert_eq!((counter, &opened[..24]), (0, &b"an answer of some length"[..]));
    assert!(opened.len() == 32 && opened[24..] == [0; 8]);
}
