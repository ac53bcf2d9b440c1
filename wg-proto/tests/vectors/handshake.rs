//! The handshake vector: the transcript walked by hand, the Noise functions with every state, and two whole peers.

use blake2::{Blake2s256, Digest};
use chacha20poly1305::{AeadInOut, ChaCha20Poly1305, KeyInit, Nonce};
use core::net::SocketAddr;
use hmac::{Mac, SimpleHmac};
use wg_proto::aead::{Aead, RingAead, RustCryptoAead};
#[cfg(feature = "aws-lc")]
use wg_proto::dh::AwsLcDh;
use wg_proto::dh::Dh;
use wg_proto::limits::REPLAY_WORDS;
use wg_proto::noise::{self, ReceivedInitiation};
use wg_proto::wire::{CookieReply, Initiation, Message, Response};
use wg_proto::{
    Config, CookieJar, Endpoint, Guard, Handled, HandshakeMessage, Instant, Load, Mac1Key, Peer,
    PresharedKey, PrivateKey, PublicKey, RateLimiter, ReceiveError, Role, SessionIndex, Tai64n, UnixTime,
    Verdict,
};

use crate::replayed_rng::ReplayedRng;
use crate::vector::Vector;

const NOW: Instant = Instant::from_nanos(1_000_000_000_000);

fn initiator_addr() -> SocketAddr {
    "192.0.2.1:51820".parse().unwrap()
}

fn responder_addr() -> SocketAddr {
    "192.0.2.2:51820".parse().unwrap()
}

fn private<D: Dh>(vector: &Vector, field: &str) -> D {
    D::new(PrivateKey::from_bytes(vector.array(field)))
}

fn public(vector: &Vector, field: &str) -> PublicKey {
    PublicKey::from_bytes(vector.array(field))
}

fn wall(vector: &Vector) -> UnixTime {
    UnixTime::new(vector.number("unix_secs"), vector.number("unix_nsec"))
}

#[test]
fn transcript_walked_by_hand_is_the_vector() {
    // C9-C16, from the definitions alone, so that the file and this crate are held against a third thing.
    let vector = Vector::load();
    let hash = |parts: &[&[u8]]| -> [u8; 32] { Blake2s256::digest(parts.concat()).into() };
    let hmac = |key: &[u8; 32], data: &[u8]| -> [u8; 32] {
        let mut mac = <SimpleHmac<Blake2s256> as KeyInit>::new_from_slice(key).unwrap();
        mac.update(data);
        mac.finalize().into_bytes().into()
    };
    let kdf = |ck: &[u8; 32], input: &[u8]| {
        let prk = hmac(ck, input);
        let t1 = hmac(&prk, &[1]);
        let t2 = hmac(&prk, &[&t1[..], &[2]].concat());
        let t3 = hmac(&prk, &[&t2[..], &[3]].concat());
        (t1, t2, t3)
    };
    let seal = |key: &[u8; 32], hash: &[u8; 32], plain: &[u8]| {
        let mut out = plain.to_vec();
        let tag = ChaCha20Poly1305::new(key.into())
            .encrypt_inout_detached(&Nonce::default(), hash, out.as_mut_slice().into())
            .unwrap();
        out.extend_from_slice(&tag);
        out
    };
    let dh = |private: &str, public: &str| x25519_dalek::x25519(vector.array(private), vector.array(public));
    let initiation = vector.bytes("initiation_no_cookie");
    let response = vector.bytes("response_no_cookie");

    let ck = hash(&[noise::CONSTRUCTION]);
    let h = hash(&[&hash(&[&ck, noise::IDENTIFIER]), &vector.bytes("r_static_pub")]);
    let e = &initiation[8..40];
    let (h, ck) = (hash(&[&h, e]), kdf(&ck, e).0);
    assert_eq!((ck, h), vector.state("e_i"));
    let (ck, key, _) = kdf(&ck, &dh("i_eph_priv", "r_static_pub"));
    let sealed = seal(&key, &h, &vector.bytes("i_static_pub"));
    assert_eq!(sealed, initiation[40..88]);
    let h = hash(&[&h, &sealed]);
    assert_eq!((ck, h), vector.state("s"));
    let (ck, key, _) = kdf(&ck, &vector.bytes("static_static"));
    let sealed = seal(&key, &h, &vector.bytes("tai64n"));
    assert_eq!(sealed, initiation[88..116]);
    let h = hash(&[&h, &sealed]);
    assert_eq!((ck, h), vector.state("msg1"));

    let e = &response[12..44];
    let (h, ck) = (hash(&[&h, e]), kdf(&ck, e).0);
    let ephemeral = x25519_dalek::x25519(vector.array("r_eph_priv"), vector.array::<32>("i_static_pub"));
    let ck =
        kdf(&ck, &x25519_dalek::x25519(vector.array("r_eph_priv"), initiation[8..40].try_into().unwrap())).0;
    let ck = kdf(&ck, &ephemeral).0;
    let (ck, temporary, key) = kdf(&ck, &vector.bytes("psk"));
    let h = hash(&[&h, &temporary]);
    let sealed = seal(&key, &h, &[]);
    assert_eq!(sealed, response[44..60]);
    let h = hash(&[&h, &sealed]);
    assert_eq!((ck, h), vector.state("msg2"));
    let (first, second, _) = kdf(&ck, &[]);
    assert_eq!(first, vector.array("key_initiator_to_responder"));
    assert_eq!(second, vector.array("key_responder_to_initiator"));
}

