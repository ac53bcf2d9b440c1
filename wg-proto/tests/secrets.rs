//! Secrets do not print, and are wiped when dropped.
//!
//! That the bytes are gone from memory after a drop cannot be looked at without `unsafe`; here it is pinned that every
//! type that says so is wiped by the one implementation that does it, [`ZeroizeOnDrop`].

use core::fmt::Debug;

use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use wg_proto::aead::{Aead, RingAead, RustCryptoAead};
use wg_proto::noise::{self, InitiationReceived, InitiationSent, ReceivedInitiation, TransportKeys};
use wg_proto::wire::{CookieReply, Initiation, Response};
use wg_proto::{
    Config, Control, CookieChecker, CookieJar, Guard, Inline, Instant, Keypair, Mac1Key, Peer, PresharedKey,
    PrivateKey, PublicKey, RecvKey, Role, SendKey, SessionIndex, Sessions, SharedSecret, Tai64n, UnixTime,
};
use zeroize::ZeroizeOnDrop;

const NOW: Instant = Instant::from_nanos(1_000_000_000);

/// Fails if the text holds four bytes of the secret in a row, in hex of either case, or in decimal as a list.
fn shows(text: &str, secret: &[u8]) -> bool {
    let lower = text.to_lowercase();
    secret.windows(4).any(|window| {
        let hex: String = window.iter().map(|byte| format!("{byte:02x}")).collect();
        let decimal = window.iter().map(u8::to_string).collect::<Vec<_>>().join(", ");
        let spaced = window.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(", ");
        let multiline = decimal.replace(", ", ",");
        let squeezed: String = lower.chars().filter(|c| !c.is_whitespace()).collect();
        [hex, spaced].iter().any(|form| lower.contains(form)) || squeezed.contains(&multiline)
    })
}

fn hidden(what: &dyn Debug, secrets: &[&[u8]]) {
    for text in [format!("{what:?}"), format!("{what:#?}"), format!("{what:x?}"), format!("{what:#X?}")] {
        for secret in secrets {
            assert!(!shows(&text, secret), "{text} shows {secret:02x?}");
        }
    }
}

#[test]
fn the_check_itself_finds_bytes() {
    let secret: [u8; 8] = [200, 17, 4, 250, 99, 0, 31, 77];
    for text in
        [format!("{secret:?}"), format!("{secret:#?}"), format!("{secret:02x?}"), "x63001f4Dx".to_owned()]
    {
        assert!(shows(&text, &secret), "{text}");
    }
    assert!(!shows("PrivateKey(..)", &secret));
}

/// One handshake, all of its parts.
struct Parts {
    local: PrivateKey,
    remote: PrivateKey,
    psk: PresharedKey,
    static_static: SharedSecret,
    ephemeral: PrivateKey,
    sent: InitiationSent,
    initiation: [u8; 148],
}

fn parts() -> Parts {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let [local, remote, ephemeral] = [(); 3].map(|()| PrivateKey::generate(&mut rng).unwrap());
    let psk = PresharedKey::from_bytes(*PrivateKey::generate(&mut rng).unwrap().as_bytes());
    let static_static = local.diffie_hellman(&remote.public_key()).unwrap();
    let (sent, initiation) = noise::create_initiation(
        &local.public_key(),
        &remote.public_key(),
        &static_static,
        Tai64n::from_unix(UnixTime::new(1_700_000_000, 0)),
        ephemeral.duplicate(),
        SessionIndex::new(1),
    )
    .unwrap();
    Parts { local, remote, psk, static_static, ephemeral, sent, initiation }
}

fn received(parts: &Parts) -> InitiationReceived {
    let view = Initiation::parse(&parts.initiation).unwrap();
    let received = ReceivedInitiation::begin(&parts.remote.public_key(), &view);
    let es = parts.remote.diffie_hellman(received.static_dh()).unwrap();
    hidden(&received, &[&received.reveal().0]);
    let identified = received.open_static(&es).unwrap();
    hidden(&identified, &[&identified.reveal().0, es.reveal()]);
    identified.open_timestamp(&parts.static_static).unwrap()
}

fn transport_keys(parts: &Parts) -> TransportKeys {
    let ephemeral = PrivateKey::from_bytes([0x5b; 32]);
    received(parts).create_response(SessionIndex::new(2), &ephemeral, &parts.psk).unwrap().0
}

#[test]
fn keys_do_not_print() {
    let parts = parts();
    hidden(&parts.local, &[parts.local.as_bytes()]);
    hidden(&parts.psk, &[parts.psk.as_bytes()]);
    hidden(&parts.static_static, &[parts.static_static.reveal()]);
    let public = parts.local.public_key();
    assert!(
        !shows(&format!("{public:?}"), &public.as_bytes()[4..]),
        "enough to tell peers apart, and no more"
    );
}

#[test]
fn handshake_states_do_not_print() {
    let parts = parts();
    let (chaining_key, _) = parts.sent.reveal();
    hidden(&parts.sent, &[&chaining_key, parts.ephemeral.as_bytes()]);
    let received = received(&parts);
    hidden(&received, &[&received.reveal().0]);
    let r_ephemeral = PrivateKey::from_bytes([0x5b; 32]);
    let (keys, response) = received.create_response(SessionIndex::new(2), &r_ephemeral, &parts.psk).unwrap();
    hidden(&keys, &[keys.send_key(), keys.recv_key()]);
    let pending = parts.sent.begin_response(&Response::parse(&response).unwrap());
    hidden(&pending, &[&chaining_key, parts.ephemeral.as_bytes()]);
}

