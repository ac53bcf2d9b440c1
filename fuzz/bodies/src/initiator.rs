//! A peer initiates and is sent responses and cookie replies, good and otherwise, by a responder of the white paper.
//!
//! A response counts only while its initiation waits, once, and unchanged (C37, C38, C20); a cookie reply once for each
//! message sent, and then shows in MAC2 (C110, C111). What is refused leaves the waiting handshake as it was; the honest
//! answer then still ends it (C46).

use core::time::Duration;

use wg_proto::{HandshakeError, Instant, Load, ReceiveError};

use crate::input::{Input, mutate};
use crate::paper::{self, Responder};
use crate::side::{ALICE, BOB, Kind, Outcome, Sent, Side, address, ephemeral};

struct Scene {
    alice: Side,
    psk: [u8; 32],
    /// The initiation that waits, as the responder read it.
    waiting: Option<Responder>,
    /// MAC1 of the last message that no cookie reply has answered.
    unanswered: Option<[u8; 16]>,
    cookie: Option<([u8; 16], Instant)>,
    last_stamp: [u8; 12],
    indices: Vec<u32>,
}

/// Answers an initiation in up to eight ways.
///
/// # Panics
///
/// If the peer takes what it must not, or refuses what it must take.
pub fn initiator(data: &[u8]) {
    let mut input = Input::new(data);
    let psk = if input.below(2) == 0 { [0; 32] } else { [0x5a; 32] };
    let alice = Side::new(&ALICE, &BOB.public, psk, Some(address(2)), input.byte());
    let (waiting, unanswered, cookie) = (None, None, None);
    let mut scene =
        Scene { alice, psk, waiting, unanswered, cookie, last_stamp: [0; 12], indices: Vec::new() };
    scene.initiate();
    for _ in 0..8 {
        if input.is_empty() {
            break;
        }
        match input.below(8) {
            0 => scene.pass(Duration::from_millis((input.u32() % 400_000).into())),
            1 => scene.pass(Duration::from_millis(input.u16().into())),
            2 => scene.initiate(),
            3 | 4 => scene.cookie_reply(&mut input),
            _ => scene.response(&mut input),
        }
    }
    // Whatever was tried, an honest answer to what waits is taken.
    if scene.waiting.is_some() {
        scene.response(&mut Input::new(&[5; 64]));
        assert!(scene.waiting.is_none(), "the handshake is over");
    }
}

impl Scene {
    fn initiate(&mut self) {
        self.alice.peer.initiate(self.alice.now);
        let sent = self.alice.sent();
        self.watch(sent);
    }

    fn pass(&mut self, by: Duration) {
        // In steps, so that the time of what is sent is known.
        let end = self.alice.now.saturating_add(by);
        while let Some(due) = self.alice.peer.poll_timeout().filter(|due| *due <= end) {
            let sent = self.alice.pass(due.saturating_duration_since(self.alice.now));
            self.watch(sent);
        }
        let sent = self.alice.pass(end.saturating_duration_since(self.alice.now));
        self.watch(sent);
        if self.alice.peer.control().pending_index().is_none() {
            self.waiting = None;
        }
    }

    /// Reads what the peer sent, as its responder would.
    fn watch(&mut self, sent: Vec<Sent>) {
        for Sent { bytes, .. } in sent {
            if bytes[0] != 1 {
                assert_eq!((bytes[0], bytes.len()), (4, 32), "initiations and keepalives");
                continue;
            }
            assert!(paper::mac1_is_right(&bytes, &BOB.public));
            let read = Responder::new(&bytes, &BOB).expect("an initiation for us");
            assert_eq!(read.initiator, ALICE.public);
            assert!(read.timestamp > self.last_stamp, "timestamps rise (C34)");
            self.last_stamp = read.timestamp;
            let mac1 = bytes[116..132].try_into().expect("16 bytes");
            let fresh =
                |at: &Instant| self.alice.now.saturating_duration_since(*at) < Duration::from_secs(115);
            let mac2 = self
                .cookie
                .filter(|(_, at)| fresh(at))
                .map_or([0; 16], |(cookie, _)| paper::mac(&cookie, &bytes[..132]));
            assert_eq!(bytes[132..], mac2, "MAC2 is of the cookie held, while it is fresh");
            (self.waiting, self.unanswered) = (Some(read), Some(mac1));
        }
    }

    fn refused(&mut self, message: &[u8], load: Load, expected: Option<ReceiveError>) {
        let before = self.alice.state();
        let error = self.alice.handle(message, address(2), load).expect_err("it must be refused");
        if let Some(expected) = expected {
            assert_eq!(error, expected);
        }
        let sent = self.alice.sent();
        if error == ReceiveError::Challenged {
            assert!(matches!(&sent[..], [Sent { bytes, .. }] if bytes.len() == 64), "{sent:?}");
        } else {
            assert!(sent.is_empty(), "silence: {sent:?}");
        }
        assert_eq!(self.alice.state(), before, "what is refused leaves no trace");
    }