#[test]
fn noise_functions_agree_in_every_state() {
    // C11-C18
    noise_functions_agree::<PrivateKey>();
    #[cfg(feature = "aws-lc")]
    noise_functions_agree::<AwsLcDh>();
}

fn noise_functions_agree<D: Dh>() {
    let vector = Vector::load();
    let (i_static, r_static): (D, D) = (private(&vector, "i_static_priv"), private(&vector, "r_static_priv"));
    let (i_public, r_public) = (public(&vector, "i_static_pub"), public(&vector, "r_static_pub"));
    assert_eq!((i_static.public_key(), r_static.public_key()), (i_public, r_public));
    let psk = PresharedKey::from_bytes(vector.array("psk"));
    let stamp = Tai64n::from_unix(wall(&vector));
    assert_eq!(stamp.as_bytes(), &vector.array("tai64n"));
    let static_static = i_static.diffie_hellman(&r_public).unwrap();
    assert_eq!(static_static.reveal(), &vector.array("static_static"));
    let i_index = SessionIndex::new(vector.index("i_index"));
    let r_index = SessionIndex::new(vector.index("r_index"));

    let (sent, mut initiation) = noise::create_initiation(
        &i_public,
        &r_public,
        &static_static,
        stamp,
        private::<D>(&vector, "i_eph_priv"),
        i_index,
    )
    .unwrap();
    assert_eq!(sent.reveal(), vector.state("msg1"));
    Mac1Key::new(&r_public).write(&mut initiation);
    assert_eq!(initiation, vector.array("initiation_no_cookie"));

    let received = ReceivedInitiation::begin(&r_public, &Initiation::parse(&initiation).unwrap());
    assert_eq!(received.reveal(), vector.state("e_i"));
    let es = r_static.diffie_hellman(received.static_dh()).unwrap();
    let identified = received.open_static(&es).unwrap();
    assert_eq!(identified.remote_static(), &i_public);
    assert_eq!(identified.reveal(), vector.state("s"));
    let authentic = identified.open_timestamp(&r_static.diffie_hellman(&i_public).unwrap()).unwrap();
    assert_eq!(authentic.reveal(), vector.state("msg1"));
    assert_eq!((authentic.timestamp(), authentic.remote_index()), (stamp, i_index));

    let (r_keys, mut response) =
        authentic.create_response(r_index, &private::<D>(&vector, "r_eph_priv"), &psk).unwrap();
    Mac1Key::new(&i_public).write(&mut response);
    assert_eq!(response, vector.array("response_no_cookie"));
    let received = sent.begin_response(&Response::parse(&response).unwrap());
    let se = i_static.diffie_hellman(received.static_dh()).unwrap();
    let i_keys = received.finish::<D>(&se, &psk).unwrap();

    let (to_responder, to_initiator) =
        (vector.array("key_initiator_to_responder"), vector.array("key_responder_to_initiator"));
    assert_eq!((i_keys.send_key(), i_keys.recv_key()), (&to_responder, &to_initiator));
    assert_eq!((r_keys.send_key(), r_keys.recv_key()), (&to_initiator, &to_responder));
    assert_eq!((i_keys.role(), r_keys.role()), (Role::Initiator, Role::Responder));
    assert_eq!((i_keys.local_index(), i_keys.remote_index()), (i_index, r_index));
    assert_eq!((r_keys.local_index(), r_keys.remote_index()), (r_index, i_index));
}