fn transport_does_not_print<A: Aead + Debug>() {
    let keys = transport_keys(&parts());
    let secrets: [&[u8]; 2] = [keys.send_key(), keys.recv_key()];
    let (send, recv) =
        (SendKey::<A>::new(keys.send_key(), keys.remote_index()), RecvKey::<A>::new(keys.recv_key()));
    hidden(&send, &secrets);
    hidden(&recv, &secrets);
    hidden(send.cipher(), &secrets);
    let keypair = Keypair::new(&keys, send, recv, NOW);
    hidden(&keypair, &secrets);
    assert_eq!(keypair.role(), Role::Responder);
    let mut sessions = Sessions::new(1);
    sessions.install(Inline::new(keypair));
    hidden(&sessions, &secrets);
}

#[test]
fn sessions_do_not_print() {
    transport_does_not_print::<RustCryptoAead>();
    transport_does_not_print::<RingAead>();
}

#[test]
fn cookies_do_not_print() {
    let mut rng = ChaCha20Rng::seed_from_u64(2);
    let parts = parts();
    let remote = parts.remote.public_key();
    let mac1_key = Mac1Key::new(&remote);
    let (mut jar, mut checker) = (CookieJar::default(), CookieChecker::new(&remote));
    let mut message = parts.initiation;
    jar.write_macs(&mac1_key, &mut message, NOW);
    let mac1: [u8; 16] = message[116..132].try_into().unwrap();
    let secret = [0xc5, 0x11, 0x9d, 0x32].repeat(8);
    checker.set_secret(secret.clone().try_into().unwrap(), NOW);
    let source = "192.0.2.1:51820".parse().unwrap();
    let reply = checker.create_reply(SessionIndex::new(1), &mac1, source, NOW, &mut rng).unwrap();
    jar.consume_reply(&remote, &CookieReply::parse(&reply).unwrap(), NOW).unwrap();
    jar.write_macs(&mac1_key, &mut message, NOW);
    hidden(&checker, &[&secret]);
    hidden(&jar, &[&mac1]);
    let mut guard = Guard::new(&remote);
    guard.cookies_mut().set_secret(secret.clone().try_into().unwrap(), NOW);
    hidden(&guard, &[&secret]);
    assert_eq!(format!("{mac1_key:?}"), "Mac1Key(..)");
}

#[test]
fn peers_do_not_print() {
    let Parts { local, remote, psk, static_static, .. } = parts();
    let secrets = [*local.as_bytes(), *psk.as_bytes(), *static_static.reveal()];
    let secrets: Vec<&[u8]> = secrets.iter().map(|secret| &secret[..]).collect();
    let mut control = Control::new(remote.public_key(), 7);
    control.set_identity(Some(&local)).unwrap();
    control.set_preshared_key(psk.duplicate());
    let mut rng = ChaCha20Rng::seed_from_u64(3);
    let local_public = local.public_key();
    control
        .create_initiation::<PrivateKey, _>(
            &local_public,
            SessionIndex::new(1),
            NOW,
            UnixTime::new(1, 0),
            &mut rng,
        )
        .unwrap();
    hidden(&control, &secrets);
    let config = Config { preshared_key: psk, ..Config::new(remote.public_key()) };
    hidden(&config, &secrets);
    let mut peer = Peer::<_, RingAead>::new(local, config, &mut rng).unwrap();
    peer.initiate(NOW);
    hidden(&peer, &secrets);
}

#[test]
fn secrets_are_wiped_when_dropped() {
    // C25, S3: a bound at compile time. A field that is not wiped takes the derive away, or is named as skipped.
    const fn wiped<T: ZeroizeOnDrop>() {}
    wiped::<PrivateKey>();
    wiped::<PresharedKey>();
    wiped::<SharedSecret>();
    wiped::<Mac1Key>();
    wiped::<CookieJar>();
    wiped::<CookieChecker>();
    wiped::<RingAead>();
    wiped::<chacha20poly1305::ChaCha20Poly1305>();
    wiped::<chacha20poly1305::XChaCha20Poly1305>();
    wiped::<blake2::Blake2sVarCore>();
    wiped::<blake2::Blake2sMac<blake2::digest::consts::U16>>();
    assert!(core::mem::needs_drop::<RustCryptoAead>());
    assert!(core::mem::needs_drop::<TransportKeys>());
    assert!(core::mem::needs_drop::<InitiationSent>());
    assert!(core::mem::needs_drop::<Control>());
    assert!(core::mem::needs_drop::<Keypair<SendKey<RingAead>, RecvKey<RingAead>>>());
    assert!(core::mem::needs_drop::<Keypair<SendKey<RustCryptoAead>, RecvKey<RustCryptoAead>>>());
}

#[test]
fn secrets_are_wiped_when_asked() {
    use zeroize::Zeroize;
    let mut key = PrivateKey::from_bytes([0x77; 32]);
    key.zeroize();
    assert_eq!(key.as_bytes(), &[0; 32]);
    let mut psk = PresharedKey::from_bytes([0x77; 32]);
    psk.zeroize();
    assert!(psk.is_none());
    let mut shared = SharedSecret::new([0x77; 32]).unwrap();
    shared.zeroize();
    assert_eq!(shared.reveal(), &[0; 32]);
}

#[test]
fn secrets_compare_equal_by_value_and_are_not_cloned_in_passing() {
    // S3: no Clone; whoever needs a second one says so.
    let key = PrivateKey::from_bytes([0x42; 32]);
    assert!(key == key.duplicate());
    assert!(key != PrivateKey::from_bytes([0x43; 32]));
    assert_eq!(PublicKey::from_bytes([1; 32]), PublicKey::from_bytes([1; 32]));
}