    fn response(&mut self, input: &mut Input<'_>) {
        let Some(waiting) = self.waiting.clone() else {
            // Late, or never asked for.
            let mut message = vec![2; 92];
            message[..4].copy_from_slice(&[2, 0, 0, 0]);
            if let Some(index) = self.indices.last() {
                message[8..12].copy_from_slice(&index.to_le_bytes());
            }
            paper::fix_mac1(&mut message, &ALICE.public);
            self.refused(&message, Load::Normal, Some(HandshakeError::Unexpected.into()));
            return;
        };
        let ephemeral = ephemeral(input);
        let sender = input.u32();
        let receiver = if input.below(6) == 0 { input.u32() } else { waiting.sender };
        let psk = if input.below(6) == 0 { input.array() } else { self.psk };
        let private = (ephemeral.kind == Kind::Honest).then_some(ephemeral.private);
        let (honest, keys) = waiting.respond((private, ephemeral.public), &psk, sender, receiver);
        let mut message = honest.clone();
        if input.below(3) == 0 {
            mutate(&mut message, input);
            if input.below(4) != 0 {
                paper::fix_mac1(&mut message, &ALICE.public);
            }
        }
        let load = if input.below(6) == 0 { Load::UnderLoad } else { Load::Normal };
        let well_formed = message.len() == 92 && message[..4] == [2, 0, 0, 0];
        if !well_formed {
            return self.refused(&message, load, None);
        }
        if !paper::mac1_is_right(&message, &ALICE.public) {
            return self.refused(&message, load, Some(ReceiveError::InvalidMac1));
        }
        if load == Load::UnderLoad {
            return self.refused(&message, load, Some(ReceiveError::Challenged));
        }
        if message[8..12] != waiting.sender.to_le_bytes() {
            return self.refused(&message, load, Some(HandshakeError::Unexpected.into()));
        }
        let point = message[12..44].try_into().expect("32 bytes");
        if paper::dh(&ALICE.private, point) == [0; 32] {
            return self.refused(&message, load, Some(HandshakeError::LowOrder.into()));
        }
        if ephemeral.kind != Kind::Honest || psk != self.psk || message[12..60] != honest[12..60] {
            return self.refused(&message, load, Some(HandshakeError::Unauthentic.into()));
        }

        assert_eq!(self.alice.handle(&message, address(2), load), Ok(Outcome::Handshake));
        let remote = u32::from_le_bytes(message[4..8].try_into().expect("four bytes"));
        // It confirms at once (C46), to the index that came with the response.
        let sent = self.alice.sent();
        let [keepalive] = &sent[..] else { panic!("one keepalive, not {sent:?}") };
        assert_eq!(paper::open_data(&keys.initiator, &keepalive.bytes), Some((remote, 0, Vec::new())));
        let answer = paper::data(&keys.responder, waiting.sender, u64::from(input.u16()), b"welcome");
        assert_eq!(
            self.alice.handle(&answer, address(2), Load::Normal),
            Ok(Outcome::Packet(b"welcome".to_vec()))
        );
        let sent = self.alice.sent();
        assert!(sent.is_empty(), "a packet is not answered by itself: {sent:?}");
        self.waiting = None;
        self.indices.push(waiting.sender);
        self.refused(&message, Load::Normal, Some(HandshakeError::Unexpected.into()));
    }

    fn cookie_reply(&mut self, input: &mut Input<'_>) {
        let known =
            self.waiting.as_ref().map(|waiting| waiting.sender).or_else(|| self.indices.last().copied());
        let receiver = if input.below(6) == 0 { input.u32() } else { known.unwrap_or(1) };
        let mac1 = if input.below(6) == 0 { input.array() } else { self.unanswered.unwrap_or([0; 16]) };
        let issuer = if input.below(8) == 0 { &ALICE.public } else { &BOB.public };
        let cookie = input.array();
        let honest = paper::cookie_reply(issuer, receiver, input.array(), &cookie, &mac1);
        let mut message = honest.clone();
        if input.below(3) == 0 {
            mutate(&mut message, input);
        }
        let names_us = known.is_some_and(|_| {
            let index = message.get(4..8).and_then(|bytes| bytes.try_into().ok()).map(u32::from_le_bytes);
            let held: Vec<u32> =
                self.alice.peer.sessions_mut().local_indices().map(|index| index.get()).collect();
            let pending = self.alice.peer.control().pending_index().map(|index| index.get());
            index.is_some_and(|index| pending == Some(index) || held.contains(&index))
        });
        let authentic = message.len() == 64
            && message[..4] == honest[..4]
            && message[8..] == honest[8..]
            && issuer == &BOB.public
            && self.unanswered == Some(mac1);
        if !(names_us && authentic) {
            return self.refused(&message, Load::Normal, None);
        }
        let deadline = self.alice.peer.poll_timeout();
        let endpoint = self.alice.peer.endpoint().copied();
        assert_eq!(self.alice.handle(&message, address(4), Load::UnderLoad), Ok(Outcome::Handshake));
        assert!(self.alice.sent().is_empty(), "nothing is sent for a cookie");
        assert_eq!(
            (self.alice.peer.poll_timeout(), self.alice.peer.endpoint().copied()),
            (deadline, endpoint)
        );
        self.cookie = Some((cookie, self.alice.now));
        self.unanswered = None;
        self.refused(&message, Load::Normal, Some(ReceiveError::CookieReply));
    }
}