#[test]
fn cookie_exchange_is_the_vector() {
    // C18, C106-C110
    let vector = Vector::load();
    let r_public = public(&vector, "r_static_pub");
    let mac1_key = Mac1Key::new(&r_public);
    let mut message: [u8; 148] = vector.array("initiation_no_cookie");
    let mut jar = CookieJar::default();
    jar.write_macs(&mac1_key, &mut message, NOW);
    assert_eq!(message, vector.array("initiation_no_cookie"), "no cookie, so MAC2 stays zero");

    // The responder: the secret is drawn from the entropy source with the first reply, then the nonce.
    let mut guard = Guard::new(&r_public);
    let mut limiter = RateLimiter::<4>::new();
    let mut rng = ReplayedRng::new(&[&vector.bytes("cookie_secret"), &vector.bytes("cookie_nonce")]);
    let mut check = |message: &[u8; 148], source, rng: &mut ReplayedRng| {
        let message = HandshakeMessage::Initiation(Initiation::parse(message).unwrap());
        guard.check(&message, source, Load::UnderLoad, &mut limiter, NOW, rng)
    };
    let verdict = check(&message, initiator_addr(), &mut rng);
    assert_eq!(verdict, Verdict::Challenge(vector.array("cookie_reply")));
    assert!(rng.is_used_up());

    // The initiator: the cookie goes into MAC2 of the next message.
    let reply: [u8; 64] = vector.array("cookie_reply");
    jar.consume_reply(&r_public, &CookieReply::parse(&reply).unwrap(), NOW).unwrap();
    jar.write_macs(&mac1_key, &mut message, NOW);
    assert_eq!(message, vector.array("initiation_with_mac2"));
    assert_eq!(check(&message, initiator_addr(), &mut rng), Verdict::Admit);
    let nonce = vector.bytes("cookie_nonce");
    let elsewhere = "192.0.2.1:51821".parse().unwrap();
    assert!(matches!(
        check(&message, elsewhere, &mut ReplayedRng::new(&[&nonce])),
        Verdict::Challenge(other) if other != reply
    ));
}

/// A peer with one backend for all keys.
type Whole<A, D> = Peer<D, A, REPLAY_WORDS, D>;

/// A peer of the vector; `side` is the letter its fields begin with.
fn peer<A: Aead, D: Dh>(vector: &Vector, side: char) -> Whole<A, D> {
    let (other, endpoint) = if side == 'i' { ('r', Some(responder_addr())) } else { ('i', None) };
    let config = Config {
        preshared_key: PresharedKey::from_bytes(vector.array("psk")),
        endpoint,
        ..Config::new(public(vector, &format!("{other}_static_pub")))
    };
    // The seed of the jitter; it is not on the wire.
    let mut rng = ReplayedRng::new(&[&[0; 8]]);
    Peer::sized(private(vector, &format!("{side}_static_priv")), config, &mut rng).unwrap()
}

/// The bytes a side draws for a handshake: its index, then its ephemeral key.
fn drawn(vector: &Vector, side: char) -> ReplayedRng {
    let index = vector.index(&format!("{side}_index")).to_le_bytes();
    ReplayedRng::new(&[&index, &vector.bytes(&format!("{side}_eph_priv"))])
}

fn transmitted<A: Aead, D: Dh>(peer: &mut Whole<A, D>, vector: &Vector, rng: &mut ReplayedRng) -> Vec<u8> {
    let mut out = [0; 148];
    let transmit = peer.poll_transmit(&mut out, NOW, wall(vector), rng).unwrap().unwrap();
    assert!(rng.is_used_up(), "nothing else is drawn");
    out[..transmit.len].to_vec()
}

fn handled<'d, A: Aead, D: Dh>(
    peer: &mut Whole<A, D>,
    vector: &Vector,
    datagram: &'d mut [u8],
    from: SocketAddr,
    rng: &mut ReplayedRng,
) -> Handled<'d> {
    peer.handle(datagram, Endpoint::new(from), Load::Normal, NOW, wall(vector), rng).unwrap()
}

fn initiator_peer_writes_the_vector<A: Aead, D: Dh>() {
    let vector = Vector::load();
    let mut peer = peer::<A, D>(&vector, 'i');
    peer.initiate(NOW);
    assert_eq!(
        transmitted(&mut peer, &vector, &mut drawn(&vector, 'i')),
        vector.bytes("initiation_no_cookie")
    );

    let mut none = ReplayedRng::default();
    let mut cookie_reply = vector.bytes("cookie_reply");
    assert_eq!(
        handled(&mut peer, &vector, &mut cookie_reply, responder_addr(), &mut none),
        Handled::Handshake
    );
    let mut response = vector.bytes("response_no_cookie");
    assert_eq!(handled(&mut peer, &vector, &mut response, responder_addr(), &mut none), Handled::Handshake);

    let plaintext = vector.bytes("data_plaintext");
    let mut out = [0xff; 256];
    let len = peer.seal(&plaintext, &mut out, NOW).unwrap();
    assert_eq!(out[..len], vector.bytes("data_counter0"));
    let len = peer.seal(&[], &mut out, NOW).unwrap();
    assert_eq!(out[..len], vector.bytes("keepalive_counter1"));
}

fn responder_peer_answers_the_vector<A: Aead, D: Dh>() {
    let vector = Vector::load();
    let mut peer = peer::<A, D>(&vector, 'r');
    let mut rng = drawn(&vector, 'r');
    let mut initiation = vector.bytes("initiation_no_cookie");
    assert_eq!(handled(&mut peer, &vector, &mut initiation, initiator_addr(), &mut rng), Handled::Handshake);
    assert_eq!(transmitted(&mut peer, &vector, &mut rng), vector.bytes("response_no_cookie"));

    let mut none = ReplayedRng::default();
    let mut data = vector.bytes("data_counter0");
    let mut padded = vector.bytes("data_plaintext");
    padded.resize(32, 0);
    assert_eq!(
        handled(&mut peer, &vector, &mut data, initiator_addr(), &mut none),
        Handled::Packet(&mut padded)
    );
    let mut keepalive = vector.bytes("keepalive_counter1");
    assert_eq!(handled(&mut peer, &vector, &mut keepalive, initiator_addr(), &mut none), Handled::Keepalive);
}

fn responder_peer_under_load_challenges_with_the_vector<A: Aead, D: Dh>() {
    let vector = Vector::load();
    let mut peer = peer::<A, D>(&vector, 'r');
    let mut rng = ReplayedRng::new(&[&vector.bytes("cookie_secret"), &vector.bytes("cookie_nonce")]);
    let handle = |peer: &mut Whole<A, D>, field, rng: &mut ReplayedRng| {
        let mut datagram = vector.bytes(field);
        let from = Endpoint::new(initiator_addr());
        peer.handle(&mut datagram, from, Load::UnderLoad, NOW, wall(&vector), rng).map(|_| ())
    };
    assert_eq!(handle(&mut peer, "initiation_no_cookie", &mut rng), Err(ReceiveError::Challenged));
    assert_eq!(transmitted(&mut peer, &vector, &mut rng), vector.bytes("cookie_reply"));
    let mut rng = drawn(&vector, 'r');
    assert_eq!(handle(&mut peer, "initiation_with_mac2", &mut rng), Ok(()));
    assert_eq!(transmitted(&mut peer, &vector, &mut rng), vector.bytes("response_no_cookie"));
}

#[test]
fn whole_peers_speak_the_vector() {
    peers_speak_the_vector::<RustCryptoAead, PrivateKey>();
    peers_speak_the_vector::<RingAead, PrivateKey>();
    #[cfg(feature = "aws-lc")]
    peers_speak_the_vector::<RingAead, AwsLcDh>();
}

fn peers_speak_the_vector<A: Aead, D: Dh>() {
    initiator_peer_writes_the_vector::<A, D>();
    responder_peer_answers_the_vector::<A, D>();
    responder_peer_under_load_challenges_with_the_vector::<A, D>();
}

#[test]
fn every_message_of_the_vector_parses_as_its_type() {
    let vector = Vector::load();
    let parsed = |field: &str| match Message::parse(&vector.bytes(field)).unwrap() {
        Message::Initiation(message) => (1, message.sender_index().get()),
        Message::Response(message) => (2, message.receiver_index().get()),
        Message::CookieReply(message) => (3, message.receiver_index().get()),
        Message::TransportData(message) => (4, message.receiver_index().get()),
    };
    let (i_index, r_index) = (vector.index("i_index"), vector.index("r_index"));
    assert_eq!(parsed("initiation_with_mac2"), (1, i_index));
    assert_eq!(parsed("response_no_cookie"), (2, i_index));
    assert_eq!(parsed("cookie_reply"), (3, i_index));
    assert_eq!(parsed("data_counter0"), (4, r_index));
    assert_eq!(parsed("keepalive_counter1"), (4, r_index));
}
